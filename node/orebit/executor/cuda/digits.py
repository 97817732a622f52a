"""Which exact product computes a dot: how many bytes each operand is cut into, from proven magnitudes; none that wraps.

An integer is a sum of digits in -128..127 by powers of 256. Products of digits whose places add up to the same power
share an i32 accumulator: at most three pairs of digits, each product at most 2^14, over at most DEPTH terms stay below
2^31. Longer sums are cut, and their parts added up in 64 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from orebit.executor.cuda.capability import Capability
from orebit.executor.fused.contraction_kernels import INT64_END, reaches
from orebit.executor.ranges import Range
from orebit.program.descriptor import Descriptor

Axes = tuple[int, ...]

# Greatest magnitudes that one, two and three digits hold, of either sign.
REACHES = (127, 127 * 256 + 127, 127 * 65536 + 127 * 256 + 127)
# Terms between spills, a multiple of a tile's depth: 3 * 2^14 * DEPTH < 2^31.
DEPTH = 1 << 15
# Products of fewer terms in all, or of fewer rows or columns, are summed by a plain kernel: packing would cost more.
LEAST_TERMS = 1 << 16
LEAST_LINES = 4


@dataclass(frozen=True)
class Product:
    """`out[b, m, n] = sum over k of left[b, m, k] * right[b, n, k]`, every index a row-major flattening of axes.

    Attributes:
        space: the dot's iteration space; the axis tuples are positions in it.
        rank: axes of the output, which come first.
        sides: the dot's operand positions of rows and columns: (0, 1) or (1, 0).
        digits: of the rows' and the columns' operand.
    """

    space: tuple[int, ...]
    rank: int
    batch: Axes
    rows: Axes
    columns: Axes
    depth: Axes
    sides: tuple[int, int]
    digits: tuple[int, int]

    def count(self, axes: Axes) -> int:
        return prod(self.space[k] for k in axes)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Batch, rows, columns and depth."""
        return self.count(self.batch), self.count(self.rows), self.count(self.columns), self.count(self.depth)


def product_of(descriptor: Descriptor, reads: Sequence[Range], capability: Capability) -> Product | None:
    """A dot as products of digits; None where a plain kernel must sum it.

    Args:
        reads: proven ranges of the dot's operands.
    """
    digits = [digits_of(reach) for reach in reaches(descriptor, reads)]
    first, second = digits
    if first is None or second is None or not capability.bytes_products or prod(descriptor.space) < LEAST_TERMS:
        return None
    if REACHES[first - 1] * REACHES[second - 1] * prod(descriptor.reduction) >= INT64_END:
        return None
    found = _classified(descriptor, (first, second))
    return None if found is None or min(found.shape[1:3]) < LEAST_LINES else found


def digits_of(reach: int) -> int | None:
    """How many digits hold every integer of at most this magnitude; None for more than three."""
    return next((count for count, most in enumerate(REACHES, start=1) if reach <= most), None)


def _classified(descriptor: Descriptor, digits: tuple[int, int]) -> Product | None:
    """Batch, rows and columns; None where an output axis moves neither operand."""
    space, rank = descriptor.space, len(descriptor.shape)
    groups: dict[tuple[bool, bool], list[int]] = {(True, True): [], (True, False): [], (False, True): []}
    for k in range(rank):
        if space[k] > 1:
            first, second = (any(axis.coefficients[k] for axis in operand.map.axes) for operand in descriptor.operands)
            if (first, second) not in groups:
                return None
            groups[first, second].append(k)
    batch, own_first, own_second = (tuple(axes) for axes in groups.values())
    depth = tuple(k for k in range(rank, len(space)) if space[k] > 1)
    # Columns take the innermost output axis, so that neighbouring results are written side by side.
    if max(own_first, default=-1) > max(own_second, default=-1):
        return Product(space, rank, batch, own_second, own_first, depth, (1, 0), (digits[1], digits[0]))
    return Product(space, rank, batch, own_first, own_second, depth, (0, 1), digits)
