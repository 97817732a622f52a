"""Validity: which programs a node may be asked to defend (docs/protocol.md, "Programs").

Each rule is a named clause. A violation names a clause, a node and at most one operand: what the court can be shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from math import prod
from typing import TYPE_CHECKING

from orebit.errors import ProgramError
from orebit.numerics.types import DType
from orebit.program import price
from orebit.program.descriptor import (
    ARITY,
    MAX_DESCRIPTOR_BYTES,
    MAX_ELEMENTS,
    MAX_RANK,
    Descriptor,
    Kind,
    Operand,
    Source,
)
from orebit.program.expression import MAX_OPERANDS, is_canonical_f32

if TYPE_CHECKING:
    from orebit.program.graph import Program

MAX_REDUCTION = 1 << 40
MAX_PARAMETER_BYTES = 1024


class Clause(IntEnum):
    """What a valid program keeps. The numbers are part of the protocol."""

    HEADER_COUNTS = 1
    INPUT_ORDER = 2
    OPERAND_ORDER = 3
    NEW_STATE_OPERAND = 4
    OPERAND_TYPE = 5
    OPERAND_SIZE = 6
    NEW_STATE_TYPE = 7
    RANK = 8
    DIMENSION = 9
    ELEMENTS = 10
    REDUCTION = 11
    DIVISOR = 12
    AFFINE_BOUNDS = 13
    FILL = 14
    EXPRESSION = 15
    KIND_TYPES = 16
    ARITY = 17
    DESCRIPTOR_BYTES = 18
    PARAMETER_SIZE = 19
    PRICE = 20
    GAME_LENGTH = 21
    # Bytes that are no descriptor, or whose head ends elsewhere than its hash says: what cannot be decoded.
    MALFORMED = 22


@dataclass(frozen=True, slots=True)
class Violation:
    """One clause that fails at one node (-1: the header), and the operand concerned, if any."""

    clause: Clause
    node: int
    operand: int | None
    reason: str

    def __str__(self) -> str:
        place = "its header" if self.node < 0 else f"node {self.node}"
        if self.operand is not None:
            place += f", operand {self.operand}"
        return f"the program is not valid at {place} ({self.clause.name.lower()}): {self.reason}"


Finding = tuple[Clause, int | None, str]


def check_descriptor(descriptor: Descriptor) -> Iterator[Finding]:
    """Every clause that concerns a descriptor alone; each finding is a clause, an operand's position and a reason."""
    shaped = list(_check_shapes(descriptor))
    yield from shaped
    if shaped:  # what follows multiplies dimensions and compares ranks
        return
    if descriptor.kind is Kind.INPUT:
        if descriptor.source is Source.PARAMETER and descriptor.size * descriptor.dtype.size > MAX_PARAMETER_BYTES:
            yield Clause.PARAMETER_SIZE, None, f"a parameter has at most {MAX_PARAMETER_BYTES} bytes"
        return
    formed = list(_check_kind(descriptor))
    for position, operand in enumerate(descriptor.operands):
        formed += [(clause, position, reason) for clause, reason in _check_operand(descriptor, operand, position)]
    yield from formed or _check_price(descriptor)


def _check_shapes(descriptor: Descriptor) -> Iterator[Finding]:
    shapes: list[tuple[int | None, tuple[int, ...]]] = [(None, descriptor.shape), (None, descriptor.reduction)]
    shapes += [(position, operand.shape) for position, operand in enumerate(descriptor.operands)]
    for position, shape in shapes:
        if len(shape) > MAX_RANK:
            yield Clause.RANK, position, f"{len(shape)} axes; at most {MAX_RANK}"
        elif any(extent < 1 for extent in shape):
            yield Clause.DIMENSION, position, f"shape {shape} has a dimension below 1"
        elif prod(shape) > MAX_ELEMENTS:
            clause = Clause.REDUCTION if shape is descriptor.reduction else Clause.ELEMENTS
            yield clause, position, f"shape {shape} has more than 2^40 positions"


