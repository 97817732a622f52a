"""The error function and its inverse, as fixed sequences of basic f32 operations (docs/numerics.md).

Coefficients are minimax fits, rounded to f32; those of the inverse are from M. Giles, "Approximating the erfinv
function", GPU Computing Gems 2 (2010). Bounds, in units in the last place of the correctly rounded result (measured by
the tests): erf 0.8, erfinv 3.6.
"""

from __future__ import annotations

from orebit.numerics.functions import exp, log, polynomial
from orebit.program.expression import Scalar

ERF_SPLIT, ERF_SECOND_SPLIT = 0.75, 1.5
# erf(x) = x + x P(x^2) on |x| < 0.75, highest power first.
ERF_SMALL = (
    "-0x1.613e52p-11",
    "0x1.4f188ap-8",
    "-0x1.b7a75cp-6",
    "0x1.ce2acep-4",
    "-0x1.81273ap-2",
    "0x1.06eba8p-3",
)
# erf(x) = ERF_AT_CENTRE + P(x - 1.125) on 0.75..1.5.
ERF_CENTRE, ERF_AT_CENTRE = 1.125, 0.8883882164955139
ERF_MIDDLE = (
    "-0x1.6f090ap-8",
    "0x1.36f918p-7",
    "0x1.fb31b2p-7",
    "-0x1.f64526p-5",
    "0x1.ca5e92p-6",
    "0x1.4cb39cp-3",
    "-0x1.6ea6d4p-2",
    "0x1.45e99cp-2",
    "0x1.08deaep-26",
)
# 1 - erf(x) = e^(x P(x)) on 1.5..3.95; beyond it erf rounds to 1.
ERF_LARGE = (
    "-0x1.123ceep-16",
    "0x1.8a00e8p-12",
    "-0x1.fab35ap-9",
    "0x1.8d5fdap-6",
    "-0x1.b596b8p-4",
    "-0x1.450104p-1",
    "-0x1.20f586p+0",
)
ERF_END = 3.95
# erfinv(x) = x P(w - 2.5) for w = -log(1 - x^2) < 5, else x P(sqrt(w) - 3).
ERFINV_CENTRE = (
    2.81022636e-08,
    3.43273939e-07,
    -3.5233877e-06,
    -4.39150654e-06,
    0.00021858087,
    -0.00125372503,
    -0.00417768164,
    0.246640727,
    1.50140941,
)
ERFINV_TAIL = (
    -0.000200214257,
    0.000100950558,
    0.00134934322,
    -0.00367342844,
    0.00573950773,
    -0.0076224613,
    0.00943887047,
    1.00167406,
    2.83297682,
)
ERFINV_SPLIT = 5.0


def erf(x: Scalar) -> Scalar:
    """The error function; the sign of zero and NaN stay."""
    magnitude = x.abs()
    small = x + x * polynomial(x * x, ERF_SMALL)
    end = magnitude.min(ERF_END)
    large = 1.0 - exp(end * polynomial(end, ERF_LARGE))
    middle = polynomial(magnitude - ERF_CENTRE, ERF_MIDDLE) + ERF_AT_CENTRE
    outer = magnitude.lt(ERF_SECOND_SPLIT).select(middle, large)
    signed = x.lt(0.0).select(-outer, outer)
    return magnitude.lt(ERF_SPLIT).select(small, signed)


def erfinv(x: Scalar) -> Scalar:
    """The inverse of erf on -1..1: infinities at the ends, NaN beyond them; the sign of zero stays."""
    w = -log((1.0 - x) * (x + 1.0))
    near = w.lt(ERFINV_SPLIT)
    t = near.select(w - 2.5, w.sqrt() - 3.0)
    result = near.select(x.builder.f32(ERFINV_CENTRE[0]), x.builder.f32(ERFINV_TAIL[0]))
    for centre, tail in zip(ERFINV_CENTRE[1:], ERFINV_TAIL[1:], strict=True):
        result = result * t + near.select(x.builder.f32(centre), x.builder.f32(tail))
    infinity = x.builder.f32(float("inf"))
    return x.abs().eq(1.0).select(x.lt(0.0).select(-infinity, infinity), result * x)
