"""Writing by index: sums are exact, overwrites move bits, of duplicates the last in row-major order wins."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch

from orebit.errors import TraceError
from orebit.numerics import functions_quantised as quantised
from orebit.numerics.types import DType
from orebit.program.expression import Scalar
from orebit.program.lowering import exact
from orebit.program.lowering.context import Lowering, axis
from orebit.program.lowering.elementwise import Argument
from orebit.program.lowering.gathering import Indexing, back, positions_along, refuse_masks, rows, to_front
from orebit.program.lowering.registry import lowers
from orebit.program.lowering.tensor import Tensor

aten = torch.ops.aten


def sum_at(lowering: Lowering, places: Tensor, source: Tensor, size: int) -> Tensor:
    """[size, rest]: the sum of source[n, rest] where places[n] is the row; f32 exactly, one group a column, integers
    modulo 2^64 as i64. `places` may have several axes, which lead those of `source`; -1 goes nowhere."""
    count = len(places.shape)
    rest = source.shape[count:]
    if not source.dtype.is_float:
        return _scatter_sum(lowering, places, source, (size, *rest))
    magnitudes = lowering.map(quantised.magnitude, source, dtype=DType.I32)
    largest = exact.maximum(lowering, magnitudes, list(range(count)))
    exponents = lowering.map(quantised.sum_exponent, largest, dtype=DType.I16)
    digits = lowering.map(lambda e, x: quantised.sum_quantise(x, e), exponents, source, dtype=DType.I32)
    total = _scatter_sum(lowering, places, digits, (size, *rest))
    return lowering.map(quantised.sum_rescale, total, exponents)


def _scatter_sum(lowering: Lowering, places: Tensor, source: Tensor, shape: tuple[int, ...]) -> Tensor:
    count, rank = len(places.shape), len(shape)
    reduction = list(range(rank, rank + count))
    space = rank + count
    view = source.placed([*reduction, *range(1, rank)], space)
    return Tensor.of(lowering.builder.scatter_sum(places.placed(reduction, space), view, shape, places.shape))


def max_at(lowering: Lowering, places: Tensor, source: Tensor, size: int, fill: float | int) -> Tensor:
    """[size, rest]: the maximum of `fill` and of source[n, rest] where places[n] is the row."""
    count, shape = len(places.shape), (size, *source.shape[len(places.shape) :])
    rank = len(shape)
    reduction = list(range(rank, rank + count))
    whole = lowering.materialise(source)
    view = Tensor.of(whole.value, source.shape).placed([*reduction, *range(1, rank)], rank + count)
    filled = whole.value.view(view.map, view.shape, fill)
    index = places.placed(reduction, rank + count)
    return Tensor.of(lowering.builder.scatter_max(index, filled, shape, places.shape))


def overwrite(lowering: Lowering, a: Tensor, places: Tensor, values: Tensor) -> Tensor:
    """`a` with row places[n] replaced by values[n]; -1 goes nowhere."""
    count = len(places.shape)
    own = lowering.map(lambda p: p.builder.flat(), places, dtype=DType.I64)
    # Where each row comes from: the last of the places that name it.
    origin = max_at(lowering, places, own, a.shape[0], -1)
    table = lowering.reshape(values, [prod(places.shape), *values.shape[count:]])
    taken = rows(lowering, table, origin)
    spread = origin
    for _ in a.shape[1:]:
        spread = spread.with_axis(len(spread.shape))
    return lowering.map(lambda o, new, old: o.ge(0).select(new, old), spread, taken, a, dtype=a.dtype)


def added(lowering: Lowering, a: Tensor, b: Tensor) -> Tensor:
    """a + b in a's type; a mask is or-ed."""
    if lowering.result_is_mask:
        return lowering.map(lambda x, y: (x + y).eq(0) ^ 1, a, b, dtype=a.dtype)
    return lowering.map(lambda x, y: x + y, a, b, dtype=a.dtype)


@lowers(aten.embedding_dense_backward.default)
def embedding_dense_backward(
    lowering: Lowering, grad: Tensor, indices: Tensor, size: int, padding: int, scale_by_frequency: bool
) -> Tensor:
    places = indices
    if padding >= 0:
        places = lowering.map(lambda i: i.eq(padding).select(-1, i), indices, dtype=DType.I64)
    if scale_by_frequency:
        ones = lowering.full(indices.shape, 1, DType.U8)
        counts = rows(lowering, sum_at(lowering, places, ones, size), places)
        grad = lowering.map(lambda n, g: n.eq(0).select(0.0, g / n.to_f32()), counts.with_axis(len(counts.shape)), grad)
    return sum_at(lowering, places, grad, size)


