"""When a node is computed: levels, with an exchange between each and the next.

A node is on the first level on which what it reads is at hand, or later, where it is needed, if less has to be kept
until then. Sending nodes stay early; the work that nobody waits for goes where other ranks are busy.
"""

from __future__ import annotations

from functools import cached_property
from math import prod

from orebit.executor.ranks.placement import Placement, Read, is_quantised
from orebit.program.descriptor import Source

# An exponent, and the quantised number that it scales.
_MADE_ANEW = 2


class Schedule:
    """Levels of a placement's nodes.

    Attributes:
        levels: for each node its level; inputs are on level 0.
    """

    def __init__(self, placement: Placement) -> None:
        self.placement = placement
        self.program = placement.program
        self.levels = [0] * len(self.program.nodes)
        self._place_early()
        self.last = max(self.levels)
        self._place_late()

    def _place_early(self) -> None:
        for number in self.program.operations:
            reads = self.placement.reads[number]
            self.levels[number] = max((self.levels[read.producer] + read.exchanged for read in reads), default=0)

    def _place_late(self) -> None:
        """From the end on: a node that gives no less than it needs goes to the level of its first reader."""
        kept = [0] * len(self.program.nodes)
        for number in reversed(self.program.operations):
            if self.placement.fixed[number] or number in self.near:
                continue
            latest = self._latest(number)
            if latest > self.levels[number] and self._bytes(number) >= self._newly_kept(number, latest, kept):
                self.levels[number] = latest
            for producer in self._stored(number):
                kept[producer] = max(kept[producer], self.levels[number])

    def _latest(self, number: int) -> int:
        latest = self.last
        for reader, read in self.readers[number]:
            latest = min(latest, self.levels[reader] - read.exchanged)
        return latest

    def _stored(self, number: int) -> set[int]:
        """What a node reads that must be kept for it: not what is made anew, nor what is always there."""
        found = set()
        for read in self.placement.reads[number]:
            producer = read.producer
            if producer in self.near and not read.exchanged:
                found |= self._stored(producer)
            elif producer >= self.program.header.inputs and not self.placement.fixed[producer]:
                found.add(producer)
        return found

    def _newly_kept(self, number: int, level: int, kept: list[int]) -> int:
        return sum(self._bytes(producer) for producer in self._stored(number) if kept[producer] < level)

    def _bytes(self, number: int) -> int:
        descriptor = self.program.descriptor(number)
        return descriptor.dtype.size * prod(descriptor.shape)

    @cached_property
    def readers(self) -> list[list[tuple[int, Read]]]:
        """For each node its readers, each with how it reads."""
        found: list[list[tuple[int, Read]]] = [[] for _ in self.program.nodes]
        for number in self.program.operations:
            if number in self.near:
                continue
            for read in self._through(number):
                found[read.producer].append((number, read))
        return found

    def _through(self, number: int) -> list[Read]:
        """What a node reads, and what is read by those that are made anew for it."""
        found = []
        for read in self.placement.reads[number]:
            if read.producer in self.near and not read.exchanged:
                found += self._through(read.producer)
            else:
                found.append(read)
        return found

    @cached_property
    def near(self) -> set[int]:
        """Nodes that are made wherever they are read: exponents and quantised numbers, of which a product must see how
        they were made to know their range."""
        depths: dict[int, int] = {}
        kept = {read.producer for reads in self.placement.reads for read in reads if read.exchanged}
        kept |= set(self.program.new_state)
        for number in self.program.operations:
            narrow = is_quantised(self.program.descriptor(number))
            if narrow and number not in kept and not self.placement.fixed[number]:
                depth = 1 + max((depths.get(operand, 0) for operand in self.program.nodes[number].operands), default=0)
                if depth <= _MADE_ANEW:
                    depths[number] = depth
        return set(depths)

    def transfers(self) -> dict[int, list[int]]:
        """By level, the nodes whose wholes are exchanged after it, in order; a state input's on level 0."""
        wanted = {read.producer for reads in self.placement.reads for read in reads if read.exchanged}
        for state in self.program.inputs(Source.STATE):
            renewed = self.placement.renewed(state)
            wanted |= {renewed.producer} if renewed.exchanged else set()
        found: dict[int, list[int]] = {}
        for number in sorted(wanted):
            found.setdefault(self.levels[number], []).append(number)
        return found
