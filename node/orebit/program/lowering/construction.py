"""Tensors made of nothing but their positions, and parts put into a whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from orebit.errors import TraceError
from orebit.numerics.types import DType
from orebit.program.expression import Scalar
from orebit.program.index_map import AxisMap
from orebit.program.lowering.context import Lowering, axis
from orebit.program.lowering.registry import lowers
from orebit.program.lowering.tensor import Tensor
from orebit.program.lowering.views import select

aten = torch.ops.aten
Number = float | int


def _type(lowering: Lowering) -> DType:
    return DType.F32 if lowering.result_type is None else lowering.result_type


@lowers(aten.arange.start_step)
def arange_step(lowering: Lowering, start: Number, end: Number, step: Number = 1, **_: Any) -> Tensor:
    """start + step * k. In f32 the product and the sum round once each."""
    dtype = _type(lowering)
    if any(isinstance(number, Tensor) for number in (start, end, step)):
        raise TraceError("arange over a hyper-parameter would have a length that depends on it; use plain numbers")
    count = len(torch.arange(start, end, step))
    if dtype.is_float:
        return lowering.generate(lambda e: e.index(0).to_f32() * float(step) + float(start), (count,), dtype)
    return lowering.generate(lambda e: e.index(0) * int(step) + int(start), (count,), dtype)


@lowers(aten.arange.start)
def arange_start(lowering: Lowering, start: Number, end: Number, **_: Any) -> Tensor:
    return arange_step(lowering, start, end)


@lowers(aten.arange.default)
def arange(lowering: Lowering, end: Number, **_: Any) -> Tensor:
    return arange_step(lowering, 0, end)


@lowers(aten.linspace.default)
def linspace(lowering: Lowering, start: Number, end: Number, count: int, **_: Any) -> Tensor:
    """From both ends to the middle, as torch, so that the last is `end` itself."""
    step = (end - start) / max(count - 1, 1)

    def place(k: Scalar) -> Scalar:
        up = k.to_f32() * step + float(start)
        down = k.builder.f32(end) - ((count - 1) - k).to_f32() * step
        return k.lt((count + 1) // 2).select(up, down)

    return lowering.generate(lambda e: place(e.index(0)), (count,))


@lowers(aten.eye.default)
def eye(lowering: Lowering, rows: int, **_: Any) -> Tensor:
    return eye_m(lowering, rows, rows)


@lowers(aten.eye.m)
def eye_m(lowering: Lowering, rows: int, columns: int, **_: Any) -> Tensor:
    dtype = _type(lowering)

    def here(row: Scalar, column: Scalar) -> Scalar:
        return row.eq(column).to_f32() if dtype.is_float else row.eq(column)

    return lowering.generate(lambda e: here(e.index(0), e.index(1)), (rows, columns), dtype)


@lowers(aten.split_with_sizes.default, aten.split_with_sizes_copy.default, aten.unsafe_split_with_sizes.default)
def split_with_sizes(lowering: Lowering, a: Tensor, sizes: Sequence[int], dim: int = 0) -> list[Tensor]:
    dim = axis(dim, len(a.shape))
    starts = [sum(sizes[:k]) for k in range(len(sizes))]
    return [a.narrow(dim, start, 1, size) for start, size in zip(starts, sizes, strict=True)]


@lowers(aten.split.Tensor, aten.split_copy.Tensor, aten.unsafe_split.Tensor)
def split(lowering: Lowering, a: Tensor, size: int, dim: int = 0) -> list[Tensor]:
    extent = a.shape[axis(dim, len(a.shape))]
    sizes = [min(size, extent - start) for start in range(0, extent, size)]
    return split_with_sizes(lowering, a, sizes, dim)


@lowers(aten.unbind.int, aten.unbind_copy.int)
def unbind(lowering: Lowering, a: Tensor, dim: int = 0) -> list[Tensor]:
    dim = axis(dim, len(a.shape))
    return [select(lowering, a, dim, k) for k in range(a.shape[dim])]


@lowers(aten.diagonal.default, aten.diagonal_copy.default)
def diagonal(lowering: Lowering, a: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """Both axes follow one, which comes last."""
    first, second, down, right, length = _diagonal(a.shape, offset, dim1, dim2)
    cut = a.narrow(first, down, 1, length).narrow(second, right, 1, length)
    rest = [k for k in range(len(a.shape)) if k not in (first, second)]
    places = [rest.index(k) if k in rest else len(rest) for k in range(len(a.shape))]
    return cut.reread((*(a.shape[k] for k in rest), length), places)


def _diagonal(shape: Sequence[int], offset: int, dim1: int, dim2: int) -> tuple[int, int, int, int, int]:
    first, second = axis(dim1, len(shape)), axis(dim2, len(shape))
    down, right = max(-offset, 0), max(offset, 0)
    return first, second, down, right, min(shape[first] - down, shape[second] - right)


@lowers(aten.diagonal_scatter.default)
def diagonal_scatter(
    lowering: Lowering, a: Tensor, source: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1
) -> Tensor:
    first, second, down, right, length = _diagonal(a.shape, offset, dim1, dim2)
    # The diagonal's own axis, last in the source, runs along the first of its two axes.
    order = [k for k in range(len(a.shape)) if k not in (first, second)]
    source = lowering.materialise(source)
    axes = [AxisMap(0, tuple(int(k == dim) for k in range(len(a.shape)))) for dim in order]
    axes.append(AxisMap(-down, tuple(int(k == first) for k in range(len(a.shape)))))
    view = Tensor(source.value, source.shape, tuple(axes), a.shape)

    def chosen(new: Scalar, old: Scalar) -> Scalar:
        row, column = old.builder.index(first), old.builder.index(second)
        inside = (column - row).eq(right - down) & row.ge(down) & row.lt(down + length)
        return inside.select(new, old)

    return lowering.map(chosen, view, a, dtype=a.dtype, shape=a.shape)


@lowers(aten.diagonal_backward.default)
def diagonal_backward(
    lowering: Lowering, grad: Tensor, shape: Sequence[int], offset: int, dim1: int, dim2: int
) -> Tensor:
    return diagonal_scatter(lowering, lowering.full(shape, 0, grad.dtype), grad, offset, dim1, dim2)


@lowers(aten.slice_scatter.default)
def slice_scatter(
    lowering: Lowering,
    a: Tensor,
    source: Tensor,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Tensor:
    dim = axis(dim, len(a.shape))
    chosen = range(a.shape[dim])[slice(start, end, step)]
    if not chosen:
        return a
    if chosen == range(a.shape[dim]):
        return lowering.convert(source, a.dtype).expand(a.shape)
    return _placed(lowering, a, source, dim, chosen)


@lowers(aten.select_scatter.default)
def select_scatter(lowering: Lowering, a: Tensor, source: Tensor, dim: int, index: int) -> Tensor:
    dim = axis(dim, len(a.shape))
    place = index % a.shape[dim]
    return _placed(lowering, a, source.with_axis(dim), dim, range(place, place + 1))


def _placed(lowering: Lowering, a: Tensor, source: Tensor, dim: int, places: range) -> Tensor:
    """`a` but for `source` at `places` of axis `dim`: a select on the own index, which moves bits only."""
    part = lowering.materialise(source.expand([*a.shape[:dim], len(places), *a.shape[dim + 1 :]]))
    base = Tensor.of(part.value, part.shape)
    axes = list(base.axes)
    if len(places) > 1:
        axes[dim] = AxisMap(-places.start, tuple(int(k == dim) for k in range(len(a.shape))), places.step)
    view = Tensor(base.value, base.source, tuple(axes), a.shape)

    def chosen(new: Scalar, old: Scalar) -> Scalar:
        k = old.builder.index(dim)
        inside = k.ge(places.start) & k.le(places[-1])
        if places.step > 1:
            inside = inside & (k - places.start).rem(places.step).eq(0)
        return inside.select(new, old)

    return lowering.map(chosen, view, a, dtype=a.dtype, shape=a.shape)
