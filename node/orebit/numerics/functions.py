"""Elementary functions as fixed sequences of basic f32 operations (docs/numerics.md).

Each operation rounds alone; there is no libm and no fused multiply-add. Coefficients are minimax fits on the reduced
ranges, rounded to f32. Bounds, in units in the last place of the correctly rounded result (measured by the tests):
exp 0.89, log 0.82, tanh 2.45, sigmoid 2.5.
"""

from __future__ import annotations

from orebit.program.expression import Scalar

LOG2_E = 1.4426950408889634
# log(2) in two parts: the first has 15 digits, so that its product with an exponent is exact.
LN2_HIGH = 0.693145751953125
LN2_LOW = 1.4286068203094172e-06
# exp(r) = 1 + r + r^2 P(r) on |r| <= log(2) / 2, highest power first.
EXP_COEFFICIENTS = ("0x1.9f0716p-13", "0x1.6d8eeep-10", "0x1.111274p-7", "0x1.55548cp-5", "0x1.555554p-3", "0x1p-1")
# log((1 + s) / (1 - s)) = 2 s + s^3 P(s^2) on 0.68 <= (1 + s) / (1 - s) < 1.36.
LOG_COEFFICIENTS = ("0x1.e9c720p-3", "0x1.24089cp-2", "0x1.999b46p-2", "0x1.555554p-1")
# The bits of 0.68: where log splits a mantissa between two exponents.
LOG_SPLIT = 0x3F2E147B
# tanh(x) = x (1 + x^2 P(x^2)) on |x| < 0.625.
TANH_COEFFICIENTS = ("-0x1.76ac1ap-8", "0x1.5256d8p-6", "-0x1.b84448p-5", "0x1.110768p-3", "-0x1.555534p-2")
TANH_SPLIT = 0.625


def polynomial(x: Scalar, coefficients: tuple[str, ...]) -> Scalar:
    """Horner's rule over hexadecimal f32 coefficients, highest power first."""
    result = x.builder.f32(float.fromhex(coefficients[0]))
    for coefficient in coefficients[1:]:
        result = result * x + float.fromhex(coefficient)
    return result


def power_of_two(exponent: Scalar) -> Scalar:
    """2^exponent as f32, for an i64 in -126..127."""
    return ((exponent + 127) << 23).as_f32()


def exp(x: Scalar) -> Scalar:
    """e^x: overflows to infinity, underflows through subnormals to 0, NaN stays."""
    # Beyond these ends the result is 0 or infinity, and inside them the scale fits two normal factors.
    x = x.max(-104.0).min(89.0)
    multiple = (x * LOG2_E).round()
    high = x - multiple * LN2_HIGH
    low = multiple * LN2_LOW
    r = high - low
    # `low` joins last and small: what r lost to rounding is not lost to the result.
    mantissa = 1.0 + (high + (r * r * polynomial(r, EXP_COEFFICIENTS) - low))
    exponent = multiple.to_i64()
    half = exponent >> 1
    return mantissa * power_of_two(half) * power_of_two(exponent - half)


def log(x: Scalar) -> Scalar:
    """The natural logarithm: -inf at 0, NaN below it, inf at inf, NaN stays; subnormals included."""
    tiny = x.lt(2.0**-126)
    bits = tiny.select(x * 2.0**25, x).bits()
    exponent = (bits - LOG_SPLIT) >> 23
    f = (bits - (exponent << 23)).as_f32() - 1.0
    k = (exponent - tiny.select(25, 0)).to_f32()
    s = f / (f + 2.0)
    square = s * s
    half_square = f * 0.5 * f
    correction = s * (half_square + square * polynomial(square, LOG_COEFFICIENTS)) + k * LN2_LOW
    result = k * LN2_HIGH - ((half_square - correction) - f)
    infinity = x.builder.f32(float("inf"))
    finite = x.lt(infinity).select(result, x)
    return x.eq(0.0).select(-infinity, x.lt(0.0).select(x.builder.f32(float("nan")), finite))


def tanh(x: Scalar) -> Scalar:
    """The hyperbolic tangent; the sign of zero and NaN stay."""
    square = x * x
    small = x * (1.0 + square * polynomial(square, TANH_COEFFICIENTS))
    magnitude = x.abs()
    large = 1.0 - 2.0 / (exp(magnitude + magnitude) + 1.0)
    signed = x.lt(0.0).select(-large, large)
    return magnitude.lt(TANH_SPLIT).select(small, signed)


def sigmoid(x: Scalar) -> Scalar:
    """1 / (1 + e^-x); 0 below -88.8."""
    return 1.0 / (exp(-x) + 1.0)
