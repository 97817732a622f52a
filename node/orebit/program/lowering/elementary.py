"""Elementary functions, one map each."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch._ops import OpOverload

from orebit.numerics import functions, functions_error, functions_exponential, functions_power, functions_trigonometric
from orebit.numerics.types import DType
from orebit.program.expression import Scalar
from orebit.program.lowering.context import Lowering
from orebit.program.lowering.elementwise import Argument, apply, as_float
from orebit.program.lowering.registry import lowers
from orebit.program.lowering.tensor import Tensor

aten = torch.ops.aten


def sinh(x: Scalar) -> Scalar:
    """From expm1, so that small arguments keep their digits: 4 ulp. Infinite from 88.8 on."""
    grown = functions_exponential.expm1(x.abs())
    value = x.abs().lt(20.0).select((grown + grown / (grown + 1.0)) * 0.5, grown * 0.5)
    return x.bits().shr(31).select(-value, value)


def cosh(x: Scalar) -> Scalar:
    """2 ulp. Infinite from 88.8 on."""
    grown = functions.exp(x.abs())
    return grown * 0.5 + 0.5 / grown


def atanh(x: Scalar) -> Scalar:
    """log((1 + x) / (1 - x)) / 2: 3 ulp."""
    magnitude = x.abs()
    value = functions_exponential.log1p((magnitude + magnitude) / (1.0 - magnitude)) * 0.5
    return x.bits().shr(31).select(-value, value)


def asinh(x: Scalar) -> Scalar:
    """log(x + sqrt(x^2 + 1)): 4 ulp."""
    magnitude = x.abs()
    square = magnitude * magnitude
    near = functions_exponential.log1p(magnitude + square / ((square + 1.0).sqrt() + 1.0))
    value = magnitude.lt(2.0**60).select(near, functions.log(magnitude) + functions.LN2_HIGH + functions.LN2_LOW)
    return x.bits().shr(31).select(-value, value)


def acosh(x: Scalar) -> Scalar:
    """log(x + sqrt(x^2 - 1)): 4 ulp; NaN below 1."""
    t = x - 1.0
    near = functions_exponential.log1p(t + (t * (x + 1.0)).sqrt())
    return x.lt(2.0**60).select(near, functions.log(x) + functions.LN2_HIGH + functions.LN2_LOW)


def floor(x: Scalar) -> Scalar:
    """The sign of zero stays, but for what rounds up to 0."""
    nearest = x.round()
    return x.lt(nearest).select(nearest - 1.0, nearest)


def ceil(x: Scalar) -> Scalar:
    """-floor(-x)."""
    return -floor(-x)


def trunc(x: Scalar) -> Scalar:
    """Towards zero, keeping the sign."""
    magnitude = floor(x.abs())
    return x.bits().shr(31).select(-magnitude, magnitude)


FUNCTIONS: dict[OpOverload, Callable[[Scalar], Scalar]] = {
    aten.erf.default: functions_error.erf,
    aten.erfc.default: lambda x: 1.0 - functions_error.erf(x),
    aten.erfinv.default: functions_error.erfinv,
    aten.exp2.default: functions_exponential.exp2,
    aten.expm1.default: functions_exponential.expm1,
    aten.log1p.default: functions_exponential.log1p,
    aten.log2.default: functions_exponential.log2,
    aten.log10.default: functions_exponential.log10,
    aten.sin.default: functions_trigonometric.sin,
    aten.cos.default: functions_trigonometric.cos,
    aten.tan.default: functions_trigonometric.tan,
    aten.asin.default: functions_trigonometric.asin,
    aten.acos.default: functions_trigonometric.acos,
    aten.atan.default: functions_trigonometric.atan,
    aten.sinh.default: sinh,
    aten.cosh.default: cosh,
    aten.asinh.default: asinh,
    aten.acosh.default: acosh,
    aten.atanh.default: atanh,
}
ROUNDINGS: dict[OpOverload, Callable[[Scalar], Scalar]] = {
    aten.floor.default: floor,
    aten.ceil.default: ceil,
    aten.trunc.default: trunc,
    aten.round.default: lambda x: x.round(),
}


def _register(operation: OpOverload, function: Callable[[Scalar], Scalar], integers_too: bool) -> None:
    @lowers(operation)
    def elementary(lowering: Lowering, a: Tensor) -> Tensor:
        if not integers_too and not a.dtype.is_float:
            return a
        return as_float(lowering, function, a)


for _operation, _function in FUNCTIONS.items():
    _register(_operation, _function, True)
for _operation, _function in ROUNDINGS.items():
    _register(_operation, _function, False)

# Small powers by multiplication and roots: at most 2 ulp, and cheaper than the general one.
POWERS: dict[float, Callable[[Scalar], Scalar]] = {
    1.0: lambda x: x * 1,
    2.0: lambda x: x * x,
    3.0: lambda x: x * x * x,
    4.0: lambda x: (x * x) * (x * x),
}
FLOAT_POWERS: dict[float, Callable[[Scalar], Scalar]] = {
    0.5: lambda x: x.sqrt(),
    1.5: lambda x: x * x.sqrt(),
    -0.5: lambda x: 1.0 / x.sqrt(),
    -1.0: lambda x: 1.0 / x,
    -2.0: lambda x: 1.0 / (x * x),
}


@lowers(aten.pow.Tensor_Scalar, aten.pow.Tensor_Tensor, aten.pow.Scalar)
def power(lowering: Lowering, base: Argument, exponent: Argument) -> Tensor:
    """torch's pow: small constant powers by multiplication, integers modulo their type, the rest rounded once."""
    constant = None if isinstance(exponent, Tensor) else float(exponent)
    if constant == 0.0 and isinstance(base, Tensor):
        return lowering.full(base.shape, 1, base.dtype if lowering.result_type is None else lowering.result_type)
    form = None if constant is None else POWERS.get(constant)
    if form is not None:
        return apply(lowering, form, base)
    if lowering.result_type is not None and not lowering.result_type.is_float:
        if not isinstance(exponent, Tensor):
            return lowering.map(_integer_power, base, exponent, dtype=lowering.result_type)
        low = lowering.map(_low_power, base, exponent, dtype=DType.I64)
        return lowering.map(_whole_power, base, exponent, low, dtype=lowering.result_type)
    form = None if constant is None else FLOAT_POWERS.get(constant)
    if form is not None:
        return as_float(lowering, form, base)
    return as_float(lowering, _power, base, exponent)


