"""Loads the native library and types what it exports."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from orebit.errors import ExecutionError

ABI = 2
MAX_THREADS = 1024

KERNEL_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.POINTER(ctypes.c_int64), ctypes.c_int64, ctypes.c_int64)


class Task(ctypes.Structure):
    """One entry of a step: `struct orebit_task`."""

    _fields_ = [
        ("kernel", ctypes.c_void_p),
        ("args", ctypes.c_void_p),
        ("count", ctypes.c_int64),
        ("grain", ctypes.c_int64),
    ]


@dataclass(frozen=True, slots=True)
class Work:
    """A kernel bound to its words: what becomes a `Task`.

    Attributes:
        kernel: the address of a `void (*)(const int64_t *args, int64_t begin, int64_t end)`.
        args: its 64-bit words.
        count: its parallel range is [0, count).
        grain: parts start at multiples of this; a range no longer than this is not split.
    """

    kernel: int
    args: tuple[int, ...]
    count: int
    grain: int = 1


class Step:
    """Tasks laid out in memory once and run many times. Whatever the words point to must outlive it."""

    def __init__(self, library: Library, work: Sequence[Work]) -> None:
        self._library = library
        self._words = (ctypes.c_int64 * max(1, sum(len(part.args) for part in work)))()
        self._tasks = (Task * max(1, len(work)))()
        self._length = len(work)
        at = 0
        for task, part in zip(self._tasks, work, strict=False):
            task.kernel = part.kernel
            task.args = ctypes.addressof(self._words) + 8 * at
            task.count = part.count
            task.grain = part.grain
            for word in part.args:
                self._words[at] = word
                at += 1

    def run(self, threads: int = 1) -> None:
        """Runs every task in order.

        Raises:
            ExecutionError: when a task or the number of threads is not valid.
        """
        self._library.run(self._tasks, self._length, threads)


class Library:
    """The loaded library. `Step` runs tasks; `address` gives kernels."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = ctypes.CDLL(str(path))
        self._run = self._handle.orebit_run
        self._run.argtypes = [ctypes.POINTER(Task), ctypes.c_int64, ctypes.c_int]
        self._run.restype = ctypes.c_int

    def address(self, name: str) -> int:
        """The address of an exported kernel.

        Raises:
            ExecutionError: when the library has no such kernel.
        """
        try:
            function = getattr(self._handle, name)
        except AttributeError:
            raise ExecutionError(f"the native library has no kernel {name!r}; build the package again") from None
        address = ctypes.cast(function, ctypes.c_void_p).value
        assert address is not None
        return address

    def call(self, name: str, restype: type[ctypes._SimpleCData[int]] = ctypes.c_int64) -> int:
        """What an exported function without arguments returns."""
        self.address(name)  # refuses what a library of another build lacks
        function = getattr(self._handle, name)
        function.argtypes = []
        function.restype = restype
        return int(function())

    def run(self, tasks: ctypes.Array[Task], length: int, threads: int) -> None:
        """Runs the first `length` tasks in order over up to `threads` threads; the interpreter lock is released.

        Raises:
            ExecutionError: when a task or the number of threads is not valid.
        """
        if self._run(tasks, length, threads) != 0:
            raise ExecutionError(
                f"the native runner refused a step of {length} tasks on {threads} threads; every task needs a kernel, "
                f"a count of at least 0 and a grain of at least 1, and threads are 1 to {MAX_THREADS}"
            )


@dataclass(frozen=True, slots=True)
class Loaded:
    """The library, or why there is none."""

    library: Library | None
    reason: str


@functools.cache
def status() -> Loaded:
    """The library this process uses, loaded once; never raises."""
    found = sorted(Path(__file__).parent.glob("_kernels*.so"))
    if not found:
        return Loaded(None, "the native library was not built: install a C compiler and install the package again")
    try:
        library = Library(found[0])
        abi = library.call("orebit_abi", ctypes.c_int)
    except (OSError, AttributeError, ExecutionError) as error:
        return Loaded(None, f"the native library does not load on this machine ({error}); install the package again")
    if abi != ABI:
        return Loaded(None, f"the native library has version {abi}, not {ABI}; install the package again")
    return Loaded(library, "")


def load() -> Library | None:
    """The native library, or None where it was not built or does not load; `status().reason` says why."""
    return status().library


def require() -> Library:
    """The native library.

    Raises:
        ExecutionError: when there is none, with the reason.
    """
    loaded = status()
    if loaded.library is None:
        raise ExecutionError(loaded.reason)
    return loaded.library


PythonKernel = Callable[["ctypes._Pointer[ctypes.c_int64]", int, int], None]


def python_kernel(function: PythonKernel) -> tuple[int, object]:
    """The address of a kernel written in Python, and the object that must be kept alive while it is used."""
    callback = KERNEL_FUNCTION(function)
    address = ctypes.cast(callback, ctypes.c_void_p).value
    assert address is not None
    return address, callback
