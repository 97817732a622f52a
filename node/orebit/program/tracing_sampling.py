"""Sampling of images at places that are computed, written out: `grid_sample` as gathers weighted by nearness.

As torch.nn.functional.grid_sample: a place is in units of half the image, from -1 to 1; outside lies zero, the border,
or the image reflected. Gradients are those of the weights, and of the pixels read; a place beyond the border has none.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch

BILINEAR, NEAREST, BICUBIC = range(3)
ZEROS, BORDER, REFLECTION = range(3)
# The free parameter of torch's cubic convolution.
CUBIC = -0.75
Place = Callable[[torch.Tensor, int], torch.Tensor]


def grid_sampler(
    image: torch.Tensor, grid: torch.Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> torch.Tensor:
    """Image [n, c, *sizes] at grid [n, *places, axes], the last axis of the image first; [n, c, *places]."""
    sizes = image.shape[2:]
    if grid.dim() != image.dim() or grid.shape[-1] != len(sizes) or grid.shape[0] != image.shape[0]:
        return torch.grid_sampler(
            image, grid, interpolation_mode, padding_mode, align_corners
        )  # torch says what is wrong
    places = [_scaled(grid[..., len(sizes) - 1 - k], size, align_corners) for k, size in enumerate(sizes)]
    if interpolation_mode == BICUBIC:
        return _weighted(image, [_cubic(place) for place in places], _wrapped(padding_mode, align_corners))
    inside = [_inside(place, size, padding_mode, align_corners) for place, size in zip(places, sizes, strict=True)]
    if interpolation_mode == NEAREST:
        rounded = [place.detach().round() for place in inside]
        return _weighted(image, [[(place, torch.ones_like(place))] for place in rounded], None)
    return _weighted(image, [_linear(place) for place in inside], None)


def affine_grid(theta: torch.Tensor, size: list[int], align_corners: bool | None = None) -> torch.Tensor:
    """As torch.nn.functional.affine_grid: places of an image of `size` moved by affine maps [n, axes, axes + 1]."""
    sizes = size[2:]
    if theta.dim() != 3 or theta.shape[1:] != (len(sizes), len(sizes) + 1):
        return torch.affine_grid_generator(theta, size, bool(align_corners))  # torch says what is wrong
    coordinates = []
    for axis, extent in reversed(list(enumerate(sizes))):
        steps = (torch.arange(extent) * 2 + 1) / extent - 1
        if align_corners:
            steps = torch.arange(extent) * (2 / (extent - 1) if extent > 1 else 0.0) - (1 if extent > 1 else 0)
        shape = [1] * len(sizes)
        shape[axis] = extent
        coordinates.append(steps.to(theta.dtype).reshape(shape).expand(sizes))
    places = torch.stack([*coordinates, torch.ones(sizes, dtype=theta.dtype)], -1).flatten(0, -2)
    return (places @ theta.transpose(1, 2)).reshape(len(theta), *sizes, len(sizes))


def _scaled(place: torch.Tensor, size: int, align_corners: bool) -> torch.Tensor:
    return (place + 1) / 2 * (size - 1) if align_corners else ((place + 1) * size - 1) / 2


def _inside(place: torch.Tensor, size: int, padding_mode: int, align_corners: bool) -> torch.Tensor:
    if padding_mode == ZEROS:
        return place
    if padding_mode == REFLECTION:
        place = _reflected(place, size, align_corners)
    # At the border itself and beyond it, torch has no gradient.
    beyond = (place <= 0) | (place >= size - 1)
    return torch.where(beyond, place.detach().clamp(0, size - 1), place)


def _reflected(place: torch.Tensor, size: int, align_corners: bool) -> torch.Tensor:
    low, span = (0.0, float(size - 1)) if align_corners else (-0.5, float(size))
    if span == 0:
        return place * 0
    distance = (place - low).abs()
    flips = (distance.detach() / span).floor()
    rest = distance - flips * span
    return torch.where(flips % 2 == 0, rest + low, span - rest + low)


def _wrapped(padding_mode: int, align_corners: bool) -> Place | None:
    if padding_mode == ZEROS:
        return None
    return lambda place, size: _inside(place, size, padding_mode, align_corners).detach().round()


def _linear(place: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    low = place.detach().floor()
    part = place - low
    return [(low, 1 - part), (low + 1, part)]


def _cubic(place: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    low = place.detach().floor()
    part = place - low

    def near(x: torch.Tensor) -> torch.Tensor:
        return ((CUBIC + 2) * x - (CUBIC + 3)) * x * x + 1

    def far(x: torch.Tensor) -> torch.Tensor:
        return ((CUBIC * x - 5 * CUBIC) * x + 8 * CUBIC) * x - 4 * CUBIC

    return [(low - 1, far(part + 1)), (low, near(part)), (low + 1, near(1 - part)), (low + 2, far(2 - part))]


def _weighted(
    image: torch.Tensor, taps: list[list[tuple[torch.Tensor, torch.Tensor]]], moved: Place | None
) -> torch.Tensor:
    """The sum over all combinations of the axes' taps, each a position and a weight; outside of the image is zero."""
    sizes, channels = image.shape[2:], image.shape[1]
    flat, shape = image.flatten(2), taps[0][0][0].shape
    total: torch.Tensor | None = None
    for combination in product(*taps):
        weight, valid, index = None, None, torch.zeros(shape, dtype=torch.int64)
        for (position, nearness), size in zip(combination, sizes, strict=True):
            position = position if moved is None else moved(position, size)
            held = (position >= 0) & (position <= size - 1)
            valid = held if valid is None else valid & held
            weight = nearness if weight is None else weight * nearness
            index = index * size + torch.where(held, position, torch.zeros_like(position)).long()
        assert weight is not None and valid is not None
        places = index.flatten(1).unsqueeze(1).expand(-1, channels, -1)
        pixels = flat.gather(2, places).reshape(*image.shape[:2], *shape[1:])
        part = pixels * torch.where(valid, weight, torch.zeros_like(weight)).unsqueeze(1)
        total = part if total is None else total + part
    assert total is not None
    return total
