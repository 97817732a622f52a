"""Tensors while a graph is lowered: a node's value seen through a view that costs no node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod

from orebit.errors import ProgramError
from orebit.numerics.types import DType
from orebit.program import index_map as maps
from orebit.program.builder import Value, View
from orebit.program.index_map import AxisMap, IndexMap


@dataclass(frozen=True, eq=False)
class Tensor:
    """A view of `value`: reshaped to `source`, then read at `axes`, one affine map of this shape a source axis."""

    value: Value
    source: tuple[int, ...]
    axes: tuple[AxisMap, ...]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, value: Value, shape: Sequence[int] | None = None) -> Tensor:
        """The whole value, as `shape` (same number of elements) if given."""
        taken = tuple(value.shape if shape is None else shape)
        if prod(taken) != prod(value.shape):
            raise ProgramError(f"a value of shape {value.shape} cannot be viewed as {taken}")
        return cls(value, taken, _unit_axes(taken), taken)

    @property
    def dtype(self) -> DType:
        return self.value.dtype

    @property
    def is_whole(self) -> bool:
        """Whether this reads its source in row-major order, each element once."""
        return self.shape == self.source and self.axes == _unit_axes(self.shape)

    @property
    def order(self) -> tuple[int, ...] | None:
        """For a mere permutation of the source's axes: the own axis that each source axis is; else None."""
        if len(self.shape) != len(self.source):
            return None
        free = set(range(len(self.shape)))
        order = []
        for extent, axis in zip(self.source, self.axes, strict=True):
            own = _single_axis(axis, extent, self.shape, free)
            if own is None:
                return None
            free.remove(own)
            order.append(own)
        return tuple(order)

    def placed(self, places: Sequence[int | None], rank: int) -> View:
        """An operand in a space of `rank` axes: own axis k is iteration axis places[k], or stays at 0 for None."""
        return self.value.view(IndexMap(tuple(_relocate(axis, places, rank) for axis in self.axes)), self.source)

    def broadcast(self, shape: Sequence[int]) -> View:
        """An operand in a space of `shape`, by numpy's rule."""
        shift = len(shape) - len(self.shape)
        if shift < 0 or any(e not in (1, shape[shift + k]) for k, e in enumerate(self.shape)):
            raise ProgramError(f"shape {self.shape} does not broadcast to {tuple(shape)}")
        places = [None if extent == 1 else shift + k for k, extent in enumerate(self.shape)]
        return self.placed(places, len(shape))

    def permute(self, order: Sequence[int]) -> Tensor:
        """As torch.permute."""
        shape = tuple(self.shape[k] for k in order)
        return self.reread(shape, [list(order).index(k) for k in range(len(order))])

    def expand(self, shape: Sequence[int]) -> Tensor:
        """As torch.expand; -1 keeps an extent."""
        shift = len(shape) - len(self.shape)
        full = tuple(self.shape[k - shift] if extent == -1 else extent for k, extent in enumerate(shape))
        view = self.broadcast(full)
        return Tensor(self.value, self.source, view.map.axes, full)

    def narrow(self, dim: int, start: int, step: int, length: int) -> Tensor:
        """Every `step`-th position of axis `dim` from `start`, `length` of them."""
        axes = []
        for axis in self.axes:
            coefficients = list(axis.coefficients)
            offset = axis.offset + coefficients[dim] * start
            coefficients[dim] = coefficients[dim] * step if length > 1 else 0
            axes.append(AxisMap(offset, tuple(coefficients), axis.divisor))
        return Tensor(self.value, self.source, tuple(axes), _replaced(self.shape, dim, length))

    def without_axis(self, dim: int) -> Tensor:
        """Axis `dim`, of extent 1, removed."""
        places = [None if k == dim else k - (k > dim) for k in range(len(self.shape))]
        return self.reread(self.shape[:dim] + self.shape[dim + 1 :], places)

    def with_axis(self, dim: int) -> Tensor:
        """An axis of extent 1 inserted at `dim`."""
        places = [k + (k >= dim) for k in range(len(self.shape))]
        return self.reread((*self.shape[:dim], 1, *self.shape[dim:]), places)

    def squeezed(self) -> Tensor:
        """Without its axes of extent 1."""
        result = self
        for dim in reversed([k for k, extent in enumerate(self.shape) if extent == 1]):
            result = result.without_axis(dim)
        return result

    def reshaped(self, shape: Sequence[int]) -> Tensor | None:
        """This as `shape` where that needs no copy; else None."""
        if self.is_whole:
            return Tensor.of(self.value, shape)
        wanted = tuple(shape)
        bare = self.squeezed()
        if bare.shape != tuple(extent for extent in wanted if extent != 1):
            return None
        for dim, extent in enumerate(wanted):
            if extent == 1:
                bare = bare.with_axis(dim)
        return bare

    def reread(self, shape: tuple[int, ...], places: Sequence[int | None]) -> Tensor:
        """A tensor of `shape` in which own axis k is axis places[k], or stays at 0 for None; several may share one."""
        axes = tuple(_relocate(axis, places, len(shape)) for axis in self.axes)
        return Tensor(self.value, self.source, axes, shape)


@lru_cache(4096)
def _unit_axes(shape: tuple[int, ...]) -> tuple[AxisMap, ...]:
    # An axis of extent 1 has coefficient 0 everywhere, so that equal views are equal maps.
    return maps.select_axes(len(shape), [None if extent == 1 else k for k, extent in enumerate(shape)]).axes


def _relocate(axis: AxisMap, places: Sequence[int | None], rank: int) -> AxisMap:
    coefficients = [0] * rank
    for coefficient, place in zip(axis.coefficients, places, strict=True):
        if place is not None:
            coefficients[place] += coefficient
    return AxisMap(axis.offset, tuple(coefficients), axis.divisor)


def _single_axis(axis: AxisMap, extent: int, shape: tuple[int, ...], free: set[int]) -> int | None:
    if axis.offset or axis.divisor != 1:
        return None
    used = [k for k, coefficient in enumerate(axis.coefficients) if coefficient]
    if extent == 1 and not used:
        return next((k for k in sorted(free) if shape[k] == 1), None)
    if len(used) == 1 and axis.coefficients[used[0]] == 1 and used[0] in free and shape[used[0]] == extent:
        return used[0]
    return None


def _replaced(shape: tuple[int, ...], dim: int, extent: int) -> tuple[int, ...]:
    return (*shape[:dim], extent, *shape[dim + 1 :])
