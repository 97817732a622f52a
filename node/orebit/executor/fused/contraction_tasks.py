"""Contractions bound to memory: the words and tasks of native/csrc/contraction*.c."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from orebit.executor.fused.contraction import Contraction, Scale, Side
from orebit.executor.fused.contraction_buffer import Buffer, buffer_offsets, buffer_rows, row_scales
from orebit.executor.fused.contraction_kernels import Arithmetic
from orebit.executor.fused.contraction_layout import RUN, runs, scale_offsets, side_offsets
from orebit.executor.fused.contraction_reads import Positions
from orebit.executor.fused.contraction_schedule import Format, Schedule, schedule
from orebit.executor.native.library import Library, Work
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
            buffer = self.schedule.buffers[position]
            if buffer is not None:
                place = workspace + self.places.buffers[position]
                work.append(_embedding(words, library, side, buffer, self.sources[position], address, place))
        args = self._words(words, self.form.kernel, address, workspace)
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
        side, layout, order = self._sides[position], self.schedule.layout, self.schedule.order
        lanes, panel = layout.lanes[position], (self.form.row_panel, self.form.column_panel)[position]
        buffer = self.schedule.buffers[position]
        paired = buffer is not None and buffer.pair is not None
        if buffer is not None:
            outer, own, depth = buffer_offsets(layout, buffer, lanes, order)
        else:
            outer, own, depth = side_offsets(layout, side.read, lanes)
            depth = depth if order is None else depth[order.positions]
        marks = [
            None if found is None else words.table(found, np.dtype(np.uint8))
            for found in (
                runs(own, min(panel, RUN), 2 if paired else 1),
                None if paired else runs(depth, RUN),
            )
        ]
        exponents, bits, tame = (0, 0, 0), 0, False
        if side.quantise is not None and buffer is None:
            exponents = _exponents(
                words, address, side.quantise.scale, *scale_offsets(layout, side.quantise.scale, lanes)
            )
            bits, tame = side.quantise.macro.bits, side.quantise.tame
        return (
            address(side.node) if buffer is None else workspace + self.places.buffers[position],
            TYPES[self.sources[position]],
            words.table(outer),
            words.table(own, LANE_TABLE),
            words.table(depth, LANE_TABLE),
            *(mark or 0 for mark in marks),
            int(paired),
            len(own),
            len(depth),
            *exponents,
            bits or 1,
            int(tame),
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


def prepare(contraction: Contraction, form: Format) -> Prepared:
    """Cuts a contraction into parts."""
    plan = schedule(contraction, form)
    left, right = (_source_type(side, form) for side in (contraction.left, contraction.right))
    return Prepared(contraction, form, plan, (left, right), _places(form, plan, (left, right)))


def _places(form: Format, plan: Schedule, types: tuple[DType, DType]) -> Places:
    outer, rows, columns, _ = plan.layout.counts
    line = form.padded(plan.depth) * form.element
    starts, end = [], 0

    def take(size: int) -> None:
        nonlocal end
        starts.append(end)
        end += -(-size // ALIGNMENT) * ALIGNMENT

    for dtype, buffer in zip(types, plan.buffers, strict=True):
        take(0 if buffer is None else dtype.size * buffer.size)
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


def _source_type(side: Side, form: Format) -> DType:
    """The type that is packed from: a buffer's where the side is embedded."""
    if not side.read.embedded:
        return side.dtype
    if form.arithmetic is not Arithmetic.FLOAT64:
        return DType.I16
    return side.dtype if side.quantise is None else side.quantise.dtype


def _embedding(
    words: _Words, library: Library, side: Side, buffer: Buffer, target: DType, address: Addresses, place: int
) -> Work:
    """struct embedding of contraction_embed.c."""
    read, rows = buffer.read, buffer_rows(buffer)
    exponents, first, second, bits = 0, 0, 0, 1
    if side.quantise is not None:
        scale = side.quantise.scale
        offsets = row_scales(read.source, scale.strides, scale.base)
        exponents, bits = address(scale.node), side.quantise.macro.bits
        first, second = (words.table(offsets[np.maximum(held, 0)], LANE_TABLE) for held in (rows.first, rows.second))
    last, axis = read.axes[-1], len(read.source) - 1
    blocks = buffer.extents[0] if len(read.source) > 1 else 1
    args = (
        address(side.node),
        TYPES[side.dtype],
        place,
        TYPES[target],
        buffer.size // blocks,
        words.table(rows.blocks),
        words.table(rows.place, LANE_TABLE),
        words.table(rows.first, LANE_TABLE),
        words.table(rows.second, LANE_TABLE),
        exponents,
        first,
        second,
        bits,
        read.source[-1],
        last.first,
        last.count,
        last.start,
        last.step,
        buffer.phases,
        buffer.part_step(axis),
        buffer.unit,
        int(last.start + last.step * last.count - last.step + 1 < last.extent),
        read.fill,
    )
    return Work(library.address("orebit_contraction_embed"), args, blocks)
