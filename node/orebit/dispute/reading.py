"""What one element of one node truly reads, and what it amounts to over any range of positions: on whole tensors, many
positions at once, in a bounded piece of memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from orebit.dispute.evaluator import (
    PARTIAL_BYTES,
    from_raw,
    greatest,
    partial_bounds,
    point_of,
    positions_of,
    stride_of,
    to_raw,
)
from orebit.executor.interpreter import evaluate_expression
from orebit.numerics.types import CANONICAL_NAN, MASK64, DType
from orebit.program.descriptor import Descriptor, Kind, Operand

Array = np.ndarray[tuple[int, ...], np.dtype[np.generic]]
Integers = np.ndarray[tuple[int, ...], np.dtype[np.int64]]
Truths = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]

AT_ONCE = 1 << 16


class Element:
    """One element of a node that is not an input, over its operands' tensors as their bytes are.

    Args:
        descriptor: the node's.
        tensors: the producers' outputs, one an operand, in any shape of theirs.
        element: row-major number.
    """

    def __init__(self, descriptor: Descriptor, tensors: Sequence[Array], element: int) -> None:
        self.descriptor = descriptor
        self.number = element
        self._point = point_of(element, descriptor.shape)
        self._raw = [_unsigned(tensor) for tensor in tensors]

    @property
    def positions(self) -> int:
        """Points of the reduction; 1 for a map or gather."""
        return positions_of(self.descriptor)

    def reads(self, start: int, stop: int) -> bytes:
        """Every operand's value at each of these positions, position-major, raw, little-endian."""
        rows = np.empty((stop - start, stride_of(self.descriptor)), np.uint8)
        for first in range(start, stop, AT_ONCE):
            last, at = min(first + AT_ONCE, stop), 0
            for operand, values in zip(self.descriptor.operands, self._values(first, last), strict=True):
                columns = values.astype(values.dtype.newbyteorder("<")).view(np.uint8).reshape(last - first, -1)
                rows[first - start : last - start, at : at + operand.dtype.size] = columns
                at += operand.dtype.size
        return rows.tobytes()

    def result(self, start: int, stop: int) -> int:
        """`y` over these positions: the element's bytes for all of them, a partial result for a part."""
        descriptor = self.descriptor
        if not descriptor.kind.reduces:
            return self._alone()
        total = self._total(start, stop)
        whole = (start, stop) == (0, self.positions)
        return to_raw(total, descriptor.dtype) if whole else total & MASK64

    def partials(self, start: int, stop: int) -> bytes:
        """The partial results over these positions, 8 bytes each."""
        bounds = partial_bounds(start, stop)
        parts = [self._total(first, last) & MASK64 for first, last in zip(bounds, bounds[1:], strict=False)]
        return b"".join(part.to_bytes(PARTIAL_BYTES, "little") for part in parts)

    def _alone(self) -> int:
        descriptor = self.descriptor
        types = [operand.dtype for operand in descriptor.operands]
        loads = [from_raw(int(v[0]), dtype) for v, dtype in zip(self._values(0, 1), types, strict=True)]
        if descriptor.kind is Kind.GATHER:
            return to_raw(loads[1], descriptor.dtype)
        assert descriptor.expression is not None
        made = evaluate_expression(descriptor.expression, loads, self._point, self.number)
        return to_raw(made, descriptor.dtype)

    def _total(self, start: int, stop: int) -> int:
        """The sum or maximum over these positions: of a maximum, an f32's bits or an integer."""
        kind, dtype = self.descriptor.kind, self.descriptor.dtype
        parts = [self._piece(first, min(first + AT_ONCE, stop)) for first in range(start, stop, AT_ONCE)]
        if kind not in (Kind.MAX, Kind.SCATTER_MAX):
            return sum(part for part in parts if part is not None)
        found = [part for part in parts if part is not None]
        if kind is Kind.SCATTER_MAX:
            found.append(self.descriptor.operands[-1].fill)
        best = found[0]
        for part in found[1:]:
            best = greatest(dtype, best, part)
        return best

    def _piece(self, start: int, stop: int) -> int | None:
        descriptor = self.descriptor
        values = self._values(start, stop)
        operands = descriptor.operands
        lands: Truths | None = None
        if descriptor.kind.scatters:
            lands = _integers(values[0], operands[0].dtype) == self._point[0]
        if descriptor.kind in (Kind.MAX, Kind.SCATTER_MAX):
            source = values[-1] if lands is None else values[-1][lands]
            return _maximum(source, operands[-1].dtype) if source.size else None
        terms = _integers(values[-1], operands[-1].dtype)
        if descriptor.kind is Kind.DOT:
            terms = terms * _integers(values[0], operands[0].dtype)  # modulo 2^64, as the format asks
        if lands is not None:
            terms = terms[lands]
        return int(terms.sum(dtype=np.int64))

    def _values(self, start: int, stop: int) -> list[Array]:
        """Each operand's raw values at these positions, as unsigned integers."""
        positions = np.arange(start, stop, dtype=np.int64)
        inner = np.unravel_index(positions, self.descriptor.reduction) if self.descriptor.reduction else ()
        point: list[Integers | int] = [*self._point, *inner]
        found: list[Array] = []
        for number in range(len(self._raw)):
            found.append(self._operand(number, positions, point, found))
        return found

    def _operand(
        self, number: int, positions: Integers, point: Sequence[Integers | int], before: Sequence[Array]
    ) -> Array:
        """One operand's raw values; `before` are those of the operands before it."""
        operand, raw = self.descriptor.operands[number], self._raw[number]
        gathered = self.descriptor.kind is Kind.GATHER and number == 1
        row = _integers(before[0], self.descriptor.operands[0].dtype) if gathered else None
        place, inside = _locate(operand, point, len(positions), row)
        fill = np.asarray(to_raw(operand.fill, operand.dtype)).astype(raw.dtype)
        return np.where(inside, raw[np.where(inside, place, 0)], fill)