@lowers(aten.embedding_renorm.default)
def embedding_renorm(
    lowering: Lowering, weight: Tensor, indices: Tensor, max_norm: Argument, norm_type: Argument
) -> Tensor:
    """Rows that are named and too long are shortened, before they are read."""
    if norm_type != 2:
        raise TraceError("an embedding's max_norm is lowered for norm_type=2 only")
    used = max_at(lowering, indices, lowering.full(indices.shape, 1, DType.U8), weight.shape[0], 0)
    squares = lowering.map(lambda x: x * x, weight)
    total = exact.sum_over(lowering, squares, [1])

    def scale(u: Scalar, m: Scalar | float, s: Scalar) -> Scalar:
        norm = s.sqrt()
        return (u & norm.gt(m)).select(s.builder.lift(m, s.dtype) / (norm + 1e-7), 1.0)

    limit = max_norm if isinstance(max_norm, Tensor) else float(max_norm)
    scales = lowering.map(scale, used, limit, total)
    return lowering.map(lambda s, x: s * x, scales.with_axis(1), weight)


@lowers(aten.index_put.default, aten._unsafe_index_put.default)
def index_put(
    lowering: Lowering, a: Tensor, indices: Sequence[Tensor | None], values: Tensor, accumulate: bool = False
) -> Tensor:
    refuse_masks(indices)
    indexing = Indexing(lowering, a.shape, indices)
    rest = [a.shape[dim] for dim in indexing.rest]
    shape = [*rest[: indexing.lead], *indexing.places.shape, *rest[indexing.lead :]]
    given = indexing.values(lowering.convert(values, a.dtype).expand(shape))
    if accumulate:
        total = sum_at(lowering, indexing.places, given, indexing.size)
        return added(lowering, a, indexing.unfront(total, a.shape))
    made = overwrite(lowering, indexing.front(lowering, a), indexing.places, given)
    return indexing.unfront(made, a.shape)


@lowers(aten.index_add.default)
def index_add(lowering: Lowering, a: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Argument = 1) -> Tensor:
    dim = axis(dim, len(a.shape))
    total = sum_at(lowering, index, to_front(source, dim), a.shape[dim])
    if isinstance(alpha, Tensor) or alpha != 1:
        total = lowering.map(lambda k, x: x * k, alpha, total)
    return added(lowering, a, back(total, dim))


