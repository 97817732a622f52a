"""Divisions with remainders, and questions about numbers: one map each."""

from __future__ import annotations

from typing import Any

import torch

from orebit.numerics import functions, functions_exponential
from orebit.numerics.types import DType
from orebit.program.expression import Scalar
from orebit.program.lowering.context import Lowering
from orebit.program.lowering.elementary import floor, trunc
from orebit.program.lowering.elementwise import Argument, apply, as_float
from orebit.program.lowering.registry import lowers
from orebit.program.lowering.tensor import Tensor

aten = torch.ops.aten
INFINITY = float("inf")


def _integers(lowering: Lowering, *arguments: Argument) -> bool:
    if lowering.result_type is not None:
        return not lowering.result_type.is_float
    return all(
        not argument.dtype.is_float if isinstance(argument, Tensor) else isinstance(argument, int)
        for argument in arguments
    )


def _lifted(x: Scalar | float, y: Scalar | float, dtype: DType) -> tuple[Scalar, Scalar]:
    build = x.builder if isinstance(x, Scalar) else y.builder  # type: ignore[union-attr]  # one of the two is a tensor
    return build.lift(x, dtype), build.lift(y, dtype)


def _floor_quotient(x: Scalar | float, y: Scalar | float) -> Scalar:
    a, b = _lifted(x, y, DType.I64)
    rest = a.rem(b)
    return a.div(b) - (rest.eq(0) ^ 1) * (rest.lt(0) ^ b.lt(0))


def _exact_rest(a: Scalar, b: Scalar) -> Scalar:
    """a modulo b with a's sign, for quotients below 2^24: the product is taken in two exact parts."""
    quotient = trunc(a / b)
    high = (b.bits() & 0xFFFFF000).as_f32()
    upper = (quotient.bits() & 0xFFFFF000).as_f32()
    lower = quotient - upper
    rest = ((a - upper * high) - upper * (b - high)) - lower * high - lower * (b - high)
    # The rounded quotient may be one too large.
    beyond = (rest.lt(0.0) ^ a.lt(0.0)) & (rest.eq(0.0) ^ 1)
    step = (a.lt(0.0) ^ b.lt(0.0)).select(-b, b)
    fixed = beyond.select(rest + step, rest)
    fixed = fixed.abs().ge(b.abs()).select(fixed - step, fixed)
    infinite = b.abs().eq(b.builder.f32(INFINITY)) & a.abs().lt(b.builder.f32(INFINITY))
    return infinite.select(a, fixed)


def _floor_rest(x: Scalar | float, y: Scalar | float) -> Scalar:
    a, b = _lifted(x, y, DType.F32)
    rest = _exact_rest(a, b)
    return ((rest.eq(0.0) ^ 1) & (rest.lt(0.0) ^ b.lt(0.0))).select(rest + b, rest)


@lowers(aten.div.Tensor_mode, aten.div.Scalar_mode)
def div_mode(lowering: Lowering, a: Argument, b: Argument, *, rounding_mode: str | None = None) -> Tensor:
    if rounding_mode is None:
        return as_float(lowering, lambda x, y: x / y, a, b)
    if _integers(lowering, a, b):
        if rounding_mode == "floor":
            return apply(lowering, _floor_quotient, a, b)
        return apply(lowering, lambda x, y: _lifted(x, y, DType.I64)[0].div(_lifted(x, y, DType.I64)[1]), a, b)
    rounding = floor if rounding_mode == "floor" else trunc
    return as_float(lowering, lambda x, y: rounding(x / y), a, b)


@lowers(aten.floor_divide.default, aten.floor_divide.Scalar)
def floor_divide(lowering: Lowering, a: Argument, b: Argument) -> Tensor:
    return div_mode(lowering, a, b, rounding_mode="floor")


@lowers(aten.remainder.Tensor, aten.remainder.Scalar, aten.remainder.Scalar_Tensor)
def remainder(lowering: Lowering, a: Argument, b: Argument) -> Tensor:
    """With the divisor's sign. In f32 exact for quotients below 2^24."""
    if _integers(lowering, a, b):

        def rest(x: Any, y: Any) -> Scalar:
            left, right = _lifted(x, y, DType.I64)
            return left - _floor_quotient(left, right) * right

        return apply(lowering, rest, a, b)
    return as_float(lowering, _floor_rest, a, b)


