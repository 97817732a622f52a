"""What one element of one node truly reads, and what it amounts to over any range of positions: on whole tensors, many
positions at once, in a bounded piece of memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from orebit.dispute.evaluator import (
    PARTIAL_BYTES,
    from_raw,
    partial_bounds,
    point_of,
    positions_of,
    stride_of,
    to_raw,
)
from orebit.executor.interpreter import evaluate_expression
from orebit.numerics.types import CANONICAL_NAN, MASK32, MASK64, DType
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
        at_once = max(1, AT_ONCE * (len(bounds) - 1) // (stop - start))
        parts: list[int] = []
        for first in range(0, len(bounds) - 1, at_once):
            parts += self._totals(bounds[first : first + at_once + 1])
        return b"".join((part & MASK64).to_bytes(PARTIAL_BYTES, "little") for part in parts)

    def _alone(self) -> int:
        descriptor = self.descriptor
        types = [operand.dtype for operand in descriptor.operands]
        loads = [from_raw(int(v[0]), dtype) for v, dtype in zip(self._values(0, 1), types, strict=True)]
        if descriptor.kind is Kind.GATHER:
            return to_raw(loads[1], descriptor.dtype)
        assert descriptor.expression is not None
        made = evaluate_expression(descriptor.expression, loads, self._point, self.number)
        return to_raw(made, descriptor.dtype)

    def _totals(self, bounds: Sequence[int]) -> list[int]:
        """The sums or maxima between bounds that lie close together."""
        if bounds[-1] - bounds[0] > AT_ONCE:
            return [self._total(first, last) for first, last in zip(bounds, bounds[1:], strict=False)]
        starts = np.array(bounds[:-1]) - bounds[0]
        found = self._reduce.reduceat(self._terms(bounds[0], bounds[-1]), starts)
        return [self._result_of(int(value)) for value in found]

    def _total(self, start: int, stop: int) -> int:
        """The sum or maximum over these positions: of a maximum, an f32's bits or an integer."""
        pieces = range(start, stop, AT_ONCE)
        found = [self._reduce.reduce(self._terms(first, min(first + AT_ONCE, stop))) for first in pieces]
        return self._result_of(int(self._reduce.reduce(np.array(found))))

    @property
    def _reduce(self) -> np.ufunc:
        return np.maximum if self.descriptor.kind in (Kind.MAX, Kind.SCATTER_MAX) else np.add

    def _terms(self, start: int, stop: int) -> Integers:
        """What is added up, modulo 2^64, or the keys of what the greatest is sought of, position by position."""
        descriptor, values = self.descriptor, self._values(start, stop)
        operands = descriptor.operands
        if self._reduce is np.maximum:
            terms, nothing = _keys(values[-1], operands[-1].dtype), self._ground
        else:
            terms, nothing = _integers(values[-1], operands[-1].dtype), 0
        if descriptor.kind is Kind.DOT:
            return terms * _integers(values[0], operands[0].dtype)
        if descriptor.kind.scatters:
            lands = _integers(values[0], operands[0].dtype) == self._point[0]
            return np.where(lands, terms, nothing)
        return terms

    @property
    def _ground(self) -> int:
        """The key of a scatter's fill, which takes part in every maximum."""
        source = self.descriptor.operands[-1]
        raw = np.array([to_raw(source.fill, source.dtype)]).astype(np.dtype(f"u{source.dtype.size}"))
        return int(_keys(raw, source.dtype)[0])

    def _result_of(self, total: int) -> int:
        if self.descriptor.kind is Kind.SCATTER_MAX:
            total = max(total, self._ground)
        if self._reduce is np.maximum and self.descriptor.dtype.is_float:
            return _bits(total)
        return total

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


def _keys(raw: Array, dtype: DType) -> Integers:
    """Integers that are ordered as `max` orders these values: -0 below +0, and a NaN, canonical, above everything."""
    if not dtype.is_float:
        return _integers(raw, dtype)
    words = raw.view(np.uint32)
    bits = np.where((words & 0x7FFFFFFF) > 0x7F800000, np.uint32(CANONICAL_NAN), words).view(np.int32).astype(np.int64)
    return np.where(bits < 0, bits ^ 0x7FFFFFFF, bits)


def _bits(key: int) -> int:
    """The f32 of a key."""
    return (key ^ 0x7FFFFFFF if key < 0 else key) & MASK32
