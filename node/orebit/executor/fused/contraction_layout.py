"""A product as a loop over blocks of rows and columns that are plain strides in the output.

The columns of a block are consecutive in the output and its rows a constant step apart; every other output axis is
`outer`. So is the image of a convolution: its pixels are columns, its samples are not, since channels lie between.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orebit.executor.fused.contraction import Scale
from orebit.executor.fused.contraction_axes import Axes, Product
from orebit.executor.fused.contraction_reads import Positions, Read, positions
from orebit.executor.views import row_major

RUN = 8


@dataclass(frozen=True)
class Layout:
    """`out[outer + m * row_step + n]` is the product of row m and column n at each position of the outer axes."""

    product: Product
    outer: Axes
    rows: Axes
    columns: Axes
    row_step: int

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """Outer positions, rows, columns and depth."""
        product = self.product
        return (
            product.count(self.outer),
            product.count(self.rows),
            product.count(self.columns),
            product.count(product.depth),
        )

    @property
    def lanes(self) -> tuple[Axes, Axes]:
        """The axes of rows and columns, for the left and the right side."""
        return self.rows, self.columns

    def outer_output(self) -> Positions:
        """Where each outer position's block begins in the output."""
        return self.product.output(self.outer)


def lay_out(product: Product) -> Layout:
    """The largest innermost blocks of rows and columns that are plain strides in the output."""
    steps = row_major(product.space[: product.rank])
    columns, _ = _merged(product, product.columns, steps, contiguous=True)
    rows, step = _merged(product, product.rows, steps, contiguous=False)
    taken = set(rows) | set(columns)
    outer = tuple(k for k in range(product.rank) if product.space[k] > 1 and k not in taken)
    return Layout(product, outer, rows, columns, step)


def _merged(product: Product, axes: Axes, steps: list[int], contiguous: bool) -> tuple[Axes, int]:
    """The innermost of `axes` that together have one step in the output, and that step."""
    kept: list[int] = []
    step, expected = 1, 1
    for k in reversed(axes):
        if not kept and not (contiguous and steps[k] != 1):
            step = steps[k]
        elif not kept or steps[k] != expected:
            break
        kept.insert(0, k)
        expected = steps[k] * product.space[k]
    return tuple(kept), step


def side_offsets(layout: Layout, read: Read, lanes: Axes) -> tuple[Positions, Positions, Positions]:
    """Offsets, in elements, of outer positions (the base included), lanes and depths, of a read of its own source."""
    space, strides = layout.product.space, read.strides
    outer, own, depth = (
        positions([strides[k] for k in axes], [space[k] for k in axes], base)
        for axes, base in ((layout.outer, read.base), (lanes, 0), (layout.product.depth, 0))
    )
    return outer, own, depth


def scale_offsets(layout: Layout, scale: Scale, lanes: Axes) -> tuple[Positions, Positions]:
    """The offsets of exponents over the outer positions (the base included) and over the lanes."""
    space = layout.product.space
    outer, own = (
        positions([scale.strides[k] for k in axes], [space[k] for k in axes], base)
        for axes, base in ((layout.outer, scale.base), (lanes, 0))
    )
    return outer, own


def runs(offsets: Positions, length: int, step: int = 1) -> np.ndarray[tuple[int], np.dtype[np.uint8]] | None:
    """Where `length` elements begin that are `step` apart; None where that is seldom."""
    marks = np.zeros(len(offsets), dtype=np.uint8)
    if len(offsets) >= length > 1:
        single = np.concatenate(([0], np.cumsum(np.diff(offsets) == step)))
        marks[: len(offsets) - length + 1] = single[length - 1 :] - single[: len(offsets) - length + 1] == length - 1
    return marks if int(marks.sum()) * 2 * length >= len(offsets) else None
