"""Kernels that lay an operand of a product out as digits: `[digit][batch][row][depth]` bytes, zeros behind the depth.

They read through the operand's index map, so that a convolution's windows, its padding and its strides are read in
place.
"""

from __future__ import annotations

from collections.abc import Sequence

from orebit.executor.cuda.body import Body, Scope, decode
from orebit.executor.cuda.digits import Axes, Product
from orebit.executor.cuda.kernel import BLOCK, Kernel, blocks, index_type, make, point_lines
from orebit.executor.fused.build import RegionBuilder
from orebit.executor.fused.region import Load, Region
from orebit.executor.ranges import Range
from orebit.program.descriptor import Descriptor

DEPTH_UNIT = 64
_WORD = 4


def padded(depth: int) -> int:
    return -(-max(depth, 1) // DEPTH_UNIT) * DEPTH_UNIT


def packed_bytes(product: Product, side: int) -> int:
    """Bytes of one packed operand: side 0 is that of the rows."""
    batch, rows, columns, depth = product.shape
    return product.digits[side] * batch * (rows, columns)[side] * padded(depth)


def doubles_bytes(product: Product, side: int) -> int:
    """As `packed_bytes`, of an operand packed as float64."""
    batch, rows, columns, depth = product.shape
    return 8 * batch * (rows, columns)[side] * depth


def pack(descriptor: Descriptor, product: Product, side: int, reads: Sequence[Range]) -> Kernel:
    """Packs one operand of a dot; its pointers are the operand and the packed bytes.

    Args:
        reads: proven ranges of the dot's operands.
    """
    own = (product.rows, product.columns)[side]
    region = _read(descriptor, product, product.sides[side], own, reads)
    body = Body(region)
    batch, rows, depth = product.count(product.batch), product.count(own), product.count(product.depth)
    words = padded(depth) // _WORD
    points = batch * rows * words
    kind = index_type(points * _WORD)
    axes = range(len(region.extents))
    inner = len(product.depth)
    lines = [
        f"const {kind} point = ({kind})blockIdx.x * {BLOCK} + ({kind})threadIdx.x;",
        f"if (point >= {points}) return;",
        *_places(kind, batch, rows, words, _rows_lie_side_by_side(region, inner)),
    ]
    outer, indices = decode(axes[: len(axes) - inner], region.extents, "line", kind, "i")
    scope = Scope(indices, lines=[*lines, *outer])
    walked, depths = decode(axes[len(axes) - inner :], region.extents, "k", kind, "i")
    place = Scope({**indices, **depths}, scope, lines=walked)
    value = body.value(place, len(region.steps) - 1)
    count = product.digits[side]
    names = [f"digit{d}" for d in range(count)]
    scope.add(*(f"u32 {name} = 0;" for name in names))
    scope.add(
        f"for (i32 byte = 0; byte < {_WORD}; byte++) {{",
        f"  const {kind} k = word * {_WORD} + byte;",
        f"  if (k >= {max(depth, 1)}) break;",
        *("  " + line for line in place.lines),
        *(f"  {name} |= (u32)(u8)ob_digit((i32){value.text}, {d}) << (8 * byte);" for d, name in enumerate(names)),
        "}",
    )
    plane = batch * rows * words
    scope.add(*(f"packed[(i64)line * {words} + word + {d * plane}LL] = {name};" for d, name in enumerate(names)))
    return make([*body.parameters(), "u32* __restrict__ packed"], scope.lines, (blocks(points), 1, 1))


def pack_doubles(descriptor: Descriptor, product: Product, side: int, reads: Sequence[Range]) -> Kernel:
    """Lays one operand of a dot out as `[batch][row][depth]` float64; its pointers are the operand and these."""
    own = (product.rows, product.columns)[side]
    region = _read(descriptor, product, product.sides[side], own, reads)
    body = Body(region)
    points = product.count(product.batch) * product.count(own) * product.count(product.depth)
    decoded, indices = decode(range(len(region.extents)), region.extents, "point", index_type(points), "i")
    scope = Scope(indices, lines=[*point_lines(points), *decoded])
    value = body.value(scope, len(region.steps) - 1)
    scope.add(f"packed[point] = (double)(i32){value.text};")
    return make([*body.parameters(), "double* __restrict__ packed"], scope.lines, (blocks(points), 1, 1))


def _places(kind: str, batch: int, rows: int, words: int, by_rows: bool) -> list[str]:
    """Statements that say which row (of all batches) and which four depths a thread packs."""
    if not by_rows:
        return [f"const {kind} line = point / {words}, word = point % {words};"]
    return [
        f"const {kind} word = point / {rows} % {words};",
        f"const {kind} line = point % {rows} + point / {rows * words} * {rows};",
    ]


def _rows_lie_side_by_side(region: Region, inner: int) -> bool:
    """Whether the source is contiguous along its rows, so that neighbouring threads should take neighbouring rows."""
    step = region.steps[-1]
    own = len(region.extents) - inner - 1
    return isinstance(step, Load) and own >= 0 and step.strides[own] == 1 and region.extents[own] > 1


def _read(descriptor: Descriptor, product: Product, operand: int, own: Axes, reads: Sequence[Range]) -> Region:
    """One read over batch, own axes and depth, in this order."""
    order = [*product.batch, *own, *product.depth]
    axes = [(order.index(k),) if k in order else () for k in range(len(product.space))]
    extents = tuple(product.space[k] for k in order)
    builder = RegionBuilder(extents, (False,) * len(order), reads)
    builder.read(descriptor, operand, axes)
    return Region(extents, builder.reduced, tuple(builder.steps), 1)
