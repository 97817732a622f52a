"""Memory of a step, planned ahead: buffers live from the stage that writes them to the last that reads them."""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

ALIGNMENT = 64


def aligned(size: int) -> int:
    return -(-max(size, 1) // ALIGNMENT) * ALIGNMENT


@dataclass
class _Arena:
    """Offsets of live blocks; freed ones are joined with their neighbours and taken again, the tightest fit first."""

    size: int = 0
    _free: list[tuple[int, int]] = field(default_factory=list)

    def take(self, size: int) -> int:
        fitting = [block for block in self._free if block[1] >= size]
        if fitting:
            start, room = min(fitting, key=lambda block: block[1])
            self._free.remove((start, room))
            if room > size:
                insort(self._free, (start + size, room - size))
            return start
        if self._free and sum(self._free[-1]) == self.size:
            start, _ = self._free.pop()
        else:
            start = self.size
        self.size = start + size
        return start

    def give(self, start: int, size: int) -> None:
        insort(self._free, (start, size))
        place = self._free.index((start, size))
        for left in (place, place - 1):
            if 0 <= left < len(self._free) - 1:
                (first, length), (second, more) = self._free[left], self._free[left + 1]
                if first + length == second:
                    self._free[left : left + 2] = [(first, length + more)]


class Stage(Protocol):
    """What writes and reads nodes' buffers, with bytes of memory of its own while it runs."""

    @property
    def outputs(self) -> tuple[int, ...]: ...

    @property
    def operands(self) -> tuple[int, ...]: ...

    @property
    def workspace(self) -> int: ...


@dataclass(frozen=True)
class Layout:
    """Where buffers lie.

    Attributes:
        offsets: of nodes in the memory of a step.
        workspaces: of each stage's workspace there.
        size: bytes of that memory.
    """

    offsets: dict[int, int]
    workspaces: list[int]
    size: int


def lay_out(stages: Sequence[Stage], sizes: Mapping[int, int]) -> Layout:
    """Plans the memory of stages that run in order.

    Args:
        sizes: bytes of the nodes whose buffers live in this memory; others lie elsewhere.
    """
    last: dict[int, int] = {}
    for place, stage in enumerate(stages):
        for node in (*stage.operands, *stage.outputs):
            last[node] = place
    arena, offsets, workspaces = _Arena(), {}, []
    for place, stage in enumerate(stages):
        for node in stage.outputs:
            if node in sizes:
                offsets[node] = arena.take(aligned(sizes[node]))
        workspace = arena.take(aligned(stage.workspace)) if stage.workspace else 0
        workspaces.append(workspace)
        if stage.workspace:
            arena.give(workspace, aligned(stage.workspace))
        for node in {*stage.operands, *stage.outputs}:
            if node in offsets and last[node] == place:
                arena.give(offsets[node], aligned(sizes[node]))
    return Layout(offsets, workspaces, arena.size)
