"""Straight-line elementwise expressions on f32 and i64.

Values are numbered: the operands first, then one value an instruction; the last value is the result. The encoding of
an instruction is its operation's byte followed by its immediate or by the numbers of the values it takes (varints).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from orebit.errors import ProgramError
from orebit.numerics.types import CANONICAL_NAN, INT64_MAX, INT64_MIN, MASK32, DType
from orebit.program import varint
from orebit.program.opcodes import LEAVES, SIGNATURES, Op

MAX_OPERANDS = 32
_CODES = {int(op): op for op in Op}


def f32_bits(value: float) -> int:
    """The bits of the f32 nearest to `value` (ties to even; beyond the range, an infinity; NaN is canonical)."""
    if value != value:
        return CANONICAL_NAN
    try:
        return int.from_bytes(struct.pack("<f", value), "little")
    except OverflowError:
        return 0x7F800000 if value > 0 else 0xFF800000


def is_canonical_f32(bits: int) -> bool:
    """Whether these bits are an f32 that a program may hold: any but a NaN other than the canonical one."""
    return 0 <= bits <= MASK32 and ((bits & 0x7FFFFFFF) <= 0x7F800000 or bits == CANONICAL_NAN)


@dataclass(frozen=True, slots=True)
class Instruction:
    """One operation: `args` are value numbers; `immediate` is a constant's bits or integer, or an axis."""

    op: Op
    args: tuple[int, ...] = ()
    immediate: int = 0

    def encode(self) -> bytes:
        if self.op is Op.CONST_F32:
            return bytes([self.op]) + self.immediate.to_bytes(4, "little")
        if self.op is Op.CONST_I64:
            return bytes([self.op]) + varint.signed(self.immediate)
        if self.op is Op.INDEX:
            return bytes([self.op, self.immediate])
        return bytes([self.op]) + b"".join(varint.unsigned(arg) for arg in self.args)

    @property
    def spare_bytes(self) -> int:
        """Bytes that it takes beyond the least that its operation needs: long constants and numbers of values."""
        if self.op is Op.CONST_I64:
            return len(varint.signed(self.immediate)) - 1
        return sum(len(varint.unsigned(arg)) - 1 for arg in self.args if arg > 0x7F)


@dataclass(frozen=True)
class Expression:
    """A checked expression over operands of the given scalar types, inside an output of `rank` axes.

    Raises:
        ProgramError: when a value is used before it exists or with another type, a constant is out of range or a
            NaN other than the canonical one, or an axis does not exist.
    """

    operands: tuple[DType, ...]
    rank: int
    instructions: tuple[Instruction, ...]

    def __post_init__(self) -> None:
        if len(self.operands) > MAX_OPERANDS:
            raise ProgramError(f"a map takes at most {MAX_OPERANDS} operands, not {len(self.operands)}; split it")
        if not self.types:
            raise ProgramError("an expression without operands needs at least one instruction")

    @cached_property
    def _hash(self) -> int:
        return hash((self.operands, self.rank, self.instructions))

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def types(self) -> tuple[DType, ...]:
        """The type, F32 or I64, of every value."""
        types = [dtype.scalar for dtype in self.operands]
        for instruction in self.instructions:
            types.append(_result_type(instruction, types, self.rank))
        return tuple(types)

    @property
    def result(self) -> DType:
        """F32 or I64."""
        return self.types[-1]

    @cached_property
    def encoded(self) -> bytes:
        return b"".join(instruction.encode() for instruction in self.instructions)

    @classmethod
    def decode(cls, data: bytes, operands: Sequence[DType], rank: int) -> Expression:
        """Parses the canonical bytes.

        Raises:
            ProgramError: if they are malformed or ill-typed.
        """
        reader = varint.Reader(data)
        instructions = []
        while reader.left:
            instructions.append(_read(reader))
        return cls(tuple(operands), rank, tuple(instructions))


def _read(reader: varint.Reader) -> Instruction:
    code = reader.byte()
    op = _CODES.get(code)
    if op is None:
        raise ProgramError(f"operation {code:#04x} of an expression is unknown; this program needs a newer Orebit")
    if op is Op.CONST_F32:
        return Instruction(op, (), reader.u32())
    if op is Op.CONST_I64:
        return Instruction(op, (), reader.signed())
    if op is Op.INDEX:
        return Instruction(op, (), reader.byte())
    if op is Op.FLAT:
        return Instruction(op)
    count = 3 if op is Op.SELECT else len(SIGNATURES[op][0])
    return Instruction(op, tuple(reader.unsigned() for _ in range(count)))


def _result_type(instruction: Instruction, types: list[DType], rank: int) -> DType:
    op, args = instruction.op, instruction.args
    if op in LEAVES:
        return _leaf_type(instruction, rank)
    if any(arg >= len(types) or arg < 0 for arg in args):
        raise ProgramError(f"{op.name} takes a value that does not exist yet; an expression only looks back")
    given = tuple(types[arg] for arg in args)
    if op is Op.SELECT:
        if len(given) != 3 or given[0] is not DType.I64 or given[1] is not given[2]:
            raise ProgramError("SELECT takes an i64 condition and two arms of one type")
        return given[1]
    wanted, result = SIGNATURES[op]
    if given != wanted:
        names = ", ".join(dtype.label for dtype in given)
        raise ProgramError(f"{op.name} takes {', '.join(dtype.label for dtype in wanted)}, not {names}")
    return result


