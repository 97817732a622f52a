"""Scalar operations as CUDA C expressions, with the bits of docs/numerics.md.

An f32 is a `float`; a NaN may be any NaN until its bits are looked at. An i64 is held in one of four forms: `s` and
`u`, an i32 or u32 that holds it exactly; `low`, a u32 of its low bits, where nobody looks at the others; `wide`, an
i64. Integers that may wrap are computed unsigned, since C leaves signed overflow open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from orebit.executor.fused.analysis import CONVERTED, INT32, UINT32, Interval, within
from orebit.executor.ranges import Range
from orebit.numerics.types import INT64_MAX, INT64_MIN, DType
from orebit.program.opcodes import Op

Form = Literal["f32", "s", "u", "low", "wide"]

C_TYPES: dict[Form, str] = {"f32": "float", "s": "i32", "u": "u32", "low": "u32", "wide": "i64"}
# An f32 in memory is its bits.
ELEMENTS = {dtype: "u32" if dtype is DType.F32 else dtype.label for dtype in DType}

_FLOAT = {
    Op.FADD: "__fadd_rn({}, {})",
    Op.FSUB: "__fsub_rn({}, {})",
    Op.FMUL: "__fmul_rn({}, {})",
    Op.FDIV: "__fdiv_rn({}, {})",
    Op.FSQRT: "__fsqrt_rn({})",
    Op.FROUND: "rintf({})",
    Op.FNEG: "__uint_as_float(__float_as_uint({}) ^ 0x80000000u)",
    Op.FABS: "__uint_as_float(__float_as_uint({}) & 0x7fffffffu)",
    Op.FMIN: "ob_fmin({}, {})",
    Op.FMAX: "ob_fmax({}, {})",
}
_COMPARISONS = {Op.FLT: "<", Op.FLE: "<=", Op.FEQ: "==", Op.ILT: "<", Op.ILE: "<=", Op.IEQ: "=="}
_MODULAR = {Op.IADD: "+", Op.ISUB: "-", Op.IMUL: "*", Op.IAND: "&", Op.IOR: "|", Op.IXOR: "^"}


@dataclass(frozen=True, slots=True)
class Number:
    """A value in code: an expression without side effects, its form and (for integers) its proven range."""

    text: str
    form: Form
    bounds: Range = (INT64_MIN, INT64_MAX)

    @property
    def c_type(self) -> str:
        return C_TYPES[self.form]


def form_of(bounds: Range, low_only: bool) -> Form:
    """The cheapest form that holds what is needed of an i64."""
    if within(bounds, INT32):
        return "s"
    if within(bounds, UINT32):
        return "u"
    return "low" if low_only else "wide"


def literal(value: int) -> str:
    """An i64 constant; C has no literal for the least one."""
    return f"(-{INT64_MAX}LL - 1)" if value == INT64_MIN else f"{value}LL"


def constant(value: int, low_only: bool) -> Number:
    form = form_of((value, value), low_only)
    if form == "s":
        text = "(-2147483647 - 1)" if value == INT32[0] else str(value)
    else:
        text = literal(value) if form == "wide" else f"{value & UINT32[1]}u"
    return Number(f"({text})" if value < 0 else text, form, (value, value))


def float_constant(bits: int) -> Number:
    return Number(f"__uint_as_float({bits:#010x}u)", "f32")


def low(x: Number) -> str:
    """The low 32 bits, as u32."""
    return x.text if x.form in ("u", "low") else f"(u32){x.text}"


def wide(x: Number) -> str:
    """All 64 bits, as i64."""
    assert x.form != "low", "the high bits of this value were not computed"
    return x.text if x.form == "wide" else f"(i64){x.text}"


def from_wide(text: str, form: Form, bounds: Range) -> Number:
    """An i64 expression in the form that is wanted."""
    return Number(text if form == "wide" else f"({C_TYPES[form]})({text})", form, bounds)


def from_low(text: str, form: Form, bounds: Range) -> Number:
    """A u32 expression of the low bits in a form of 32 bits."""
    return Number(f"(i32)({text})" if form == "s" else f"({text})", form, bounds)


def apply(
    op: Op, args: Sequence[Number], low_only: bool, bounds: Range, intervals: Sequence[Interval], clamped: bool
) -> Number:
    """One operation.

    Args:
        args: of the types that the operation takes, each a name or a constant.
        low_only, bounds: what is needed of the result, and its range, if it is an i64.
        intervals: of the arguments that are f32.
        clamped: of F_TO_I, whether it may saturate at 32 bits.
    """
    form = form_of(bounds, low_only)
    if op in _FLOAT:
        return Number(_FLOAT[op].format(*(arg.text for arg in args)), "f32")
    match op:
        case Op.FLT | Op.FLE | Op.FEQ:
            return Number(f"(i32)({args[0].text} {_COMPARISONS[op]} {args[1].text})", "s", (0, 1))
        case Op.F_TO_I:
            return _to_integer(args[0], form, bounds, clamped)
        case Op.I_TO_F:
            return _to_float(args[0])
        case Op.F_BITS:
            return Number(f"ob_canonical({args[0].text})", "u", bounds)
        case Op.BITS_F:
            return Number(f"__uint_as_float({low(args[0])})", "f32")
        case Op.SELECT:
            return _select(args, form, bounds)
        case _:
            return _integer(op, args, form, bounds)


def _to_integer(x: Number, form: Form, bounds: Range, clamped: bool) -> Number:
    if clamped or within(bounds, (INT32[0], CONVERTED[1])):
        return Number(f"ob_to_i32({x.text})", "s", bounds)
    return from_wide(f"ob_to_i64({x.text})", form, bounds)


def _to_float(x: Number) -> Number:
    name = {"s": "__int2float_rn", "u": "__uint2float_rn"}.get(x.form, "__ll2float_rn")
    return Number(f"{name}({x.text if x.form in 'su' else wide(x)})", "f32")


def _select(args: Sequence[Number], form: Form, bounds: Range) -> Number:
    condition, taken, other = args
    if taken.form == "f32":
        return Number(f"({condition.text} != 0 ? {taken.text} : {other.text})", "f32")
    if form == "wide":
        return Number(f"({condition.text} != 0 ? {wide(taken)} : {wide(other)})", form, bounds)
    return from_low(f"{condition.text} != 0 ? {low(taken)} : {low(other)}", form, bounds)


def _integer(op: Op, args: Sequence[Number], form: Form, bounds: Range) -> Number:
    if op in _MODULAR or op is Op.INEG:
        return _modular(op, args, form, bounds)
    match op:
        case Op.ILT | Op.ILE | Op.IEQ:
            x, y, _ = _comparable(*args)
            return Number(f"(i32)({x} {_COMPARISONS[op]} {y})", "s", (0, 1))
        case Op.IMIN | Op.IMAX:
            x, y, size = _comparable(*args)
            kind = {"s": "i32", "u": "u32", "wide": "i64"}[size]
            text = f"ob_{'less' if op is Op.IMIN else 'more'}<{kind}>({x}, {y})"
            return from_wide(text, form, bounds) if size == "wide" else from_low(f"(u32){text}", form, bounds)
        case Op.IABS:
            if within(args[0].bounds, INT32):
                text = f"ob_abs32({args[0].text})"
                return Number(f"(i64){text}", form, bounds) if form == "wide" else from_low(text, form, bounds)
            return from_wide(f"ob_abs64({wide(args[0])})", form, bounds)
        case Op.ISHL | Op.ISHR | Op.ISAR:
            return _shift(op, args, form, bounds)
        case Op.ROTL32:
            return Number(f"ob_rotate({low(args[0])}, {low(args[1])})", "u", bounds)
        case _:
            return _divide(op, args, form, bounds)


def _modular(op: Op, args: Sequence[Number], form: Form, bounds: Range) -> Number:
    if op is Op.INEG:
        text = f"0 - (u64){wide(args[0])}" if form == "wide" else f"0u - {low(args[0])}"
    else:
        sign = _MODULAR[op]
        texts = [f"(u64){wide(arg)}" if form == "wide" else low(arg) for arg in args]
        text = f"{texts[0]} {sign} {texts[1]}"
    return Number(f"(i64)({text})", form, bounds) if form == "wide" else from_low(text, form, bounds)


def _comparable(x: Number, y: Number) -> tuple[str, str, Form]:
    """Both in 32 bits if one order serves them, else in 64."""
    if within(x.bounds, INT32) and within(y.bounds, INT32):
        return f"(i32){x.text}", f"(i32){y.text}", "s"
    if within(x.bounds, UINT32) and within(y.bounds, UINT32):
        return low(x), low(y), "u"
    return wide(x), wide(y), "wide"


def _shift(op: Op, args: Sequence[Number], form: Form, bounds: Range) -> Number:
    x, count = args
    if count.bounds[0] == count.bounds[1]:
        fixed = count.bounds[0] & 63
        if op is Op.ISHL and form != "wide":
            return from_low(f"{low(x)} << {fixed}" if fixed < 32 else "0u", form, bounds)
        if op is Op.ISAR and within(x.bounds, INT32):
            return Number(f"((i32){x.text} >> {min(fixed, 31)})", "s", bounds)
        if op is not Op.ISHL and within(x.bounds, UINT32):
            return from_low(f"{low(x)} >> {fixed}" if fixed < 32 else "0u", form, bounds)
        places = str(fixed)
    else:
        places = f"({low(count)} & 63u)"
    if op is Op.ISAR:
        return from_wide(f"{wide(x)} >> {places}", form, bounds)
    # To the left, what only the low bits of the result are needed of has only these itself.
    source = f"(u64){low(x)}" if op is Op.ISHL and form != "wide" else f"(u64){wide(x)}"
    return from_wide(f"(i64)({source} {'<<' if op is Op.ISHL else '>>'} {places})", form, bounds)


def _divide(op: Op, args: Sequence[Number], form: Form, bounds: Range) -> Number:
    x, y, size = _comparable(*args)
    name = "ob_div" if op is Op.IDIV else "ob_rem"
    if form == "wide" or size == "wide":  # -2^31 by -1 needs more than 32 bits
        return from_wide(f"{name}64({wide(args[0])}, {wide(args[1])})", form, bounds)
    if size == "u":
        return from_low(f"{name}u({x}, {y})", form, bounds)
    return from_low(f"(u32){name}32({x}, {y})", form, bounds)


def wrap(x: Number, dtype: DType, bounds: Range) -> Number:
    """An i64 as a narrower type holds it."""
    if within(x.bounds, dtype.range):
        return x
    return Number(f"(i32)({dtype.label}){low(x)}", "s", bounds)


def stored(x: Number, dtype: DType, canonical: bool) -> str:
    """What is written to a buffer of `dtype`; a NaN as the canonical one if it must be."""
    if dtype.is_float:
        return f"ob_canonical({x.text})" if canonical else f"__float_as_uint({x.text})"
    return wide(x) if dtype is DType.I64 else f"({dtype.label}){low(x)}"


def loaded(text: str, dtype: DType, bounds: Range, low_only: bool) -> Number:
    """What was read from a buffer of `dtype`, an expression of its element type."""
    if dtype.is_float:
        return Number(f"__uint_as_float({text})", "f32")
    if dtype is DType.I64:
        return from_wide(text, form_of(bounds, low_only), bounds)
    return Number(f"(i32){text}", "s", bounds)
