"""The border to the disk: atomic writes, partial downloads, and the one place where OSError becomes StorageError."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from orebit.errors import StorageError

if TYPE_CHECKING:
    from typing_extensions import Buffer

PARTIAL_LIFE_SECONDS = 7 * 24 * 3600

_FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
_FORBIDDEN = frozenset((errno.EACCES, errno.EPERM, errno.EROFS))
_DESCRIPTORS = frozenset((errno.EMFILE, errno.ENFILE))


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turns an OSError of the block into a StorageError that names the path and what to do."""
    try:
        yield
    except OSError as error:
        raise StorageError(_advice(error, path)) from error


def _advice(error: OSError, path: Path) -> str:
    if error.errno in _FULL:
        return (
            f"There is no room left to write {path} ({error.strerror}). Free some space, raise the quota, or move "
            "OREBIT_HOME to a larger disk, and start again; what was stored before is intact."
        )
    if error.errno in _FORBIDDEN:
        return (
            f"{path} may not be read or written ({error.strerror}). Give this user the right to it, or set OREBIT_HOME "
            "to a folder that it owns."
        )
    if error.errno in _DESCRIPTORS:
        return f"Too many files are open to open {path}. Raise the limit (ulimit -n) and start again."
    return f"{path} cannot be read or written: {error.strerror or error}. Check the disk and start again."


class Folder:
    """A folder in which files appear whole or not at all, whatever process is killed when.

    Writers share a lock on the folder for the length of a write, so that whoever opens the folder later can tell
    the leftovers of a killed process from a write that is still under way.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._temporary = path / "tmp"
        self._partial = path / "partial"
        with disk_errors(path):
            for folder in (self._temporary, self._partial):
                folder.mkdir(parents=True, exist_ok=True)
            self._clean()

    def place(self, kind: str, name: bytes) -> Path:
        """Where the file of this kind and name lies, present or not."""
        text = name.hex()
        return self.path / kind / text[:2] / text

    def write(self, target: Path, data: Buffer, *, durable: bool = True) -> None:
        """Put `data` at `target`, replacing what is there. Durable: it outlives a power failure too."""
        temporary = self._temporary / secrets.token_hex(16)
        with disk_errors(target), self._writing():
            try:
                with open(temporary, "xb", buffering=0) as file:
                    _write_all(file.fileno(), data)
                    if durable:
                        os.fsync(file.fileno())
                self.settle(temporary, target, durable=durable)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise

    def settle(self, temporary: Path, target: Path, *, durable: bool) -> None:
        """Move a complete file to its place. Raises OSError."""
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(temporary, target)
        if durable:
            descriptor = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def partial(self, name: bytes, target: Path) -> Partial:
        """The partial file of a download that will end at `target`; of its own if another download holds it."""
        shared = Partial(self, self._partial / name.hex(), target, keep=True)
        return shared if shared.held else Partial(self, self._partial / secrets.token_hex(16), target, keep=False)

    def refuse_without_room(self, size: int) -> None:
        """Raises StorageError when the disk has less than `size` bytes free."""
        with disk_errors(self.path):
            if shutil.disk_usage(self.path).free < size:
                raise OSError(errno.ENOSPC, f"{size} bytes are needed")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with open(self.path / "tmp.lock", "ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield

    def _clean(self) -> None:
        with open(self.path / "tmp.lock", "ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # somebody is writing; the next start will clean
            for leftover in self._temporary.iterdir():
                leftover.unlink(missing_ok=True)
        oldest = time.time() - PARTIAL_LIFE_SECONDS
        for leftover in self._partial.iterdir():
            if leftover.stat().st_mtime < oldest:
                leftover.unlink(missing_ok=True)


class Partial:
    """The verified beginning of a download, kept across sources and restarts; not `held` where another download has it.

    The bytes found in it are claims like a stranger's: the downloader checks them before it counts them. Its methods
    may run in threads: one that is still busy when the download is cancelled must not meet a descriptor that was
    closed, and meanwhile given to another file.
    """

    def __init__(self, folder: Folder, path: Path, target: Path, *, keep: bool) -> None:
        self._folder = folder
        self._path = path
        self._target = target
        self._keep = keep
        self._busy = threading.RLock()
        with disk_errors(path):
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            self.held = self._lock()
            self.length = os.fstat(self._descriptor).st_size if self.held else 0

    def _lock(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A cleaner or a finished download may have taken the name away between opening and locking.
            same = os.stat(self._path).st_ino == os.fstat(self._descriptor).st_ino
        except (BlockingIOError, FileNotFoundError):
            same = False
        if not same:
            os.close(self._descriptor)
            self._descriptor = -1
        return same

    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset`."""
        with self._busy, disk_errors(self._path):
            return os.pread(self._descriptor, size, offset)

    def truncate(self, length: int) -> None:
        """Forget everything from `length` on."""
        with self._busy, disk_errors(self._path):
            os.ftruncate(self._descriptor, length)
            self.length = length

    def append(self, data: Buffer) -> None:
        """Add bytes at the end."""
        with self._busy, disk_errors(self._target):
            os.lseek(self._descriptor, self.length, os.SEEK_SET)
            _write_all(self._descriptor, data)
            self.length += memoryview(data).nbytes

    def finish(self) -> None:
        """The file is whole: make it durable and move it to its place."""
        with self._busy, disk_errors(self._target):
            os.fsync(self._descriptor)
            self._folder.settle(self._path, self._target, durable=True)
            self._close()

    def close(self) -> None:
        """Let go of the file; what it holds stays for the next attempt, if the next can find it."""
        with self._busy, disk_errors(self._path):
            if self._descriptor >= 0:
                self._close()
                if not self._keep:
                    self._path.unlink(missing_ok=True)

    def _close(self) -> None:
        os.close(self._descriptor)
        self._descriptor = -1


def _write_all(descriptor: int, data: Buffer) -> None:
    view = memoryview(data).cast("B")
    while view:
        view = view[os.write(descriptor, view) :]
