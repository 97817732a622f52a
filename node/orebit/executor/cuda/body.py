"""The values of a region at one of its points as CUDA C statements: loads with strides, views that may miss, stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

from orebit.executor.cuda import operations
from orebit.executor.cuda.operations import ELEMENTS, Number
from orebit.executor.fused.analysis import INT32, Analysis, within
from orebit.executor.fused.region import Affine, Apply, Constant, Integers, Load, Region, Store, View, Wrap
from orebit.executor.views import row_major
from orebit.numerics.types import DType
from orebit.program.index_map import AxisMap


@dataclass
class Scope:
    """A block of code in which some axes' indices are known.

    Attributes:
        indices: expressions by axis, i32 or i64.
        values: what has been computed here, by step.
        lines: the block's statements.
    """

    indices: Mapping[int, str]
    outer: Scope | None = None
    values: dict[int, Number] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    def add(self, *lines: str) -> None:
        self.lines += lines


class Body:
    """Generates code for the steps of a region; subclasses arrange loops around it.

    Args:
        given: for slots that have no buffer, the variable that holds what their loads would read.
    """

    def __init__(self, region: Region, given: Mapping[int, str] | None = None) -> None:
        self.region = region
        self.analysis = Analysis(region)
        self.given = given or {}
        self._names = 0
        self._stores: dict[int, int] = {
            step.args[0]: number
            for number, step in enumerate(region.steps)
            if isinstance(step, Store) and region.inner[number]
        }
        # How many passes over the reduced axes are complete where code is being made.
        self.stage = 0

    # Parameters

    def slot_types(self) -> dict[int, DType]:
        """The element type of every slot's buffer."""
        return {step.slot: step.dtype for step in self.region.steps if isinstance(step, Load | View | Store)}

    def parameters(self) -> list[str]:
        """A kernel's parameters, one a slot in order; those of slots that are given are left out."""
        written = {step.slot for step in self.region.steps if isinstance(step, Store)}
        return [
            f"{'' if slot in written else 'const '}{ELEMENTS[dtype]}* __restrict__ p{slot}"
            for slot, dtype in sorted(self.slot_types().items())
            if slot not in self.given
        ]

    # Values

    def name(self, prefix: str = "v") -> str:
        self._names += 1
        return f"{prefix}{self._names}"

    def let(self, scope: Scope, number: Number) -> Number:
        """The same value under a name of its own."""
        made = self.name()
        scope.add(f"const {number.c_type} {made} = {number.text};")
        return Number(made, number.form, number.bounds)

    def value(self, scope: Scope, step: int) -> Number:
        """A step's value, computed as far out as it can be."""
        home = scope
        while home.outer is not None and all(k in home.outer.indices for k in self.region.axes[step]):
            home = home.outer
        around: Scope | None = home
        while around is not None:
            if step in around.values:
                return around.values[step]
            around = around.outer
        made = self._computed(home, step)
        home.values[step] = made if isinstance(self.region.steps[step], Constant) else self.let(home, made)
        return home.values[step]

    def _computed(self, scope: Scope, number: int) -> Number:
        step, analysis = self.region.steps[number], self.analysis
        bounds, low_only = analysis.ranges[number], analysis.low_only[number]
        kept = self._kept(number)
        if kept is not None:
            element = self._element(scope, kept.slot, kept.base, kept.strides)
            return operations.loaded(element, kept.dtype, bounds, low_only)
        match step:
            case Load(slot=slot) if slot in self.given:
                return operations.loaded(self.given[slot], step.dtype, bounds, low_only)
            case Load():
                element = self._element(scope, step.slot, step.base, step.strides)
                return operations.loaded(element, step.dtype, bounds, low_only)
            case View():
                return operations.loaded(self._view(scope, step), step.dtype, bounds, low_only)
            case Affine():
                return self._affine(scope, step, number)
            case Constant(dtype=DType.F32, value=value):
                return operations.float_constant(value)
            case Constant(value=value):
                return operations.constant(value, low_only)
            case Wrap(dtype=dtype, args=(arg,)):
                return operations.wrap(self.value(scope, arg), dtype, bounds)
            case Apply():
                args = [self.value(scope, arg) for arg in step.args]
                intervals = [analysis.intervals[arg] for arg in step.args]
                return operations.apply(step.op, args, low_only, bounds, intervals, number in analysis.clamped)
            case _:
                raise AssertionError(f"{type(step).__name__} has no value of its own here")

    def _kept(self, number: int) -> Store | None:
        """The store by which the same thread wrote a value in an earlier pass: it is read back."""
        store = self._stores.get(number)
        if store is None or self.region.stages[number] >= self.stage or not self.region.inner[number]:
            return None
        step = self.region.steps[store]
        assert isinstance(step, Store)
        return step if isinstance(self.region.steps[number], Apply | Wrap | View) else None

    # Places

    def position(self, scope: Scope, base: int, strides: Integers) -> str:
        """base + sum(strides * index), in 32 bits where the whole region's positions fit."""
        low, high = _reach(base, strides, self.region.extents)
        cast = "" if within((low, high), INT32) else "(i64)"
        suffix = "" if not cast else "LL"
        parts = [str(base) + suffix] if base else []
        for k, stride in enumerate(strides):
            if stride and self.region.extents[k] > 1:
                index = f"{cast}{scope.indices[k]}"
                parts.append(index if stride == 1 else f"{index} * {stride}{suffix}")
        return " + ".join(parts) or "0"

    def _element(self, scope: Scope, slot: int, base: int, strides: Integers) -> str:
        return f"p{slot}[{self.position(scope, base, strides)}]"

    def _affine(self, scope: Scope, step: Affine, number: int) -> Number:
        bounds, low_only = self.analysis.ranges[number], self.analysis.low_only[number]
        form = operations.form_of(bounds, low_only)
        text = self.position(scope, step.base, step.strides)
        if form == "wide":
            return Number(f"(i64)({text})", form, bounds)
        return Number(f"({operations.C_TYPES[form]})({text})", form, bounds)

    def _view(self, scope: Scope, step: View) -> str:
        """An expression that reads the element, or is the fill where the view misses."""
        shape, strides = list(step.shape), row_major(step.shape)
        extents = self.region.extents
        narrow = _is_small(step, extents)
        kind, suffix = ("i32", "") if narrow else ("i64", "LL")
        tests, parts = [], []
        if step.args:
            first = self.value(scope, step.args[0])
            tests.append(_below(first, shape[0]))
            parts.append(f"({kind}){first.text} * {strides[0]}{suffix}")
            shape, strides = shape[1:], strides[1:]
        for axis, extent, stride in zip(step.axes, shape, strides, strict=True):
            place = self.name("n")
            scope.add(f"const {kind} {place} = {self._coordinate(scope, axis, kind, suffix)};")
            low, high = axis.bounds(extents)
            if low < 0 or high >= extent * axis.divisor:
                tests.append(f"({'u32' if narrow else 'u64'}){place} < {extent * axis.divisor}u{suffix}")
            if axis.divisor > 1:
                tests.append(f"{place} % {axis.divisor}{suffix} == 0")
            if extent > 1:
                parts.append(f"{place} / {axis.divisor}{suffix} * {stride}{suffix}")
        element = f"p{step.slot}[{' + '.join(parts) or '0'}]"
        if not tests:
            return element
        fill = f"{step.fill:#x}u" if step.dtype.is_float else f"({step.dtype.label}){operations.literal(step.fill)}"
        read = self.name("r")
        scope.add(
            f"{ELEMENTS[step.dtype]} {read} = {fill};",
            f"if ({' && '.join(tests)}) {read} = {element};",
        )
        return read

    def _coordinate(self, scope: Scope, axis: AxisMap, kind: str, suffix: str) -> str:
        parts = [f"{axis.offset}{suffix}"] if axis.offset else []
        for k, coefficient in enumerate(axis.coefficients):
            if coefficient and self.region.extents[k] > 1:
                parts.append(f"({kind}){scope.indices[k]} * {coefficient}{suffix}")
        return " + ".join(parts) or "0"

    # Stores

    def store(self, scope: Scope, step: Store, condition: str = "") -> None:
        value = operations.stored(self.value(scope, step.args[0]), step.dtype, step.canonical)
        target = self._element(scope, step.slot, step.base, step.strides)
        scope.add(f"{f'if ({condition}) ' if condition else ''}{target} = {value};")


