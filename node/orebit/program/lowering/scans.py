"""Running sums and products, by doubling: log2(n) maps over a whole axis."""

from __future__ import annotations

import torch

from orebit.numerics import functions_quantised as quantised
from orebit.numerics.types import DType
from orebit.program.expression import Scalar
from orebit.program.index_map import AxisMap
from orebit.program.lowering import exact
from orebit.program.lowering.context import Lowering, axis
from orebit.program.lowering.registry import lowers
from orebit.program.lowering.tensor import Tensor

aten = torch.ops.aten


def _doubled(lowering: Lowering, a: Tensor, dim: int, product: bool) -> Tensor:
    """Every prefix's sum or product: each turn joins what lies 1, 2, 4, ... places before."""
    count, shape = 1, a.shape
    while count < shape[dim]:
        whole = Tensor.of(lowering.materialise(a).value, shape)
        axes = list(whole.axes)
        axes[dim] = AxisMap(-count, whole.axes[dim].coefficients)
        earlier = Tensor(whole.value, whole.source, tuple(axes), shape)

        def joined(x: Scalar, y: Scalar, count: int = count) -> Scalar:
            return y.builder.index(dim).lt(count).select(y, y * x if product else y + x)

        a = lowering.map(joined, earlier, whole, dtype=a.dtype)
        count *= 2
    return a


@lowers(aten.cumsum.default)
def cumsum(lowering: Lowering, a: Tensor, dim: int, *, dtype: torch.dtype | None = None) -> Tensor:
    """Quantised once, one group a line, and scanned as integers: every prefix is exact in its group's units."""
    if lowering.result_type is not None:
        a = lowering.convert(a, lowering.result_type)
    if not a.shape:
        return a
    dim = axis(dim, len(a.shape))
    if not a.dtype.is_float:
        return _doubled(lowering, lowering.materialise(a), dim, False)
    magnitudes = lowering.map(quantised.magnitude, a, dtype=DType.I32)
    largest = exact.maximum(lowering, magnitudes, [dim])
    exponents = lowering.map(quantised.sum_exponent, largest, dtype=DType.I16).with_axis(dim)
    digits = lowering.map(lambda e, x: quantised.sum_quantise(x, e), exponents, a, dtype=DType.I32)
    sums = _doubled(lowering, lowering.map(lambda x: x, digits, dtype=DType.I64), dim, False)
    return lowering.map(quantised.sum_rescale, sums, exponents)


@lowers(aten.cumprod.default)
def cumprod(lowering: Lowering, a: Tensor, dim: int, *, dtype: torch.dtype | None = None) -> Tensor:
    """One fixed tree of products for every prefix."""
    if lowering.result_type is not None:
        a = lowering.convert(a, lowering.result_type)
    return _doubled(lowering, lowering.materialise(a), axis(dim, len(a.shape)), True) if a.shape else a
