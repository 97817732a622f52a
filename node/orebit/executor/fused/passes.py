"""Which values each pass over the reduced axes computes, and how a later pass gets at an earlier one's.

A value that is needed again is read back where it was stored, computed again where that is cheap, and otherwise saved
in scratch memory of the unit, if that is small.
"""

from __future__ import annotations

from orebit.executor.fused.analysis import Analysis
from orebit.executor.fused.region import Apply, Reduce, Region, Store, View, Wrap
from orebit.program.opcodes import Op

CHEAP = 10
SCRATCH_BYTES = 128 << 10
_COSTS = {Op.FDIV: 4, Op.FSQRT: 4, Op.IDIV: 20, Op.IREM: 20}
_VIEW_COST = 6


class Passes:
    """The passes of a region.

    Attributes:
        targets: for each pass, the stores, reductions and saved values that it computes.
        crossing: values that later passes do not compute again, with the store that holds them (None: scratch).
        lanes: elements of the unit side by side in scratch.
    """

    def __init__(self, region: Region, analysis: Analysis, lanes: int) -> None:
        self._region = region
        self._analysis = analysis
        self.lanes = lanes
        self.count = max(region.stages, default=0) + 1
        self.targets: list[list[int]] = [[] for _ in range(self.count)]
        self._stores: dict[int, int] = {}
        walks = any(region.reduced)
        for number, step in enumerate(region.steps):
            if isinstance(step, Store) and (region.inner[number] or not walks):
                self.targets[region.stages[number]].append(number)
                self._stores[step.args[0]] = number
            elif isinstance(step, Reduce):
                self.targets[region.stages[step.args[0]]].append(number)
        self.crossing: dict[int, int | None] = {}
        for stage in range(self.count):
            self._find_crossing(stage)
        for number in self.saved:
            self.targets[region.stages[number]].append(number)

    @property
    def saved(self) -> list[int]:
        return [number for number, store in self.crossing.items() if store is None]

    def _find_crossing(self, stage: int) -> None:
        region = self._region
        waiting = [arg for number in self.targets[stage] for arg in region.steps[number].args]
        seen = set()
        while waiting:
            number = waiting.pop()
            if number in seen or not region.inner[number]:
                continue
            seen.add(number)
            if region.stages[number] < stage and self._crosses(number):
                continue
            waiting += region.steps[number].args

    def _crosses(self, number: int) -> bool:
        region = self._region
        if number in self.crossing:
            return True
        if len(region.extents) - 1 not in region.axes[number] or not isinstance(
            region.steps[number], Apply | View | Wrap
        ):
            return False
        store = self._stores.get(number)
        if store is None:
            held = region.reduced_size * self.lanes * (8 if not self._analysis.narrow(number) else 4)
            if held > SCRATCH_BYTES or self._cost(number) <= CHEAP:
                return False
        self.crossing[number] = store
        return True

    def _cost(self, number: int) -> int:
        """About how many instructions computing a value again takes."""
        region, cost = self._region, 0
        waiting, seen = [number], set()
        while waiting and cost <= CHEAP:
            found = waiting.pop()
            if found in seen or not region.inner[found]:
                continue
            seen.add(found)
            step = region.steps[found]
            if isinstance(step, Apply):
                cost += _COSTS.get(step.op, 1)
            elif isinstance(step, View):
                cost += _VIEW_COST
            waiting += step.args
        return cost
