"""Average pooling, sliding and adaptive, and its gradient.

A small window is summed as floats in row-major order, a large one exactly, from integers that share an exponent in each
plane. Windows that do not divide their source are averaged one axis after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

import torch

from orebit.numerics import functions_quantised as quantised
from orebit.program.expression import Scalar
from orebit.program.lowering import exact
from orebit.program.lowering.context import Lowering
from orebit.program.lowering.pooling import adaptive_windows, sliding_windows, trimmed
from orebit.program.lowering.registry import lowers
from orebit.program.lowering.tensor import Tensor
from orebit.program.lowering.windows import TAPS, Read, Window, filled, laid_out, map_filled, reread

aten = torch.ops.aten
# Windows up to here are summed in fixed order, in two maps.
FIXED_ORDER = 2 * TAPS


@dataclass(frozen=True)
class Averages:
    """Windows on some axes and what their sums are divided by: `divisor`, or their size, with padding if `padded`."""

    windows: Mapping[int, Window]
    padded: bool = True
    divisor: int | None = None

    @property
    def fixed_size(self) -> int | None:
        """The divisor where it is one number for all windows."""
        if self.divisor is not None:
            return self.divisor
        sizes = [window.fixed_size(self.padded) for window in self.windows.values()]
        known = [size for size in sizes if size is not None]
        return prod(known) if len(known) == len(sizes) else None

    def divide(self, total: Scalar, axes: Mapping[int, Sequence[Scalar]]) -> Scalar:
        """`total` over the divisor, from the indices on each window's outputs."""
        if self.fixed_size is not None:
            return divided(total, self.fixed_size)
        size = total.builder.i64(1)
        for dim, window in self.windows.items():
            size = size * window.size(axes[dim], self.padded)
        return total / size.to_f32()

    def positions(self, shape: Sequence[int], extents: Mapping[int, Sequence[int]]) -> dict[int, list[int]]:
        """Where the axes that stand for each window lie, once those before them are split as `extents` says."""
        found, start = {}, 0
        for dim in range(len(shape)):
            count = len(extents[dim]) if dim in self.windows else 1
            if dim in self.windows:
                found[dim] = list(range(start, start + count))
            start += count
        return found


def divided(total: Scalar, size: int) -> Scalar:
    return total if size == 1 else total / float(size)


def average(lowering: Lowering, x: Tensor, averages: Averages) -> Tensor:
    x = laid_out(lowering, x)
    windows = averages.windows
    taps = list(product(*(range(window.taps) for window in windows.values())))
    if len(taps) > FIXED_ORDER and all(window.block == 1 for window in windows.values()):
        return _exact_average(lowering, x, averages)
    places = averages.positions(x.shape, {dim: window.extents for dim, window in windows.items()})
    made: Tensor | None = None
    for start in range(0, len(taps), TAPS):
        chunk = taps[start : start + TAPS]
        last = start + TAPS >= len(taps)

        def total(*given: Scalar, chunk: list[tuple[int, ...]] = chunk, last: bool = last) -> Scalar:
            build = given[0].builder
            axes = {dim: [build.index(k) for k in own] for dim, own in places.items()}
            result = given[-1] if len(given) > len(chunk) else None
            for point, value in zip(chunk, given[: len(chunk)], strict=True):
                for (dim, window), t in zip(windows.items(), point, strict=True):
                    member = window.member(axes[dim], t) if window.block > 1 else None
                    value = value if member is None else member.select(value, 0.0)
                result = value if result is None else result + value
            assert result is not None
            return averages.divide(result, axes) if last else result

        reads = [{dim: w.tap(t) for (dim, w), t in zip(windows.items(), point, strict=True)} for point in chunk]
        made = _chunked(lowering, total, x, reads, made)
    assert made is not None
    return Tensor.of(made.value, _replaced(x.shape, {dim: window.outputs for dim, window in windows.items()}))


def _chunked(
    lowering: Lowering,
    function: Callable[..., Scalar],
    x: Tensor,
    reads: Sequence[Mapping[int, Read]],
    before: Tensor | None,
) -> Tensor:
    """One map of several reads of `x` and, after them, of what an earlier map has summed."""
    taps = [reread(x, read) for read in reads] + ([] if before is None else [before])
    return map_filled(lowering, function, [filled(tap, 0) for tap in taps], taps[0].shape)


def _replaced(shape: Sequence[int], extents: Mapping[int, int]) -> list[int]:
    return [extents.get(dim, extent) for dim, extent in enumerate(shape)]


def _exact_average(lowering: Lowering, x: Tensor, averages: Averages) -> Tensor:
    dims = sorted(averages.windows)
    given = exact.quantise_for_sum(lowering, x, dims)
    spread = reread(given.digits, {dim: averages.windows[dim].all_taps() for dim in dims})
    # Outputs and taps of a window lie side by side.
    taps = [dim + 1 + dims.index(dim) for dim in dims]
    total = exact.sum_over(lowering, spread, taps)
    summed = lowering.map(quantised.sum_rescale, total, exact.spread(given.exponents, dims))

    def divide(value: Scalar) -> Scalar:
        return averages.divide(value, {dim: [value.builder.index(dim)] for dim in dims})

    return lowering.map(divide, summed)