@lowers(aten.fmod.Tensor, aten.fmod.Scalar)
def fmod(lowering: Lowering, a: Argument, b: Argument) -> Tensor:
    """With the dividend's sign. In f32 exact for quotients below 2^24."""
    if _integers(lowering, a, b):
        return apply(lowering, lambda x, y: _lifted(x, y, DType.I64)[0].rem(_lifted(x, y, DType.I64)[1]), a, b)
    return as_float(lowering, lambda x, y: _exact_rest(*_lifted(x, y, DType.F32)), a, b)


@lowers(aten.isnan.default)
def isnan(lowering: Lowering, a: Tensor) -> Tensor:
    return lowering.map(lambda x: x.eq(x) ^ 1, a, dtype=DType.U8)


@lowers(aten.isinf.default)
def isinf(lowering: Lowering, a: Tensor) -> Tensor:
    if not a.dtype.is_float:
        return lowering.full(a.shape, 0, DType.U8)
    return lowering.map(lambda x: x.abs().eq(x.builder.f32(INFINITY)), a, dtype=DType.U8)


@lowers(aten.signbit.default)
def signbit(lowering: Lowering, a: Tensor) -> Tensor:
    return lowering.map(lambda x: x.bits().shr(31) if x.dtype.is_float else x.lt(0), a, dtype=DType.U8)


@lowers(aten.nan_to_num.default)
def nan_to_num(
    lowering: Lowering, a: Tensor, nan: float | None = None, high: float | None = None, low: float | None = None
) -> Tensor:
    greatest = torch.finfo(torch.float32).max
    replaced = [0.0 if nan is None else nan, greatest if high is None else high, -greatest if low is None else low]

    def value(x: Scalar) -> Scalar:
        infinity = x.builder.f32(INFINITY)
        finite = x.eq(infinity).select(replaced[1], x.eq(-infinity).select(replaced[2], x))
        return x.eq(x).select(finite, replaced[0])

    return lowering.map(value, a) if a.dtype.is_float else a


@lowers(aten.logical_xor.default)
def logical_xor(lowering: Lowering, a: Tensor, b: Tensor) -> Tensor:
    return lowering.map(lambda x, y: x.eq(0) ^ y.eq(0), a, b, dtype=DType.U8)


@lowers(aten.copysign.Tensor, aten.copysign.Scalar)
def copysign(lowering: Lowering, a: Tensor, b: Argument) -> Tensor:
    def value(x: Scalar | float, y: Scalar | float) -> Scalar:
        left, right = _lifted(x, y, DType.F32)
        return right.bits().shr(31).select(-left.abs(), left.abs())

    return as_float(lowering, value, a, b)


@lowers(aten.hypot.default)
def hypot(lowering: Lowering, a: Tensor, b: Tensor) -> Tensor:
    """Scaled by the larger, so that no square overflows."""

    def value(x: Scalar, y: Scalar) -> Scalar:
        high, low = x.abs().max(y.abs()), x.abs().min(y.abs())
        ratio = low / high
        plain = high.eq(0.0) | high.eq(high.builder.f32(INFINITY))
        return plain.select(high, high * (ratio * ratio + 1.0).sqrt())

    return as_float(lowering, value, a, b)


@lowers(aten.logaddexp.default)
def logaddexp(lowering: Lowering, a: Tensor, b: Tensor) -> Tensor:
    def value(x: Scalar, y: Scalar) -> Scalar:
        high, low = x.max(y), x.min(y)
        same = x.eq(y) & x.abs().eq(x.builder.f32(INFINITY))
        return same.select(x, high + functions_exponential.log1p_of_small(functions.exp(low - high)))

    return as_float(lowering, value, a, b)


@lowers(aten.frac.default)
def frac(lowering: Lowering, a: Tensor) -> Tensor:
    return lowering.map(lambda x: x - trunc(x), a)


@lowers(aten.fmax.default)
def fmax(lowering: Lowering, a: Tensor, b: Tensor) -> Tensor:
    """The maximum, a number before NaN."""
    return as_float(lowering, lambda x, y: x.eq(x).select(y.eq(y).select(x.max(y), x), y), a, b)


@lowers(aten.fmin.default)
def fmin(lowering: Lowering, a: Tensor, b: Tensor) -> Tensor:
    """The minimum, a number before NaN."""
    return as_float(lowering, lambda x, y: x.eq(x).select(y.eq(y).select(x.min(y), x), y), a, b)
