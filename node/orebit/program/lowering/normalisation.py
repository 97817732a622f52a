"""Batch, layer, group and weight normalisation and their gradients. Instance normalisation is batch normalisation
of samples.

A variance is the mean of squared deviations from the mean: the mean square less the squared mean would lose what they
share. Sums are exact; 1 / sqrt is two basic operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch

from orebit.program.expression import Scalar
from orebit.program.lowering import exact
from orebit.program.lowering.context import Lowering
from orebit.program.lowering.registry import lowers
from orebit.program.lowering.tensor import Tensor

aten = torch.ops.aten
Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]


@dataclass(frozen=True)
class Moments:
    """What a tensor is over some axes, which stay with extent 1: mean, deviations, mean squared deviation."""

    mean: Tensor
    centred: Tensor
    variance: Tensor


def moments(lowering: Lowering, x: Tensor, dims: Sequence[int]) -> Moments:
    mean = mean_over(lowering, x, dims)
    centred = deviations(lowering, x, mean)
    return Moments(mean, centred, mean_over(lowering, lowering.map(lambda c: c * c, centred), dims))


def mean_over(lowering: Lowering, x: Tensor, dims: Sequence[int]) -> Tensor:
    """The mean over `dims`, which stay with extent 1."""
    count = float(prod(x.shape[dim] for dim in dims))
    mean = lowering.map(lambda s: s / count, exact.sum_over(lowering, x, dims))
    return exact.spread(mean, dims)


def deviations(lowering: Lowering, x: Tensor, mean: Tensor) -> Tensor:
    return lowering.map(lambda value, m: value - m, x, mean)


def inverse_deviation(lowering: Lowering, variance: Tensor, eps: float) -> Tensor:
    return lowering.map(lambda v: 1.0 / (v + eps).sqrt(), variance)


def scaled(lowering: Lowering, centred: Tensor, rstd: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """centred * rstd * weight + bias, in one map."""
    given = [tensor for tensor in (weight, bias) if tensor is not None]

    def combine(c: Scalar, r: Scalar, *rest: Scalar) -> Scalar:
        parts = list(rest)
        result = c * r
        if weight is not None:
            result = result * parts.pop(0)
        return result if bias is None else result + parts.pop(0)

    return lowering.map(combine, centred, rstd, *given)


def input_gradient(lowering: Lowering, grad: Tensor, centred: Tensor, rstd: Tensor, dims: Sequence[int]) -> Tensor:
    """The gradient of x for y = centred * rstd, both of which depend on all of x over `dims`."""
    along = mean_over(lowering, grad, dims)
    across = mean_over(lowering, lowering.map(lambda g, c: g * c, grad, centred), dims)
    slope = lowering.map(lambda a, r: a * r * r, across, rstd)
    return lowering.map(lambda g, a, c, s, r: (g - a - c * s) * r, grad, along, centred, slope, rstd)


def parameter_gradients(
    lowering: Lowering, grad: Tensor, centred: Tensor, rstd: Tensor, dims: Sequence[int], wanted: Sequence[bool]
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of weight and bias in y = centred * rstd * weight + bias; both are constant over `dims`."""
    weight = None
    if wanted[0]:
        weight = exact.sum_over(lowering, lowering.map(lambda g, c, r: g * (c * r), grad, centred, rstd), dims)
    return weight, exact.sum_over(lowering, grad, dims) if wanted[1] else None


def _over_channels(tensor: Tensor, rank: int) -> Tensor:
    """[C] as [1, C, 1, ...]."""
    for _ in range(rank - 2):
        tensor = tensor.with_axis(len(tensor.shape))
    return tensor


def _beside_channels(x: Tensor) -> list[int]:
    return [k for k in range(len(x.shape)) if k != 1]