def _leaf_type(instruction: Instruction, rank: int) -> DType:
    op, immediate = instruction.op, instruction.immediate
    if instruction.args or (op is Op.FLAT and immediate):
        raise ProgramError(f"{op.name} takes no values")
    if op is Op.CONST_F32:
        if not is_canonical_f32(immediate):
            raise ProgramError(f"the constant {immediate:#x} is not an f32, or a NaN other than {CANONICAL_NAN:#x}")
        return DType.F32
    if op is Op.CONST_I64 and not INT64_MIN <= immediate <= INT64_MAX:
        raise ProgramError(f"the constant {immediate} does not fit i64")
    if op is Op.INDEX and not 0 <= immediate < rank:
        raise ProgramError(f"an expression asks for its index on axis {immediate} of an output of {rank} axes")
    return DType.I64


class Scalar:
    """A value of an expression under construction; operators append instructions. Python numbers become constants.

    `+ - * /` and unary minus follow the operand's type (`/` on f32 only; integers have `div` and `rem`);
    `& | ^ << >>` are for i64, `>>` is arithmetic. Comparisons are methods, since `==` must stay Python's.
    """

    __slots__ = ("builder", "dtype", "number")

    def __init__(self, builder: ExpressionBuilder, number: int, dtype: DType) -> None:
        self.builder = builder
        self.number = number
        self.dtype = dtype

    def _apply(self, f32: Op | None, i64: Op | None, *others: Scalar | int | float) -> Scalar:
        op = f32 if self.dtype is DType.F32 else i64
        if op is None:
            raise ProgramError(f"this operation does not exist for {self.dtype.label}; convert the value first")
        return self.builder.emit(op, self, *(self.builder.lift(other, self.dtype) for other in others))

    def __add__(self, other: Scalar | int | float) -> Scalar:
        return self._apply(Op.FADD, Op.IADD, other)

    def __radd__(self, other: int | float) -> Scalar:
        return self.builder.lift(other, self.dtype) + self

    def __sub__(self, other: Scalar | int | float) -> Scalar:
        return self._apply(Op.FSUB, Op.ISUB, other)

    def __rsub__(self, other: int | float) -> Scalar:
        return self.builder.lift(other, self.dtype) - self

    def __mul__(self, other: Scalar | int | float) -> Scalar:
        return self._apply(Op.FMUL, Op.IMUL, other)

    def __rmul__(self, other: int | float) -> Scalar:
        return self.builder.lift(other, self.dtype) * self

    def __truediv__(self, other: Scalar | int | float) -> Scalar:
        return self._apply(Op.FDIV, None, other)

    def __rtruediv__(self, other: int | float) -> Scalar:
        return self.builder.lift(other, self.dtype) / self

    def __neg__(self) -> Scalar:
        return self._apply(Op.FNEG, Op.INEG)

    def __and__(self, other: Scalar | int) -> Scalar:
        return self._apply(None, Op.IAND, other)

    def __or__(self, other: Scalar | int) -> Scalar:
        return self._apply(None, Op.IOR, other)

    def __xor__(self, other: Scalar | int) -> Scalar:
        return self._apply(None, Op.IXOR, other)

    def __lshift__(self, other: Scalar | int) -> Scalar:
        return self._apply(None, Op.ISHL, other)

    def __rshift__(self, other: Scalar | int) -> Scalar:
        return self._apply(None, Op.ISAR, other)

    def shr(self, other: Scalar | int) -> Scalar:
        """Logical right shift."""
        return self._apply(None, Op.ISHR, other)

    def rotl32(self, other: Scalar | int) -> Scalar:
        """Rotation of the low 32 bits, zero-extended."""
        return self._apply(None, Op.ROTL32, other)

    def div(self, other: Scalar | int) -> Scalar:
        """Truncating integer division; by zero gives 0."""
        return self._apply(None, Op.IDIV, other)

    def rem(self, other: Scalar | int) -> Scalar:
        """Remainder with the dividend's sign; by zero gives 0."""
        return self._apply(None, Op.IREM, other)

    def abs(self) -> Scalar:
        return self._apply(Op.FABS, Op.IABS)

    def min(self, other: Scalar | int | float) -> Scalar:
        return self._apply(Op.FMIN, Op.IMIN, other)

    def max(self, other: Scalar | int | float) -> Scalar:
        return self._apply(Op.FMAX, Op.IMAX, other)

    def lt(self, other: Scalar | int | float) -> Scalar:
        return self._apply(Op.FLT, Op.ILT, other)

    def le(self, other: Scalar | int | float) -> Scalar:
        return self._apply(Op.FLE, Op.ILE, other)

    def eq(self, other: Scalar | int | float) -> Scalar:
        return self._apply(Op.FEQ, Op.IEQ, other)

    def gt(self, other: Scalar | int | float) -> Scalar:
        return self.builder.lift(other, self.dtype).lt(self)

    def ge(self, other: Scalar | int | float) -> Scalar:
        return self.builder.lift(other, self.dtype).le(self)

    def sqrt(self) -> Scalar:
        return self._apply(Op.FSQRT, None)

    def round(self) -> Scalar:
        """To the nearest integral f32, ties to even, keeping the sign of zero."""
        return self._apply(Op.FROUND, None)

    def to_i64(self) -> Scalar:
        """Half-even, saturating, NaN to 0; an i64 stays itself."""
        return self if self.dtype is DType.I64 else self._apply(Op.F_TO_I, None)

    def to_f32(self) -> Scalar:
        """Correctly rounded; an f32 stays itself."""
        return self if self.dtype is DType.F32 else self._apply(None, Op.I_TO_F)

    def bits(self) -> Scalar:
        """The f32's bits, zero-extended to i64."""
        return self._apply(Op.F_BITS, None)

    def as_f32(self) -> Scalar:
        """The f32 whose bits are the low 32 of this i64."""
        return self._apply(None, Op.BITS_F)

    def select(self, taken: Scalar | int | float, other: Scalar | int | float) -> Scalar:
        """`taken` where this i64 is not zero, else `other`; at least one arm is a Scalar or both are one type."""
        dtype = next((arm.dtype for arm in (taken, other) if isinstance(arm, Scalar)), None)
        if dtype is None:
            dtype = DType.F32 if isinstance(taken, float) or isinstance(other, float) else DType.I64
        return self.builder.emit(Op.SELECT, self, self.builder.lift(taken, dtype), self.builder.lift(other, dtype))


