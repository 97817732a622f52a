"""Clauses of validity in Solidity, beside orebit/program/check.py: each broken by itself, and mutants by the thousand.

OREBIT_LONG_TESTS=1 takes forty thousand mutants.
"""

from __future__ import annotations

import os
import random
import struct
import sys
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from evm import reverts
from node_arithmetic import Arithmetic, positions, stride
from random_nodes import program_cases, wild

sys.path.append(str(Path(__file__).parents[1] / "node" / "program"))

import hostile  # noqa: E402  # found by the path above
import test_check as broken  # noqa: E402  # the same

from orebit.errors import ProgramError
from orebit.numerics.types import DType
from orebit.program import price
from orebit.program.check import Clause, check_descriptor, violations
from orebit.program.descriptor import Descriptor, Kind, Operand
from orebit.program.expression import Expression, Instruction
from orebit.program.graph import Node, Program
from orebit.program.index_map import select_axes
from orebit.program.opcodes import LEAVES, SIGNATURES, Op

LONG = os.environ.get("OREBIT_LONG_TESTS") == "1"
MUTANTS = 40_000 if LONG else 1_000
OF_DESCRIPTORS = [clause for clause in Clause if Clause.RANK <= clause <= Clause.GAME_LENGTH and clause != Clause.ARITY]
SHAPES = (Clause.RANK, Clause.DIMENSION, Clause.ELEMENTS, Clause.REDUCTION)
LAST = (Clause.PRICE, Clause.GAME_LENGTH)
HEADER = (1, 1, 0, 0, 1, 1)
NO_OPERAND = 255

Place = tuple[Any, ...]


def place(
    encoded: bytes,
    head: int = 0,
    *,
    header: Sequence[int] = HEADER,
    node: int = 0,
    operands: Sequence[int] = (),
    operand: int = 0,
    producer: bytes = b"",
) -> Place:
    """As the contract's struct."""
    return (tuple(header), node, encoded, head, struct.pack(f"<{len(operands)}I", *operands), operand, producer)


def judged(arithmetic: Arithmetic, asked: Sequence[tuple[Clause, Place]]) -> list[bool]:
    return [bool(value) for (value,) in arithmetic.values(arithmetic.validity.violates, asked)]


def head_length(encoded: bytes) -> int:
    """Bytes of the head, of bytes that have one."""
    end = 3
    for _ in range(encoded[2]):
        while encoded[end] > 0x7F:
            end += 1
        end += 1
    return end


# Descriptors


def asked_of(descriptor: Descriptor) -> Iterator[tuple[Clause, int, Place]]:
    """Every clause of every operand, and of none."""
    encoded, head = descriptor.encoded, len(descriptor.head)
    yield Clause.MALFORMED, NO_OPERAND, place(encoded, head)
    for operand in (*range(len(descriptor.operands)), NO_OPERAND):
        for clause in OF_DESCRIPTORS:
            yield clause, operand, place(encoded, head, operand=operand)


def compare(arithmetic: Arithmetic, descriptors: Sequence[Descriptor]) -> Counter[Clause]:
    """The contract finds in well-formed descriptors what Python finds, clause by clause and operand by operand."""
    asked = [(descriptor, *question) for descriptor in descriptors for question in asked_of(descriptor)]
    answers = judged(arithmetic, [(clause, at) for _, clause, _, at in asked])
    found = {id(descriptor): {finding[:2] for finding in check_descriptor(descriptor)} for descriptor in descriptors}
    seen: Counter[Clause] = Counter()
    for (descriptor, clause, operand, _), answer in zip(asked, answers, strict=True):
        findings = found[id(descriptor)]
        expected = bool(findings & {(clause, None), (clause, operand)})
        # Python looks no further where shapes are wrong, and at prices only where nothing else is.
        shaped = not any(finding in SHAPES for finding, _ in findings)
        if expected or not findings or (shaped and clause not in LAST):
            assert answer == expected, (clause, operand, descriptor, findings)
        seen[clause] += expected
    return seen


def encodable(descriptor: Descriptor) -> bool:
    """Whether these are a descriptor's bytes: what Python objects may break, bytes often cannot."""
    try:
        return Descriptor.decode(descriptor.encoded) == descriptor
    except ProgramError:
        return False


