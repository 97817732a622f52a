"""Expressions compiled, once a descriptor, to a straight line of torch calls, each rounding on its own.

Values keep the smallest shape that broadcasts to the output. Comparisons stay bool until something needs an i64. NaN is
made canonical where its bits become visible: in a bitcast here, and by whoever stores a new state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod

import torch

from orebit.executor import integers
from orebit.executor.storage import canonicalise, fill_scalar, held_type
from orebit.executor.views import plan_reader, row_major
from orebit.numerics.types import INT64_MAX, INT64_MIN, MASK32, DType
from orebit.program.descriptor import Descriptor
from orebit.program.expression import Expression, Instruction
from orebit.program.opcodes import SIGNATURES, Op

Tensor = torch.Tensor
Kernel = Callable[[Sequence[Tensor]], Tensor]

# Elements of the output computed at a time: intermediate values of a chunk stay in the cache.
CHUNK = 1 << 16


def integer(value: int) -> Tensor:
    return torch.tensor(value, dtype=torch.int64)


_LOW = integer(MASK32)
_ONE, _ZERO, _MINUS_ONE = integer(1), integer(0), integer(-1)
_31, _32, _63 = integer(31), integer(32), integer(63)
_INT64_MIN, _INT64_MAX = integer(INT64_MIN), integer(INT64_MAX)
_TWO_63 = torch.tensor(2.0**63, dtype=torch.float32)


def f32_sqrt(x: Tensor) -> Tensor:
    """Through f64, whose 53 digits make the second rounding innocuous; torch's own f32 square root is not exact."""
    return x.to(torch.float64).sqrt().to(torch.float32)


def f32_min(x: Tensor, y: Tensor) -> Tensor:
    """torch's minimum keeps NaN; where both are equal, the sign bit of either zero wins."""
    both = (x.view(torch.int32) | y.view(torch.int32)).view(torch.float32)
    return torch.where(x == y, both, torch.minimum(x, y))


def f32_max(x: Tensor, y: Tensor) -> Tensor:
    both = (x.view(torch.int32) & y.view(torch.int32)).view(torch.float32)
    return torch.where(x == y, both, torch.maximum(x, y))


def f32_to_i64(x: Tensor) -> Tensor:
    """Half-even. What C++ leaves undefined, NaN and what exceeds the range, is settled before the conversion."""
    rounded = torch.round(x)
    inside = torch.abs(rounded) < _TWO_63
    if bool(inside.all()):
        return rounded.to(torch.int64)
    whole = torch.where(inside, rounded, torch.zeros_like(rounded)).to(torch.int64)
    whole = torch.where(rounded >= _TWO_63, _INT64_MAX, whole)
    return torch.where(rounded <= -_TWO_63, _INT64_MIN, whole)


def f32_bits(x: Tensor) -> Tensor:
    return canonicalise(x).view(torch.int32).to(torch.int64) & _LOW


def bits_f32(x: Tensor) -> Tensor:
    return x.to(torch.int32).view(torch.float32)


def shift_left(x: Tensor, count: Tensor) -> Tensor:
    return torch.bitwise_left_shift(x, count & _63)


def shift_right_arithmetic(x: Tensor, count: Tensor) -> Tensor:
    return torch.bitwise_right_shift(x, count & _63)


def shift_right_logical(x: Tensor, count: Tensor) -> Tensor:
    count = count & _63
    sign_copies = torch.bitwise_left_shift(torch.bitwise_left_shift(_MINUS_ONE, _63 - count), _ONE)
    return torch.bitwise_right_shift(x, count) & ~sign_copies


def rotate_left_32(x: Tensor, count: Tensor) -> Tensor:
    low, count = x & _LOW, count & _31
    return (torch.bitwise_left_shift(low, count) | torch.bitwise_right_shift(low, _32 - count)) & _LOW


def divide(x: Tensor, y: Tensor) -> Tensor:
    """Truncating; by zero 0, and by -1 the wrapped negation, neither of which the processor may be asked for."""
    safe = torch.where((y == _ZERO) | (y == _MINUS_ONE), _ONE, y)
    quotient = torch.div(x, safe, rounding_mode="trunc")
    quotient = torch.where(y == _MINUS_ONE, torch.neg(x), quotient)
    return torch.where(y == _ZERO, _ZERO, quotient)


