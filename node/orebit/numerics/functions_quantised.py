"""The elementwise halves of exact contractions and exact sums (docs/numerics.md).

Every function here is the whole expression of one map node. `magnitude` takes the bits that order like |x|; their
maximum over a group gives the group's exponent; `exponent` 129 marks a group that holds an infinity, a NaN, or a value
that rounds up to 2^128.
"""

from __future__ import annotations

from orebit.errors import ProgramError
from orebit.numerics.functions import power_of_two
from orebit.numerics.types import DType
from orebit.program.expression import Scalar

NOT_FINITE = 129
EXPONENT_FLOOR = -100
SUM_EXPONENT_FLOOR = -98
SUM_DIGITS = 28


def storage(bits: int) -> DType:
    """The smallest type that holds values of `bits` bits, sign included.

    Raises:
        ProgramError: when `bits` is outside 4..22.
    """
    if not 4 <= bits <= 22:
        raise ProgramError(f"an exact product takes 4 to 22 bits, not {bits}; 15 is the default")
    return DType.I8 if bits <= 8 else DType.I16 if bits <= 16 else DType.I32


def magnitude(x: Scalar) -> Scalar:
    """|x| as an integer that orders the same: the bits without the sign."""
    return x.bits() & 0x7FFFFFFF


def exponent(m: Scalar, bits: int) -> Scalar:
    """The least e with |q| < 2^(bits-1) for a group whose largest magnitude is m, after rounding; -100 to 129."""
    return (((m + (1 << (24 - bits))) >> 23) - 126).max(EXPONENT_FLOOR)


def quantise(x: Scalar, e: Scalar, bits: int) -> Scalar:
    """round_half_even(x * 2^(bits-1-e)), 0 where e = 129. The clamp never bites: it proves the range."""
    limit = (1 << (bits - 1)) - 1
    scaled = (x * power_of_two((bits - 1) - e)).to_i64()
    return e.eq(NOT_FINITE).select(0, scaled).max(-limit).min(limit)


def rescale(total: Scalar, ea: Scalar, eb: Scalar, bits: int) -> Scalar:
    """total * 2^(ea + eb - 2 (bits - 1)) in two exact factors; NaN where an exponent is 129."""
    scale = ea + eb - 2 * (bits - 1)
    half = scale >> 1
    value = total.to_f32() * power_of_two(half) * power_of_two(scale - half)
    return ea.max(eb).eq(NOT_FINITE).select(float("nan"), value)


def sum_exponent(m: Scalar) -> Scalar:
    """The exponent of a group that is summed; -98 to 129."""
    return ((m >> 23) - 126).max(SUM_EXPONENT_FLOOR)


def sum_quantise(x: Scalar, e: Scalar) -> Scalar:
    """round_half_even(x * 2^(28-e)), 0 where e = 129, for i32."""
    limit = 1 << SUM_DIGITS
    scaled = (x * power_of_two(SUM_DIGITS - e)).to_i64()
    return e.eq(NOT_FINITE).select(0, scaled).max(-limit).min(limit)


def sum_rescale(total: Scalar, e: Scalar) -> Scalar:
    """total * 2^(e-28); NaN where e = 129."""
    return e.eq(NOT_FINITE).select(float("nan"), total.to_f32() * power_of_two(e - SUM_DIGITS))
