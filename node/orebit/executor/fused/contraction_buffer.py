"""Where an embedded operand lies in its buffer, so that packing reads long runs.

Two digits that are multiplied together lie side by side if they come from neighbouring channels: the parity of the
`pair` axis is the buffer's innermost axis. What a strided window reads is a run if the last axis is cut into phases:
position p lies at (p mod phases, p / phases). Neither is affine in the window's axes, but both fall apart into a part
for each group of axes (outer positions, lanes, depth) as long as only one of them moves by less than the factor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from orebit.executor.fused.contraction_axes import Axes
from orebit.executor.fused.contraction_layout import Layout
from orebit.executor.fused.contraction_reads import Positions, Read, positions


@dataclass(frozen=True)
class Buffer:
    """The layout of an embedded read: `pair`, a source axis or None, and the phases of the last axis."""

    read: Read
    pair: int | None = None
    phases: int = 1

    @property
    def unit(self) -> int:
        """Elements between neighbours on the last axis of one phase."""
        return 1 if self.pair is None else 2

    def factor(self, axis: int) -> int:
        """Into how many parts an axis is cut."""
        return 2 if axis == self.pair else self.phases if axis == len(self.read.source) - 1 else 1

    @property
    def extents(self) -> tuple[int, ...]:
        """Of each axis, after the cut."""
        return tuple(-(-extent // self.factor(axis)) for axis, extent in enumerate(self.read.extents))

    @property
    def steps(self) -> tuple[int, ...]:
        """Elements from one position of each axis to the next, after the cut."""
        steps, step = [], self.unit
        for axis, extent in reversed(list(enumerate(self.extents))):
            steps.append(step)
            step *= extent * (self.phases if axis == len(self.extents) - 1 else 1)
        return tuple(reversed(steps))

    def part_step(self, axis: int) -> int:
        """Elements from one part of a cut axis to the next."""
        return 1 if axis == self.pair else self.steps[axis] * self.extents[axis]

    @property
    def size(self) -> int:
        return self.unit * self.phases * prod(self.extents)

    def place(self, axis: int, position: Positions) -> Positions:
        """Offsets of positions on one axis."""
        factor = self.factor(axis)
        return position // factor * self.steps[axis] + position % factor * self.part_step(axis)


@dataclass(frozen=True)
class DepthOrder:
    """The order in which a product runs through its depth: positions in the row-major order, and which of them are
    one beyond the last of an odd number of channels, where the buffer holds zeros."""

    positions: Positions
    beyond: np.ndarray[tuple[int], np.dtype[np.bool_]]


def plan_buffer(layout: Layout, read: Read, lanes: Axes, pairs: bool) -> tuple[Buffer, DepthOrder | None]:
    """The best layout of an embedded read that falls apart over outer positions, `lanes` and depth.

    Args:
        pairs: whether channels may be paired, which changes the order of the depth for both operands.
    """
    phases, by_lanes = _run(layout, read, lanes)
    pair, depth_axis = _pair(layout, read, lanes) if pairs and by_lanes else (None, None)
    for chosen in dict.fromkeys([(pair, phases), (pair, 1), (None, phases)]):
        buffer = Buffer(read, *chosen)
        if all(_separates(layout, buffer, lanes, axis) for axis in range(len(read.source))):
            order = None if buffer.pair is None or depth_axis is None else _paired(layout, depth_axis)
            return buffer, order
    return Buffer(read), None


def _run(layout: Layout, read: Read, lanes: Axes) -> tuple[int, bool]:
    """The step of the longest run on the last axis, and whether lanes take it, not depths."""
    last, space = read.maps[-1].coefficients, layout.product.space
    moved = [k for k in (*lanes, *layout.product.depth) if last[k] and space[k] > 1]
    if not moved:
        return 1, False
    longest = max(moved, key=lambda k: space[k])
    return abs(last[longest]), longest in lanes


def _pair(layout: Layout, read: Read, lanes: Axes) -> tuple[int | None, int | None]:
    """A source axis that one axis of the depth alone steps through, and that axis."""
    product = layout.product
    for axis in range(len(read.source) - 1):
        moved = read.maps[axis].coefficients
        inner = [k for k in product.depth if moved[k] and product.space[k] > 1]
        if len(inner) != 1 or moved[inner[0]] != 1 or any(moved[k] for k in lanes):
            continue
        extent = product.space[inner[0]]
        even = read.maps[axis].offset % 2 == 0 and all(moved[k] % 2 == 0 for k in layout.outer)
        if even and (extent % 2 == 0 or extent == read.extents[axis]):
            return axis, inner[0]
    return None, None


def _paired(layout: Layout, axis: int) -> DepthOrder:
    depth = layout.product.depth
    extents = [layout.product.space[k] for k in depth]
    lines = np.moveaxis(np.arange(prod(extents)).reshape(extents), depth.index(axis), 0)
    lines = lines.reshape(len(lines), -1)
    beyond = np.zeros(lines.shape, dtype=np.bool_)
    if len(lines) % 2:
        lines, beyond = np.vstack([lines, lines[-1:]]), np.vstack([beyond, np.ones_like(beyond[-1:])])
    paired = (len(lines) // 2, 2, -1)
    return DepthOrder(
        lines.reshape(paired).transpose(0, 2, 1).reshape(-1), beyond.reshape(paired).transpose(0, 2, 1).reshape(-1)
    )


def _groups(layout: Layout, lanes: Axes) -> tuple[Axes, Axes, Axes]:
    return layout.outer, lanes, layout.product.depth


def _moves(layout: Layout, read: Read, axes: Axes, axis: int) -> Positions:
    """How far each point of a group of axes moves on a source axis."""
    return positions([read.maps[axis].coefficients[k] for k in axes], [layout.product.space[k] for k in axes])


def _separates(layout: Layout, buffer: Buffer, lanes: Axes, axis: int) -> bool:
    factor, read = buffer.factor(axis), buffer.read
    if factor == 1:
        return True
    return len(_uneven(layout, read, lanes, axis, factor)) <= 1


def _uneven(layout: Layout, read: Read, lanes: Axes, axis: int, factor: int) -> list[int]:
    """The groups of axes that do not move by multiples of `factor`."""
    coefficients = read.maps[axis].coefficients
    return [
        number
        for number, axes in enumerate(_groups(layout, lanes))
        if any(coefficients[k] % factor for k in axes if layout.product.space[k] > 1)
    ]


def buffer_offsets(
    layout: Layout, buffer: Buffer, lanes: Axes, order: DepthOrder | None
) -> tuple[Positions, Positions, Positions]:
    """Offsets in the buffer of outer positions (the base included), lanes and depths in their order."""
    groups = _groups(layout, lanes)
    totals = [np.zeros(layout.product.count(axes), dtype=np.int64) for axes in groups]
    if order is not None:
        totals[2] = np.zeros(len(order.positions), dtype=np.int64)
    for axis in range(len(buffer.read.source)):
        uneven = _uneven(layout, buffer.read, lanes, axis, buffer.factor(axis))
        holder = uneven[0] if uneven else 0
        for number, axes in enumerate(groups):
            moved = _moves(layout, buffer.read, axes, axis)
            if number == 2 and order is not None:
                moved = moved[order.positions] + (order.beyond if axis == buffer.pair else 0)
            if number == holder:
                moved = moved + buffer.read.maps[axis].offset
            totals[number] += buffer.place(axis, moved)
    outer, own, depth = totals
    return outer, own, depth


@dataclass(frozen=True)
class Rows:
    """The rows that fill a buffer, in its order: where a row lies, and which rows of the source it holds (two where
    they are paired; -1: none). `blocks` are the first rows of each block of the outermost axis, and the end."""

    place: Positions
    first: Positions
    second: Positions
    blocks: Positions


def buffer_rows(buffer: Buffer) -> Rows:
    """What an embedding copies, in rows along the last axis of the source."""
    read, rank = buffer.read, len(buffer.read.source)
    place = np.zeros(1, dtype=np.int64)
    sources = [np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64)]
    step = prod(read.source[:-1])
    for axis in range(rank - 1):
        step //= read.source[axis]
        parts = 2 if axis == buffer.pair else 1
        held = _held(read, axis, parts)
        place = (place[:, None] + np.arange(len(held)) * buffer.steps[axis]).reshape(-1)
        for number in range(2):
            own = held[:, min(number, parts - 1)]
            known = sources[number][:, None]
            sources[number] = np.where((known < 0) | (own < 0), -1, known + own * step).reshape(-1)
    first, second = sources[0], sources[1] if buffer.pair is not None else np.full_like(sources[0], -1)
    kept = (first >= 0) | (second >= 0)
    per_block = len(place) // (buffer.extents[0] if rank > 1 else 1)
    count = np.concatenate(([0], np.cumsum(kept.reshape(-1, per_block).sum(axis=1))))
    return Rows(place[kept], first[kept], second[kept], count.astype(np.int64))


def _held(read: Read, axis: int, parts: int) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """For each position of an axis of the buffer, `parts` together, the source's position that stands there, or -1."""
    embedding = read.axes[axis]
    held = np.full((-(-embedding.extent // parts), parts), -1, dtype=np.int64)
    stands = embedding.start + embedding.step * np.arange(embedding.count)
    held.reshape(-1)[stands] = embedding.first + np.arange(embedding.count)
    return held


def row_scales(source: Sequence[int], strides: Sequence[int], base: int) -> Positions:
    """Offsets of the exponents of a source's rows."""
    return positions(strides[:-1], source[:-1], base)
