"""The oracle: every scalar operation of an expression, on bit patterns, in Python integers only (docs/numerics.md).

An f32 is its 32 bits as a non-negative int; an i64 is a Python int in the signed 64-bit range. Arithmetic follows
IEEE 754: the exact result, rounded once to nearest, ties to even, subnormals included. Every f32 argument and result
counts with NaN made canonical. Nothing here is fast, and nothing here shares code with an executor.
"""

from __future__ import annotations

from math import isqrt

from orebit.numerics.types import CANONICAL_NAN, INT64_MAX, INT64_MIN, MASK32, MASK64

SIGN = 1 << 31
INFINITY = 0x7F800000
_FRACTION = (1 << 23) - 1
_LEAST_EXPONENT = -149
_GUARD = 64


def is_nan(x: int) -> bool:
    return x & ~SIGN > INFINITY


def is_infinite(x: int) -> bool:
    return x & ~SIGN == INFINITY


def canonical(x: int) -> int:
    """The same f32, every NaN as 0x7fc00000."""
    return CANONICAL_NAN if is_nan(x) else x


def to_i64(value: int) -> int:
    """An integer modulo 2^64, signed."""
    value &= MASK64
    return value - (1 << 64) if value >> 63 else value


def _unpack(x: int) -> tuple[int, int, int]:
    """Sign, magnitude m and exponent e of a finite f32, which is (-1)^sign * m * 2^e."""
    exponent = x >> 23 & 0xFF
    fraction = x & _FRACTION
    if exponent == 0:
        return x >> 31, fraction, _LEAST_EXPONENT
    return x >> 31, fraction | 1 << 23, exponent - 150


def _pack(sign: int, magnitude: int, exponent: int) -> int:
    """The f32 nearest to (-1)^sign * magnitude * 2^exponent, ties to even."""
    if magnitude == 0:
        return sign << 31
    lowest = max(exponent + magnitude.bit_length() - 24, _LEAST_EXPONENT)
    rounded = _shift_half_even(magnitude, lowest - exponent)
    if rounded == 1 << 24:
        rounded >>= 1
        lowest += 1
    if rounded < 1 << 23:
        return sign << 31 | rounded
    biased = lowest + 150
    return sign << 31 | (INFINITY if biased >= 255 else biased << 23 | rounded & _FRACTION)


def _shift_half_even(magnitude: int, count: int) -> int:
    if count <= 0:
        return magnitude << -count
    kept = magnitude >> count
    rest = magnitude - (kept << count)
    half = 1 << (count - 1)
    return kept + (rest > half or (rest == half and kept & 1 == 1))


def f32_add(x: int, y: int) -> int:
    if is_nan(x) or is_nan(y):
        return CANONICAL_NAN
    if is_infinite(x) or is_infinite(y):
        if is_infinite(x) and is_infinite(y) and x != y:
            return CANONICAL_NAN
        return x if is_infinite(x) else y
    (sx, mx, ex), (sy, my, ey) = _unpack(x), _unpack(y)
    low = min(ex, ey)
    total = (-mx if sx else mx) * (1 << ex - low) + (-my if sy else my) * (1 << ey - low)
    if total == 0:
        return SIGN if sx and sy else 0
    return _pack(int(total < 0), abs(total), low)


def f32_sub(x: int, y: int) -> int:
    return f32_add(x, y ^ SIGN)


def f32_mul(x: int, y: int) -> int:
    if is_nan(x) or is_nan(y):
        return CANONICAL_NAN
    sign = (x ^ y) >> 31
    if is_infinite(x) or is_infinite(y):
        zero = x & ~SIGN == 0 or y & ~SIGN == 0
        return CANONICAL_NAN if zero else sign << 31 | INFINITY
    (_, mx, ex), (_, my, ey) = _unpack(x), _unpack(y)
    return _pack(sign, mx * my, ex + ey)


def f32_div(x: int, y: int) -> int:
    if is_nan(x) or is_nan(y) or (is_infinite(x) and is_infinite(y)):
        return CANONICAL_NAN
    sign = (x ^ y) >> 31
    if is_infinite(x):
        return sign << 31 | INFINITY
    if is_infinite(y):
        return sign << 31
    (_, mx, ex), (_, my, ey) = _unpack(x), _unpack(y)
    if my == 0:
        return CANONICAL_NAN if mx == 0 else sign << 31 | INFINITY
    quotient, rest = divmod(mx << _GUARD, my)
    return _pack(sign, quotient << 1 | (rest != 0), ex - ey - _GUARD - 1)


