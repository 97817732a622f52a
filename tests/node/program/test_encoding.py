from __future__ import annotations

import hashlib
import random
import resource
import struct
import time

import pytest
from building import chain, mixed

from orebit.commitment import merkle
from orebit.errors import ProgramError
from orebit.program import varint
from orebit.program.descriptor import Descriptor
from orebit.program.encoding import MAX_PROGRAM_BYTES
from orebit.program.graph import Header, Program


def test_varints_are_shortest_and_round_trip() -> None:
    for value in (0, 1, -1, 63, -64, 64, 300, -(1 << 63), (1 << 63) - 1):
        data = varint.signed(value)
        reader = varint.Reader(data)
        assert reader.signed() == value and reader.left == 0
    assert varint.signed(0) == b"\x00" and varint.unsigned((1 << 64) - 1) == b"\xff" * 9 + b"\x01"
    for malformed in (b"", b"\x80", b"\x80\x00", b"\xff" * 9 + b"\x02", b"\xff" * 10 + b"\x01"):
        with pytest.raises(ProgramError):
            varint.Reader(malformed).unsigned()
    with pytest.raises(ProgramError, match="64 bits"):
        varint.unsigned(1 << 64)


def test_programs_round_trip_and_their_root_is_the_documented_hash() -> None:
    program = mixed()
    decoded = Program.decode(program.encode())
    assert decoded == program and decoded.encode() == program.encode()
    leaves = []
    for node in program.nodes:
        encoded = program.descriptors[node.descriptor].encoded
        body = _head_size(encoded)
        parts = [hashlib.sha256(part).digest() for part in (encoded[:body], encoded[body:])]
        descriptor = hashlib.sha256(parts[0] + parts[1]).digest()
        numbers = b"".join(struct.pack("<I", operand) for operand in node.operands)
        leaves.append(hashlib.sha256(b"\x00" + descriptor + numbers).digest())
    header = program.header
    counts = (header.state, header.constants, header.parameters, header.nodes, header.new_state)
    preimage = b"\x04" + struct.pack("<6I", 1, *counts) + merkle.root(leaves)
    assert program.preimage == preimage and program.root == hashlib.sha256(preimage).digest()


def _head_size(encoded: bytes) -> int:
    """Bytes of kind, type, rank and dimensions, of which each ends at its first byte below 0x80."""
    size = 3
    for _ in range(encoded[2]):
        while encoded[size] >= 0x80:
            size += 1
        size += 1
    return size


def test_a_descriptor_is_its_head_and_its_body_however_it_was_made() -> None:
    for made in mixed().descriptors:
        read = Descriptor.decode(made.encoded)
        for descriptor in (made, read):
            assert descriptor.head == made.encoded[: _head_size(made.encoded)] and descriptor.body
            assert descriptor.head + descriptor.body == made.encoded
        assert read.hash == made.hash


def test_any_change_of_a_node_changes_the_root() -> None:
    assert len({chain(n).root for n in range(1, 6)}) == 5
    assert chain(3).root == chain(3).root


def test_another_version_is_refused() -> None:
    data = mixed().encode()
    with pytest.raises(ProgramError, match="version 2"):
        Program.decode(struct.pack("<I", 2) + data[4:])
    with pytest.raises(ProgramError, match="24 bytes"):
        Header.decode(b"")


def test_truncated_and_extended_bytes_are_refused() -> None:
    data = mixed().encode()
    for length in range(0, len(data), 7):
        with pytest.raises(ProgramError):
            Program.decode(data[:length])
    with pytest.raises(ProgramError, match="1 bytes follow"):
        Program.decode(data + b"\x00")


def test_there_is_one_encoding_of_a_program() -> None:
    """Tables with unused, doubled or reordered descriptors are refused, so equal programs are equal bytes."""
    program = chain(2)
    parts = [descriptor.encoded for descriptor in program.descriptors]

    def assemble(table: list[bytes], nodes: bytes) -> bytes:
        packed = b"".join(struct.pack("<H", len(part)) + part for part in table)
        return program.header.encode() + struct.pack("<I", len(table)) + packed + nodes

    nodes = program.encode()[len(assemble(parts, b"")) :]
    assert assemble(parts, nodes) == program.encode()
    with pytest.raises(ProgramError, match="twice"):
        Program.decode(assemble([*parts, parts[0]], nodes))
    extra = bytes([0, 0, 0, 1, 0])  # a constant input that no node names
    with pytest.raises(ProgramError, match="no node names"):
        Program.decode(assemble([*parts, extra], nodes))
    with pytest.raises(ProgramError, match="out of order"):
        Program.decode(assemble(parts[::-1], bytes([1]) + nodes[1:]))


def test_claims_of_huge_counts_allocate_nothing() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counts = [(1 << 32) - 1] * 5
    for header in (struct.pack("<6I", 1, *counts), struct.pack("<6I", 1, 1, 0, 0, (1 << 18) - 1, 1)):
        for table in (b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x00\x00\x01\x00"):
            with pytest.raises(ProgramError):
                Program.decode(header + table + b"\x00" * 50)
    with pytest.raises(ProgramError, match="exceeds the limit"):
        Program.decode(bytes(MAX_PROGRAM_BYTES + 1))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 3 * MAX_PROGRAM_BYTES // 1024  # kilobytes; the oversized blob itself counts twice


def mutate(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(changed))
        match rng.randrange(4):
            case 0:
                changed[place] ^= 1 << rng.randrange(8)
            case 1:
                changed[place] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
            case 2:
                del changed[place]
            case _:
                changed[place:place] = rng.randbytes(rng.randint(1, 3))
        if not changed:
            return b""
    return bytes(changed)


def test_mutated_bytes_give_a_program_or_a_program_error() -> None:
    rng = random.Random(3)
    seeds = [mixed().encode(), chain(3).encode()]
    accepted = 0
    for _ in range(6000):
        data = mutate(rng, rng.choice(seeds))
        try:
            program = Program.decode(data)
        except ProgramError:
            continue
        accepted += 1
        assert program.encode() == data
    assert 0 < accepted < 3000


def test_a_program_of_2_to_the_18_nodes_parses_in_linear_time() -> None:
    program = chain(1 << 18)
    data = program.encode()
    started = time.process_time()
    decoded = Program.decode(data)
    seconds = time.process_time() - started
    assert decoded.root == program.root
    assert len(data) < 3 * (1 << 18) and seconds < 10
