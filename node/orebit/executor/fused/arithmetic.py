"""Scalar operations as LLVM instructions, with the bits of docs/numerics.md, on one lane or many.

An f32 is itself; a NaN may be any NaN until its bits are looked at. An i64 is held in one of five forms: `s` and `u`,
an i32 that holds it exactly, signed or unsigned; `low`, its low 32 bits, where nobody looks at the others; `wide`, an
i64; and `bit`, an i1 that is 0 or 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import copysign
from struct import pack
from typing import Literal

from orebit.executor.fused.analysis import INT32, MODULAR, UINT32, Interval, within
from orebit.executor.fused.text import Cursor, Value, f32, f64, integer
from orebit.executor.ranges import Range
from orebit.numerics.types import CANONICAL_NAN, INT64_MAX, INT64_MIN, DType
from orebit.program.opcodes import Op

Form = Literal["f32", "s", "u", "low", "wide", "bit"]

_FLOAT = {Op.FADD: "fadd", Op.FSUB: "fsub", Op.FMUL: "fmul", Op.FDIV: "fdiv"}
_MODULAR = {Op.IADD: "add", Op.ISUB: "sub", Op.IMUL: "mul", Op.IAND: "and", Op.IOR: "or", Op.IXOR: "xor"}
_FLOAT_ORDER = {Op.FLT: "fcmp olt", Op.FLE: "fcmp ole", Op.FEQ: "fcmp oeq"}
_ORDER = {Op.ILT: "lt", Op.ILE: "le", Op.IEQ: "eq"}
# Adding this to an integer below 2^51 in magnitude gives the bits of the double 1.5 * 2^52 plus that integer.
_EXACT_DOUBLE = 0x4338000000000000
_EXACT_DOUBLE_OFFSET = 6755399441055744.0
_EXACT_REACH = (-(1 << 51), 1 << 51)


@dataclass(frozen=True, slots=True)
class Number:
    """A value of an expression in code: what holds it, how, and (for integers) its proven range."""

    value: Value
    form: Form
    bounds: Range = (INT64_MIN, INT64_MAX)

    @property
    def lanes(self) -> int:
        return self.value.lanes


def form_of(bounds: Range, low_only: bool) -> Form:
    """The cheapest form that holds what is needed of an i64."""
    if within(bounds, INT32):
        return "s"
    if within(bounds, UINT32):
        return "u"
    return "low" if low_only else "wide"


def low(at: Cursor, x: Number) -> Value:
    """The low 32 bits."""
    if x.form == "bit":
        return at.cast("zext", x.value, "i32")
    return at.cast("trunc", x.value, "i32") if x.form == "wide" else x.value


def wide(at: Cursor, x: Number) -> Value:
    """All 64 bits."""
    if x.form == "wide":
        return x.value
    assert x.form != "low", "the high bits of this value were not computed"
    return at.cast("sext" if x.form == "s" else "zext", x.value, "i64")


def truth(at: Cursor, x: Number) -> Value:
    """Whether it is not zero, as i1."""
    return x.value if x.form == "bit" else at.compare("icmp ne", x.value, integer(0, x.value.kind))


def narrowed(at: Cursor, value: Value, form: Form, bounds: Range) -> Number:
    """A computed i64 in the form that is wanted."""
    if form != "wide":
        value = at.cast("trunc", value, "i32")
    return Number(value, form, bounds)


def canonical(at: Cursor, x: Value) -> Value:
    """An f32 with any NaN made the canonical one."""
    return at.select(at.compare("fcmp uno", x, x), at.function.canonical_nan, x)


def bits_of(at: Cursor, x: Value, interval: Interval | None = None) -> Value:
    """The bits of an f32, canonical, as i32."""
    clean = x if interval is not None and not interval.nan else canonical(at, x)
    return at.cast("bitcast", clean, "i32")


def order_key(at: Cursor, x: Value) -> Value:
    """An i32 that orders f32 as `max` does: -0 below +0, NaN above all."""
    bits = bits_of(at, x)
    return from_order_key_bits(at, bits)


def from_order_key_bits(at: Cursor, bits: Value) -> Value:
    """Negative numbers have their magnitude's bits turned round; the operation is its own inverse."""
    turned = at.binary("and", at.binary("ashr", bits, integer(31, "i32")), integer(0x7FFFFFFF, "i32"))
    return at.binary("xor", bits, turned)


