"""Sums and means of embeddings over bags of indices."""

from __future__ import annotations

import torch

from orebit.errors import TraceError
from orebit.numerics.types import DType
from orebit.program.lowering import exact
from orebit.program.lowering.context import Lowering
from orebit.program.lowering.gathering import rows
from orebit.program.lowering.registry import lowers
from orebit.program.lowering.scattering import sum_at
from orebit.program.lowering.tensor import Tensor

aten = torch.ops.aten
SUM, MEAN = 0, 1


def _unpadded(lowering: Lowering, bags: Tensor, indices: Tensor, padding: int) -> Tensor:
    """Each index's bag, -1 for padding."""
    if padding < 0:
        return bags
    return lowering.map(lambda i, b: i.eq(padding).select(-1, b), indices, bags, dtype=DType.I64)


@lowers(aten._embedding_bag.default, aten._embedding_bag_forward_only.default)
def embedding_bag(
    lowering: Lowering,
    weight: Tensor,
    indices: Tensor,
    offsets: Tensor,
    scale_by_frequency: bool = False,
    mode: int = SUM,
    sparse: bool = False,
    weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding: int = -1,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The bags, each index's bag, each bag's size, and, for maxima, nothing.

    Raises:
        TraceError: for maxima.
    """
    if mode not in (SUM, MEAN):
        raise TraceError("embedding_bag with mode='max' has no lowering; take the amax of an Embedding over its bags")
    count = offsets.shape[0] - include_last_offset
    starts = offsets.narrow(0, 0, 1, count)
    started = lowering.map(
        lambda s: s.le(s.builder.index(1)), starts.with_axis(1), dtype=DType.U8, shape=(count, indices.shape[0])
    )
    bags = lowering.map(lambda n: n - 1, exact.sum_over(lowering, started, [0]), dtype=DType.I64)
    places = _unpadded(lowering, bags, indices, padding)
    sizes = sum_at(lowering, places, lowering.full(places.shape, 1, DType.U8), count)
    given = rows(lowering, weight, indices)
    if weights is not None:
        given = lowering.map(lambda w, x: w * x, weights.with_axis(1), given)
    made = sum_at(lowering, places, given, count)
    if mode == MEAN:
        made = lowering.map(lambda n, x: x / n.max(1).to_f32(), sizes.with_axis(1), made)
    return made, bags, sizes, sizes


@lowers(aten._embedding_bag_dense_backward.default)
def embedding_bag_backward(
    lowering: Lowering,
    grad: Tensor,
    indices: Tensor,
    bags: Tensor,
    sizes: Tensor,
    maxima: Tensor,
    rows_count: int,
    scale_by_frequency: bool,
    mode: int,
    weights: Tensor | None,
    padding: int = -1,
) -> Tensor:
    if mode == MEAN:
        grad = lowering.map(lambda n, g: g / n.max(1).to_f32(), sizes.with_axis(1), grad)
    each = rows(lowering, grad, bags)
    if weights is not None:
        each = lowering.map(lambda w, g: w * g, weights.with_axis(1), each)
    places = _unpadded(lowering, indices, indices, padding)
    if scale_by_frequency:
        ones = lowering.full(indices.shape, 1, DType.U8)
        counts = rows(lowering, sum_at(lowering, places, ones, rows_count), places)
        each = lowering.map(lambda n, g: g / n.max(1).to_f32(), counts.with_axis(1), each)
    return sum_at(lowering, places, each, rows_count)


@lowers(aten._embedding_bag_backward.default)
def embedding_bag_backward_of_offsets(
    lowering: Lowering,
    grad: Tensor,
    indices: Tensor,
    offsets: Tensor,
    bags: Tensor,
    sizes: Tensor,
    maxima: Tensor,
    rows_count: int,
    scale_by_frequency: bool,
    mode: int,
    sparse: bool,
    weights: Tensor | None,
    padding: int = -1,
) -> Tensor:
    return embedding_bag_backward(
        lowering, grad, indices, bags, sizes, maxima, rows_count, scale_by_frequency, mode, weights, padding
    )


@lowers(aten._embedding_bag_per_sample_weights_backward.default)
def embedding_bag_weights_backward(
    lowering: Lowering,
    grad: Tensor,
    weight: Tensor,
    indices: Tensor,
    offsets: Tensor,
    bags: Tensor,
    mode: int,
    padding: int = -1,
) -> Tensor:
    each = lowering.map(lambda g, x: g * x, rows(lowering, grad, bags), rows(lowering, weight, indices))
    total = exact.sum_over(lowering, each, [1])
    return total if padding < 0 else lowering.map(lambda i, t: i.eq(padding).select(0.0, t), indices, total)
