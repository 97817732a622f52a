"""Proven ranges of integers: what lets a kernel that does not round be chosen.

A range follows from element types and from the expressions that made a tensor, never from what a program declares.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from orebit.numerics.types import INT64_MAX, INT64_MIN, MASK32, DType
from orebit.program.descriptor import Descriptor, Kind
from orebit.program.expression import Expression, Instruction
from orebit.program.opcodes import Op

Range = tuple[int, int]
FULL: Range = (INT64_MIN, INT64_MAX)
_BOOLEAN = (Op.FLT, Op.FLE, Op.FEQ, Op.ILT, Op.ILE, Op.IEQ)


def type_range(dtype: DType) -> Range:
    """All values of an integer type; for f32, which has none, the full range."""
    return FULL if dtype.is_float else dtype.range


def union(*ranges: Range) -> Range:
    return min(low for low, _ in ranges), max(high for _, high in ranges)


def magnitude(bounds: Range) -> int:
    """The greatest absolute value in a range."""
    return max(abs(bounds[0]), abs(bounds[1]))


def _unless_wrapping(low: int, high: int) -> Range:
    return (low, high) if low >= INT64_MIN and high <= INT64_MAX else FULL


def output_range(descriptor: Descriptor, reads: Sequence[Range]) -> Range:
    """The values that a node's output can hold, given those of the tensors it reads."""
    if descriptor.kind is Kind.INPUT or descriptor.dtype.is_float:
        return type_range(descriptor.dtype)
    views = [
        union(bounds, (operand.fill, operand.fill)) if not operand.dtype.is_float else FULL
        for bounds, operand in zip(reads, descriptor.operands, strict=True)
    ]
    if descriptor.kind is Kind.MAP:
        assert descriptor.expression is not None
        bounds = expression_range(descriptor.expression, views, descriptor.shape)
        low, high = type_range(descriptor.dtype)
        return bounds if low <= bounds[0] and bounds[1] <= high else (low, high)
    if descriptor.kind in (Kind.MAX, Kind.GATHER, Kind.SCATTER_MAX):
        return views[-1]
    count = prod(descriptor.reduction)
    if descriptor.kind is Kind.DOT:
        reach = magnitude(views[0]) * magnitude(views[1]) * count
        return _unless_wrapping(-reach, reach)
    low, high = views[-1]
    return _unless_wrapping(min(low * count, 0), max(high * count, 0))


def expression_range(expression: Expression, operands: Sequence[Range], shape: Sequence[int]) -> Range:
    """The range of an expression's i64 result; f32 values along the way count as the full range."""
    values = list(operands)
    for instruction in expression.instructions:
        values.append(_instruction_range(instruction, values, shape))
    return values[-1]


def _instruction_range(instruction: Instruction, values: list[Range], shape: Sequence[int]) -> Range:
    op = instruction.op
    args = [values[arg] for arg in instruction.args]
    if op in _BOOLEAN:
        return 0, 1
    match op:
        case Op.CONST_I64:
            return instruction.immediate, instruction.immediate
        case Op.INDEX:
            return 0, shape[instruction.immediate] - 1
        case Op.FLAT:
            return 0, prod(shape) - 1
        case Op.F_BITS | Op.ROTL32:
            return 0, MASK32
        case Op.SELECT:
            return union(args[1], args[2])
        case Op.IMIN:
            return min(args[0][0], args[1][0]), min(args[0][1], args[1][1])
        case Op.IMAX:
            return max(args[0][0], args[1][0]), max(args[0][1], args[1][1])
        case _:
            return _arithmetic_range(op, args)


def _arithmetic_range(op: Op, args: list[Range]) -> Range:
    match op, args:
        case Op.IADD, [(a, b), (c, d)]:
            return _unless_wrapping(a + c, b + d)
        case Op.ISUB, [(a, b), (c, d)]:
            return _unless_wrapping(a - d, b - c)
        case Op.IMUL, [(a, b), (c, d)]:
            corners = (a * c, a * d, b * c, b * d)
            return _unless_wrapping(min(corners), max(corners))
        case Op.INEG, [(a, b)]:
            return _unless_wrapping(-b, -a)
        case Op.IABS, [(a, b)]:
            return _unless_wrapping(0 if a <= 0 <= b else min(abs(a), abs(b)), max(abs(a), abs(b)))
        case Op.IAND, [(a, b), (c, d)] if a >= 0 or c >= 0:
            return 0, min(high for low, high in ((a, b), (c, d)) if low >= 0)
        case Op.ISAR, [(a, b), (c, d)] if c == d:
            return a >> (c & 63), b >> (c & 63)
        case Op.ISHR, [_, (c, d)] if c == d and c & 63:
            return 0, (1 << (64 - (c & 63))) - 1
        case Op.IDIV, [(a, b), _] if a > INT64_MIN:
            reach = max(abs(a), abs(b))
            return -reach, reach
        case _:
            return FULL
