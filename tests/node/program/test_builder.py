from __future__ import annotations

import pytest
from building import mixed

from orebit.errors import ProgramError
from orebit.numerics.types import DType
from orebit.program import index_map as maps
from orebit.program.builder import Builder
from orebit.program.descriptor import Kind, Source
from orebit.program.dump import dump
from orebit.program.expression import Expression, ExpressionBuilder


def plus_one(rank: int = 1) -> Expression:
    scope = ExpressionBuilder([DType.F32], rank)
    return scope.finish(scope.operand(0) + 1.0)


def test_equal_nodes_are_made_once_and_dead_ones_dropped() -> None:
    builder = Builder()
    x = builder.state(DType.F32, (3,))
    first, second = builder.map(plus_one(), [x]), builder.map(plus_one(), [x])
    assert first is second
    builder.map(plus_one(), [first])
    assert len(builder.finish([first]).operations) == 1


def test_inputs_come_first_whenever_they_are_declared() -> None:
    builder = Builder()
    x = builder.state(DType.F32, (3,), "x")
    y = builder.map(plus_one(), [x])
    p = builder.parameter(DType.F32, (3,), "p")
    c = builder.constant(DType.F32, (3,), "c")
    scope = ExpressionBuilder([DType.F32] * 3, 1)
    a, b, d = scope.operands
    z = builder.state(DType.F32, (3,), "z")
    program = builder.finish([builder.map(scope.finish(a + b + d), [y, p, c]), z])
    sources = [program.descriptor(number).source for number in range(4)]
    assert sources == [Source.STATE, Source.STATE, Source.CONSTANT, Source.PARAMETER]
    assert builder.names == {Source.STATE: ["x", "z"], Source.CONSTANT: ["c"], Source.PARAMETER: ["p"]}
    assert program.nodes[5].operands == (4, 3, 2)


def test_new_state_that_is_read_returned_twice_or_an_input_is_copied() -> None:
    builder = Builder()
    states = [builder.state(DType.F32, (3,)) for _ in range(4)]
    made = builder.map(plus_one(), [states[0]])
    read = builder.map(plus_one(), [made])
    program = builder.finish([made, read, read, states[1]])
    assert [program.nodes[number].operands for number in program.new_state] == [(4,), (5,), (5,), (1,)]


def test_states_and_results_must_match() -> None:
    builder = Builder()
    x = builder.state(DType.F32, (3,))
    with pytest.raises(ProgramError, match="1 state tensors were declared and 0 returned"):
        builder.finish([])
    scope = ExpressionBuilder([], 1)
    n = builder.map(scope.finish(scope.flat()), [], (3,))
    with pytest.raises(ProgramError, match="another expression builder"):
        ExpressionBuilder([], 1).finish(scope.flat())
    with pytest.raises(ProgramError, match="i64.* replaces f32"):
        builder.finish([n])
    with pytest.raises(ProgramError, match="another builder"):
        Builder().map(plus_one(), [x])


def test_bare_values_broadcast_and_views_need_shapes() -> None:
    builder = Builder()
    a, b = builder.constant(DType.F32, (4, 1)), builder.constant(DType.F32, (3,))
    scope = ExpressionBuilder([DType.F32, DType.F32], 2)
    value = builder.map(scope.finish(scope.operand(0) * scope.operand(1)), [a, b])
    assert value.shape == (4, 3) and value.dtype is DType.F32
    with pytest.raises(ProgramError, match="output's shape"):
        builder.map(plus_one(), [b.view(maps.identity(1))])
    with pytest.raises(ProgramError, match="cannot be viewed as"):
        builder.map(plus_one(), [b.view(maps.identity(1), (4,))], (4,))
    with pytest.raises(ProgramError, match="needs a view"):
        builder.dot(a, b, (4,), (3,))


def test_invalid_nodes_are_refused_where_they_are_made() -> None:
    builder = Builder()
    x = builder.constant(DType.F32, (3,))
    with pytest.raises(ProgramError, match=r"kind_types, operand 0\).*takes integers"):
        builder.sum(x, (), (3,))
    with pytest.raises(ProgramError, match="parameter has at most 1024 bytes"):
        builder.parameter(DType.F32, (257,))


def test_the_dump_shows_every_node() -> None:
    program = mixed()
    text = dump(program, {Source.PARAMETER: ["rate"]})
    assert text.count("\n%") == len(program.nodes) and text.startswith(f"program {program.root.hex()}")
    assert "parameter rate" in text and "(5 + -1*i0 + i1) / 2], fill 0xff800000" in text
    for kind in Kind:
        assert f"] {kind.name.lower()}" in text or kind is Kind.INPUT
