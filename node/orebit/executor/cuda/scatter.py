"""Kernels of scatters: fill the output, let every source element land by an atomic integer operation, and finish.

Atomic operations come in any order, and integers have none: the bits are the same. A maximum runs over integers of 32
or 64 bits that hold its type (an f32 as its order key), in the stage's workspace where the output has others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from orebit.executor.cuda import operations
from orebit.executor.cuda.body import Body, Scope, decode
from orebit.executor.cuda.kernel import Argument, Kernel, Launch, blocks, index_type, make, point_lines, pointwise
from orebit.executor.cuda.operations import ELEMENTS, Number
from orebit.executor.fused.build import RegionBuilder
from orebit.executor.fused.region import Region
from orebit.executor.ranges import Range
from orebit.executor.views import row_major
from orebit.numerics.types import DType
from orebit.program.descriptor import Descriptor, Kind


@dataclass(frozen=True)
class Scatter:
    """A scatter's kernels, in order, and bytes of workspace.

    Attributes:
        finish: from the workspace to the output; None where everything lands in the output itself.
    """

    fill: Kernel
    land: Kernel
    finish: Kernel | None
    workspace: int

    def launches(self, index: int, source: int, output: int) -> list[Launch]:
        target: Argument = ("node", output) if self.finish is None else ("workspace", 0)
        made = [Launch(self.fill, (target,)), Launch(self.land, (("node", index), ("node", source), target))]
        if self.finish is not None:
            made.append(Launch(self.finish, (target, ("node", output))))
        return made


def scatter(descriptor: Descriptor, reads: Sequence[Range]) -> Scatter:
    """The kernels of a scatter_sum or scatter_max whose operands have these proven ranges."""
    dtype, size = descriptor.dtype, prod(descriptor.shape)
    held = _held(descriptor)
    direct = held in (dtype.label, "u64")
    finish = None if direct else _finish(dtype, size, held)
    width = 8 if held.endswith("64") else 4
    return Scatter(_fill(descriptor, size, held), _land(descriptor, reads, held), finish, 0 if direct else width * size)


def _held(descriptor: Descriptor) -> str:
    """The C type of the integers that results run in."""
    if descriptor.kind is Kind.SCATTER_SUM:
        return "u64"
    return "i64" if descriptor.dtype is DType.I64 else "i32"


def _fill(descriptor: Descriptor, size: int, held: str) -> Kernel:
    if descriptor.kind is Kind.SCATTER_SUM:
        ground = "0"
    else:
        fill = descriptor.operands[1].fill
        float_fill = f"ob_order_key(__uint_as_float({fill:#x}u))"
        ground = float_fill if descriptor.dtype.is_float else f"({held}){operations.literal(fill)}"
    return pointwise([f"{held}* __restrict__ target"], size, f"target[point] = {ground};")


def _finish(dtype: DType, size: int, held: str) -> Kernel:
    value = "(u32)ob_turned((u32)held[point])" if dtype.is_float else f"({dtype.label})held[point]"
    parameters = [f"const {held}* __restrict__ held", f"{ELEMENTS[dtype]}* __restrict__ target"]
    return pointwise(parameters, size, f"target[point] = {value};")


def _land(descriptor: Descriptor, reads: Sequence[Range], held: str) -> Kernel:
    region, columns = _read_steps(descriptor, reads)
    body, points = Body(region), prod(region.extents)
    body.analysis.low_only = [False] * len(region.steps)
    kind = index_type(points)
    decoded, indices = decode(range(len(region.extents)), region.extents, "point", kind, "i")
    scope = Scope(indices, lines=[*point_lines(points), *decoded])
    row, source = body.value(scope, 0), body.value(scope, len(region.steps) - 1)
    strides = row_major(descriptor.shape)
    rows = descriptor.shape[0]
    scope.add(f"const i64 row = {operations.wide(row)};", f"if ((u64)row >= {rows}uLL) return;")
    place = [f"row * {strides[0]}LL"]
    place += [f"(i64){indices[axis]} * {stride}LL" for axis, stride in zip(columns, strides[1:], strict=True)]
    scope.add(_atomic(descriptor, held, f"target + ({' + '.join(place)})", source))
    return make([*body.parameters(), f"{held}* __restrict__ target"], scope.lines, (blocks(points), 1, 1))


def _atomic(descriptor: Descriptor, held: str, address: str, source: Number) -> str:
    if descriptor.kind is Kind.SCATTER_SUM:
        return f"atomicAdd({address}, (u64){operations.wide(source)});"
    if descriptor.dtype.is_float:
        return f"atomicMax({address}, ob_order_key({source.text}));"
    return f"atomicMax({address}, ({held}){operations.wide(source)});"


def _read_steps(descriptor: Descriptor, reads: Sequence[Range]) -> tuple[Region, list[int]]:
    """Index and source as the first and the last step over the space of landings, and which of its axes are the
    output's second and further ones. Those run innermost, so that neighbouring threads land side by side."""
    rank, space = len(descriptor.shape), descriptor.space
    order = [*range(rank, len(space)), *range(1, rank)]
    axes = [(order.index(k),) if k else () for k in range(len(space))]
    extents = tuple(space[k] for k in order)
    builder = RegionBuilder(extents, (False,) * len(order), reads)
    for position in range(2):
        builder.read(descriptor, position, axes)
    return Region(builder.extents, builder.reduced, tuple(builder.steps), 2), [order.index(k) for k in range(1, rank)]
