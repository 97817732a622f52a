"""Programs for tests of the format."""

from __future__ import annotations

from orebit.numerics.types import DType
from orebit.program import index_map as maps
from orebit.program.builder import Builder
from orebit.program.expression import ExpressionBuilder
from orebit.program.graph import Header, Node, Program
from orebit.program.index_map import AxisMap, IndexMap


def mixed() -> Program:
    """Every kind of node, every source, fills, negative coefficients, divisors, and a state returned unchanged."""
    builder = Builder()
    w = builder.state(DType.F32, (4, 6))
    counter = builder.state(DType.I64, ())
    rows = builder.constant(DType.U8, (50, 6))
    rate = builder.parameter(DType.F32, ())
    scope = ExpressionBuilder([DType.I64], 1)
    index = builder.map(scope.finish((scope.operand(0) + scope.index(0) * 7).rem(50)), [counter], (4,))
    batch = builder.gather(index.view(maps.select_axes(2, [0])), rows.view(maps.select_axes(2, [1])), (4, 6))
    scope = ExpressionBuilder([DType.F32], 2)
    q = builder.map(scope.finish((scope.operand(0) * 8.0).to_i64().max(-127).min(127)), [w], dtype=DType.I8)
    product = builder.dot(q.view(maps.select_axes(3, [0, 2])), batch.view(maps.select_axes(3, [1, 2])), (4, 4), (6,))
    total = builder.sum(product, (4,), (4,))
    windows = IndexMap((AxisMap(-1, (0, 2)), AxisMap(5, (-1, 1), 2)))
    best = builder.max(w.view(windows, fill=float("-inf")), (4,), (3,))
    added = builder.scatter_sum(index.view(maps.select_axes(2, [1])), total.view(maps.select_axes(2, [1])), (50,), (4,))
    placed = builder.scatter_max(
        index.view(maps.select_axes(2, [1])), total.view(maps.select_axes(2, [1]), fill=-1), (50,), (4,)
    )
    scope = ExpressionBuilder([DType.F32, DType.F32, DType.F32, DType.I64, DType.I64], 2)
    old, step, top, plus, at = scope.operands
    renewed = scope.finish(at.lt(0).select(old, old - step * (top + plus.to_f32())))
    tail = maps.slices([0, 0], [1, 1])
    new = builder.map(
        renewed,
        [
            w.view(maps.identity(2)),
            rate.view(IndexMap(())),
            best.view(maps.select_axes(2, [0])),
            added.view(tail, (5, 10)),
            placed.view(tail, (5, 10)),
        ],
        (4, 6),
    )
    return builder.finish([new, counter])


def chain(count: int) -> Program:
    """One scalar of state, incremented `count` times by nodes of one descriptor."""
    builder = Builder()
    state = builder.state(DType.I64, ())
    scope = ExpressionBuilder([DType.I64])
    once = builder.finish([builder.map(scope.finish(scope.operand(0) + 1), [state])])
    nodes = (once.nodes[0], *(Node(1, (number,)) for number in range(count)))
    return Program(Header(1, 0, 0, count, 1), once.descriptors, nodes)
