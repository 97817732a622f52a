"""A region: what one generated kernel computes, as a list of steps over one iteration space.

The space has axes with extents, some of them reduced. A step is a value (numbered by its place) or a store. Values that
depend on no reduced axis stand for one output element each; the others for one point of the space. Nodes, descriptors
and index maps have become steps here: loads with strides over the space, single operations, reductions, stores.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

from orebit.executor.ranges import Range
from orebit.numerics.types import DType
from orebit.program.index_map import AxisMap
from orebit.program.opcodes import Op

Integers = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Load:
    """An element of a buffer at base + sum(strides * index), always within it; integers lie in `bounds`."""

    slot: int
    dtype: DType
    base: int
    strides: Integers
    bounds: Range
    args: Integers = ()


@dataclass(frozen=True, slots=True)
class View:
    """An element through an index map over the space that may miss the buffer: then the fill.

    With an argument, that is the coordinate on axis 0, and `axes` are those of the other axes (a gather).
    """

    slot: int
    dtype: DType
    shape: Integers
    axes: tuple[AxisMap, ...]
    fill: int
    bounds: Range
    args: Integers = ()


@dataclass(frozen=True, slots=True)
class Affine:
    """The integer base + sum(strides * index)."""

    base: int
    strides: Integers
    args: Integers = ()


@dataclass(frozen=True, slots=True)
class Constant:
    """An f32 by its bits or an i64 by its value."""

    dtype: DType
    value: int
    args: Integers = ()


@dataclass(frozen=True, slots=True)
class Apply:
    """One operation of an expression."""

    op: Op
    args: Integers


@dataclass(frozen=True, slots=True)
class Wrap:
    """An i64 as a narrower type holds it."""

    dtype: DType
    args: Integers


@dataclass(frozen=True, slots=True)
class Reduce:
    """The sum (modulo 2^64) or the maximum over the reduced axes."""

    maximum: bool
    args: Integers


@dataclass(frozen=True, slots=True)
class Store:
    """Writes a value at base + sum(strides * index); f32 with NaN made canonical where `canonical`."""

    slot: int
    dtype: DType
    base: int
    strides: Integers
    canonical: bool
    args: Integers


Step = Load | View | Affine | Constant | Apply | Wrap | Reduce | Store


@dataclass(frozen=True)
class Region:
    """Extents (each above 1 but for a space of one point), which axes are reduced, and the steps in order."""

    extents: Integers
    reduced: tuple[bool, ...]
    steps: tuple[Step, ...]
    slots: int

    @cached_property
    def is_float(self) -> list[bool]:
        """Whether each step's value is an f32."""
        floats: list[bool] = []
        for step in self.steps:
            floats.append(_is_float(step, floats))
        return floats

    @cached_property
    def axes(self) -> list[frozenset[int]]:
        """The axes that each step depends on."""
        found: list[frozenset[int]] = []
        for step in self.steps:
            own = frozenset(k for k in range(len(self.extents)) if _moves(step, k))
            for arg in step.args:
                own |= found[arg]
            if isinstance(step, Reduce):
                own = frozenset(k for k in own if not self.reduced[k])
            found.append(own)
        return found

    @cached_property
    def inner(self) -> list[bool]:
        """Whether each step depends on a reduced axis."""
        return [any(self.reduced[k] for k in axes) for axes in self.axes]

    @cached_property
    def stages(self) -> list[int]:
        """How many passes over the reduced axes must be complete before each step can be computed."""
        stages: list[int] = []
        for step in self.steps:
            stage = max((stages[arg] for arg in step.args), default=0)
            stages.append(stage + 1 if isinstance(step, Reduce) else stage)
        return stages

    @property
    def reduced_size(self) -> int:
        return prod(extent for extent, reduced in zip(self.extents, self.reduced, strict=True) if reduced)

    def collapsed(self) -> Region:
        """The same region over the fewest axes: neighbours that every access walks as one are merged."""
        region = self._without(self._idle())
        k = len(region.extents) - 2
        while k >= 0:
            if region._merges(k):
                region = region._merged(k)
            k -= 1
        return region

    def _idle(self) -> set[int]:
        """Axes of extent 1, but for one to stand on and one to reduce over, if need be."""
        idle = {k for k, extent in enumerate(self.extents) if extent == 1}
        walked = {k for k, reduced in enumerate(self.reduced) if reduced}
        if walked and walked <= idle:
            idle.remove(max(walked))
        if len(idle) == len(self.extents):
            idle.pop()
        return idle

    def _merges(self, k: int) -> bool:
        if self.reduced[k] != self.reduced[k + 1]:
            return False
        outer, extent = k, self.extents[k + 1]
        return all(line[outer] == line[outer + 1] * extent for step in self.steps for line in _lines(step))

    def _merged(self, k: int) -> Region:
        extents = (*self.extents[:k], self.extents[k] * self.extents[k + 1], *self.extents[k + 2 :])
        reduced = self.reduced[:k] + self.reduced[k + 1 :]
        return Region(extents, reduced, tuple(_drop(step, {k}) for step in self.steps), self.slots)

    def _without(self, axes: set[int]) -> Region:
        keep = [k for k in range(len(self.extents)) if k not in axes]
        extents = tuple(self.extents[k] for k in keep)
        reduced = tuple(self.reduced[k] for k in keep)
        return Region(extents, reduced, tuple(_drop(step, axes) for step in self.steps), self.slots)


def _is_float(step: Step, floats: list[bool]) -> bool:
    match step:
        case Load(dtype=dtype) | View(dtype=dtype) | Constant(dtype=dtype):
            return dtype.is_float
        case Apply(op=Op.SELECT, args=args):
            return floats[args[1]]
        case Apply(op=op):
            return op in _FLOAT_RESULTS
        case Reduce(args=(arg,)) | Store(args=(arg,)):
            return floats[arg]
        case _:
            return False


_FLOAT_RESULTS = frozenset(
    (Op.FADD, Op.FSUB, Op.FMUL, Op.FDIV, Op.FMIN, Op.FMAX, Op.FSQRT, Op.FNEG, Op.FABS, Op.FROUND, Op.I_TO_F, Op.BITS_F)
)


def _lines(step: Step) -> list[Integers]:
    """The rows of coefficients by which a step depends on the space."""
    match step:
        case Load() | Affine() | Store():
            return [step.strides]
        case View():
            return [axis.coefficients for axis in step.axes]
        case _:
            return []


def _moves(step: Step, axis: int) -> bool:
    return any(line[axis] for line in _lines(step))


def _drop(step: Step, axes: set[int]) -> Step:
    match step:
        case Load() | Affine() | Store():
            return replace(step, strides=tuple(s for k, s in enumerate(step.strides) if k not in axes))
        case View():
            kept = tuple(
                AxisMap(axis.offset, tuple(c for k, c in enumerate(axis.coefficients) if k not in axes), axis.divisor)
                for axis in step.axes
            )
            return replace(step, axes=kept)
        case _:
            return step
