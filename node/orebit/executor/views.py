"""Reading an operand through its index map: strides where the map allows, computed positions elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import torch

from orebit.executor.storage import fill_scalar
from orebit.program.descriptor import Operand
from orebit.program.index_map import AxisMap, IndexMap

Reader = Callable[[torch.Tensor], torch.Tensor]

# Positions of small views are kept from step to step; those of larger ones are computed again.
_KEPT_POSITIONS = 1 << 18
_PADDING_LIMIT = 4
# A position and whether it is valid.
_POSITION_BYTES = 9


def plan_reader(operand: Operand, space: Sequence[int]) -> Reader:
    """A function from the producer's tensor to what the operand reads over the space.

    Its result has the space's rank; an axis that the map does not depend on has extent 1. It may be a strided view.
    """
    axes = operand.map.axes
    reduced = _reduced(axes, space)
    if operand.map.in_range(space, operand.shape):
        return _strided(axes, operand.shape, reduced)
    bounds = [axis.bounds(space) for axis in axes]
    padded = [high - low + 1 for low, high in bounds]
    if _is_padding(operand, padded, reduced):
        return _padded(operand, bounds, padded, reduced)
    return _indexed(operand, reduced)


def kept_bytes(operand: Operand, space: Sequence[int]) -> int:
    """Bytes that `plan_reader`'s function keeps from step to step, at most."""
    axes = operand.map.axes
    reduced = _reduced(axes, space)
    if len(axes) != len(operand.shape) or operand.map.in_range(space, operand.shape):
        return 0
    padded = [high - low + 1 for low, high in (axis.bounds(space) for axis in axes)]
    read = prod(reduced)
    return 0 if read > _KEPT_POSITIONS or _is_padding(operand, padded, reduced) else read * _POSITION_BYTES


def _reduced(axes: Sequence[AxisMap], space: Sequence[int]) -> list[int]:
    return [extent if _depends(axes, k) else 1 for k, extent in enumerate(space)]


def _is_padding(operand: Operand, padded: Sequence[int], reduced: Sequence[int]) -> bool:
    """Whether the map reads its source with a border that is worth making."""
    if not operand.shape or any(axis.divisor != 1 for axis in operand.map.axes):
        return False
    return prod(padded) <= _PADDING_LIMIT * (operand.size + prod(reduced))


def _depends(axes: Sequence[AxisMap], k: int) -> bool:
    return any(axis.coefficients[k] for axis in axes)


def row_major(shape: Sequence[int]) -> list[int]:
    """Strides, in elements, of a dense tensor."""
    strides = [1] * len(shape)
    for j in range(len(shape) - 2, -1, -1):
        strides[j] = strides[j + 1] * shape[j + 1]
    return strides


def _strided(axes: Sequence[AxisMap], shape: Sequence[int], reduced: Sequence[int]) -> Reader:
    source = row_major(shape)
    offset = sum(axis.offset * stride for axis, stride in zip(axes, source, strict=True))
    strides = [
        sum(axis.coefficients[k] * stride for axis, stride in zip(axes, source, strict=True)) if extent > 1 else 0
        for k, extent in enumerate(reduced)
    ]
    flipped = [k for k, stride in enumerate(strides) if stride < 0]
    offset += sum(strides[k] * (reduced[k] - 1) for k in flipped)
    size, steps = tuple(reduced), tuple(abs(stride) for stride in strides)

    def read(tensor: torch.Tensor) -> torch.Tensor:
        view = tensor.as_strided(size, steps, tensor.storage_offset() + offset)
        return view.flip(flipped) if flipped else view

    return read


def _padded(
    operand: Operand, bounds: Sequence[tuple[int, int]], padded: Sequence[int], reduced: Sequence[int]
) -> Reader:
    """The part of the source within the map's bounds, surrounded by the fill, then read by strides."""
    shape = operand.shape
    fill = fill_scalar(operand.fill, operand.dtype)
    moved = [
        AxisMap(axis.offset - low, axis.coefficients) for axis, (low, _) in zip(operand.map.axes, bounds, strict=True)
    ]
    strided = _strided(moved, padded, reduced)
    inner = []
    for (low, high), extent in zip(bounds, shape, strict=True):
        first, last = max(low, 0), min(high, extent - 1)
        inner.append((first, first - low, last - first + 1))
    empty = any(count <= 0 for _, _, count in inner)

    def read(tensor: torch.Tensor) -> torch.Tensor:
        target = fill.repeat(tuple(padded))
        if not empty:
            source, hole = tensor.reshape(shape), target
            for axis, (start, at, count) in enumerate(inner):
                source = source.narrow(axis, start, count)
                hole = hole.narrow(axis, at, count)
            hole.copy_(source)
        return strided(target)

    return read


def positions(index_map: IndexMap, shape: Sequence[int], space: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Row-major positions in a source of `shape`, and where they are valid; both broadcast to the space.

    Positions that are not valid are 0.
    """
    position = torch.zeros((1,) * len(space), dtype=torch.int64)
    valid = torch.ones((1,) * len(space), dtype=torch.bool)
    for axis, extent, stride in zip(index_map.axes, shape, row_major(shape), strict=True):
        n = _affine(axis, space)
        if axis.divisor > 1:
            valid = valid & (torch.remainder(n, axis.divisor) == 0)
            n = torch.div(n, axis.divisor, rounding_mode="floor")
        within = (n >= 0) & (n < extent)
        valid = valid & within
        position = position + torch.where(within, n, 0) * stride
    return torch.where(valid, position, 0), valid


def _affine(axis: AxisMap, space: Sequence[int]) -> torch.Tensor:
    n = torch.full((1,) * len(space), axis.offset, dtype=torch.int64)
    for k, extent in enumerate(space):
        if axis.coefficients[k] and extent > 1:
            shape = [extent if j == k else 1 for j in range(len(space))]
            n = n + (torch.arange(extent) * axis.coefficients[k]).view(shape)
    return n


def _indexed(operand: Operand, reduced: Sequence[int]) -> Reader:
    fill = fill_scalar(operand.fill, operand.dtype)
    size = tuple(reduced)

    def locate() -> tuple[torch.Tensor, torch.Tensor]:
        return positions(operand.map, operand.shape, size)

    kept = locate() if prod(size) <= _KEPT_POSITIONS else None

    def read(tensor: torch.Tensor) -> torch.Tensor:
        position, valid = kept or locate()
        found = torch.take(tensor, position.expand(size))
        return torch.where(valid, found, fill)

    return read
