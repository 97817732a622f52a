"""x^y in fixed point: the logarithm to 60 binary digits, the product, and the power of two, all in 64-bit integers.

Integers lose nothing between the steps, so the result is rounded once: at most 0.55 units in the last place of the
correctly rounded result for |y| <= 2^24 (measured by the tests), and exact where the power is an f32. Special cases are
those of IEEE 754 `pow`.
"""

from __future__ import annotations

from fractions import Fraction

from orebit.numerics.functions import power_of_two
from orebit.program.expression import Scalar

# log(2) to 40 digits; the integers below are made from it exactly.
LN2 = Fraction(6931471805599453094172321214581765680755, 10**40)
# The mantissa, 24 digits, from which a number counts with the next power of two: sqrt(2) * 2^23.
SPLIT = 11863283
LOG_TERMS = 8
EXP_TERMS = 10
# Beyond 2^160 and below 2^-160 every result is infinite or zero.
SATURATED = 160.0
MASK22, MASK30 = (1 << 22) - 1, (1 << 30) - 1


def _fixed(value: Fraction, digits: int) -> int:
    return round(value * Fraction(1 << digits))


def power(x: Scalar, y: Scalar) -> Scalar:
    """x^y; NaN for a negative x and a y that is no integer."""
    magnitude = x.abs()
    whole, rest = _log2(magnitude)
    infinity = x.builder.f32(float("inf"))
    estimate = whole.to_f32() + rest.to_f32() * 2.0**-60
    estimate = magnitude.eq(0.0).select(-infinity, magnitude.eq(infinity).select(infinity, estimate))
    size = y * estimate
    beyond = size.abs().gt(SATURATED)
    scaled = beyond.select(0, _times(y, whole, rest))
    result = beyond.select(size.gt(0.0).select(infinity, 0.0), _exp2(scaled))
    # Where the logarithm is 0 the power is 1, at an infinite y too; else a NaN of either stays.
    result = magnitude.eq(1.0).select(1.0, size.eq(size).select(result, size))
    return _with_sign(x, y, result)


def _with_sign(x: Scalar, y: Scalar, result: Scalar) -> Scalar:
    """The power of x from the power of |x|."""
    nan = x.builder.f32(float("nan"))
    negative = x.bits().shr(31)
    odd = y.to_i64() & y.abs().lt(2.0**24)  # from 2^24 on every f32 is even
    integral = y.round().eq(y)
    signed = (negative & odd & integral).select(-result, result)
    signed = (x.lt(0.0) & (integral ^ 1) & x.gt(-x.builder.f32(float("inf")))).select(nan, signed)
    signed = (x.eq(x) & y.eq(y)).select(signed, nan)
    return (y.eq(0.0) | x.eq(1.0)).select(1.0, signed)


def _log2(magnitude: Scalar) -> tuple[Scalar, Scalar]:
    """The logarithm to base 2 of a positive f32: an integer, and 60 binary digits of at most a half."""
    tiny = magnitude.lt(2.0**-126)
    bits = tiny.select(magnitude * 2.0**25, magnitude).bits()
    mantissa = (bits & 0x7FFFFF) | 0x800000
    upper = mantissa.gt(SPLIT)
    whole = (bits >> 23) - 127 - tiny.select(25, 0) + upper
    one = upper.select(1 << 24, 1 << 23)
    # s = (m - 1) / (m + 1) to 60 digits, in two divisions.
    top, bottom = (mantissa - one) << 40, mantissa + one
    s = (top.div(bottom) << 20) + (top.rem(bottom) << 20).div(bottom)
    high, low = s >> 30, s & MASK30
    series = _log_series((s >> 29) * (s >> 29) >> 26)
    leading = _fixed(2 / LN2, 60)
    product = high * (leading >> 30) + (low * (leading >> 30) >> 30) + (high * (leading & MASK30) >> 30)
    return whole, product + (high * series >> 6) + (low * series >> 36)


def _log_series(square: Scalar) -> Scalar:
    """2 / log(2) * (z / 3 + z^2 / 5 + ...) to 36 digits, for z to 36 digits."""
    terms = [_fixed(2 / LN2 / (2 * k + 1), 30) for k in range(1, LOG_TERMS)]
    result = square * terms[-1] >> 36
    for term in reversed(terms[:-1]):
        result = (result + term) * square
        result = result >> (36 if term != terms[0] else 30)
    return result


def _times(y: Scalar, whole: Scalar, rest: Scalar) -> Scalar:
    """y * (whole + rest) to 32 digits, where that is below 2^9."""
    bits = y.abs().bits()
    field = bits >> 23
    mantissa = field.eq(0).select(bits, (bits & 0x7FFFFF) | 0x800000)
    exponent = field.max(1) - 150
    fraction = mantissa * (rest >> 22) + (mantissa * (rest & MASK22) >> 22)  # 38 digits before the exponent
    product = _shifted(mantissa * whole, exponent + 32) + _shifted(fraction, exponent - 6)
    return y.lt(0.0).select(-product, product)


def _shifted(value: Scalar, count: Scalar) -> Scalar:
    return count.lt(0).select(value >> (-count).min(63), value << count.max(0))


def _exp2(scaled: Scalar) -> Scalar:
    """2^(scaled * 2^-32) for |scaled| < 2^41."""
    exponent = (scaled + (1 << 31)) >> 32
    rest = scaled - (exponent << 32)
    terms = [Fraction(1)]
    for k in range(1, EXP_TERMS):
        terms.append(terms[-1] * LN2 / k)
    mantissa = scaled.builder.i64(_fixed(terms[-1], 30))
    for term in reversed(terms[:-1]):
        mantissa = (mantissa * rest >> 32) + _fixed(term, 30)
    exponent = exponent - 30
    half = exponent >> 1
    return mantissa.to_f32() * power_of_two(half) * power_of_two(exponent - half)