def _locate(
    operand: Operand, point: Sequence[Integers | int], count: int, row: Integers | None
) -> tuple[Integers, Truths]:
    """Row-major places in the operand's tensor, and where the index map leads to one."""
    place, inside = np.zeros(count, np.int64), np.ones(count, np.bool_)
    shape = operand.shape
    if row is not None:
        rows, shape = shape[0], shape[1:]
        inside = (row >= 0) & (row < rows)
        place = np.where(inside, row, 0)
    for axis, extent in zip(operand.map.axes, shape, strict=True):
        n = np.full(count, axis.offset, np.int64)
        for coefficient, coordinate in zip(axis.coefficients, point, strict=True):
            if coefficient:
                n = n + coefficient * np.asarray(coordinate, np.int64)
        whole = n // axis.divisor
        within = (whole * axis.divisor == n) & (whole >= 0) & (whole < extent)
        inside = inside & within
        place = place * extent + np.where(within, whole, 0)
    return place, inside


def _unsigned(tensor: Array) -> Array:
    """A tensor's elements as unsigned integers of their width, flat."""
    flat = np.ascontiguousarray(tensor).reshape(-1)
    return flat.view(np.dtype(f"u{flat.dtype.itemsize}"))


def _integers(raw: Array, dtype: DType) -> Integers:
    return raw.view(dtype.numpy.newbyteorder("=")).astype(np.int64)


def _maximum(raw: Array, dtype: DType) -> int:
    if not dtype.is_float:
        return int(_integers(raw, dtype).max())
    words = raw.view(np.uint32)
    bits = np.where((words & 0x7FFFFFFF) > 0x7F800000, np.uint32(CANONICAL_NAN), words).view(np.int32)
    key = bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))  # -0 below +0, NaN above everything
    best = np.int32(key.max())
    return int(np.int32(best ^ ((best >> 31) & np.int32(0x7FFFFFFF))).view(np.uint32))
