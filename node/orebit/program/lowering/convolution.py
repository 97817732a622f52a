"""Convolutions of 1 to 3 dimensions, plain and transposed, and their gradients.

All are three contractions: forward, its adjoint (the input's gradient, and a transposed convolution), and the weight's
gradient. An exponent belongs to a sample of inputs and output gradients, to a channel that is not contracted of
weights; in the weight's gradient, which contracts samples, to a channel on both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import torch

from orebit.program.descriptor import MAX_RANK
from orebit.program.index_map import AxisMap
from orebit.program.lowering import exact
from orebit.program.lowering.context import Lowering
from orebit.program.lowering.contraction import Factor, Space, contract
from orebit.program.lowering.registry import lowers
from orebit.program.lowering.tensor import Tensor

aten = torch.ops.aten


@dataclass(frozen=True)
class Geometry:
    """How an input position depends on an output position y and a kernel position k: stride y + dilation k - padding,
    for each spatial axis."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    @classmethod
    def of(
        cls, spatial: int, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int], groups: int
    ) -> Geometry:
        """torch's settings: one number may stand for all axes."""
        full = [
            tuple(given) if len(given) == spatial else (given[0],) * spatial for given in (stride, padding, dilation)
        ]
        return cls(full[0], full[1], full[2], groups)

    def extents(self, source: Sequence[int], kernel: Sequence[int]) -> list[int]:
        """Output positions of a plain convolution."""
        settings = zip(source, kernel, self.stride, self.padding, self.dilation, strict=True)
        return [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in settings]

    def transposed_extents(self, source: Sequence[int], kernel: Sequence[int], extra: Sequence[int]) -> list[int]:
        """Output positions of a transposed convolution; `extra` is its output padding."""
        settings = zip(source, kernel, self.stride, self.padding, self.dilation, extra, strict=True)
        return [(n - 1) * s - 2 * p + d * (k - 1) + e + 1 for n, k, s, p, d, e in settings]


def per_axis(setting: Sequence[int], spatial: int) -> tuple[int, ...]:
    """A setting for each of `spatial` axes, where torch may give one number for all."""
    return tuple(setting) if len(setting) == spatial else (setting[0],) * spatial


def _named(prefix: str, extents: Sequence[int]) -> dict[str, int]:
    return {f"{prefix}{k}": extent for k, extent in enumerate(extents)}


def _channels(geometry: Geometry, **channels: int) -> dict[str, int]:
    """An axis of groups, where there are several, then the given axes."""
    return {"group": geometry.groups, **channels} if geometry.groups > 1 else channels


def _windows(space: Space, geometry: Geometry) -> list[AxisMap]:
    """Input positions, for each spatial axis, from those of output `y` and kernel `k`."""
    settings = zip(geometry.stride, geometry.padding, geometry.dilation, strict=True)
    return [space.axis(-p, **{f"y{k}": s, f"k{k}": d}) for k, (s, p, d) in enumerate(settings)]


def _places(space: Space, prefix: str, count: int) -> list[AxisMap]:
    return [space.axis(**{f"{prefix}{k}": 1}) for k in range(count)]


def _factor(tensor: Tensor, axes: Sequence[AxisMap], *own: int) -> Factor:
    """A factor with an exponent for each position on the axes `own`."""
    return Factor(tensor, tuple(axes), tuple(k for k in range(len(tensor.shape)) if k not in own))


