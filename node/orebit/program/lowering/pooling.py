"""Maximum pooling, sliding and adaptive, in any number of dimensions: one axis after the other, the last first.

Of equal values the first in row-major order wins, as in torch, and a NaN above all: its place is found by axis too,
since the first row that holds the maximum, and the first such column of it, are the first position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from math import inf, prod

import torch

from orebit.numerics.types import DType
from orebit.program.expression import Scalar
from orebit.program.lowering import exact
from orebit.program.lowering.context import Lowering
from orebit.program.lowering.convolution import per_axis
from orebit.program.lowering.registry import lowers
from orebit.program.lowering.tensor import Tensor
from orebit.program.lowering.windows import TAPS, Window, filled, laid_out, map_filled, reread

aten = torch.ops.aten


def max_pool(lowering: Lowering, x: Tensor, windows: Sequence[Window]) -> tuple[Tensor, Tensor]:
    """Maxima of windows over the last axes, and their row-major places in the source (i64)."""
    first, stride = len(x.shape) - len(windows), 1
    values, places = laid_out(lowering, x), None
    for k in reversed(range(len(windows))):
        window = windows[k]
        if not window.is_trivial:
            largest = _largest(lowering, values, first + k, window)
            places = _places(lowering, (values, largest, places), first + k, window, stride)
            values = largest
        stride *= window.source
    return values, lowering.full(values.shape, 0, DType.I64) if places is None else places


def _largest(lowering: Lowering, x: Tensor, dim: int, window: Window) -> Tensor:
    if window.block == 1:
        taps = reread(x, {dim: window.all_taps()})
        shape, reduction, places = exact.reduced(taps, [dim + 1])
        view = taps.placed(places, len(taps.shape))
        return Tensor.of(lowering.builder.max(replace(view, fill=-inf), shape, reduction))
    made: Tensor | None = None
    for start in range(0, window.taps, TAPS):
        chunk = range(start, min(start + TAPS, window.taps))

        def largest(*taps: Scalar, chunk: range = chunk) -> Scalar:
            axes = _indices(taps[0], dim, window.extents)
            found = taps[len(chunk)] if len(taps) > len(chunk) else taps[0].builder.f32(-inf)
            for t, x in zip(chunk, taps[: len(chunk)], strict=True):
                member = window.member(axes, t)
                found = found.max(x if member is None else member.select(x, -inf))
            return found

        read = [reread(x, {dim: window.tap(t)}) for t in chunk] + ([] if made is None else [made])
        made = map_filled(lowering, largest, [filled(tap, -inf) for tap in read], read[0].shape)
    assert made is not None
    return Tensor.of(made.value, _pooled(x, dim, window))


def _pooled(x: Tensor, dim: int, window: Window) -> tuple[int, ...]:
    return (*x.shape[:dim], window.outputs, *x.shape[dim + 1 :])


def _indices(any_scalar: Scalar, dim: int, extents: Sequence[int]) -> list[Scalar]:
    return [any_scalar.builder.index(dim + k) for k in range(len(extents))]


def _places(
    lowering: Lowering, sources: tuple[Tensor, Tensor, Tensor | None], dim: int, window: Window, stride: int
) -> Tensor:
    """Where the largest value stands: its coordinate times `stride`, plus the place that the pass before found there.

    Taps are looked at from the last to the first, so that the first of equals is kept."""
    x, largest, before = sources
    kept: Tensor | None = None
    most = TAPS if before is None else TAPS // 2
    for end in range(window.taps, 0, -most):
        chunk = range(max(end - most, 0), end)

        def place(*given: Scalar, chunk: range = chunk) -> Scalar:
            count = len(chunk)
            values, maximum = given[:count], given[count]
            behind, rest = (given[count + 1 :], ()) if before is None else (given[2 * count + 1 :], given[count + 1 :])
            axes = _indices(maximum, dim, window.extents)
            found = behind[0] if behind else maximum.builder.i64(0)
            for t in reversed(range(count)):
                here = window.coordinate(axes[0], chunk[t]) * stride
                hit = values[t].eq(maximum) | (values[t].eq(values[t]) ^ 1)
                member = window.member(axes, chunk[t])
                found = (hit if member is None else hit & member).select(here + rest[t] if rest else here, found)
            return found

        taps = [reread(x, {dim: window.tap(t)}) for t in chunk]
        views = [*(filled(tap, -inf) for tap in taps), filled(reread(largest, {dim: window.whole()}), 0)]
        if before is not None:
            views += [filled(reread(before, {dim: window.tap(t)}), 0) for t in chunk]
        if kept is not None:
            views.append(filled(kept, 0))
        kept = map_filled(lowering, place, views, taps[0].shape, DType.I64)
    assert kept is not None
    return Tensor.of(kept.value, _pooled(x, dim, window))


def max_pool_backward(lowering: Lowering, grad: Tensor, places: Tensor, windows: Sequence[Window]) -> Tensor:
    """For every source position, the sum of the gradients of the outputs that took their value from it."""
    first = len(grad.shape) - len(windows)
    grad, places = laid_out(lowering, grad), laid_out(lowering, places)
    lead = grad.shape[:first]
    splits = [window.split for window in windows]
    shape = (*lead, *(extent for split in splits for extent in split))
    readers = list(product(*(window.readers for window in windows)))
    made: Tensor | None = None
    for start in range(0, len(readers), TAPS // 2):
        chunk = readers[start : start + TAPS // 2]

        def gather(*given: Scalar) -> Scalar:
            count = len(given) // 2
            own = _own_place(given[0], first, windows)
            total = given[2 * count] if len(given) % 2 else None
            for at, gradient in zip(given[:count], given[count : 2 * count], strict=True):
                term = at.eq(own).select(gradient, 0.0)
                total = term if total is None else total + term
            assert total is not None
            return total

        reads = [
            {first + k: window.reader(c) for k, (window, c) in enumerate(zip(windows, point, strict=True))}
            for point in chunk
        ]
        views = [filled(reread(places, read), -1) for read in reads]
        views += [filled(reread(grad, read), 0) for read in reads]
        if made is not None:
            views.append(filled(made, 0))
        made = map_filled(lowering, gather, views, shape)
    assert made is not None
    whole = Tensor.of(made.value, (*lead, *(prod(split) for split in splits)))
    return trimmed(whole, first, windows)


def trimmed(whole: Tensor, first: int, windows: Sequence[Window]) -> Tensor:
    """Without the positions that only round an axis up to whole strides."""
    for k, window in enumerate(windows):
        if whole.shape[first + k] > window.source:
            whole = whole.narrow(first + k, 0, 1, window.source)
    return whole


def _own_place(any_scalar: Scalar, first: int, windows: Sequence[Window]) -> Scalar:
    """The row-major place of a source position, from its indices on the windows' splits."""
    build, axis = any_scalar.builder, first
    place = build.i64(0)
    for window in windows:
        place = place * window.source
        if len(window.split) == 1:
            place = place + build.index(axis)
        else:
            place = place + (build.index(axis) * window.stride + build.index(axis + 1))
        axis += len(window.split)
    return place