def _check_kind(descriptor: Descriptor) -> Iterator[Finding]:
    kind, operands = descriptor.kind, descriptor.operands
    if kind is Kind.MAP:
        yield from _check_map(descriptor)
        return
    if len(operands) != ARITY[kind]:
        yield Clause.ARITY, None, f"{kind.name.lower()} takes {ARITY[kind]} operands, not {len(operands)}"
        return
    if kind.reduces and not descriptor.reduction or not kind.reduces and descriptor.reduction:
        yield Clause.REDUCTION, None, f"{kind.name.lower()} has {len(descriptor.reduction)} reduction axes"
    if descriptor.expression is not None:
        yield Clause.EXPRESSION, None, "only a map has an expression"
    integers = {Kind.DOT: (0, 1), Kind.SUM: (0,), Kind.MAX: (), Kind.GATHER: (0,), Kind.SCATTER_MAX: (0,)}
    for position in integers.get(kind, (0, 1)):
        if operands[position].dtype.is_float:
            yield Clause.KIND_TYPES, position, f"{kind.name.lower()} takes integers here, not f32"
    sums = kind in (Kind.DOT, Kind.SUM, Kind.SCATTER_SUM)
    wanted = DType.I64 if sums else operands[-1].dtype
    if descriptor.dtype is not wanted:
        yield Clause.KIND_TYPES, None, f"{kind.name.lower()} gives {wanted.label}, not {descriptor.dtype.label}"
    if kind.scatters:
        yield from _check_scatter(descriptor)


def _check_price(descriptor: Descriptor) -> Iterator[Finding]:
    gas = price.justify_gas(descriptor)
    size = len(descriptor.encoded)
    if size > MAX_DESCRIPTOR_BYTES:
        yield Clause.DESCRIPTOR_BYTES, None, f"it takes {size} bytes, more than {MAX_DESCRIPTOR_BYTES}; split it in two"
    elif gas > price.MOVE_LIMIT or price.positions_per_move(descriptor) < 1:
        yield Clause.PRICE, None, f"one element takes {gas} gas to justify, more than {price.MOVE_LIMIT}; split it"
    elif price.partial_rounds(descriptor) > price.PARTIAL_ROUNDS:
        yield Clause.GAME_LENGTH, None, f"{prod(descriptor.reduction)} positions are too many to halve in one game"


def _check_scatter(descriptor: Descriptor) -> Iterator[Finding]:
    rank = len(descriptor.shape)
    if rank < 1:
        yield Clause.RANK, None, "a scatter's output has at least one axis"
        return
    index, source = descriptor.operands
    if any(any(axis.coefficients[:rank]) for axis in index.map.axes):
        yield Clause.KIND_TYPES, 0, "a scatter's index does not depend on output axes"
    if any(axis.coefficients[:1] != (0,) for axis in source.map.axes):
        yield Clause.KIND_TYPES, 1, "a scatter's source does not depend on output axis 0"


def _check_map(descriptor: Descriptor) -> Iterator[Finding]:
    expression = descriptor.expression
    if len(descriptor.operands) > MAX_OPERANDS:
        yield Clause.ARITY, None, f"a map takes at most {MAX_OPERANDS} operands"
    if descriptor.reduction:
        yield Clause.REDUCTION, None, "a map has no reduction axes"
    if expression is None:
        yield Clause.EXPRESSION, None, "a map needs an expression"
        return
    if expression.operands != tuple(operand.dtype for operand in descriptor.operands):
        yield Clause.EXPRESSION, None, "the expression was made for other operand types"
    if expression.rank != len(descriptor.shape):
        yield Clause.EXPRESSION, None, "the expression was made for another rank"
    if expression.result.is_float != descriptor.dtype.is_float:
        yield Clause.KIND_TYPES, None, f"the expression gives {expression.result.label}, not {descriptor.dtype.label}"


def _check_operand(descriptor: Descriptor, operand: Operand, position: int) -> Iterator[tuple[Clause, str]]:
    gathered = descriptor.kind is Kind.GATHER and position == 1
    if gathered and not operand.shape:
        yield Clause.RANK, "a gather reads from a source of at least one axis"
        return
    space = descriptor.space
    axes = operand.map.axes
    if len(axes) != len(operand.shape) - gathered or any(len(axis.coefficients) != len(space) for axis in axes):
        yield Clause.RANK, "the index map's shape is not that of the view and the iteration space"
        return
    if any(axis.divisor < 1 for axis in axes):
        yield Clause.DIVISOR, "a divisor is below 1"
        return
    try:
        operand.map.check(space)
    except ProgramError as error:
        yield Clause.AFFINE_BOUNDS, str(error)
    if operand.dtype.is_float:
        if not is_canonical_f32(operand.fill):
            yield Clause.FILL, f"the fill {operand.fill:#x} is not an f32 or a NaN that is not canonical"
    elif not operand.dtype.range[0] <= operand.fill <= operand.dtype.range[1]:
        yield Clause.FILL, f"the fill {operand.fill} is not a value of {operand.dtype.label}"


