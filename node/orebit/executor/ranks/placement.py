"""Which rank computes what: every node whole on all ranks, in parts along one axis, or alone on one rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from orebit.executor.memory import independent_of_state
from orebit.executor.ranks.cuts import Cuts, period_of
from orebit.executor.ranks.localise import adds, is_partial, localise, own_axis
from orebit.program.descriptor import Descriptor, Kind, Source
from orebit.program.graph import Program


def is_quantised(descriptor: Descriptor) -> bool:
    """Whether a node makes narrow integers: exponents, quantised numbers, masks."""
    return descriptor.kind is Kind.MAP and not descriptor.dtype.is_float and descriptor.dtype.size <= 2


@dataclass(frozen=True, slots=True)
class Read:
    """What one operand of a node reads.

    Attributes:
        producer: the node.
        exchanged: whether it is the whole that an exchange gives; else what this rank has computed itself.
        own: the axis of the view along which this rank has a part; None: it has the whole.
    """

    producer: int
    exchanged: bool = False
    own: int | None = None


@dataclass(frozen=True)
class Placement:
    """Where the nodes of a program are computed, inputs included (where they are kept).

    Args:
        program: the whole program.
        ranks: how many there are.
        cuts: how axes are cut; None where none is.
        axes: for each node the axis of its iteration space that is cut between the ranks, or None.
        owners: for each node the one rank that computes it, or None: all do. What all compute reads nothing of one.
    """

    program: Program
    ranks: int
    cuts: Cuts | None
    axes: Sequence[int | None]
    owners: Sequence[int | None]

    @cached_property
    def fixed(self) -> list[bool]:
        """Of every node, whether constants and parameters alone determine it; such a node is made where it is read."""
        return independent_of_state(self.program)

    @cached_property
    def periods(self) -> list[int | None]:
        """For each node the period of its output, if ranks have parts of it."""
        found: list[int | None] = []
        for number, axis in enumerate(self.axes):
            descriptor = self.program.descriptor(number)
            cut = axis is not None and not is_partial(descriptor, axis)
            found.append(period_of(descriptor.shape, axis) if cut and axis is not None else None)
        return found

    @cached_property
    def reads(self) -> list[tuple[Read, ...]]:
        """For each node, what its operands read."""
        return [
            tuple(self._read(number, position) for position in range(len(node.operands)))
            for number, node in enumerate(self.program.nodes)
        ]

    def _read(self, number: int, position: int) -> Read:
        producer, axis = self.program.nodes[number].operands[position], self.axes[number]
        if self.partial(producer):
            return Read(producer, True)
        period = self.periods[producer]
        if period is not None:
            assert self.cuts is not None
            descriptor = self.program.descriptor(number)
            own = None if axis is None else own_axis(descriptor, position, period, axis, self.cuts)
            return Read(producer, own is None, own)
        owner = self.owners[producer]
        return Read(producer, owner is not None and owner != self.owners[number])

    def partial(self, number: int) -> bool:
        """Whether each rank has a partial result of a node."""
        return is_partial(self.program.descriptor(number), self.axes[number])

    def added(self, number: int) -> bool:
        """Whether partial results of a node are added up (else the greatest is taken)."""
        return adds(self.program.descriptor(number).kind)

    def runs(self, number: int, rank: int) -> bool:
        """Whether a rank computes a node, or its part of it."""
        return self.owners[number] in (None, rank)

    def local(self, number: int, rank: int) -> Descriptor:
        """What a rank computes of a node."""
        descriptor, axis = self.program.descriptor(number), self.axes[number]
        if axis is None or self.cuts is None:
            return descriptor
        return localise(descriptor, axis, [read.own for read in self.reads[number]], self.cuts, rank)

    def shape(self, number: int, exchanged: bool, rank: int) -> tuple[int, ...]:
        """The shape of what a rank holds of a node."""
        descriptor = self.program.descriptor(number)
        if exchanged or self.periods[number] is None or self.cuts is None:
            return descriptor.shape
        return self.cuts.local(descriptor.shape, self.axes[number], rank)

    @cached_property
    def successors(self) -> dict[int, int]:
        """For each state input the node that renews it."""
        return dict(zip(self.program.inputs(Source.STATE), self.program.new_state, strict=True))

    def renewed(self, state: int) -> Read:
        """How the ranks that keep a state input read its successor: their own part of it, or the whole."""
        new = self.successors[state]
        if self.partial(new):
            return Read(new, True)
        if self.periods[new] is not None:
            same = self.periods[new] == self.periods[state]
            return Read(new, not same, self.axes[state] if same else None)
        return Read(new, self.owners[new] is not None and self.owners[new] != self.owners[state])
