"""How a product is cut into parts: which sides are packed whole before, and the blocks that a part multiplies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orebit.executor.fused.contraction import Contraction, Side
from orebit.executor.fused.contraction_buffer import Buffer, DepthOrder, plan_buffer
from orebit.executor.fused.contraction_kernels import Arithmetic
from orebit.executor.fused.contraction_layout import Layout, lay_out
from orebit.executor.fused.contraction_reads import Positions, positions

# What one part packs for itself, at most; contraction.c keeps this much on the stack.
SCRATCH = 512 << 10
# A block of packed rows that stays in the second-level cache while columns pass by, and one of columns.
ROW_BLOCK = 128 << 10
COLUMN_BLOCK = 192 << 10
# Fewer parts than this leave threads idle.
LEAST_PARTS = 16
# A product this deep with this few results is cut along its depth.
DEEP, FEW = 4096, 1 << 17
LEAST_CHUNK = 256
PARTIAL = 16 << 20
# Rows or columns of one part, at most.
MOST_LANES = 8192


@dataclass(frozen=True, slots=True)
class Format:
    """A machine's kernel by its address, and the packed form it takes: element type, lanes in a panel of rows and
    of columns, and the unit that packed depths are padded to."""

    kernel: int
    arithmetic: Arithmetic
    row_panel: int
    column_panel: int
    depth_unit: int

    @property
    def element(self) -> int:
        """Bytes of a packed number."""
        return {Arithmetic.INT8: 1, Arithmetic.INT16: 2, Arithmetic.FLOAT64: 8}[self.arithmetic]

    def padded(self, depth: int) -> int:
        return -(-depth // self.depth_unit) * self.depth_unit


@dataclass(frozen=True)
class Schedule:
    """Blocks of one part, in rows and columns; sides packed before (with the outer positions of distinct matrices);
    for a deep product the depth of a chunk, which is a part of its own, else 0."""

    layout: Layout
    row_block: int
    column_block: int
    left_distinct: Positions | None
    right_distinct: Positions | None
    left_matrix: Positions
    right_matrix: Positions
    buffers: tuple[Buffer | None, Buffer | None]
    order: DepthOrder | None
    chunk: int = 0

    @property
    def depth(self) -> int:
        """Terms that are multiplied, those beyond an odd number of channels included."""
        return self.layout.counts[3] if self.order is None else len(self.order.positions)

    @property
    def chunks(self) -> int:
        return -(-self.depth // self.chunk) if self.chunk else 0


def schedule(contraction: Contraction, form: Format) -> Schedule:
    """The parts of a contraction for a machine whose kernels take `form`."""
    layout = lay_out(contraction.product)
    outer, rows, columns, depth = layout.counts
    buffers, order = _buffers(contraction, layout, form)
    depth = depth if order is None else len(order.positions)
    left_matrix, left_distinct = _matrices(layout, contraction.left)
    right_matrix, right_distinct = _matrices(layout, contraction.right)
    tall, wide = _up(rows, form.row_panel), _up(columns, form.column_panel)
    line = form.padded(depth) * form.element
    chunk = _chunk(layout, form)
    if chunk:
        return Schedule(layout, tall, wide, None, None, left_matrix, right_matrix, buffers, order, chunk)

    def made(row_block: int, column_block: int, left: bool, right: bool) -> Schedule:
        packed = left_distinct if left else None, right_distinct if right else None
        return Schedule(layout, row_block, column_block, *packed, left_matrix, right_matrix, buffers, order)

    many = outer >= LEAST_PARTS // 2
    if many and len(left_distinct) == outer and (tall + wide) * line <= SCRATCH:
        return made(tall, wide, False, False)
    block = _down(min(SCRATCH // line, MOST_LANES), form.column_panel)
    if _windows(layout, contraction.right) and block >= form.column_panel:
        most = _up(-(-outer * columns // LEAST_PARTS), form.column_panel)
        return made(min(tall, MOST_LANES), min(block, wide, max(most, form.column_panel)), True, False)
    row_block = min(_block(ROW_BLOCK // line, form.row_panel), tall)
    column_block = min(_block(COLUMN_BLOCK // line, form.column_panel), wide)
    return made(row_block, column_block, True, True)


def _buffers(
    contraction: Contraction, layout: Layout, form: Format
) -> tuple[tuple[Buffer | None, Buffer | None], DepthOrder | None]:
    """Where embedded sides lie. Columns decide the order of the depth, since there are more of them to pack."""
    left, right = contraction.left, contraction.right
    made: list[Buffer | None] = [None, None]
    order = None
    if right.read.embedded:
        pairs = form.arithmetic is not Arithmetic.FLOAT64 and right.read.fill == 0 and not left.read.embedded
        made[1], order = plan_buffer(layout, right.read, layout.columns, pairs)
    if left.read.embedded:
        made[0], _ = plan_buffer(layout, left.read, layout.rows, pairs=False)
    return (made[0], made[1]), order


def _chunk(layout: Layout, form: Format) -> int:
    """How deep the parts of a product with few results and a great depth are; 0 for other products."""
    outer, rows, columns, depth = layout.counts
    if depth < DEEP or outer * rows * columns > FEW:
        return 0
    lanes = _up(rows, form.row_panel) + _up(columns, form.column_panel)
    most = _down(SCRATCH // (lanes * form.element), form.depth_unit)
    wanted = min(most, _up(-(-depth // LEAST_PARTS), form.depth_unit))
    chunks = -(-depth // max(wanted, 1))
    return wanted if wanted >= LEAST_CHUNK and chunks * outer * rows * columns * 8 <= PARTIAL else 0


def _matrices(layout: Layout, side: Side) -> tuple[Positions, Positions]:
    """For each outer position the number of the side's matrix it takes, and an outer position of each matrix."""
    space, axes = layout.product.space, layout.outer
    read = positions([side.read.strides[k] for k in axes], [space[k] for k in axes])
    _, first, number = np.unique(read, return_index=True, return_inverse=True)
    return number.astype(np.int64).reshape(-1), first.astype(np.int64)


def _windows(layout: Layout, side: Side) -> bool:
    """Whether packing this side whole would hold some of its elements several times."""
    points = 1
    for k, extent in enumerate(layout.product.space):
        points *= extent if side.read.strides[k] else 1
    return points > 2 * side.read.size


def _block(lanes: int, panel: int) -> int:
    return max(_down(min(lanes, MOST_LANES), panel), panel)


def _up(count: int, unit: int) -> int:
    return -(-count // unit) * unit


def _down(count: int, unit: int) -> int:
    return count // unit * unit
