"""Scatter kernels: each unit owns a strip of columns of the output, for all of its rows, and walks every source row."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from orebit.executor.fused import arithmetic
from orebit.executor.fused.access import Place, element_kind
from orebit.executor.fused.arithmetic import Number
from orebit.executor.fused.build import RegionBuilder
from orebit.executor.fused.nest import Kernel, RegionCode
from orebit.executor.fused.region import Region
from orebit.executor.fused.text import Cursor, Loop, Value, f32, integer
from orebit.executor.ranges import Range
from orebit.executor.views import row_major
from orebit.program.descriptor import Descriptor, Kind


class ScatterCode(RegionCode):
    """Generates the kernel of a scatter_sum or scatter_max; its slots are index, source and output.

    Args:
        reads: proven ranges of index and source.
    """

    def __init__(self, descriptor: Descriptor, reads: Sequence[Range], width: int) -> None:
        self._descriptor = descriptor
        rank = len(descriptor.shape)
        super().__init__(_read_steps(descriptor, reads), width)
        self.analysis.low_only = [False] * len(self.region.steps)
        self._columns = rank - 1 if rank > 1 else -1
        extent = descriptor.shape[-1] if rank > 1 else 1
        self.width = 1 << (min(2 * width, extent).bit_length() - 1)
        self._strides = row_major(descriptor.shape)
        self.stage = 0

    @property
    def identity(self) -> tuple[object, ...]:
        return ("scatter", self._descriptor.encoded, self.region, self.width)

    @property
    def _outer(self) -> list[int]:
        return list(range(1, self._columns))

    def _walks(self, number: int) -> bool:
        return False

    def kernel(self) -> Kernel:
        at = self._begin()
        shape = self._descriptor.shape
        strips, single = divmod(shape[-1], self.width) if self._columns > 0 else (1, 0)
        rest = prod(shape[1:-1]) if self._columns > 0 else 1
        units = self._strip_loops(at, rest, strips, single)
        cost = max(1, (shape[0] + 8 * prod(self._descriptor.reduction)) * 2)
        return self._finish(at, units, cost)

    def _unit_of_columns(self, at: Cursor, line: Value, column: Value, lanes: int) -> None:
        indices = self._indices(at, line) if self._outer else {}
        if self._columns > 0:
            indices[self._columns] = column
        unit = Place(at, indices, self._columns, lanes)
        base = unit.position(0, (0, *self._strides[1:]))
        rows = Loop(at, integer(0), integer(self._descriptor.shape[0]), surely=True)
        rows.body.store(rows.body.repeat(self._fill(), lanes), self._row(rows.body, base, rows.index))
        rows.close()
        place, loops = unit, []
        for k in range(len(self._descriptor.shape), len(self.extents)):
            loop = Loop(place.at, integer(0), integer(self.extents[k]), surely=True)
            place = Place(loop.body, {**place.indices, k: loop.index}, unit.axis, lanes, place)
            loops.append(loop)
        self._land(place, base, lanes)
        for loop in reversed(loops):
            loop.close()

    def _land(self, place: Place, base: Value, lanes: int) -> None:
        """Adds or compares one source row's strip, where its index is a row of the output."""
        at = place.at
        row = arithmetic.wide(at, self.number(place, 0))
        source = self.number(place, 1)
        inside = at.compare("icmp ult", row, integer(self._descriptor.shape[0]))
        function = at.function
        hit, after = function.block("hit"), function.block("after")
        at.branch(inside, hit, after)
        at.block = hit
        address = self._row(at, base, row)
        held = at.load(address, element_kind(self._descriptor.dtype), lanes)
        at.store(self._together(at, held, source, lanes), address)
        at.jump(after)
        at.block = after

    def _together(self, at: Cursor, held: Value, source: Number, lanes: int) -> Value:
        dtype = self._descriptor.dtype
        if self._descriptor.kind is Kind.SCATTER_SUM:
            return at.binary("add", held, at.repeat(arithmetic.wide(at, source), lanes))
        if dtype.is_float:
            keys = [arithmetic.order_key(at, x) for x in (held, at.repeat(source.value, lanes))]
            bits = arithmetic.from_order_key_bits(at, at.intrinsic("smax", *keys))
            return at.cast("bitcast", bits, "float")
        stored = at.repeat(arithmetic.stored(at, source, dtype), lanes)
        return at.intrinsic("smax" if dtype.is_signed else "umax", held, stored)

    def _fill(self) -> Value:
        dtype = self._descriptor.dtype
        if self._descriptor.kind is Kind.SCATTER_SUM:
            return integer(0)
        fill = self._descriptor.operands[1].fill
        return f32(fill) if dtype.is_float else integer(fill, element_kind(dtype))

    def _row(self, at: Cursor, base: Value, row: Value) -> Value:
        position = at.linear(0, [(self._strides[0], row), (1, base)])
        return at.address(self.pointers[2], position, element_kind(self._descriptor.dtype))


def _read_steps(descriptor: Descriptor, reads: Sequence[Range]) -> Region:
    """Both operands as steps over the whole space; nothing is stored."""
    axes = [(k,) for k in range(len(descriptor.space))]
    builder = RegionBuilder(descriptor.space, (False,) * len(descriptor.space), reads)
    for position in range(2):
        builder.read(descriptor, position, axes)
    return Region(builder.extents, builder.reduced, tuple(builder.steps), 3)
