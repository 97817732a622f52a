"""Splitting a step by data: every rank computes its part of the batch, and what sums over the batch is completed.

As in GSPMD (Xu et al., "GSPMD: General and Scalable Parallelization for ML Computation Graphs", arXiv:2105.04663), the
cut axis is followed from the nodes that make it to their readers. A reader that only needs its own part of what it
reads has a part too; if its cut axis is one that it reduces, a partial result, completed between the ranks. A reader
that needs more gets the whole. Sums are integer sums here, so the order in which ranks add them is free.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from orebit.executor.memory import independent_of_state
from orebit.executor.ranks.cost import BYTE, EXCHANGE, output_bytes, work
from orebit.executor.ranks.cuts import Cuts, period_of
from orebit.executor.ranks.localise import can_cut, is_partial, own_axis
from orebit.executor.ranks.placement import Placement
from orebit.program.descriptor import Descriptor, Kind
from orebit.program.graph import Program

# Extents that are tried as the batch's.
_TRIED = 8


def place_by_data(program: Program, ranks: int) -> Placement:
    """The cheapest of the placements that cut one extent of the program's axes; without a cut, every rank computes
    everything."""
    everything = Placement(program, ranks, None, [None] * len(program.nodes), [None] * len(program.nodes))
    if ranks == 1:
        return everything
    fixed = everything.fixed
    best, least = everything, sum(work(program.descriptor(number)) for number in program.operations)
    for extent in _extents(program, fixed, ranks):
        made = _Propagation(program, Cuts(extent, ranks), fixed)
        if made.cost < least:
            best, least = made.placement(), made.cost
    return best


def place_by_extent(program: Program, ranks: int, extent: int) -> Placement:
    """The placement that cuts axes of this extent, at least `ranks`, where they begin, and follows them."""
    return _Propagation(program, Cuts(extent, ranks), independent_of_state(program)).placement()


def _extents(program: Program, fixed: Sequence[bool], ranks: int) -> list[int]:
    """Extents of axes that begin in the program, those with the most work behind them first."""
    found: dict[int, float] = {}
    for number in program.operations:
        if begins(program, number, fixed):
            descriptor = program.descriptor(number)
            found[descriptor.shape[0]] = found.get(descriptor.shape[0], 0.0) + work(descriptor)
    fitting = [extent for extent in found if extent >= ranks]
    return sorted(fitting, key=lambda extent: (found[extent], extent), reverse=True)[:_TRIED]


def begins(program: Program, number: int, fixed: Sequence[bool]) -> bool:
    """Whether a node's first axis comes from no state, but from constants or from the node itself: a batch's numbers,
    its noise, all of a data set."""
    descriptor = program.descriptor(number)
    if fixed[number] or not descriptor.shape or descriptor.kind.scatters:
        return False
    return not any(
        axis.coefficients[0]
        for producer, operand in zip(program.nodes[number].operands, descriptor.operands, strict=True)
        if not fixed[producer]
        for axis in operand.map.axes
    )


@dataclass
class _Propagation:
    """One pass over the nodes for one extent of the cut axes."""

    program: Program
    cuts: Cuts
    fixed: Sequence[bool]
    cost: float = 0.0
    _axes: list[int | None] = field(default_factory=list)
    _periods: list[int | None] = field(default_factory=list)
    _depths: list[int] = field(default_factory=list)
    _wholes: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        for number in range(len(self.program.nodes)):
            descriptor = self.program.descriptor(number)
            axis = None if descriptor.kind is Kind.INPUT or self.fixed[number] else self._choose(number, descriptor)
            self._axes.append(axis)
            cut = axis is not None and axis < len(descriptor.shape)
            self._periods.append(period_of(descriptor.shape, axis) if axis is not None and cut else None)
            self._count(number, descriptor, axis)
        for number in self.program.new_state:
            self._exchange(number)
        self.cost += EXCHANGE * max(self._depths)

    def placement(self) -> Placement:
        return Placement(self.program, self.cuts.ranks, self.cuts, self._axes, [None] * len(self._axes))

    def _choose(self, number: int, descriptor: Descriptor) -> int | None:
        """The axis that lets most of what is held in parts be read in parts."""
        weights: dict[int, int] = {}
        split = False
        for position, producer in enumerate(self.program.nodes[number].operands):
            period = self._periods[producer]
            if period is None:
                continue
            split = True
            for axis in range(len(descriptor.space)):
                if can_cut(descriptor, axis, self.cuts) and self._own(descriptor, position, period, axis):
                    weights[axis] = weights.get(axis, 0) + output_bytes(self.program.descriptor(producer))
        if weights:
            return max(weights, key=lambda axis: (weights[axis], -axis))
        starts = not split and begins(self.program, number, self.fixed)
        return 0 if starts and descriptor.shape[0] == self.cuts.extent else None

    def _own(self, descriptor: Descriptor, position: int, period: int, axis: int) -> bool:
        return own_axis(descriptor, position, period, axis, self.cuts) is not None

    def _count(self, number: int, descriptor: Descriptor, axis: int | None) -> None:
        """Adds a node's work to the cost, and what is exchanged for it; notes how many exchanges precede it."""
        depth = 0
        for position, producer in enumerate(self.program.nodes[number].operands):
            period = self._periods[producer]
            own = period is not None and axis is not None and self._own(descriptor, position, period, axis)
            exchanged = not own and self._exchange(producer)
            depth = max(depth, self._depths[producer] + exchanged)
        self._depths.append(depth)
        if not self.fixed[number]:
            self.cost += work(descriptor) / (1 if axis is None else self.cuts.ranks)

    def _exchange(self, number: int) -> bool:
        """Whether the whole of a node takes an exchange, which is counted once."""
        partial = is_partial(self.program.descriptor(number), self._axes[number])
        if not partial and self._periods[number] is None:
            return False
        if number not in self._wholes:
            self._wholes.add(number)
            self.cost += BYTE * output_bytes(self.program.descriptor(number)) * (2 if partial else 1)
        return True
