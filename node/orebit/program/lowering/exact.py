"""Exact products and sums: quantise, contract integers, rescale, each a node of its own (docs/numerics.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orebit.numerics import functions_quantised as quantised
from orebit.numerics.types import DType
from orebit.program.lowering.context import Lowering
from orebit.program.lowering.tensor import Tensor


@dataclass(frozen=True)
class Quantised:
    """Small integers and the exponents of their groups; `exponents` lacks the axes that are grouped."""

    digits: Tensor
    exponents: Tensor


def quantise(lowering: Lowering, tensor: Tensor, dims: Sequence[int]) -> Quantised:
    """A tensor for contraction, elements that differ in `dims` only being a group.

    The maps keep the layout of the node that made the tensor, so that a transposed view costs nothing.
    """
    order = tensor.order
    if order is None:
        tensor = lowering.materialise(tensor)
        order = tuple(range(len(tensor.shape)))
    bits = lowering.bits
    base = Tensor.of(tensor.value, tensor.source)
    magnitudes = lowering.map(quantised.magnitude, base, dtype=DType.I32)
    largest = maximum(lowering, magnitudes.permute(_inverse(order)), dims)
    exponents = lowering.map(lambda m: quantised.exponent(m, bits), largest, dtype=DType.I16)
    digits = lowering.map(
        lambda e, x: quantised.quantise(x, e, bits),
        spread(exponents, dims).permute(order),
        base,
        dtype=quantised.storage(bits),
    )
    return Quantised(digits.permute(_inverse(order)), exponents)


def spread(tensor: Tensor, dims: Sequence[int]) -> Tensor:
    """With axes of extent 1 at `dims` again."""
    for dim in sorted(dims):
        tensor = tensor.with_axis(dim)
    return tensor


def _inverse(order: Sequence[int]) -> list[int]:
    return [list(order).index(k) for k in range(len(order))]


def product(lowering: Lowering, a: Tensor, b: Tensor) -> Tensor:
    """The matrix product of a[..., m, k] and b[..., k, n], whose leading axes are equal; groups are lines along k."""
    lead = len(a.shape) - 2
    left, right = quantise(lowering, a, [lead + 1]), quantise(lowering, b, [lead])
    m, k, n = a.shape[-2], a.shape[-1], b.shape[-1]
    shape, rank, batch = (*a.shape[:-2], m, n), lead + 3, list(range(lead))
    total = lowering.builder.dot(
        left.digits.placed([*batch, lead, lead + 2], rank),
        right.digits.placed([*batch, lead + 2, lead + 1], rank),
        shape,
        (k,),
    )
    return lowering.map(
        lambda s, ea, eb: quantised.rescale(s, ea, eb, lowering.bits),
        Tensor.of(total),
        left.exponents.with_axis(lead + 1),
        right.exponents.with_axis(lead),
    )


def sum_over(lowering: Lowering, tensor: Tensor, dims: Sequence[int]) -> Tensor:
    """The exact sum of an f32 tensor over `dims`, one group an output element; integers are summed as they are (i64).
    The axes are removed."""
    if not tensor.dtype.is_float:
        return _integer_sum(lowering, tensor, dims)
    given = quantise_for_sum(lowering, tensor, dims)
    return lowering.map(quantised.sum_rescale, _integer_sum(lowering, given.digits, dims), given.exponents)


def quantise_for_sum(lowering: Lowering, tensor: Tensor, dims: Sequence[int]) -> Quantised:
    """An f32 tensor for exact sums, elements that differ in `dims` only being a group."""
    order = tensor.order
    if order is None:
        tensor = lowering.materialise(tensor)
        order = tuple(range(len(tensor.shape)))
    base = Tensor.of(tensor.value, tensor.source)
    magnitudes = lowering.map(quantised.magnitude, base, dtype=DType.I32)
    exponents = lowering.map(
        quantised.sum_exponent, maximum(lowering, magnitudes.permute(_inverse(order)), dims), dtype=DType.I16
    )
    shared = spread(exponents, dims).permute(order)
    digits = lowering.map(lambda e, x: quantised.sum_quantise(x, e), shared, base, dtype=DType.I32)
    return Quantised(digits.permute(_inverse(order)), exponents)


def _integer_sum(lowering: Lowering, tensor: Tensor, dims: Sequence[int]) -> Tensor:
    shape, reduction, places = reduced(tensor, dims)
    view = tensor.placed(places, len(tensor.shape))
    return Tensor.of(lowering.builder.sum(view, shape, reduction))


def maximum(lowering: Lowering, tensor: Tensor, dims: Sequence[int]) -> Tensor:
    """The maximum over `dims`, which are removed."""
    shape, reduction, places = reduced(tensor, dims)
    view = tensor.placed(places, len(tensor.shape))
    return Tensor.of(lowering.builder.max(view, shape, reduction))


def reduced(tensor: Tensor, dims: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...], list[int]]:
    """Output shape, reduction extents, and each axis's place in the space of output axes followed by reduction axes."""
    kept = [k for k in range(len(tensor.shape)) if k not in dims]
    ordered = kept + sorted(dims)
    shape = tuple(tensor.shape[k] for k in kept)
    return shape, tuple(tensor.shape[k] for k in sorted(dims)), [ordered.index(k) for k in range(len(ordered))]
