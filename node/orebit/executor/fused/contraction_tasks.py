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
NORM_BYTES = 16
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
class Places:
    """Where a contraction's own memory lies in its workspace, for the left and the right side: embedded sources,
    packed panels and their norms; partial sums; and the size of it all, in bytes."""

    buffers: tuple[int, int]
    packed: tuple[int, int]
    norms: tuple[int, int]
    partial: int
    size: int


@dataclass(frozen=True)
class Prepared:
    """A contraction cut into parts for one machine's kernels. Its tasks use `workspace` bytes of memory, aligned to 64,
    beside the buffers of `contraction.operands` and `contraction.output`; nothing in it outlives them."""

    contraction: Contraction
    form: Format
    schedule: Schedule
    sources: tuple[DType, DType]
    places: Places

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
                place = workspace + self.places.buffers[position]
                work.append(_embedding(words, library, side, self.sources[position], address, place))
        args = self._words(words, library.address(self.form.kernel), address, workspace)
        return work + self._products(library, args), words.kept

    @property
    def workspace(self) -> int:
        return self.places.size

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

    def _words(self, words: _Words, product: int, address: Addresses, workspace: int) -> tuple[int, ...]:
        contraction, plan, layout = self.contraction, self.schedule, self.schedule.layout
        return (
            *self._side_words(words, 0, address, workspace),
            *self._side_words(words, 1, address, workspace),
            *self._scale_words(words, 0, address),
            *self._scale_words(words, 1, address),
            *self._whole_words(words, 0, workspace),
            *self._whole_words(words, 1, workspace),
            product,
            address(contraction.output),
            words.table(layout.outer_output()),
            layout.row_step,
            contraction.bits,
            contraction.kernel.spill,
            plan.row_block,
            plan.column_block,
            workspace + self.places.partial if plan.chunk else 0,
            plan.chunk,
        )

    def _whole_words(self, words: _Words, position: int, workspace: int) -> tuple[int, ...]:
        """struct contraction_whole."""
        plan = self.schedule
        distinct = (plan.left_distinct, plan.right_distinct)[position]
        if distinct is None:
            return 0, 0, 0, 0
        return (
            workspace + self.places.packed[position],
            workspace + self.places.norms[position],
            words.table((plan.left_matrix, plan.right_matrix)[position]),
            words.table(distinct),
        )

    def _side_words(self, words: _Words, position: int, address: Addresses, workspace: int) -> tuple[int, ...]:
        """struct contraction_side."""
        side, layout = self._sides[position], self.schedule.layout
        lanes = layout.lanes[position]
        panel = (self.form.row_panel, self.form.column_panel)[position]
        made = tables(layout, side, lanes, panel)
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
            workspace + self.places.buffers[position] if embedded else address(side.node),
            TYPES[self.sources[position]],
            words.table(made.outer),
            words.table(made.lanes, LANE_TABLE),
            words.table(made.depth, LANE_TABLE),
            *runs,
            len(made.lanes),
            len(made.depth),
            *exponents,
            bits or 1,
            panel,
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
    left, right = (_buffer_type(side) for side in (contraction.left, contraction.right))
    return Prepared(contraction, form, plan, (left, right), _places(contraction, form, plan, (left, right)))


def _places(contraction: Contraction, form: Format, plan: Schedule, types: tuple[DType, DType]) -> Places:
    outer, rows, columns, depth = plan.layout.counts
    line = form.padded(depth) * form.element
    starts, end = [], 0

    def take(size: int) -> None:
        nonlocal end
        starts.append(end)
        end += -(-size // ALIGNMENT) * ALIGNMENT

    for dtype, side in zip(types, (contraction.left, contraction.right), strict=True):
        take(dtype.size * side.read.size if side.read.embedded else 0)
    for distinct, lanes, panel in (
        (plan.left_distinct, rows, form.row_panel),
        (plan.right_distinct, columns, form.column_panel),
    ):
        panels = 0 if distinct is None else len(distinct) * -(-lanes // panel)
        take(panels * panel * line)
        take(panels * NORM_BYTES)
    take(plan.chunks * outer * rows * columns * 8)
    first, second, left, left_norms, right, right_norms, partial = starts
    return Places((first, second), (left, right), (left_norms, right_norms), partial, end)


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
