"""Small integer expressions, by numpy: where a call costs more than its work, numpy's costs a third of torch's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orebit.executor.views import row_major
from orebit.numerics.types import MASK32
from orebit.program.descriptor import Descriptor
from orebit.program.expression import Expression, Instruction
from orebit.program.opcodes import Op

Integers = NDArray[np.int64]
Call = Callable[..., Any]

# Elements of the output up to which numpy is quicker than torch.
SMALL = 1 << 12


def _integer(value: int) -> Integers:
    return np.array(value, dtype=np.int64)


_LOW, _ONE, _ZERO = _integer(MASK32), _integer(1), _integer(0)
_31, _32, _63 = _integer(31), _integer(32), _integer(63)


def shift_right_logical(x: Integers, count: Integers) -> Any:
    return (x.astype(np.uint64) >> (count & _63).astype(np.uint64)).astype(np.int64)


def rotate_left_32(x: Integers, count: Integers) -> Any:
    low, count = x & _LOW, count & _31
    return (low << count | low >> (_32 - count)) & _LOW


def rotate_left_32_by(count: int) -> Call:
    """The same by a constant, which most rotations are."""
    left, right = _integer(count & 31), _integer(32 - (count & 31))

    def rotate(x: Integers, _: Integers) -> Any:
        low = x & _LOW
        return (low << left | low >> right) & _LOW

    return rotate


def divide(x: Integers, y: Integers) -> Any:
    """Truncating; by zero 0, and by -1 the wrapped negation, neither of which the processor may be asked for."""
    safe = np.where((y == 0) | (y == -1), _ONE, y)
    quotient = np.where(y == -1, np.negative(x), (x - np.fmod(x, safe)) // safe)
    return np.where(y == 0, _ZERO, quotient)


def remainder(x: Integers, y: Integers) -> Any:
    trivial = (y == 0) | (y == -1)
    return np.where(trivial, _ZERO, np.fmod(x, np.where(trivial, _ONE, y)))


CALLS: dict[Op, Call] = {
    Op.IADD: np.add,
    Op.ISUB: np.subtract,
    Op.IMUL: np.multiply,
    Op.INEG: np.negative,
    Op.IABS: np.absolute,
    Op.IAND: np.bitwise_and,
    Op.IOR: np.bitwise_or,
    Op.IXOR: np.bitwise_xor,
    Op.ISHL: lambda x, count: x << (count & _63),
    Op.ISHR: shift_right_logical,
    Op.ISAR: lambda x, count: x >> (count & _63),
    Op.ROTL32: rotate_left_32,
    Op.ILT: lambda x, y: np.less(x, y).astype(np.int64),
    Op.ILE: lambda x, y: np.less_equal(x, y).astype(np.int64),
    Op.IEQ: lambda x, y: np.equal(x, y).astype(np.int64),
    Op.IMIN: np.minimum,
    Op.IMAX: np.maximum,
    Op.IDIV: divide,
    Op.IREM: remainder,
    Op.SELECT: lambda condition, x, y: np.where(condition != 0, x, y),
}
_SOURCES = (Op.CONST_I64, Op.INDEX, Op.FLAT)


def suits(descriptor: Descriptor) -> bool:
    """Whether a map is small and of integers throughout."""
    expression = descriptor.expression
    return (
        expression is not None
        and prod(descriptor.shape) <= SMALL
        and not any(operand.is_float for operand in expression.operands)
        and all(instruction.op in CALLS or instruction.op in _SOURCES for instruction in expression.instructions)
    )


def compile_integers(expression: Expression, shape: Sequence[int]) -> Callable[[Sequence[Any]], Integers]:
    """The expression as a function of its operands, arrays of integers that broadcast to `shape`, to i64[shape].

    Sums and products wrap, as numpy's arrays do; what numpy says of wrapping scalars is expected and silenced.
    """
    operands = len(expression.operands)
    values: list[Any] = [None] * operands
    calls: list[tuple[Call, tuple[int, ...], int]] = []
    for number, instruction in enumerate(expression.instructions, start=operands):
        if instruction.op in CALLS:
            calls.append((_call(instruction, expression), instruction.args, number))
            values.append(None)
        else:
            values.append(_source(instruction, shape))

    def run(given: Sequence[Any]) -> Integers:
        found = list(values)
        found[:operands] = [operand.astype(np.int64, copy=False) for operand in given]
        with np.errstate(over="ignore"):
            for function, args, number in calls:
                found[number] = function(*[found[arg] for arg in args])
        return np.array(np.broadcast_to(found[-1], shape), order="C")

    return run


def _call(instruction: Instruction, expression: Expression) -> Call:
    if instruction.op is Op.ROTL32:
        place = instruction.args[1] - len(expression.operands)
        if place >= 0 and expression.instructions[place].op is Op.CONST_I64:
            return rotate_left_32_by(expression.instructions[place].immediate)
    return CALLS[instruction.op]


def _source(instruction: Instruction, shape: Sequence[int]) -> Integers:
    axes = [
        np.arange(extent, dtype=np.int64).reshape([extent if k == axis else 1 for k in range(len(shape))])
        for axis, extent in enumerate(shape)
    ]
    if instruction.op is Op.CONST_I64:
        return _integer(instruction.immediate)
    if instruction.op is Op.INDEX:
        return axes[instruction.immediate]
    return sum((stride * axis for axis, stride in zip(axes, row_major(shape), strict=True)), start=_ZERO)
