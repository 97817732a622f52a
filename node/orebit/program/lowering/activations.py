"""Activations, forward and backward. What torch writes out well is in the table of decompositions instead."""

from __future__ import annotations

import torch

from orebit.numerics import functions, functions_error, functions_exponential
from orebit.program.expression import Scalar
from orebit.program.lowering.context import Lowering
from orebit.program.lowering.registry import lowers
from orebit.program.lowering.tensor import Tensor

aten = torch.ops.aten
INV_SQRT2 = 0.7071067811865476
INV_SQRT_TAU = 0.3989422804014327
SQRT_2_OVER_PI = 0.7978845608028654
GELU_CUBE = 0.044715


def _error(lowering: Lowering, a: Tensor) -> Tensor:
    """erf(x / sqrt(2)), one map that GELU's two passes share."""
    return lowering.map(lambda x: functions_error.erf(x * INV_SQRT2), a)


def _tanh(lowering: Lowering, a: Tensor) -> Tensor:
    inner = lowering.map(lambda x: (x + x * x * x * GELU_CUBE) * SQRT_2_OVER_PI, a)
    return lowering.map(functions.tanh, inner)


@lowers(aten.gelu.default)
def gelu(lowering: Lowering, a: Tensor, *, approximate: str = "none") -> Tensor:
    shape = _error(lowering, a) if approximate == "none" else _tanh(lowering, a)
    return lowering.map(lambda t, x: x * 0.5 * (t + 1.0), shape, a)


@lowers(aten.gelu_backward.default)
def gelu_backward(lowering: Lowering, grad: Tensor, a: Tensor, *, approximate: str = "none") -> Tensor:
    if approximate == "none":
        density = lowering.map(lambda x: functions.exp(x * x * -0.5), a)
        return lowering.map(
            lambda t, d, x, g: g * ((t + 1.0) * 0.5 + x * d * INV_SQRT_TAU), _error(lowering, a), density, a, grad
        )

    def slope(t: Scalar, x: Scalar, g: Scalar) -> Scalar:
        inner = (x * x * (3 * GELU_CUBE) + 1.0) * SQRT_2_OVER_PI
        # At infinity the derivative of tanh is 0, whatever it is multiplied by.
        bent = (t * t).eq(1.0).select(0.0, (1.0 - t * t) * x * inner)
        return g * 0.5 * ((t + 1.0) + bent)

    return lowering.map(slope, _tanh(lowering, a), a, grad)


@lowers(aten.softplus.default)
def softplus(lowering: Lowering, a: Tensor, beta: Tensor | float = 1.0, threshold: Tensor | float = 20.0) -> Tensor:
    if not isinstance(beta, Tensor) and beta == 1:
        return lowering.map(lambda t, x: x.gt(t).select(x, functions_exponential.softplus(x)), _float(threshold), a)

    def scaled(b: Scalar | float, t: Scalar | float, x: Scalar) -> Scalar:
        y = x * b
        return y.gt(t).select(x, functions_exponential.softplus(y) / b)

    return lowering.map(scaled, _float(beta), _float(threshold), a)


@lowers(aten.softplus_backward.default)
def softplus_backward(
    lowering: Lowering, grad: Tensor, a: Tensor, beta: Tensor | float, threshold: Tensor | float
) -> Tensor:
    return lowering.map(
        lambda b, t, x, g: (x * b).gt(t).select(g, g * functions.sigmoid(x * b)),
        _float(beta),
        _float(threshold),
        a,
        grad,
    )


def _float(number: Tensor | float) -> Tensor | float:
    return number if isinstance(number, Tensor) else float(number)


@lowers(aten.log_sigmoid_forward.default)
def log_sigmoid(lowering: Lowering, a: Tensor) -> tuple[Tensor, Tensor]:
    return lowering.map(functions_exponential.log_sigmoid, a), a  # the second is a buffer that only torch needs


@lowers(aten.log_sigmoid_backward.default)
def log_sigmoid_backward(lowering: Lowering, grad: Tensor, a: Tensor, buffer: Tensor) -> Tensor:
    return lowering.map(lambda x, g: g * functions.sigmoid(-x), a, grad)


def _squashed(lowering: Lowering, a: Tensor) -> Tensor:
    return lowering.map(functions.tanh, lowering.map(functions_exponential.softplus, a))


@lowers(aten.mish.default)
def mish(lowering: Lowering, a: Tensor) -> Tensor:
    return lowering.map(lambda t, x: x * t, _squashed(lowering, a), a)


@lowers(aten.mish_backward.default)
def mish_backward(lowering: Lowering, grad: Tensor, a: Tensor) -> Tensor:
    sigmoid = lowering.map(functions.sigmoid, a)
    return lowering.map(lambda t, s, x, g: g * (t + x * s * (1.0 - t * t)), _squashed(lowering, a), sigmoid, a, grad)


@lowers(aten.elu.default)
def elu(
    lowering: Lowering,
    a: Tensor,
    alpha: Tensor | float = 1.0,
    scale: Tensor | float = 1.0,
    input_scale: Tensor | float = 1.0,
) -> Tensor:
    def value(p: Scalar | float, s: Scalar | float, i: Scalar | float, x: Scalar) -> Scalar:
        return x.gt(0.0).select(x * s, functions_exponential.expm1(x * i) * p * s)

    return lowering.map(value, _float(alpha), _float(scale), _float(input_scale), a)


@lowers(aten.elu_backward.default)
def elu_backward(
    lowering: Lowering,
    grad: Tensor,
    alpha: Tensor | float,
    scale: Tensor | float,
    input_scale: Tensor | float,
    is_result: bool,
    a: Tensor,
) -> Tensor:
    def slope(p: Scalar | float, s: Scalar | float, i: Scalar | float, x: Scalar, g: Scalar) -> Scalar:
        build = x.builder
        scaled = build.lift(p, x.dtype) * s
        below = (x + scaled) * i if is_result else functions.exp(x * i) * scaled * i
        return g * x.gt(0.0).select(build.lift(s, x.dtype), below)

    return lowering.map(slope, _float(alpha), _float(scale), _float(input_scale), a, grad)


@lowers(aten.hardshrink_backward.default, aten.softshrink_backward.default)
def shrink_backward(lowering: Lowering, grad: Tensor, a: Tensor, edge: Tensor | float) -> Tensor:
    return lowering.map(lambda e, x, g: x.abs().le(e).select(0.0, g), _float(edge), a, grad)