def _weight(
    lowering: Lowering, space: Space, w: Tensor, geometry: Geometry, channel: str, kernel: Sequence[AxisMap]
) -> Factor:
    """The weight as [group, o, c, *k], with an exponent for each group and position on `channel`."""
    shape = (geometry.groups, w.shape[0] // geometry.groups, *w.shape[1:])
    named = [space.axis(**{name: 1}) for name in ("group", "o", "c")]
    return _factor(lowering.reshape(w, shape), [*named, *kernel], 0, 1 if channel == "o" else 2)


def forward(lowering: Lowering, x: Tensor, w: Tensor, extents: Sequence[int], geometry: Geometry) -> Tensor:
    """y[n, o, y] = sum of x[n, c, window(y, k)] w[o, c, k] over c and k; `extents` are those of y."""
    outputs, inputs = w.shape[0] // geometry.groups, w.shape[1]
    space = Space(
        {"n": x.shape[0], **_channels(geometry, o=outputs), **_named("y", extents)},
        {"c": inputs, **_named("k", w.shape[2:])},
    )
    source = [space.axis(n=1), space.axis(group=inputs, c=1), *_windows(space, geometry)]
    weight = _weight(lowering, space, w, geometry, "o", _places(space, "k", len(extents)))
    made = contract(lowering, space, _factor(x, source, 0), weight)
    return Tensor.of(made.value, (x.shape[0], w.shape[0], *extents))


def adjoint(lowering: Lowering, dy: Tensor, w: Tensor, extents: Sequence[int], geometry: Geometry) -> Tensor:
    """x[n, c, i] = sum of dy[n, o, y] w[o, c, k] over o and k, where i = window(y, k); `extents` are those of x."""
    outputs, inputs = w.shape[0] // geometry.groups, w.shape[1]
    axes = _adjoint_axes(w.shape[2:], extents, geometry)
    # Places inside a stride stand beside the channels: the others are then one run of the output.
    inside = {name: extent for axis in axes for name, extent in axis.inside.items()}
    blocks = {name: extent for axis in axes for name, extent in axis.blocks.items()}
    space = Space(
        {"n": dy.shape[0], **_channels(geometry), **inside, "c": inputs, **blocks},
        {"o": outputs, **{name: extent for axis in axes for name, extent in axis.taps.items()}},
    )
    source = [space.axis(n=1), space.axis(group=outputs, o=1), *(axis.place(space) for axis in axes)]
    kernel = [axis.kernel(space) for axis in axes]
    made = contract(lowering, space, _factor(dy, source, 0), _weight(lowering, space, w, geometry, "c", kernel))
    return _joined(lowering, made, (dy.shape[0], geometry.groups * inputs, *extents), axes)


def _joined(lowering: Lowering, made: Tensor, shape: Sequence[int], axes: Sequence[_AdjointAxis]) -> Tensor:
    """[n, group, inside..., c, blocks...] as [n, channels, positions...]."""
    split = [k for k, axis in enumerate(axes) if axis.inside]
    if not split:
        return Tensor.of(made.value, shape)
    lead = len(made.shape) - len(axes) - len(split) - 1
    order = [*range(lead), lead + len(split)]
    for k in range(len(axes)):
        order.append(lead + len(split) + 1 + k)
        if k in split:
            order.append(lead + split.index(k))
    blocks = made.shape[len(made.shape) - len(axes) :]
    merged = [block * prod(axis.inside.values()) for block, axis in zip(blocks, axes, strict=True)]
    whole = lowering.reshape(made.permute(order), (*shape[:2], *merged))
    for k, (axis, extent) in enumerate(zip(axes, shape[2:], strict=True)):
        if whole.shape[2 + k] > extent:
            whole = whole.narrow(2 + k, axis.before, 1, extent)
    return whole


@dataclass(frozen=True)
class _AdjointAxis:
    """One spatial axis of the adjoint: its axes of the space (strides, places inside a stride, kernel positions), and
    where they read dy and the kernel. `before` more positions are made in front than are wanted, and perhaps some
    behind.
    """

    blocks: dict[str, int]
    inside: dict[str, int]
    taps: dict[str, int]
    place: Callable[[Space], AxisMap]
    kernel: Callable[[Space], AxisMap]
    before: int = 0


def _adjoint_axes(kernel: Sequence[int], extents: Sequence[int], geometry: Geometry) -> list[_AdjointAxis]:
    settings = zip(kernel, extents, geometry.stride, geometry.padding, geometry.dilation, strict=True)
    every = [list(each) for each in settings]
    split = [s > 1 and d == 1 for *_, s, _, d in every]
    if len(_channels(geometry, c=1)) + 1 + len(every) + sum(split) > MAX_RANK:
        split = [False] * len(every)
    make = [_strided if divided else _plain for divided in split]
    return [function(k, *each) for k, (function, each) in enumerate(zip(make, every, strict=True))]


def _plain(k: int, taps: int, extent: int, stride: int, padding: int, dilation: int) -> _AdjointAxis:
    """Position i takes from y = (i + padding - dilation * k) / stride, where that is whole."""
    return _AdjointAxis(
        {f"i{k}": extent},
        {},
        {f"k{k}": taps},
        lambda space: space.axis(padding, stride, **{f"i{k}": 1, f"k{k}": -dilation}),
        lambda space: space.axis(**{f"k{k}": 1}),
    )


def _strided(k: int, taps: int, extent: int, stride: int, padding: int, dilation: int) -> _AdjointAxis:
    """Position i + padding = stride * m + r takes from y = m - t only, with kernel position stride * t + r: no product
    is with one of the zeros that a stride leaves between outputs."""
    return _AdjointAxis(
        {f"m{k}": -(-(extent + padding) // stride)},
        {f"r{k}": stride},
        {f"t{k}": -(-taps // stride)},
        lambda space: space.axis(**{f"m{k}": 1, f"t{k}": -1}),
        lambda space: space.axis(**{f"r{k}": 1, f"t{k}": stride}),
        padding,
    )


def weight_gradient(lowering: Lowering, x: Tensor, dy: Tensor, kernel: Sequence[int], geometry: Geometry) -> Tensor:
    """w[o, c, k] = sum of x[n, c, window(y, k)] dy[n, o, y] over n and y."""
    outputs, inputs = dy.shape[1] // geometry.groups, x.shape[1] // geometry.groups
    space = Space(
        {**_channels(geometry, o=outputs), "c": inputs, **_named("k", kernel)},
        {"n": x.shape[0], **_named("y", dy.shape[2:])},
    )
    source = [space.axis(n=1), space.axis(group=inputs, c=1), *_windows(space, geometry)]
    grad = [space.axis(n=1), space.axis(group=outputs, o=1), *_places(space, "y", len(kernel))]
    made = contract(lowering, space, _factor(x, source, 1), _factor(dy, grad, 1))
    return Tensor.of(made.value, (dy.shape[1], inputs, *kernel))


@lowers(aten.convolution.default)
def convolution(
    lowering: Lowering,
    x: Tensor,
    w: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Tensor:
    kernel, source = w.shape[2:], x.shape[2:]
    geometry = Geometry.of(len(kernel), stride, padding, dilation, groups)
    if transposed:
        extra = per_axis(output_padding, len(kernel))
        made = adjoint(lowering, x, w, geometry.transposed_extents(source, kernel, extra), geometry)
    else:
        made = forward(lowering, x, w, geometry.extents(source, kernel), geometry)
    if bias is None:
        return made
    for _ in kernel:
        bias = bias.with_axis(len(bias.shape))
    return lowering.map(lambda y, b: y + b, made, bias)


@lowers(aten.convolution_backward.default)
def convolution_backward(
    lowering: Lowering,
    grad: Tensor,
    x: Tensor,
    w: Tensor,
    bias_sizes: Sequence[int] | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    wanted: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    kernel, spatial = w.shape[2:], len(w.shape) - 2
    geometry = Geometry.of(spatial, stride, padding, dilation, groups)
    to_input = forward if transposed else adjoint
    source, output = (grad, x) if transposed else (x, grad)
    return (
        to_input(lowering, grad, w, x.shape[2:], geometry) if wanted[0] else None,
        weight_gradient(lowering, source, output, kernel, geometry) if wanted[1] else None,
        exact.sum_over(lowering, grad, [0, *range(2, spatial + 2)]) if wanted[2] else None,
    )
