"""One element of one node from posted reads alone: what the contract NodeEvaluator says, by the scalar oracle.

`y` is the element's bytes as an unsigned number of its type's width; over a part of the reduction it is 64 bits, an
integer sign-extended, an f32's bits zero-extended. Reads are position-major, raw, little-endian.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from orebit.errors import IllegalMove
from orebit.executor.interpreter import evaluate_expression
from orebit.numerics import scalar
from orebit.numerics.types import MASK64, DType
from orebit.program.descriptor import Descriptor, Kind
from orebit.program.price import PARTIALS, READS_BYTES

PARTIAL_BYTES = 8


@dataclass(frozen=True, slots=True)
class Read:
    """One value among posted reads, and where it should have been read."""

    dtype: DType
    posted: int
    inside: bool
    """Whether the index map leads to an element of the operand; if not, the true value is `fill`."""
    source: int
    """The element's row-major number in the operand's tensor."""
    fill: int
    elements: int
    """Elements of the operand's tensor."""

    @property
    def true_outside(self) -> bool:
        return not self.inside and self.posted == self.fill


def positions_of(descriptor: Descriptor) -> int:
    """Points of the reduction; 1 for a map or gather."""
    return prod(descriptor.reduction)


def stride_of(descriptor: Descriptor) -> int:
    """Bytes of one position's reads."""
    return sum(operand.dtype.size for operand in descriptor.operands)


