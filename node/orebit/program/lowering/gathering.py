"""Reading by index: embedding, index_select, gather and indexing by integer tensors. Out of range reads 0."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch

from orebit.errors import TraceError
from orebit.numerics.types import DType
from orebit.program import index_map as maps
from orebit.program.expression import Scalar
from orebit.program.lowering.context import Lowering, axis
from orebit.program.lowering.registry import lowers
from orebit.program.lowering.tensor import Tensor

aten = torch.ops.aten


def rows(lowering: Lowering, table: Tensor, places: Tensor) -> Tensor:
    """table[places], [*places.shape, *table.shape[1:]]: one gather."""
    shape = (*places.shape, *table.shape[1:])
    rank, lead = len(shape), len(places.shape)
    value = lowering.materialise(table).value
    source = value.view(maps.select_axes(rank, range(lead, rank)), table.shape)
    return Tensor.of(lowering.builder.gather(places.placed(range(lead), rank), source, shape))


def elements(lowering: Lowering, table: Tensor, places: Tensor) -> Tensor:
    """The elements of `table` at row-major positions."""
    whole = lowering.materialise(table)
    return rows(lowering, Tensor.of(whole.value, (prod(table.shape),)), places)


@lowers(aten.embedding.default)
def embedding(lowering: Lowering, weight: Tensor, indices: Tensor, *_: object) -> Tensor:
    return rows(lowering, weight, indices)


@lowers(aten.index_select.default)
def index_select(lowering: Lowering, a: Tensor, dim: int, index: Tensor) -> Tensor:
    if not a.shape:
        return a
    dim = axis(dim, len(a.shape))
    if not index.shape:
        index = index.with_axis(0)
    return back(rows(lowering, to_front(a, dim), index), dim)


def to_front(a: Tensor, dim: int) -> Tensor:
    """Axis `dim` moved to the front."""
    return a.permute([dim, *(k for k in range(len(a.shape)) if k != dim)])


def back(a: Tensor, dim: int) -> Tensor:
    """The front axis moved to `dim`."""
    order = list(range(1, len(a.shape)))
    order.insert(dim, 0)
    return a.permute(order)


def positions_along(lowering: Lowering, index: Tensor, shape: Sequence[int], dim: int) -> Tensor:
    """The row-major position, in a tensor of `shape`, of each of index's places with its `dim` from `index`; -1 where
    that is out of range."""

    def position(i: Scalar) -> Scalar:
        total = i * prod(shape[dim + 1 :])
        for k in range(len(shape)):
            if k != dim and shape[k] > 1:
                total = total + i.builder.index(k) * prod(shape[k + 1 :])
        return (i.ge(0) & i.lt(shape[dim])).select(total, -1)

    return lowering.map(position, index, dtype=DType.I64)


@lowers(aten.gather.default)
def gather(lowering: Lowering, a: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Tensor:
    if not a.shape:
        return a.expand(index.shape)
    dim = axis(dim, len(a.shape))
    return elements(lowering, a, positions_along(lowering, index, a.shape, dim))


class Indexing:
    """What a[i, :, j] means: which axes are indexed, and where the indices' own axes stand in the result.

    Raises:
        TraceError: for masks, whose count of elements is data.
    """

    def __init__(self, lowering: Lowering, shape: Sequence[int], indices: Sequence[Tensor | None]) -> None:
        given = {dim: index for dim, index in enumerate(indices) if index is not None}
        self.dims = list(given)
        self.rest = [dim for dim in range(len(shape)) if dim not in given]
        self.extents = [shape[dim] for dim in self.dims]
        self.size = prod(self.extents)
        self.places = self._places(lowering, list(given.values()))
        adjacent = self.dims == list(range(self.dims[0], self.dims[0] + len(self.dims)))
        self.lead = self.dims[0] if adjacent else 0

    def _places(self, lowering: Lowering, indices: list[Tensor]) -> Tensor:
        """The indices as one, into the indexed axes taken together; negative ones count from the end."""

        def flat(*scalars: Scalar) -> Scalar:
            build = scalars[0].builder
            total, valid = build.i64(0), build.i64(1)
            for scalar, extent in zip(scalars, self.extents, strict=True):
                wrapped = scalar.lt(0).select(scalar + extent, scalar)
                valid = valid & wrapped.ge(0) & wrapped.lt(extent)
                total = total * extent + wrapped
            return valid.select(total, -1)

        return lowering.map(flat, *indices, dtype=DType.I64)

    def front(self, lowering: Lowering, a: Tensor) -> Tensor:
        """`a` as [indexed axes as one, other axes]."""
        moved = lowering.materialise(a.permute(self.dims + self.rest))
        return Tensor.of(moved.value, (self.size, *(a.shape[dim] for dim in self.rest)))

    def unfront(self, a: Tensor, shape: Sequence[int]) -> Tensor:
        """The inverse of `front`, for a whole value."""
        split = Tensor.of(a.value, (*self.extents, *(shape[dim] for dim in self.rest)))
        order = self.dims + self.rest
        return split.permute([order.index(dim) for dim in range(len(shape))])

    def result(self, a: Tensor) -> Tensor:
        """From [index axes, other axes] to torch's order."""
        count, total = len(self.places.shape), len(a.shape)
        before = list(range(count, count + self.lead))
        return a.permute([*before, *range(count), *range(count + self.lead, total)])

    def values(self, a: Tensor) -> Tensor:
        """From torch's order to [index axes, other axes]; the inverse of `result`."""
        count, total = len(self.places.shape), len(a.shape)
        return a.permute([*range(self.lead, self.lead + count), *range(self.lead), *range(self.lead + count, total)])


@lowers(aten.index.Tensor, aten._unsafe_index.Tensor)
def index_tensor(lowering: Lowering, a: Tensor, indices: Sequence[Tensor | None]) -> Tensor:
    refuse_masks(indices)
    indexing = Indexing(lowering, a.shape, indices)
    return indexing.result(rows(lowering, indexing.front(lowering, a), indexing.places))


def refuse_masks(indices: Sequence[Any]) -> None:
    """Raises:
    TraceError: where an index is a mask.
    """
    if any(index is not None and index.dtype is DType.U8 for index in indices):
        raise TraceError("an index is a mask, so that the shape depends on data; use torch.where or masked_fill")
