"""Splitting a step by pipeline stage: each rank has some layers, forward and backward, and keeps their state.

A layer is found by what it depends on and what depends on it. Let parameters be numbered in the order in which a step
first reads them. A node of layer l forward depends on parameters up to l and changes all of them; backward it depends
on all of them and changes those up to l. So the lesser of the greatest parameter before a node and the greatest behind
it is its layer, both ways. Tensors of one element (a norm to clip by, a loss) connect everything and do not count.
Where a program has too few layers, the order of its nodes is cut instead.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate

from orebit.executor.memory import independent_of_state
from orebit.executor.ranks.cost import output_bytes, work
from orebit.executor.ranks.placement import Placement, is_quantised
from orebit.program.descriptor import Source
from orebit.program.graph import Program

# Waiting for another rank's work takes longer than this much work.
_SMALL = 20_000.0
# A node of at most this part of all work may go to another rank than its layer does.
_LIGHT = 0.02
# What bounds the time that this takes for any program: rounds, readers of a node, new states that are looked for.
_ROUNDS = 3
_READERS = 64
_SAMPLE = 256
# How far from its even share a cut may be, as a part of all work, to cross less.
_TOLERANCE = 0.1


def place_by_stage(program: Program, ranks: int, small: float = _SMALL) -> Placement:
    """Layers in as many runs as ranks, of about the same work, cut where the least has to be passed on.

    Args:
        small: nanoseconds of work up to which every rank computes a node that needs nothing large.
    """
    nobody = [None] * len(program.nodes)
    if ranks == 1:
        return Placement(program, ranks, None, nobody, nobody)
    stages = _Stages(program, small)
    places = stages.layers
    if len({places[number] for number in stages.divided}) < ranks:
        places = list(range(len(program.nodes)))
    owners = _owners(stages, places, ranks)
    _settle(stages, owners)
    _quantise_where_read(stages, owners)
    for old, new in zip(program.inputs(Source.STATE), program.new_state, strict=True):
        owners[old] = owners[new]
    return Placement(program, ranks, None, nobody, owners)


def _owners(stages: _Stages, places: Sequence[int], ranks: int) -> list[int | None]:
    """Cuts the range of places."""
    distinct = sorted({places[number] for number in stages.divided})
    at = {place: position for position, place in enumerate(distinct)}
    costs, crossing = [0.0] * len(distinct), [0] * (len(distinct) + 1)
    for number in stages.divided:
        costs[at[places[number]]] += work(stages.program.descriptor(number))
    for producer, readers in stages.edges.items():
        reached = [at[places[number]] for number in (producer, *readers)]
        crossing[min(reached)] += output_bytes(stages.program.descriptor(producer))
        crossing[max(reached)] -= output_bytes(stages.program.descriptor(producer))
    traffic = list(accumulate(crossing))
    cuts = _cuts(list(accumulate(costs)), traffic, min(ranks, len(distinct)))
    owners: list[int | None] = [None] * len(stages.program.nodes)
    for number in stages.divided:
        owners[number] = bisect_left(cuts, at[places[number]])
    return owners


def _cuts(done: Sequence[float], traffic: Sequence[int], parts: int) -> list[int]:
    """The last position of every part but the last: near its share of the work, where little crosses."""
    cuts: list[int] = []
    for part in range(1, parts):
        share = done[-1] * part / parts
        possible = range((cuts[-1] if cuts else -1) + 1, len(done) - (parts - part))
        near = [position for position in possible if abs(done[position] - share) <= _TOLERANCE * done[-1]]
        chosen = min(near, key=lambda position: traffic[position]) if near else None
        cuts.append(min(possible, key=lambda position: abs(done[position] - share)) if chosen is None else chosen)
    return cuts


def _settle(stages: _Stages, owners: list[int | None]) -> None:
    """Moves light nodes next to what they read or to who reads them, where less is passed on then."""
    program, edges = stages.program, stages.edges
    light = _LIGHT * sum(work(program.descriptor(number)) for number in stages.divided)
    kept = set(program.new_state)

    def is_known(number: int) -> bool:
        return len(edges.get(number, ())) <= _READERS

    def passed(number: int) -> int:
        takers = {owners[reader] for reader in edges.get(number, ())} - {owners[number]}
        return len(takers) * output_bytes(program.descriptor(number))

    for _ in range(_ROUNDS):
        for number in stages.divided:
            if number in kept or work(program.descriptor(number)) > light or not is_known(number):
                continue
            sources = [operand for operand in set(program.nodes[number].operands) if operand in edges]
            sources = [operand for operand in sources if is_known(operand)]
            best, least = owners[number], sum(map(passed, (number, *sources)))
            for owner in sorted({owners[other] for other in (*sources, *edges.get(number, ()))} - {None, best}):
                owners[number] = owner
                if sum(map(passed, (number, *sources))) < least:
                    best, least = owner, sum(map(passed, (number, *sources)))
            owners[number] = best


def _quantise_where_read(stages: _Stages, owners: list[int | None]) -> None:
    """Moves exponents and quantised numbers to the rank that reads them: a product must see how they were made to know
    their range, and takes them from the tensor itself."""
    kept = set(stages.program.new_state)
    for number in reversed(stages.divided):
        if is_quantised(stages.program.descriptor(number)) and number not in kept:
            readers = {owners[reader] for reader in stages.edges.get(number, ())}
            if len(readers) == 1:
                (owners[number],) = readers


class _Stages:
    """What is known of a program's nodes before they are divided."""

    def __init__(self, program: Program, small: float) -> None:
        self.program = program
        self._small = small

    @cached_property
    def everywhere(self) -> list[bool]:
        """Whether every rank computes (or keeps) a node: it is small and so is all that it depends on."""
        program, fixed = self.program, independent_of_state(self.program)
        kept = dict.fromkeys(program.inputs(Source.STATE), True)
        rounds = 0
        while True:
            found: list[bool] = []
            for number, node in enumerate(program.nodes):
                small = work(program.descriptor(number)) <= self._small or fixed[number]
                found.append(kept.get(number, small and all(found[operand] for operand in node.operands)))
            renewed = {old: kept[old] and found[new] for old, new in zip(kept, program.new_state, strict=True)}
            if renewed == kept:
                return found
            rounds += 1  # as many as there are states, where each depends on the next
            kept = renewed if rounds < _ROUNDS else dict.fromkeys(kept, False)

    @cached_property
    def divided(self) -> list[int]:
        """The operations that one rank computes."""
        return [number for number in self.program.operations if not self.everywhere[number]]

    @cached_property
    def edges(self) -> dict[int, list[int]]:
        """For each operation that one rank computes, its readers."""
        found: dict[int, list[int]] = {}
        for number in self.divided:
            for operand in self.program.nodes[number].operands:
                if operand >= self.program.header.inputs and not self.everywhere[operand]:
                    found.setdefault(operand, []).append(number)
        return found

    @cached_property
    def layers(self) -> list[int]:
        """For each node the number of its layer: that of the node which first reads the layer's parameters."""
        (first, last), behind = self._before(), self._behind()
        layers = [-1] * len(self.program.nodes)
        alone = [first[number] == last[number] >= 0 for number in range(len(layers))]  # one layer's parameters, used
        for number in self.program.inputs(Source.STATE):
            layers[number] = last[number]
        for number in self.divided:
            operands = self.program.nodes[number].operands
            if alone[number]:
                layers[number] = last[number]
            elif last[number] >= 0 and behind[number] >= 0:
                used = max((layers[operand] for operand in operands if alone[operand]), default=-1)
                layers[number] = max(used, min(last[number], behind[number]))
            elif behind[number] < 0:  # changes no parameter: statistics, a copy, a loss
                layers[number] = max((layers[operand] for operand in operands), default=-1)
        for number in reversed(self.divided):
            if layers[number] < 0:  # depends on none: a batch
                readers = [layers[reader] for reader in self.edges.get(number, ()) if layers[reader] >= 0]
                layers[number] = min(readers, default=0)
        return layers

    @cached_property
    def _first_reads(self) -> dict[int, int]:
        """For each parameter (a state tensor that at least half as many new states, of a sample, depend on as on any)
        the first node that reads it."""
        program = self.program
        reach = [0] * len(program.nodes)
        sample = program.new_state[:: -(-len(program.new_state) // _SAMPLE)]
        for position, number in enumerate(sample):
            reach[number] |= 1 << position
        first: dict[int, int] = {}
        for number in reversed(program.operations):
            for operand in program.nodes[number].operands:
                first[operand] = number
                if self._connects(operand):
                    reach[operand] |= reach[number]
        counts = {old: reach[old].bit_count() for old in program.inputs(Source.STATE) if not self.everywhere[old]}
        most = max(counts.values(), default=0)
        return {old: first[old] for old, count in counts.items() if count * 2 >= most and old in first}

    def _connects(self, number: int) -> bool:
        return self.program.descriptor(number).size > 1

    def _before(self) -> tuple[list[int], list[int]]:
        """For each node the first and the last parameter that it depends on, by their first readers; -1 for none."""
        last = [self._first_reads.get(number, -1) for number in range(len(self.program.nodes))]
        first = list(last)
        for number in self.program.operations:
            operands = [operand for operand in self.program.nodes[number].operands if self._connects(operand)]
            last[number] = max((last[operand] for operand in operands), default=-1)
            first[number] = min((first[operand] for operand in operands if first[operand] >= 0), default=-1)
        return first, last

    def _behind(self) -> list[int]:
        """For each node the last parameter that it changes, by its first reader; -1 for none."""
        found = [-1] * len(self.program.nodes)
        for old, new in zip(self.program.inputs(Source.STATE), self.program.new_state, strict=True):
            found[new] = self._first_reads.get(old, -1)
        for number in reversed(self.program.operations):
            for operand in self.program.nodes[number].operands:
                if self._connects(operand):
                    found[operand] = max(found[operand], found[number])
        return found
