"""Padding by a constant, by reflection and by replication, with gradients. Circular padding is traced as slices joined.

Padding moves bits: zeros are a view that reads its fill, a border is chosen on the output's own index.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from orebit.errors import TraceError
from orebit.program.expression import Scalar
from orebit.program.lowering.context import Lowering
from orebit.program.lowering.registry import lowers
from orebit.program.lowering.tensor import Tensor
from orebit.program.lowering.windows import TAPS, Read, filled, laid_out, map_filled, reread

aten = torch.ops.aten
# axis, positions before, positions after
Pad = tuple[int, int, int]


def _pads(rank: int, padding: Sequence[int]) -> list[Pad]:
    """torch's list, the last axis first, without the axes that stay as they are."""
    pairs = [(rank - 1 - k, padding[2 * k], padding[2 * k + 1]) for k in range(len(padding) // 2)]
    return [pair for pair in pairs if pair[1:] != (0, 0)]


@lowers(aten.constant_pad_nd.default)
def constant_pad(lowering: Lowering, x: Tensor, padding: Sequence[int], value: Any = 0) -> Tensor:
    if isinstance(value, Tensor):
        raise TraceError("padding by a hyper-parameter has no lowering; pad with zeros and use torch.where")
    pads = _pads(len(x.shape), padding)
    if not pads:
        return x
    x = laid_out(lowering, x)
    padded = reread(x, {dim: Read((x.shape[dim] + before + after,), (1,), -before) for dim, before, after in pads})
    if value == 0 or all(before <= 0 and after <= 0 for _, before, after in pads):
        return padded
    fill = float(value) if x.dtype.is_float else int(value)
    return map_filled(lowering, lambda element: element, [filled(padded, fill)], padded.shape, x.dtype)


def _bordered(lowering: Lowering, x: Tensor, pad: Pad, left: Read, right: Read) -> Tensor:
    """`x` with `left` before and `right` after it on one axis; both are read by output position."""
    dim, before, after = pad
    x = laid_out(lowering, x)
    edge = before + x.shape[dim]
    extent = edge + after
    reads = [Read((extent,), (1,), -before), left, right]

    def choose(first: Scalar, last: Scalar, middle: Scalar) -> Scalar:
        place = middle.builder.index(dim)
        return place.lt(before).select(first, place.lt(edge).select(middle, last))

    middle, first, last = (reread(x, {dim: read}) for read in reads)
    return lowering.map(choose, first, last, middle, dtype=x.dtype)


@lowers(aten.reflection_pad1d.default, aten.reflection_pad2d.default, aten.reflection_pad3d.default)
def reflection_pad(lowering: Lowering, x: Tensor, padding: Sequence[int]) -> Tensor:
    for dim, before, after in _pads(len(x.shape), padding):
        extent = before + x.shape[dim] + after
        mirror = 2 * (x.shape[dim] - 1) + before
        left, right = Read((extent,), (-1,), before), Read((extent,), (-1,), mirror)
        x = _bordered(lowering, x, (dim, before, after), left, right)
    return x


@lowers(
    aten.reflection_pad1d_backward.default,
    aten.reflection_pad2d_backward.default,
    aten.reflection_pad3d_backward.default,
)
def reflection_pad_backward(lowering: Lowering, grad: Tensor, x: Tensor, padding: Sequence[int]) -> Tensor:
    for dim, before, _ in _pads(len(x.shape), padding):
        grad, extent = laid_out(lowering, grad), x.shape[dim]
        # Both mirrors read their own middle at the source's ends, which stands in the first term already.
        reads = [(1, before), (-1, before), (-1, 2 * (extent - 1) + before)]
        own, left, right = (reread(grad, {dim: Read((extent,), (step,), offset)}) for step, offset in reads)

        grad = lowering.map(
            lambda g, first, last, dim=dim, n=extent: (
                g + g.builder.index(dim).ge(1).select(first, 0.0) + g.builder.index(dim).lt(n - 1).select(last, 0.0)
            ),
            own,
            left,
            right,
        )
    return grad


@lowers(aten.replication_pad1d.default, aten.replication_pad2d.default, aten.replication_pad3d.default)
def replication_pad(lowering: Lowering, x: Tensor, padding: Sequence[int]) -> Tensor:
    for dim, before, after in _pads(len(x.shape), padding):
        extent = before + x.shape[dim] + after
        left, right = Read((extent,), (0,), 0), Read((extent,), (0,), x.shape[dim] - 1)
        x = _bordered(lowering, x, (dim, before, after), left, right)
    return x


@lowers(
    aten.replication_pad1d_backward.default,
    aten.replication_pad2d_backward.default,
    aten.replication_pad3d_backward.default,
)
def replication_pad_backward(lowering: Lowering, grad: Tensor, x: Tensor, padding: Sequence[int]) -> Tensor:
    for dim, before, after in _pads(len(x.shape), padding):
        grad, extent = laid_out(lowering, grad), x.shape[dim]
        end = before + extent
        own = reread(grad, {dim: Read((extent,), (1,), before)})
        for place, outside in ((0, range(before)), (extent - 1, range(end, end + after))):
            if outside:
                border = _sum_of(lowering, grad, dim, outside)
                own = lowering.map(
                    lambda b, g, dim=dim, place=place: g + g.builder.index(dim).eq(place).select(b, 0.0), border, own
                )
        grad = own
    return grad


def _sum_of(lowering: Lowering, x: Tensor, dim: int, positions: Sequence[int]) -> Tensor:
    """The sum of some positions of axis `dim`, in order; the axis stays with extent 1."""
    made: Tensor | None = None
    for start in range(0, len(positions), TAPS):
        taps = [reread(x, {dim: Read((1,), (0,), place)}) for place in positions[start : start + TAPS]]
        operands = taps if made is None else [made, *taps]
        made = lowering.map(lambda *values: sum(values[1:], start=values[0]), *operands)
    assert made is not None
    return made