def refuse_invalid_descriptor(descriptor: Descriptor) -> None:
    """Raises:
    ProgramError: naming the first clause that fails.
    """
    for clause, operand, reason in check_descriptor(descriptor):
        place = "" if operand is None else f", operand {operand}"
        raise ProgramError(
            f"a {descriptor.kind.name.lower()} of shape {descriptor.shape} is not valid"
            f" ({clause.name.lower()}{place}): {reason}"
        )


def violations(program: Program) -> Iterator[Violation]:
    """Every clause that `program` breaks, in node order; nothing for a valid one."""
    yield from _check_header(program)
    findings = [list(check_descriptor(descriptor)) for descriptor in program.descriptors]
    first_new = len(program.nodes) - program.header.new_state
    made = [node.descriptor for node in program.nodes]
    sound: set[tuple[int, ...]] = set()
    for number, node in enumerate(program.nodes):
        reads = node.operands
        ordered = number >= program.header.inputs and (
            not reads or 0 <= min(reads) <= max(reads) < min(number, first_new)
        )
        # In order, a node's validity depends on its descriptor and its operands' only: the same few over and over.
        form = (node.descriptor, *[made[read] for read in reads]) if ordered else ()
        if form in sound:
            continue
        found = list(_check_node(program, number, findings[node.descriptor], first_new))
        yield from found
        if ordered and not found:
            sound.add(form)


def _check_node(program: Program, number: int, findings: Sequence[Finding], first_new: int) -> Iterator[Violation]:
    node = program.nodes[number]
    descriptor = program.descriptors[node.descriptor]
    for clause, place, reason in findings:
        yield Violation(clause, number, place, reason)
    if (descriptor.kind is Kind.INPUT) != (number < program.header.inputs):
        yield Violation(Clause.INPUT_ORDER, number, None, "inputs come first, and only they are inputs")
    if len(node.operands) != len(descriptor.operands):
        yield Violation(Clause.ARITY, number, None, f"{len(node.operands)} operand numbers")
        return
    for position, (producer, operand) in enumerate(zip(node.operands, descriptor.operands, strict=True)):
        finding = _check_edge(program, number, producer, operand, first_new)
        if finding is not None:
            yield Violation(finding[0], number, position, finding[1])


def _check_header(program: Program) -> Iterator[Violation]:
    header = program.header
    if header.new_state < 1 or header.new_state != header.state or header.new_state > header.nodes:
        yield Violation(Clause.HEADER_COUNTS, -1, None, "the new state is the last nodes, one for each state tensor")
        return
    if len(program.nodes) != header.inputs + header.nodes:
        yield Violation(Clause.HEADER_COUNTS, -1, None, f"{len(program.nodes)} nodes are not what the header counts")
        return
    for source in Source:
        for index, number in enumerate(program.inputs(source)):
            descriptor = program.descriptor(number)
            if (descriptor.kind, descriptor.source, descriptor.index) != (Kind.INPUT, source, index):
                reason = f"this is not {source.name.lower()} tensor {index}"
                yield Violation(Clause.INPUT_ORDER, number, None, reason)
    for old, new in zip(program.inputs(Source.STATE), program.new_state, strict=True):
        before, after = program.descriptor(old), program.descriptor(new)
        if (before.dtype, before.shape) != (after.dtype, after.shape):
            reason = f"{after.dtype.label}{list(after.shape)} replaces {before.dtype.label}{list(before.shape)}"
            yield Violation(Clause.NEW_STATE_TYPE, new, None, reason)


def _check_edge(
    program: Program, number: int, producer: int, operand: Operand, first_new: int
) -> tuple[Clause, str] | None:
    if not 0 <= producer < number:
        return Clause.OPERAND_ORDER, f"it reads node {producer}, which does not stand before it"
    if producer >= first_new:
        return Clause.NEW_STATE_OPERAND, f"it reads node {producer}, which is new state"
    made = program.descriptor(producer)
    if made.dtype is not operand.dtype:
        return Clause.OPERAND_TYPE, f"it reads {made.dtype.label} as {operand.dtype.label}"
    if made.size != operand.size:
        return Clause.OPERAND_SIZE, f"it reads {made.size} elements as a view of {operand.size}"
    return None


def refuse_invalid(program: Program) -> None:
    """Raises:
    ProgramError: naming the first clause that fails, where, and why.
    """
    for violation in violations(program):
        raise ProgramError(str(violation))
