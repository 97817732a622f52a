"""Interpolation and its gradients against eager torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from spatial import agrees, agrees_on, execute
from torch.nn import functional as F

from orebit.program.descriptor import Kind

Case = tuple[tuple[int, ...], dict[str, Any]]

NEAREST: dict[str, Case] = {
    "1d": ((2, 3, 4), {"scale_factor": 2}),
    "2d": ((2, 2, 3, 4), {"scale_factor": 2}),
    "2d_unequal": ((2, 2, 3, 4), {"scale_factor": (3, 1)}),
    "2d_size": ((1, 2, 5, 3), {"size": (7, 4)}),
    "2d_down": ((1, 2, 6, 8), {"scale_factor": 0.5}),
    "2d_down_uneven": ((1, 2, 7, 8), {"size": (3, 5)}),
    "2d_mixed": ((1, 2, 4, 6), {"size": (8, 2)}),
    "2d_odd_factor": ((1, 2, 5, 5), {"scale_factor": 1.7}),
    "3d": ((1, 2, 2, 3, 2), {"scale_factor": 2}),
}


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
@pytest.mark.parametrize("name", NEAREST)
def test_nearest(name: str, mode: str) -> None:
    shape, settings = NEAREST[name]
    agrees(lambda x: F.interpolate(x, mode=mode, **settings), shape, tolerance=1e-6)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
def test_nearest_takes_what_torch_takes(mode: str) -> None:
    """For every pair of sizes: positions are products of f32, and torch rounds them where no formula would."""
    x = torch.arange(49.0).reshape(1, 1, 49)

    def resized(t: torch.Tensor) -> torch.Tensor:
        sizes = (1, 3, 13, 20, 48, 49, 50, 75, 98, 147, 173)
        return torch.cat([F.interpolate(t, size=size, mode=mode) for size in sizes], 2)

    assert np.array_equal(execute(resized, [x])[1][0], resized(x).numpy())


LINEAR: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    "1d": ("linear", (2, 2, 5), {"scale_factor": 2}),
    "1d_aligned": ("linear", (2, 2, 5), {"size": 8, "align_corners": True}),
    "2d": ("bilinear", (2, 2, 3, 4), {"scale_factor": 2}),
    "2d_aligned": ("bilinear", (2, 2, 3, 4), {"scale_factor": 2, "align_corners": True}),
    "2d_size": ("bilinear", (1, 2, 5, 3), {"size": (7, 8)}),
    "2d_down": ("bilinear", (1, 2, 8, 7), {"size": (3, 5)}),
    "2d_half": ("bilinear", (1, 2, 8, 6), {"scale_factor": 0.5}),
    "2d_factor": ("bilinear", (1, 2, 5, 5), {"scale_factor": 1.7}),
    "2d_recomputed": ("bilinear", (1, 2, 5, 5), {"scale_factor": 1.7, "recompute_scale_factor": True}),
    "2d_one": ("bilinear", (1, 2, 1, 4), {"size": (3, 1), "align_corners": True}),
    "2d_eightfold": ("bilinear", (1, 1, 3, 2), {"scale_factor": 8}),
    "3d": ("trilinear", (1, 2, 2, 3, 2), {"scale_factor": 2}),
    "cubic": ("bicubic", (1, 2, 4, 5), {"scale_factor": 2}),
    "cubic_aligned": ("bicubic", (1, 2, 4, 5), {"size": (7, 3), "align_corners": True}),
    "cubic_small": ("bicubic", (1, 2, 1, 2), {"size": (3, 5)}),
    "area": ("area", (1, 2, 6, 5), {"size": (4, 2)}),
}


@pytest.mark.parametrize("name", LINEAR)
def test_interpolation(name: str) -> None:
    mode, shape, settings = LINEAR[name]
    agrees(lambda x: F.interpolate(x, mode=mode, **settings), shape, tolerance=3e-6)


def test_a_long_run_is_an_exact_product() -> None:
    """61 to 67 has no period: a matrix of weights, at the program's bits. Positions are rounded to f32, as in torch."""
    program = agrees(lambda x: F.interpolate(x, size=67, mode="linear"), (1, 2, 61), tolerance=1e-5)
    assert any(program.descriptor(number).kind is Kind.DOT for number in program.operations)


def test_upsampling_layers_are_traced() -> None:
    layer = torch.nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
    agrees_on(lambda x: layer(x), [torch.randn(1, 2, 3, 3, generator=torch.Generator().manual_seed(0))])
