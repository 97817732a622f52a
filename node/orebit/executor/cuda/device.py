"""What the executor needs of a device: memory, code, launches, and work that runs beside other work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import torch

from orebit.executor.cuda.capability import Capability
from orebit.executor.cuda.kernel import Kernel

Call = Callable[[], None]


class Code(Protocol):
    """Loaded kernels."""

    def launch(self, kernel: Kernel, pointers: Sequence[int]) -> None:
        """Appends a kernel to the work of the calling thread's device."""


class Device(Protocol):
    """A GPU, or what stands in for one in tests.

    Attributes:
        place: where torch allocates its memory.
        identity: of its kind and its compiler, for the cache.
    """

    place: torch.device
    capability: Capability
    identity: str

    def free_bytes(self) -> int:
        """Memory that can be allocated."""

    def compile(self, source: str) -> bytes:
        """The machine code of a source. Raises ExecutionError if the compiler refuses it."""

    def load(self, image: bytes, kernels: Sequence[Kernel]) -> Code:
        """Machine code made ready. Raises ExecutionError if the device refuses it."""

    def working(self) -> AbstractContextManager[object]:
        """Within it, launches and torch's operations of this thread are this device's, in order, and no other thread's
        are among them."""

    def recorded(self) -> Call:
        """Within `working`: a call that waits until all work so far is done. Raises ExecutionError if it failed."""

    def captured(self, work: Call) -> Call | None:
        """Within `working`: the same launches, replayed at once; None where this device does not replay."""

    def fetch(self, block: torch.Tensor, ready: Call) -> torch.Tensor:
        """A copy of a device's tensor in the host's memory, made beside the device's work once it is `ready`."""
