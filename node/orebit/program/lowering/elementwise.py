"""Elementwise operations: one map each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from orebit.numerics import functions
from orebit.numerics.types import DType
from orebit.program.expression import Scalar
from orebit.program.lowering.context import Lowering
from orebit.program.lowering.registry import lowers
from orebit.program.lowering.tensor import Tensor

aten = torch.ops.aten
Number = float | int
Argument = Tensor | Number


def common_type(*arguments: Argument) -> DType:
    """torch's promotion among f32 and integers: numbers of the same kind leave a tensor's type alone."""
    tensors = [argument.dtype for argument in arguments if isinstance(argument, Tensor)]
    numbers = [argument for argument in arguments if not isinstance(argument, Tensor)]
    if DType.F32 in tensors or any(isinstance(number, float) for number in numbers):
        return DType.F32
    # Where torch sees a rank-0 tensor as a number, programs have equal values and a type at least as wide.
    return max(tensors, key=lambda dtype: (dtype.size, dtype.is_signed))


def apply(lowering: Lowering, function: Callable[..., Scalar], *arguments: Argument, to: DType | None = None) -> Tensor:
    """A map of arguments first converted to one type: `to`, or the one that torch gave the result."""
    wanted = lowering.result_type if to is None else to
    dtype = common_type(*arguments) if wanted is None else wanted

    def converted(*values: Scalar | Number) -> Scalar:
        return function(*(_as(value, dtype) for value in values))

    return lowering.map(converted, *arguments, dtype=dtype)


def _as(value: Scalar | Number, dtype: DType) -> Scalar | Number:
    if isinstance(value, Scalar):
        return value.to_f32() if dtype.is_float else value
    return float(value) if dtype.is_float else int(value)


def as_float(lowering: Lowering, function: Callable[..., Scalar], *arguments: Argument) -> Tensor:
    """A map that computes in f32 whatever the arguments are."""
    return apply(lowering, function, *arguments, to=DType.F32)


def compare(lowering: Lowering, function: Callable[..., Scalar], *arguments: Argument) -> Tensor:
    """A map to 0 or 1, stored as u8."""
    dtype = common_type(*arguments)
    return lowering.map(lambda *v: function(*(_as(value, dtype) for value in v)), *arguments, dtype=DType.U8)


@lowers(aten.add.Tensor, aten.add.Scalar)
def add(lowering: Lowering, a: Argument, b: Argument, alpha: Argument = 1, **_: Any) -> Tensor:
    if lowering.result_is_mask:
        return apply(lowering, lambda x, y: x | y, a, b)
    if _is_one(alpha):
        return apply(lowering, lambda x, y: x + y, a, b)
    return apply(lowering, lambda x, y, k: x + _times(y, k), a, b, alpha)


@lowers(aten.sub.Tensor, aten.sub.Scalar)
def sub(lowering: Lowering, a: Argument, b: Argument, alpha: Argument = 1) -> Tensor:
    if _is_one(alpha):
        return apply(lowering, lambda x, y: x - y, a, b)
    return apply(lowering, lambda x, y, k: x - _times(y, k), a, b, alpha)


@lowers(aten.rsub.Scalar, aten.rsub.Tensor)
def rsub(lowering: Lowering, a: Argument, b: Argument, alpha: Argument = 1) -> Tensor:
    return sub(lowering, b, a, alpha)


def _times(x: Any, k: Any) -> Any:
    return x * k if isinstance(x, Scalar) else k * x


def _is_one(alpha: Argument) -> bool:
    return not isinstance(alpha, Tensor) and alpha == 1


@lowers(aten.mul.Tensor, aten.mul.Scalar)
def mul(lowering: Lowering, a: Argument, b: Argument) -> Tensor:
    return apply(lowering, lambda x, y: x * y, a, b)


@lowers(aten.div.Tensor, aten.div.Scalar)
def div(lowering: Lowering, a: Argument, b: Argument) -> Tensor:
    return as_float(lowering, lambda x, y: x / y, a, b)


@lowers(aten.lerp.Scalar, aten.lerp.Tensor)
def lerp(lowering: Lowering, start: Tensor, end: Tensor, weight: Argument) -> Tensor:
    return as_float(lowering, lambda x, y, w: x + (y - x) * w, start, end, weight)


@lowers(aten.neg.default)
def neg(lowering: Lowering, a: Tensor) -> Tensor:
    return apply(lowering, lambda x: -x, a)


@lowers(aten.abs.default)
def absolute(lowering: Lowering, a: Tensor) -> Tensor:
    return apply(lowering, lambda x: x.abs(), a)


@lowers(aten.reciprocal.default)
def reciprocal(lowering: Lowering, a: Tensor) -> Tensor:
    return as_float(lowering, lambda x: 1.0 / x, a)


@lowers(aten.sqrt.default)
def sqrt(lowering: Lowering, a: Tensor) -> Tensor:
    return as_float(lowering, lambda x: x.sqrt(), a)


@lowers(aten.rsqrt.default)
def rsqrt(lowering: Lowering, a: Tensor) -> Tensor:
    return as_float(lowering, lambda x: 1.0 / x.sqrt(), a)


@lowers(aten.exp.default)
def exp(lowering: Lowering, a: Tensor) -> Tensor:
    return as_float(lowering, functions.exp, a)


@lowers(aten.log.default)
def log(lowering: Lowering, a: Tensor) -> Tensor:
    return as_float(lowering, functions.log, a)


@lowers(aten.tanh.default)
def tanh(lowering: Lowering, a: Tensor) -> Tensor:
    return as_float(lowering, functions.tanh, a)


@lowers(aten.tanh_backward.default)
def tanh_backward(lowering: Lowering, grad: Tensor, output: Tensor) -> Tensor:
    return lowering.map(lambda g, y: g * (1.0 - y * y), grad, output)


@lowers(aten.sigmoid.default)
def sigmoid(lowering: Lowering, a: Tensor) -> Tensor:
    return as_float(lowering, functions.sigmoid, a)


@lowers(aten.sigmoid_backward.default)
def sigmoid_backward(lowering: Lowering, grad: Tensor, output: Tensor) -> Tensor:
    return lowering.map(lambda g, y: g * ((1.0 - y) * y), grad, output)


@lowers(aten.relu.default)
def relu(lowering: Lowering, a: Tensor) -> Tensor:
    return apply(lowering, lambda x: x.max(0), a)


@lowers(aten.threshold_backward.default)
def threshold_backward(lowering: Lowering, grad: Tensor, a: Tensor, threshold: Argument) -> Tensor:
    return lowering.map(lambda x, t, g: x.le(t).select(0.0, g), a, _float(threshold), grad)


def _float(number: Argument) -> Argument:
    return number if isinstance(number, Tensor) else float(number)


@lowers(aten.where.self, aten.where.ScalarOther, aten.where.ScalarSelf)
def where(lowering: Lowering, condition: Tensor, taken: Argument, other: Argument) -> Tensor:
    dtype = common_type(taken, other)
    return lowering.map(lambda c, x, y: c.select(_as(x, dtype), _as(y, dtype)), condition, taken, other, dtype=dtype)


@lowers(aten.masked_fill.Scalar, aten.masked_fill.Tensor)
def masked_fill(lowering: Lowering, a: Tensor, mask: Tensor, number: Argument) -> Tensor:
    return lowering.map(lambda m, y, x: m.select(_as(y, a.dtype), x), mask, number, a, dtype=a.dtype)


@lowers(aten.maximum.default)
def maximum(lowering: Lowering, a: Tensor, b: Tensor) -> Tensor:
    return apply(lowering, lambda x, y: x.max(y), a, b)


@lowers(aten.minimum.default)
def minimum(lowering: Lowering, a: Tensor, b: Tensor) -> Tensor:
    return apply(lowering, lambda x, y: x.min(y), a, b)


@lowers(aten.clamp.default, aten.clamp.Tensor, aten.hardtanh.default)
def clamp(lowering: Lowering, a: Tensor, low: Argument | None = None, high: Argument | None = None) -> Tensor:
    if low is not None:
        a = apply(lowering, lambda x, y: x.max(y), a, low)
    return a if high is None else apply(lowering, lambda x, y: x.min(y), a, high)


@lowers(aten.clamp_min.default, aten.clamp_min.Tensor)
def clamp_min(lowering: Lowering, a: Tensor, low: Argument) -> Tensor:
    return clamp(lowering, a, low)


@lowers(aten.clamp_max.default, aten.clamp_max.Tensor)
def clamp_max(lowering: Lowering, a: Tensor, high: Argument) -> Tensor:
    return clamp(lowering, a, None, high)


@lowers(aten.sign.default, aten.sgn.default)
def sign(lowering: Lowering, a: Tensor) -> Tensor:
    if a.dtype.is_float:
        return lowering.map(lambda x: x.lt(0.0).select(-1.0, x.eq(x).select((0.0 - x).lt(0.0).to_f32(), 0.0)), a)
    return lowering.map(lambda x: x.max(-1).min(1), a, dtype=a.dtype)


@lowers(aten.eq.Tensor, aten.eq.Scalar)
def eq(lowering: Lowering, a: Tensor, b: Argument) -> Tensor:
    return compare(lowering, lambda x, y: x.eq(y), a, b)


@lowers(aten.ne.Tensor, aten.ne.Scalar)
def ne(lowering: Lowering, a: Tensor, b: Argument) -> Tensor:
    return compare(lowering, lambda x, y: x.eq(y) ^ 1, a, b)


@lowers(aten.lt.Tensor, aten.lt.Scalar)
def lt(lowering: Lowering, a: Tensor, b: Argument) -> Tensor:
    return compare(lowering, lambda x, y: x.lt(y), a, b)


@lowers(aten.le.Tensor, aten.le.Scalar)
def le(lowering: Lowering, a: Tensor, b: Argument) -> Tensor:
    return compare(lowering, lambda x, y: x.le(y), a, b)


@lowers(aten.gt.Tensor, aten.gt.Scalar)
def gt(lowering: Lowering, a: Tensor, b: Argument) -> Tensor:
    return compare(lowering, lambda x, y: x.gt(y), a, b)


@lowers(aten.ge.Tensor, aten.ge.Scalar)
def ge(lowering: Lowering, a: Tensor, b: Argument) -> Tensor:
    return compare(lowering, lambda x, y: x.ge(y), a, b)


def _truth(x: Scalar) -> Scalar:
    return x.eq(0) ^ 1


@lowers(aten.logical_not.default)
def logical_not(lowering: Lowering, a: Tensor) -> Tensor:
    return lowering.map(lambda x: x.eq(0), a, dtype=DType.U8)


@lowers(aten.logical_and.default)
def logical_and(lowering: Lowering, a: Tensor, b: Tensor) -> Tensor:
    return lowering.map(lambda x, y: _truth(x) & _truth(y), a, b, dtype=DType.U8)


@lowers(aten.logical_or.default)
def logical_or(lowering: Lowering, a: Tensor, b: Tensor) -> Tensor:
    return lowering.map(lambda x, y: _truth(x) | _truth(y), a, b, dtype=DType.U8)


@lowers(aten.bitwise_not.default)
def bitwise_not(lowering: Lowering, a: Tensor) -> Tensor:
    if lowering.result_is_mask:
        return logical_not(lowering, a)
    return apply(lowering, lambda x: x ^ -1, a)


@lowers(aten.bitwise_and.Tensor, aten.bitwise_and.Scalar)
def bitwise_and(lowering: Lowering, a: Tensor, b: Argument) -> Tensor:
    return apply(lowering, lambda x, y: x & y, a, b)


@lowers(aten.bitwise_or.Tensor, aten.bitwise_or.Scalar)
def bitwise_or(lowering: Lowering, a: Tensor, b: Argument) -> Tensor:
    return apply(lowering, lambda x, y: x | y, a, b)


@lowers(aten.bitwise_xor.Tensor, aten.bitwise_xor.Scalar)
def bitwise_xor(lowering: Lowering, a: Tensor, b: Argument) -> Tensor:
    return apply(lowering, lambda x, y: x ^ y, a, b)
