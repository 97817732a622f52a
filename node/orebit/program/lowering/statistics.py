"""Minima, variances, norms, products and truth over axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch

from orebit.errors import TraceError
from orebit.numerics import functions
from orebit.numerics.functions_power import power
from orebit.numerics.types import DType
from orebit.program.expression import Scalar
from orebit.program.lowering import exact
from orebit.program.lowering.context import Lowering, axis
from orebit.program.lowering.reductions import amax, argmax, dims_of, kept
from orebit.program.lowering.registry import lowers
from orebit.program.lowering.tensor import Tensor

aten = torch.ops.aten
Dims = Sequence[int] | int | None
INFINITY = float("inf")


def negated(lowering: Lowering, a: Tensor) -> Tensor:
    """What orders the other way round: -x, or the complement of an integer, which cannot overflow."""
    if a.dtype.is_float:
        return lowering.map(lambda x: -x, a)
    return lowering.map(lambda x: x ^ -1, a, dtype=a.dtype if a.dtype.is_signed else DType.I64)


def _restored(lowering: Lowering, a: Tensor, dtype: DType) -> Tensor:
    return lowering.map((lambda x: -x) if dtype.is_float else (lambda x: x ^ -1), a, dtype=dtype)


@lowers(aten.amin.default, aten.min.default)
def amin(lowering: Lowering, a: Tensor, dims: Sequence[int] = (), keepdim: bool = False) -> Tensor:
    return _restored(lowering, amax(lowering, negated(lowering, a), dims, keepdim), a.dtype)


@lowers(aten.argmin.default)
def argmin(lowering: Lowering, a: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    return argmax(lowering, negated(lowering, a), dim, keepdim)


@lowers(aten.min.dim)
def min_dim(lowering: Lowering, a: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    return amin(lowering, a, [dim], keepdim), argmin(lowering, a, dim, keepdim)


@lowers(aten.any.default, aten.any.dim, aten.any.dims)
def any_(lowering: Lowering, a: Tensor, dims: Dims = None, keepdim: bool = False) -> Tensor:
    axes = dims_of(a, dims)
    truth = lowering.map(lambda x: x.eq(0) ^ 1, a, dtype=DType.U8)
    return kept(exact.maximum(lowering, truth, axes), axes, keepdim) if axes else truth


@lowers(aten.all.default, aten.all.dim, aten.all.dims)
def all_(lowering: Lowering, a: Tensor, dims: Dims = None, keepdim: bool = False) -> Tensor:
    axes = dims_of(a, dims)
    lacking = lowering.map(lambda x: x.eq(0), a, dtype=DType.U8)
    some = kept(exact.maximum(lowering, lacking, axes), axes, keepdim) if axes else lacking
    return lowering.map(lambda x: x ^ 1, some, dtype=DType.U8)


@lowers(aten.count_nonzero.default, aten.count_nonzero.dim_IntList)
def count_nonzero(lowering: Lowering, a: Tensor, dims: Dims = None) -> Tensor:
    axes = dims_of(a, dims)
    truth = lowering.map(lambda x: x.eq(0) ^ 1, a, dtype=DType.U8)
    return exact.sum_over(lowering, truth, axes) if axes else lowering.convert(truth, DType.I64)


def moments(lowering: Lowering, a: Tensor, axes: list[int], correction: float) -> tuple[Tensor, Tensor]:
    """Variance and mean over `axes`, which are removed; centred before it is squared."""
    count = prod(a.shape[dim] for dim in axes)
    mean = lowering.map(lambda s: s / float(count), exact.sum_over(lowering, a, axes)) if axes else a
    centred = lowering.map(lambda x, m: (x - m) * (x - m), a, kept(mean, axes, True))
    total = exact.sum_over(lowering, centred, axes) if axes else centred
    return lowering.map(lambda s: s / max(float(count) - correction, 0.0), total), mean


def _correction(correction: Any) -> float:
    return 1.0 if correction is None else float(correction)


@lowers(aten.var.correction)
def var(lowering: Lowering, a: Tensor, dims: Dims = None, *, correction: Any = None, keepdim: bool = False) -> Tensor:
    return var_mean(lowering, a, dims, correction=correction, keepdim=keepdim)[0]


@lowers(aten.var_mean.correction)
def var_mean(
    lowering: Lowering, a: Tensor, dims: Dims = None, *, correction: Any = None, keepdim: bool = False
) -> tuple[Tensor, Tensor]:
    axes = dims_of(a, dims)
    variance, mean = moments(lowering, a, axes, _correction(correction))
    return kept(variance, axes, keepdim), kept(mean, axes, keepdim)


@lowers(aten.std.correction)
def std(lowering: Lowering, a: Tensor, dims: Dims = None, *, correction: Any = None, keepdim: bool = False) -> Tensor:
    return std_mean(lowering, a, dims, correction=correction, keepdim=keepdim)[0]


@lowers(aten.std_mean.correction)
def std_mean(
    lowering: Lowering, a: Tensor, dims: Dims = None, *, correction: Any = None, keepdim: bool = False
) -> tuple[Tensor, Tensor]:
    variance, mean = var_mean(lowering, a, dims, correction=correction, keepdim=keepdim)
    return lowering.map(lambda x: x.sqrt(), variance), mean


@lowers(aten.logsumexp.default)
def logsumexp(lowering: Lowering, a: Tensor, dims: Dims, keepdim: bool = False) -> Tensor:
    """Shifted by the maximum; by nothing where that is infinite, so that infinities stay."""
    axes = dims_of(a, dims)
    if not axes:
        return a
    largest = exact.maximum(lowering, a, axes)
    shift = lowering.map(lambda m: m.abs().lt(m.builder.f32(INFINITY)).select(m, 0.0), largest)
    shifted = lowering.map(lambda x, m: x - m, a, kept(shift, axes, True))
    total = exact.sum_over(lowering, lowering.map(functions.exp, shifted), axes)
    logs = lowering.map(functions.log, total)

    # An infinite exponential makes its sum NaN.
    def joined(m: Scalar, s: Scalar, t: Scalar) -> Scalar:
        return m.eq(m.builder.f32(INFINITY)).select(m, t + s)

    return kept(lowering.map(joined, largest, shift, logs), axes, keepdim)


@lowers(aten.prod.default)
def prod_all(lowering: Lowering, a: Tensor, *, dtype: torch.dtype | None = None) -> Tensor:
    return prod_dim(lowering, lowering.reshape(a, [prod(a.shape)]), 0, dtype=dtype)


@lowers(aten.prod.dim_int)
def prod_dim(
    lowering: Lowering, a: Tensor, dim: int, keepdim: bool = False, *, dtype: torch.dtype | None = None
) -> Tensor:
    """By halves: one fixed tree of products."""
    if lowering.result_type is not None:
        a = lowering.convert(a, lowering.result_type)
    dim = axis(dim, len(a.shape))
    while a.shape[dim] > 1:
        half = a.shape[dim] // 2
        paired = lowering.map(
            lambda x, y: x * y, a.narrow(dim, 0, 1, half), a.narrow(dim, half, 1, half), dtype=a.dtype
        )
        a = paired if a.shape[dim] == 2 * half else _with_last(lowering, paired, a, dim)
    return a if keepdim else a.without_axis(dim)


def _with_last(lowering: Lowering, paired: Tensor, a: Tensor, dim: int) -> Tensor:
    """The odd one out joins the first product."""
    last = a.narrow(dim, a.shape[dim] - 1, 1, 1)
    return lowering.map(
        lambda x, y: y.builder.index(dim).eq(0).select(x * y, y),
        last.expand(paired.shape),
        paired,
        dtype=a.dtype,
    )


def _norm(lowering: Lowering, a: Tensor, order: Any, axes: list[int], keepdim: bool) -> Tensor:
    """The p-norm over `axes`: sums are exact, so squares are scaled by nothing; beyond 2^64 they overflow, as in
    torch."""
    if isinstance(order, Tensor):
        raise TraceError("the order of a norm is a hyper-parameter; make it a plain number")
    order = 2.0 if order is None else float(order)
    magnitude = lowering.map(lambda x: x.abs(), a)
    if not axes:
        return magnitude
    if order == INFINITY:
        return kept(exact.maximum(lowering, magnitude, axes), axes, keepdim)
    if order == -INFINITY:
        return amin(lowering, magnitude, axes, keepdim)
    forms: dict[float, tuple[Callable[[Scalar], Scalar], Callable[[Scalar], Scalar]]] = {
        0.0: (lambda x: (x.eq(0.0) ^ 1).to_f32(), lambda s: s * 1.0),
        1.0: (lambda x: x.abs(), lambda s: s * 1.0),
        2.0: (lambda x: x * x, lambda s: s.sqrt()),
    }
    general: tuple[Callable[[Scalar], Scalar], Callable[[Scalar], Scalar]] = (
        lambda x: power(x.abs(), x.builder.f32(order)),
        lambda s: power(s, s.builder.f32(1.0 / order)),
    )
    before, after = forms.get(order, general)
    total = exact.sum_over(lowering, lowering.map(before, a), axes)
    return kept(lowering.map(after, total) if order > 1 or order not in forms else total, axes, keepdim)


@lowers(aten.linalg_vector_norm.default)
def vector_norm(
    lowering: Lowering,
    a: Tensor,
    order: Any = 2,
    dims: Dims = None,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
) -> Tensor:
    return _norm(lowering, a, order, dims_of(a, dims), keepdim)


@lowers(aten.norm.Scalar)
def norm(lowering: Lowering, a: Tensor, order: Any = 2) -> Tensor:
    return _norm(lowering, a, order, dims_of(a, None), False)


@lowers(aten.norm.ScalarOpt_dim)
def norm_dim(lowering: Lowering, a: Tensor, order: Any, dims: Dims, keepdim: bool = False) -> Tensor:
    return _norm(lowering, a, order, dims_of(a, dims), keepdim)
