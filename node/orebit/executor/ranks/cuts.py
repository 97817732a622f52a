"""Where axes are cut between ranks, and which part of a tensor a rank then holds.

A tensor that is cut along one axis is known by its *period*: the elements of one whole run of that axis and of those
after it. Row-major, it is a sequence of periods, of each of which a rank has one contiguous part. So what a tensor is
reshaped to does not matter, as long as the new shape has an axis that starts where the period does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import gcd, prod


@dataclass(frozen=True)
class Cuts:
    """The same proportions for every axis that is cut: those of an axis of `extent`, cut as evenly as it can be.

    Args:
        extent: at least `ranks`.
        ranks: parts.
    """

    extent: int
    ranks: int

    @cached_property
    def _marks(self) -> tuple[int, ...]:
        """Bounds of the parts, in units."""
        bounds = [self.extent * rank // self.ranks for rank in range(self.ranks + 1)]
        unit = gcd(*bounds)
        return tuple(bound // unit for bound in bounds)

    def fits(self, extent: int) -> bool:
        """Whether an axis of this extent can be cut in these proportions."""
        return extent % self._marks[-1] == 0

    def bounds(self, extent: int, rank: int) -> tuple[int, int]:
        """First coordinate of a rank's part, and the one after its last."""
        unit = extent // self._marks[-1]
        return self._marks[rank] * unit, self._marks[rank + 1] * unit

    def part(self, extent: int, rank: int) -> int:
        """How many coordinates a rank has."""
        low, high = self.bounds(extent, rank)
        return high - low

    def axis(self, shape: Sequence[int], period: int) -> int | None:
        """The axis along which a tensor of this period, viewed in this shape, is cut; None if along none."""
        after = 1
        for axis in reversed(range(len(shape))):
            after *= shape[axis]
            if after >= period:
                return axis if after == period and self.fits(shape[axis]) else None
        return None

    def local(self, shape: Sequence[int], axis: int | None, rank: int) -> tuple[int, ...]:
        """The shape of a rank's part."""
        return tuple(self.part(extent, rank) if k == axis else extent for k, extent in enumerate(shape))


def period_of(shape: Sequence[int], axis: int) -> int:
    """The period of a tensor that is cut along an axis of its own."""
    return prod(shape[axis:])
