"""Softmax and losses, forward and backward."""

from __future__ import annotations

from math import prod

import torch

from orebit.numerics import functions
from orebit.numerics.types import DType
from orebit.program.expression import Scalar
from orebit.program.lowering import exact, gathering
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


@lowers(aten._softmax.default, aten._safe_softmax.default)
def softmax(lowering: Lowering, a: Tensor, dim: int, *_: object) -> Tensor:
    """A row of -inf only gives zeros."""
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


def _chosen(target: Scalar, classes: int, ignore_index: int) -> Scalar:
    inside = target.lt(0) | target.ge(classes) | target.eq(ignore_index)
    return inside ^ 1


@lowers(aten.nll_loss_forward.default, aten.nll_loss2d_forward.default)
def nll_loss(
    lowering: Lowering, a: Tensor, target: Tensor, weight: Tensor | None, reduction: int, ignore_index: int
) -> tuple[Tensor, Tensor]:
    """The loss, and the total weight of the targets that count."""
    dim, classes = _class_axis(a), a.shape[_class_axis(a)]
    picked = _pick(lowering, a, target, dim, ignore_index)
    dims = list(range(len(target.shape)))
    if weight is None:
        losses = lowering.map(lambda x: -x, picked)
        valid = lowering.map(lambda t: _chosen(t, classes, ignore_index), target, dtype=DType.U8)
        total = lowering.map(lambda n: n.to_f32(), exact.sum_over(lowering, valid, dims) if dims else valid)
    else:
        weights = _class_weights(lowering, weight, target, ignore_index)
        losses = lowering.map(lambda w, x: -(w * x), weights, picked)
        total = exact.sum_over(lowering, weights, dims) if dims else weights
    if reduction == NONE:
        return losses, total
    summed = exact.sum_over(lowering, losses, dims) if dims else losses
    return (lowering.map(lambda s, n: s / n, summed, total) if reduction == MEAN else summed), total


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
    return gathering.elements(lowering, scores, places)


def _class_weights(lowering: Lowering, weight: Tensor, target: Tensor, ignore_index: int) -> Tensor:
    """weight[target], 0 where the target is none."""
    classes = weight.shape[0]
    places = lowering.map(lambda t: _chosen(t, classes, ignore_index).select(t, -1), target, dtype=DType.I64)
    return gathering.elements(lowering, weight, places)


@lowers(aten.nll_loss_backward.default, aten.nll_loss2d_backward.default)
def nll_loss_backward(
    lowering: Lowering,
    grad: Tensor,
    a: Tensor,
    target: Tensor,
    weight: Tensor | None,
    reduction: int,
    ignore_index: int,
    total: Tensor,
) -> Tensor:
    dim, classes = _class_axis(a), a.shape[_class_axis(a)]
    each = lowering.map(lambda n, g: -(g / n) if reduction == MEAN else -g, total, grad)
    if weight is not None:
        each = lowering.map(lambda w, g: w * g, _class_weights(lowering, weight, target, ignore_index), each)
    spread = each.with_axis(dim) if each.shape else each

    def place(t: Scalar, g: Scalar) -> Scalar:
        here = t.eq(t.builder.index(dim)) & _chosen(t, classes, ignore_index)
        return here.select(g, 0.0)

    return lowering.map(place, target.with_axis(dim), spread, shape=a.shape)


@lowers(aten.mse_loss.default)
def mse_loss(lowering: Lowering, a: Tensor, target: Tensor, reduction: int = MEAN) -> Tensor:
    return _reduced(lowering, lowering.map(lambda x, y: (x - y) * (x - y), a, target), reduction)


@lowers(aten.mse_loss_backward.default)
def mse_loss_backward(lowering: Lowering, grad: Tensor, a: Tensor, target: Tensor, reduction: int) -> Tensor:
    factor = 2.0 / prod(a.shape) if reduction == MEAN else 2.0
    return lowering.map(lambda x, y, g: (x - y) * factor * g, a, target, grad)


def _reduced(lowering: Lowering, losses: Tensor, reduction: int) -> Tensor:
    if reduction == NONE:
        return losses
    summed = exact.sum_over(lowering, losses, list(range(len(losses.shape)))) if losses.shape else losses
    size = float(prod(losses.shape))
    return lowering.map(lambda s: s / size, summed) if reduction == MEAN else summed


def _log(x: Scalar) -> Scalar:
    """The logarithm, not below -100, as in torch's binary cross entropy."""
    return functions.log(x).max(-100.0)


@lowers(aten.binary_cross_entropy.default)
def binary_cross_entropy(
    lowering: Lowering, a: Tensor, target: Tensor, weight: Tensor | None = None, reduction: int = MEAN
) -> Tensor:
    logs = lowering.map(_log, a), lowering.map(lambda x: _log(1.0 - x), a)
    losses = lowering.map(lambda y, p, q: (y - 1.0) * q - y * p, target, *logs)
    if weight is not None:
        losses = lowering.map(lambda w, x: w * x, weight, losses)
    return _reduced(lowering, losses, reduction)


@lowers(aten.binary_cross_entropy_backward.default)
def binary_cross_entropy_backward(
    lowering: Lowering, grad: Tensor, a: Tensor, target: Tensor, weight: Tensor | None = None, reduction: int = MEAN
) -> Tensor:
    size = float(prod(a.shape)) if reduction == MEAN else 1.0
    slopes = lowering.map(lambda x, y, g: g * (x - y) / ((1.0 - x) * x).max(1e-12) / size, a, target, grad)
    return slopes if weight is None else lowering.map(lambda w, x: w * x, weight, slopes)


@lowers(aten.xlogy.Tensor, aten.xlogy.Scalar_Other, aten.xlogy.Scalar_Self)
def xlogy(lowering: Lowering, a: Tensor | float, b: Tensor | float) -> Tensor:
    """a * log(b), and 0 where a is 0 and b no NaN."""

    def value(y: Scalar | float, x: Scalar | float) -> Scalar:
        build = x.builder if isinstance(x, Scalar) else y.builder  # type: ignore[union-attr]  # one of the two is a tensor
        left, right = build.lift(x, DType.F32), build.lift(y, DType.F32)
        return (left.eq(0.0) & right.eq(right)).select(0.0, left * functions.log(right))

    return lowering.map(value, b, a)
