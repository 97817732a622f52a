"""Softmax and losses, forward and backward."""

from __future__ import annotations

from math import prod

import torch

from orebit.errors import TraceError
from orebit.numerics import functions
from orebit.numerics.types import DType
from orebit.program import index_map as maps
from orebit.program.expression import Scalar
from orebit.program.lowering import exact
from orebit.program.lowering.context import Lowering, axis
from orebit.program.lowering.registry import lowers
from orebit.program.lowering.tensor import Tensor

aten = torch.ops.aten
NONE, MEAN, SUM = 0, 1, 2


def _shifted(lowering: Lowering, a: Tensor, dim: int) -> Tensor:
    largest = exact.maximum(lowering, a, [dim]).with_axis(dim)
    # A line of -inf only is shifted by nothing: its exponentials are zeros, not NaN.
    return lowering.map(
        lambda x, m: x - m.eq(-m.builder.f32(float("inf"))).select(0.0, m),
        a,
        largest,
    )


@lowers(aten._log_softmax.default)
def log_softmax(lowering: Lowering, a: Tensor, dim: int, half_to_float: bool = False) -> Tensor:
    dim = axis(dim, len(a.shape))
    shifted = _shifted(lowering, a, dim)
    total = exact.sum_over(lowering, lowering.map(functions.exp, shifted), [dim]).with_axis(dim)
    return lowering.map(lambda x, s: x - s, shifted, lowering.map(functions.log, total))


@lowers(aten._log_softmax_backward_data.default)
def log_softmax_backward(lowering: Lowering, grad: Tensor, output: Tensor, dim: int, dtype: torch.dtype) -> Tensor:
    dim = axis(dim, len(grad.shape))
    total = exact.sum_over(lowering, grad, [dim]).with_axis(dim)
    return lowering.map(lambda g, p, s: g - p * s, grad, lowering.map(functions.exp, output), total)


@lowers(aten._softmax.default)
def softmax(lowering: Lowering, a: Tensor, dim: int, half_to_float: bool = False) -> Tensor:
    dim = axis(dim, len(a.shape))
    weights = lowering.map(functions.exp, _shifted(lowering, a, dim))
    total = exact.sum_over(lowering, weights, [dim]).with_axis(dim)
    return lowering.map(lambda x, s: s.eq(0.0).select(0.0, x / s), weights, total)


@lowers(aten._softmax_backward_data.default)
def softmax_backward(lowering: Lowering, grad: Tensor, output: Tensor, dim: int, dtype: torch.dtype) -> Tensor:
    dim = axis(dim, len(grad.shape))
    weighted = lowering.map(lambda g, y: g * y, grad, output)
    total = exact.sum_over(lowering, weighted, [dim]).with_axis(dim)
    return lowering.map(lambda w, y, s: w - y * s, weighted, output, total)


def _class_axis(a: Tensor) -> int:
    return 1 if len(a.shape) > 1 else 0


def _refuse_weight(weight: Tensor | None) -> None:
    if weight is not None:
        raise TraceError("class weights in a loss have no lowering; multiply an unreduced loss by them instead")


def _chosen(target: Scalar, classes: int, ignore_index: int) -> Scalar:
    inside = target.lt(0) | target.ge(classes) | target.eq(ignore_index)
    return inside ^ 1


@lowers(aten.nll_loss_forward.default, aten.nll_loss2d_forward.default)
def nll_loss(
    lowering: Lowering, a: Tensor, target: Tensor, weight: Tensor | None, reduction: int, ignore_index: int
) -> tuple[Tensor, Tensor]:
    _refuse_weight(weight)
    dim, classes = _class_axis(a), a.shape[_class_axis(a)]
    picked = _pick(lowering, a, target, dim, ignore_index)
    losses = lowering.map(lambda x: -x, picked)
    valid = lowering.map(lambda t: _chosen(t, classes, ignore_index), target, dtype=DType.U8)
    dims = list(range(len(target.shape)))
    count = lowering.map(lambda n: n.to_f32(), exact.sum_over(lowering, valid, dims) if dims else valid)
    if reduction == NONE:
        return losses, count
    summed = exact.sum_over(lowering, losses, dims) if dims else losses
    return (lowering.map(lambda s, n: s / n, summed, count) if reduction == MEAN else summed), count


def _pick(lowering: Lowering, a: Tensor, target: Tensor, dim: int, ignore_index: int) -> Tensor:
    """a[..., target, ...] along `dim`: a gather over the flat scores; -1, hence 0, where the target is none."""
    order = [k for k in range(len(a.shape)) if k != dim] + [dim]
    scores = lowering.materialise(a.permute(order))
    classes = a.shape[dim]
    places = lowering.map(
        lambda t: _chosen(t, classes, ignore_index).select(t.builder.flat() * classes + t, -1),
        target,
        dtype=DType.I64,
    )
    flat = scores.value.view(maps.IndexMap(()), [prod(scores.shape)])
    places_view = places.broadcast(target.shape)
    return Tensor.of(lowering.builder.gather(places_view, flat, target.shape))


@lowers(aten.nll_loss_backward.default, aten.nll_loss2d_backward.default)
def nll_loss_backward(
    lowering: Lowering,
    grad: Tensor,
    a: Tensor,
    target: Tensor,
    weight: Tensor | None,
    reduction: int,
    ignore_index: int,
    count: Tensor,
) -> Tensor:
    _refuse_weight(weight)
    dim, classes = _class_axis(a), a.shape[_class_axis(a)]
    each = lowering.map(lambda g, n: -(g / n) if reduction == MEAN else -g, grad, count)
    spread = each.with_axis(dim) if each.shape else each

    def place(t: Scalar, g: Scalar) -> Scalar:
        here = t.eq(t.builder.index(dim)) & _chosen(t, classes, ignore_index)
        return here.select(g, 0.0)

    return lowering.map(place, target.with_axis(dim), spread, shape=a.shape)


@lowers(aten.mse_loss.default)
def mse_loss(lowering: Lowering, a: Tensor, target: Tensor, reduction: int = MEAN) -> Tensor:
    squares = lowering.map(lambda x, y: (x - y) * (x - y), a, target)
    if reduction == NONE:
        return squares
    summed = exact.sum_over(lowering, squares, list(range(len(squares.shape)))) if squares.shape else squares
    size = float(prod(squares.shape))
    return lowering.map(lambda s: s / size, summed) if reduction == MEAN else summed


@lowers(aten.mse_loss_backward.default)
def mse_loss_backward(lowering: Lowering, grad: Tensor, a: Tensor, target: Tensor, reduction: int) -> Tensor:
    factor = 2.0 / prod(a.shape) if reduction == MEAN else 2.0
    return lowering.map(lambda x, y, g: (x - y) * factor * g, a, target, grad)