def decode(
    axes: Sequence[int], extents: Sequence[int], flat: str, kind: str, prefix: str
) -> tuple[list[str], dict[int, str]]:
    """Statements that take a flat row-major position over some axes apart, and the indices' names by axis."""
    lines, names = [], {}
    left = prod(extents[k] for k in axes)
    unsigned = "u32" if kind == "i32" else "u64"
    rest = flat
    for k in axes:
        left //= extents[k]
        names[k] = f"{prefix}{k}"
        if left == 1:
            lines.append(f"const {kind} {names[k]} = ({kind}){rest};")
            rest = "0"
            continue
        lines.append(f"const {kind} {names[k]} = ({kind})(({unsigned}){rest} / {left}u);")
        after = f"{prefix}{k}_left"
        lines.append(f"const {kind} {after} = {rest} - {names[k]} * {left};")
        rest = after
    return lines, names


def _reach(base: int, strides: Integers, extents: Integers) -> tuple[int, int]:
    """Ends of base + any partial sum of strides * index, every product included."""
    spans = [stride * (extent - 1) for stride, extent in zip(strides, extents, strict=True)]
    low, high = sum(min(span, 0) for span in spans), sum(max(span, 0) for span in spans)
    return min(low + base, low, base), max(high + base, high, base)


def _is_small(step: View, extents: Integers) -> bool:
    """Whether coordinates and positions fit 32 bits, every partial sum included."""
    shape = step.shape[1:] if step.args else step.shape
    return prod(step.shape) < 1 << 31 and all(
        extent * axis.divisor < 1 << 31
        and within(_reach(axis.offset, axis.coefficients, extents), (INT32[0] + 1, INT32[1]))
        for axis, extent in zip(step.axes, shape, strict=True)
    )


def _below(index: Number, extent: int) -> str:
    """0 <= index < extent, by one unsigned comparison."""
    if index.form in ("s", "u") and extent < 1 << 31:
        return f"(u32){index.text} < {extent}u"
    return f"(u64){operations.wide(index)} < {extent}uLL"