def bounded(at: Cursor, op: Op, x: Value, y: Value, replaces_zero: bool) -> Value:
    """FMIN or FMAX with a y that is no NaN and, unless `replaces_zero`, not the zero that wins against the other."""
    order = "g" if op is Op.FMIN else "l"
    return at.select(at.compare(f"fcmp o{order}{'e' if replaces_zero else 't'}", x, y), y, x)


def extremum(at: Cursor, op: Op, x: Value, y: Value) -> Value:
    """FMIN or FMAX of any two."""
    order = "fcmp olt" if op is Op.FMIN else "fcmp ogt"
    chosen = at.select(at.compare(order, x, y), x, y)
    first, second = (at.cast("bitcast", v, "i32") for v in (x, y))
    both = at.cast("bitcast", at.binary("or" if op is Op.FMIN else "and", first, second), "float")
    chosen = at.select(at.compare("fcmp oeq", x, y), both, chosen)
    return at.select(at.compare("fcmp uno", x, y), f32(CANONICAL_NAN), chosen)


def to_integer(at: Cursor, x: Value, form: Form, bounds: Range, interval: Interval, clamped: bool) -> Number:
    """F_TO_I: half-even, saturating, NaN to 0."""
    rounded = at.intrinsic("roundeven", x)
    if clamped or within(bounds, INT32):
        if clamped and not (bounds[0] <= interval.low and interval.high <= bounds[1]):
            lowest, highest = (f32(int.from_bytes(pack("<f", limit), "little")) for limit in bounds)
            rounded = at.select(at.compare("fcmp ogt", rounded, lowest), rounded, lowest)  # a NaN becomes the lowest
            rounded = at.select(at.compare("fcmp olt", rounded, highest), rounded, highest)
        elif interval.nan:
            rounded = at.select(at.compare("fcmp ord", x, x), rounded, f32(0))
        whole = at.cast("fptosi", rounded, "i32")
        if clamped and interval.nan:
            whole = at.select(at.compare("fcmp ord", x, x), whole, integer(0, "i32"))
        return Number(whole, "s", bounds)
    top, bottom = f32(0x5F000000), f32(0xDF000000)
    above, below = at.compare("fcmp oge", rounded, top), at.compare("fcmp ole", rounded, bottom)
    inside = at.compare("fcmp olt", at.intrinsic("fabs", rounded), top)
    whole = at.cast("fptosi", at.select(inside, rounded, f32(0)), "i64")
    whole = at.select(above, integer(INT64_MAX), whole)
    return narrowed(at, at.select(below, integer(INT64_MIN), whole), form, bounds)


def to_float(at: Cursor, x: Number) -> Value:
    """I_TO_F: rounded once."""
    if x.form in ("s", "bit"):
        return at.cast("sitofp" if x.form == "s" else "uitofp", x.value, "float")
    if x.form == "u":
        return at.cast("uitofp", x.value, "float")
    if x.lanes > 1 and within(x.bounds, _EXACT_REACH):
        biased = at.cast("bitcast", at.binary("add", x.value, integer(_EXACT_DOUBLE)), "double")
        return at.cast("fptrunc", at.binary("fsub", biased, f64(_EXACT_DOUBLE_OFFSET)), "float")
    return at.cast("sitofp", x.value, "float")


def _comparable(at: Cursor, x: Number, y: Number) -> tuple[Value, Value, str]:
    """Both in 32 bits if one order serves them, else in 64; and that order, signed or unsigned."""
    if within(x.bounds, INT32) and within(y.bounds, INT32):
        return low(at, x), low(at, y), "s"
    if within(x.bounds, UINT32) and within(y.bounds, UINT32):
        return low(at, x), low(at, y), "u"
    return wide(at, x), wide(at, y), "s"


def _modular(at: Cursor, op: Op, args: list[Number], form: Form, bounds: Range) -> Number:
    if op is Op.INEG:
        args = [Number(integer(0, "i32"), "s", (0, 0)), *args]
    name = "sub" if op is Op.INEG else _MODULAR[op]
    x, y = args
    if op in (Op.IAND, Op.IOR, Op.IXOR) and x.form == y.form == "bit":
        return Number(at.binary(name, x.value, y.value), "bit", (0, 1))
    if form == "wide":
        return Number(at.binary(name, wide(at, x), wide(at, y)), form, bounds)
    return Number(at.binary(name, low(at, x), low(at, y)), form, bounds)


