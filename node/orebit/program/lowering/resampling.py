"""Interpolation to any size, nearest, linear and cubic in 1 to 3 dimensions, with gradients.

What is nearest is moved: by views where sizes divide, else by a gather. Linear and cubic interpolation are fixed linear
operators, one axis after the other. Positions are computed in f32, operation by operation as torch does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch

from orebit.program import index_map as maps
from orebit.program.expression import ExpressionBuilder, Scalar
from orebit.program.lowering import linear
from orebit.program.lowering.context import Lowering
from orebit.program.lowering.linear import Operator
from orebit.program.lowering.pooling_average import Averages, average
from orebit.program.lowering.registry import lowers
from orebit.program.lowering.tensor import Tensor
from orebit.program.lowering.windows import Read, Window, laid_out, reread

aten = torch.ops.aten
# The free parameter of torch's cubic convolution.
CUBIC = -0.75


def _ratio(source: int, outputs: int, factor: float | None) -> float:
    """Source positions an output position, as f32: of the given scale factor where there is one."""
    return float(np.float32(1.0 / factor)) if factor else float(np.float32(source) / np.float32(outputs))


def _floor(x: Scalar) -> Scalar:
    nearest = x.to_i64()
    return nearest - x.lt(nearest.to_f32())


@dataclass(frozen=True)
class Nearest:
    """Output a takes source floor((a + shift) * ratio), at most the last."""

    source: int
    outputs: int
    ratio: float
    shift: float

    def position(self, a: Scalar) -> Scalar:
        place = a.to_f32() + self.shift if self.shift else a.to_f32()
        return _floor(place * self.ratio).min(self.source - 1)

    @property
    def positions(self) -> list[int]:
        a = np.arange(self.outputs, dtype=np.float32) + np.float32(self.shift)
        return [min(int(place), self.source - 1) for place in np.floor(a * np.float32(self.ratio))]

    @property
    def repeats(self) -> int:
        """How often every position is taken, in its turn; 0 where that is not one number."""
        factor = self.outputs // self.source
        return factor if self.positions == [a // max(factor, 1) for a in range(self.source * factor)] else 0

    @property
    def skips(self) -> int:
        """The step from one taken position to the next, from 0; 0 where that is not one number."""
        step = self.source // self.outputs
        return step if self.positions == [a * step for a in range(self.outputs)] else 0

    def operator(self) -> Operator:
        runs = tuple((place, place) for place in self.positions)
        return Operator(self.source, runs, lambda a, h: self.position(a).eq(h).to_f32())


def _nearest(x: Sequence[int], outputs: Sequence[int], factors: Sequence[float | None], shift: float) -> list[Nearest]:
    sources = x[-len(outputs) :]
    return [Nearest(n, a, _ratio(n, a, factor), shift) for n, a, factor in zip(sources, outputs, factors, strict=True)]


def _take_nearest(lowering: Lowering, x: Tensor, settings: Sequence[Nearest]) -> Tensor:
    first = len(x.shape) - len(settings)
    for k, setting in enumerate(settings):
        dim = first + k
        if setting.skips:
            x = x.narrow(dim, 0, setting.skips, setting.outputs)
        elif setting.repeats:
            shape = (*x.shape[: dim + 1], setting.repeats, *x.shape[dim + 1 :])
            repeated = x.with_axis(dim + 1).expand(shape)
            x = lowering.reshape(repeated, [*x.shape[:dim], setting.outputs, *x.shape[dim + 1 :]])
        else:
            x = _gathered(lowering, x, dim, setting)
    return x


def _gathered(lowering: Lowering, x: Tensor, dim: int, setting: Nearest) -> Tensor:
    """x[..., position(a), ...] by the row-major place of each output's source."""
    shape = (*x.shape[:dim], setting.outputs, *x.shape[dim + 1 :])

    def place(build: ExpressionBuilder) -> Scalar:
        total = build.i64(0)
        for k, extent in enumerate(x.shape):
            own = build.index(k)
            total = total * extent + (setting.position(own) if k == dim else own)
        return total

    places = lowering.generate(place, shape)
    flat = lowering.value(x, x.shape).view(maps.IndexMap(()), [prod(x.shape)])
    return Tensor.of(lowering.builder.gather(places.broadcast(shape), flat, shape))