def _per_channel(x: Tensor, tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else _over_channels(tensor, len(x.shape))


def _flat(tensor: Tensor) -> Tensor:
    """[1, C, 1, ...] as [C]."""
    for dim in reversed(range(len(tensor.shape))):
        if dim != 1:
            tensor = tensor.without_axis(dim)
    return tensor


@lowers(aten.native_batch_norm.default)
def batch_norm(
    lowering: Lowering,
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Without the update of running statistics, which an operation of the first pass has split off."""
    if training:
        made, mean, rstd, _ = _batch_norm(lowering, x, weight, bias, eps)
        return made, mean, rstd
    assert running_mean is not None and running_var is not None
    centred = deviations(lowering, x, _over_channels(running_mean, len(x.shape)))
    rstd = _over_channels(inverse_deviation(lowering, running_var, eps), len(x.shape))
    return scaled(lowering, centred, rstd, _per_channel(x, weight), _per_channel(x, bias)), None, None


def _batch_norm(
    lowering: Lowering, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    found = moments(lowering, x, _beside_channels(x))
    rstd = inverse_deviation(lowering, found.variance, eps)
    made = scaled(lowering, found.centred, rstd, _per_channel(x, weight), _per_channel(x, bias))
    return made, _flat(found.mean), _flat(rstd), _flat(found.variance)


@lowers(aten._native_batch_norm_legit_functional.default)
def batch_norm_functional(
    lowering: Lowering,
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor,
    running_var: Tensor,
    training: bool,
    momentum: Tensor | float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    made, mean, rstd, variance = _batch_norm(lowering, x, weight, bias, eps)
    count = prod(x.shape[k] for k in _beside_channels(x))
    # The running variance is that of a sample: squared deviations over count - 1.
    unbiased = lowering.map(lambda v: v * (count / max(count - 1, 1)), variance)
    new_mean = _blended(lowering, running_mean, mean, momentum)
    return made, mean, rstd, new_mean, _blended(lowering, running_var, unbiased, momentum)


def _blended(lowering: Lowering, old: Tensor, new: Tensor, momentum: Tensor | float) -> Tensor:
    return lowering.map(lambda o, n, m: n * m + o * (1.0 - m), old, new, momentum)


@lowers(aten.native_batch_norm_backward.default)
def batch_norm_backward(
    lowering: Lowering,
    grad: Tensor,
    x: Tensor,
    weight: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    mean: Tensor | None,
    rstd: Tensor | None,
    training: bool,
    eps: float,
    wanted: Sequence[bool],
) -> Gradients:
    if not training:
        assert running_mean is not None and running_var is not None
        mean, rstd = running_mean, inverse_deviation(lowering, running_var, eps)
    assert mean is not None and rstd is not None
    rank, dims = len(x.shape), _beside_channels(x)
    centred, rstd = deviations(lowering, x, _over_channels(mean, rank)), _over_channels(rstd, rank)
    to_input = None
    if wanted[0]:
        # The weight is the same all over a channel, so it may be multiplied in before the sums.
        weighted = grad if weight is None else _times(lowering, grad, _over_channels(weight, rank))
        to_input = (
            input_gradient(lowering, weighted, centred, rstd, dims) if training else _times(lowering, weighted, rstd)
        )
    return to_input, *parameter_gradients(lowering, grad, centred, rstd, dims, wanted[1:])


def _times(lowering: Lowering, a: Tensor, b: Tensor) -> Tensor:
    return lowering.map(lambda x, y: x * y, a, b)


@lowers(aten._weight_norm_interface.default)
def weight_norm(lowering: Lowering, v: Tensor, g: Tensor, dim: int = 0) -> tuple[Tensor, Tensor]:
    """g * v / |v|, and |v|: the root of the sum of squares over all axes but `dim`."""
    squares = exact.sum_over(lowering, _times(lowering, v, v), _all_but(v, dim))
    norms = exact.spread(lowering.map(lambda s: s.sqrt(), squares), _all_but(v, dim))
    return lowering.map(lambda x, scale, n: x * (scale / n), v, g, norms), norms


def _all_but(v: Tensor, dim: int) -> list[int]:
    """Every axis but `dim`; all of them for -1, as torch has it."""
    return [k for k in range(len(v.shape)) if k != dim]


@lowers(aten._weight_norm_interface_backward.default)
def weight_norm_backward(
    lowering: Lowering, grad: Tensor, v: Tensor, g: Tensor, norms: Tensor, dim: int
) -> tuple[Tensor, Tensor]:
    dims = _all_but(v, dim)
    along = exact.spread(exact.sum_over(lowering, _times(lowering, grad, v), dims), dims)
    slope = lowering.map(lambda a, n: a / n / n, along, norms)
    to_v = lowering.map(lambda d, x, s, scale, n: (d - x * s) * (scale / n), grad, v, slope, g, norms)
    return to_v, lowering.map(lambda a, n: a / n, along, norms)


@lowers(aten.native_layer_norm.default)
def layer_norm(
    lowering: Lowering, x: Tensor, shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    found = moments(lowering, x, _last(x, shape))
    rstd = inverse_deviation(lowering, found.variance, eps)
    return scaled(lowering, found.centred, rstd, weight, bias), found.mean, rstd


def _last(x: Tensor, shape: Sequence[int]) -> list[int]:
    return list(range(len(x.shape) - len(shape), len(x.shape)))


@lowers(aten.native_layer_norm_backward.default)
def layer_norm_backward(
    lowering: Lowering,
    grad: Tensor,
    x: Tensor,
    shape: Sequence[int],
    mean: Tensor,
    rstd: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    wanted: Sequence[bool],
) -> Gradients:
    centred = deviations(lowering, x, mean)
    weighted = grad if weight is None else _times(lowering, grad, weight)
    to_input = input_gradient(lowering, weighted, centred, rstd, _last(x, shape)) if wanted[0] else None
    others = list(range(len(x.shape) - len(shape)))
    if not others:  # one line: a parameter's gradient is its own sum
        one = [tensor.with_axis(0) for tensor in (grad, centred, rstd)]
        return to_input, *parameter_gradients(lowering, one[0], one[1], one[2], [0], wanted[1:])
    return to_input, *parameter_gradients(lowering, grad, centred, rstd, others, wanted[1:])


def _in_groups(lowering: Lowering, x: Tensor, groups: int) -> Tensor:
    """[N, C, *] as [N, G, C / G, positions]."""
    return lowering.reshape(x, [x.shape[0], groups, x.shape[1] // groups, prod(x.shape[2:])])


def _per_group(lowering: Lowering, parameter: Tensor | None, groups: int) -> Tensor | None:
    """[C] as [G, C / G, 1]."""
    return None if parameter is None else lowering.reshape(parameter, [groups, parameter.shape[0] // groups, 1])


@lowers(aten.native_group_norm.default)
def group_norm(
    lowering: Lowering,
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    samples: int,
    channels: int,
    positions: int,
    groups: int,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    grouped = _in_groups(lowering, x, groups)
    found = moments(lowering, grouped, [2, 3])
    rstd = inverse_deviation(lowering, found.variance, eps)
    own = (_per_group(lowering, parameter, groups) for parameter in (weight, bias))
    made = lowering.reshape(scaled(lowering, found.centred, rstd, *own), x.shape)
    return made, found.mean.without_axis(3).without_axis(2), rstd.without_axis(3).without_axis(2)


@lowers(aten.native_group_norm_backward.default)
def group_norm_backward(
    lowering: Lowering,
    grad: Tensor,
    x: Tensor,
    mean: Tensor,
    rstd: Tensor,
    weight: Tensor | None,
    samples: int,
    channels: int,
    positions: int,
    groups: int,
    wanted: Sequence[bool],
) -> Gradients:
    mean, rstd = (tensor.with_axis(2).with_axis(3) for tensor in (mean, rstd))
    centred = deviations(lowering, _in_groups(lowering, x, groups), mean)
    grouped = _in_groups(lowering, grad, groups)
    own = _per_group(lowering, weight, groups)
    weighted = grouped if own is None else _times(lowering, grouped, own)
    to_input = None
    if wanted[0]:
        to_input = lowering.reshape(input_gradient(lowering, weighted, centred, rstd, [2, 3]), x.shape)
    to_weight, to_bias = parameter_gradients(lowering, grouped, centred, rstd, [0, 3], wanted[1:])
    return to_input, _ungrouped(lowering, to_weight), _ungrouped(lowering, to_bias)


def _ungrouped(lowering: Lowering, tensor: Tensor | None) -> Tensor | None:
    """[G, C / G] as [C]."""
    return None if tensor is None else lowering.reshape(tensor, [prod(tensor.shape)])
