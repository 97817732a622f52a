"""An operand's index map as plain strides, over the source itself or over a copy embedded in fill.

A map in range with divisors of one is a strided read of its source. Any other map becomes one over a buffer in which
the source's elements stand apart (a divisor above one: the adjoint of a stride) or inside a margin (padding), with the
fill everywhere else: convolutions and their gradients then read without a test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from orebit.executor.views import row_major
from orebit.program.descriptor import Operand
from orebit.program.index_map import AxisMap

Positions = np.ndarray[tuple[int], np.dtype[np.int64]]

# An embedding may take this many times the elements of what it embeds and of the space it is read in.
EMBEDDING_LIMIT = 4


@dataclass(frozen=True, slots=True)
class Embedding:
    """One axis of an embedded source: source positions first .. first + count - 1 stand at start + step * j."""

    extent: int
    first: int
    count: int
    start: int
    step: int

    @property
    def whole(self) -> bool:
        return self.step == 1 and self.start == 0 and self.first == 0 and self.count == self.extent


@dataclass(frozen=True)
class Read:
    """A strided read: the element at `base + sum(strides[k] * i[k])` of a dense buffer.

    Attributes:
        source: the operand's shape.
        axes: how each source axis lies in the buffer; the buffer is the source itself when all are whole.
        maps: the position read on each axis of the buffer; divisors are 1.
        fill: what the buffer holds where no source element stands.
    """

    source: tuple[int, ...]
    axes: tuple[Embedding, ...]
    maps: tuple[AxisMap, ...]
    base: int
    strides: tuple[int, ...]
    fill: int

    @property
    def embedded(self) -> bool:
        """Whether the buffer is a copy and not the source."""
        return any(not axis.whole or axis.extent != extent for axis, extent in zip(self.axes, self.source, strict=True))

    @property
    def extents(self) -> tuple[int, ...]:
        return tuple(axis.extent for axis in self.axes)

    @property
    def size(self) -> int:
        """Elements of the buffer."""
        return prod(self.extents)

    def depends(self, axis: int) -> bool:
        return self.strides[axis] != 0


def plan_read(operand: Operand, space: Sequence[int]) -> Read | None:
    """The strided read of `operand` over `space`; None where an embedding would be out of proportion."""
    axes, shifted = [], []
    for extent, axis in zip(operand.shape, operand.map.axes, strict=True):
        embedding, moved = _embed(extent, axis, space)
        axes.append(embedding)
        shifted.append(moved)
    extents = [axis.extent for axis in axes]
    if prod(extents) > EMBEDDING_LIMIT * (operand.size + prod(space)):
        return None
    steps = row_major(extents)
    base = sum(axis.offset * step for axis, step in zip(shifted, steps, strict=True))
    strides = tuple(
        sum(axis.coefficients[k] * step for axis, step in zip(shifted, steps, strict=True)) if extent > 1 else 0
        for k, extent in enumerate(space)
    )
    return Read(operand.shape, tuple(axes), tuple(shifted), base, strides, operand.fill)


def _embed(extent: int, axis: AxisMap, space: Sequence[int]) -> tuple[Embedding, AxisMap]:
    """How one source axis lies in a buffer, and the map into that buffer."""
    low, high = axis.bounds(space)
    if axis.divisor == 1 and low >= 0 and high < extent:
        return Embedding(extent, 0, extent, 0, 1), axis
    step = axis.divisor
    first = max(-(-low // step), 0)
    last = min(high // step, extent - 1)
    embedding = Embedding(high - low + 1, first, max(last - first + 1, 0), first * step - low, step)
    return embedding, AxisMap(axis.offset - low, axis.coefficients)


def positions(strides: Sequence[int], extents: Sequence[int], base: int = 0) -> Positions:
    """Offsets at every point of a space, row-major and flat."""
    total = np.full(1, base, dtype=np.int64)
    for stride, extent in zip(strides, extents, strict=True):
        total = (total[:, None] + np.arange(extent, dtype=np.int64) * stride).reshape(-1)
    return total