def partial_bounds(start: int, stop: int) -> list[int]:
    """Where the partial results over [start, stop) begin, and where the last ends."""
    m = min(PARTIALS, stop - start)
    return [start + j * (stop - start) // m for j in range(m + 1)]


def to_raw(value: int, dtype: DType) -> int:
    """A value (an f32's bits, an integer) as the unsigned number that its bytes are."""
    return value & ((1 << 8 * dtype.size) - 1)


def from_raw(raw: int, dtype: DType) -> int:
    """The value that these bytes load as: an f32's canonical bits, an integer with its sign."""
    return scalar.canonical(raw) if dtype.is_float else dtype.wrap(raw)


def point_of(flat: int, shape: Sequence[int]) -> tuple[int, ...]:
    """Coordinates of a row-major number."""
    point = []
    for extent in reversed(shape):
        point.append(flat % extent)
        flat //= extent
    return tuple(reversed(point))


def evaluate(descriptor: Descriptor, element: int, start: int, stop: int, reads: bytes) -> int:
    """`y` over the positions [start, stop) on these reads.

    Raises:
        IllegalMove: for a range or element that the node does not have, or reads of another length.
    """
    rows = _rows(descriptor, element, start, stop, reads)
    point = point_of(element, descriptor.shape)
    if descriptor.kind is Kind.MAP:
        assert descriptor.expression is not None
        made = evaluate_expression(descriptor.expression, rows[0], point, element)
        return to_raw(made, descriptor.dtype)
    if descriptor.kind is Kind.GATHER:
        return to_raw(rows[0][1], descriptor.dtype)
    whole = (start, stop) == (0, positions_of(descriptor))
    return _result(descriptor, _reduce(descriptor, point, rows), whole)


def combine(descriptor: Descriptor, start: int, stop: int, results: bytes) -> int:
    """What partial results over [start, stop) amount to.

    Raises:
        IllegalMove: when there are too few or too many.
    """
    _refuse_range(descriptor, 0, start, stop)
    count = min(PARTIALS, stop - start)
    if len(results) != PARTIAL_BYTES * count:
        raise IllegalMove(f"{count} partial results take {PARTIAL_BYTES * count} bytes, not {len(results)}")
    parts = [int.from_bytes(results[at : at + PARTIAL_BYTES], "little") for at in range(0, len(results), PARTIAL_BYTES)]
    values = [_from_partial(part, descriptor.dtype) for part in parts]
    if descriptor.kind in (Kind.MAX, Kind.SCATTER_MAX):
        total = values[0]
        for value in values[1:]:
            total = greatest(descriptor.dtype, total, value)
    else:
        total = sum(values)
    return _result(descriptor, total, (start, stop) == (0, positions_of(descriptor)))


def read_of(descriptor: Descriptor, element: int, position: int, row: bytes, operand: int) -> Read:
    """The value of `operand` in `row`, the reads posted for `position`, and where it should have been read.

    Raises:
        IllegalMove: for an operand, element or position that the node does not have.
    """
    _refuse_range(descriptor, element, position, position + 1)
    if not 0 <= operand < len(descriptor.operands) or len(row) != stride_of(descriptor):
        raise IllegalMove(f"a read of operand {operand} from {len(row)} bytes; this node has no such reads")
    raw = split_row(descriptor, row)
    point = (*point_of(element, descriptor.shape), *point_of(position, descriptor.reduction))
    view = descriptor.operands[operand]
    gathered = descriptor.kind is Kind.GATHER and operand == 1
    found = view.map.locate(point, view.shape[gathered:])
    if found is not None and gathered:
        index = from_raw(raw[0], descriptor.operands[0].dtype)
        found = (index, *found) if 0 <= index < view.shape[0] else None
    source = 0
    for coordinate, extent in zip(found or (), view.shape, strict=False):
        source = source * extent + coordinate
    fill = to_raw(view.fill, view.dtype)
    return Read(view.dtype, raw[operand], found is not None, source, fill, view.size)


def split_row(descriptor: Descriptor, row: bytes) -> list[int]:
    """One position's reads, raw, an operand each."""
    raw, at = [], 0
    for operand in descriptor.operands:
        raw.append(int.from_bytes(row[at : at + operand.dtype.size], "little"))
        at += operand.dtype.size
    return raw


def greatest(dtype: DType, x: int, y: int) -> int:
    return scalar.f32_max(x, y) if dtype.is_float else max(x, y)


def _refuse_range(descriptor: Descriptor, element: int, start: int, stop: int) -> None:
    if descriptor.kind is Kind.INPUT:
        raise IllegalMove("an input is read from agreed roots, never computed")
    if not 0 <= element < descriptor.size or not 0 <= start < stop <= positions_of(descriptor):
        raise IllegalMove(f"the node has no element {element} over positions {start} to {stop}")


def _rows(descriptor: Descriptor, element: int, start: int, stop: int, reads: bytes) -> list[list[int]]:
    """Loaded values, position by position."""
    _refuse_range(descriptor, element, start, stop)
    stride = stride_of(descriptor)
    expected = stride * (stop - start)
    if len(reads) != expected or (descriptor.kind.reduces and expected > READS_BYTES):
        raise IllegalMove(f"the reads take {expected} bytes, at most {READS_BYTES}, not {len(reads)}")
    types = [operand.dtype for operand in descriptor.operands]
    rows = [reads[at * stride : (at + 1) * stride] for at in range(stop - start)]
    return [
        [from_raw(raw, dtype) for raw, dtype in zip(split_row(descriptor, row), types, strict=True)] for row in rows
    ]


def _reduce(descriptor: Descriptor, point: Sequence[int], rows: Sequence[Sequence[int]]) -> int:
    match descriptor.kind:
        case Kind.DOT:
            return sum(a * b for a, b in rows)
        case Kind.SUM:
            return sum(row[0] for row in rows)
        case Kind.SCATTER_SUM:
            return sum(value for index, value in rows if index == point[0])
    best = descriptor.operands[-1].fill if descriptor.kind is Kind.SCATTER_MAX else rows[0][0]
    for row in rows:
        if descriptor.kind is Kind.MAX or row[0] == point[0]:
            best = greatest(descriptor.dtype, best, row[-1])
    return best


def _result(descriptor: Descriptor, total: int, whole: bool) -> int:
    return to_raw(total, descriptor.dtype) if whole else total & MASK64


def _from_partial(raw: int, dtype: DType) -> int:
    """A partial result, as it takes part in a sum or maximum: beyond the type's width it is whatever was posted."""
    return scalar.canonical(raw & 0xFFFFFFFF) if dtype.is_float else scalar.to_i64(raw)
