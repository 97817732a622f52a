"""Contractions bound to memory: the words and tasks of native/csrc/contraction*.c."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from orebit.executor.fused.contraction import Contraction, Scale, Side
from orebit.executor.fused.contraction_kernels import Arithmetic
from orebit.executor.fused.contraction_layout import fits, scale_offsets, tables
from orebit.executor.fused.contraction_reads import Positions, positions
from orebit.executor.fused.contraction_schedule import Format, Schedule, schedule
from orebit.executor.native.library import Library, Work
from orebit.executor.views import row_major
from orebit.numerics.types import DType

ALIGNMENT = 64
TYPES = {
    DType.F32: 0,
    DType.I8: 1,
    DType.U8: 2,
    DType.I16: 3,
    DType.U16: 4,
    DType.I32: 5,
    DType.I64: 6,
}
PACKED = {Arithmetic.INT16: 0, Arithmetic.INT8: 1, Arithmetic.FLOAT64: 2}
LANE_TABLE = np.dtype(np.int32)

Addresses = Callable[[int], int]


@dataclass
class _Words:
    """A kernel's words and the tables that they point to."""

    kept: list[object] = field(default_factory=list)

    def table(self, values: np.ndarray[tuple[int], np.dtype[Any]], dtype: np.dtype[np.generic] | None = None) -> int:
        array = np.ascontiguousarray(values, dtype=np.int64 if dtype is None else dtype)
        self.kept.append(array)
        return array.ctypes.data


