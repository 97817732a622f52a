"""Kernels of regions: a thread a point where nothing is reduced, else a team of threads a unit.

A unit is a point of the axes that are kept. Its team walks the reduced axes once a pass, side by side where the last
axis is reduced, and with neighbouring units side by side where it is kept; partial results are joined by shuffles and
through shared memory. Integers have no order, so the bits do not depend on how a walk is shared out.
"""

from __future__ import annotations

from math import prod

from orebit.executor.cuda import operations
from orebit.executor.cuda.body import Body, Scope, decode
from orebit.executor.cuda.kernel import BLOCK, Kernel, blocks, index_type, make, point_lines
from orebit.executor.cuda.operations import Number
from orebit.executor.fused.analysis import INT32, UINT32, fits, within
from orebit.executor.fused.region import Reduce, Region, Store
from orebit.numerics.types import INT64_MIN

WARP = 32
# Threads of a team where units are few and long.
LARGE_TEAM, LONG_WALK, FEW_UNITS = 1024, 1 << 13, 1 << 10
# Steps of the walk that one thread takes, at least, before it is shared out further.
LEAST_STEPS = 4
COLUMN_TEAM = 8
# Shared memory of a block for joining: reductions that need more than this are joined in turn.
SHARED_BYTES = 1 << 14


def region_kernel(region: Region) -> Kernel:
    """The kernel of a region; its pointers are the region's slots in order."""
    return ReductionCode(region).kernel() if any(region.reduced) else elementwise_kernel(region)


def elementwise_kernel(region: Region) -> Kernel:
    body, points = Body(region), prod(region.extents)
    kind = index_type(points)
    axes = range(len(region.extents))
    decoded, indices = decode(axes, region.extents, "point", kind, "i")
    scope = Scope(indices, lines=[*point_lines(points), *decoded])
    for step in region.steps:
        if isinstance(step, Store):
            body.store(scope, step)
    return make(body.parameters(), scope.lines, (blocks(points), 1, 1))


