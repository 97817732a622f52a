"""Descriptors: what a node computes, without node numbers. Equal descriptors are equal bytes (docs/protocol.md, 4).

Encoding: the head, which says what tensor it gives: kind, type, rank (a byte each), dimensions (varints); then the
body, input: source (byte), index (varint);
others: reduction rank and dimensions (`dot`, `sum`, `max`, `scatter_*` only), number of operands (`map` only), the
operands, and for a map the expression's instructions up to the end. An operand is: type, rank, dimensions, its index
map (per axis: offset and coefficients zigzag, divisor - 1), its fill (an f32's bits as a varint, an integer zigzag).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from math import prod
from typing import TypeVar

from orebit.errors import ProgramError
from orebit.numerics.types import DType
from orebit.program import varint
from orebit.program.expression import MAX_OPERANDS, Expression
from orebit.program.index_map import AxisMap, IndexMap

MAX_DESCRIPTOR_BYTES = 4096
MAX_RANK = 8
MAX_ELEMENTS = 1 << 40

E = TypeVar("E", bound=IntEnum)


class Kind(IntEnum):
    """The eight kinds of node; the value is the first byte of a descriptor."""

    INPUT = 0
    MAP = 1
    DOT = 2
    SUM = 3
    MAX = 4
    GATHER = 5
    SCATTER_SUM = 6
    SCATTER_MAX = 7

    @property
    def reduces(self) -> bool:
        return self in (Kind.DOT, Kind.SUM, Kind.MAX, Kind.SCATTER_SUM, Kind.SCATTER_MAX)

    @property
    def scatters(self) -> bool:
        return self in (Kind.SCATTER_SUM, Kind.SCATTER_MAX)


class Source(IntEnum):
    """Where an input comes from; inputs stand in this order."""

    STATE = 0
    CONSTANT = 1
    PARAMETER = 2


ARITY = {Kind.DOT: 2, Kind.SUM: 1, Kind.MAX: 1, Kind.GATHER: 2, Kind.SCATTER_SUM: 2, Kind.SCATTER_MAX: 2}


@dataclass(frozen=True, slots=True)
class Operand:
    """A view of a producer's output: reshaped to `shape`, read through `map`; `fill` is an integer or an f32's bits.

    The second operand of a gather has one axis more than its map: axis 0 is the value of the first.
    """

    dtype: DType
    shape: tuple[int, ...]
    map: IndexMap
    fill: int = 0

    @property
    def size(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True)
class Descriptor:
    """One node's computation: output type and shape, reduction extents, operand views; a map's expression."""

    kind: Kind
    dtype: DType
    shape: tuple[int, ...]
    reduction: tuple[int, ...] = ()
    operands: tuple[Operand, ...] = ()
    expression: Expression | None = None
    source: Source = Source.STATE
    index: int = 0

    @cached_property
    def _hash(self) -> int:
        return hash((self.kind, self.shape, self.reduction, self.operands, self.expression, self.index))

    def __hash__(self) -> int:
        return self._hash

    @property
    def size(self) -> int:
        """Elements of the output."""
        return prod(self.shape)

    @property
    def space(self) -> tuple[int, ...]:
        """The iteration space: output axes, then reduction axes."""
        return self.shape + self.reduction

    @property
    def parts(self) -> int:
        """What it costs to parse and to check: four an operand, two an instruction, one an axis of an index map and one
        a coefficient."""
        instructions = 0 if self.expression is None else len(self.expression.instructions)
        axes = sum(len(operand.map.axes) for operand in self.operands)
        return 4 * len(self.operands) + 2 * instructions + axes * (1 + len(self.space))

    @cached_property
    def encoded(self) -> bytes:
        """The canonical bytes, at most 4,096 in a valid program: head, then body.

        Raises:
            ProgramError: if a number exceeds the encoding.
        """
        return self.head + self._encode_body()

    @cached_property
    def head(self) -> bytes:
        """The first of the canonical bytes: kind, type and dimensions, all that a posting of its tensor needs."""
        return bytes([self.kind, self.dtype]) + _encode_dims(self.shape)

    @property
    def body(self) -> bytes:
        """The rest of the canonical bytes."""
        return self.encoded[len(self.head) :]

    def _encode_body(self) -> bytes:
        if self.kind is Kind.INPUT:
            return bytes([self.source]) + varint.unsigned(self.index)
        parts = [_encode_dims(self.reduction)] if self.kind.reduces else []
        if self.kind is Kind.MAP:
            parts.append(bytes([len(self.operands)]))
        parts += [_encode_operand(operand) for operand in self.operands]
        if self.expression is not None:
            parts.append(self.expression.encoded)
        return b"".join(parts)

    @cached_property
    def hash(self) -> bytes:
        """sha256(sha256(head) || sha256(body)): a type and shape can be shown without the other 4 KiB."""
        return descriptor_hash(hashlib.sha256(self.head).digest(), hashlib.sha256(self.body).digest())

    @classmethod
    def decode(cls, data: bytes) -> Descriptor:
        """Parses canonical bytes; whether it is valid, `orebit.program.check` says.

        Raises:
            ProgramError: if they are malformed.
        """
        if len(data) > MAX_DESCRIPTOR_BYTES:
            raise ProgramError(f"a descriptor of {len(data)} bytes exceeds the limit of {MAX_DESCRIPTOR_BYTES}")
        reader = varint.Reader(data)
        kind = _code(Kind, reader.byte(), "kind")
        dtype = _code(DType, reader.byte(), "type")
        shape = _read_dims(reader)
        if kind is Kind.INPUT:
            source = _code(Source, reader.byte(), "source")
            descriptor = cls(kind, dtype, shape, source=source, index=reader.unsigned())
        else:
            descriptor = _read_body(reader, kind, dtype, shape)
        reader.done()
        descriptor.__dict__["encoded"] = data  # there is one encoding, and it was just read
        return descriptor


def decode_head(head: bytes) -> Descriptor:
    """Kind, type and shape, in a descriptor that lacks the rest.

    Raises:
        ProgramError: if these bytes are not the head of a valid one.
    """
    reader = varint.Reader(head)
    kind = _code(Kind, reader.byte(), "kind")
    dtype = _code(DType, reader.byte(), "type")
    shape = _read_dims(reader)
    reader.done()
    if any(not 1 <= extent <= MAX_ELEMENTS for extent in shape) or prod(shape) > MAX_ELEMENTS:
        raise ProgramError(f"shape {shape} is not one of 1 to 2^40 elements")
    return Descriptor(kind, dtype, shape)


def descriptor_hash(head_hash: bytes, body_hash: bytes) -> bytes:
    """A descriptor's hash from the hashes of its two parts."""
    return hashlib.sha256(head_hash + body_hash).digest()


