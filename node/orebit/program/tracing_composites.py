"""Functions of torch that read values while they run, written out so that they do not.

Each is only an equal composition of other functions, under autograd; it is in force while a step is traced.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes

from orebit.errors import TraceError
from orebit.program.tracing_alignment import ctc_loss
from orebit.program.tracing_distances import bilinear, cdist, pdist
from orebit.program.tracing_sampling import (
    BICUBIC,
    BILINEAR,
    BORDER,
    NEAREST,
    REFLECTION,
    ZEROS,
    affine_grid,
    grid_sampler,
)


def _one_hot(tensor: torch.Tensor, num_classes: int = -1) -> torch.Tensor:
    """Checks no range: a class beyond it gives a row of zeros."""
    if num_classes < 0:
        return torch.nn.functional.one_hot(tensor)  # its shape depends on data, and is refused as such
    return (tensor.unsqueeze(-1) == torch.arange(num_classes)).to(torch.int64)


def _prod(
    tensor: torch.Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """By halves, so that the gradient needs no search for zeros."""
    if not tensor.is_floating_point():
        return torch.prod(tensor, dtype=dtype) if dim is None else torch.prod(tensor, dim, keepdim, dtype=dtype)
    if dtype is not None:
        tensor = tensor.to(dtype)
    if dim is None:
        tensor, dim, keepdim = tensor.reshape(-1), 0, False
    if not tensor.dim():
        return tensor.clone()
    while tensor.size(dim) > 1:
        half = tensor.size(dim) // 2
        joined = tensor.narrow(dim, 0, half) * tensor.narrow(dim, half, half)
        rest = tensor.size(dim) - 2 * half
        tensor = torch.cat([joined, tensor.narrow(dim, 2 * half, rest)], dim) if rest else joined
    return tensor if keepdim else tensor.squeeze(dim)


def _cumprod(tensor: torch.Tensor, dim: int, *, dtype: torch.dtype | None = None) -> torch.Tensor:
    """By doubling, as its lowering, so that the gradient needs no search for zeros."""
    tensor = tensor if dtype is None else tensor.to(dtype)
    if not tensor.is_floating_point() or not tensor.dim():
        return torch.cumprod(tensor, dim)
    distance, length = 1, tensor.size(dim)
    while distance < length:
        joined = tensor.narrow(dim, distance, length - distance) * tensor.narrow(dim, 0, length - distance)
        tensor = torch.cat([tensor.narrow(dim, 0, distance), joined], dim)
        distance *= 2
    return tensor


def _gaussian_nll_loss(
    mean: torch.Tensor,
    target: torch.Tensor,
    var: torch.Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> torch.Tensor:
    """Without the check that no variance is negative."""
    variance = var if isinstance(var, torch.Tensor) else torch.full_like(mean, var)
    if variance.dim() + 1 == mean.dim() and variance.size() == mean.size()[:-1]:
        variance = variance.unsqueeze(-1)
    # The floor carries no gradient of its own, as in torch.
    bounded = variance + (variance.clamp(min=eps) - variance).detach()
    loss = 0.5 * (torch.log(bounded) + (mean - target) ** 2 / bounded)
    loss = loss + 0.5 * math.log(2 * math.pi) if full else loss
    if reduction == "none":
        return loss
    return loss.mean() if reduction == "mean" else loss.sum()


class _Counts(torch.Tensor):
    """Batch sizes: torch reads them as Python numbers, which a traced tensor refuses, so these are not traced."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        if func is torch.Tensor.__getitem__:
            with _disable_current_modes():
                return args[0].as_subclass(torch.Tensor)[args[1]]
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))


