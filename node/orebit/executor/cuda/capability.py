"""What a GPU can do, by its compute capability."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Capability:
    """A compute capability, such as 9.0 for the H100."""

    major: int
    minor: int

    @property
    def number(self) -> int:
        """As compilers write it: 90."""
        return 10 * self.major + self.minor

    @property
    def bytes_products(self) -> bool:
        """Whether products of four bytes are one instruction (`dp4a`)."""
        return self.number >= 61

    @property
    def fast_doubles(self) -> bool:
        """Whether float64 runs at half the speed of float32 or more: GPUs of data centres."""
        return (self.major, self.minor) in ((6, 0), (7, 0), (8, 0), (9, 0), (10, 0))

    @property
    def tensor_bytes(self) -> bool:
        """Whether tensor cores multiply 16 x 32 by 32 x 8 bytes (`mma.sync.m16n8k32`)."""
        return self.number >= 80


LEAST = Capability(6, 1)
