"""A kernel is chosen from proven ranges: they must hold, and hostile programs must not get a rounding product."""

from __future__ import annotations

import random

import numpy as np
import pytest
from random_programs import RandomProgram, as_array

from orebit.errors import ExecutionError
from orebit.executor.memory import peak_bytes
from orebit.executor.ranges import FULL, Range, expression_range, output_range
from orebit.executor.reductions import dot_fits_float64
from orebit.executor.reference import ReferenceExecutor
from orebit.numerics.types import DType
from orebit.program.builder import Builder
from orebit.program.descriptor import Kind, Source
from orebit.program.expression import ExpressionBuilder, identity
from orebit.program.graph import Program
from orebit.program.index_map import select_axes


def node_ranges(program: Program) -> list[Range]:
    ranges: list[Range] = []
    for node in program.nodes:
        reads = [ranges[operand] for operand in node.operands]
        ranges.append(output_range(program.descriptors[node.descriptor], reads))
    return ranges


def test_every_computed_value_lies_in_its_proven_range() -> None:
    tighter = 0
    for seed in range(200):
        made = RandomProgram(seed + 5000)
        program, inputs = made.program, made.inputs()
        given = {
            source: [as_array(v, spec) for v, spec in zip(inputs[source], program.specs(source), strict=True)]
            for source in Source
        }
        executor = ReferenceExecutor(program, given[Source.CONSTANT], given[Source.PARAMETER])
        outputs = executor.trace(given[Source.STATE])
        for number, (low, high) in enumerate(node_ranges(program)):
            dtype = program.descriptor(number).dtype
            if not dtype.is_float:
                values = outputs[number].numpy()
                assert low <= values.min() and values.max() <= high, (seed, number)
                tighter += (low, high) != dtype.range
    assert tighter > 100


def test_the_range_of_a_clamp_is_the_clamp() -> None:
    scope = ExpressionBuilder([DType.F32])
    expression = scope.finish(scope.operand(0).to_i64().max(-127).min(127))
    assert expression_range(expression, [FULL], ()) == (-127, 127)
    scope = ExpressionBuilder([DType.I64])
    escaped = scope.finish(scope.operand(0).max(-127).min(127) * (1 << 60))
    assert expression_range(escaped, [FULL], ()) == FULL


def dot_program(dtype: DType, clamp: int | None, length: int, fill: int = 0) -> Program:
    builder = Builder()
    operands = [builder.constant(dtype, (2, length)) for _ in range(2)]
    if clamp is not None:
        scope = ExpressionBuilder([dtype], 2)
        clamped = scope.finish(scope.operand(0).max(-clamp).min(clamp))
        operands = [builder.map(clamped, [operand], dtype=dtype) for operand in operands]

    a, b = (value.view(select_axes(3, [axis, 2]), fill=fill) for axis, value in enumerate(operands))
    product = builder.dot(a, b, (2, 2), (length,))
    builder.state(DType.I64, (2, 2))
    return builder.finish([product])


def uses_float64(program: Program) -> bool:
    ranges = node_ranges(program)
    number = next(n for n in program.operations if program.descriptor(n).kind is Kind.DOT)
    return dot_fits_float64(program.descriptor(number), [ranges[operand] for operand in program.nodes[number].operands])


@pytest.mark.parametrize(
    ("dtype", "clamp", "length", "fill", "float64"),
    [
        (DType.I16, None, 1 << 12, 0, True),
        (DType.I32, (1 << 21) - 1, 1 << 10, 0, True),
        (DType.I32, (1 << 21) - 1, 1 << 12, 0, False),
        (DType.I32, None, 2, 0, False),
        (DType.I64, (1 << 21) - 1, 16, 0, True),
        (DType.I64, (1 << 21) - 1, 16, 1 << 40, False),  # a fill outside the clamp counts
        (DType.I64, None, 2, 0, False),
        (DType.U16, None, 1 << 20, 0, True),
    ],
)
def test_float64_products_only_where_sums_stay_below_2_to_the_53(
    dtype: DType, clamp: int | None, length: int, fill: int, float64: bool
) -> None:
    assert uses_float64(dot_program(dtype, clamp, length, fill)) is float64


@pytest.mark.parametrize("dtype", [DType.I8, DType.U16, DType.I32, DType.I64])
def test_products_of_extreme_integers_are_exact(dtype: DType) -> None:
    rng = random.Random(4)
    low, high = dtype.range
    length = 513
    program = dot_program(dtype, None, length)
    tables = [[[rng.choice((low, high, high - 1)) for _ in range(length)] for _ in range(2)] for _ in range(2)]
    constants = [np.array(table, dtype=dtype.numpy) for table in tables]
    (result,) = ReferenceExecutor(program, constants, []).step([np.zeros((2, 2), np.int64)])
    wanted = [[DType.I64.wrap(sum(x * y for x, y in zip(a, b, strict=True))) for b in tables[1]] for a in tables[0]]
    assert result.tolist() == wanted


def test_a_step_that_does_not_fit_is_refused_before_it_is_allocated() -> None:
    builder = Builder()
    state = builder.state(DType.F32, ())
    scope = ExpressionBuilder([DType.F32], 2)
    spread = builder.map(scope.finish(scope.operand(0) + scope.index(1).to_f32()), [state], (1 << 20, 1 << 20))
    first = builder.map(identity(DType.F32, 0), [spread.view(select_axes(0, [None, None]))], ())
    program = builder.finish([first])
    assert peak_bytes(program) > 1 << 42
    with pytest.raises(ExecutionError, match="GiB"):
        ReferenceExecutor(program, [], [])
    small = dot_program(DType.I8, None, 4096)
    constants = [np.zeros((2, 4096), np.int8)] * 2
    with pytest.raises(ExecutionError, match="0.0 GiB allowed"):
        ReferenceExecutor(small, constants, [], memory_limit=1 << 10)