class ReductionCode(Body):
    """Generates the kernel of a region with reduced axes."""

    # Parts that each walk is cut into, along the grid.
    parts = 1

    def __init__(self, region: Region) -> None:
        super().__init__(region)
        self.kept = [k for k, reduced in enumerate(region.reduced) if not reduced]
        self.walked = [k for k, reduced in enumerate(region.reduced) if reduced]
        self.units = prod(region.extents[k] for k in self.kept)
        self.steps = region.reduced_size
        self.columns = bool(self.kept) and not region.reduced[-1]
        self.team, self.side_by_side = self._shape()
        # Reductions that stand in shared memory at once, so far.
        self._shared = 0
        self.passes = max(region.stages, default=0) + 1

    @property
    def block(self) -> int:
        return self.team * self.side_by_side

    def _shape(self) -> tuple[int, int]:
        """Threads of a team, and units of a block."""
        long = self.units <= FEW_UNITS and self.steps >= LONG_WALK
        if self.columns:
            return (WARP if long else COLUMN_TEAM), WARP
        if long:
            return LARGE_TEAM, 1
        team = 1
        while team < BLOCK and team * LEAST_STEPS < self.steps:
            team *= 2
        return team, BLOCK // team

    @property
    def _fastest(self) -> int:
        """Neighbouring threads that are of one team or, over columns, of neighbouring units."""
        return self.side_by_side if self.columns else self.team

    def kernel(self) -> Kernel:
        kind = index_type(max(self.units, self.steps))
        fast, slow = (f"threadIdx.x {sign} {self._fastest}" for sign in "%/")
        member, unit = (slow, fast) if self.columns else (fast, slow)
        lines = [
            f"const {kind} member = ({kind})({member});",
            f"const {kind} own = ({kind})blockIdx.x * {self.side_by_side} + ({kind})({unit});",
            f"const bool live = own < {self.units};",
            f"const {kind} unit = live ? own : 0;",
        ]
        decoded, indices = decode(self.kept, self.region.extents, "unit", kind, "i")
        scope = Scope(indices, lines=[*lines, *decoded])
        for stage in range(self.passes):
            self.stage = stage
            self._store_units(scope)
            self._pass(scope, kind)
        self._hand_over(scope)
        if self._shared:
            scope.lines.insert(0, f"__shared__ u64 shared_words[{self._shared}][{self._words}];")
        grid = (blocks(self.units, self.side_by_side), self.parts, 1)
        together = self.team > 1
        return make(self.parameters(), scope.lines, grid, self.block, together)

    def _store_units(self, scope: Scope) -> None:
        for number, step in enumerate(self.region.steps):
            if isinstance(step, Store) and not self.region.inner[number] and self.region.stages[number] == self.stage:
                self.store(scope, step, "live && member == 0")

    def _pass(self, scope: Scope, kind: str) -> None:
        region = self.region
        stores = [
            step
            for number, step in enumerate(region.steps)
            if isinstance(step, Store) and region.inner[number] and region.stages[number] == self.stage
        ]
        reductions = [
            number
            for number, step in enumerate(region.steps)
            if isinstance(step, Reduce) and region.stages[step.args[0]] == self.stage
        ]
        if not stores and not reductions:
            return
        for number in reductions:
            scope.add(f"{self._kind(number)} t{number} = {self._identity(number)};")
        decoded, indices = decode(self.walked, region.extents, "walk", kind, "i")
        inner = Scope({**scope.indices, **indices}, scope, lines=decoded)
        for number in reductions:
            (arg,) = region.steps[number].args
            term = self._term(self.value(inner, arg), number)
            inner.add(f"t{number} = {self._joined(number, f't{number}', term)};")
        for step in stores:
            self.store(inner, step)
        first, end = self._span(scope, kind)
        scope.add(
            f"for ({kind} walk = live ? {first} : {end}; walk < {end}; walk += {self.team}) {{",
            *("  " + line for line in inner.lines),
            "}",
        )
        if reductions:
            self._join_team(scope, reductions)

    def _span(self, scope: Scope, kind: str) -> tuple[str, str]:
        """Where a member's walk begins, and where it ends."""
        return "member", str(self.steps)

    def _hand_over(self, scope: Scope) -> None:
        """What is left to do after the passes."""

    # Reductions

    def _is_maximum(self, number: int) -> bool:
        step = self.region.steps[number]
        return isinstance(step, Reduce) and step.maximum

    def _kind(self, number: int) -> str:
        """The C type in which a reduction runs."""
        if self.region.is_float[number]:
            return "i32"
        if not self._is_maximum(number):
            return "u32" if self.analysis.narrow(number) else "u64"
        bounds = self.analysis.ranges[self.region.steps[number].args[0]]
        if not fits(bounds):
            return "i64"
        return "u32" if within(bounds, UINT32) and not within(bounds, INT32) else "i32"

    def _identity(self, number: int) -> str:
        kind = self._kind(number)
        if not self._is_maximum(number) or kind == "u32":
            return "0"
        return operations.literal(INT64_MIN) if kind == "i64" else "-2147483647 - 1"

    def _term(self, x: Number, number: int) -> str:
        if x.form == "f32":
            return f"ob_order_key({x.text})"
        kind = self._kind(number)
        text = operations.low(x) if kind in ("i32", "u32") else operations.wide(x)
        return f"({kind}){text}"

    def _joined(self, number: int, x: str, y: str) -> str:
        name = "ob_more" if self._is_maximum(number) else "ob_sum"
        return f"{name}<{self._kind(number)}>({x}, {y})"

    def _join_team(self, scope: Scope, reductions: list[int]) -> None:
        """Every thread of a team gets the team's results."""
        hops = 0 if self.columns else min(self.team, WARP) // 2
        for number in reductions if hops else ():
            joined = self._joined(number, f"t{number}", f"__shfl_xor_sync(OB_WHOLE_WARP, t{number}, hop)")
            scope.add(f"for (i32 hop = {hops}; hop > 0; hop >>= 1) t{number} = {joined};")
        if self.columns or self.team > WARP:
            at_once = max(1, SHARED_BYTES // (8 * self._words))
            for first in range(0, len(reductions), at_once):
                self._join_through_memory(scope, reductions[first : first + at_once])
        for number in reductions:
            scope.values[number] = self._result(scope, number)

    @property
    def _words(self) -> int:
        """Words of shared memory that joining one reduction takes."""
        return self.block if self.columns else self.block // WARP

    def _join_through_memory(self, scope: Scope, reductions: list[int]) -> None:
        """Every thread, or one value of every warp, is written; then each reads its team's."""
        place = "threadIdx.x" if self.columns else f"threadIdx.x / {WARP}"
        first = f"threadIdx.x % {WARP}" if self.columns else f"threadIdx.x / {self.team} * {self.team // WARP}"
        step, count = (WARP, self.team) if self.columns else (1, self.team // WARP)
        if self._shared:
            scope.add("__syncthreads();")  # what was joined before has been read by all
        self._shared = max(self._shared, len(reductions))
        for row, number in enumerate(reductions):
            scope.add(f"{self._held(number, row)}[{place}] = t{number};")
        scope.add("__syncthreads();")
        for row, number in enumerate(reductions):
            held = self._held(number, row)
            joined = self._joined(number, f"t{number}", f"{held}[{first} + other * {step}]")
            scope.add(
                f"t{number} = {held}[{first}];",
                f"for (i32 other = 1; other < {count}; other++) t{number} = {joined};",
            )

    def _held(self, number: int, row: int) -> str:
        """Shared memory of one reduction."""
        return f"(({self._kind(number)}*)shared_words[{row}])"

    def _result(self, scope: Scope, number: int) -> Number:
        analysis = self.analysis
        bounds, low_only = analysis.ranges[number], analysis.low_only[number]
        if self.region.is_float[number]:
            return self.let(scope, Number(f"ob_of_order_key(t{number})", "f32"))
        form = operations.form_of(bounds, low_only)
        return self.let(scope, Number(f"({operations.C_TYPES[form]})t{number}", form, bounds))