def _power(x: Scalar | float, y: Scalar | float) -> Scalar:
    build = x.builder if isinstance(x, Scalar) else y.builder  # type: ignore[union-attr]  # one of the two is a tensor
    return functions_power.power(build.lift(x, DType.F32), build.lift(y, DType.F32))


def _integer_power(x: Scalar, y: int) -> Scalar:
    """x^y modulo 2^64; 0 for a negative y but for the powers of 1 and -1, as torch."""
    return _signed_power(x, x.builder.i64(y), _raised(x, x.builder.i64(y), range(max(y, 1).bit_length())))


# The court pays no map with all digits of an exponent.
LOW, HIGH = range(32), range(32, 63)


def _low_power(x: Scalar | int, y: Scalar) -> Scalar:
    """x^y of the low digits of y alone."""
    return _raised(y.builder.lift(x, DType.I64), y, LOW)


def _whole_power(x: Scalar | int, y: Scalar, low: Scalar) -> Scalar:
    base = y.builder.lift(x, DType.I64)
    return _signed_power(base, y, _raised(base, y, HIGH) * low)


def _raised(base: Scalar, exponent: Scalar, digits: range) -> Scalar:
    """By squaring: the product of base^(2^digit) for the binary digits of the exponent that are 1."""
    result, square = base.builder.i64(1), base
    for digit in range(digits.stop):
        if digit in digits:
            result = ((exponent >> digit) & 1).select(result * square, result)
        square = square * square
    return result


def _signed_power(base: Scalar, exponent: Scalar, result: Scalar) -> Scalar:
    unit = base.eq(-1).select((exponent & 1).select(-1, base.builder.i64(1)), base.eq(1))
    return exponent.lt(0).select(unit, result)


@lowers(aten.atan2.default)
def atan2(lowering: Lowering, y: Tensor, x: Tensor) -> Tensor:
    """The angle of (x, y): the smaller over the larger, then the octant; 3 ulp."""

    def angle(b: Scalar, a: Scalar) -> Scalar:
        width, height = a.abs(), b.abs()
        steep = width.lt(height)
        low, high = steep.select(width, height), steep.select(height, width)
        # Both infinite count as equal, and both zero as an angle of zero.
        ratio = low.eq(high).select(high.eq(0.0).select(0.0, high / high * 0.0 + 1.0), low / high)
        equal = low.eq(high) & (high.eq(0.0) ^ 1)
        turned = functions_trigonometric.atan(equal.select(1.0, ratio))
        turned = steep.select(functions_trigonometric.PI_HIGH / 2 - turned, turned)
        turned = a.bits().shr(31).select(functions_trigonometric.PI_HIGH - turned, turned)
        signed = b.bits().shr(31).select(-turned, turned)
        return (a.eq(a) & b.eq(b)).select(signed, a + b)

    return as_float(lowering, angle, y, x)
