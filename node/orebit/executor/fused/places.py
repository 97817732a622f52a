"""The order of stages, while nodes are added to it: every stage reads only what earlier ones make."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from orebit.executor.fused.grouping import Group, join, start
from orebit.program.descriptor import Descriptor

S = TypeVar("S")
# How many groups a node is tried in, and how many readers of a buffer are remembered: planning stays linear.
TRIED = 4


@dataclass(frozen=True)
class _Waiting:
    """A node that is not in a group yet."""

    number: int
    nodes: tuple[int, ...]
    descriptor: Descriptor
    order: tuple[int, ...]


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
        self._cheap: dict[int, _Waiting] = {}

    def append(self, stage: S, nodes: Sequence[int]) -> None:
        """A stage that makes these nodes."""
        for node in nodes:
            self._home[node] = len(self.entries)
        self.entries.append(stage)

    def home(self, number: int) -> int | None:
        """Which entry writes a node, if one does."""
        return self._home.get(number)

    def add(self, number: int, nodes: Sequence[int], descriptor: Descriptor, order: Sequence[int]) -> None:
        """A node into the best group that takes it, or into one of its own."""
        self._put(_Waiting(number, tuple(nodes), descriptor, tuple(order)))

    def add_cheap(self, number: int, nodes: Sequence[int], descriptor: Descriptor, order: Sequence[int]) -> None:
        """A node that groups make for themselves rather than read it; it is written only if another stage reads it."""
        if any(node in self._cheap for node in nodes):
            self.add(number, nodes, descriptor, order)
        else:
            self._cheap[number] = _Waiting(number, tuple(nodes), descriptor, tuple(order))

    def write(self, nodes: Iterable[int]) -> None:
        """Makes sure that an entry so far writes each of these nodes."""
        for node in nodes:
            if node in self._cheap and node not in self._home:
                self._put(self._cheap[node])

    def _put(self, added: _Waiting) -> None:
        ahead = [self._cheap[node] for node in dict.fromkeys(added.nodes) if node in self._cheap]
        read = [node for node in added.nodes if node not in self._cheap]
        read += [node for other in ahead for node in other.nodes]
        if not self._joins([*ahead, added], read) and not (ahead and self._starts([*ahead, added])):
            self.write(other.number for other in ahead)
            if not (ahead and self._joins([added], added.nodes)):
                self._starts([added])
        place = self._home[added.number]
        for node in read:
            readers = self._readers.setdefault(node, [])
            if place not in readers:
                readers.append(place)
                del readers[:-TRIED]

    def _joins(self, added: Sequence[_Waiting], read: Sequence[int]) -> bool:
        """Whether a group took these nodes, the last of which is not cheap."""
        for place in self._candidates(added[-1].number, read):
            entry = self.entries[place]
            assert isinstance(entry, Group)
            joined = _with_all(entry, added)
            if joined is not None:
                self.entries[place] = joined
                self._home[added[-1].number] = place
                return True
        return False

    def _starts(self, added: Sequence[_Waiting]) -> bool:
        """Whether these nodes make a group of their own; a single one does."""
        first = added[0]
        group = _with_all(start(first.number, first.nodes, first.descriptor, first.order), added[1:])
        if group is None:
            return False
        self._home[added[-1].number] = len(self.entries)
        self._group_fixed[len(self.entries)] = self._fixed[added[-1].number]
        self.entries.append(group)
        return True

    def _candidates(self, number: int, nodes: Sequence[int]) -> list[int]:
        """Groups that make or read what is read, none of which is made later; the closest first."""
        least = max((self._home.get(node, -1) for node in nodes), default=-1)
        near = {self._home.get(node, -1) for node in nodes}
        found = near | {place for node in nodes for place in self._readers.get(node, ())}
        fixed = self._fixed[number]
        fitting = [place for place in found if place >= least and self._group_fixed.get(place) == fixed]
        return sorted(fitting, key=lambda place: (place in near, place), reverse=True)[:TRIED]


def _with_all(group: Group, added: Sequence[_Waiting]) -> Group | None:
    for node in added:
        if node.number not in group.members:
            joined = join(group, node.number, node.nodes, node.descriptor)
            if joined is None:
                return None
            group = joined
    return group