def _nearest_gradient(lowering: Lowering, grad: Tensor, settings: Sequence[Nearest]) -> Tensor:
    first = len(grad.shape) - len(settings)
    repeated = {
        first + k: Window.sliding(setting.outputs, setting.repeats, setting.repeats, 0)
        for k, setting in enumerate(settings)
        if setting.repeats > 1
    }
    if repeated:
        grad = average(lowering, grad, Averages(repeated, divisor=1))
    for k, setting in enumerate(settings):
        dim = first + k
        if setting.skips and setting.outputs < setting.source:
            grad = reread(laid_out(lowering, grad), {dim: Read((setting.source,), (1,), 0, setting.skips)})
        elif not setting.skips and not setting.repeats:
            grad = linear.apply(lowering, grad, dim, setting.operator().transposed())
    return grad


@lowers(aten.upsample_nearest1d.default, aten.upsample_nearest2d.default, aten.upsample_nearest3d.default)
def upsample_nearest(lowering: Lowering, x: Tensor, outputs: Sequence[int], *factors: float | None) -> Tensor:
    return _take_nearest(lowering, x, _nearest(x.shape, outputs, _each(factors, outputs), 0.0))


@lowers(
    aten._upsample_nearest_exact1d.default,
    aten._upsample_nearest_exact2d.default,
    aten._upsample_nearest_exact3d.default,
)
def upsample_nearest_exact(lowering: Lowering, x: Tensor, outputs: Sequence[int], *factors: float | None) -> Tensor:
    return _take_nearest(lowering, x, _nearest(x.shape, outputs, _each(factors, outputs), 0.5))


def _each(factors: Sequence[float | None], outputs: Sequence[int]) -> Sequence[float | None]:
    """A scale factor for each axis, where torch leaves out those that are none."""
    return [*factors, *[None] * (len(outputs) - len(factors))]


@lowers(
    aten.upsample_nearest1d_backward.default,
    aten.upsample_nearest2d_backward.default,
    aten.upsample_nearest3d_backward.default,
)
def upsample_nearest_backward(
    lowering: Lowering, grad: Tensor, outputs: Sequence[int], source: Sequence[int], *factors: float | None
) -> Tensor:
    return _nearest_gradient(lowering, grad, _nearest(source, outputs, _each(factors, outputs), 0.0))


@lowers(
    aten._upsample_nearest_exact1d_backward.default,
    aten._upsample_nearest_exact2d_backward.default,
    aten._upsample_nearest_exact3d_backward.default,
)
def upsample_nearest_exact_backward(
    lowering: Lowering, grad: Tensor, outputs: Sequence[int], source: Sequence[int], *factors: float | None
) -> Tensor:
    return _nearest_gradient(lowering, grad, _nearest(source, outputs, _each(factors, outputs), 0.5))


@dataclass(frozen=True)
class Interpolation:
    """Output a lies at (a + 0.5) * ratio - 0.5, or at a * ratio where corners are aligned."""

    source: int
    outputs: int
    ratio: float
    aligned: bool

    @classmethod
    def of(cls, source: int, outputs: int, aligned: bool, factor: float | None) -> Interpolation:
        if not aligned:
            return cls(source, outputs, _ratio(source, outputs, factor), aligned)
        return cls(source, outputs, _ratio(source - 1, outputs - 1, None) if outputs > 1 else 0.0, aligned)

    def place(self, a: Any) -> Any:
        """Of f32 positions: a Scalar's or an array's; rounded alike."""
        return a * self.ratio if self.aligned else (a + 0.5) * self.ratio - 0.5

    @property
    def floors(self) -> list[int]:
        places = self.place(np.arange(self.outputs, dtype=np.float32))
        assert places.dtype == np.float32
        return [int(place) for place in np.floor(places)]

    def linear(self) -> Operator:
        """Two neighbours, weighted by nearness; before the first there is only the first."""
        last = self.source - 1
        starts = [min(max(place, 0), last) for place in self.floors]

        def weight(a: Scalar, h: Scalar) -> Scalar:
            place = self.place(a.to_f32()).max(0.0)
            low = _floor(place).min(last)
            part = (place - low.to_f32()).min(1.0)
            return low.eq(h).select(1.0 - part, 0.0) + (low + 1).min(last).eq(h).select(part, 0.0)

        return Operator(self.source, tuple((start, min(start + 1, last)) for start in starts), weight)

    def cubic(self) -> Operator:
        """Four neighbours by cubic convolution; those outside are the first or the last."""
        last = self.source - 1

        def weight(a: Scalar, h: Scalar) -> Scalar:
            place: Scalar = self.place(a.to_f32())
            low = _floor(place)
            part = place - low.to_f32()
            total: Scalar = part.builder.f32(0.0)
            for k, nearness in enumerate(_cubic(part)):
                total = total + (low + (k - 1)).max(0).min(last).eq(h).select(nearness, 0.0)
            return total

        clamped = [[min(max(place + k, 0), last) for k in (-1, 2)] for place in self.floors]
        return Operator(self.source, tuple((low, high) for low, high in clamped), weight)