# What the Python test breaks in objects that have no bytes, in bytes.
OTHERS_BROKEN = [
    Descriptor(Kind.SUM, DType.I64, (2,), (1 << 41,), (Operand(DType.I8, (2,), select_axes(2, [0])),)),
    Descriptor(Kind.SUM, DType.I64, (2,), (), (Operand(DType.I8, (2,), select_axes(1, [0])),)),
    Descriptor(
        Kind.SCATTER_SUM,
        DType.I64,
        (),
        (5,),
        (Operand(DType.I8, (5,), select_axes(1, [0])), Operand(DType.I8, (5,), select_axes(1, [0]))),
    ),
    broken.with_operand(broken.copy_of(), 0, shape=(1 << 41,)),
    broken.with_operand(broken.copy_of(), 0, map=broken.far(divisor=1 << 62)),
    broken.with_operand(broken.copy_of(), 0, map=broken.far(offset=-(1 << 62))),
]


def test_valid_descriptors_break_nothing(arithmetic: Arithmetic) -> None:
    rng = random.Random(23)
    descriptors = [*broken.VALID, *(wild(rng) for _ in range(20))]
    descriptors += [case.descriptor for seed in range(4) for case in program_cases(seed, elements=1)]
    assert not +compare(arithmetic, descriptors)


def test_each_clause_is_found_where_python_finds_it(arithmetic: Arithmetic) -> None:
    descriptors = [descriptor for _, _, descriptor in broken.BROKEN if encodable(descriptor)]
    seen = compare(arithmetic, descriptors + OTHERS_BROKEN)
    assert set(+seen) == {
        Clause.RANK,
        Clause.DIMENSION,
        Clause.ELEMENTS,
        Clause.REDUCTION,
        Clause.AFFINE_BOUNDS,
        Clause.FILL,
        Clause.KIND_TYPES,
        Clause.PARAMETER_SIZE,
        Clause.PRICE,
        Clause.GAME_LENGTH,
    }


def mutants(rng: random.Random) -> Iterator[bytes]:
    """Descriptors of honest programs, changed by what knows the format and by what does not."""
    files = hostile.seeds()
    while True:
        file = rng.choice(files).copy()
        # A descriptor or two of the file, so that every mutation hits one.
        file.descriptors = rng.sample(file.descriptors, min(2, len(file.descriptors)))
        mutate = rng.choice(hostile.MUTATIONS[:6])
        for _ in range(rng.choice((1, 1, 2))):
            if all(file.descriptors):
                mutate(rng, file)
        for tokens in file.descriptors:
            data = b"".join(token.encode() for token in tokens)
            yield hostile.change_bytes(rng, data) if rng.random() < 0.3 else data


def test_mutants_are_judged_as_python_judges_them(arithmetic: Arithmetic) -> None:
    """What Python cannot decode is malformed and only that; all else breaks the same clauses at the same operands."""
    rng = random.Random(29)
    source = mutants(rng)
    malformed, formed = [], []
    for _ in range(MUTANTS):
        data = next(source)[:20_000]
        try:
            formed.append(Descriptor.decode(data))
        except ProgramError:
            malformed.append(data)
    asked = [(Clause.MALFORMED, place(data, head)) for data in malformed for head in {3, 4, heads(data)}]
    assert all(judged(arithmetic, asked))
    seen: Counter[Clause] = Counter()
    for first in range(0, len(formed), 200):
        seen += compare(arithmetic, formed[first : first + 200])
    assert len(malformed) > MUTANTS / 10 and len(formed) > MUTANTS / 4
    assert len(+seen) >= 4, seen


def heads(data: bytes) -> int:
    try:
        return head_length(data)
    except IndexError:
        return len(data)


def test_a_head_ends_where_it_ends(arithmetic: Arithmetic) -> None:
    """The hash has two parts, so that a descriptor split elsewhere would be another one with the same bytes."""
    for descriptor in (broken.dot_of(), Descriptor(Kind.INPUT, DType.F32, (200, 3))):
        head = len(descriptor.head)
        lengths = [*range(len(descriptor.encoded) + 3), (1 << 256) - 1]
        answers = judged(arithmetic, [(Clause.MALFORMED, place(descriptor.encoded, length)) for length in lengths])
        assert [length for length, answer in zip(lengths, answers, strict=True) if not answer] == [head]