def average_backward(lowering: Lowering, grad: Tensor, averages: Averages) -> Tensor:
    """For every source position, the sum of the gradients of the windows that it lies in, over their sizes."""
    windows = averages.windows
    size = averages.fixed_size
    grad = _over_sizes(lowering, grad, averages) if size is None else laid_out(lowering, grad)
    places = averages.positions(grad.shape, {dim: window.split for dim, window in windows.items()})
    readers = list(product(*(window.readers for window in windows.values())))
    made: Tensor | None = None
    for start in range(0, len(readers), TAPS):
        chunk = readers[start : start + TAPS]
        last = start + TAPS >= len(readers)

        def total(*given: Scalar, chunk: list[tuple[int, ...]] = chunk, last: bool = last) -> Scalar:
            build = given[0].builder
            result = given[-1] if len(given) > len(chunk) else None
            for point, value in zip(chunk, given[: len(chunk)], strict=True):
                for (dim, window), c in zip(windows.items(), point, strict=True):
                    member = window.reads([build.index(k) for k in places[dim]], c)
                    value = value if member is None else member.select(value, 0.0)
                result = value if result is None else result + value
            assert result is not None
            return divided(result, size) if last and size is not None else result

        reads = [{dim: w.reader(c) for (dim, w), c in zip(windows.items(), point, strict=True)} for point in chunk]
        made = _chunked(lowering, total, grad, reads, made)
    assert made is not None
    whole = Tensor.of(made.value, _replaced(grad.shape, {dim: prod(w.split) for dim, w in windows.items()}))
    first = min(windows)
    return trimmed(whole, first, [windows[dim] for dim in sorted(windows)])


def _over_sizes(lowering: Lowering, grad: Tensor, averages: Averages) -> Tensor:
    """Every output's gradient over the size of its window."""
    grad = laid_out(lowering, grad)
    windows = averages.windows
    places = averages.positions(grad.shape, {dim: window.extents for dim, window in windows.items()})
    split = reread(grad, {dim: window.whole() for dim, window in windows.items()})

    def divide(value: Scalar) -> Scalar:
        axes = {dim: [value.builder.index(k) for k in own] for dim, own in places.items()}
        return averages.divide(value, axes)

    return Tensor.of(lowering.map(divide, split).value, grad.shape)


def _sliding(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool,
    padded: bool,
    divisor: int | None,
) -> Averages:
    spatial = len(kernel)
    windows = sliding_windows(x, kernel, stride, padding, [1], ceil_mode, spatial)
    return Averages({len(x.shape) - spatial + k: window for k, window in enumerate(windows)}, padded, divisor)


@lowers(aten.avg_pool2d.default, aten.avg_pool3d.default)
def avg_pool(
    lowering: Lowering,
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    return average(lowering, x, _sliding(x, kernel, stride, padding, ceil_mode, count_include_pad, divisor_override))


@lowers(aten.avg_pool2d_backward.default, aten.avg_pool3d_backward.default)
def avg_pool_backward(
    lowering: Lowering,
    grad: Tensor,
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Tensor:
    averages = _sliding(x, kernel, stride, padding, ceil_mode, count_include_pad, divisor_override)
    return average_backward(lowering, grad, averages)


def _adaptive(x: Tensor, outputs: Sequence[int]) -> list[Averages]:
    """All axes at once where every size divides, else one after the other."""
    first = len(x.shape) - len(outputs)
    windows = {first + k: window for k, window in enumerate(adaptive_windows(x, outputs))}
    if all(window.block == 1 for window in windows.values()):
        return [Averages(windows)]
    return [Averages({dim: window}) for dim, window in windows.items()]


@lowers(aten._adaptive_avg_pool2d.default, aten._adaptive_avg_pool3d.default)
def adaptive_avg_pool(lowering: Lowering, x: Tensor, outputs: Sequence[int]) -> Tensor:
    for averages in _adaptive(x, outputs):
        x = average(lowering, x, averages)
    return x


def _adaptive_backward(lowering: Lowering, grad: Tensor, x: Tensor, spatial: int) -> Tensor:
    for averages in reversed(_adaptive(x, grad.shape[-spatial:])):
        grad = average_backward(lowering, grad, averages)
    return grad


@lowers(aten._adaptive_avg_pool2d_backward.default)
def adaptive_avg_pool2d_backward(lowering: Lowering, grad: Tensor, x: Tensor) -> Tensor:
    return _adaptive_backward(lowering, grad, x, 2)


@lowers(aten._adaptive_avg_pool3d_backward.default)
def adaptive_avg_pool3d_backward(lowering: Lowering, grad: Tensor, x: Tensor) -> Tensor:
    return _adaptive_backward(lowering, grad, x, 3)
