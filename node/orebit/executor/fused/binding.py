"""Stages as native tasks, with words that are filled in once addresses are known."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from orebit.executor.fused.plan import Stage, Symbols
from orebit.executor.native.library import Library, Task, Work
from orebit.program.encoding import MAX_NODES

# Words that stand for a node's address and bytes from there: no address and no size that a kernel takes is as large.
_NODE = 0x7E57 << 48
_NUMBER_BITS = 19
assert MAX_NODES <= 1 << _NUMBER_BITS


class Bound:
    """A list of tasks over words; `place` fills in addresses of nodes, as often as they change."""

    def __init__(self, library: Library, stages: Sequence[Sequence[Work]], kept: list[object]) -> None:
        work = [part for stage in stages for part in stage]
        self._stages = [len(stage) for stage in stages]
        self._library = library
        self._kept = kept
        self._words = np.array([word for part in work for word in part.args] or [0], dtype=np.int64)
        marked = np.flatnonzero(self._words >> 48 == _NODE >> 48)
        nodes = self._words[marked] & (1 << _NUMBER_BITS) - 1
        order = np.argsort(nodes, kind="stable")
        numbers, starts = np.unique(nodes[order], return_index=True)
        self._further = self._words >> _NUMBER_BITS & (1 << 48 - _NUMBER_BITS) - 1
        self._places = dict(zip(numbers.tolist(), np.split(marked[order], starts[1:]), strict=False))
        self._tasks = (Task * max(1, len(work)))()
        self._length = len(work)
        at = self._words.ctypes.data
        for task, part in zip(self._tasks, work, strict=False):
            task.kernel, task.args, task.count, task.grain = part.kernel, at, part.count, part.grain
            at += 8 * len(part.args)

    def place(self, addresses: Mapping[int, int]) -> None:
        """Addresses of nodes; those that no task uses are passed over."""
        for node, address in addresses.items():
            places = self._places.get(node)
            if places is not None:
                self._words[places] = address + self._further[places]

    def run(self, threads: int) -> None:
        self._library.run(self._tasks, self._length, threads)

    def seconds(self, threads: int) -> list[float]:
        """As `run`, stage by stage: what each takes."""
        taken, first = [], 0
        for length in self._stages:
            tasks = (Task * max(1, length))(*self._tasks[first : first + length])
            started = time.perf_counter()
            self._library.run(tasks, length, threads)
            taken.append(time.perf_counter() - started)
            first += length
        return taken


def bind(library: Library, symbols: Symbols, stages: Sequence[Stage], workspaces: Sequence[int]) -> Bound:
    """The tasks of stages in order.

    Args:
        symbols: addresses of generated kernels, by name.
        workspaces: the address of each stage's workspace.
    """
    work: list[list[Work]] = []
    kept: list[Any] = []
    for stage, workspace in zip(stages, workspaces, strict=True):
        tasks, alive = stage.bind(library, symbols, _mark, workspace)
        work.append(tasks)
        kept += alive
    return Bound(library, work, kept)


def _mark(node: int, further: int = 0) -> int:
    return _NODE | further << _NUMBER_BITS | node
