"""A dot as a batch of matrix products: which axes of its space are rows, columns, batch and depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from orebit.executor.fused.contraction_reads import Positions, Read, plan_read, positions
from orebit.executor.views import row_major
from orebit.program.descriptor import Descriptor

Axes = tuple[int, ...]


@dataclass(frozen=True)
class Product:
    """`out[b, m, n] = sum over k of left[b, m, k] * right[b, n, k]`, every index a row-major flattening of axes.

    Attributes:
        space: the dot's iteration space; the axis tuples below are positions in it.
        left, right: positions of the dot's operands, 0 and 1 in either order.
        reads: how each operand of the dot is read, in the dot's order.
    """

    space: tuple[int, ...]
    batch: Axes
    rows: Axes
    columns: Axes
    depth: Axes
    left: int
    right: int
    reads: tuple[Read, Read]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Batch, rows, columns and depth."""
        return self.count(self.batch), self.count(self.rows), self.count(self.columns), self.count(self.depth)

    def count(self, axes: Axes) -> int:
        return prod(self.space[k] for k in axes)

    def offsets(self, operand: int, axes: Axes) -> Positions:
        """Of the dot's operand, without its base, over the flattened `axes`."""
        read = self.reads[operand]
        return positions([read.strides[k] for k in axes], [self.space[k] for k in axes])

    def output(self, axes: Axes) -> Positions:
        """Places in the dot's row-major output over the flattened output `axes`."""
        steps = row_major(self.space[: self.rank])
        return positions([steps[k] for k in axes], [self.space[k] for k in axes])

    @property
    def rank(self) -> int:
        """Axes of the output."""
        return min(self.depth)


def classify(descriptor: Descriptor) -> Product | None:
    """The matrix product that a dot is; None where an output axis moves neither operand, or a read is out of
    proportion. Columns take the innermost output axis, so that rows of results are contiguous."""
    space, rank = descriptor.space, len(descriptor.shape)
    reads = [plan_read(operand, space) for operand in descriptor.operands]
    first, second = reads
    if first is None or second is None:
        return None
    groups: dict[tuple[bool, bool], list[int]] = {(True, True): [], (True, False): [], (False, True): []}
    for k in range(rank):
        if space[k] > 1:
            moved = (first.depends(k), second.depends(k))
            if moved not in groups:
                return None
            groups[moved].append(k)
    batch, own_first, own_second = (tuple(axes) for axes in groups.values())
    swapped = _innermost(own_first) > _innermost(own_second)
    rows, columns = (own_second, own_first) if swapped else (own_first, own_second)
    depth = tuple(range(rank, len(space)))
    return Product(space, batch, rows, columns, depth, int(swapped), int(not swapped), (first, second))


def _innermost(axes: Sequence[int]) -> int:
    return max(axes, default=-1)
