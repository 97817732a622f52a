"""Activations and elementary functions against eager float64, values and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from test_functions import Array
from test_lowering import Forward, check
from torch.nn import functional as F

from orebit.executor.reference import ReferenceExecutor
from orebit.numerics.types import DType
from orebit.program.builder import Builder
from orebit.program.lowering import LOWERINGS, Lowering, Tensor

aten = torch.ops.aten

ACTIVATIONS: dict[str, Forward] = {
    "gelu": lambda w, x: F.gelu(w * x * 2),
    "gelu_tanh": lambda w, x: F.gelu(w * x * 2, approximate="tanh"),
    "softplus": lambda w, x: F.softplus(w * x),
    "softplus_scaled": lambda w, x: F.softplus(w * x, beta=3.0, threshold=1.5),
    "mish": lambda w, x: F.mish(w * x * 3),
    "elu": lambda w, x: F.elu(w * x, 0.7),
    "elu_in_place": lambda w, x: F.elu(w * x, 0.7, inplace=True),
    "selu": lambda w, x: F.selu(w * x),
    "celu": lambda w, x: F.celu(w * x, 1.3),
    "hardswish": lambda w, x: F.hardswish(w * x * 4),
    "hardsigmoid": lambda w, x: F.hardsigmoid(w * x * 4),
    "relu6": lambda w, x: F.relu6(w * x * 4),
    "leaky_relu": lambda w, x: F.leaky_relu(w * x),
    "prelu": lambda w, x: F.prelu(x, w[0, :1]),
    "prelu_channels": lambda w, x: F.prelu(x * w, w[0]),
    "logsigmoid": lambda w, x: F.logsigmoid(w * x),
    "softsign": lambda w, x: F.softsign(w * x),
    "silu": lambda w, x: F.silu(w * x),
    "glu": lambda w, x: F.glu(w * x, 0),
    "threshold": lambda w, x: F.threshold(w * x, 0.1, 0.5),
    "hardshrink": lambda w, x: F.hardshrink(w * x, 0.3),
    "softshrink": lambda w, x: F.softshrink(w * x, 0.3),
    "tanhshrink": lambda w, x: F.tanhshrink(w * x),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(name: str) -> None:
    check(ACTIVATIONS[name])


FUNCTIONS: dict[str, Forward] = {
    "erf": lambda w, x: torch.erf(w * x),
    "erfc": lambda w, x: torch.erfc(w * x),
    "erfinv": lambda w, x: torch.erfinv(torch.tanh(w * x)),
    "exp2": lambda w, x: torch.exp2(w * x),
    "expm1": lambda w, x: torch.expm1(w * x),
    "log1p": lambda w, x: torch.log1p((w * x).abs()),
    "log2": lambda w, x: torch.log2((w * x).abs() + 0.3),
    "log10": lambda w, x: torch.log10((w * x).abs() + 0.3),
    "sin": lambda w, x: torch.sin(w * x * 9),
    "cos": lambda w, x: torch.cos(w * x * 9),
    "tan": lambda w, x: torch.tan(torch.tanh(w * x)),
    "asin": lambda w, x: torch.asin(torch.tanh(w * x)),
    "acos": lambda w, x: torch.acos(torch.tanh(w * x)),
    "atan": lambda w, x: torch.atan(w * x * 3),
    "atan2": lambda w, x: torch.atan2(w, x),
    "sinh": lambda w, x: torch.sinh(w * x),
    "cosh": lambda w, x: torch.cosh(w * x),
    "asinh": lambda w, x: torch.asinh(w * x),
    "acosh": lambda w, x: torch.acosh((w * x).abs() + 1.5),
    "atanh": lambda w, x: torch.atanh(torch.tanh(w * x)),
    "round": lambda w, x: torch.round(x * 3) * w + torch.floor(x) * torch.ceil(x * 2) * torch.trunc(x * 4) * w,
    "sinc": lambda w, x: torch.sinc(w * x),
    "logit": lambda w, x: torch.logit(torch.sigmoid(w * x), eps=1e-3),
    "xlogy": lambda w, x: torch.xlogy(w, x.abs() + 0.1) + torch.special.xlog1py(w, x.abs()),
    "fmax": lambda w, x: torch.fmax(w, x) + torch.fmin(w, x * 2),
    "heaviside": lambda w, x: w * torch.heaviside(x, torch.ones(()).to(x.dtype)),
    "pow_half": lambda w, x: (w.abs() + 0.5) ** 0.5 + (w.abs() + 0.5) ** -0.5,
    "pow_halves": lambda w, x: (w.abs() + 0.5) ** 1.5 + (w.abs() + 0.5) ** -2,
    "pow_integer": lambda w, x: w**4 + w**5,
    "pow_constant": lambda w, x: (w.abs() + 0.3) ** 2.7,
    "pow_tensor": lambda w, x: (w.abs() + 0.3) ** (x * w),
    "pow_scalar": lambda w, x: 1.7 ** (w * x),
    "pow_zero": lambda w, x: w * x**0,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name: str) -> None:
    check(FUNCTIONS[name], tolerance=5e-6)


def lowered(operation: Any, *arrays: Array, arguments: tuple[object, ...] = (), dtype: DType | None = None) -> Array:
    """One operation, or a lowering, over constants, through the reference executor."""
    builder = Builder()
    inputs = [Tensor.of(builder.constant(DType.from_numpy(a.dtype), a.shape)) for a in arrays]
    lowering = Lowering(builder)
    lowering.result_type = dtype
    made = LOWERINGS.get(operation, operation)(lowering, *inputs, *arguments)
    value = lowering.value(made, made.shape)
    start = np.zeros(builder.state(value.dtype, value.shape).shape, value.dtype.numpy)
    (result,) = ReferenceExecutor(builder.finish([value]), list(arrays), []).step([start])
    return result.numpy()


def test_atan2_at_the_axes_and_corners() -> None:
    numbers = np.float32([0.0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 1e-40, 3e38])
    y, x = (side.ravel() for side in np.meshgrid(numbers, numbers))
    made = lowered(aten.atan2.default, y, x)
    np.testing.assert_allclose(made, np.arctan2(y, x), rtol=3e-7)
    assert np.array_equal(np.signbit(made[~np.isnan(made)]), np.signbit(np.arctan2(y, x)[~np.isnan(made)]))


def test_integer_powers_wrap() -> None:
    x, y = (side.ravel() for side in np.meshgrid(np.arange(-5, 6), np.arange(0, 70)))
    made = lowered(aten.pow.Tensor_Tensor, x, y, dtype=DType.I64)
    assert np.array_equal(made, torch.pow(torch.from_numpy(x), torch.from_numpy(y)).numpy())


def test_gelu_at_infinity() -> None:
    x = np.float32([np.inf, 100.0, -100.0])
    assert lowered(aten.gelu.default, x).tolist() == [np.inf, 100.0, 0.0]
    assert lowered(aten.gelu_backward.default, np.ones(3, np.float32), x)[1:].tolist() == [1.0, 0.0]