@lowers(aten.index_copy.default)
def index_copy(lowering: Lowering, a: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    dim = axis(dim, len(a.shape))
    return back(overwrite(lowering, to_front(a, dim), index, to_front(source, dim)), dim)


@lowers(aten.index_fill.int_Scalar, aten.index_fill.int_Tensor)
def index_fill(lowering: Lowering, a: Tensor, dim: int, index: Tensor, number: Argument) -> Tensor:
    dim = axis(dim, len(a.shape))
    named = max_at(lowering, index, lowering.full(index.shape, 1, DType.U8), a.shape[dim], 0)
    for _ in range(len(a.shape) - 1):
        named = named.with_axis(len(named.shape))
    value = number if isinstance(number, Tensor) or not a.dtype.is_float else float(number)
    return lowering.map(lambda n, v, x: n.select(v, x), back(named, dim), value, a, dtype=a.dtype)


def _flat(lowering: Lowering, a: Tensor) -> Tensor:
    return lowering.reshape(a, [prod(a.shape)])


def _scattered(lowering: Lowering, a: Tensor, dim: int, index: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
    """Row-major places in `a`, and the part of the source that goes there."""
    if not a.shape:
        a, index, source = a.with_axis(0), index.expand((1,)), source.expand((1,))
    for k, extent in enumerate(index.shape):
        source = source.narrow(k, 0, 1, extent)
    return positions_along(lowering, index, a.shape, axis(dim, len(a.shape))), source


@lowers(aten.scatter.src)
def scatter(lowering: Lowering, a: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    shape = a.shape
    places, given = _scattered(lowering, a, dim, index, source)
    return lowering.reshape(overwrite(lowering, _flat(lowering, a), places, given), shape)


@lowers(aten.scatter.value)
def scatter_value(lowering: Lowering, a: Tensor, dim: int, index: Tensor, number: Argument) -> Tensor:
    filled = number.expand(index.shape) if isinstance(number, Tensor) else lowering.full(index.shape, number, a.dtype)
    return scatter(lowering, a, dim, index, filled)


@lowers(aten.put.default)
def put(lowering: Lowering, a: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    size = prod(a.shape)
    places = lowering.map(lambda i: i.lt(0).select(i + size, i), index, dtype=DType.I64)
    source = lowering.reshape(source, index.shape)
    if accumulate:
        return added(lowering, a, lowering.reshape(sum_at(lowering, places, source, size), a.shape))
    return lowering.reshape(overwrite(lowering, _flat(lowering, a), places, source), a.shape)


@lowers(aten.scatter_add.default)
def scatter_add(lowering: Lowering, a: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    shape = a.shape
    places, given = _scattered(lowering, a, dim, index, source)
    total = sum_at(lowering, places, given, prod(shape))
    return added(lowering, a, lowering.reshape(total, shape))


@lowers(aten.scatter_reduce.two)
def scatter_reduce(
    lowering: Lowering, a: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """Sum, mean, amax and amin.

    Raises:
        TraceError: for a product.
    """
    shape = a.shape
    places, given = _scattered(lowering, a, dim, index, source)
    size = prod(shape)
    counts = lowering.reshape(sum_at(lowering, places, lowering.full(places.shape, 1, DType.U8), size), shape)
    if reduce in ("amax", "amin"):
        made = _extreme(lowering, places, given, size, reduce == "amin")
        return _joined_extreme(lowering, a, counts, lowering.reshape(made, shape), reduce, include_self)
    if reduce not in ("sum", "mean"):
        raise TraceError(f"scatter_reduce with reduce={reduce!r} has no lowering; take sum, mean, amax or amin")
    total = lowering.reshape(sum_at(lowering, places, given, size), shape)

    def joined(n: Scalar, t: Scalar, x: Scalar) -> Scalar:
        summed = x + t if include_self else t
        if reduce == "mean":
            summed = summed / (n + int(include_self)).to_f32()
        return n.eq(0).select(x, summed)

    return lowering.map(joined, counts, total, a, dtype=a.dtype)


def _extreme(lowering: Lowering, places: Tensor, given: Tensor, size: int, smallest: bool) -> Tensor:
    """The maximum at each place, or the minimum as the negated maximum of negated values."""
    if given.dtype.is_float:
        fill: float | int = -float("inf")
    else:
        fill = given.dtype.range[0] if not smallest else -(1 << 62)
    if not smallest:
        return max_at(lowering, places, given, size, fill)
    negated = lowering.map(lambda x: -x, given)
    return lowering.map(lambda x: -x, max_at(lowering, places, negated, size, fill), dtype=given.dtype)


def _joined_extreme(
    lowering: Lowering, a: Tensor, counts: Tensor, made: Tensor, reduce: str, include_self: bool
) -> Tensor:
    def joined(n: Scalar, m: Scalar, x: Scalar) -> Scalar:
        value = (x.max(m) if reduce == "amax" else x.min(m)) if include_self else m
        return n.eq(0).select(x, value)

    return lowering.map(joined, counts, made, a, dtype=a.dtype)


@lowers(aten.histc.default)
def histc(lowering: Lowering, a: Tensor, bins: int = 100, low: Argument = 0, high: Argument = 0) -> Tensor:
    """How many lie in each of equal bins; the last holds its end too. Without limits they would depend on data."""
    if isinstance(low, Tensor) or isinstance(high, Tensor) or low == high:
        raise TraceError("a histogram takes its limits from the data; give min and max")
    width = float(high) - float(low)

    def place(x: Scalar) -> Scalar:
        scaled = (x.to_f32() - float(low)) * float(bins) / width
        nearest = scaled.to_i64()
        bin_ = nearest - scaled.lt(nearest.to_f32())
        return (x.to_f32().ge(float(low)) & x.to_f32().le(float(high))).select(bin_.min(bins - 1), -1)

    flat = _flat(lowering, a)
    places = lowering.map(place, flat, dtype=DType.I64)
    return lowering.convert(sum_at(lowering, places, lowering.full(flat.shape, 1, DType.U8), bins), DType.F32)
