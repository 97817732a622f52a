"""The oracle against this processor, by numpy, on random and special bit patterns."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest

from orebit.executor.conformance_vectors import F32_CORE, F32_SPECIALS, I64_CORE, I64_SPECIALS
from orebit.numerics import scalar
from orebit.numerics.types import CANONICAL_NAN, INT64_MAX, INT64_MIN, DType

COUNT = 50_000
Ints = np.ndarray


def f32_samples(seed: int) -> list[int]:
    rng = random.Random(seed)
    specials = [bits | sign for bits in F32_SPECIALS for sign in (0, 1 << 31)]
    drawn = [rng.getrandbits(32) for _ in range(COUNT // 2)]
    near = [rng.randrange(0x3D000000, 0x43000000) | rng.getrandbits(1) << 31 for _ in range(COUNT // 4)]
    tiny = [rng.randrange(0, 0x01000000) | rng.getrandbits(1) << 31 for _ in range(COUNT // 8)]
    chosen = [rng.choice(specials) for _ in range(COUNT - len(drawn) - len(near) - len(tiny))]
    samples = drawn + near + tiny + chosen
    rng.shuffle(samples)
    return samples


def i64_samples(seed: int) -> list[int]:
    rng = random.Random(seed)
    wide = [DType.I64.wrap(rng.getrandbits(rng.randint(1, 64)) * rng.choice((1, -1))) for _ in range(COUNT * 3 // 4)]
    chosen = [DType.I64.wrap(rng.choice(I64_SPECIALS) * rng.choice((1, -1))) for _ in range(COUNT - len(wide))]
    samples = wide + chosen
    rng.shuffle(samples)
    return samples


def floats(bits: list[int]) -> Ints:
    return np.array(bits, dtype=np.uint32).view(np.float32)


def bits(values: Ints) -> Ints:
    raw = values.view(np.uint32).astype(np.int64)
    return np.where(np.isnan(values), CANONICAL_NAN, raw)


def agree(name: str, hardware: Ints, columns: list[list[int]]) -> None:
    function = getattr(scalar, name)
    computed = np.array([function(*row) for row in zip(*columns, strict=True)], dtype=np.int64)
    wrong = np.flatnonzero(computed != hardware)
    assert not len(wrong), [[hex(column[i]) for column in columns] for i in wrong[:3]]


def zeros_ordered(pick: Callable[[Ints, Ints], Ints], negative_wins: bool) -> Callable[[Ints, Ints], Ints]:
    def ordered(x: Ints, y: Ints) -> Ints:
        sign = np.signbit(x) | np.signbit(y) if negative_wins else np.signbit(x) & np.signbit(y)
        zero = np.where(sign, np.float32(-0.0), np.float32(0.0))
        return np.where((x == 0) & (y == 0), zero, pick(x, y))

    return ordered


BINARY_F32 = {
    "f32_add": np.add,
    "f32_sub": np.subtract,
    "f32_mul": np.multiply,
    "f32_div": np.divide,
    "f32_min": zeros_ordered(np.minimum, True),
    "f32_max": zeros_ordered(np.maximum, False),
}
UNARY_F32 = {"f32_sqrt": np.sqrt, "f32_neg": np.negative, "f32_abs": np.abs, "f32_round": np.rint}
COMPARE_F32 = {"f32_lt": np.less, "f32_le": np.less_equal, "f32_eq": np.equal}


@pytest.mark.parametrize("name", BINARY_F32)
def test_binary_f32(name: str) -> None:
    pairs = list(product(F32_CORE, F32_CORE))
    x = f32_samples(1) + [a for a, _ in pairs]
    y = f32_samples(2) + [b for _, b in pairs]
    with np.errstate(all="ignore"):
        agree(name, bits(BINARY_F32[name](floats(x), floats(y))), [x, y])


@pytest.mark.parametrize("name", UNARY_F32)
def test_unary_f32(name: str) -> None:
    x = f32_samples(3)
    with np.errstate(all="ignore"):
        agree(name, bits(UNARY_F32[name](floats(x))), [x])


@pytest.mark.parametrize("name", COMPARE_F32)
def test_comparisons_of_f32(name: str) -> None:
    x, y = f32_samples(4), f32_samples(5)
    y[: COUNT // 4] = x[: COUNT // 4]
    agree(name, COMPARE_F32[name](floats(x), floats(y)).astype(np.int64), [x, y])


def test_conversions() -> None:
    x = f32_samples(6)
    with np.errstate(all="ignore"):
        rounded = np.rint(floats(x))
        inside = np.abs(rounded) < 2.0**63
        whole = np.where(inside, rounded, 0).astype(np.int64)
        whole = np.where(rounded >= 2.0**63, INT64_MAX, np.where(rounded <= -(2.0**63), INT64_MIN, whole))
    agree("f32_to_i64", whole, [x])
    integers = i64_samples(7)
    agree("i64_to_f32", bits(np.array(integers, dtype=np.int64).astype(np.float32)), [integers])


def test_bitcasts_keep_everything_but_the_payload_of_nan() -> None:
    x = f32_samples(8)
    agree("f32_to_bits", bits(floats(x)), [x])
    integers = i64_samples(9)
    agree("bits_to_f32", bits(np.array(integers, dtype=np.int64).astype(np.uint32).view(np.float32)), [integers])


def rotate(x: Ints, y: Ints) -> Ints:
    low, count = x & 0xFFFFFFFF, y & 31
    return ((low << count) | (low >> (32 - count))) & 0xFFFFFFFF


BINARY_I64 = {
    "i64_add": np.add,
    "i64_sub": np.subtract,
    "i64_mul": np.multiply,
    "i64_and": np.bitwise_and,
    "i64_or": np.bitwise_or,
    "i64_xor": np.bitwise_xor,
    "i64_shl": lambda x, y: x << (y & 63),
    "i64_shr": lambda x, y: (x.view(np.uint64) >> (y & 63).view(np.uint64)).view(np.int64),
    "i64_sar": lambda x, y: x >> (y & 63),
    "i64_rotl32": rotate,
    "i64_lt": np.less,
    "i64_le": np.less_equal,
    "i64_eq": np.equal,
    "i64_min": np.minimum,
    "i64_max": np.maximum,
}


@pytest.mark.parametrize("name", BINARY_I64)
def test_binary_i64(name: str) -> None:
    pairs = list(product(I64_CORE, I64_CORE))
    x = i64_samples(10) + [a for a, _ in pairs]
    y = i64_samples(11) + [b for _, b in pairs]
    hardware = BINARY_I64[name](np.array(x, dtype=np.int64), np.array(y, dtype=np.int64))
    agree(name, hardware.astype(np.int64), [x, y])


def test_negation_and_absolute_value_wrap() -> None:
    x = i64_samples(12)
    array = np.array(x, dtype=np.int64)
    agree("i64_neg", np.negative(array), [x])
    agree("i64_abs", np.abs(array), [x])


def test_division_truncates_and_is_total() -> None:
    x, y = i64_samples(13), i64_samples(14)
    a, b = np.array(x, dtype=np.int64), np.array(y, dtype=np.int64)
    safe = np.where((b == 0) | (b == -1), 1, b)
    rest = np.fmod(a, safe)  # C's remainder, with the dividend's sign
    quotient = (a - rest) // safe
    agree("i64_div", np.where(b == 0, 0, np.where(b == -1, np.negative(a), quotient)), [x, y])
    agree("i64_rem", np.where((b == 0) | (b == -1), 0, rest), [x, y])


def test_named_edges() -> None:
    assert scalar.i64_div(INT64_MIN, -1) == INT64_MIN and scalar.i64_rem(INT64_MIN, -1) == 0
    assert scalar.f32_sqrt(0x80000000) == 0x80000000
    assert scalar.f32_round(0xBF000000) == 0x80000000  # -0.5 keeps its sign
    assert scalar.f32_min(0x80000000, 0) == 0x80000000 and scalar.f32_max(0, 0x80000000) == 0
    assert scalar.f32_neg(CANONICAL_NAN) == CANONICAL_NAN
    assert scalar.i64_to_f32((1 << 24) + 1) == 0x4B800000  # a tie, to even
    assert scalar.i64_to_f32((1 << 62) + (1 << 38) + 1) == 0x5E800001  # rounded once, not through f64
    assert scalar.f32_to_i64(0x40200000) == 2 and scalar.f32_to_i64(0x7FC00000) == 0