@dataclass(frozen=True)
class Prepared:
    """A contraction cut into parts for one machine's kernels. `workspace` is the bytes of memory, aligned to 64, that
    its tasks use beside the buffers of `contraction.operands` and `contraction.output`; nothing in it outlives them."""

    contraction: Contraction
    form: Format
    schedule: Schedule
    sources: tuple[DType, DType]
    places: tuple[int, int, int, int, int]
    workspace: int

    def bind(self, library: Library, address: Addresses, workspace: int) -> tuple[list[Work], list[object]]:
        """The tasks, in order, and what must be kept alive as long as they run.

        Args:
            address: of a node's dense row-major buffer, which holds exactly the node's type.
            workspace: the address of the workspace.
        """
        words = _Words()
        work = []
        for position, side in enumerate(self._sides):
            if side.read.embedded:
                place = workspace + self.places[position]
                work.append(_embedding(words, library, side, self.sources[position], address, place))
        args = self._words(words, address, workspace)
        return work + self._products(library, args), words.kept

    @property
    def _sides(self) -> tuple[Side, Side]:
        return self.contraction.left, self.contraction.right

    def _products(self, library: Library, args: tuple[int, ...]) -> list[Work]:
        plan, form = self.schedule, self.form
        outer, rows, columns, _ = plan.layout.counts

        def task(name: str, count: int, grain: int = 1) -> Work:
            return Work(library.address(f"orebit_contraction_{name}"), args, count, grain)

        if plan.chunk:
            return [task("multiply_deep", outer * plan.chunks), task("finish", outer * rows)]
        work = []
        if plan.left_distinct is not None:
            work.append(task("pack_left", len(plan.left_distinct) * -(-rows // form.row_panel), 4))
        if plan.right_distinct is not None:
            work.append(task("pack_right", len(plan.right_distinct) * -(-columns // form.column_panel), 4))
        blocks = outer * -(-rows // plan.row_block) * -(-columns // plan.column_block)
        return [*work, task("multiply", blocks)]

    def _words(self, words: _Words, address: Addresses, workspace: int) -> tuple[int, ...]:
        contraction, plan, layout = self.contraction, self.schedule, self.schedule.layout
        outer = layout.counts[0]
        packed = [
            workspace + place if distinct is not None else 0
            for place, distinct in zip(self.places[2:4], (plan.left_distinct, plan.right_distinct), strict=True)
        ]
        zeros = np.zeros(1, dtype=np.int64)
        return (
            *self._side_words(words, 0, address, workspace),
            *self._side_words(words, 1, address, workspace),
            *self._scale_words(words, 0, address),
            *self._scale_words(words, 1, address),
            address(contraction.output),
            words.table(layout.outer_output()),
            outer,
            layout.row_step,
            contraction.bits,
            contraction.kernel.spill,
            *packed,
            words.table(plan.left_matrix),
            words.table(plan.right_matrix),
            words.table(zeros if plan.left_distinct is None else plan.left_distinct),
            words.table(zeros if plan.right_distinct is None else plan.right_distinct),
            plan.row_block,
            plan.column_block,
            workspace + self.places[4] if plan.chunk else 0,
            plan.chunk,
            plan.depth_block,
        )

    def _side_words(self, words: _Words, position: int, address: Addresses, workspace: int) -> tuple[int, ...]:
        """struct contraction_side."""
        side, layout = self._sides[position], self.schedule.layout
        lanes = layout.lanes[position]
        made = tables(layout, side, lanes)
        embedded = side.read.embedded
        runs = [
            0 if marks is None else words.table(marks, np.dtype(np.uint8))
            for marks in (made.lane_runs, made.depth_runs)
        ]
        exponents, bits = (0, 0, 0), 0
        if side.quantise is not None and not embedded:
            exponents = _exponents(
                words, address, side.quantise.scale, *scale_offsets(layout, side.quantise.scale, lanes)
            )
            bits = side.quantise.macro.bits
        return (
            workspace + self.places[position] if embedded else address(side.node),
            TYPES[self.sources[position]],
            words.table(made.outer),
            words.table(made.lanes, LANE_TABLE),
            words.table(made.depth, LANE_TABLE),
            *runs,
            len(made.lanes),
            len(made.depth),
            *exponents,
            bits or 1,
            (self.form.row_panel, self.form.column_panel)[position],
            PACKED[self.form.arithmetic],
            self.form.depth_unit,
        )

    def _scale_words(self, words: _Words, position: int, address: Addresses) -> tuple[int, ...]:
        """struct contraction_scale."""
        if not self.contraction.scales:
            return 0, 0, 0
        scale, layout = self.contraction.scales[position], self.schedule.layout
        return _exponents(words, address, scale, *scale_offsets(layout, scale, layout.lanes[position]))


def _exponents(
    words: _Words, address: Addresses, scale: Scale, outer: Positions, lanes: Positions
) -> tuple[int, int, int]:
    return address(scale.node), words.table(outer), words.table(lanes, LANE_TABLE)


def prepare(contraction: Contraction, form: Format) -> Prepared | None:
    """Cuts a contraction into parts; None where an operand has too many elements for the kernels' tables."""
    if not fits(contraction):
        return None
    plan = schedule(contraction, form)
    outer, rows, columns, depth = plan.layout.counts
    sides = contraction.left, contraction.right
    sources = [_buffer_type(side) for side in sides]
    line = form.padded(depth) * form.element
    sizes = [
        dtype.size * side.read.size if side.read.embedded else 0 for dtype, side in zip(sources, sides, strict=True)
    ]
    for distinct, lanes, panel in (
        (plan.left_distinct, rows, form.row_panel),
        (plan.right_distinct, columns, form.column_panel),
    ):
        sizes.append(0 if distinct is None else len(distinct) * -(-lanes // panel) * panel * line)
    sizes.append(plan.chunks * outer * rows * columns * 8)
    ends = np.cumsum([-(-size // ALIGNMENT) * ALIGNMENT for size in sizes])
    first, second, third, fourth, fifth = (
        int(end) - -(-size // ALIGNMENT) * ALIGNMENT for end, size in zip(ends, sizes, strict=True)
    )
    return Prepared(
        contraction, form, plan, (sources[0], sources[1]), (first, second, third, fourth, fifth), int(ends[-1])
    )


def _buffer_type(side: Side) -> DType:
    """The type of the buffer that the side's strides run over."""
    if side.quantise is not None and side.read.embedded:
        return side.quantise.dtype
    return side.dtype


def _embedding(words: _Words, library: Library, side: Side, target: DType, address: Addresses, place: int) -> Work:
    """struct embedding of contraction_embed.c."""
    read, last = side.read, side.read.axes[-1]
    rows = _source_rows(side)
    exponents, offsets, bits = 0, 0, 1
    if side.quantise is not None:
        scale = side.quantise.scale
        exponents, bits = address(scale.node), side.quantise.macro.bits
        offsets = words.table(positions(scale.strides[:-1], read.source[:-1], scale.base), LANE_TABLE)
    args = (
        address(side.node),
        TYPES[side.dtype],
        place,
        TYPES[target],
        words.table(rows),
        read.source[-1],
        last.extent,
        last.first,
        last.count,
        last.start,
        last.step,
        read.fill,
        exponents,
        offsets,
        bits,
    )
    return Work(library.address("orebit_contraction_embed"), args, len(rows), max(4096 // last.extent, 1))


def _source_rows(side: Side) -> Positions:
    """For each row of the buffer the row of the source that it holds, or -1."""
    read = side.read
    found = np.zeros(1, dtype=np.int64)
    steps = row_major(read.source[:-1])
    for axis, step in zip(read.axes[:-1], steps, strict=True):
        own = np.full(axis.extent, -1, dtype=np.int64)
        own[axis.start : axis.start + axis.step * axis.count : axis.step][: axis.count] = (
            np.arange(axis.first, axis.first + axis.count) * step
        )
        found = np.where((found[:, None] < 0) | (own < 0), -1, found[:, None] + own).reshape(-1)
    return found
