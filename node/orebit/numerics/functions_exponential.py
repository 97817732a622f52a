"""exp and log near 1 and 0, as fixed sequences of basic f32 operations (docs/numerics.md).

Bounds, in units in the last place of the correctly rounded result (measured by the tests): expm1 1.25, log1p 0.8,
softplus and log_sigmoid 1.6, exp2 1, log2 2.2, log10 2.
"""

from __future__ import annotations

from orebit.numerics.functions import (
    EXP_COEFFICIENTS,
    LN2_HIGH,
    LN2_LOW,
    LOG2_E,
    LOG_COEFFICIENTS,
    LOG_SPLIT,
    exp,
    log,
    polynomial,
    power_of_two,
)
from orebit.program.expression import Scalar

# Below this, e^x - 1 and log(1 + x) round to x.
LINEAR = 2.0**-25
INV_LN2, INV_LN10 = 1.4426950408889634, 0.4342944819032518


def expm1(x: Scalar) -> Scalar:
    """e^x - 1; the sign of zero and NaN stay."""
    clamped = x.max(-18.0).min(89.0)
    multiple = (clamped * LOG2_E).round()
    high = clamped - multiple * LN2_HIGH
    low = multiple * LN2_LOW
    r = high - low
    bend = r * r * polynomial(r, EXP_COEFFICIENTS) - low
    exponent = multiple.to_i64()
    # Half the scale, since 2^128 does not exist; its difference to 1/2 is exact up to 2^23.
    scale = power_of_two(exponent - 1)
    shifted = ((high + bend) * scale + (scale - 0.5)) * 2.0
    # Next to scale 1 the sum would cancel: there 1/2 joins the exact part.
    doubled = ((high + 0.5) + bend) * 2.0
    near = multiple.eq(0.0).select(high + bend, multiple.eq(1.0).select(doubled, shifted))
    return x.abs().lt(LINEAR).select(x, near)


def log1p(x: Scalar) -> Scalar:
    """log(1 + x): -inf at -1, NaN below it; the sign of zero and NaN stay."""
    total = x + 1.0
    part = total - 1.0
    lost = (1.0 - (total - part)) + (x - part)
    infinity = x.builder.f32(float("inf"))
    near = _log_of_sum(total, lost / total)
    finite = x.lt(infinity).select(near, x)
    special = total.eq(0.0).select(-infinity, total.lt(0.0).select(x.builder.f32(float("nan")), finite))
    return x.abs().lt(LINEAR).select(x, special)


def _log_of_sum(total: Scalar, correction: Scalar) -> Scalar:
    """log(total) + correction for a normal total."""
    bits = total.bits()
    exponent = (bits - LOG_SPLIT) >> 23
    f = (bits - (exponent << 23)).as_f32() - 1.0
    k = exponent.to_f32()
    s = f / (f + 2.0)
    square = s * s
    half_square = f * 0.5 * f
    tail = s * (half_square + square * polynomial(square, LOG_COEFFICIENTS)) + (k * LN2_LOW + correction)
    return k * LN2_HIGH - ((half_square - tail) - f)


def log1p_of_small(x: Scalar) -> Scalar:
    """log(1 + x) for x in 0..1."""
    total = x + 1.0
    return x.lt(LINEAR).select(x, _log_of_sum(total, (x - (total - 1.0)) / total))


def softplus(x: Scalar) -> Scalar:
    """log(1 + e^x)."""
    return x.max(0.0) + log1p_of_small(exp(-x.abs()))


def log_sigmoid(x: Scalar) -> Scalar:
    """log(1 / (1 + e^-x))."""
    return x.min(0.0) - log1p_of_small(exp(-x.abs()))


def exp2(x: Scalar) -> Scalar:
    """2^x: overflows to infinity, underflows through subnormals to 0, NaN stays."""
    clamped = x.max(-151.0).min(129.0)
    multiple = clamped.round()
    rest = clamped - multiple
    r = rest * 0.6931471805599453
    mantissa = 1.0 + (r + r * r * polynomial(r, EXP_COEFFICIENTS))
    exponent = multiple.to_i64()
    half = exponent >> 1
    return mantissa * power_of_two(half) * power_of_two(exponent - half)


def log2(x: Scalar) -> Scalar:
    """The logarithm to base 2: exact at normal powers of two; specials as `log`."""
    exponent = ((x.bits() - LOG_SPLIT) >> 23).max(-126).min(126)
    normal = x.ge(2.0**-126) & x.lt(x.builder.f32(float("inf")))
    exponent = normal.select(exponent, 0)
    mantissa = x * power_of_two(-exponent)
    return exponent.to_f32() + log(mantissa) * INV_LN2


def log10(x: Scalar) -> Scalar:
    """The logarithm to base 10; specials as `log`."""
    return log(x) * INV_LN10
