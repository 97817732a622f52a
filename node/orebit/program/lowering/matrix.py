"""Matrix products: exact contractions of quantised operands."""

from __future__ import annotations

import torch

from orebit.program.lowering import elementwise, exact
from orebit.program.lowering.context import Lowering
from orebit.program.lowering.registry import lowers
from orebit.program.lowering.tensor import Tensor

aten = torch.ops.aten


@lowers(aten.mm.default, aten.bmm.default)
def mm(lowering: Lowering, a: Tensor, b: Tensor) -> Tensor:
    return exact.product(lowering, a, b)


@lowers(aten.addmm.default, aten.baddbmm.default)
def addmm(
    lowering: Lowering, bias: Tensor, a: Tensor, b: Tensor, *, beta: Tensor | float = 1, alpha: Tensor | float = 1
) -> Tensor:
    product = mm(lowering, a, b)
    if isinstance(beta, Tensor) or beta != 1:
        bias = elementwise.mul(lowering, bias, beta)
    return elementwise.add(lowering, product, bias) if _is_one(alpha) else _scaled(lowering, bias, product, alpha)


def _is_one(alpha: Tensor | float) -> bool:
    return not isinstance(alpha, Tensor) and alpha == 1


def _scaled(lowering: Lowering, bias: Tensor, product: Tensor, alpha: Tensor | float) -> Tensor:
    return elementwise.add(lowering, bias, product, alpha)


@lowers(aten.mv.default)
def mv(lowering: Lowering, a: Tensor, x: Tensor) -> Tensor:
    return mm(lowering, a, x.with_axis(1)).without_axis(1)


@lowers(aten.dot.default, aten.vdot.default)
def dot(lowering: Lowering, a: Tensor, b: Tensor) -> Tensor:
    return mm(lowering, a.with_axis(0), b.with_axis(1)).without_axis(1).without_axis(0)