def _compare(at: Cursor, op: Op, args: list[Number], form: Form, bounds: Range) -> Number:
    x, y, sign = _comparable(at, *args)
    predicate = "eq" if op is Op.IEQ else sign + _ORDER[op]
    return Number(at.compare(f"icmp {predicate}", x, y), "bit", (0, 1))


def _pick(at: Cursor, op: Op, args: list[Number], form: Form, bounds: Range) -> Number:
    for kept, other in (args, reversed(args)):
        always = kept.bounds[1] <= other.bounds[0] if op is Op.IMIN else kept.bounds[0] >= other.bounds[1]
        if always and kept.form == form:
            return kept
    x, y, sign = _comparable(at, *args)
    chosen = at.intrinsic(sign + ("min" if op is Op.IMIN else "max"), x, y)
    if chosen.kind == "i64":
        return narrowed(at, chosen, form, bounds)
    return Number(chosen, form, bounds)


def _absolute(at: Cursor, op: Op, args: list[Number], form: Form, bounds: Range) -> Number:
    (x,) = args
    if within(x.bounds, INT32):
        return Number(at.intrinsic("abs", low(at, x), flag="false"), form, bounds)
    return narrowed(at, at.intrinsic("abs", wide(at, x), flag="false"), form, bounds)


def _shift(at: Cursor, op: Op, args: list[Number], form: Form, bounds: Range) -> Number:
    x, count = args
    fixed = count.bounds[0] & 63 if count.bounds[0] == count.bounds[1] else None
    if fixed is not None:
        if op is Op.ISHL and form != "wide":
            moved = at.binary("shl", low(at, x), integer(fixed, "i32")) if fixed < 32 else integer(0, "i32")
            return Number(moved, form, bounds)
        if op is Op.ISAR and within(x.bounds, INT32):
            return Number(at.binary("ashr", low(at, x), integer(min(fixed, 31), "i32")), "s", bounds)
        if op is not Op.ISHL and within(x.bounds, UINT32):
            moved = at.binary("lshr", low(at, x), integer(fixed, "i32")) if fixed < 32 else integer(0, "i32")
            return Number(moved, form, bounds)
    name = {Op.ISHL: "shl", Op.ISHR: "lshr", Op.ISAR: "ashr"}[op]
    places = at.binary("and", wide(at, count), integer(63))
    # To the left, what only the low bits of the result are needed of has only these itself.
    source = at.cast("zext", low(at, x), "i64") if op is Op.ISHL and form != "wide" else wide(at, x)
    return narrowed(at, at.binary(name, source, places), form, bounds)


def _rotate(at: Cursor, op: Op, args: list[Number], form: Form, bounds: Range) -> Number:
    bits, count = low(at, args[0]), low(at, args[1])
    return Number(at.intrinsic("fshl", bits, bits, count), "u", bounds)


def _divide(at: Cursor, op: Op, args: list[Number], form: Form, bounds: Range) -> Number:
    x, y = args
    name = "div" if op is Op.IDIV else "rem"
    a, b, sign = _comparable(at, x, y)
    if form == "wide":  # -2^31 by -1
        a, b = wide(at, x), wide(at, y)
    zero, one, minus = (integer(v, a.kind) for v in (0, 1, -1))
    if y.bounds[0] == y.bounds[1] and y.bounds[0] not in (0, -1):
        quotient = at.binary(sign + name, a, b)
    else:
        by_zero = at.compare("icmp eq", b, zero)
        # A divisor of -1 could overflow, and is a negation; unsigned operands have none.
        by_minus = at.compare("icmp eq", b, minus) if sign == "s" else None
        safe = at.select(by_zero, one, b)
        if by_minus is not None:
            safe = at.select(by_minus, one, safe)
        quotient = at.binary(sign + name, a, safe)
        if by_minus is not None and op is Op.IDIV:
            quotient = at.select(by_minus, at.binary("sub", zero, a), quotient)
        quotient = at.select(by_zero, zero, quotient)
    if quotient.kind == "i64":
        return narrowed(at, quotient, form, bounds)
    return Number(quotient, form, bounds)


_INTEGER: dict[Op, Callable[[Cursor, Op, list[Number], Form, Range], Number]] = {
    **{op: _modular for op in MODULAR},
    **{op: _compare for op in _ORDER},
    Op.IMIN: _pick,
    Op.IMAX: _pick,
    Op.IABS: _absolute,
    Op.ISHL: _shift,
    Op.ISHR: _shift,
    Op.ISAR: _shift,
    Op.ROTL32: _rotate,
    Op.IDIV: _divide,
    Op.IREM: _divide,
}