def _cubic(part: Scalar) -> list[Scalar]:
    """The weights of the four neighbours of a place that lies `part` after the second."""
    rest = 1.0 - part
    return [_cubic_far(part + 1.0), _cubic_near(part), _cubic_near(rest), _cubic_far(rest + 1.0)]


def _cubic_near(x: Scalar) -> Scalar:
    return (x * (CUBIC + 2) - (CUBIC + 3)) * x * x + 1.0


def _cubic_far(x: Scalar) -> Scalar:
    return ((x * CUBIC - 5 * CUBIC) * x + 8 * CUBIC) * x - 4 * CUBIC


def _operators(
    source: Sequence[int], outputs: Sequence[int], aligned: bool, factors: Sequence[float | None], cubic: bool
) -> list[Operator]:
    settings = [
        Interpolation.of(n, a, aligned, factor)
        for n, a, factor in zip(source[-len(outputs) :], outputs, _each(factors, outputs), strict=True)
    ]
    return [setting.cubic() if cubic else setting.linear() for setting in settings]


def _interpolated(lowering: Lowering, x: Tensor, operators: Sequence[Operator]) -> Tensor:
    first = len(x.shape) - len(operators)
    for k, operator in enumerate(operators):
        x = linear.apply(lowering, x, first + k, operator)
    return x


@lowers(aten.upsample_linear1d.default, aten.upsample_bilinear2d.default, aten.upsample_trilinear3d.default)
def upsample_linear(
    lowering: Lowering, x: Tensor, outputs: Sequence[int], aligned: bool, *factors: float | None
) -> Tensor:
    return _interpolated(lowering, x, _operators(x.shape, outputs, aligned, factors, cubic=False))


@lowers(aten.upsample_bicubic2d.default)
def upsample_cubic(
    lowering: Lowering, x: Tensor, outputs: Sequence[int], aligned: bool, *factors: float | None
) -> Tensor:
    return _interpolated(lowering, x, _operators(x.shape, outputs, aligned, factors, cubic=True))


@lowers(
    aten.upsample_linear1d_backward.default,
    aten.upsample_bilinear2d_backward.default,
    aten.upsample_trilinear3d_backward.default,
)
def upsample_linear_backward(
    lowering: Lowering,
    grad: Tensor,
    outputs: Sequence[int],
    source: Sequence[int],
    aligned: bool,
    *factors: float | None,
) -> Tensor:
    operators = _operators(source, outputs, aligned, factors, cubic=False)
    return _interpolated(lowering, grad, [operator.transposed() for operator in operators])


@lowers(aten.upsample_bicubic2d_backward.default)
def upsample_cubic_backward(
    lowering: Lowering,
    grad: Tensor,
    outputs: Sequence[int],
    source: Sequence[int],
    aligned: bool,
    *factors: float | None,
) -> Tensor:
    operators = _operators(source, outputs, aligned, factors, cubic=True)
    return _interpolated(lowering, grad, [operator.transposed() for operator in operators])
