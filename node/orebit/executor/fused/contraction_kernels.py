"""Which exact product computes a dot, from the proven magnitudes of its operands and its depth: none that rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from math import prod

from orebit.executor.ranges import Range, magnitude, union
from orebit.program.descriptor import Descriptor

INT8_LIMIT = (1 << 7) - 1
INT16_LIMIT = (1 << 15) - 1
EXACT_FLOAT64 = 1 << 53
INT32_END = 1 << 31
# What a sum in 32 bits may carry over from the terms before its last spill.
CARRIED = 1 << 16
INT64_END = 1 << 63
# Least terms between two spills: pairs are multiplied at once.
LEAST_SPILL = 2


class Arithmetic(Enum):
    """Element types of the packed operands."""

    INT8 = "int8"
    INT16 = "int16"
    FLOAT64 = "float64"


@dataclass(frozen=True, slots=True)
class Kernel:
    """An exact product. `spill` is how many terms its accumulators take before they could overflow 32 bits, or round in
    the case of float64: no more than these may be added between two spills into wider ones."""

    arithmetic: Arithmetic
    spill: int


def choose(reach: tuple[int, int], depth: int) -> Kernel | None:
    """The kernel for operands of at most these magnitudes over `depth` terms; None when only 64-bit integers do."""
    product = max(reach[0], 1) * max(reach[1], 1)
    if product * depth >= INT64_END:
        return None
    spill = (INT32_END - CARRIED) // product
    if max(reach) <= INT8_LIMIT:
        return Kernel(Arithmetic.INT8, spill)
    if max(reach) <= INT16_LIMIT and spill >= LEAST_SPILL:
        return Kernel(Arithmetic.INT16, spill)
    exact = EXACT_FLOAT64 // product
    return Kernel(Arithmetic.FLOAT64, exact) if max(reach) < INT32_END and exact >= LEAST_SPILL else None


def reaches(descriptor: Descriptor, reads: Sequence[Range]) -> tuple[int, int]:
    """The greatest magnitudes that a dot's operands can read, fills included."""
    first, second = (
        magnitude(union(bounds, (operand.fill, operand.fill)))
        for operand, bounds in zip(descriptor.operands, reads, strict=True)
    )
    return first, second


def kernel_of(descriptor: Descriptor, reads: Sequence[Range]) -> Kernel | None:
    """The kernel of a dot whose operands read tensors of these proven ranges."""
    return choose(reaches(descriptor, reads), prod(descriptor.reduction))
