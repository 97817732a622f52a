"""From a region to a kernel: loops, lanes and passes.

Three forms. Without reduced axes, lines along the last axis are cut into chunks, and lanes lie along it. Where the last
axis is reduced, a unit is one output element: passes walk the reduced axes, lanes along the last, and each pass ends by
combining lanes. Where it is not, a unit is a strip of output elements along it, one a lane, and passes walk the reduced
axes with whole strips. Units are what threads share out; no unit writes what another reads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import prod

from orebit.executor.fused import arithmetic
from orebit.executor.fused.access import Place, affine, read, read_view, write
from orebit.executor.fused.analysis import INT32, UINT32, Analysis, fits, within
from orebit.executor.fused.arithmetic import Number
from orebit.executor.fused.passes import Passes
from orebit.executor.fused.region import Affine, Apply, Constant, Load, Reduce, Region, Step, Store, View, Wrap
from orebit.executor.fused.text import Cursor, Function, Loop, Value, f32, integer
from orebit.executor.ranges import Range
from orebit.numerics.types import INT64_MIN

CHUNK = 4096
# Operations that one call computes below another.
DEEP = 64
STRIP = 16
# Where so many operations wait for one another, several vectors side by side keep the processor busy.
LONG_CHAIN = 24
VECTORS_SIDE_BY_SIDE = 4


@dataclass(frozen=True)
class Kernel:
    """A generated function.

    Attributes:
        name: from its contents: equal kernels have equal names.
        text: its definition and what it declares, in LLVM assembly.
        units: of its parallel range.
        unit_cost: about how many vector instructions a unit takes.
    """

    name: str
    text: str
    declarations: frozenset[str]
    units: int
    unit_cost: int


class RegionCode:
    """Generates the kernel of a collapsed region.

    Args:
        width: lanes of 32 bits that the machine's vectors have.
    """

    def __init__(self, region: Region, width: int) -> None:
        self.region = region
        self.analysis = Analysis(region)
        self.extents = region.extents
        self.last = len(self.extents) - 1
        self.kept = [k for k in range(self.last + 1) if not region.reduced[k]]
        self.walked = [k for k in range(self.last + 1) if region.reduced[k]]
        self.columns = bool(self.walked) and not region.reduced[self.last]
        most = STRIP if self.columns else self._lanes_at_once(width)
        extent = self.extents[self.last]
        self.width = 1 << (min(most, extent).bit_length() - 1)
        self.passes = Passes(region, self.analysis, self.width if self.columns else 1)

    def _lanes_at_once(self, width: int) -> int:
        """Lanes of a step along the last axis: of several vectors, if that leaves no more elements over."""
        waits: list[int] = []
        for step in self.region.steps:
            waits.append(1 + max(waits[arg] for arg in step.args) if isinstance(step, Apply) and step.args else 0)
        lanes, extent = width * (VECTORS_SIDE_BY_SIDE if max(waits) >= LONG_CHAIN else 1), self.extents[self.last]
        while lanes > width and extent % lanes != extent % width:
            lanes //= 2
        return lanes

    @property
    def identity(self) -> tuple[object, ...]:
        """All that the kernel's text follows from."""
        return ("region", self.region, self.width)

    @cached_property
    def name(self) -> str:
        return "k" + hashlib.sha256(repr(self.identity).encode()).hexdigest()[:24]

    def kernel(self) -> Kernel:
        at = self._begin()
        self.saved = {
            number: self.function.allocate(self._held_kind(number), self.region.reduced_size * self.passes.lanes)
            for number in self.passes.saved
        }
        units = self._unit_loops(at)
        return self._finish(at, units, len(self.region.steps) * prod(self.extents) // units // self.width)

    def _begin(self) -> Cursor:
        self.function = Function(self.name)
        at = Cursor(self.function, self.function.entry)
        args = Value("%args", "ptr")
        slots = range(self.region.slots)
        self.pointers = [at.load(at.address(args, integer(slot), "i64"), "ptr") for slot in slots]
        return at

    def _finish(self, at: Cursor, units: int, cost: int) -> Kernel:
        at.line("ret void")
        declarations = frozenset(self.function.declarations.values())
        return Kernel(self.name, self.function.text(), declarations, units, max(cost, 1))

    # Units

    def _unit_loops(self, at: Cursor) -> int:
        begin, end = Value("%begin", "i64"), Value("%end", "i64")
        if not self.columns:
            chunks = 1 if self.walked else -(-self.extents[self.last] // CHUNK)
            units = prod(self.extents[k] for k in self._outer) * chunks
            loop = Loop(at, begin, end)
            self._unit(loop.body, loop.index, chunks)
            loop.close()
            return units
        rest = prod(self.extents[k] for k in self._outer)
        return self._strip_loops(at, rest, *divmod(self.extents[self.last], self.width))

    def _strip_loops(self, at: Cursor, rest: int, strips: int, single: int) -> int:
        """Units of one strip each, then of one column each."""
        begin, end = Value("%begin", "i64"), Value("%end", "i64")
        whole, units = rest * strips, rest * (strips + single)
        parts = ((strips, self.width, 0, whole, 0), (single, 1, whole, units, strips * self.width))
        for count, lanes, first, limit, offset in parts:
            if count:
                start = at.intrinsic("smax", begin, integer(first))
                loop = Loop(at, start, at.intrinsic("smin", end, integer(limit)))
                number = loop.body.binary("sub", loop.index, integer(first))
                line, strip = self._split(loop.body, number, count)
                column = loop.body.linear(offset, [(lanes, strip)])
                self._unit_of_columns(loop.body, line, column, lanes)
                loop.close()
        return units

    @property
    def _outer(self) -> list[int]:
        """Axes whose indices a unit fixes, beside its place on the last axis."""
        return self.kept if self.last in self.walked else [k for k in self.kept if k != self.last]

    def _split(self, at: Cursor, number: Value, count: int) -> tuple[Value, Value]:
        if count == 1:
            return number, integer(0)
        by = integer(count)
        return at.binary("udiv", number, by), at.binary("urem", number, by)

    def _indices(self, at: Cursor, number: Value) -> dict[int, Value]:
        indices = {}
        outer = self._outer
        for k in reversed(outer[1:]):
            number, indices[k] = self._split(at, number, self.extents[k])
        if outer:
            indices[outer[0]] = number
        return indices

    def _unit(self, at: Cursor, number: Value, chunks: int) -> None:
        line, chunk = self._split(at, number, chunks)
        place = Place(at, self._indices(at, line))
        if self.walked:
            self._passes(place, None)
            return
        extent = self.extents[self.last]
        if chunks == 1:
            self._passes(place, (integer(0), integer(extent)))
            return
        start = at.binary("mul", chunk, integer(CHUNK))
        stop = at.intrinsic("smin", at.binary("add", start, integer(CHUNK)), integer(extent))
        self._passes(place, (start, stop))

    def _unit_of_columns(self, at: Cursor, line: Value, column: Value, lanes: int) -> None:
        indices = self._indices(at, line)
        indices[self.last] = column
        self._passes(Place(at, indices, self.last, lanes), None)

    # Passes

    def _passes(self, unit: Place, chunk: tuple[Value, Value] | None) -> None:
        steps = self.region.steps
        for stage in range(self.passes.count):
            for number, step in enumerate(steps):
                if isinstance(step, Store) and not self._walks(number) and self.region.stages[number] == stage:
                    self._store(unit, step)
            if self.passes.targets[stage]:
                self._pass(unit, stage, chunk)

    def _walks(self, number: int) -> bool:
        """Whether a step is computed inside the walk over reduced axes (or over chunks, where none is reduced)."""
        return self.region.inner[number] if self.walked else True

    def _pass(self, unit: Place, stage: int, chunk: tuple[Value, Value] | None) -> None:
        self.stage, self.unit = stage, unit
        reductions = [number for number in self.passes.targets[stage] if isinstance(self.region.steps[number], Reduce)]
        accumulators: dict[int, list[Value]] = {number: [] for number in reductions}

        def body(place: Place) -> None:
            for number in self.passes.targets[stage]:
                step = self.region.steps[number]
                if isinstance(step, Store):
                    self._store(place, step)
                elif isinstance(step, Reduce):
                    self._accumulate(place, accumulators[number], number, step)
                else:
                    self._save(place, number)

        place, loops = unit, []
        around = self.walked if self.columns else [k for k in self.walked if k != self.last]
        for k in around:
            loop = Loop(place.at, integer(0), integer(self.extents[k]), surely=True)
            indices = {**place.indices, k: loop.index}
            place = Place(loop.body, indices, place.axis, place.lanes, place)
            loops.append(loop)
        if self.columns:
            body(place)
        else:
            self._line(place, chunk or (integer(0), integer(self.extents[self.last])), body)
        for loop in reversed(loops):
            loop.close()
        for number in reductions:
            unit.values[number] = self._combined(unit.at, number, accumulators[number])

    def _line(self, place: Place, span: tuple[Value, Value], body: Callable[[Place], None]) -> None:
        """The walk along the last axis: whole vectors, then what is left one by one."""
        start, stop = span
        left = self.extents[self.last] % self.width
        if start.constant and stop.constant:
            middle = integer(int(stop.text) - left)
        elif left:
            length = place.at.binary("sub", stop, start)
            whole = place.at.binary("and", length, integer(-self.width))
            middle = place.at.binary("add", start, whole)
        else:
            middle = stop
        for first, last, lanes in ((start, middle, self.width), (middle, stop, 1)):
            if first.text == last.text:
                continue
            loop = Loop(place.at, first, last, lanes, surely=first.constant and last.constant)
            body(Place(loop.body, {**place.indices, self.last: loop.index}, self.last, lanes, place))
            loop.close()

    # Values

    def number(self, place: Place, step: int) -> Number:
        """A step's value at a place, computed as far out as it can be."""
        home = self._home(place, step)
        around: Place | None = home
        while around is not None:
            if step in around.values:
                return around.values[step]
            around = around.outer
        if self._is_crossing(step):
            made = self._crossed(home, step)
        else:
            self._compute_deep(home, step)
            made = self._computed(home, step)
        home.values[step] = made
        return made

    def _compute_deep(self, place: Place, step: int) -> None:
        """What stands far below a value, from the bottom up: an expression may be longer than Python's stack."""
        if self._depths[step] <= DEEP:
            return
        found, pending, seen = [], [step], {step}
        while pending:
            for arg in self.region.steps[pending.pop()].args:
                if arg not in seen and self._depths[arg] >= DEEP and not self._is_known(place, arg):
                    seen.add(arg)
                    pending.append(arg)
                    if self._depths[arg] % DEEP == 0:
                        found.append(arg)
        for number in sorted(found):
            self.number(place, number)

    def _is_known(self, place: Place, step: int) -> bool:
        around: Place | None = self._home(place, step)
        while around is not None and step not in around.values:
            around = around.outer
        return around is not None or self._is_crossing(step)

    @cached_property
    def _depths(self) -> list[int]:
        """How many operations stand one below the other under each step."""
        depths: list[int] = []
        for step in self.region.steps:
            below = 0 if isinstance(step, Reduce) else 1 + max((depths[arg] for arg in step.args), default=0)
            depths.append(below)
        return depths

    def _home(self, place: Place, step: int) -> Place:
        axes = self.region.axes[step]
        while place.outer is not None and all(k in place.outer.indices for k in axes):
            place = place.outer
        return place

    def _lanes(self, place: Place, number: int) -> int:
        return place.lanes if place.axis in self.region.axes[number] else 1

    def _computed(self, place: Place, number: int) -> Number:
        step, analysis = self.region.steps[number], self.analysis
        bounds, low_only = analysis.ranges[number], analysis.low_only[number]
        match step:
            case Load():
                value = read(place, self.pointers[step.slot], step)
                return arithmetic.loaded(place.at, value, step.dtype, bounds, low_only)
            case View():
                first = self.number(place, step.args[0]) if step.args else None
                value = read_view(place, self.pointers[step.slot], step, self.extents, first)
                return arithmetic.loaded(place.at, value, step.dtype, bounds, low_only)
            case Affine():
                form = arithmetic.form_of(bounds, low_only)
                return Number(affine(place, step, form != "wide"), form, bounds)
            case Constant():
                return self._constant(step, bounds, low_only)
            case Wrap():
                return arithmetic.wrap(place.at, self.number(place, step.args[0]), step.dtype, bounds)
            case Apply():
                args = [self.number(place, arg) for arg in step.args]
                intervals = [analysis.intervals[arg] for arg in step.args]
                return arithmetic.apply(
                    place.at, step.op, args, low_only, bounds, intervals, number in analysis.clamped
                )
            case _:
                raise AssertionError(f"{type(step).__name__} has no value of its own here")

    def _constant(self, step: Constant, bounds: Range, low_only: bool) -> Number:
        if step.dtype.is_float:
            return Number(f32(step.value), "f32")
        form = arithmetic.form_of(bounds, low_only)
        return Number(integer(step.value, "i64" if form == "wide" else "i32"), form, bounds)

    def _store(self, place: Place, step: Store) -> None:
        (arg,) = step.args
        number = self.number(place, arg)
        value = arithmetic.stored(place.at, number, step.dtype)
        if step.canonical and step.dtype.is_float:
            value = arithmetic.canonical(place.at, value)
        write(place, self.pointers[step.slot], step, value)

    # Values that a later pass needs again

    def _is_crossing(self, number: int) -> bool:
        return self._walks(number) and self.region.stages[number] < self.stage and number in self.passes.crossing

    def _crossed(self, place: Place, number: int) -> Number:
        store = self.passes.crossing[number]
        if store is None:
            return self._saved(place, number)
        step = self.region.steps[store]
        assert isinstance(step, Store)
        bounds = self.analysis.ranges[number]
        # What the value does not depend on is left out where it is not fixed: any of its copies will do.
        strides = tuple(stride if k in place.indices else 0 for k, stride in enumerate(step.strides))
        again = Load(step.slot, step.dtype, step.base, strides, bounds)
        value = read(place, self.pointers[step.slot], again)
        return arithmetic.loaded(place.at, value, step.dtype, bounds, self.analysis.low_only[number])

    def _held_kind(self, number: int) -> str:
        if self.region.is_float[number]:
            return "float"
        return "i32" if self.analysis.narrow(number) else "i64"

    def _saved_address(self, place: Place, number: int, lanes: int) -> Value:
        strides = [0] * (self.last + 1)
        reach = self.passes.lanes
        for k in reversed(self.walked):
            strides[k] = reach
            reach *= self.extents[k]
        at = place.at
        position = at.linear(0, ((strides[k], place.indices[k]) for k in self.walked if k in place.indices))
        return at.address(self.saved[number], position, self._held_kind(number))

    def _save(self, place: Place, number: int) -> None:
        kept = self.number(place, number)
        at, lanes = place.at, place.lanes
        if kept.form == "f32":
            value = kept.value
        else:
            value = arithmetic.low(at, kept) if self._held_kind(number) == "i32" else arithmetic.wide(at, kept)
        at.store(at.repeat(value, lanes), self._saved_address(place, number, lanes))

    def _saved(self, place: Place, number: int) -> Number:
        kind, bounds = self._held_kind(number), self.analysis.ranges[number]
        value = place.at.load(self._saved_address(place, number, place.lanes), kind, place.lanes)
        if kind == "float":
            return Number(value, "f32")
        return Number(value, arithmetic.form_of(bounds, self.analysis.low_only[number]), bounds)

    # Reductions

    def _accumulate(self, place: Place, made: list[Value], number: int, step: Reduce) -> None:
        (arg,) = step.args
        at = place.at
        term = at.repeat(self._term(at, self.number(place, arg), number), place.lanes)
        memory = self.function.allocate(term.type)
        made.append(Value(memory.text, term.kind, place.lanes))
        before = self.unit.at  # stands before the pass's loops
        before.store(before.repeat(self._identity(step, term.kind), place.lanes), memory)
        running = at.load(memory, term.kind, place.lanes)
        at.store(self._joined(at, step, running, term), memory)

    def _term(self, at: Cursor, x: Number, number: int) -> Value:
        if x.form == "f32":
            return arithmetic.order_key(at, x.value)
        return arithmetic.low(at, x) if self._running_kind(number) == "i32" else arithmetic.wide(at, x)

    def _running_kind(self, number: int) -> str:
        """The type in which a reduction runs."""
        step = self.region.steps[number]
        if self.region.is_float[number]:
            return "i32"
        narrow = fits(self.analysis.ranges[step.args[0]]) if _is_maximum(step) else self.analysis.narrow(number)
        return "i32" if narrow else "i64"

    def _unsigned(self, step: Reduce) -> bool:
        bounds = self.analysis.ranges[step.args[0]]
        return within(bounds, UINT32) and not within(bounds, INT32)

    def _identity(self, step: Reduce, kind: str) -> Value:
        if not step.maximum or self._unsigned(step):
            return integer(0, kind)
        return integer(INT64_MIN if kind == "i64" else INT32[0], kind)

    def _joined(self, at: Cursor, step: Reduce, x: Value, y: Value) -> Value:
        if not step.maximum:
            return at.binary("add", x, y)
        return at.intrinsic("umax" if self._unsigned(step) else "smax", x, y)

    def _combined(self, at: Cursor, number: int, made: list[Value]) -> Number:
        """The result of a pass; in the unit's own lanes."""
        step = self.region.steps[number]
        assert isinstance(step, Reduce)
        total: Value | None = None
        for running in made:
            value = at.load(Value(running.text, "ptr"), running.kind, running.lanes)
            if not self.columns:
                name = ("umax" if self._unsigned(step) else "smax") if step.maximum else "add"
                value = at.reduce(name, value)
            total = value if total is None else self._joined(at, step, total, value)
        assert total is not None
        return self._result(at, number, total)

    def _result(self, at: Cursor, number: int, total: Value) -> Number:
        """What a reduction's running result becomes."""
        bounds = self.analysis.ranges[number]
        if self.region.is_float[number]:
            return Number(at.cast("bitcast", arithmetic.from_order_key_bits(at, total), "float"), "f32")
        form = arithmetic.form_of(bounds, self.analysis.low_only[number])
        return Number(total, form, bounds)


def _is_maximum(step: Step) -> bool:
    return isinstance(step, Reduce) and step.maximum
