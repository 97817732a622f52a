"""Hostile program files: what honest ones become under mutations that know the format, and under ones that do not.

`python hostile.py COUNT SEED LIMIT_BYTES` decodes COUNT mutants in a process that cannot have LIMIT_BYTES more memory
than it started with, and prints what came of them as JSON. Any outcome but a program or a ProgramError ends it with an
error.
"""

from __future__ import annotations

import json
import random
import resource
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from building import chain, mixed

from orebit.errors import ProgramError
from orebit.executor.conformance_vectors import programs
from orebit.program.descriptor import ARITY, Kind
from orebit.program.encoding import MAX_DESCRIPTORS, MAX_NODES
from orebit.program.graph import Program
from orebit.program.opcodes import SIGNATURES, Op
from orebit.program.varint import Reader

# Where arithmetic on sizes, offsets and counts goes wrong, if it does.
EDGES = (
    0, 1, 2, 7, 8, 9, 31, 32, 33, 127, 128, 255, 256, 4095, 4096, 65535, 65536, (1 << 19) + 1, (1 << 31) - 1, 1 << 31,
    (1 << 32) - 1, 1 << 32, (1 << 40) - 1, 1 << 40, (1 << 40) + 1, (1 << 61) - 1, (1 << 62) - 1, 1 << 62, (1 << 63) - 1,
    1 << 63, (1 << 64) - 1,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Token:
    """One number of a file: what it means, how it is written (byte, u32 or varint) and its value as written."""

    role: str
    form: str
    value: int

    def encode(self) -> bytes:
        if self.form == "byte":
            return bytes([self.value & 0xFF])
        if self.form == "u32":
            return struct.pack("<I", self.value & 0xFFFFFFFF)
        return _varint(self.value)


def _varint(value: int) -> bytes:
    """Seven bits a byte, of any length: a mutant's numbers may exceed 64 bits."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


@dataclass
class File:
    """A program file as tokens: five counts and a version, descriptors, nodes. Nothing here need be consistent."""

    header: list[int]
    descriptors: list[list[Token]]
    nodes: list[list[int]]
    declared: int | None = None
    raw: list[bytes] = field(default_factory=list)

    def encode(self) -> bytes:
        parts = [struct.pack("<6I", *(count & 0xFFFFFFFF for count in self.header))]
        count = len(self.descriptors) if self.declared is None else self.declared
        parts.append(struct.pack("<I", count & 0xFFFFFFFF))
        for tokens in self.descriptors:
            body = b"".join(token.encode() for token in tokens)
            parts += [struct.pack("<H", len(body) & 0xFFFF), body]
        parts += [_varint(number) for node in self.nodes for number in node]
        return b"".join(parts + self.raw)

    def copy(self) -> File:
        return File(list(self.header), [list(d) for d in self.descriptors], [list(n) for n in self.nodes])


def tokenise(program: Program) -> File:
    """An honest program as tokens."""
    header = program.header
    counts = [header.version, header.state, header.constants, header.parameters, header.nodes, header.new_state]
    nodes = [[n.descriptor, *(i - operand for operand in n.operands)] for i, n in enumerate(program.nodes)]
    return File(counts, [_Tokeniser(descriptor.encoded).tokens for descriptor in program.descriptors], nodes)


class _Tokeniser:
    """The tokens of one valid descriptor."""

    def __init__(self, data: bytes) -> None:
        self.reader = Reader(data)
        self.tokens: list[Token] = []
        kind = Kind(self.byte("kind"))
        self.byte("type")
        rank = self.dims()
        if kind is Kind.INPUT:
            self.byte("source")
            self.varint("index")
            return
        space = rank + (self.dims() if kind.reduces else 0)
        operands = self.byte("operands") if kind is Kind.MAP else ARITY[kind]
        for position in range(operands):
            self.operand(space, gathered=kind is Kind.GATHER and position == 1)
        while self.reader.left:
            self.instruction()

    def byte(self, role: str) -> int:
        self.tokens.append(Token(role, "byte", self.reader.byte()))
        return self.tokens[-1].value

    def varint(self, role: str) -> int:
        self.tokens.append(Token(role, "varint", self.reader.unsigned()))
        return self.tokens[-1].value

    def dims(self) -> int:
        rank = self.byte("rank")
        for _ in range(rank):
            self.varint("dimension")
        return rank

    def operand(self, space: int, gathered: bool) -> None:
        self.byte("type")
        for _ in range(self.dims() - gathered):
            self.varint("offset")
            for _ in range(space):
                self.varint("coefficient")
            self.varint("divisor")
        self.varint("fill")

    def instruction(self) -> None:
        op = Op(self.byte("op"))
        if op is Op.CONST_F32:
            self.tokens.append(Token("f32", "u32", self.reader.u32()))
        elif op is Op.CONST_I64:
            self.varint("i64")
        elif op is Op.INDEX:
            self.byte("axis")
        elif op is not Op.FLAT:
            for _ in range(3 if op is Op.SELECT else len(SIGNATURES[op][0])):
                self.varint("argument")


def number(rng: random.Random, near: int) -> int:
    """A number to put in the place of another: near it, at an edge, or any, at times beyond 64 bits."""
    choice = rng.random()
    if choice < 0.4:
        return max(0, near + rng.choice((-2, -1, 1, 2)))
    if choice < 0.9:
        return rng.choice(EDGES)
    return rng.getrandbits(rng.choice((6, 16, 40, 64, 65, 90)))


def change_token(rng: random.Random, file: File) -> None:
    tokens = rng.choice(file.descriptors)
    role = rng.choice(sorted({token.role for token in tokens}))
    place = rng.choice([i for i, token in enumerate(tokens) if token.role == role])
    tokens[place] = replace(tokens[place], value=number(rng, tokens[place].value))


def change_type(rng: random.Random, file: File) -> None:
    """Another kind, type, operation or source, most often a known one."""
    tokens = rng.choice(file.descriptors)
    places = [i for i, token in enumerate(tokens) if token.role in ("kind", "type", "op", "source")]
    place = rng.choice(places)
    known = [int(op) for op in Op] if tokens[place].role == "op" else list(range(8))
    tokens[place] = replace(tokens[place], value=rng.choice([*known, *known, rng.randrange(256)]))


def change_axes(rng: random.Random, file: File) -> None:
    """One dimension more or fewer, the rank agreeing or not; all that follows is shifted."""
    tokens = rng.choice(file.descriptors)
    place = rng.choice([i for i, token in enumerate(tokens) if token.role == "rank"])
    rank = tokens[place].value
    grown = rng.random() < 0.6
    if grown:
        tokens.insert(place + 1, Token("dimension", "varint", rng.choice((0, 1, 2, 1 << 20, 1 << 40))))
    elif rank:
        del tokens[place + 1]
    if rng.random() < 0.7:
        tokens[place] = replace(tokens[place], value=max(0, rank + (1 if grown else -1)))


def change_reshape(rng: random.Random, file: File) -> None:
    """Two dimensions exchange a factor: the same number of elements under other maps, valid or out of bounds."""
    tokens = rng.choice(file.descriptors)
    places = [i for i, token in enumerate(tokens) if token.role == "dimension"]
    if len(places) > 1:
        a, b = rng.sample(places, 2)
        tokens[a], tokens[b] = tokens[b], tokens[a]


def change_map(rng: random.Random, file: File) -> None:
    """Index maps that leave their source, or whose arithmetic would leave 62 bits."""
    tokens = rng.choice(file.descriptors)
    places = [i for i, token in enumerate(tokens) if token.role in ("offset", "coefficient", "divisor")]
    for place in rng.sample(places, min(len(places), rng.randint(1, 3))):
        tokens[place] = replace(tokens[place], value=rng.choice((*range(12), *EDGES)))


def change_expression(rng: random.Random, file: File) -> None:
    """Instructions dropped, doubled or moved, so that values are used before they exist or with another type."""
    tokens = rng.choice(file.descriptors)
    starts = [i for i, token in enumerate(tokens) if token.role == "op"]
    if not starts:
        return
    first = rng.choice(starts)
    last = min(i for i in (*starts, len(tokens)) if i > first)
    match rng.randrange(4):
        case 0:
            del tokens[first:last]
        case 1:
            tokens[first:first] = tokens[first:last] * rng.choice((1, 2, 40, 900))
        case 2:
            tokens += tokens[first:last]
        case _:
            places = [i for i in range(first, last) if tokens[i].role == "argument"]
            for place in places:
                tokens[place] = replace(tokens[place], value=rng.choice((0, 1, 2, 30, 31, 32, 4095, (1 << 64) - 1)))


def change_node(rng: random.Random, file: File) -> None:
    """Cycles, forward and far references, descriptors out of order."""
    node = rng.choice(file.nodes)
    place = rng.randrange(len(node))
    node[place] = 0 if rng.random() < 0.3 else number(rng, node[place])


def change_count(rng: random.Random, file: File) -> None:
    place = rng.randrange(7)
    if place == 6:
        file.declared = rng.choice((len(file.descriptors) + 1, 0, MAX_DESCRIPTORS, MAX_DESCRIPTORS + 1, 0xFFFFFFFF))
    else:
        file.header[place] = rng.choice((number(rng, file.header[place]), MAX_NODES, MAX_NODES + 1))


def change_graph(rng: random.Random, file: File) -> None:
    """Whole descriptors and nodes removed, doubled, exchanged; the header's count follows more often than not."""
    rows: list[list[Token]] | list[list[int]] = rng.choice((file.descriptors, file.nodes))
    before = len(file.nodes)
    match rng.randrange(4):
        case 0:
            del rows[rng.randrange(len(rows))]
        case 1:
            rows.insert(rng.randrange(len(rows)), rng.choice(rows))  # type: ignore[arg-type]  # a row of the same list
        case 2:
            rng.shuffle(rows)
        case _:
            file.nodes += file.nodes[-1:] * rng.choice((1, 3, 500))
    if rng.random() < 0.7:
        file.header[4] += len(file.nodes) - before


def change_bytes(rng: random.Random, data: bytes) -> bytes:
    """Mutations that know nothing of the format."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        place = rng.randrange(len(changed) + 1)
        match rng.randrange(6):
            case 0 if place < len(changed):
                changed[place] ^= 1 << rng.randrange(8)
            case 1:
                changed[place : place + 1] = bytes([rng.choice((0, 1, 0x7F, 0x80, 0xFF))])
            case 2:
                del changed[place : place + rng.choice((1, 2, 8, 1 << 20))]
            case 3:
                changed[place:place] = rng.randbytes(rng.choice((1, 3, 200)))
            case 4:
                changed[place:place] = b"\xff" * rng.choice((1, 9, 10, 5000))
            case _:
                other = rng.randrange(len(changed) + 1)
                changed[place:place] = changed[other : other + 40]
    return bytes(changed)


Mutation = Callable[[random.Random, File], None]
MUTATIONS: tuple[Mutation, ...] = (
    change_token,
    change_type,
    change_axes,
    change_reshape,
    change_map,
    change_expression,
    change_node,
    change_count,
    change_graph,
)


def splice(rng: random.Random, file: File, other: File) -> None:
    """A descriptor of another program."""
    file.descriptors[rng.randrange(len(file.descriptors))] = list(rng.choice(other.descriptors))


def mutant(rng: random.Random, files: list[File]) -> bytes:
    """One hostile file."""
    file = rng.choice(files).copy()
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if rng.random() < 0.1:
            splice(rng, file, rng.choice(files))
        elif file.descriptors and file.nodes and all(file.descriptors) and all(file.nodes):
            rng.choice(MUTATIONS)(rng, file)
    data = file.encode()
    return change_bytes(rng, data) if rng.random() < 0.15 else data


def seeds() -> list[File]:
    """Honest programs of every kind, to be mutated."""
    return [tokenise(program) for program in (mixed(), mixed(), chain(3), *(program for _, program in programs()))]


def attack(count: int, seed: int) -> dict[str, object]:
    """Decodes `count` mutants."""
    rng, files = random.Random(seed), seeds()
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    for _ in range(count):
        data = mutant(rng, files)
        started = time.process_time()
        try:
            program = Program.decode(data)
        except ProgramError as error:
            outcomes[clause_of(str(error))] += 1
        else:
            outcomes["accepted"] += 1
            if program.encode() != data:
                raise AssertionError(f"a second encoding of one program was accepted: {data.hex()}")
        slowest = max(slowest, time.process_time() - started)
    return {"slowest": slowest, "outcomes": outcomes, "peak": peak_memory()}


def peak_memory() -> int:
    """Bytes that this process has had in memory at most; `ru_maxrss` would count the parent's."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) << 10


def clause_of(message: str) -> str:
    """The clause that a refusal names, if it names one."""
    place = message.partition(" (")[2].partition(")")[0]
    return place if place.isidentifier() else "malformed"


def main() -> None:
    count, seed, limit = map(int, sys.argv[1:])
    seeds()  # what is imported late is imported now
    before = peak_memory()
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + limit, mapped + limit))
    found = attack(count, seed)
    print(json.dumps({**found, "before": before}))


if __name__ == "__main__":
    main()
