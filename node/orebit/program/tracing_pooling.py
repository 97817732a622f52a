"""Fractional max pooling, written out: a gather of every window, and a scatter of gradients."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def fractional_max_pool(
    x: torch.Tensor, kernel_size: Sequence[int], output_size: Sequence[int], samples: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest of each window, and its row-major place. Where windows start is what `samples` say, one number an
    axis and channel; the last of an axis ends with it."""
    axes, batched = len(kernel_size), x.dim() == len(kernel_size) + 2
    x = x if batched else x.unsqueeze(0)
    lead, sizes = x.shape[:2], x.shape[2:]
    index = torch.zeros((*lead, *[1] * 2 * axes), dtype=torch.int64)
    for axis, (size, kernel, count) in enumerate(zip(sizes, kernel_size, output_size, strict=True)):
        # The samples of an image stand last axis first.
        sample = samples[..., 1 - axis if axes == 2 else axis].unsqueeze(-1)
        starts = _starts(sample, size, kernel, count)
        outer, inner = [1] * 2 * axes, [1] * 2 * axes
        outer[axis], inner[axes + axis] = count, kernel
        index = index * size + starts.reshape(*lead, *outer) + torch.arange(kernel).reshape(inner)
    places = index.reshape(*lead, *output_size, -1)
    windows = x.flatten(2).gather(2, places.flatten(2)).reshape(places.shape)
    best = windows.argmax(-1, keepdim=True)
    made, where = (tensor.gather(-1, best).squeeze(-1) for tensor in (windows, places))
    return (made, where) if batched else (made.squeeze(0), where.squeeze(0))


def _starts(sample: torch.Tensor, size: int, kernel: int, count: int) -> torch.Tensor:
    number = torch.arange(count)
    step = (size - kernel) / (count - 1) if count > 1 else 0.0
    starts = ((number + sample) * step).floor() - (sample * step).floor()
    return torch.where(number == count - 1, torch.full_like(starts, size - kernel), starts).long()


def fractional_max_pool_backward(
    grad: torch.Tensor, x: torch.Tensor, kernel_size: Sequence[int], output_size: Sequence[int], where: torch.Tensor
) -> torch.Tensor:
    """Gradients go to where the largest were."""
    first = x.dim() - len(kernel_size)
    spread = torch.zeros_like(x).flatten(first)
    return spread.scatter_add(first, where.flatten(first), grad.flatten(first)).reshape(x.shape)
