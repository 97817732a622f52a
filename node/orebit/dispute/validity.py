"""Showing that a program is not valid, at one node, and judging such a showing: the mirror of ProgramValidity."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from orebit.commitment import merkle
from orebit.dispute.game import GameState, Phase
from orebit.dispute.moves import Hashes, InvalidityEvidence, NodeOpening, ShowInvalid
from orebit.dispute.walk_rules import check_leaf, open_program, read_head
from orebit.errors import IllegalMove, ProgramError
from orebit.program.check import Clause, Violation, check_descriptor, violations
from orebit.program.descriptor import Descriptor, Kind, Source, descriptor_hash
from orebit.program.graph import Header, Program

_EDGES = (Clause.OPERAND_TYPE, Clause.OPERAND_SIZE)


@dataclass(frozen=True, slots=True)
class Place:
    """One node of a program, as shown: what it computes, what it reads, and which operand is meant."""

    header: Header
    node: int
    descriptor: bytes
    head_length: int
    operands: tuple[int, ...]
    operand: int = 0

    @property
    def first_new(self) -> int:
        """Number of the first node of the new state."""
        return self.header.inputs + self.header.nodes - self.header.new_state


def producer_of(clause: int, place: Place) -> int | None:
    """The node whose head must be shown beside, if the clause needs one."""
    if clause in _EDGES and place.operand < len(place.operands):
        return place.operands[place.operand]
    if clause == Clause.NEW_STATE_TYPE and place.node >= place.first_new:
        return place.node - place.first_new
    return None


def violates(clause: int, place: Place, producer: Descriptor | None) -> bool:
    """Whether the program breaks the clause there; never true of a valid program."""
    header = place.header
    if clause == Clause.HEADER_COUNTS:
        return header.new_state < 1 or header.new_state != header.state or header.new_state > header.nodes
    try:
        descriptor = Descriptor.decode(place.descriptor)
    except ProgramError:
        return clause == Clause.MALFORMED
    if clause == Clause.MALFORMED:
        return place.head_length != len(descriptor.head)
    if _breaks_at_node(clause, place, descriptor, producer):
        return True
    found = check_descriptor(descriptor)
    return any(broken == clause and operand in (None, place.operand) for broken, operand, _ in found)


def _breaks_at_node(clause: int, place: Place, descriptor: Descriptor, producer: Descriptor | None) -> bool:
    """Clauses about a node's place and what it reads."""
    if clause == Clause.INPUT_ORDER:
        return _out_of_order(place, descriptor)
    if clause == Clause.ARITY and len(place.operands) != len(descriptor.operands):
        return True
    if clause == Clause.NEW_STATE_TYPE:
        changed = producer is not None and (producer.dtype, producer.shape) != (descriptor.dtype, descriptor.shape)
        return place.node >= place.first_new and changed
    if place.operand >= min(len(place.operands), len(descriptor.operands)):
        return False
    number, operand = place.operands[place.operand], descriptor.operands[place.operand]
    if clause == Clause.OPERAND_ORDER:
        return number >= place.node
    if clause == Clause.NEW_STATE_OPERAND:
        return place.first_new <= number < place.node
    if clause == Clause.OPERAND_TYPE:
        return producer is not None and producer.dtype is not operand.dtype
    return clause == Clause.OPERAND_SIZE and producer is not None and producer.size != operand.size


def _out_of_order(place: Place, descriptor: Descriptor) -> bool:
    header = place.header
    if (descriptor.kind is Kind.INPUT) != (place.node < header.inputs):
        return True
    if descriptor.kind is not Kind.INPUT:
        return False
    starts = (0, header.state, header.state + header.constants, header.inputs)
    source = next(source for source in Source if place.node < starts[source + 1])
    return (descriptor.source, descriptor.index) != (source, place.node - starts[source])


def check_evidence(state: GameState, move: ShowInvalid) -> None:
    """Refuses a showing that does not hold.

    Raises:
        IllegalMove: saying why.
    """
    shown = move.evidence
    if state.phase >= Phase.TRACE:
        if (shown.header, shown.nodes) != (state.header, state.program):
            raise IllegalMove("header and node leaves are another program's")
        header = state.counts
    else:
        header = open_program(state.program, shown.header, shown.nodes)
    _judge(shown, header)


def _judge(shown: InvalidityEvidence, header: Header) -> None:
    if shown.clause == Clause.HEADER_COUNTS:  # the only one that concerns no node
        place = Place(header, shown.node, b"", 0, ())
    else:
        place = _opened_place(shown, header)
    wanted = producer_of(shown.clause, place)
    producer = None if wanted is None else _opened_producer(shown, header, wanted)
    if not violates(shown.clause, place, producer):
        raise IllegalMove(f"node {shown.node} keeps clause {shown.clause}")


def _opened_place(shown: InvalidityEvidence, header: Header) -> Place:
    head, body = shown.descriptor[: shown.head_length], shown.descriptor[shown.head_length :]
    described = descriptor_hash(sha256(head).digest(), sha256(body).digest())
    check_leaf(shown.nodes, header, shown.node, described, shown.operands, shown.path)
    numbers = struct.unpack(f"<{len(shown.operands) // 4}I", shown.operands)
    return Place(header, shown.node, shown.descriptor, shown.head_length, numbers, shown.operand)


def _opened_producer(shown: InvalidityEvidence, header: Header, number: int) -> Descriptor:
    node = shown.producer
    described = descriptor_hash(sha256(node.head).digest(), node.body)
    check_leaf(shown.nodes, header, number, described, node.operands, node.path)
    return read_head(node.head)


def show_violation(program: Program) -> ShowInvalid | None:
    """The move that ends a game about a program that is not valid; None for a valid one."""
    for found in violations(program):
        move = _showing(program, found)
        try:
            _judge(move.evidence, program.header)
        except IllegalMove:
            continue  # it rests on another node's head, which is not valid itself and is found by another clause
        return move
    return None


def _showing(program: Program, found: Violation) -> ShowInvalid:
    number = max(found.node, 0)
    descriptor = program.descriptor(number)
    place = Place(
        program.header,
        number,
        descriptor.encoded,
        len(descriptor.head),
        program.nodes[number].operands,
        found.operand or 0,
    )
    wanted = producer_of(found.clause, place)
    return ShowInvalid(
        InvalidityEvidence(
            clause=int(found.clause),
            header=program.header.encode(),
            nodes=program.tree[-1],
            node=number,
            descriptor=descriptor.encoded,
            head_length=len(descriptor.head),
            operands=operand_bytes(place.operands),
            path=node_path(program, number),
            operand=place.operand,
            producer=NodeOpening() if wanted is None else opening(program, wanted),
        )
    )


def operand_bytes(numbers: Sequence[int]) -> bytes:
    """Operand numbers as a node's leaf has them."""
    return struct.pack(f"<{len(numbers)}I", *numbers)


def node_path(program: Program, number: int) -> Hashes:
    """From a node's leaf up to the raw root over a program's leaves."""
    return tuple(merkle.path(program.tree, number))


def opening(program: Program, number: int) -> NodeOpening:
    """A node's leaf, opened."""
    descriptor = program.descriptor(number)
    body = sha256(descriptor.body).digest()
    return NodeOpening(descriptor.head, body, operand_bytes(program.nodes[number].operands), node_path(program, number))
