"""The other elementary functions against float64 and long double, through the executor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from test_functions import evaluate, mantissas, uniform

from orebit.numerics import functions_error as error
from orebit.numerics import functions_exponential as exponential
from orebit.numerics import functions_trigonometric as trigonometric
from orebit.numerics.functions_power import power
from orebit.numerics.types import DType
from orebit.program import price
from orebit.program.expression import ExpressionBuilder

Array = NDArray[Any]
Long = np.longdouble
INF, NAN = np.inf, np.nan


def spread(low: float, high: float, count: int = 50_000) -> Array:
    """Numbers of both signs whose magnitudes are even on a logarithmic scale."""
    rng = np.random.default_rng(3)
    return np.exp(rng.uniform(np.log(low), np.log(high), count)) * np.where(rng.random(count) < 0.5, -1, 1)


def softplus(x: torch.Tensor) -> torch.Tensor:
    return x.clamp(min=0) + torch.log1p(torch.exp(-x.abs()))


TURNS = [uniform(-7, 7), uniform(-1000, 1000), spread(1e-38, 3e38), mantissas(-1, 3)]
UNIT = [uniform(-1, 1), spread(1e-38, 1), mantissas(-2, 0), 1 - np.abs(spread(1e-7, 0.1))]
POSITIVE = [np.abs(spread(1e-45, 3e38)), uniform(0.5, 2), mantissas(-1, 1)]
CASES: dict[str, tuple[Any, list[Array], Any, float]] = {
    "expm1": (exponential.expm1, [uniform(-18, 88.7), uniform(-1, 1.2), spread(1e-30, 1)], torch.expm1, 1.25),
    "log1p": (exponential.log1p, [uniform(-0.999, 1), spread(1e-38, 0.99), uniform(0, 1e9)], torch.log1p, 0.8),
    "softplus": (exponential.softplus, [uniform(-87, 60), uniform(-3, 3)], softplus, 1.6),
    "log_sigmoid": (exponential.log_sigmoid, [uniform(-60, 87), uniform(-3, 3)], lambda x: -softplus(-x), 1.6),
    "exp2": (exponential.exp2, [uniform(-125, 127.9), uniform(-1, 1)], torch.exp2, 1.0),
    "log2": (exponential.log2, POSITIVE, torch.log2, 2.2),
    "log10": (exponential.log10, POSITIVE, torch.log10, 2.0),
    "erf": (error.erf, [uniform(-4.2, 4.2), mantissas(-2, 2), spread(1e-37, 1)], torch.erf, 0.8),
    "erfinv": (error.erfinv, UNIT, torch.erfinv, 3.6),
    "sin": (trigonometric.sin, TURNS, torch.sin, 0.9),
    "cos": (trigonometric.cos, TURNS, torch.cos, 0.9),
    "tan": (trigonometric.tan, TURNS, torch.tan, 2.4),
    "atan": (trigonometric.atan, [uniform(-7, 7), spread(1e-38, 3e38), mantissas(-3, 3)], torch.atan, 1.9),
    "asin": (trigonometric.asin, UNIT, torch.asin, 0.9),
    "acos": (trigonometric.acos, UNIT, torch.acos, 0.9),
}


@pytest.mark.parametrize("name", CASES)
def test_ulp_bound_of(name: str) -> None:
    function, samples, reference, bound = CASES[name]
    x = np.concatenate(samples).astype(np.float32)
    exact = reference(torch.from_numpy(x.astype(np.float64))).numpy()
    unit = np.maximum(np.spacing(np.abs(exact).astype(np.float32)), np.float32(2.0**-149)).astype(np.float64)
    assert float(np.max(np.abs(evaluate(function, x).astype(np.float64) - exact) / unit)) <= bound


SPECIALS: dict[str, tuple[list[float], list[float]]] = {
    "expm1": ([INF, -INF, NAN, 0.0, -0.0, 100, -100], [INF, -1, NAN, 0.0, -0.0, INF, -1]),
    "log1p": ([INF, -INF, NAN, 0.0, -0.0, -1, -2], [INF, NAN, NAN, 0.0, -0.0, -INF, NAN]),
    "softplus": ([INF, -INF, NAN, 200, -200], [INF, 0, NAN, 200, 0]),
    "log_sigmoid": ([INF, -INF, NAN, 200, -200], [0, -INF, NAN, 0, -200]),
    "exp2": ([INF, -INF, NAN, 0, 5, -3, 128], [INF, 0, NAN, 1, 32, 0.125, INF]),
    "log2": ([INF, -1, NAN, 0, 2.0**127, 2.0**-126, 8], [INF, NAN, NAN, -INF, 127, -126, 3]),
    "erf": ([INF, -INF, NAN, 0.0, -0.0], [1, -1, NAN, 0.0, -0.0]),
    "erfinv": ([1, -1, NAN, 0.0, -0.0, 2], [INF, -INF, NAN, 0.0, -0.0, NAN]),
    "sin": ([INF, -INF, NAN, 0.0, -0.0], [NAN, NAN, NAN, 0.0, -0.0]),
    "cos": ([INF, -INF, NAN, 0.0, -0.0], [NAN, NAN, NAN, 1, 1]),
    "atan": ([INF, -INF, NAN, 0.0, -0.0], [np.pi / 2, -np.pi / 2, NAN, 0.0, -0.0]),
    "asin": ([1, -1, NAN, 0.0, -0.0, 2], [np.pi / 2, -np.pi / 2, NAN, 0.0, -0.0, NAN]),
    "acos": ([1, -1, NAN, 0.0, 2], [0, np.pi, NAN, np.pi / 2, NAN]),
}


@pytest.mark.parametrize("name", SPECIALS)
def test_special_values_of(name: str) -> None:
    given, wanted = (np.array(side, np.float32) for side in SPECIALS[name])
    made = evaluate(CASES[name][0], given)
    np.testing.assert_allclose(made, wanted, rtol=1e-7)  # one unit at pi / 2
    zeros = wanted == 0
    assert np.array_equal(np.signbit(made[zeros]), np.signbit(wanted[zeros]))


POWERS = np.random.default_rng(1)
COUNT = 50_000
POWER_SAMPLES = {
    "wide": (np.exp(POWERS.uniform(-80, 80, COUNT)), POWERS.uniform(-3, 3, COUNT)),
    "steep": (np.exp(POWERS.uniform(-1, 1, COUNT)), POWERS.uniform(-80, 80, COUNT)),
    "near one": (1 + POWERS.uniform(-1e-6, 1e-6, COUNT), POWERS.uniform(-(2**24), 2**24, COUNT)),
    "negative": (-np.exp(POWERS.uniform(-5, 5, COUNT)), POWERS.integers(-16, 16, COUNT)),
    "subnormal": (POWERS.uniform(0, 1e-38, COUNT), POWERS.uniform(-1, 1, COUNT)),
}


@pytest.mark.skipif(np.finfo(Long).nmant < 60, reason="the reference needs more digits than float64 here")
@pytest.mark.parametrize("name", POWER_SAMPLES)
def test_ulp_bound_of_power(name: str) -> None:
    x, y = (side.astype(np.float32) for side in POWER_SAMPLES[name])
    exact = np.power(x.astype(Long), y.astype(Long))
    made = evaluate(power, x, y).astype(Long)
    normal = (np.abs(exact) < 3.4e38) & (np.abs(exact) > 1.2e-38)
    unit = np.spacing(np.abs(exact[normal]).astype(np.float32)).astype(Long)
    assert float(np.max(np.abs(made - exact)[normal] / unit)) <= 0.55


def test_power_is_exact_where_it_can_be() -> None:
    x = np.arange(0, 4096, dtype=np.float32)
    assert np.array_equal(evaluate(power, x, np.full_like(x, 2.0)), x * x)
    assert np.array_equal(evaluate(power, x * x, np.full_like(x, 0.5)), x)


def test_special_values_of_power() -> None:
    numbers = np.float32([0, -0.0, 1, -1, 2, -2, 0.5, -0.5, INF, -INF, NAN, 3, -3, 1e-45, 3e38])
    x, y = (side.ravel() for side in np.meshgrid(numbers, numbers))
    with np.errstate(all="ignore"):  # the specials are what is asked for
        wanted = np.power(x.astype(np.float64), y.astype(np.float64)).astype(np.float32)
    made = evaluate(power, x, y)
    assert np.array_equal(made, wanted, equal_nan=True)
    known = ~np.isnan(wanted)
    assert np.array_equal(np.signbit(made[known]), np.signbit(wanted[known]))


def test_a_function_leaves_a_quarter_of_a_move() -> None:
    """Beside the transaction and the books, so that a lowering may add to it in one map."""
    functions = [case[0] for case in CASES.values()]
    for function, count in [(function, 1) for function in functions] + [(power, 2)]:
        build = ExpressionBuilder([DType.F32] * count, 1)
        expression = build.finish(function(*build.operands))
        gas = price.expression_gas(expression) + price.calldata_gas(expression.encoded)
        assert gas < price.MOVE_LIMIT * 3 / 4 - price.TRANSACTION - price.BOOKS
