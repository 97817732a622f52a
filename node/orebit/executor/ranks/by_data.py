"""Splitting a step by data: every rank computes its part of the batch, and what sums over the batch is completed.

As in GSPMD (Xu et al., "GSPMD: General and Scalable Parallelization for ML Computation Graphs", arXiv:2105.04663), the
cut axis is followed from the nodes that make it to their readers. A reader that only needs its own part of what it
reads has a part too; if its cut axis is one that it reduces, a partial result, completed between the ranks. A reader
that needs more gets the whole. Sums are integer sums here, so the order in which ranks add them is free.

A product over the batch (a weight's gradient) may be larger than what it is made of. Then each rank gets the whole of
the latter and computes some rows of the product and of what is made of them, down to the new weights, which are put
together; state that only such rows read (momenta) is kept in parts. As in Xu et al., "Automatic Cross-Replica Sharding
of Weight Update in Data-Parallel Training", arXiv:2004.13336.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from orebit.executor.memory import independent_of_state
from orebit.executor.ranks.cost import BYTE, EXCHANGE, output_bytes, work
from orebit.executor.ranks.cuts import Cuts, period_of
from orebit.executor.ranks.localise import can_cut, is_partial, own_axis
from orebit.executor.ranks.placement import Placement, is_quantised
from orebit.program.descriptor import Descriptor, Kind, Source
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
    _readers: dict[int, list[tuple[int, int]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for number, node in enumerate(self.program.nodes):
            for position, operand in enumerate(node.operands):
                self._readers.setdefault(operand, []).append((number, position))
        for number in range(len(self.program.nodes)):
            descriptor = self.program.descriptor(number)
            axis = None if descriptor.kind is Kind.INPUT or self.fixed[number] else self._choose(number, descriptor)
            self._axes.append(axis)
            cut = axis is not None and axis < len(descriptor.shape)
            self._periods.append(period_of(descriptor.shape, axis) if axis is not None and cut else None)
            self._count(number, descriptor, axis)
        self._cut_before()
        self._keep_parts()
        for old, new in zip(self.program.inputs(Source.STATE), self.program.new_state, strict=True):
            if self._axes[old] is None:
                self._exchange(new)
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
            best = max(weights, key=lambda axis: (weights[axis], -axis))
            rows = self._rows(number, descriptor) if is_partial(descriptor, best) else None
            return best if rows is None else rows
        starts = not split and begins(self.program, number, self.fixed)
        return 0 if starts and descriptor.shape[0] == self.cuts.extent else None

    def _rows(self, number: int, descriptor: Descriptor) -> int | None:
        """The output axis along which a product is better cut than along the one that it reduces: where its operands'
        sources and what is made of it, in f32, are less to exchange than its partial sums."""
        if descriptor.kind is not Kind.DOT or not descriptor.shape or not can_cut(descriptor, 0, self.cuts):
            return None
        quantised = [node for node in set(self.program.nodes[number].operands) if self._is_quantised_for_one(node)]
        sources = {source for node in quantised for source in self.program.nodes[node].operands}
        sources |= set(self.program.nodes[number].operands) - set(quantised)
        gathered = [node for node in sources if self._periods[node] is not None and node not in self._wholes]
        completed = 2 * output_bytes(descriptor)
        put_together = output_bytes(descriptor) // 2
        if sum(output_bytes(self.program.descriptor(node)) for node in gathered) + put_together >= completed:
            return None
        for node in quantised:
            self._make_whole(node)
        return 0

    def _is_quantised_for_one(self, number: int) -> bool:
        """Whether a node makes narrow integers, for one reader."""
        quantised = is_quantised(self.program.descriptor(number))
        return quantised and len(self._readers[number]) == 1 and self._periods[number] is not None

    def _make_whole(self, number: int) -> None:
        """Has every rank compute all of a node after all, since its range is known only where it is made."""
        ranks = self.cuts.ranks
        self.cost += work(self.program.descriptor(number)) * (ranks - 1) / ranks
        self._axes[number] = self._periods[number] = None
        operands = self.program.nodes[number].operands
        self._depths[number] = max(self._depths[operand] + self._exchange(operand) for operand in operands)

    def _cut_before(self) -> None:
        """Cuts maps that every rank computes whole although nobody reads more than a part of its own: a momentum times
        its decay. Quantised numbers stay whole, so that products are made with them."""
        for number in reversed(self.program.operations):
            descriptor = self.program.descriptor(number)
            can = descriptor.kind is Kind.MAP and not is_quantised(descriptor) and not self.fixed[number]
            if can and self._axes[number] is None:
                axes = (axis for axis in range(len(descriptor.shape)) if can_cut(descriptor, axis, self.cuts))
                axis = next((axis for axis in axes if self._suffices(number, period_of(descriptor.shape, axis))), None)
                if axis is not None:
                    self._axes[number], self._periods[number] = axis, period_of(descriptor.shape, axis)
                    self.cost -= work(descriptor) * (self.cuts.ranks - 1) / self.cuts.ranks

    def _suffices(self, number: int, period: int) -> bool:
        """Whether no reader, and there is one, reads more than its own part of a node that has this period."""
        readers = [(reader, position, self._axes[reader]) for reader, position in self._readers.get(number, ())]
        return bool(readers) and all(
            axis is not None and self._own(self.program.descriptor(reader), position, period, axis)
            for reader, position, axis in readers
        )

    def _keep_parts(self) -> None:
        """Keeps a state in parts if it is made in parts and nothing reads more than its own."""
        for old, new in zip(self.program.inputs(Source.STATE), self.program.new_state, strict=True):
            period = self._periods[new]
            if period is not None and self._suffices(old, period):
                self._axes[old] = self._axes[new]

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
