"""Sums, means and maxima."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch

from orebit.numerics.types import DType
from orebit.program.lowering import exact
from orebit.program.lowering.context import Lowering, axis
from orebit.program.lowering.registry import lowers
from orebit.program.lowering.tensor import Tensor
from orebit.program.lowering.views import program_type

aten = torch.ops.aten


def dims_of(tensor: Tensor, dims: Sequence[int] | int | None) -> list[int]:
    """Axis numbers, in order; all of them for None or []."""
    rank = len(tensor.shape)
    if dims is None or dims == []:
        return list(range(rank))
    given = [dims] if isinstance(dims, int) else dims
    return sorted({axis(dim, rank) for dim in given}) if rank else []


def kept(tensor: Tensor, dims: Sequence[int], keepdim: bool) -> Tensor:
    """With removed axes as extents of 1, if they are to be kept."""
    if keepdim:
        for dim in sorted(dims):
            tensor = tensor.with_axis(dim)
    return tensor


@lowers(aten.sum.default, aten.sum.dim_IntList)
def total(
    lowering: Lowering,
    a: Tensor,
    dims: Sequence[int] | None = None,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
) -> Tensor:
    axes = dims_of(a, dims)
    if dtype is not None:
        a = lowering.convert(a, program_type(dtype))
    result = exact.sum_over(lowering, a, axes) if axes else a
    return kept(result, axes, keepdim)


@lowers(aten.mean.default, aten.mean.dim)
def mean(
    lowering: Lowering,
    a: Tensor,
    dims: Sequence[int] | None = None,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
) -> Tensor:
    axes = dims_of(a, dims)
    count = float(prod(a.shape[dim] for dim in axes))
    summed = total(lowering, a, axes, keepdim, dtype=dtype) if axes else a
    return lowering.map(lambda x: x.to_f32() / count, summed)


@lowers(aten.amax.default, aten.max.default)
def amax(lowering: Lowering, a: Tensor, dims: Sequence[int] = (), keepdim: bool = False) -> Tensor:
    axes = dims_of(a, list(dims))
    return kept(exact.maximum(lowering, a, axes), axes, keepdim) if axes else a


@lowers(aten.argmax.default)
def argmax(lowering: Lowering, a: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Of equal maxima the first, by two maxima: over the values, then over negated positions."""
    if dim is None:
        return argmax(lowering, lowering.reshape(a, [prod(a.shape)]), 0)
    dim = axis(dim, len(a.shape))
    largest = exact.maximum(lowering, a, [dim]).with_axis(dim)
    least = -(1 << 62)

    def place(m: Any, x: Any) -> Any:
        # NaN is the largest, as in torch.
        found = x.eq(m) if not a.dtype.is_float else x.eq(m) | (x.eq(x) ^ 1)
        return found.select(-x.builder.index(dim), least)

    places = lowering.map(place, largest, a, dtype=DType.I64)
    first = lowering.map(lambda x: -x, exact.maximum(lowering, places, [dim]))
    return kept(first, [dim], keepdim)


@lowers(aten.max.dim)
def max_dim(lowering: Lowering, a: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    return amax(lowering, a, [dim], keepdim), argmax(lowering, a, dim, keepdim)
