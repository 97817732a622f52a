"""Elements that change places: shuffled pixels and channels, flips, rolls, triangles, windows unfolded and folded."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod

import torch

from orebit.numerics.types import DType
from orebit.program.expression import Scalar
from orebit.program.lowering.context import Lowering, axis
from orebit.program.lowering.convolution import Geometry, per_axis
from orebit.program.lowering.registry import lowers
from orebit.program.lowering.tensor import Tensor
from orebit.program.lowering.windows import TAPS, Read, Window, laid_out, reread

aten = torch.ops.aten


@lowers(aten.pixel_shuffle.default)
def pixel_shuffle(lowering: Lowering, x: Tensor, factor: int) -> Tensor:
    *lead, channels, height, width = x.shape
    rank = len(lead)
    split = lowering.reshape(x, [*lead, channels // factor**2, factor, factor, height, width])
    moved = split.permute([*range(rank + 1), rank + 3, rank + 1, rank + 4, rank + 2])
    return lowering.reshape(moved, [*lead, channels // factor**2, height * factor, width * factor])


@lowers(aten.pixel_unshuffle.default)
def pixel_unshuffle(lowering: Lowering, x: Tensor, factor: int) -> Tensor:
    *lead, channels, height, width = x.shape
    rank = len(lead)
    split = lowering.reshape(x, [*lead, channels, height // factor, factor, width // factor, factor])
    moved = split.permute([*range(rank + 1), rank + 2, rank + 4, rank + 1, rank + 3])
    return lowering.reshape(moved, [*lead, channels * factor**2, height // factor, width // factor])


@lowers(aten.channel_shuffle.default, aten.native_channel_shuffle.default)
def channel_shuffle(lowering: Lowering, x: Tensor, groups: int) -> Tensor:
    samples, channels, *rest = x.shape
    split = lowering.reshape(x, [samples, groups, channels // groups, *rest])
    return lowering.reshape(split.permute([0, 2, 1, *range(3, len(rest) + 3)]), x.shape)


@lowers(aten.flip.default)
def flip(lowering: Lowering, x: Tensor, dims: Sequence[int]) -> Tensor:
    for dim in dims:
        dim = axis(dim, len(x.shape))
        x = x.narrow(dim, x.shape[dim] - 1, -1, x.shape[dim])
    return x


@lowers(aten.roll.default)
def roll(lowering: Lowering, x: Tensor, shifts: Sequence[int], dims: Sequence[int] = ()) -> Tensor:
    if not dims:
        flat = roll(lowering, lowering.reshape(x, [prod(x.shape)]), shifts, [0])
        return lowering.reshape(flat, x.shape)
    for shift, dim in zip(shifts, dims, strict=True):
        dim = axis(dim, len(x.shape))
        extent = x.shape[dim]
        shift %= extent
        if shift:
            x = laid_out(lowering, x)
            before, after = (reread(x, {dim: Read((extent,), (1,), offset)}) for offset in (extent - shift, -shift))
            x = lowering.map(
                lambda a, b, dim=dim, shift=shift: a.builder.index(dim).lt(shift).select(a, b),
                before,
                after,
                dtype=x.dtype,
            )
    return x


def _triangle(lowering: Lowering, x: Tensor, diagonal: int, upper: bool) -> Tensor:
    row, column = len(x.shape) - 2, len(x.shape) - 1

    def keep(element: Scalar) -> Scalar:
        build = element.builder
        beyond = build.index(column) - build.index(row)
        kept = beyond.ge(diagonal) if upper else beyond.le(diagonal)
        return kept.select(element, 0.0 if element.dtype is DType.F32 else 0)

    return lowering.map(keep, x, dtype=x.dtype)


@lowers(aten.triu.default)
def triu(lowering: Lowering, x: Tensor, diagonal: int = 0) -> Tensor:
    return _triangle(lowering, x, diagonal, upper=True)


@lowers(aten.tril.default)
def tril(lowering: Lowering, x: Tensor, diagonal: int = 0) -> Tensor:
    return _triangle(lowering, x, diagonal, upper=False)


@lowers(aten.unfold.default, aten.unfold_copy.default)
def unfold(lowering: Lowering, x: Tensor, dim: int, size: int, step: int) -> Tensor:
    """Windows along an axis, their elements last: a view."""
    dim = axis(dim, len(x.shape))
    count = (x.shape[dim] - size) // step + 1
    split = reread(laid_out(lowering, x), {dim: Read((count, size), (step, 1))})
    return split.permute([k for k in range(len(split.shape)) if k != dim + 1] + [dim + 1])


@lowers(aten.unfold_backward.default)
def unfold_backward(lowering: Lowering, grad: Tensor, shape: Sequence[int], dim: int, size: int, step: int) -> Tensor:
    dim = axis(dim, len(shape))
    window = Window.sliding(shape[dim], size, step, 0)
    grad, last = laid_out(lowering, grad), len(shape)
    taps = []
    for c in window.readers:
        # Source step * m + u is element u - c * step of window m + c; others lie outside and read zeros.
        tap = reread(grad, {dim: Read((window.split[0],), (1,), c), last: Read((step,), (1,), -c * step)})
        taps.append(tap.permute([*range(dim + 1), last, *range(dim + 1, last)]))
    summed = sum_in_order(lowering, taps)
    extent = window.split[0] * step
    whole = lowering.reshape(summed, [*shape[:dim], extent, *shape[dim + 1 :]])
    return whole if extent == shape[dim] else whole.narrow(dim, 0, 1, shape[dim])


def sum_in_order(lowering: Lowering, terms: Sequence[Tensor]) -> Tensor:
    """Tensors of one shape, added one after the other."""
    made = terms[0]
    for start in range(1, len(terms), TAPS):
        chunk = terms[start : start + TAPS]
        made = lowering.map(lambda *values: sum(values[1:], start=values[0]), made, *chunk)
    return made


@lowers(aten.im2col.default)
def im2col(
    lowering: Lowering,
    x: Tensor,
    kernel: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    stride: Sequence[int],
) -> Tensor:
    *lead, channels, height, width = x.shape
    rank = len(lead) + 1
    kernel = per_axis(kernel, 2)
    geometry = Geometry.of(2, stride, padding, dilation, 1)
    outputs = geometry.extents((height, width), kernel)
    settings = zip(kernel, outputs, geometry.stride, geometry.padding, geometry.dilation, strict=True)
    reads = {rank + k: Read((n, y), (d, s), -p) for k, (n, y, s, p, d) in enumerate(settings)}
    split = reread(laid_out(lowering, x), reads)
    moved = split.permute([*range(rank), rank, rank + 2, rank + 1, rank + 3])
    return lowering.reshape(moved, [*lead, channels * prod(kernel), prod(outputs)])


@lowers(aten.col2im.default)
def col2im(
    lowering: Lowering,
    columns: Tensor,
    output: Sequence[int],
    kernel: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    stride: Sequence[int],
) -> Tensor:
    """The sum of what every window has for a position."""
    *lead, rows, _ = columns.shape
    rank = len(lead) + 1
    kernel = per_axis(kernel, 2)
    geometry = Geometry.of(2, stride, padding, dilation, 1)
    places = geometry.extents(output, kernel)
    split = laid_out(lowering, lowering.reshape(columns, [*lead, rows // prod(kernel), *kernel, *places]))
    settings = list(zip(output, geometry.stride, geometry.padding, geometry.dilation, strict=True))
    taps = []
    for point in product(*(range(extent) for extent in kernel)):
        reads = {rank + k: Read((), (), i) for k, i in enumerate(point)}
        for k, (i, (extent, s, p, d)) in enumerate(zip(point, settings, strict=True)):
            reads[rank + 2 + k] = Read((extent,), (1,), p - i * d, s)
        taps.append(reread(split, reads))
    return sum_in_order(lowering, taps)
