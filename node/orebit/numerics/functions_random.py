"""Counter-based randomness: Threefry-2x32 (Salmon et al., SC 2011), and the swap-or-not shuffle (Hoang, Morris and
Rogaway, CRYPTO 2012), which permutes any range without a table. Distributions are quantile functions of one word."""

from __future__ import annotations

from orebit.numerics.functions import log
from orebit.program.expression import Scalar

THREEFRY_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
THREEFRY_PARITY = 0x1BD11BDA
MASK32 = (1 << 32) - 1
# Eight rounds leave a measurable bias; 24 do not.
SHUFFLE_ROUNDS = 24
# Normal quantiles: a ratio of polynomials of SPLIT^2 - q^2 where q, the distance to the median, is at most SPLIT, times
# q; beyond it one
# of sqrt(-log(p)) - 1.6; highest power first.
NORMAL_SPLIT = 0.425
NORMAL_SPLIT_SQUARE = 0.180625
NORMAL_CENTRE = (
    (59.109374720, 159.29113202, 50.434271938, 3.3871327179),
    (67.187563600, 78.757757664, 17.895169469, 1.0),
)
NORMAL_TAIL = (
    (0.17023821103, 1.3067284816, 2.7568153900, 1.4234372777),
    (0.12021132975, 0.73700164250, 1.0),
)


def threefry2x32(key: tuple[Scalar, Scalar], counter: tuple[Scalar, Scalar]) -> tuple[Scalar, Scalar]:
    """Twenty rounds. Of the i64 keys and counters the low 32 bits count; the two words returned are masked."""
    # Additions carry into the high half only, and rotations read the low half: one mask at the end is enough.
    schedule = (key[0], key[1], (key[0] ^ key[1]) ^ THREEFRY_PARITY)
    x0, x1 = counter[0] + schedule[0], counter[1] + schedule[1]
    for block in range(5):
        for rotation in THREEFRY_ROTATIONS[block % 2]:
            x0 = x0 + x1
            x1 = x1.rotl32(rotation) ^ x0
        x0 = x0 + schedule[(block + 1) % 3]
        x1 = x1 + schedule[(block + 2) % 3] + (block + 1)
    return x0 & MASK32, x1 & MASK32


def swap_or_not(position: Scalar, offset: Scalar, key: tuple[Scalar, Scalar], size: int) -> Scalar:
    """One round: `position` and its partner `offset - position` (mod `size`) trade places or not, on one random bit.

    Args:
        position: i64 in 0..size-1.
        offset: i64 in 0..size-1, the round's own.
        key: the round's own key of 32-bit words.
        size: how many positions are permuted.
    """
    distance = offset - position
    partner = distance.lt(0).select(distance + size, distance)
    canonical = position.max(partner)
    word, _ = threefry2x32(key, (canonical & MASK32, canonical.shr(32)))
    return (word & 1).select(partner, position)


def uniform(word: Scalar) -> Scalar:
    """An f32 in [0, 1) from 32 random bits: the upper 24 of them, times 2^-24."""
    return (word >> 8).to_f32() * 2.0**-24


def exponential(word: Scalar) -> Scalar:
    """An f32 of the unit exponential distribution from 32 random bits: -log(u) for the 2^23 midpoints u of (0, 1).

    Never 0, at most 16.64; off the exact quantile of u by the error of `log`, 0.82 ulp.
    """
    return -log(((word >> 9).to_f32() + 0.5) * 2.0**-23)


def normal(word: Scalar) -> Scalar:
    """An f32 of the standard normal distribution from 32 random bits: the quantile of the midpoint of one of 2^32 equal
    parts of (0, 1), after Wichura's PPND7 (Applied Statistics 37, 1988, algorithm AS 241).

    At most 6.34 in magnitude; within 5e-7 of the exact quantile, relatively. Two words that differ in the first bit
    alone give opposite numbers.
    """
    half = word & ((1 << 31) - 1)
    tail = (half * 2 + 1).to_f32() * 2.0**-33
    # 1/2 - tail, from integers: nothing cancels.
    distance = ((1 << 32) - 1 - half * 2).to_f32() * 2.0**-33
    central = NORMAL_SPLIT_SQUARE - distance * distance
    near = distance * _ratio(central, NORMAL_CENTRE)
    far = _ratio((-log(tail)).sqrt() - 1.6, NORMAL_TAIL)
    magnitude = distance.le(NORMAL_SPLIT).select(near, far)
    return word.shr(31).select(magnitude, -magnitude)


def _ratio(x: Scalar, coefficients: tuple[tuple[float, ...], tuple[float, ...]]) -> Scalar:
    above, below = (_horner(x, part) for part in coefficients)
    return above / below


def _horner(x: Scalar, coefficients: tuple[float, ...]) -> Scalar:
    result = x.builder.f32(coefficients[0])
    for coefficient in coefficients[1:]:
        result = result * x + coefficient
    return result