def _code(enum: type[E], value: int, what: str) -> E:
    try:
        return enum(value)
    except ValueError:
        raise ProgramError(f"{what} {value} in a descriptor is unknown; this program needs a newer Orebit") from None


def _encode_dims(dims: Sequence[int]) -> bytes:
    return bytes([len(dims)]) + b"".join(varint.unsigned(extent) for extent in dims)


def _encode_operand(operand: Operand) -> bytes:
    parts = [bytes([operand.dtype]), _encode_dims(operand.shape)]
    for axis in operand.map.axes:
        parts.append(varint.signed(axis.offset))
        parts += [varint.signed(coefficient) for coefficient in axis.coefficients]
        parts.append(varint.unsigned(axis.divisor - 1))
    parts.append(varint.unsigned(operand.fill) if operand.dtype.is_float else varint.signed(operand.fill))
    return b"".join(parts)


def _read_dims(reader: varint.Reader) -> tuple[int, ...]:
    rank = reader.byte()
    if rank > MAX_RANK:
        raise ProgramError(f"a shape of {rank} axes exceeds the limit of {MAX_RANK}")
    return tuple(reader.unsigned() for _ in range(rank))


def _read_body(reader: varint.Reader, kind: Kind, dtype: DType, shape: tuple[int, ...]) -> Descriptor:
    reduction = _read_dims(reader) if kind.reduces else ()
    count = reader.byte() if kind is Kind.MAP else ARITY[kind]
    if count > MAX_OPERANDS:
        raise ProgramError(f"a map of {count} operands exceeds the limit of {MAX_OPERANDS}")
    space = len(shape) + len(reduction)
    operands = tuple(
        _read_operand(reader, space, gathered=kind is Kind.GATHER and position == 1) for position in range(count)
    )
    expression = None
    if kind is Kind.MAP:
        expression = Expression.decode(reader.take(reader.left), [operand.dtype for operand in operands], len(shape))
    return Descriptor(kind, dtype, shape, reduction, operands, expression)


def _read_operand(reader: varint.Reader, space: int, gathered: bool) -> Operand:
    dtype = _code(DType, reader.byte(), "type")
    shape = _read_dims(reader)
    if gathered and not shape:
        raise ProgramError("a gather reads from a source of at least one axis")
    axes = tuple(_read_axis(reader, space) for _ in shape[gathered:])
    fill = reader.unsigned() if dtype.is_float else reader.signed()
    return Operand(dtype, shape, IndexMap(axes), fill)


def _read_axis(reader: varint.Reader, space: int) -> AxisMap:
    offset, *coefficients = reader.signed_run(1 + space)
    return AxisMap(offset, tuple(coefficients), reader.unsigned() + 1)
