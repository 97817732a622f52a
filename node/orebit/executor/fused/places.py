"""The order of stages, while nodes are added to it: every stage reads only what earlier ones make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

from orebit.executor.fused.grouping import Group, join, start
from orebit.program.descriptor import Descriptor

S = TypeVar("S")
# How many groups a node is tried in, and how many readers of a buffer are remembered: planning stays linear.
TRIED = 4


class Places(Generic[S]):
    """Groups and stages `S` of another kind, in order.

    Args:
        fixed: whether each node is computed once; a group's nodes are all alike in this.
    """

    def __init__(self, fixed: Sequence[bool]) -> None:
        self.entries: list[Group | S] = []
        self._fixed = fixed
        self._group_fixed: dict[int, bool] = {}
        self._home: dict[int, int] = {}
        self._readers: dict[int, list[int]] = {}

    def append(self, stage: S, nodes: Sequence[int]) -> None:
        """A stage that makes these nodes."""
        for node in nodes:
            self._home[node] = len(self.entries)
        self.entries.append(stage)

    def add(self, number: int, nodes: Sequence[int], descriptor: Descriptor, order: Sequence[int]) -> None:
        """A node into the best group that takes it, or into one of its own."""
        for place in self._candidates(number, nodes):
            group = self.entries[place]
            assert isinstance(group, Group)
            joined = join(group, number, nodes, descriptor)
            if joined is not None:
                self.entries[place] = joined
                break
        else:
            place = len(self.entries)
            self.entries.append(start(number, nodes, descriptor, order))
            self._group_fixed[place] = self._fixed[number]
        self._home[number] = place
        for node in nodes:
            readers = self._readers.setdefault(node, [])
            if place not in readers:
                readers.append(place)
                del readers[:-TRIED]

    def _candidates(self, number: int, nodes: Sequence[int]) -> list[int]:
        """Groups that make or read what the node reads, none of which is made later; the closest first."""
        least = max((self._home.get(node, -1) for node in nodes), default=-1)
        near = {self._home.get(node, -1) for node in nodes}
        found = near | {place for node in nodes for place in self._readers.get(node, ())}
        fixed = self._fixed[number]
        fitting = [place for place in found if place >= least and self._group_fixed.get(place) == fixed]
        return sorted(fitting, key=lambda place: (place in near, place), reverse=True)[:TRIED]
