"""Views by strides, which autograd makes of slices that were assigned to, written out as slices again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch

aten = torch.ops.aten


@dataclass(frozen=True)
class _Slices:
    """One slice an axis of a contiguous tensor, and which axes vary, in the view's order."""

    ranges: tuple[range, ...]
    order: tuple[int, ...]

    def partial(self, shape: Sequence[int]) -> list[int]:
        """The axes of which a slice leaves something out."""
        return [axis for axis, places in enumerate(self.ranges) if places != range(shape[axis])]


def _slices(
    tensor: torch.Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None
) -> _Slices | None:
    """The slices that a view by strides is, or None where it is none."""
    if not tensor.is_contiguous() or tensor.storage_offset():
        return None
    rest, ranges = storage_offset or 0, []
    for step in tensor.stride():
        ranges.append(range(rest // step, rest // step + 1))
        rest %= step
    order: list[int] = []
    for extent, step in zip(size, stride, strict=True):
        if extent == 1 or step == 0:
            continue
        axes = (k for k, base in enumerate(tensor.stride()) if k not in order and step % base == 0)
        axis = next(axes, None)
        if axis is None:
            return None
        jump, start = step // tensor.stride()[axis], ranges[axis].start
        ranges[axis] = range(start, start + (extent - 1) * jump + 1, jump)
        if ranges[axis].stop > tensor.size(axis):
            return None
        order.append(axis)
    return _Slices(tuple(ranges), tuple(order))


def _permuted(
    tensor: torch.Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None
) -> list[int] | None:
    """For a view of all elements, each once: the order of its axes in which they lie in their own order."""
    if storage_offset or not tensor.is_contiguous() or prod(size) != tensor.numel():
        return None
    order = sorted(range(len(size)), key=lambda axis: (size[axis] == 1, -stride[axis]))
    expected = tensor.numel()
    for axis in order:
        if size[axis] == 1:
            break
        expected //= size[axis]
        if stride[axis] != expected:
            return None
    return order


def as_strided(
    tensor: torch.Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None
) -> Any:
    """A view by strides as slices, a permutation and an expansion; what none of these is stays as it is."""
    order = _permuted(tensor, size, stride, storage_offset)
    if order is not None:
        laid = aten.view_copy.default(tensor, [size[axis] for axis in order])
        return aten.permute_copy.default(laid, [order.index(axis) for axis in range(len(size))])
    slices = _slices(tensor, size, stride, storage_offset)
    if slices is None:
        return NotImplemented
    cut = tensor
    for axis in slices.partial(tensor.shape):
        places = slices.ranges[axis]
        cut = aten.slice_copy.Tensor(cut, axis, places.start, places.stop, places.step)
    still = [axis for axis in range(tensor.dim()) if axis not in slices.order]
    cut = aten.permute_copy.default(cut, [*slices.order, *still])
    kept = [extent if step else 1 for extent, step in zip(size, stride, strict=True)]
    return aten.expand_copy.default(aten.view_copy.default(cut, kept), size)


def as_strided_scatter(
    tensor: torch.Tensor,
    source: torch.Tensor,
    size: Sequence[int],
    stride: Sequence[int],
    storage_offset: int | None = None,
) -> Any:
    """`tensor` with `source` in the place of such a view."""
    order = _permuted(tensor, size, stride, storage_offset)
    if order is not None:
        return aten.view_copy.default(aten.permute_copy.default(source, order), tensor.shape)
    slices = _slices(tensor, size, stride, storage_offset)
    if slices is None or any(extent > 1 and step == 0 for extent, step in zip(size, stride, strict=True)):
        return NotImplemented
    still = [axis for axis in range(tensor.dim()) if axis not in slices.order]
    order = [*slices.order, *still]
    part = aten.view_copy.default(source, [len(slices.ranges[axis]) for axis in order])
    part = aten.permute_copy.default(part, [order.index(axis) for axis in range(tensor.dim())])
    return _put(tensor, part, slices.ranges, slices.partial(tensor.shape))


def _put(whole: torch.Tensor, part: torch.Tensor, ranges: Sequence[range], axes: Sequence[int]) -> torch.Tensor:
    if not axes:
        return part
    axis, places = axes[0], ranges[axes[0]]
    cut = aten.slice_copy.Tensor(whole, axis, places.start, places.stop, places.step)
    inner = _put(cut, part, ranges, axes[1:])
    made: torch.Tensor = aten.slice_scatter.default(whole, inner, axis, places.start, places.stop, places.step)
    return made