def f32_sqrt(x: int) -> int:
    if is_nan(x):
        return CANONICAL_NAN
    if x & ~SIGN == 0:
        return x
    if x >> 31:
        return CANONICAL_NAN
    if is_infinite(x):
        return x
    _, magnitude, exponent = _unpack(x)
    shift = _GUARD + (exponent & 1)
    magnitude <<= shift
    root = isqrt(magnitude)
    return _pack(0, root << 1 | (root * root != magnitude), ((exponent - shift) >> 1) - 1)


def f32_neg(x: int) -> int:
    return canonical(x ^ SIGN)


def f32_abs(x: int) -> int:
    return canonical(x & ~SIGN)


def order_key(x: int) -> int:
    """An int that orders f32 that are not NaN, -0 below +0."""
    return -(x & ~SIGN) - 1 if x >> 31 else x


def f32_min(x: int, y: int) -> int:
    if is_nan(x) or is_nan(y):
        return CANONICAL_NAN
    return x if order_key(x) <= order_key(y) else y


def f32_max(x: int, y: int) -> int:
    if is_nan(x) or is_nan(y):
        return CANONICAL_NAN
    return x if order_key(x) >= order_key(y) else y


def _compare_key(x: int) -> int:
    return -(x & ~SIGN) if x >> 31 else x


def f32_lt(x: int, y: int) -> int:
    return int(not is_nan(x) and not is_nan(y) and _compare_key(x) < _compare_key(y))


def f32_le(x: int, y: int) -> int:
    return int(not is_nan(x) and not is_nan(y) and _compare_key(x) <= _compare_key(y))


def f32_eq(x: int, y: int) -> int:
    return int(not is_nan(x) and not is_nan(y) and _compare_key(x) == _compare_key(y))


def f32_round(x: int) -> int:
    if is_nan(x) or is_infinite(x):
        return canonical(x)
    sign, magnitude, exponent = _unpack(x)
    return x if exponent >= 0 else _pack(sign, _shift_half_even(magnitude, -exponent), 0)


def f32_to_i64(x: int) -> int:
    if is_nan(x):
        return 0
    if is_infinite(x):
        return INT64_MIN if x >> 31 else INT64_MAX
    sign, magnitude, exponent = _unpack(x)
    rounded = _shift_half_even(magnitude, -exponent)
    return max(INT64_MIN, -rounded) if sign else min(INT64_MAX, rounded)


def i64_to_f32(x: int) -> int:
    return _pack(int(x < 0), abs(x), 0)


def f32_to_bits(x: int) -> int:
    return canonical(x)


def bits_to_f32(x: int) -> int:
    return canonical(x & MASK32)


def i64_add(x: int, y: int) -> int:
    return to_i64(x + y)


def i64_sub(x: int, y: int) -> int:
    return to_i64(x - y)


def i64_mul(x: int, y: int) -> int:
    return to_i64(x * y)


def i64_neg(x: int) -> int:
    return to_i64(-x)


def i64_abs(x: int) -> int:
    return to_i64(abs(x))


def i64_and(x: int, y: int) -> int:
    return x & y


def i64_or(x: int, y: int) -> int:
    return x | y


def i64_xor(x: int, y: int) -> int:
    return x ^ y


def i64_shl(x: int, y: int) -> int:
    return to_i64(x << (y & 63))


def i64_shr(x: int, y: int) -> int:
    return to_i64((x & MASK64) >> (y & 63))


def i64_sar(x: int, y: int) -> int:
    return x >> (y & 63)


def i64_rotl32(x: int, y: int) -> int:
    low, count = x & MASK32, y & 31
    return (low << count | low >> (32 - count)) & MASK32


def i64_lt(x: int, y: int) -> int:
    return int(x < y)


def i64_le(x: int, y: int) -> int:
    return int(x <= y)


def i64_eq(x: int, y: int) -> int:
    return int(x == y)


def i64_min(x: int, y: int) -> int:
    return min(x, y)


def i64_max(x: int, y: int) -> int:
    return max(x, y)


def i64_div(x: int, y: int) -> int:
    if y == 0:
        return 0
    quotient = abs(x) // abs(y)
    return to_i64(-quotient if (x < 0) != (y < 0) else quotient)


def i64_rem(x: int, y: int) -> int:
    if y == 0:
        return 0
    rest = abs(x) % abs(y)
    return -rest if x < 0 else rest
