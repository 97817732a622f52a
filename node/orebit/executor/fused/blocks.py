"""Reductions along other axes than the last, in one pass: whole runs of columns at a time, as they lie in memory.

A unit is a block of columns with a running result for each in scratch memory, which stays in the cache; every row of
the block is walked from its first column to its last.
"""

from __future__ import annotations

from math import prod

from orebit.executor.fused.access import Place
from orebit.executor.fused.nest import RegionCode
from orebit.executor.fused.region import Reduce, Region, Store
from orebit.executor.fused.text import Cursor, Loop, Value, integer

BLOCK = 512
LEAST_BLOCK = 64
WANTED_UNITS = 16


class BlockCode(RegionCode):
    """Generates the kernel of a collapsed region with lanes along output elements, if `applies`."""

    def __init__(self, region: Region, width: int) -> None:
        super().__init__(region, width)
        self._rest = prod(self.extents[k] for k in self._outer)
        self._columns = self.extents[self.last]
        self._block = BLOCK
        while self._block > LEAST_BLOCK and self._rest * -(-self._columns // self._block) < WANTED_UNITS:
            self._block //= 2
        self._cells: dict[int, Value] = {}

    @property
    def applies(self) -> bool:
        """Whether one pass does, and every result differs from column to column."""
        moved = all(self.last in self.region.axes[number] for number, _ in self._reductions())
        return self.columns and moved and not any(self.passes.targets[1:])

    @property
    def identity(self) -> tuple[object, ...]:
        return ("blocks", self.region, self.width)

    def _unit_loops(self, at: Cursor) -> int:
        blocks = -(-self._columns // self._block)
        loop = Loop(at, Value("%begin", "i64"), Value("%end", "i64"))
        line, block = self._split(loop.body, loop.index, blocks)
        start, stop = integer(0), integer(self._columns)
        if blocks > 1:
            start = loop.body.binary("mul", block, integer(self._block))
            end = loop.body.binary("add", start, integer(self._block))
            stop = loop.body.intrinsic("smin", end, stop)
        self._unit_of_block(Place(loop.body, self._indices(loop.body, line)), (start, stop))
        loop.close()
        return self._rest * blocks

    def _unit_of_block(self, unit: Place, span: tuple[Value, Value]) -> None:
        self.stage, self.unit, self._start = 0, unit, span[0]
        self._line(unit, span, self._clear)
        place, loops = unit, []
        for k in self.walked:
            loop = Loop(place.at, integer(0), integer(self.extents[k]), surely=True)
            place = Place(loop.body, {**place.indices, k: loop.index}, outer=place)
            loops.append(loop)
        self._line(place, span, self._collect)
        for loop in reversed(loops):
            loop.close()
        self._line(unit, span, self._finish_columns)

    def _reductions(self) -> list[tuple[int, Reduce]]:
        return [(n, step) for n, step in enumerate(self.region.steps) if isinstance(step, Reduce)]

    def _cell(self, place: Place, number: int) -> Value:
        """Where the running results of the columns at a place are held."""
        kind = self._running_kind(number)
        if number not in self._cells:
            self._cells[number] = self.function.allocate(kind, self._block)
        position = place.at.binary("sub", place.indices[self.last], self._start)
        return place.at.address(self._cells[number], position, kind)

    def _clear(self, place: Place) -> None:
        for number, step in self._reductions():
            start = self._identity(step, self._running_kind(number))
            place.at.store(place.at.repeat(start, place.lanes), self._cell(place, number))

    def _collect(self, place: Place) -> None:
        for number in self.passes.targets[0]:
            step = self.region.steps[number]
            if isinstance(step, Store):
                self._store(place, step)
            else:
                assert isinstance(step, Reduce)
                self._add(place, number, step)

    def _add(self, place: Place, number: int, step: Reduce) -> None:
        at = place.at
        term = at.repeat(self._term(at, self.number(place, step.args[0]), number), place.lanes)
        cell = self._cell(place, number)
        at.store(self._joined(at, step, at.load(cell, term.kind, place.lanes), term), cell)

    def _finish_columns(self, place: Place) -> None:
        for number, _ in self._reductions():
            kind = self._running_kind(number)
            total = place.at.load(self._cell(place, number), kind, place.lanes)
            place.values[number] = self._result(place.at, number, total)
        for number, step in enumerate(self.region.steps):
            if isinstance(step, Store) and not self.region.inner[number]:
                self._store(place, step)


def region_code(region: Region, width: int) -> RegionCode:
    """What generates the kernel of a collapsed region."""
    blocks = BlockCode(region, width)
    return blocks if blocks.applies else RegionCode(region, width)
