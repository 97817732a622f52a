"""From nodes to a region: expressions, index maps and reductions as steps over one space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from orebit.executor.fused.region import (
    Affine,
    Apply,
    Constant,
    Integers,
    Load,
    Reduce,
    Region,
    Step,
    Store,
    View,
    Wrap,
)
from orebit.executor.ranges import FULL, Range
from orebit.executor.views import row_major
from orebit.numerics.types import DType
from orebit.program.descriptor import Descriptor, Kind, Operand
from orebit.program.index_map import AxisMap
from orebit.program.opcodes import Op

# A buffer's first element to be read lies at most so many bytes into it; further ones are counted by the kernel.
MOST_FURTHER = (1 << 29) - 1024


@dataclass
class RegionBuilder:
    """Collects steps; equal ones are made once.

    Args:
        extents, reduced: of the region's space.
        ranges: proven ranges of every node's output.

    Attributes:
        slots: the nodes whose buffers are read or written, in the order of the kernel's arguments.
        made: members by node number, as values.
    """

    extents: Integers
    reduced: tuple[bool, ...]
    ranges: Sequence[Range]
    steps: list[Step] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    made: dict[int, int] = field(default_factory=dict)
    _known: dict[Step, int] = field(default_factory=dict)

    def region(self) -> Region:
        # A region of one point has an axis to stand on.
        if not self.extents:
            return Region((1,), (False,), tuple(_on_one_axis(s) for s in self.steps), len(self.slots))
        return Region(self.extents, self.reduced, tuple(self.steps), len(self.slots))

    def shifted(self) -> Region:
        """The region with loads counted from `further`: kernels that differ only in where they begin to read, as those
        of a recurrence's steps, are equal."""
        region, further = self.region(), self.further
        steps = tuple(
            replace(step, base=step.base - further[step.slot] // step.dtype.size) if isinstance(step, Load) else step
            for step in region.steps
        )
        return replace(region, steps=steps)

    @property
    def further(self) -> list[int]:
        """Bytes from the beginning of each slot's buffer to the first element that loads count from."""
        first: list[int | None] = [None] * len(self.slots)
        for step in self.steps:
            if isinstance(step, Load):
                own, known = step.base * step.dtype.size, first[step.slot]
                first[step.slot] = own if known is None else min(known, own)
        for step in self.steps:
            if isinstance(step, View | Store):  # these count from the beginning
                first[step.slot] = 0
        return [min(bytes_ or 0, MOST_FURTHER) for bytes_ in first]

    def add(self, number: int, descriptor: Descriptor, nodes: Sequence[int], axes: Sequence[Integers]) -> None:
        """Makes a node a member.

        Args:
            nodes: those that it reads; members are taken as they are, which the caller knows to be right.
            axes: for each axis of its space, the axes of the region that make it up, in row-major order.
        """
        space = Spread(descriptor.space, axes, self.extents)
        if descriptor.kind is Kind.MAP:
            self.made[number] = self._map(descriptor, nodes, space)
        elif descriptor.kind is Kind.GATHER:
            index, source = descriptor.operands
            first = self._read(index, nodes[0], space, self.made)
            self.made[number] = self._view(source, nodes[1], space, (first,))
        else:
            self.made[number] = self._reduction(descriptor, nodes, space)

    def read(self, descriptor: Descriptor, position: int, axes: Sequence[Integers]) -> int:
        """One operand of a node whose own kernel is not a region; its slot is its position."""
        return self._read(descriptor.operands[position], position, Spread(descriptor.space, axes, self.extents), {})

    def store(self, number: int, descriptor: Descriptor, axes: Sequence[Integers], canonical: bool) -> None:
        """Writes a member to its buffer; `axes` are those of its output."""
        strides = Spread(descriptor.shape, axes, self.extents).over(row_major(descriptor.shape))
        value = self.made[number]
        self._put(Store(self._slot(number), descriptor.dtype, 0, strides, canonical, (value,)))

    def _put(self, step: Step) -> int:
        if step not in self._known:
            self._known[step] = len(self.steps)
            self.steps.append(step)
        return self._known[step]

    def _slot(self, node: int) -> int:
        if node not in self.slots:
            self.slots.append(node)
        return self.slots.index(node)

    def _read(self, operand: Operand, node: int, space: Spread, made: Mapping[int, int]) -> int:
        if node in made:
            return made[node]
        if not operand.map.in_range(space.shape, operand.shape):
            return self._view(operand, node, space, ())
        base, strides = flat_read(operand, len(space.shape))
        return self._put(
            Load(self._slot(node), operand.dtype, base, space.over(strides), self._bounds(node, operand.dtype))
        )

    def _view(self, operand: Operand, node: int, space: Spread, first: Integers) -> int:
        maps = tuple(AxisMap(a.offset, space.over(a.coefficients), a.divisor) for a in operand.map.axes)
        bounds = self._bounds(node, operand.dtype)
        return self._put(View(self._slot(node), operand.dtype, operand.shape, maps, operand.fill, bounds, first))

    def _bounds(self, node: int, dtype: DType) -> Range:
        return FULL if dtype.is_float else self.ranges[node]

    def _map(self, descriptor: Descriptor, nodes: Sequence[int], space: Spread) -> int:
        assert descriptor.expression is not None
        values = [
            self._put(Constant(operand.dtype.scalar, operand.fill))
            if _misses(operand, space.shape)
            else self._read(operand, node, space, self.made)
            for operand, node in zip(descriptor.operands, nodes, strict=True)
        ]
        for instruction in descriptor.expression.instructions:
            args = tuple(values[arg] for arg in instruction.args)
            match instruction.op:
                case Op.CONST_F32:
                    step: Step = Constant(DType.F32, instruction.immediate)
                case Op.CONST_I64:
                    step = Constant(DType.I64, instruction.immediate)
                case Op.INDEX:
                    step = Affine(0, space.over([int(k == instruction.immediate) for k in range(len(space.shape))]))
                case Op.FLAT:
                    step = Affine(0, space.over(row_major(space.shape)))
                case op:
                    step = Apply(op, args)
            values.append(self._put(step))
        result = values[-1]
        if descriptor.dtype.size < 8 and not descriptor.dtype.is_float:
            result = self._put(Wrap(descriptor.dtype, (result,)))
        return result

    def _reduction(self, descriptor: Descriptor, nodes: Sequence[int], space: Spread) -> int:
        terms = [
            self._read(operand, node, space, self.made)
            for operand, node in zip(descriptor.operands, nodes, strict=True)
        ]
        term = self._put(Apply(Op.IMUL, tuple(terms))) if descriptor.kind is Kind.DOT else terms[0]
        return self._put(Reduce(descriptor.kind is Kind.MAX, (term,)))


@dataclass(frozen=True)
class Spread:
    """A node's space laid over the region's axes."""

    shape: Integers
    axes: Sequence[Integers]
    extents: Integers

    def over(self, coefficients: Sequence[int]) -> Integers:
        """Coefficients over the node's axes as coefficients over the region's."""
        spread = [0] * len(self.extents)
        for coefficient, axes, extent in zip(coefficients, self.axes, self.shape, strict=True):
            if extent > 1:
                for k in reversed(axes):
                    spread[k] += coefficient
                    coefficient *= self.extents[k]
        return tuple(spread)


def flat_read(operand: Operand, rank: int) -> tuple[int, Integers]:
    """Base and strides, in elements, of a read that is always in range."""
    steps = row_major(operand.shape)
    axes = operand.map.axes
    base = sum(axis.offset * step for axis, step in zip(axes, steps, strict=True))
    strides = tuple(
        sum(axis.coefficients[k] * step for axis, step in zip(axes, steps, strict=True)) for k in range(rank)
    )
    return base, strides


def _misses(operand: Operand, space: Integers) -> bool:
    """Whether every point reads the fill."""
    return any(
        high < 0 or low >= extent * axis.divisor
        for axis, extent in zip(operand.map.axes, operand.shape, strict=True)
        for low, high in (axis.bounds(space),)
    )


def _on_one_axis(step: Step) -> Step:
    match step:
        case Load():
            return Load(step.slot, step.dtype, step.base, (0,), step.bounds)
        case View():
            axes = tuple(AxisMap(axis.offset, (0,), axis.divisor) for axis in step.axes)
            return View(step.slot, step.dtype, step.shape, axes, step.fill, step.bounds, step.args)
        case Affine():
            return Affine(step.base, (0,))
        case Store():
            return Store(step.slot, step.dtype, step.base, (0,), step.canonical, step.args)
        case _:
            return step