class ExpressionBuilder:
    """Collects instructions; equal ones are made once, unused ones are dropped by `finish`.

    Args:
        operands: element types of the map's operands, in order.
        rank: axes of the map's output.
    """

    def __init__(self, operands: Sequence[DType], rank: int = 0) -> None:
        self._operands = tuple(operands)
        self._rank = rank
        self._instructions: list[Instruction] = []
        self._types: list[DType] = [dtype.scalar for dtype in operands]
        self._known: dict[Instruction, Scalar] = {}

    def operand(self, position: int) -> Scalar:
        return Scalar(self, position, self._types[position])

    @property
    def operands(self) -> tuple[Scalar, ...]:
        return tuple(self.operand(position) for position in range(len(self._operands)))

    def f32(self, value: float) -> Scalar:
        """A constant, rounded once to f32."""
        return self._append(Instruction(Op.CONST_F32, (), f32_bits(float(value))))

    def f32_from_bits(self, bits: int) -> Scalar:
        return self._append(Instruction(Op.CONST_F32, (), bits))

    def i64(self, value: int) -> Scalar:
        return self._append(Instruction(Op.CONST_I64, (), int(value)))

    def index(self, axis: int) -> Scalar:
        """The output element's coordinate on `axis`."""
        return self._append(Instruction(Op.INDEX, (), axis))

    def flat(self) -> Scalar:
        """The output element's row-major position."""
        return self._append(Instruction(Op.FLAT))

    def lift(self, value: Scalar | int | float, dtype: DType) -> Scalar:
        if isinstance(value, Scalar):
            return value
        return self.f32(value) if dtype is DType.F32 else self.i64(_integral(value))

    def emit(self, op: Op, *args: Scalar) -> Scalar:
        return self._append(Instruction(op, tuple(arg.number for arg in args)))

    def _append(self, instruction: Instruction) -> Scalar:
        known = self._known.get(instruction)
        if known is None:
            dtype = _result_type(instruction, self._types, self._rank)
            known = Scalar(self, len(self._types), dtype)
            self._known[instruction] = known
            self._types.append(dtype)
            self._instructions.append(instruction)
        return known

    def finish(self, result: Scalar) -> Expression:
        """The expression that ends in `result`, without what it does not need.

        Raises:
            ProgramError: when `result` is an operand that is not the last one.
        """
        base = len(self._operands)
        if result.builder is not self:
            raise ProgramError("an expression's result was made by another expression builder")
        if result.number < base - 1:
            raise ProgramError("an expression that returns an operand must take it last")
        needed = {result.number}
        for number in range(result.number, base - 1, -1):
            if number in needed and number >= base:
                needed.update(self._instructions[number - base].args)
        kept = [number for number in range(base, result.number + 1) if number in needed]
        renamed = {number: number for number in range(base)}
        renamed |= {number: base + position for position, number in enumerate(kept)}
        instructions = tuple(
            Instruction(old.op, tuple(renamed[arg] for arg in old.args), old.immediate)
            for old in (self._instructions[number - base] for number in kept)
        )
        return Expression(self._operands, self._rank, instructions)


def _integral(value: int | float) -> int:
    if isinstance(value, float) and not value.is_integer():
        raise ProgramError(f"{value} is not an integer; an i64 value combines with integers only")
    return int(value)


def identity(dtype: DType, rank: int) -> Expression:
    """The expression that returns its one operand."""
    return Expression((dtype,), rank, ())
