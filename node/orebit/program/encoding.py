"""A program's bytes as they travel: header (24 bytes), number of descriptors (u32), the descriptors (u16 length,
bytes), the nodes (descriptor number, then per operand how many nodes back it stands; varints).

There is one encoding of a program: descriptors are distinct and stand in the order of their first use.
"""

from __future__ import annotations

from functools import lru_cache

from orebit.errors import ProgramError
from orebit.program import varint
from orebit.program.check import refuse_invalid
from orebit.program.collecting import seldom_collecting
from orebit.program.descriptor import MAX_DESCRIPTOR_BYTES, Descriptor
from orebit.program.expression import MAX_OPERANDS
from orebit.program.graph import HEADER_BYTES, Header, Node, Program

MAX_PROGRAM_BYTES = 64 << 20
MAX_NODES = 1 << 19
MAX_DESCRIPTORS = 1 << 16
MAX_TABLE_BYTES = 8 << 20
# What all distinct descriptors together may cost to parse and to check (`Descriptor.parts`), some microseconds each.
# Honest programs cost little: an LSTM unrolled over a thousand steps sixty thousand.
MAX_PARTS = 1 << 18


def encode(program: Program) -> bytes:
    """The canonical bytes of a program."""
    parts = [program.header.encode(), len(program.descriptors).to_bytes(4, "little")]
    for descriptor in program.descriptors:
        parts += [len(descriptor.encoded).to_bytes(2, "little"), descriptor.encoded]
    for number, node in enumerate(program.nodes):
        parts.append(varint.unsigned(node.descriptor))
        parts += [varint.unsigned(number - operand) for operand in node.operands]
    return b"".join(parts)


@lru_cache(maxsize=2)  # a node meets the same program again and again: when it fetches, stores, measures and runs it
def decode(data: bytes) -> Program:
    """Parses and checks a program in time and memory linear in its bytes.

    Raises:
        ProgramError: if it is malformed, beyond a limit or not valid.
    """
    if len(data) > MAX_PROGRAM_BYTES:
        raise ProgramError(f"a program of {len(data)} bytes exceeds the limit of {MAX_PROGRAM_BYTES}")
    reader = varint.Reader(data)
    header = Header.decode(reader.take(HEADER_BYTES))
    with seldom_collecting():
        descriptors = _read_descriptors(reader)
        nodes = _read_nodes(reader, header, descriptors)
        program = Program(header, descriptors, nodes)
        refuse_invalid(program)
    return program


def _read_descriptors(reader: varint.Reader) -> tuple[Descriptor, ...]:
    count = reader.u32()
    if count > MAX_DESCRIPTORS:
        raise ProgramError(f"a program of {count} distinct operations exceeds the limit of {MAX_DESCRIPTORS}")
    start = reader.offset
    encoded = []
    for _ in range(count):
        encoded.append(_read_sized(reader))
        if reader.offset - start > MAX_TABLE_BYTES:
            raise ProgramError(f"a program's distinct descriptors exceed {MAX_TABLE_BYTES} bytes in all; split it")
    if len(set(encoded)) != count:
        raise ProgramError("a descriptor stands twice in a program's table; encode it again")
    decoded, parts = [], 0
    for data in encoded:
        decoded.append(Descriptor.decode(data))
        parts += decoded[-1].parts
        if parts > MAX_PARTS:
            raise ProgramError(
                f"a program's distinct descriptors have more than {MAX_PARTS} parts in all (four an operand, two an"
                " instruction, one an axis and one a coefficient); split it"
            )
    return tuple(decoded)


def _read_sized(reader: varint.Reader) -> bytes:
    length = int.from_bytes(reader.take(2), "little")
    if length > MAX_DESCRIPTOR_BYTES:
        raise ProgramError(f"a descriptor of {length} bytes exceeds the limit of {MAX_DESCRIPTOR_BYTES}")
    return reader.take(length)


def _read_nodes(reader: varint.Reader, header: Header, descriptors: tuple[Descriptor, ...]) -> tuple[Node, ...]:
    total = header.inputs + header.nodes
    if total > MAX_NODES or total > reader.left:
        raise ProgramError(f"a program of {total} nodes exceeds the limit of {MAX_NODES} or its own bytes")
    arity = [len(descriptor.operands) for descriptor in descriptors]
    nodes: list[Node] = []
    numbers: list[int] = []
    used = at = 0
    for number in range(total):
        while len(numbers) - at <= MAX_OPERANDS and reader.left:
            numbers, at = numbers[at:] + reader.unsigned_run(), 0
        descriptor = numbers[at] if at < len(numbers) else reader.missing()
        if descriptor > used or descriptor >= len(descriptors):
            raise ProgramError(f"node {number} names a descriptor out of order; encode the program again")
        used += descriptor == used
        end = at + 1 + arity[descriptor]
        operands = tuple([number - back for back in numbers[at + 1 : end]])
        if end > len(numbers):
            reader.missing()
        if operands and not 0 <= min(operands) <= max(operands) < number:
            raise ProgramError(f"node {number} reads a node that does not stand before it")
        nodes.append(Node(descriptor, operands))
        at = end
    if used != len(descriptors):
        raise ProgramError("a program's table holds descriptors that no node names; encode it again")
    left = reader.left + sum(len(varint.unsigned(value)) for value in numbers[at:])
    if left:
        raise ProgramError(f"{left} bytes follow the end of a program's part; encode it again")
    return tuple(nodes)
