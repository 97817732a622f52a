"""A program's state on a device, copied to the host when somebody looks at it."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import overload

import torch

from orebit.executor.cuda.device import Call, Device
from orebit.executor.fused.memory import aligned
from orebit.executor.storage import Deferred
from orebit.program.graph import TensorSpec


@dataclass(frozen=True)
class Layout:
    """Where tensors lie in one block: offsets in bytes, in order, and its size."""

    specs: tuple[TensorSpec, ...]
    offsets: tuple[int, ...]
    size: int

    @classmethod
    def of(cls, specs: Sequence[TensorSpec]) -> Layout:
        offsets, end = [], 0
        for spec in specs:
            offsets.append(end)
            end += aligned(nbytes(spec))
        return cls(tuple(specs), tuple(offsets), max(end, 1))

    def tensors(self, block: torch.Tensor) -> list[torch.Tensor]:
        """The tensors of a block, sharing its memory."""
        return [
            block[offset : offset + nbytes(spec)].view(spec.dtype.torch).reshape(spec.shape)
            for spec, offset in zip(self.specs, self.offsets, strict=True)
        ]


def nbytes(spec: TensorSpec) -> int:
    return spec.dtype.size * prod(spec.shape)


class DeviceState(Deferred):
    """The state after a step. It stays on the device; the first look at a tensor copies all of them to the host.

    Its memory is nobody else's until it is gone; looking may be done in any thread.
    """

    def __init__(self, blocks: Blocks, block: torch.Tensor, ready: Call) -> None:
        self.blocks, self.block = blocks, block
        self._ready = ready
        self._host: list[torch.Tensor] | None = None
        self._looking = threading.Lock()

    def on_host(self) -> list[torch.Tensor]:
        """The tensors in the host's memory, dense, of their declared types.

        Raises:
            ExecutionError: when the step that made them failed.
        """
        with self._looking:
            if self._host is None:
                fetched = self.blocks.device.fetch(self.block, self._ready)
                self._host = self.blocks.layout.tensors(fetched)
            return self._host

    def __len__(self) -> int:
        return len(self.blocks.layout.specs)

    @overload
    def __getitem__(self, place: int) -> torch.Tensor: ...
    @overload
    def __getitem__(self, place: slice) -> list[torch.Tensor]: ...
    def __getitem__(self, place: int | slice) -> torch.Tensor | list[torch.Tensor]:
        return self.on_host()[place]

    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(self.on_host())


class Blocks:
    """Blocks of device memory for states, used again when the state that had them is gone."""

    def __init__(self, device: Device, layout: Layout) -> None:
        self.device, self.layout = device, layout
        self._spare: list[torch.Tensor] = []

    def take(self) -> torch.Tensor:
        """A block; `lend` it to a state, or give it back."""
        if self._spare:
            return self._spare.pop()
        return torch.empty(self.layout.size, dtype=torch.uint8, device=self.device.place)

    def give(self, block: torch.Tensor) -> None:
        self._spare.append(block)

    def lend(self, block: torch.Tensor, ready: Call) -> DeviceState:
        """A state in this block, which comes back with the state's end."""
        state = DeviceState(self, block, ready)
        weakref.finalize(state, self.give, block).atexit = False
        return state