def remainder(x: Tensor, y: Tensor) -> Tensor:
    rest = x - divide(x, y) * y
    return torch.where(y == _ZERO, _ZERO, rest)


CALLS: dict[Op, Callable[..., Tensor]] = {
    Op.FADD: torch.add,
    Op.FSUB: torch.sub,
    Op.FMUL: torch.mul,
    Op.FDIV: torch.div,
    Op.FSQRT: f32_sqrt,
    Op.FNEG: torch.neg,
    Op.FABS: torch.abs,
    Op.FMIN: f32_min,
    Op.FMAX: f32_max,
    Op.FLT: torch.lt,
    Op.FLE: torch.le,
    Op.FEQ: torch.eq,
    Op.FROUND: torch.round,
    Op.F_TO_I: f32_to_i64,
    Op.I_TO_F: lambda x: x.to(torch.float32),
    Op.F_BITS: f32_bits,
    Op.BITS_F: bits_f32,
    Op.IADD: torch.add,
    Op.ISUB: torch.sub,
    Op.IMUL: torch.mul,
    Op.INEG: torch.neg,
    Op.IABS: torch.abs,
    Op.IAND: torch.bitwise_and,
    Op.IOR: torch.bitwise_or,
    Op.IXOR: torch.bitwise_xor,
    Op.ISHL: shift_left,
    Op.ISHR: shift_right_logical,
    Op.ISAR: shift_right_arithmetic,
    Op.ROTL32: rotate_left_32,
    Op.ILT: torch.lt,
    Op.ILE: torch.le,
    Op.IEQ: torch.eq,
    Op.IMIN: torch.minimum,
    Op.IMAX: torch.maximum,
    Op.IDIV: divide,
    Op.IREM: remainder,
}
_COMPARISONS = (Op.FLT, Op.FLE, Op.FEQ, Op.ILT, Op.ILE, Op.IEQ)
_LOGIC = (Op.IAND, Op.IOR, Op.IXOR)


def _to_i64(x: Tensor) -> Tensor:
    return x.to(torch.int64)


def _not_zero(x: Tensor) -> Tensor:
    return torch.ne(x, _ZERO)


@dataclass(slots=True)
class _Call:
    function: Callable[..., Tensor]
    args: tuple[int, ...]
    result: int
    dead: list[int] = field(default_factory=list)


class _Compiler:
    """Turns instructions to calls over slots. Operands and axis indices fill the first slots."""

    def __init__(self, expression: Expression, shape: Sequence[int]) -> None:
        self.expression = expression
        self.shape = tuple(shape)
        self.calls: list[_Call] = []
        self.constants: dict[int, Tensor] = {}
        self.axes: dict[int, int] = {}
        self.slots = len(expression.operands)
        self.bools: set[int] = set()
        self._widened: dict[int, int] = {}
        values = [self._load(position) for position in range(len(expression.operands))]
        for instruction in expression.instructions:
            values.append(self._instruction(instruction, values))
        self.result = values[-1]
        self._mark_dead()

    def _new(self) -> int:
        self.slots += 1
        return self.slots - 1

    def _call(self, function: Callable[..., Tensor], *args: int) -> int:
        result = self._new()
        if args and all(arg in self.constants for arg in args):
            self.constants[result] = function(*(self.constants[arg] for arg in args))
        else:
            self.calls.append(_Call(function, args, result))
        return result

    def _constant(self, tensor: Tensor) -> int:
        slot = self._new()
        self.constants[slot] = tensor
        return slot

    def _load(self, position: int) -> int:
        dtype = self.expression.operands[position]
        return position if dtype in (DType.F32, DType.I64) else self._call(_to_i64, position)

    def _axis(self, axis: int) -> int:
        if axis not in self.axes:
            self.axes[axis] = self._new()
        return self.axes[axis]

    def _flat(self) -> int:
        total = self._constant(_ZERO)
        for axis, stride in enumerate(row_major(self.shape)):
            if self.shape[axis] > 1:
                scaled = self._call(torch.mul, self._axis(axis), self._constant(integer(stride)))
                total = self._call(torch.add, total, scaled)
        return total

    def _wide(self, slot: int) -> int:
        if slot not in self.bools:
            return slot
        if slot not in self._widened:
            self._widened[slot] = self._call(_to_i64, slot)
        return self._widened[slot]

    def _instruction(self, instruction: Instruction, values: list[int]) -> int:
        op = instruction.op
        args = [values[arg] for arg in instruction.args]
        match op:
            case Op.CONST_F32:
                return self._constant(fill_scalar(instruction.immediate, DType.F32))
            case Op.CONST_I64:
                return self._constant(integer(instruction.immediate))
            case Op.INDEX:
                return self._axis(instruction.immediate)
            case Op.FLAT:
                return self._flat()
            case Op.SELECT:
                condition = args[0] if args[0] in self.bools else self._call(_not_zero, args[0])
                return self._call(torch.where, condition, self._wide(args[1]), self._wide(args[2]))
        logical = op in _LOGIC and all(arg in self.bools for arg in args)
        if not logical and SIGNATURES[op][0][0] is DType.I64:
            args = [self._wide(arg) for arg in args]
        slot = self._call(CALLS[op], *args)
        if logical or op in _COMPARISONS:
            self.bools.add(slot)
        return slot

    def _mark_dead(self) -> None:
        seen = {self.result}
        for call in reversed(self.calls):
            call.dead = [arg for arg in set(call.args) if arg not in seen and arg not in self.constants]
            seen.update(call.args)


