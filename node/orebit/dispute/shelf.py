"""Tensors kept while a dispute needs them: in memory within a limit, then on disk within another, then not at all."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from dataclasses import dataclass
from pathlib import Path

import numpy as np

Array = np.ndarray[tuple[int, ...], np.dtype[np.generic]]


@dataclass(frozen=True, slots=True)
class Room:
    """How much may be kept, in bytes, and the folder for what memory cannot hold; None: nothing goes to disk."""

    memory: int = 1 << 30
    disk: int = 16 << 30
    folder: Path | None = None


class Shelf:
    """Tensors by number. Files are deleted when it is closed or collected."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._held: dict[int, Array] = {}
        self._memory = self._disk = 0
        self._files: Path | None = None
        self._remove: weakref.finalize[..., Shelf] | None = None

    def put(self, number: int, array: Array) -> bool:
        """Keeps a tensor if there is room; whether it did."""
        if number in self._held:
            return True
        if self._memory + array.nbytes <= self._room.memory:
            self._memory += array.nbytes
            self._held[number] = array
        elif self._room.folder is not None and self._disk + array.nbytes <= self._room.disk:
            self._disk += array.nbytes
            self._held[number] = self._on_disk(number, array)
        return number in self._held

    def get(self, number: int) -> Array | None:
        """A tensor, if it was kept; it must not be written to."""
        return self._held.get(number)

    def close(self) -> None:
        """Lets go of everything."""
        self._held.clear()
        self._memory = self._disk = 0
        if self._remove is not None:
            self._remove()
            self._files = self._remove = None

    def _on_disk(self, number: int, array: Array) -> Array:
        if self._files is None:
            self._files = Path(tempfile.mkdtemp(prefix="dispute-", dir=self._room.folder))
            self._remove = weakref.finalize(self, shutil.rmtree, self._files, ignore_errors=True)
        path = self._files / f"{number}.npy"
        np.save(path, array, allow_pickle=False)
        loaded: Array = np.load(path, mmap_mode="r", allow_pickle=False)
        return loaded