@pytest.mark.parametrize("value", [0, 1, 127, 128, (1 << 63) - 1, (1 << 64) - 1])
def test_integers_have_one_form(arithmetic: Arithmetic, value: int) -> None:
    """A state input's index, written in every length: the shortest is an index, all others are malformed."""
    forms = {}
    for length in range(1, 13):
        digits = [value >> 7 * place & 0x7F for place in range(length)]
        data = bytes([digit | 0x80 for digit in digits[:-1]]) + bytes(digits[-1:])
        forms[data] = sum(digit << 7 * place for place, digit in enumerate(digits)) == value and digits[-1] > 0
    forms[hostile._varint(value + (1 << 64))] = False
    shortest = min((form for form, whole in forms.items() if whole), key=len, default=b"\0")
    encoded = {form: bytes([0, 0, 1, 4, 0]) + form for form in forms}
    answers = judged(arithmetic, [(Clause.MALFORMED, place(data, 4)) for data in encoded.values()])
    kept = [form for form, answer in zip(encoded, answers, strict=True) if not answer]
    assert shortest in kept
    for form in kept:
        assert Descriptor.decode(encoded[form]).encoded == encoded[form]
    for form in set(encoded) - set(kept):
        with pytest.raises(ProgramError):
            Descriptor.decode(encoded[form])


# Prices


def chain_of(op: Op, count: int, spare: int = 0) -> Descriptor:
    """A map of one operation over and over, with that many values in front of it."""
    arguments: tuple[int, ...] = ()
    if op is Op.SELECT:
        dtype, arguments = DType.I64, (spare,) * 3
    elif op in LEAVES:
        dtype = DType.F32 if op is Op.CONST_F32 else DType.I64
    else:
        dtype, arguments = SIGNATURES[op][0][0], (spare,) * len(SIGNATURES[op][0])
    filler = Instruction(Op.CONST_F32) if dtype.is_float else Instruction(Op.FLAT)
    instructions = (filler,) * (spare + 1 if spare else 0) + (Instruction(op, arguments),) * count
    operand = Operand(dtype, (1,), broken.far(0, 0))
    made = Expression((dtype,), 1, instructions)
    return Descriptor(Kind.MAP, made.result, (1,), (), (operand,), made)


@pytest.mark.parametrize("op", list(Op), ids=lambda op: op.name.lower())
def test_an_operation_s_price_is_python_s(arithmetic: Arithmetic, op: Op) -> None:
    """The most that one move can pay is valid, and one more is not."""
    for spare in (0, 150):
        if spare and op in LEAVES:
            continue
        most = bisect_right(range(4096), price.MOVE_LIMIT, key=lambda n: price.justify_gas(chain_of(op, n, spare))) - 1
        descriptors = [chain_of(op, most, spare), chain_of(op, most + 1, spare)]
        if len(descriptors[1].encoded) > 4096:
            continue
        assert [bool(list(check_descriptor(descriptor))) for descriptor in descriptors] == [False, True]
        assert judged(arithmetic, [(Clause.PRICE, place(d.encoded)) for d in descriptors]) == [False, True]


