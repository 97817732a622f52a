"""Reductions to few results, cut into parts that many blocks walk: fill, parts, and what reads the results.

Every part adds to or compares with its unit's cell in memory by an atomic integer operation: these have no order. A
last kernel computes what the region makes of the results.
"""

from __future__ import annotations

from dataclasses import dataclass

from orebit.executor.cuda import operations
from orebit.executor.cuda.body import Scope, decode
from orebit.executor.cuda.kernel import Argument, Kernel, Launch, blocks, index_type, make, point_lines, pointwise
from orebit.executor.cuda.operations import Number
from orebit.executor.cuda.regions import ReductionCode, region_kernel
from orebit.executor.fused.region import Reduce, Region, Store

# Blocks below which a reduction leaves a large GPU idle, blocks to aim for, and steps of one thread at least.
FEW_BLOCKS, ENOUGH_BLOCKS, LEAST_STEPS = 64, 264, 16
_CELL = 8


@dataclass(frozen=True)
class RegionWork:
    """The kernels of a region in order, whether each takes the cells and the region's slots, and the cells' bytes."""

    kernels: tuple[tuple[Kernel, bool, bool], ...]
    workspace: int = 0

    def launches(self, slots: tuple[Argument, ...]) -> tuple[Launch, ...]:
        cells: Argument = ("workspace", 0)
        return tuple(
            Launch(kernel, (*((cells,) if takes_cells else ()), *(slots if takes_slots else ())))
            for kernel, takes_cells, takes_slots in self.kernels
        )


def region_work(region: Region) -> RegionWork:
    """One kernel, or three where a reduction would leave most of a GPU idle."""
    parts = _parts(region) if any(region.reduced) else 1
    if parts == 1:
        return RegionWork(((region_kernel(region), False, True),))
    code = _Parts(region, parts)
    cells = len(code.reductions) * code.units
    filled, after = code.fill(), _After(region).kernel()
    return RegionWork(((filled, True, False), (code.kernel(), True, True), (after, True, True)), _CELL * cells)


def _parts(region: Region) -> int:
    """How many parts each walk is worth; 1 for regions that walk twice or write on their way."""
    code = ReductionCode(region)
    one_pass = all(region.stages[n] == 1 for n, step in enumerate(region.steps) if isinstance(step, Reduce))
    writes = any(isinstance(step, Store) and region.inner[n] for n, step in enumerate(region.steps))
    grid = blocks(code.units, code.side_by_side)
    if not one_pass or writes or grid >= FEW_BLOCKS:
        return 1
    return max(1, min(-(-ENOUGH_BLOCKS // grid), code.steps // (LEAST_STEPS * code.team)))


class _Cells(ReductionCode):
    """What both halves know of the cells: one row of them for each reduction, one for each unit in it."""

    @property
    def reductions(self) -> list[int]:
        return [number for number, step in enumerate(self.region.steps) if isinstance(step, Reduce)]

    def cell(self, number: int) -> str:
        row = self.reductions.index(number) * self.units
        return f"({self._kind(number)}*)(cells + {row} + unit)"


class _Parts(_Cells):
    """The walks alone, each cut into parts."""

    def __init__(self, region: Region, parts: int) -> None:
        super().__init__(region)
        self.parts = parts
        # What stands on results is the last kernel's.
        self.passes = 1

    def fill(self) -> Kernel:
        """Makes every cell what changes nothing."""
        lines = " ".join(
            f"*({self._kind(number)}*)(cells + {place * self.units} + point) = {self._identity(number)};"
            for place, number in enumerate(self.reductions)
        )
        return pointwise(["u64* __restrict__ cells"], self.units, lines)

    def parameters(self) -> list[str]:
        return ["u64* __restrict__ cells", *super().parameters()]

    def _store_units(self, scope: Scope) -> None:
        """Left to the last kernel."""

    def _span(self, scope: Scope, kind: str) -> tuple[str, str]:
        part = -(-self.steps // self.parts)
        scope.add(
            f"const {kind} begin = ({kind})blockIdx.y * {part};",
            f"const {kind} end = ob_less<{kind}>(begin + {part}, {self.steps});",
        )
        return "begin + member", "end"

    def _hand_over(self, scope: Scope) -> None:
        for number in self.reductions:
            name = "atomicMax" if self._is_maximum(number) else "atomicAdd"
            scope.add(f"if (live && member == 0) {name}({self.cell(number)}, t{number});")


class _After(_Cells):
    """A thread a unit, from the cells to what is stored."""

    def kernel(self) -> Kernel:
        kind = index_type(self.units)
        decoded, indices = decode(self.kept, self.region.extents, "point", kind, "i")
        lines = [*point_lines(self.units), f"const {kind} unit = point;", *decoded]
        scope = Scope(indices, lines=lines)
        for step in self.region.steps:
            if isinstance(step, Store):
                self.store(scope, step)
        parameters = ["u64* __restrict__ cells", *self.parameters()]
        return make(parameters, scope.lines, (blocks(self.units), 1, 1))

    def _computed(self, scope: Scope, number: int) -> Number:
        if not isinstance(self.region.steps[number], Reduce):
            return super()._computed(scope, number)
        if self.region.is_float[number]:
            return Number(f"ob_of_order_key(*{self.cell(number)})", "f32")
        bounds = self.analysis.ranges[number]
        form = operations.form_of(bounds, self.analysis.low_only[number])
        return Number(f"({operations.C_TYPES[form]})*{self.cell(number)}", form, bounds)