def apply(
    at: Cursor, op: Op, args: list[Number], low_only: bool, bounds: Range, intervals: list[Interval], clamped: bool
) -> Number:
    """One operation.

    Args:
        args: of the types that the operation takes.
        low_only, bounds: what is needed of the result, and its range, if it is an i64.
        intervals: of the arguments that are f32.
        clamped: of F_TO_I, whether it may saturate at 32 bits.
    """
    form = form_of(bounds, low_only)
    if op in _INTEGER:
        return _INTEGER[op](at, op, args, form, bounds)
    if op is Op.SELECT:
        return _select(at, args, form, bounds)
    values = [arg.value for arg in args]
    match op:
        case Op.FLT | Op.FLE | Op.FEQ:
            return Number(at.compare(_FLOAT_ORDER[op], *values), "bit", (0, 1))
        case Op.F_TO_I:
            return to_integer(at, values[0], form, bounds, intervals[0], clamped)
        case Op.F_BITS:
            return Number(bits_of(at, values[0], intervals[0]), "u", bounds)
        case Op.I_TO_F:
            return Number(to_float(at, args[0]), "f32")
        case Op.BITS_F:
            return Number(at.cast("bitcast", low(at, args[0]), "float"), "f32")
        case Op.FMIN | Op.FMAX:
            return Number(_float_extremum(at, op, values, intervals), "f32")
        case _:
            return Number(_float(at, op, values), "f32")


def _float_extremum(at: Cursor, op: Op, values: list[Value], intervals: list[Interval]) -> Value:
    x, y = values
    for first, second, interval in ((x, y, intervals[1]), (y, x, intervals[0])):
        if interval.nan:
            continue
        if interval.low > 0 or interval.high < 0:
            return bounded(at, op, first, second, False)
        if second.constant:
            return bounded(at, op, first, second, (copysign(1.0, interval.low) > 0) == (op is Op.FMAX))
    return extremum(at, op, x, y)


def _float(at: Cursor, op: Op, values: list[Value]) -> Value:
    match op:
        case Op.FSQRT:
            return at.intrinsic("sqrt", *values)
        case Op.FROUND:
            return at.intrinsic("roundeven", *values)
        case Op.FABS:
            return at.intrinsic("fabs", *values)
        case Op.FNEG:
            return at.put(f"fneg {values[0].typed}", "float", values[0].lanes)
        case _:
            return at.binary(_FLOAT[op], *values)


def _select(at: Cursor, args: list[Number], form: Form, bounds: Range) -> Number:
    condition, taken, other = args
    chosen = truth(at, condition)
    if taken.form == "f32":
        return Number(at.select(chosen, taken.value, other.value), "f32")
    if taken.form == other.form == "bit":
        return Number(at.select(chosen, taken.value, other.value), "bit", (0, 1))
    if form == "wide":
        return Number(at.select(chosen, wide(at, taken), wide(at, other)), form, bounds)
    return Number(at.select(chosen, low(at, taken), low(at, other)), form, bounds)


def wrap(at: Cursor, x: Number, dtype: DType, bounds: Range) -> Number:
    """An i64 as a narrower type holds it."""
    if within(x.bounds, dtype.range):
        return Number(x.value, x.form, x.bounds)
    kind = f"i{8 * dtype.size}"
    if kind == "i32":
        return Number(low(at, x), "s", bounds)
    small = at.cast("trunc", low(at, x), kind)
    return Number(at.cast("sext" if dtype.is_signed else "zext", small, "i32"), "s", bounds)


def stored(at: Cursor, x: Number, dtype: DType) -> Value:
    """What is written to a buffer of `dtype`."""
    if dtype.is_float:
        return x.value
    if dtype is DType.I64:
        return wide(at, x)
    return at.cast("trunc", low(at, x), f"i{8 * dtype.size}") if dtype.size < 4 else low(at, x)


def loaded(at: Cursor, value: Value, dtype: DType, bounds: Range, low_only: bool) -> Number:
    """What was read from a buffer of `dtype`."""
    if dtype.is_float:
        return Number(value, "f32")
    if dtype is DType.I64:
        return narrowed(at, value, form_of(bounds, low_only), bounds)
    return Number(at.cast("sext" if dtype.is_signed else "zext", value, "i32"), "s", bounds)
