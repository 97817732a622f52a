from __future__ import annotations

import pytest

from orebit.errors import ProgramError
from orebit.numerics.types import DType
from orebit.program.expression import Expression, ExpressionBuilder, Instruction, f32_bits
from orebit.program.opcodes import LEAVES, SIGNATURES, Op


def test_operators_follow_the_type_and_constants_are_lifted() -> None:
    scope = ExpressionBuilder([DType.F32, DType.I16], 2)
    x, n = scope.operands
    expression = scope.finish((1 - x * 2) / (n + scope.index(1)).to_f32())
    assert [i.op for i in expression.instructions] == [
        Op.CONST_F32, Op.FMUL, Op.CONST_F32, Op.FSUB, Op.INDEX, Op.IADD, Op.I_TO_F, Op.FDIV,
    ]  # fmt: skip
    assert expression.instructions[0].immediate == f32_bits(2.0) == 0x40000000
    assert expression.result is DType.F32


def test_equal_subexpressions_are_made_once_and_unused_ones_dropped() -> None:
    scope = ExpressionBuilder([DType.I64])
    x = scope.operand(0)
    unused = x * 5
    expression = scope.finish((x + 1) * (x + 1))
    assert unused.number == 2
    assert [i.op for i in expression.instructions] == [Op.CONST_I64, Op.IADD, Op.IMUL]
    assert expression.instructions[2].args == (2, 2)


@pytest.mark.parametrize("op", [op for op in Op if op not in LEAVES])
def test_every_operation_round_trips(op: Op) -> None:
    types = (DType.I64, DType.F32, DType.F32) if op is Op.SELECT else SIGNATURES[op][0]
    expression = Expression(types, 1, (Instruction(op, tuple(range(len(types)))),))
    assert Expression.decode(expression.encoded, types, 1) == expression
    assert len(expression.encoded) == 1 + len(types)


def test_constants_and_indices_round_trip() -> None:
    scope = ExpressionBuilder([], 3)
    total = scope.i64(-(1 << 63)) + scope.i64((1 << 63) - 1) + scope.index(2) + scope.flat() + scope.f32(-0.0).bits()
    expression = scope.finish(total)
    assert Expression.decode(expression.encoded, [], 3) == expression


@pytest.mark.parametrize(
    ("instruction", "reason"),
    [
        (Instruction(Op.FADD, (0, 1)), "takes f32, f32"),
        (Instruction(Op.IADD, (1, 2)), "does not exist yet"),
        (Instruction(Op.SELECT, (1, 0, 1)), "two arms of one type"),
        (Instruction(Op.SELECT, (0, 0, 0)), "i64 condition"),
        (Instruction(Op.CONST_F32, (), 0x7FC00001), "NaN other than"),
        (Instruction(Op.CONST_I64, (), 1 << 63), "does not fit i64"),
        (Instruction(Op.INDEX, (), 1), "index on axis 1"),
    ],
)
def test_what_is_ill_formed_is_refused(instruction: Instruction, reason: str) -> None:
    with pytest.raises(ProgramError, match=reason):
        Expression((DType.F32, DType.I64), 1, (instruction,))


@pytest.mark.parametrize(
    "data", [b"\xff", b"\x01\x00\x00", b"\x30\x00", b"\x30\x80\x00\x00", b"\x02" + b"\xff" * 10 + b"\x00", b"\x03"]
)
def test_malformed_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ProgramError):
        Expression.decode(data, [DType.I64], 1)


def test_an_expression_without_operands_or_instructions_is_refused() -> None:
    with pytest.raises(ProgramError, match="at least one instruction"):
        Expression((), 0, ())


def test_operations_of_the_other_type_are_refused() -> None:
    scope = ExpressionBuilder([DType.F32, DType.I8])
    x, n = scope.operands
    with pytest.raises(ProgramError, match="does not exist for f32"):
        x & 1
    with pytest.raises(ProgramError, match="does not exist for i64"):
        n / 2
    with pytest.raises(ProgramError, match="not an integer"):
        n + 0.5
    with pytest.raises(ProgramError, match="must take it last"):
        scope.finish(x)


def test_constants_round_once_and_saturate() -> None:
    assert f32_bits(0.1) == 0x3DCCCCCD
    assert f32_bits(1e300) == 0x7F800000 and f32_bits(-1e300) == 0xFF800000
    assert f32_bits(float("nan")) == 0x7FC00000
