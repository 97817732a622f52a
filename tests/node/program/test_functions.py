"""Elementary functions against higher precision, randomness against published vectors, through the executor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from orebit.executor.reference import ReferenceExecutor
from orebit.numerics import functions
from orebit.numerics import functions_quantised as quantised
from orebit.numerics.functions_random import swap_or_not, threefry2x32
from orebit.numerics.types import DType
from orebit.program.builder import Builder
from orebit.program.expression import Scalar
from orebit.program.lowering.context import Lowering
from orebit.program.lowering.tensor import Tensor

Array = NDArray[Any]
Long = np.longdouble


def evaluate(function: Callable[..., Scalar], *arguments: Array, dtype: DType | None = None) -> Array:
    """One map over arrays of one shape."""
    builder = Builder()
    lowering = Lowering(builder)
    inputs = [Tensor.of(builder.constant(DType.from_numpy(a.dtype), a.shape)) for a in arguments]
    result = lowering.map(function, *inputs, dtype=dtype)
    builder.state(result.dtype, result.shape)
    program = builder.finish([result.value])
    start = np.zeros(result.shape, result.dtype.numpy)
    (made,) = ReferenceExecutor(program, list(arguments), []).step([start])
    return made.numpy()


def mantissas(low: int, high: int) -> Array:
    """A sample of every f32 from 2^low to 2^high: each 37th mantissa."""
    first, last = (low + 127) << 23, (high + 127) << 23
    return np.arange(first, last, 37, dtype=np.uint32).view(np.float32)


def worst_ulp(function: Callable[[Scalar], Scalar], x: Array, reference: Callable[[Array], Array]) -> float:
    x = x.astype(np.float32)
    exact = reference(x.astype(Long))
    nearest = np.abs(exact).astype(np.float32)
    unit = np.maximum(np.spacing(nearest), np.float32(2.0**-149)).astype(Long)
    return float(np.max(np.abs(evaluate(function, x).astype(Long) - exact) / unit))


def uniform(low: float, high: float, count: int = 100_000) -> Array:
    return np.random.default_rng(7).uniform(low, high, count)


@pytest.mark.skipif(np.finfo(Long).nmant < 60, reason="the reference needs more digits than float64 here")
@pytest.mark.parametrize(
    ("function", "reference", "samples", "bound"),
    [
        (functions.exp, np.exp, [uniform(-87, 88.7), uniform(-1, 1), mantissas(-2, -1)], 0.89),
        (functions.log, np.log, [mantissas(-1, 0), mantissas(0, 1), uniform(1e-38, 3e38), uniform(0, 1e-38)], 0.82),
        (functions.tanh, np.tanh, [uniform(-10, 10), mantissas(-2, 0), uniform(-1e-3, 1e-3)], 2.45),
        (functions.sigmoid, lambda x: 1 / (1 + np.exp(-x)), [uniform(-80, 20), uniform(-3, 3)], 2.5),
    ],
    ids=["exp", "log", "tanh", "sigmoid"],
)
def test_ulp_bound(function: Any, reference: Any, samples: list[Array], bound: float) -> None:
    assert worst_ulp(function, np.concatenate(samples), reference) <= bound


def test_special_values() -> None:
    inf, nan = np.inf, np.nan
    x = np.array([inf, -inf, nan, 0.0, -0.0, 200.0, -200.0], np.float32)
    assert np.array_equal(evaluate(functions.exp, x), np.float32([inf, 0, nan, 1, 1, inf, 0]), equal_nan=True)
    assert np.array_equal(evaluate(functions.log, x)[:5], np.float32([inf, nan, nan, -inf, -inf]), equal_nan=True)
    tanh = evaluate(functions.tanh, x)
    assert np.array_equal(tanh, np.float32([1, -1, nan, 0, 0, 1, -1]), equal_nan=True)
    assert np.signbit(tanh[4]) and not np.signbit(tanh[3])
    assert np.array_equal(evaluate(functions.sigmoid, x), np.float32([1, 0, nan, 0.5, 0.5, 1, 0]), equal_nan=True)


def test_exp_underflows_through_subnormals() -> None:
    x = np.float32([-88.0, -95.0, -103.0, -103.9])
    units = evaluate(functions.exp, x).astype(np.float64) / 2.0**-149
    # The two factors of the scale may round a subnormal twice: one unit at most.
    assert np.max(np.abs(units - np.exp(x.astype(np.float64)) / 2.0**-149)) <= 1.0


@pytest.mark.parametrize(
    ("key", "counter", "words"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_known_answers(key: tuple[int, int], counter: tuple[int, int], words: tuple[int, int]) -> None:
    """The vectors of the Random123 distribution (threefry2x32, 20 rounds)."""
    arguments = [np.array([number], np.int64) for number in (*key, *counter)]
    for place in (0, 1):
        made = evaluate(lambda a, b, c, d: threefry2x32((a, b), (c, d))[place], *arguments)  # noqa: B023  # called within the same turn
        assert int(made[0]) == words[place]


@pytest.mark.parametrize("size", [1, 2, 3, 10, 1000])
def test_swap_or_not_is_a_permutation(size: int) -> None:
    places = np.arange(size, dtype=np.int64)
    rng = np.random.default_rng(size)
    for _ in range(24):
        offset, k0, k1 = (np.int64(rng.integers(size)), *rng.integers(1 << 32, size=2))
        places = evaluate(
            lambda x, o, a, b: swap_or_not(x, o, (a, b), size),
            places,
            *(np.full(size, number, np.int64) for number in (offset, k0, k1)),
        )
    assert sorted(places) == list(range(size))


@pytest.mark.parametrize("bits", [4, 8, 15, 22])
def test_quantise_rescale_is_near_and_in_range(bits: int) -> None:
    x = (np.random.default_rng(3).standard_normal(1000) * 10.0 ** np.arange(-30, 20, 0.05)).astype(np.float32)
    x = x[np.abs(x) > 2.0**-100]  # below the floor of the exponents digits are lost
    m = evaluate(quantised.magnitude, x, dtype=DType.I32)
    e = evaluate(lambda v: quantised.exponent(v, bits), m, dtype=DType.I16)
    q = evaluate(lambda v, w: quantised.quantise(v, w, bits), x, e, dtype=quantised.storage(bits))
    assert np.abs(q.astype(np.int64)).max() <= (1 << (bits - 1)) - 1
    one = np.full_like(q, 1 << (bits - 2))
    back = evaluate(
        lambda s, ea, eb: quantised.rescale(s, ea, eb, bits),
        q.astype(np.int64) * one,
        e,
        np.full_like(e, 1),  # 2^(bits-2) at exponent 1 is 1.0
    )
    assert np.all(np.abs(back - x) <= np.abs(x) * 2.0 ** (1 - bits) * 1.01)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, np.finfo(np.float32).max])
def test_exponent_129_marks_what_cannot_be_quantised(value: float) -> None:
    x = np.float32([value])
    m = evaluate(quantised.magnitude, x, dtype=DType.I32)
    e = evaluate(lambda v: quantised.exponent(v, 15), m, dtype=DType.I16)
    assert e[0] == 129  # the largest finite number rounds up to 2^128
    assert evaluate(lambda v, w: quantised.quantise(v, w, 15), x, e, dtype=DType.I16)[0] == 0
    assert np.isnan(evaluate(lambda s, a, b: quantised.rescale(s, a, b, 15), np.int64([3]), e, np.int16([0])))[0]


def test_subnormals_and_zero_have_the_lowest_exponent() -> None:
    x = np.float32([0.0, 2.0**-149, 2.0**-120])
    m = evaluate(quantised.magnitude, x, dtype=DType.I32)
    assert list(evaluate(lambda v: quantised.exponent(v, 15), m, dtype=DType.I16)) == [-100, -100, -100]
    assert list(evaluate(quantised.sum_exponent, m, dtype=DType.I16)) == [-98, -98, -98]
