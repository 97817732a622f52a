"""Statistics, scans and orderings against eager float64, values and gradients."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from test_lowering import Forward, check
from test_lowering_activations import lowered

from orebit.numerics.types import DType
from orebit.program.lowering import Lowering, Tensor
from orebit.program.lowering.ordering import sort

aten = torch.ops.aten

STATISTICS: dict[str, Forward] = {
    "amin": lambda w, x: (w * x).amin(1),
    "amax": lambda w, x: (w * x).amax((0, 1)),
    "amax_ties": lambda w, x: torch.stack([w, w, x]).amax(0),
    "max_dim": lambda w, x: (w * x).max(1).values * 2,
    "min_dim": lambda w, x: (w * x).min(0, keepdim=True).values * x,
    "max": lambda w, x: (w * x).max() * w,
    "min": lambda w, x: (w * x).min() * w,
    "argmin": lambda w, x: w * x.argmin(0),
    "var": lambda w, x: (w * x + 10).var(1),
    "var_all": lambda w, x: (w * x).var(),
    "var_biased": lambda w, x: (w * x).var(0, unbiased=False, keepdim=True),
    "std": lambda w, x: (w * x).std(1),
    "var_mean": lambda w, x: torch.stack(torch.var_mean(w * x, 0)),
    "logsumexp": lambda w, x: torch.logsumexp(w * x * 3, 1),
    "norm": lambda w, x: (w * x).norm(),
    "norm_rows": lambda w, x: torch.linalg.vector_norm(w * x, dim=1),
    "norm_one": lambda w, x: torch.linalg.vector_norm(w * x, 1, dim=0),
    "norm_infinity": lambda w, x: torch.linalg.vector_norm(w * x, float("inf"), dim=1),
    "norm_three": lambda w, x: torch.linalg.vector_norm(w * x, 3, dim=1),
    "normalize": lambda w, x: torch.nn.functional.normalize(w * x, dim=1),
    "cosine_similarity": lambda w, x: torch.cosine_similarity(w, x, dim=1),
    "prod": lambda w, x: (w * x).prod(1),
    "prod_all": lambda w, x: (w[:2, :3] * x[:2, :3]).prod(),
    "prod_of_zero": lambda w, x: (w * (x > 0)).prod(0),
    "aminmax": lambda w, x: torch.stack(torch.aminmax(w * x, dim=1)),
    "nansum": lambda w, x: torch.nansum(torch.where(x > 1, torch.nan, w * x), 0),
    "trace": lambda w, x: torch.trace(w * x),
    "dist": lambda w, x: torch.dist(w, x),
    "cdist": lambda w, x: torch.cdist(w, x, compute_mode="use_mm_for_euclid_dist"),
    "cross": lambda w, x: torch.linalg.cross(w[:, :3], x[:, :3]),
    "addmv": lambda w, x: torch.addmv(x[:, 0], w, x[1]),
    "addr": lambda w, x: torch.addr(x, w[:, 0], w[1]),
    "any_all": lambda w, x: w * (x > 0).any(1, keepdim=True) + w * (x > -1).all(0),
    "count": lambda w, x: w * (x > 0).sum(1, keepdim=True) + torch.count_nonzero(x > 0),
}


@pytest.mark.parametrize("name", STATISTICS)
def test_statistic(name: str) -> None:
    check(STATISTICS[name], tolerance=6e-6)


ORDERINGS: dict[str, Forward] = {
    "cumsum": lambda w, x: (w * x).cumsum(0),
    "cumsum_columns": lambda w, x: torch.cumsum(w * x, 1),
    "cumprod": lambda w, x: (w * x).cumprod(1),
    "cumprod_of_zero": lambda w, x: torch.cumprod(w * (x > -0.5), 0),
    "cumsum_of_integers": lambda w, x: w * (x > 0).long().cumsum(1),
    "sort": lambda w, x: (w * x).sort(1).values,
    "sort_descending": lambda w, x: (w * x).sort(0, descending=True).values,
    "argsort": lambda w, x: (w * x)[x[:, 0].argsort()],
    "topk": lambda w, x: (w * x).topk(2, 1).values,
    "topk_smallest": lambda w, x: (w * x).topk(3, 0, largest=False).values,
    "topk_most": lambda w, x: (w * x).topk(5, 1).values,
    "median": lambda w, x: (w * x).median(1).values,
    "kthvalue": lambda w, x: (w * x).kthvalue(2, 1).values,
}


@pytest.mark.parametrize("name", ORDERINGS)
def test_ordering(name: str) -> None:
    check(ORDERINGS[name], tolerance=6e-6)


@pytest.mark.parametrize("length", [1, 2, 7, 64, 100])
def test_sort_is_stable_and_orders_specials_as_torch(length: int) -> None:
    rng = np.random.default_rng(length)
    x = rng.choice(np.float32([0.0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 3]), (3, length))
    for descending in (False, True):
        places = torch.sort(torch.from_numpy(x), dim=1, descending=descending, stable=True).indices.numpy()
        assert np.array_equal(lowered(partial(sorted_places, descending=descending), x), places)


def sorted_places(lowering: Lowering, a: Tensor, descending: bool) -> Tensor:
    return sort(lowering, a, 1, descending)[1]


def test_cumsum_is_exact_in_units_of_its_line() -> None:
    """Where float32 loses the small terms, the running sum keeps them until it is rounded."""
    x = np.float32([[1.0] + [2.0**-26] * 64 + [-1.0]])
    assert lowered(aten.cumsum.default, x, arguments=(1,))[0, -1] == 2.0**-20


REMAINDERS: dict[str, Forward] = {
    "remainder": lambda w, x: torch.remainder(w * 7, x.abs() + 0.3),
    "remainder_scalar": lambda w, x: torch.remainder(w * 7, -0.7) * w,
    "fmod": lambda w, x: torch.fmod(w * 7, x),
    "floor_divide": lambda w, x: torch.div(x * 5, 0.3, rounding_mode="floor") * w,
    "trunc_divide": lambda w, x: torch.div(x * 5, 0.3, rounding_mode="trunc") * w,
    "integers": lambda w, x: w * ((x * 9).long() % 4) + w * ((x * 9).long() // 4),
    "hypot": lambda w, x: torch.hypot(w, x),
    "logaddexp": lambda w, x: torch.logaddexp(w, x),
    "questions": lambda w, x: w * (torch.isnan(x) | torch.isfinite(x)) * torch.logical_xor(x > 0, w > 0),
    "copysign": lambda w, x: torch.copysign(w, x),
}


@pytest.mark.parametrize("name", REMAINDERS)
def test_remainder(name: str) -> None:
    check(REMAINDERS[name], tolerance=6e-6)


def test_float_remainders_are_exact() -> None:
    rng = np.random.default_rng(5)
    a = (rng.standard_normal(20_000) * 10.0 ** rng.uniform(-3, 5, 20_000)).astype(np.float32)
    b = (rng.standard_normal(20_000) * 10.0 ** rng.uniform(-2, 3, 20_000)).astype(np.float32)
    near = np.abs(a / b) < 2**23
    a, b = a[near], b[near]
    assert np.array_equal(lowered(aten.fmod.Tensor, a, b), np.fmod(a, b))
    wanted = torch.remainder(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    assert np.array_equal(lowered(aten.remainder.Tensor, a, b), wanted)


def test_integer_division_rounds_as_torch() -> None:
    x, y = (side.ravel() for side in np.meshgrid(np.arange(-9, 10), [-4, -3, -1, 1, 2, 5]))
    for operation, wanted in (
        (aten.remainder.Tensor, np.remainder(x, y)),
        (aten.fmod.Tensor, np.fmod(x, y)),
        (aten.floor_divide.default, x // y),
    ):
        assert np.array_equal(lowered(operation, x, y, dtype=DType.I64), wanted)
