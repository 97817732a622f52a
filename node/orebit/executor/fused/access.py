"""Reading and writing buffers at a place in the loops: contiguous vectors, single lanes, and reads that may miss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from orebit.executor.fused.arithmetic import Number, low, wide
from orebit.executor.fused.region import Affine, Integers, Load, Store, View
from orebit.executor.fused.text import Cursor, Value, bytes_of, f32, integer, vector
from orebit.executor.views import row_major
from orebit.numerics.types import DType
from orebit.program.index_map import AxisMap

_INT32_END = 1 << 31


def element_kind(dtype: DType) -> str:
    """How LLVM calls a buffer's elements."""
    return "float" if dtype.is_float else f"i{8 * dtype.size}"


@dataclass
class Place:
    """A point in the loops, with the index of each axis that is fixed there.

    Attributes:
        at: where instructions are appended.
        indices: i64 scalars by axis; of the vector axis, that of the first lane.
        axis: the axis along which lanes differ; -1 for none.
        lanes: along that axis, where it is fixed here.
        outer: the place around this one.
        values: what has been computed here, by step.
    """

    at: Cursor
    indices: Mapping[int, Value]
    axis: int = -1
    lanes: int = 1
    outer: Place | None = None
    values: dict[int, Number] = field(default_factory=dict)

    def position(self, base: int, strides: Integers) -> Value:
        """base + sum(strides * index), of the first lane."""
        return self.at.linear(base, ((stride, self.indices[k]) for k, stride in enumerate(strides) if stride))

    def stride(self, strides: Integers) -> int:
        """From lane to lane."""
        return strides[self.axis] if self.axis >= 0 and self.lanes > 1 else 0


def read(place: Place, pointer: Value, step: Load) -> Value:
    """The elements that a load reads: one where lanes do not differ."""
    at, kind = place.at, element_kind(step.dtype)
    stride = place.stride(step.strides)
    address = at.address(pointer, place.position(step.base, step.strides), kind)
    if stride in (0, 1):
        return at.load(address, kind, place.lanes if stride else 1)
    lanes = [at.load(at.address(address, integer(stride * lane), kind), kind) for lane in range(place.lanes)]
    return at.gather_lanes(lanes)


def write(place: Place, pointer: Value, step: Store, value: Value) -> None:
    """Writes a value, scalar or of the place's lanes."""
    at, kind = place.at, element_kind(step.dtype)
    stride = place.stride(step.strides)
    address = at.address(pointer, place.position(step.base, step.strides), kind)
    if stride == 1:
        at.store(at.repeat(value, place.lanes), address)
        return
    for lane in range(place.lanes if stride else 1):
        target = at.address(address, integer(stride * lane), kind) if lane else address
        at.store(at.lane(value, lane), target)


def affine(place: Place, step: Affine, narrow: bool) -> Value:
    """An affine function of the indices, as i32 (its low bits) or i64."""
    at, kind = place.at, "i32" if narrow else "i64"
    first = at.cast("trunc", place.position(step.base, step.strides), kind)
    stride = place.stride(step.strides)
    if not stride:
        return first
    return at.binary("add", first, vector([stride * lane for lane in range(place.lanes)], kind))


@dataclass
class _Target:
    """Where a view reads: flat positions, whether each is inside (None: all are), and the step from lane to lane if
    lanes walk the buffer evenly."""

    flat: Value
    inside: Value | None
    stride: int | None


def read_view(place: Place, pointer: Value, step: View, extents: Integers, first: Number | None) -> Value:
    """What a view reads: elements, or the fill where it misses. `first` is a gather's coordinate on axis 0."""
    at, kind = place.at, element_kind(step.dtype)
    target = _locate(place, step, extents, first)
    fill = f32(step.fill) if step.dtype.is_float else integer(step.fill, kind)
    if target.flat.lanes == 1 and target.stride is None and (target.inside is None or target.inside.lanes == 1):
        return _read_one(at, pointer, kind, target, fill)
    if target.stride == 1:
        return _read_run(place, pointer, kind, target, fill)
    return _read_lanes(place, pointer, kind, target, fill)


def _read_one(at: Cursor, pointer: Value, kind: str, target: _Target, fill: Value) -> Value:
    flat = target.flat
    if target.inside is None:
        return at.load(at.address(pointer, flat, kind), kind)
    safe = at.select(target.inside, flat, integer(0, flat.kind))
    return at.select(target.inside, at.load(at.address(pointer, safe, kind), kind), fill)