def sliding_windows(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
    spatial: int,
) -> list[Window]:
    """torch's settings, one window an axis of the last `spatial`."""
    kernel = per_axis(kernel, spatial)
    settings = (
        x.shape[-spatial:],
        kernel,
        per_axis(stride, spatial) if stride else kernel,
        per_axis(padding, spatial),
        per_axis(dilation, spatial),
    )
    return [Window.sliding(*each, ceil_mode) for each in zip(*settings, strict=True)]


def _listed(setting: Sequence[int] | int) -> Sequence[int]:
    return [setting] if isinstance(setting, int) else setting


@lowers(aten.max_pool2d_with_indices.default)
def max_pool2d(
    lowering: Lowering,
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] | int = 0,
    dilation: Sequence[int] | int = 1,
    ceil_mode: bool = False,
) -> tuple[Tensor, Tensor]:
    windows = sliding_windows(x, kernel, stride, _listed(padding), _listed(dilation), ceil_mode, 2)
    return max_pool(lowering, x, windows)


@lowers(aten.max_pool3d_with_indices.default)
def max_pool3d(
    lowering: Lowering,
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] | int = 0,
    dilation: Sequence[int] | int = 1,
    ceil_mode: bool = False,
) -> tuple[Tensor, Tensor]:
    windows = sliding_windows(x, kernel, stride, _listed(padding), _listed(dilation), ceil_mode, 3)
    return max_pool(lowering, x, windows)


@lowers(aten.max_pool2d_with_indices_backward.default, aten.max_pool3d_with_indices_backward.default)
def max_pool_with_indices_backward(
    lowering: Lowering,
    grad: Tensor,
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
    places: Tensor,
) -> Tensor:
    spatial = len(kernel)
    windows = sliding_windows(x, kernel, stride, padding, dilation, ceil_mode, spatial)
    return max_pool_backward(lowering, grad, places, windows)


def adaptive_windows(x: Tensor, outputs: Sequence[int]) -> list[Window]:
    return [Window.adaptive(*each) for each in zip(x.shape[-len(outputs) :], outputs, strict=True)]


@lowers(aten.adaptive_max_pool2d.default, aten.adaptive_max_pool3d.default)
def adaptive_max_pool(lowering: Lowering, x: Tensor, outputs: Sequence[int]) -> tuple[Tensor, Tensor]:
    return max_pool(lowering, x, adaptive_windows(x, outputs))


@lowers(aten.adaptive_max_pool2d_backward.default)
def adaptive_max_pool2d_backward(lowering: Lowering, grad: Tensor, x: Tensor, places: Tensor) -> Tensor:
    return max_pool_backward(lowering, grad, places, adaptive_windows(x, grad.shape[-2:]))


@lowers(aten.adaptive_max_pool3d_backward.default)
def adaptive_max_pool3d_backward(lowering: Lowering, grad: Tensor, x: Tensor, places: Tensor) -> Tensor:
    return max_pool_backward(lowering, grad, places, adaptive_windows(x, grad.shape[-3:]))