def _chunk_axis(shape: Sequence[int]) -> int | None:
    """The first axis that can be split, when the output is larger than a chunk."""
    if prod(shape) <= CHUNK:
        return None
    return next(axis for axis, extent in enumerate(shape) if extent > 1)


def _small_integers(descriptor: Descriptor, readers: Sequence[Callable[[Tensor], Tensor]]) -> Kernel:
    assert descriptor.expression is not None
    run = integers.compile_integers(descriptor.expression, descriptor.shape)
    held, mask = held_type(descriptor.dtype), descriptor.dtype is DType.U16

    def kernel(tensors: Sequence[Tensor]) -> Tensor:
        result = torch.from_numpy(
            run([reader(tensor).numpy() for reader, tensor in zip(readers, tensors, strict=True)])
        )
        return (result & integer(0xFFFF) if mask else result).to(held)

    return kernel


def plan_map(descriptor: Descriptor) -> Kernel:
    """The kernel of a map node: operand tensors to output tensor."""
    assert descriptor.expression is not None
    shape, dtype = descriptor.shape, descriptor.dtype
    readers = [plan_reader(operand, shape) for operand in descriptor.operands]
    if integers.suits(descriptor):
        return _small_integers(descriptor, readers)
    code = _Compiler(descriptor.expression, shape)
    start: list[Tensor | None] = [code.constants.get(slot) for slot in range(code.slots)]
    for axis, slot in code.axes.items():
        extents = [shape[axis] if k == axis else 1 for k in range(len(shape))]
        start[slot] = torch.arange(shape[axis]).view(extents)
    moving = list(range(len(readers))) + list(code.axes.values())
    chunk_axis = _chunk_axis(shape)
    held = held_type(dtype)

    def run(slots: list[Tensor | None]) -> Tensor:
        for call in code.calls:
            slots[call.result] = call.function(*[slots[arg] for arg in call.args])
            for slot in call.dead:
                slots[slot] = None
        result = slots[code.result]
        assert result is not None
        return result & integer(0xFFFF) if dtype is DType.U16 and result.dtype is torch.int64 else result

    def whole(slots: list[Tensor | None]) -> Tensor:
        return run(slots).to(held).expand(shape).contiguous()

    def chunked(slots: list[Tensor | None], axis: int) -> Tensor:
        out = torch.empty(shape, dtype=held)
        rows = max(1, CHUNK * shape[axis] // prod(shape))
        for first in range(0, shape[axis], rows):
            count = min(rows, shape[axis] - first)
            part = list(slots)
            for slot in moving:
                tensor = part[slot]
                if tensor is not None and tensor.shape[axis] > 1:
                    part[slot] = tensor.narrow(axis, first, count)
            out.narrow(axis, first, count).copy_(run(part))
        return out

    def kernel(tensors: Sequence[Tensor]) -> Tensor:
        slots = list(start)
        for position, (reader, tensor) in enumerate(zip(readers, tensors, strict=True)):
            slots[position] = reader(tensor)
        return whole(slots) if chunk_axis is None else chunked(slots, chunk_axis)

    return kernel
