"""sort, topk, median: a bitonic network over keys that hold value and position in one integer."""

from __future__ import annotations

from math import prod

import torch

from orebit.numerics.types import DType
from orebit.program import index_map as maps
from orebit.program.expression import Scalar, identity
from orebit.program.lowering import exact
from orebit.program.lowering.context import Lowering, axis
from orebit.program.lowering.gathering import elements, positions_along
from orebit.program.lowering.registry import lowers
from orebit.program.lowering.tensor import Tensor

aten = torch.ops.aten
LAST = (1 << 63) - 1
FIRST = -(1 << 63)
POSITION = (1 << 31) - 1


def _ordered(x: Scalar, dtype: DType) -> Scalar:
    """An integer of 32 bits, signed, in the order of x: NaN above all, -0 as 0."""
    if not dtype.is_float:
        return x
    bits = (x + 0.0).bits()
    return bits.shr(31).select(-(bits & 0x7FFFFFFF), bits)


def _keys(lowering: Lowering, a: Tensor, dim: int, descending: bool) -> Tensor:
    """Value, then position: unique, so that any order of equal values is torch's stable one. Not for i64, whose numbers
    leave no room for a position."""

    def key(x: Scalar) -> Scalar:
        order = _ordered(x, a.dtype)
        order = order ^ -1 if descending else order
        return (order << 31) | x.builder.index(dim)

    return lowering.map(key, a, dtype=DType.I64)


def _values(lowering: Lowering, a: Tensor, keys: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """The elements that sorted keys stand for, bit by bit, and their positions."""
    places = lowering.map(lambda k: k & POSITION, keys, dtype=DType.I64)
    return elements(lowering, a, positions_along(lowering, places, a.shape, dim)), places


def _sorted_keys(lowering: Lowering, keys: Tensor, dim: int) -> Tensor:
    """Ascending along `dim`, by Batcher's bitonic network over the next power of two."""
    length = keys.shape[dim]
    size = 1 << (length - 1).bit_length()
    shape = (*keys.shape[:dim], size, *keys.shape[dim + 1 :])
    if size != length:
        whole = Tensor.of(lowering.materialise(keys).value, keys.shape)
        padded = whole.value.view(maps.identity(len(shape)), whole.shape, LAST)
        keys = Tensor.of(lowering.builder.map(identity(DType.I64, len(shape)), [padded], shape))
    block = 2
    while block <= size:
        distance = block // 2
        while distance:
            keys = _exchanged(lowering, keys, dim, block, distance)
            distance //= 2
        block *= 2
    return keys.narrow(dim, 0, 1, length)


def _exchanged(lowering: Lowering, keys: Tensor, dim: int, block: int, distance: int) -> Tensor:
    """One stage: each place and the one `distance` away keep the smaller and the larger."""
    shape = keys.shape
    before, after = prod(shape[:dim]), prod(shape[dim + 1 :])
    split = Tensor.of(keys.value, (before, shape[dim] // (2 * distance), 2, distance, after))
    partner = split.narrow(2, 1, -1, 2)

    def kept(x: Scalar, y: Scalar) -> Scalar:
        build = x.builder
        # A block of the network ascends or descends in turns; a pair's first place keeps the smaller if it ascends.
        descends = (build.index(1) >> ((block // (2 * distance)).bit_length() - 1)) & 1
        return (descends ^ build.index(2)).select(x.max(y), x.min(y))

    made = lowering.map(kept, split, partner, dtype=DType.I64)
    return Tensor.of(made.value, shape)


@lowers(aten.sort.default)
def sort(lowering: Lowering, a: Tensor, dim: int = -1, descending: bool = False) -> tuple[Tensor, Tensor]:
    if not a.shape:
        return a, lowering.full((), 0, DType.I64)
    dim = axis(dim, len(a.shape))
    if a.dtype is DType.I64:
        return _sorted_by_halves(lowering, a, dim, descending)
    return _values(lowering, a, _sorted_keys(lowering, _keys(lowering, a, dim, descending), dim), dim)


def _sorted_by_halves(lowering: Lowering, a: Tensor, dim: int, descending: bool) -> tuple[Tensor, Tensor]:
    """i64: by their low halves first, then by the high ones, which leaves equal ones in order."""
    low = lowering.map(lambda x: (x & 0xFFFFFFFF) - (1 << 31), a, dtype=DType.I32)
    high = lowering.map(lambda x: x >> 32, a, dtype=DType.I32)
    first = sort(lowering, low, dim, descending)[1]
    moved = elements(lowering, high, positions_along(lowering, first, a.shape, dim))
    second = sort(lowering, moved, dim, descending)[1]
    places = elements(lowering, first, positions_along(lowering, second, a.shape, dim))
    return elements(lowering, a, positions_along(lowering, places, a.shape, dim)), places


@lowers(aten.sort.stable)
def sort_stable(
    lowering: Lowering, a: Tensor, *, stable: bool | None = True, dim: int = -1, descending: bool = False
) -> tuple[Tensor, Tensor]:
    return sort(lowering, a, dim, descending)


@lowers(aten.topk.default)
def topk(
    lowering: Lowering, a: Tensor, k: int, dim: int = -1, largest: bool = True, is_sorted: bool = True
) -> tuple[Tensor, Tensor]:
    """A few by repeated maxima, many by sorting; of equal values the first."""
    dim = axis(dim, len(a.shape))
    if a.dtype is DType.I64:
        values, places = sort(lowering, a, dim, largest)
        return values.narrow(dim, 0, 1, k), places.narrow(dim, 0, 1, k)
    keys = _keys(lowering, a, dim, largest)
    stages = (a.shape[dim] - 1).bit_length()
    if 3 * k > stages * (stages + 1) // 2:
        return _values(lowering, a, _sorted_keys(lowering, keys, dim).narrow(dim, 0, 1, k), dim)
    keys = lowering.map(lambda x: x ^ -1, keys, dtype=DType.I64)  # so that the maximum comes first
    chosen = None
    shape = (*a.shape[:dim], k, *a.shape[dim + 1 :])
    for number in range(k):
        top = exact.maximum(lowering, keys, [dim]).with_axis(dim)
        if number < k - 1:
            keys = lowering.map(lambda t, x: x.eq(t).select(FIRST, x), top, keys, dtype=DType.I64)
        chosen = top.expand(shape) if chosen is None else _appended(lowering, chosen, top, dim, number)
    assert chosen is not None
    return _values(lowering, a, lowering.map(lambda x: x ^ -1, chosen, dtype=DType.I64), dim)


def _appended(lowering: Lowering, chosen: Tensor, top: Tensor, dim: int, number: int) -> Tensor:
    return lowering.map(
        lambda new, old: old.builder.index(dim).lt(number).select(old, new), top, chosen, dtype=DType.I64
    )


@lowers(aten.kthvalue.default)
def kthvalue(lowering: Lowering, a: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    dim = axis(dim, len(a.shape))
    values, places = sort(lowering, a, dim)
    pair = values.narrow(dim, k - 1, 1, 1), places.narrow(dim, k - 1, 1, 1)
    return pair if keepdim else (pair[0].without_axis(dim), pair[1].without_axis(dim))


@lowers(aten.median.dim)
def median_dim(lowering: Lowering, a: Tensor, dim: int = -1, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """The lower of two middle values."""
    return kthvalue(lowering, a, (a.shape[axis(dim, len(a.shape))] + 1) // 2, dim, keepdim)


@lowers(aten.median.default)
def median(lowering: Lowering, a: Tensor) -> Tensor:
    return median_dim(lowering, lowering.reshape(a, [prod(a.shape)]), 0)[0]