def _pack_padded_sequence(
    tensor: torch.Tensor, lengths: torch.Tensor, batch_first: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """The elements that exist, step by step: one indexing by constants, so lengths must be the same in every step."""
    tensor = tensor.transpose(0, 1) if batch_first else tensor
    known = lengths.tolist()
    if known != sorted(known, reverse=True) or not known or known[-1] < 1:
        raise TraceError("the lengths of a packed sequence must be positive and descend; give enforce_sorted=False")
    sizes = [sum(length > step for length in known) for step in range(known[0])]
    steps = torch.tensor([step for step, size in enumerate(sizes) for _ in range(size)])
    rows = torch.tensor([row for size in sizes for row in range(size)])
    with _disable_current_modes():
        counts = torch.tensor(sizes).as_subclass(_Counts)
    return tensor[steps, rows], counts


def _pad_packed_sequence(
    data: torch.Tensor, batch_sizes: torch.Tensor, batch_first: bool, padding: float, total_length: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The inverse: what does not exist reads a row of padding at the end."""
    sizes = batch_sizes.tolist()
    steps, width = max(len(sizes), total_length), sizes[0]
    starts = [sum(sizes[:step]) for step in range(len(sizes))]
    places = [
        [starts[step] + row if step < len(sizes) and row < sizes[step] else len(data) for row in range(width)]
        for step in range(steps)
    ]
    extended = torch.cat([data, torch.full_like(data[:1], padding)])
    padded = extended[torch.tensor(places)]
    lengths = torch.tensor([sum(size > row for size in sizes) for row in range(width)])
    return padded.transpose(0, 1) if batch_first else padded, lengths


def _grid_sample(
    image: torch.Tensor,
    grid: torch.Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> torch.Tensor:
    """torch.nn.functional's, which names its modes."""
    interpolation = {"bilinear": BILINEAR, "nearest": NEAREST, "bicubic": BICUBIC}.get(mode)
    padding = {"zeros": ZEROS, "border": BORDER, "reflection": REFLECTION}.get(padding_mode)
    if interpolation is None or padding is None or (interpolation == BICUBIC and image.dim() != 4):
        return functional.grid_sample(image, grid, mode, padding_mode, align_corners)  # torch says what is wrong
    return grid_sampler(image, grid, interpolation, padding, bool(align_corners))


def _attention(*arguments: Any, **named: Any) -> torch.Tensor:
    """By hand, whatever kernels the user's code asks for around it."""
    with sdpa_kernel([SDPBackend.MATH]):
        return functional.scaled_dot_product_attention(*arguments, **named)


def _untraced(function: Callable[..., Any]) -> Callable[..., Any]:
    """What depends on nothing is a constant of the step."""

    def constant(*arguments: Any, **named: Any) -> Any:
        with _disable_current_modes():
            return function(*arguments, **named)

    return constant


def _set_item(tensor: torch.Tensor, key: Any, value: Any) -> None:
    """An assignment by a mask of what is the same wherever the mask is, as a selection, whose gradients are selections
    too."""
    *before, mask = key if isinstance(key, tuple) else (key,)
    whole = all(isinstance(index, slice) and index == slice(None) for index in before)
    if isinstance(mask, torch.Tensor) and mask.dtype is torch.bool and whole:
        after = tensor.dim() - len(before) - mask.dim()
        alike = not isinstance(value, torch.Tensor) or value.dim() == 0 or (value.dim() <= after and not before)
        if alike and after >= 0:
            spread = mask.reshape([1] * len(before) + list(mask.shape) + [1] * after)
            tensor.copy_(torch.where(spread, value, tensor).to(tensor.dtype))
            return
    tensor[key] = value


REPLACED: dict[Any, Callable[..., Any]] = {
    functional.one_hot: _one_hot,
    functional.gaussian_nll_loss: _gaussian_nll_loss,
    functional.grid_sample: _grid_sample,
    torch.grid_sampler: grid_sampler,
    functional.ctc_loss: ctc_loss,
    torch.ctc_loss: ctc_loss,
    functional.scaled_dot_product_attention: _attention,
    functional.bilinear: bilinear,
    torch.cdist: cdist,
    torch.pdist: pdist,
    functional.affine_grid: affine_grid,
    torch.affine_grid_generator: affine_grid,
    torch.Tensor.__setitem__: _set_item,
    torch.prod: _prod,
    torch.Tensor.prod: _prod,
    torch.cumprod: _cumprod,
    torch.Tensor.cumprod: _cumprod,
    torch._VF._pack_padded_sequence: _pack_padded_sequence,
    torch._VF._pad_packed_sequence: _pad_packed_sequence,
}


REPLACED |= {
    function: _untraced(function)
    for function in (
        torch.triu_indices,
        torch.tril_indices,
        torch.logspace,
        torch.vander,
        torch.hann_window,
        torch.hamming_window,
        torch.blackman_window,
        torch.bartlett_window,
        torch.kaiser_window,
    )
}


class WrittenOut(TorchFunctionMode):
    """Calls our compositions instead of torch's functions."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return REPLACED.get(func, func)(*args, **(kwargs or {}))
