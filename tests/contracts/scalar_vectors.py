"""Operands of scalar operations where rounding, ranges and encodings are difficult: by construction, and by chance.

A float is its bits, an integer itself, both in int64 arrays. Ties and what is next to them are built backwards, from a
result with one digit too many. A legacy generator draws, since its sequence is the same in every version of numpy.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np

from orebit.executor.conformance_vectors import F32_CORE, F32_SPECIALS, I64_CORE, I64_SPECIALS
from orebit.program.opcodes import SIGNATURES, Op

Ints = np.ndarray
Rng = np.random.RandomState
Maker = Callable[[Rng, int], tuple[Ints, Ints]]

SIGN = 1 << 31
INFINITY = 0x7F800000
HIDDEN = 1 << 23


def draw(rng: Rng, low: int, high: int, count: int) -> Ints:
    """Integers from low to high, both included."""
    return rng.randint(low, high + 1, count, dtype=np.int64)


def choose(rng: Rng, values: tuple[int, ...], count: int) -> Ints:
    return np.array(values, dtype=np.int64)[draw(rng, 0, len(values) - 1, count)]


def nearest(values: Ints) -> Ints:
    """Bits of the floats nearest to these float64."""
    with np.errstate(all="ignore"):
        return values.astype(np.float32).view(np.uint32).astype(np.int64)


def scaled(significand: Ints, exponent: Ints) -> Ints:
    """significand * 2^exponent."""
    with np.errstate(all="ignore"):
        return nearest(np.ldexp(significand.astype(np.float64), exponent))


def exact(floats: Ints) -> Ints:
    """Their values in float64."""
    with np.errstate(all="ignore"):
        return floats.astype(np.uint32).view(np.float32).astype(np.float64)


def signed(rng: Rng, magnitudes: Ints) -> Ints:
    return magnitudes & ~SIGN | draw(rng, 0, 1, len(magnitudes)) << 31


def beside(rng: Rng, floats: Ints, steps: int = 1) -> Ints:
    """Each, or a neighbour of its, up to so many floats away."""
    moved = (floats & ~SIGN) + draw(rng, -steps, steps, len(floats))
    return floats & SIGN | np.clip(moved, 0, INFINITY)


def odd(rng: Rng, digits: Ints) -> Ints:
    """Odd integers of so many binary digits."""
    top = np.int64(1) << digits - 1
    return top | rng.randint(0, 1 << 62, len(digits), dtype=np.int64) % top | 1


def any_bits(rng: Rng, count: int) -> Ints:
    return draw(rng, 0, (1 << 32) - 1, count)


def any_float(rng: Rng, count: int) -> Ints:
    """Of every exponent, subnormals and the last exponents more often."""
    exponent = np.where(draw(rng, 0, 3, count) > 0, draw(rng, 0, 254, count), choose(rng, (0, 1, 2, 253, 254), count))
    return signed(rng, exponent << 23 | draw(rng, 0, HIDDEN - 1, count))


# Pairs of floats


def chance(rng: Rng, count: int) -> tuple[Ints, Ints]:
    return any_bits(rng, count), any_bits(rng, count)


def specials(rng: Rng, count: int) -> tuple[Ints, Ints]:
    x, y = choose(rng, F32_SPECIALS, count), choose(rng, F32_SPECIALS, count)
    return signed(rng, x), np.where(draw(rng, 0, 2, count) > 0, signed(rng, y), any_bits(rng, count))


def neighbours(rng: Rng, count: int) -> tuple[Ints, Ints]:
    """Equal, opposite, or a few floats apart."""
    x = np.where(draw(rng, 0, 3, count) > 0, any_float(rng, count), signed(rng, choose(rng, F32_SPECIALS, count)))
    return x, signed(rng, beside(rng, x, 2))


def small(rng: Rng, count: int) -> tuple[Ints, Ints]:
    """Zeros, subnormals and the least normals."""
    width = draw(rng, 0, 25, count)
    x, y = (signed(rng, draw(rng, 0, (1 << 25) - 1, count) >> width) for _ in range(2))
    return x, y


def sums(rng: Rng, count: int) -> tuple[Ints, Ints]:
    """The smaller one's last digits, which the sum has no room for, are a half or next to it."""
    exponent, gap = draw(rng, 0, 254, count), draw(rng, 0, 27, count)
    x = exponent << 23 | choose(rng, (0, 1, 2, HIDDEN - 1, HIDDEN - 2), count)
    x = np.where(draw(rng, 0, 1, count) > 0, x, exponent << 23 | draw(rng, 0, HIDDEN - 1, count))
    lost = np.clip(gap + draw(rng, -1, 1, count), 1, 24)
    half = np.int64(1) << lost - 1
    fraction = (draw(rng, 0, HIDDEN - 1, count) >> lost << lost) + half + draw(rng, -1, 1, count)
    y = np.maximum(exponent - gap, 0) << 23 | fraction & HIDDEN - 1
    return signed(rng, x), signed(rng, y)


