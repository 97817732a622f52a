"""Pooling and its gradients against eager float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from spatial import agrees, agrees_on, execute
from torch.nn import functional as F

Case = tuple[Callable[[torch.Tensor], torch.Tensor], tuple[int, ...]]

MAXIMA: dict[str, Case] = {
    "1d": (lambda x: F.max_pool1d(x, 3, 2), (2, 3, 9)),
    "2d": (lambda x: F.max_pool2d(x, 2), (2, 3, 6, 4)),
    "2d_uneven": (lambda x: F.max_pool2d(x, 2), (2, 3, 7, 5)),
    "2d_overlap": (lambda x: F.max_pool2d(x, 3, 2, 1), (2, 3, 7, 8)),
    "2d_stride_1": (lambda x: F.max_pool2d(x, (3, 2), 1, (1, 0)), (2, 2, 5, 4)),
    "2d_gaps": (lambda x: F.max_pool2d(x, 2, 3), (2, 2, 8, 7)),
    "2d_ceil": (lambda x: F.max_pool2d(x, 2, ceil_mode=True), (2, 2, 5, 7)),
    "2d_dilation": (lambda x: F.max_pool2d(x, 2, 2, 1, dilation=2), (2, 2, 7, 8)),
    "2d_large": (lambda x: F.max_pool2d(x, (31, 1)), (2, 2, 31, 2)),
    "2d_one_sample": (lambda x: F.max_pool2d(x, 2), (3, 4, 4)),
    "3d": (lambda x: F.max_pool3d(x, 2, 2, 1), (1, 2, 4, 5, 3)),
    "adaptive_1d": (lambda x: F.adaptive_max_pool1d(x, 3), (2, 2, 9)),
    "adaptive_2d": (lambda x: F.adaptive_max_pool2d(x, (1, 2)), (2, 2, 4, 6)),
    "adaptive_2d_uneven": (lambda x: F.adaptive_max_pool2d(x, (3, 4)), (2, 2, 7, 6)),
    "adaptive_3d": (lambda x: F.adaptive_max_pool3d(x, (2, 3, 1)), (1, 2, 4, 5, 3)),
    "adaptive_more": (lambda x: F.adaptive_max_pool2d(x, (4, 3)), (1, 2, 3, 2)),
}


@pytest.mark.parametrize("name", MAXIMA)
def test_max_pool(name: str) -> None:
    function, shape = MAXIMA[name]
    agrees(function, shape, tolerance=1e-6)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.max_pool2d(x, 3, 2, 1),
        lambda x: F.max_pool2d(x, 2),
        lambda x: F.adaptive_max_pool2d(x, (2, 3)),
        lambda x: F.max_pool3d(x.unsqueeze(0), (2, 3, 2), 1, 1),
    ],
)
def test_of_equal_values_the_first_takes_the_gradient(function: Any) -> None:
    levels = torch.randint(0, 2, (2, 3, 6, 7), generator=torch.Generator().manual_seed(2)).float()
    agrees_on(function, [levels], tolerance=1e-6)


def test_indices_are_torchs() -> None:
    x = torch.randint(0, 3, (2, 3, 7, 6), generator=torch.Generator().manual_seed(1)).float()
    x[0, 0] = -float("inf")
    for settings in ({"stride": 2, "padding": 1}, {"stride": 3, "ceil_mode": True}):

        def positions(t: torch.Tensor, settings: Any = settings) -> torch.Tensor:
            values, places = F.max_pool2d(t, 3, **settings, return_indices=True)
            return torch.where(values > 9, values, places.to(t.dtype))

        _, (made, _) = execute(positions, [x])
        assert np.array_equal(made, positions(x).numpy())


def test_nan_is_the_largest() -> None:
    x = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    x[0, 0, 1, 1] = float("nan")
    _, (value, gradient) = execute(lambda t: F.max_pool2d(t, 2), [x])
    wanted = F.max_pool2d(x, 2)
    assert np.array_equal(value, wanted.numpy(), equal_nan=True)
    assert gradient[0, 0, 1, 1] == 1.0


AVERAGES: dict[str, Case] = {
    "1d": (lambda x: F.avg_pool1d(x, 3, 2, 1), (2, 3, 9)),
    "2d": (lambda x: F.avg_pool2d(x, 2), (2, 3, 6, 4)),
    "2d_uneven": (lambda x: F.avg_pool2d(x, 2), (2, 2, 7, 5)),
    "2d_overlap": (lambda x: F.avg_pool2d(x, 3, 2, 1), (2, 2, 7, 8)),
    "2d_without_padding": (lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False), (2, 2, 7, 8)),
    "2d_ceil": (lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True), (2, 2, 6, 8)),
    "2d_ceil_without": (lambda x: F.avg_pool2d(x, 3, 2, 1, True, False), (2, 2, 6, 8)),
    "2d_divisor": (lambda x: F.avg_pool2d(x, (2, 3), 1, divisor_override=5), (2, 2, 5, 6)),
    "2d_gaps": (lambda x: F.avg_pool2d(x, 2, 3), (2, 2, 8, 7)),
    "2d_two_maps": (lambda x: F.avg_pool2d(x, (7, 6), 2), (1, 2, 11, 10)),
    "2d_exact": (lambda x: F.avg_pool2d(x, (8, 9), 1, (0, 2)), (2, 3, 9, 10)),
    "3d": (lambda x: F.avg_pool3d(x, 2, 2, 1), (1, 2, 4, 5, 3)),
    "adaptive_1d": (lambda x: F.adaptive_avg_pool1d(x, 4), (2, 2, 8)),
    "adaptive_whole": (lambda x: F.adaptive_avg_pool2d(x, 1), (2, 2, 6, 5)),
    "adaptive_2d": (lambda x: F.adaptive_avg_pool2d(x, (2, 3)), (2, 2, 6, 6)),
    "adaptive_2d_uneven": (lambda x: F.adaptive_avg_pool2d(x, (3, 4)), (2, 2, 7, 6)),
    "adaptive_2d_mixed": (lambda x: F.adaptive_avg_pool2d(x, (3, None)), (2, 2, 7, 6)),
    "adaptive_3d": (lambda x: F.adaptive_avg_pool3d(x, (2, 3, 1)), (1, 2, 4, 5, 3)),
    "adaptive_more": (lambda x: F.adaptive_avg_pool2d(x, (4, 3)), (1, 2, 3, 2)),
}


@pytest.mark.parametrize("name", AVERAGES)
def test_average_pool(name: str) -> None:
    function, shape = AVERAGES[name]
    agrees(function, shape, tolerance=1e-6)


UNPOOLED: dict[str, Case] = {
    "1d": (lambda x: F.max_unpool1d(*F.max_pool1d(x, 2, return_indices=True), 2), (2, 3, 6)),
    "2d": (lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2), (2, 3, 6, 4)),
    "3d": (lambda x: F.max_unpool3d(*F.max_pool3d(x, 2, return_indices=True), 2), (1, 2, 4, 2, 4)),
}


@pytest.mark.parametrize("name", UNPOOLED)
def test_max_unpool(name: str) -> None:
    function, shape = UNPOOLED[name]
    agrees(function, shape, tolerance=1e-6)