def _read_lanes(place: Place, pointer: Value, kind: str, target: _Target, fill: Value) -> Value:
    at, lanes = place.at, place.lanes
    flat = at.repeat(target.flat, lanes)
    if target.inside is not None:
        flat = at.select(target.inside, flat, integer(0, flat.kind))
    each = [at.load(at.address(pointer, at.lane(flat, lane), kind), kind) for lane in range(lanes)]
    made = at.gather_lanes(each)
    return made if target.inside is None else at.select(target.inside, made, fill)


def _read_run(place: Place, pointer: Value, kind: str, target: _Target, fill: Value) -> Value:
    """Neighbouring elements at once, where all of them are inside."""
    at, lanes = place.at, place.lanes
    start = at.lane(target.flat, 0)
    if target.inside is None:
        return at.load(at.address(pointer, start, kind), kind, lanes)
    function = at.function
    run, single, after = (function.block(hint) for hint in ("run", "single", "after"))
    at.branch(at.reduce("and", target.inside), run, single)
    at.block = run
    whole = at.load(at.address(pointer, start, kind), kind, lanes)
    at.jump(after)
    at.block = single
    if target.inside.lanes == 1:
        parts = at.repeat(fill, lanes)
    else:
        parts = _read_lanes(place, pointer, kind, target, fill)
    last = at.block
    at.jump(after)
    at.block = after
    return at.join(kind, lanes, [(whole, run), (parts, last)])


def _locate(place: Place, step: View, extents: Integers, first: Number | None) -> _Target:
    at = place.at
    shape = step.shape if first is None else step.shape[1:]
    strides = row_major(step.shape)
    own = strides if first is None else strides[1:]
    kind = "i32" if _small(step, extents, shape) else "i64"
    flat, tests = integer(0, kind), []
    stride: int | None = 0
    if first is not None:
        index = first.value if first.value.kind != "i1" else low(at, first)
        tests.append(_below(at, index, step.shape[0], first))
        chosen = low(at, first) if kind == "i32" else wide(at, first)
        flat = at.binary("mul", chosen, integer(strides[0], kind))
        stride = 0 if first.lanes == 1 else None
    for axis, extent, scale in zip(step.axes, shape, own, strict=True):
        moved = affine(place, Affine(axis.offset, axis.coefficients), kind == "i32")
        reach = extent * axis.divisor
        least, most = axis.bounds(extents)
        if least < 0 or most >= reach:
            tests.append(at.compare("icmp ult", moved, integer(reach, kind)))
        if axis.divisor > 1:
            divisor = integer(axis.divisor, kind)
            tests.append(at.compare("icmp eq", at.binary("srem", moved, divisor), integer(0, kind)))
            moved = at.binary("sdiv", moved, divisor)
        along = place.stride(axis.coefficients)
        if along and axis.divisor > 1:
            stride = None
        elif stride is not None:
            stride += along * scale
        flat = at.binary("add", flat, at.binary("mul", moved, integer(scale, kind)))
    inside = None
    for test in tests:
        inside = test if inside is None else at.binary("and", inside, test)
    varies = flat.lanes > 1 or (inside is not None and inside.lanes > 1)
    return _Target(flat, inside, stride if varies else None)


def _small(step: View, extents: Integers, shape: Integers) -> bool:
    """Whether positions and coordinates fit 32 bits."""
    size = 1
    for extent in step.shape:
        size *= extent
    return size < _INT32_END and all(
        _fits(axis, extent, extents) for axis, extent in zip(step.axes, shape, strict=True)
    )


def _fits(axis: AxisMap, extent: int, extents: Integers) -> bool:
    low_, high = axis.bounds(extents)
    return -_INT32_END < low_ and high < _INT32_END and extent * axis.divisor < _INT32_END


def _below(at: Cursor, index: Value, extent: int, first: Number) -> Value:
    """0 <= index < extent, by one unsigned comparison; an extent beyond the index's type only needs the sign."""
    if extent < 1 << (8 * bytes_of(index.kind) - 1):
        return at.compare("icmp ult", index, integer(extent, index.kind))
    if first.form == "u":
        return at.compare("icmp eq", index, index)
    return at.compare("icmp sge", index, integer(0, index.kind))