def cancelling(rng: Rng, count: int) -> tuple[Ints, Ints]:
    """Exponents one apart at most, most digits alike: down to the subnormals."""
    x = any_float(rng, count)
    apart = np.where(draw(rng, 0, 1, count) > 0, 1, -1) * (draw(rng, 0, HIDDEN, count) >> draw(rng, 0, 23, count))
    magnitude = (x & ~SIGN) + apart + (choose(rng, (-1, 0, 1), count) << 23)
    return x, (x & SIGN ^ SIGN) | np.clip(magnitude, 0, INFINITY)


def beneath_powers(rng: Rng, count: int) -> tuple[Ints, Ints]:
    """A power of two less what is next to half the last place below it, which is half the last place above."""
    exponent, gap = draw(rng, 1, 254, count), draw(rng, 21, 27, count)
    x = exponent << 23 | choose(rng, (0, 0, 0, 1, HIDDEN - 1), count)
    y = np.maximum(exponent - gap, 0) << 23 | choose(rng, (0, 1, 2, HIDDEN // 2, HIDDEN - 2, HIDDEN - 1), count)
    x = signed(rng, x)
    return x, (x & SIGN ^ SIGN) | beside(rng, y)


def overflowing_sums(rng: Rng, count: int) -> tuple[Ints, Ints]:
    """Half the last place of the largest float is 2^103."""
    x = signed(rng, INFINITY - draw(rng, 1, 4, count))
    return x, x & SIGN | beside(rng, choose(rng, (229 << 23, 230 << 23, 231 << 23, 232 << 23), count), 2)


def tied_products(rng: Rng, count: int) -> tuple[Ints, Ints]:
    """Odd factors whose product has one digit more than a float, or next to them."""
    digits = draw(rng, 1, 24, count)
    m = odd(rng, digits)
    n = odd(rng, np.clip(choose(rng, (25, 26), count) - digits, 1, 24))
    shift = draw(rng, -100, 60, count)
    x, y = scaled(m, shift), scaled(n, np.clip(draw(rng, -149, 100, count) - shift, -149, 100))
    return signed(rng, beside(rng, x)), signed(rng, y)


def tied_small_products(rng: Rng, count: int) -> tuple[Ints, Ints]:
    """Odd factors whose product ends half below the least subnormal, or next to them."""
    digits = draw(rng, 1, 24, count)
    m, n = odd(rng, digits), odd(rng, np.clip(draw(rng, 1, 25, count) - digits, 1, 24))
    shift = draw(rng, -149, 0, count)
    x, y = scaled(m, shift), scaled(n, -150 - shift)
    return signed(rng, beside(rng, x)), signed(rng, beside(rng, y))


def targets(rng: Rng, count: int) -> Ints:
    """Where results change their kind: the least subnormals and normals, the largest float, halves between floats."""
    edges = (2.0**-150, 2.0**-149, 1.5 * 2.0**-149, 2.0**-126, 2.0**-126 - 2.0**-150, 2.0**128 - 2.0**103, 2.0**128)
    halfway = np.ldexp(odd(rng, draw(rng, 1, 25, count)).astype(np.float64), draw(rng, -150, 103, count))
    return np.where(draw(rng, 0, 2, count) > 0, np.array(edges)[draw(rng, 0, 6, count)], halfway)


def products(rng: Rng, count: int) -> tuple[Ints, Ints]:
    """Whose exact value is next to such a place."""
    x = any_float(rng, count)
    with np.errstate(all="ignore"):
        y = nearest(targets(rng, count) / np.maximum(np.abs(exact(x)), 2.0**-149))
    return x, signed(rng, beside(rng, y, 2))


def quotients(rng: Rng, count: int) -> tuple[Ints, Ints]:
    y = any_float(rng, count)
    with np.errstate(all="ignore"):
        x = nearest(targets(rng, count) * np.abs(exact(y)))
    return signed(rng, beside(rng, x, 2)), y


def tied_quotients(rng: Rng, count: int) -> tuple[Ints, Ints]:
    """Quotients that end half below the least subnormal, the only ones that tie, or next to them."""
    digits = draw(rng, 1, 24, count)
    n, q = odd(rng, digits), odd(rng, np.clip(draw(rng, 1, 24, count) - digits, 1, 24))
    shift = draw(rng, -149, 100, count)
    x, y = scaled(n * q, shift - 150), scaled(n, shift)
    return signed(rng, beside(rng, x)), signed(rng, y)


# Single floats


def alone(floats: Ints) -> tuple[Ints, Ints]:
    return floats, np.zeros_like(floats)


def squares(rng: Rng, count: int) -> tuple[Ints, Ints]:
    """Whose roots are exact, or next to halfway between two floats, odd and even exponents."""
    root = odd(rng, choose(rng, (1, 2, 5, 11, 12, 25, 25, 25, 25, 25), count)).astype(np.float64)
    return alone(beside(rng, scaled(root * root, 2 * draw(rng, -99, 40, count)), 2))


def positive(rng: Rng, count: int) -> tuple[Ints, Ints]:
    return alone(any_float(rng, count) & ~SIGN)


def halves(rng: Rng, count: int) -> tuple[Ints, Ints]:
    """Digits below the unit are a half, nothing, or next to them."""
    lost = draw(rng, 0, 26, count)
    half = np.int64(1) << np.clip(lost - choose(rng, (0, 1), count), 0, 24)
    significand = HIDDEN | draw(rng, 0, HIDDEN - 1, count)
    significand = (significand >> lost << lost) + half + draw(rng, -1, 1, count)
    return alone(signed(rng, beside(rng, (150 - lost << 23) + (significand & HIDDEN - 1), 1)))


def ends_of_int64(rng: Rng, count: int) -> tuple[Ints, Ints]:
    return alone(signed(rng, beside(rng, choose(rng, (189 << 23, 190 << 23, 191 << 23), count), 3)))


def any_single(rng: Rng, count: int) -> tuple[Ints, Ints]:
    return alone(any_bits(rng, count))


# Integers


def wide(rng: Rng, count: int) -> Ints:
    """Of every width and either sign."""
    return any_word(rng, count) >> draw(rng, 0, 63, count)


def any_word(rng: Rng, count: int) -> Ints:
    return any_bits(rng, count) << 32 | any_bits(rng, count)


def edges(rng: Rng, count: int) -> Ints:
    """Powers of two and what is next to them, of either sign; shifts' and rotations' counts."""
    power = (np.int64(1) << draw(rng, 0, 63, count)) + draw(rng, -2, 2, count)
    special = np.where(draw(rng, 0, 1, count) > 0, choose(rng, I64_SPECIALS, count), power)
    return np.where(draw(rng, 0, 1, count) > 0, special, -special)


def words(rng: Rng, count: int) -> tuple[Ints, Ints]:
    return any_word(rng, count), wide(rng, count)


def wide_words(rng: Rng, count: int) -> tuple[Ints, Ints]:
    return wide(rng, count), wide(rng, count)


def edge_words(rng: Rng, count: int) -> tuple[Ints, Ints]:
    return edges(rng, count), edges(rng, count)


def near_words(rng: Rng, count: int) -> tuple[Ints, Ints]:
    """Equal, or almost; multiples, or almost."""
    x = wide(rng, count)
    return x * choose(rng, (1, 1, -1, 2, 3), count), x + draw(rng, -1, 1, count)


def halfway_words(rng: Rng, count: int) -> tuple[Ints, Ints]:
    """Integers of 25 to 63 digits halfway between two floats, or next to it."""
    lost = draw(rng, 1, 39, count)
    top = HIDDEN | choose(rng, (0, 1, 2, HIDDEN - 1, HIDDEN - 2), count)
    top = np.where(draw(rng, 0, 1, count) > 0, top, HIDDEN | draw(rng, 0, HIDDEN - 1, count))
    value = (top << lost) + (np.int64(1) << lost - 1) + draw(rng, -1, 1, count)
    return alone(np.where(draw(rng, 0, 1, count) > 0, value, -value))


_SUMS: tuple[Maker, ...] = (chance, specials, neighbours, small, sums, cancelling, beneath_powers, overflowing_sums)
_PRODUCTS: tuple[Maker, ...] = (chance, specials, small, tied_products, tied_small_products, products, products)
_QUOTIENTS: tuple[Maker, ...] = (chance, specials, neighbours, small, tied_quotients, quotients, quotients)
_ORDERS: tuple[Maker, ...] = (chance, specials, neighbours, small)
_SINGLES: tuple[Maker, ...] = (any_single, specials, small, halves, ends_of_int64)
_WORDS: tuple[Maker, ...] = (words, wide_words, edge_words, near_words)

_MAKERS: dict[Op, tuple[Maker, ...]] = {
    Op.FADD: _SUMS,
    Op.FSUB: _SUMS,
    Op.FMUL: _PRODUCTS,
    Op.FDIV: _QUOTIENTS,
    Op.FSQRT: (any_single, specials, small, positive, squares, squares),
    Op.I_TO_F: (words, wide_words, edge_words, halfway_words, halfway_words),
}


def _makers(op: Op) -> tuple[Maker, ...]:
    given, _ = SIGNATURES[op]
    if op in _MAKERS:
        return _MAKERS[op]
    if not given[0].is_float:
        return _WORDS
    return _ORDERS if len(given) == 2 else _SINGLES


def operands(op: Op, count: int, seed: int) -> tuple[Ints, Ints]:
    """Every pair of core values, then `count` more, an equal share of each kind that is difficult for the operation."""
    given, _ = SIGNATURES[op]
    core = F32_CORE if given[0].is_float else I64_CORE
    rng = Rng(seed * 256 + op)
    makers = _makers(op)
    made = [np.array(list(product(core, core)), dtype=np.int64).T]
    made += [np.array(maker(rng, -(-count // len(makers)))) for maker in makers]
    x, y = np.concatenate(made, axis=1)
    return x, y ^ SIGN if op is Op.FSUB else y