def test_positions_of_a_move_are_python_s(arithmetic: Arithmetic) -> None:
    rng = random.Random(31)
    descriptors = [wild(rng, kind) for kind in Kind if kind.reduces for _ in range(40)]
    answers = arithmetic.values(arithmetic.evaluator.positionsOf, [(descriptor.encoded,) for descriptor in descriptors])
    for descriptor, answer in zip(descriptors, answers, strict=True):
        assert answer == (positions(descriptor), price.positions_per_move(descriptor)), descriptor
    full = [2048 // stride(descriptor) == answer[1] for descriptor, answer in zip(descriptors, answers, strict=True)]
    assert set(full) == {True, False}


# Graphs


def header_of(program: Program) -> tuple[int, ...]:
    header = program.header
    return (header.version, header.state, header.constants, header.parameters, header.nodes, header.new_state)


def graph_clauses(arithmetic: Arithmetic, program: Program) -> set[tuple[Clause, int, int | None]]:
    """All that the contract finds in a program's graph, node by node."""
    asked: list[tuple[Clause, int, int | None, Place]] = []
    header = header_of(program)
    for number, node in enumerate(program.nodes):
        descriptor = program.descriptors[node.descriptor]
        reads = [read % (1 << 32) for read in node.operands]

        def at(operand: int, producer: bytes = b"") -> Place:
            head = len(descriptor.head)  # noqa: B023  # called at once
            return place(
                descriptor.encoded,  # noqa: B023
                head,
                header=header,
                node=number,  # noqa: B023
                operands=reads,  # noqa: B023
                operand=operand,
                producer=producer,
            )

        for clause in (Clause.HEADER_COUNTS, Clause.INPUT_ORDER, Clause.ARITY, Clause.NEW_STATE_TYPE):
            needed, read = arithmetic.validity.producerOf(clause, at(0))
            known = needed and read < len(program.nodes)
            asked.append((clause, number, None, at(0, program.descriptor(read).head if known else b"")))
        for operand in range(len(reads) + 1):
            for clause in (Clause.OPERAND_ORDER, Clause.NEW_STATE_OPERAND, Clause.OPERAND_TYPE, Clause.OPERAND_SIZE):
                needed, read = arithmetic.validity.producerOf(clause, at(operand))
                known = needed and read < number and operand < len(reads)
                asked.append((clause, number, operand, at(operand, program.descriptor(read).head if known else b"")))
    answers = judged(arithmetic, [(clause, at) for clause, _, _, at in asked])
    found = {question[:3] for question, answer in zip(asked, answers, strict=True) if answer}
    return {(clause, -1 if clause is Clause.HEADER_COUNTS else node, operand) for clause, node, operand in found}


def graphs() -> Iterator[Program]:
    """Programs with one thing wrong in the graph, and one with nothing."""
    program = broken.small_program()
    yield program
    two, three = program.nodes[2:]
    for number, node in [
        (2, Node(two.descriptor, (2,))),
        (2, Node(two.descriptor, (3,))),
        (2, Node(two.descriptor, ((1 << 32) - 1,))),
        (3, Node(three.descriptor, (2,))),
        (3, Node(three.descriptor, (2, 1, 1))),
        (0, Node(1)),
        (1, Node(0)),
        (2, Node(0)),
        (0, Node(two.descriptor, (0,))),
    ]:
        yield broken.with_node(program, number, node)
    header = program.header
    for changes in ({"new_state": 2}, {"nodes": 1}, {"state": 0, "constants": 2, "new_state": 0}, {"version": 2}):
        yield replace(program, header=replace(header, **changes))
    first, *others = program.descriptors
    for changes in ({"dtype": DType.I64}, {"shape": (5,)}, {"shape": (2, 2)}, {"shape": (1 << 32,)}, {"index": 1}):
        yield replace(program, descriptors=(replace(first, **changes), *others))


@pytest.mark.parametrize("program", list(graphs()))
def test_a_graph_s_clauses_are_python_s(arithmetic: Arithmetic, program: Program) -> None:
    """Of a header that does not hold, nothing else counts."""
    found = graph_clauses(arithmetic, program)
    wanted = {(v.clause, v.node, v.operand) for v in violations(program) if v.clause not in OF_DESCRIPTORS}
    if program.header.version != 1:
        wanted = {(Clause.HEADER_COUNTS, -1, None)}
    headed = (Clause.HEADER_COUNTS, -1, None)
    assert wanted <= found or headed in wanted <= found | wanted
    assert headed in wanted or found == wanted


def test_new_state_is_nobody_s_operand(arithmetic: Arithmetic) -> None:
    builder = broken.Builder()
    first, second = builder.state(DType.F32, (4,)), builder.state(DType.F32, (4,))
    program = builder.finish([second, first])
    assert not graph_clauses(arithmetic, program)
    last = program.nodes[3]
    found = graph_clauses(arithmetic, broken.with_node(program, 3, Node(last.descriptor, (2,))))
    assert found == {(Clause.NEW_STATE_OPERAND, 3, 0)}


def test_counts_do_not_overflow(arithmetic: Arithmetic) -> None:
    most = (1 << 32) - 1
    descriptor = Descriptor(Kind.INPUT, DType.F32, (1,))
    header = (1, most, most, most, most, most)
    asked = [(clause, place(descriptor.encoded, 4, header=header, node=1 << 40)) for clause in Clause]
    for (clause, _), answer in zip(asked, judged(arithmetic, asked), strict=True):
        assert answer == (clause is Clause.INPUT_ORDER), clause


def test_an_unknown_clause_is_refused(arithmetic: Arithmetic) -> None:
    for clause in (0, 23, 255):
        with reverts("UnknownClause", clause):
            arithmetic.validity.violates(clause, place(b"\1"))
