"""Programs are strangers' bytes: whatever they are, a program or a ProgramError, in bounded time and memory.

OREBIT_LONG_TESTS=1 tries a hundred thousand mutants instead of two thousand.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from building import chain, mixed
from hostile import File, Token, tokenise

from orebit.errors import ProgramError
from orebit.program.descriptor import MAX_DESCRIPTOR_BYTES
from orebit.program.encoding import MAX_DESCRIPTORS, MAX_PARTS, MAX_TABLE_BYTES
from orebit.program.graph import Program

LONG = os.environ.get("OREBIT_LONG_TESTS") == "1"
MUTANTS = 100_000 if LONG else 2_000
MEMORY = 64 << 20
SLOWEST = 1.0


def test_mutants_are_refused_in_bounded_time_and_memory() -> None:
    script = Path(__file__).with_name("hostile.py")
    command = [sys.executable, str(script), str(MUTANTS), "1", str(MEMORY)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout)
    outcomes = found["outcomes"]
    assert sum(outcomes.values()) == MUTANTS
    assert found["slowest"] < SLOWEST
    assert found["peak"] - found["before"] < MEMORY
    # The mutations reach every depth of the parser and of the check, and most are noticed.
    assert 0 < outcomes["accepted"] < MUTANTS / 2
    deep = {"affine_bounds", "operand_size", "operand_type", "elements", "dimension", "kind_types", "fill"}
    assert deep <= set(outcomes)


def role(kind: int, wanted: str, value: int, which: int = 0) -> Callable[[File], None]:
    """Sets a token of the first descriptor of this kind."""

    def change(file: File) -> None:
        tokens = next(d for d in file.descriptors if d[0].value == kind)
        place = [i for i, token in enumerate(tokens) if token.role == wanted][which]
        tokens[place] = Token(wanted, tokens[place].form, value)

    return change


def node(number: int, place: int, value: int) -> Callable[[File], None]:
    def change(file: File) -> None:
        file.nodes[number][place] = value

    return change


def header(place: int, value: int) -> Callable[[File], None]:
    def change(file: File) -> None:
        file.header[place] = value

    return change


MAP, DOT, GATHER = 1, 2, 5
REFUSALS: list[tuple[str, Callable[[File], None], str]] = [
    ("unknown version", header(0, 2), "version 2"),
    ("unknown kind", role(MAP, "kind", 8), "kind 8 .* is unknown"),
    ("unknown type", role(MAP, "type", 7), "type 7 .* is unknown"),
    ("unknown operation", role(MAP, "op", 0x7F), "operation 0x7f .* is unknown"),
    ("a node that reads itself", node(-1, 1, 0), "does not stand before it"),
    ("a node that reads what is far behind the first", node(-1, 1, 1 << 40), "does not stand before it"),
    ("a dimension of 2^64 - 1", role(DOT, "dimension", (1 << 64) - 1), "more than 2\\^40 positions"),
    ("shapes whose product overflows 64 bits", role(DOT, "dimension", 1 << 40, 1), "more than 2\\^40 positions"),
    ("a dimension of nothing", role(DOT, "dimension", 0), "below 1"),
    ("a reduction of nothing", role(DOT, "dimension", 0, 2), "below 1"),
    ("an index map that overflows", role(DOT, "coefficient", (1 << 64) - 2, -1), "62 bits"),
    ("a divisor of 2^64", role(DOT, "divisor", (1 << 64) - 1, -1), "62 bits"),
    ("a value that does not exist yet", role(MAP, "argument", 4000, 1), "does not exist yet"),
    ("an axis that does not exist", role(MAP, "axis", 1), "axis 1"),
    ("more nodes than the file holds", header(4, 1 << 18), "its own bytes"),
    ("2^32 - 1 of everything", lambda f: f.header.__setitem__(slice(1, 6), [0xFFFFFFFF] * 5), "exceeds the limit"),
    ("no state", header(1, 0), "no node names"),
    ("more new state than nodes", header(5, 500), "header_counts"),
    ("a fill that its type lacks", role(GATHER, "fill", 1 << 20, 1), "fill"),
]


@pytest.mark.parametrize("change, message", [case[1:] for case in REFUSALS], ids=[case[0] for case in REFUSALS])
def test_refusals_say_what_is_wrong(change: Callable[[File], None], message: str) -> None:
    file = tokenise(mixed())
    assert file.encode() == mixed().encode()
    change(file)
    with pytest.raises(ProgramError, match=message):
        Program.decode(file.encode())


def dense_table(count: int, coefficient: bytes) -> bytes:
    """The header and table of a file whose descriptors take most time and memory a byte: distinct, all coefficients."""
    operand = bytes([5, 8]) + b"\x01" * 8 + (coefficient * 9 + b"\x00") * 8 + b"\x00"
    operands = 3000 // len(operand)
    body = bytes([1, 6, 8]) + b"\x01" * 8 + bytes([operands]) + operand * operands
    table = []
    for number in range(count):
        descriptor = body + b"\x02" + Token("i64", "varint", number).encode()
        table.append(len(descriptor).to_bytes(2, "little") + descriptor)
    return mixed().encode()[:24] + count.to_bytes(4, "little") + b"".join(table)


@pytest.mark.parametrize("coefficient", [b"\x04", b"\x80\x04"])
def test_the_densest_files_take_memory_in_proportion(coefficient: bytes) -> None:
    data = dense_table(60, coefficient)
    tracemalloc.start()
    with pytest.raises(ProgramError, match="its own bytes"):
        Program.decode(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 24 * len(data)


def filled(descriptor: Callable[[int], bytes]) -> bytes:
    """The header and the largest table of such descriptors."""
    table, size = [], 0
    while size < MAX_TABLE_BYTES - MAX_DESCRIPTOR_BYTES and len(table) < MAX_DESCRIPTORS:
        data = descriptor(len(table))
        table.append(len(data).to_bytes(2, "little") + data)
        size += len(table[-1])
    return mixed().encode()[:24] + len(table).to_bytes(4, "little") + b"".join(table)


def constant(number: int) -> bytes:
    return b"\x02" + Token("i64", "varint", number).encode()


DENSE: dict[str, Callable[[int], bytes]] = {
    "operands": lambda n: bytes([MAP, 6, 0, 32]) + bytes([5, 0, 0]) * 32 + constant(n),
    "instructions": lambda n: bytes([MAP, 6, 0, 1, 6, 0, 0]) + constant(n) + bytes([0x33, 1]) * 2000,
    "coefficients": lambda n: (
        bytes([MAP, 6, 8])
        + b"\x01" * 8
        + bytes([20])
        + (bytes([5, 8]) + b"\x01" * 8 + (b"\x80\x04" * 9 + b"\x00") * 8 + b"\x00") * 20
        + constant(n)
    ),
}


@pytest.mark.parametrize("dense", DENSE)
def test_the_largest_tables_are_refused_quickly_and_in_little_memory(dense: str) -> None:
    data = filled(DENSE[dense])
    started = time.process_time()
    with pytest.raises(ProgramError, match=f"more than {MAX_PARTS} parts"):
        Program.decode(data)
    assert time.process_time() - started < 2 * SLOWEST  # on a busy machine; half a second on an idle one


def test_tables_beyond_the_limit_are_refused_before_they_are_read() -> None:
    length = 4096
    count = MAX_TABLE_BYTES // length + 1
    data = mixed().encode()[:24] + count.to_bytes(4, "little") + (length.to_bytes(2, "little") + bytes(length)) * count
    tracemalloc.start()
    with pytest.raises(ProgramError, match="exceed 8388608 bytes"):
        Program.decode(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * MAX_TABLE_BYTES  # the pieces of the file, and nothing made of them


def test_time_to_parse_grows_no_faster_than_the_file() -> None:
    def seconds(count: int) -> float:
        data = chain(count).encode()
        started = time.process_time()
        Program.decode(data)
        return time.process_time() - started

    seconds(2000)
    assert min(seconds(40_000) for _ in range(2)) < 40 * min(seconds(4000) for _ in range(3))
