"""One element of one node in Solidity, beside the interpreter: values, partial results, and where reads come from.

Every call is metered, and may take no more than its price. OREBIT_LONG_TESTS=1 takes ten thousand nodes.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
from evm import reverts
from node_arithmetic import (
    MASK,
    PARTIALS,
    Arithmetic,
    answer_of,
    combined,
    loaded,
    partial_ranges,
    positions,
    result_of,
    source,
    stored,
    stride,
    unravel,
)
from random_nodes import Case, elements_of, program_cases, random_range, random_reads, wild
from worlds import random_world

from orebit.numerics import scalar
from orebit.numerics.types import INT64_MAX, INT64_MIN, MASK64, DType
from orebit.program import expression, price
from orebit.program.descriptor import Descriptor, Kind, Operand
from orebit.program.index_map import select_axes

LONG = os.environ.get("OREBIT_LONG_TESTS") == "1"
NODES, LONG_NODES = 1_000, 10_000
FIRST_SEED, FIRST_LONG_SEED = 1_000, 100_000
AT_ONCE = 500


def nodes(count: int = NODES, long: int = LONG_NODES) -> int:
    return long if LONG else count


def cases() -> Iterator[Case]:
    """Elements of the nodes of random programs, one after the other."""
    seed = FIRST_LONG_SEED if LONG else FIRST_SEED
    while True:
        yield from program_cases(seed, elements=1)
        seed += 1


def evaluated(arithmetic: Arithmetic, asked: list[tuple[Descriptor, int, int, int, bytes]]) -> list[int]:
    """Answers of the contract to (descriptor, element, from, to, reads), none above its price."""
    arguments = [(descriptor.encoded, *rest) for descriptor, *rest in asked]
    answers = arithmetic.metered(arithmetic.evaluator.evaluate, arguments)
    hashes = arithmetic.metered(arithmetic.evaluator.hashOf, [(descriptor.encoded,) for descriptor, *_ in asked])
    for (descriptor, _, start, stop, _), answer, hashed in zip(asked, answers, hashes, strict=True):
        assert hashed.output == descriptor.hash
        assert answer.gas + hashed.gas <= price.evaluation_gas(descriptor, stop - start), (answer.gas, descriptor)
    return [answer.word for answer in answers]


# Elements


def test_elements_are_the_interpreter_s(arithmetic: Arithmetic) -> None:
    drawn, left = cases(), nodes()
    while left > 0:
        some = list(islice(drawn, min(left, AT_ONCE)))
        left -= len(some)
        asked = [(c.descriptor, c.element, 0, (n := positions(c.descriptor)), c.reads(0, n)) for c in some]
        for case, answer in zip(some, evaluated(arithmetic, asked), strict=True):
            assert answer == case.value & MASK[case.descriptor.dtype], case


def executed() -> Iterator[tuple[Descriptor, int, int, bytes, int]]:
    """(descriptor, element, positions, reads, what the reference executor put out), node by node."""
    seed = FIRST_LONG_SEED if LONG else FIRST_SEED
    while True:
        world = random_world(seed, 9)
        trace, rng = world.truth.trace(0), random.Random(seed)
        for node in world.program.operations:
            descriptor, output = world.program.descriptor(node), trace.tensor(node).reshape(-1)
            number = rng.randrange(descriptor.size)
            element = trace.element(node, number)
            reads = element.reads(0, element.positions)
            yield descriptor, number, element.positions, reads, int(output.view(f"u{output.itemsize}")[number])
        world.truth.close()
        seed += 1


def test_elements_are_the_executor_s(arithmetic: Arithmetic) -> None:
    """From what the honest player would post."""
    drawn, left = executed(), nodes(500)
    while left > 0:
        some = list(islice(drawn, min(left, AT_ONCE)))
        left -= len(some)
        asked = [(descriptor, number, 0, count, reads) for descriptor, number, count, reads, _ in some]
        for (descriptor, number, *_, value), answer in zip(some, evaluated(arithmetic, asked), strict=True):
            assert answer == value, (descriptor, number)


def test_lies_are_evaluated_like_truths(arithmetic: Arithmetic) -> None:
    """Whatever the reads, the contract ends and computes on them what the oracle does: no liar can make it revert."""
    rng = random.Random(7)
    asked = []
    for case in islice(cases(), nodes(300)):
        descriptor = case.descriptor
        start, stop = random_range(rng, descriptor)
        asked.append((descriptor, case.element, start, stop, random_reads(rng, descriptor, stop - start)))
    compare(arithmetic, asked)


def test_any_descriptor_is_evaluated_on_part_of_its_reduction(arithmetic: Arithmetic) -> None:
    """Ranks up to 8, maps that lead anywhere, and huge tensors: nothing but the reads counts."""
    rng = random.Random(11)
    asked = []
    for _ in range(nodes(200, 3_000)):
        descriptor = wild(rng)
        start, stop = random_range(rng, descriptor)
        element = rng.randrange(elements_of(descriptor))
        asked.append((descriptor, element, start, stop, random_reads(rng, descriptor, stop - start)))
    compare(arithmetic, asked)


def compare(arithmetic: Arithmetic, asked: list[tuple[Descriptor, int, int, int, bytes]]) -> None:
    for given, answer in zip(asked, evaluated(arithmetic, asked), strict=True):
        descriptor, element, start, stop, reads = given
        assert answer == answer_of(descriptor, result_of(descriptor, element, reads), start, stop), given


def reduction_of(kind: Kind, types: tuple[DType, ...], length: int, shape: tuple[int, ...] = (3,)) -> Descriptor:
    """A node over one reduction axis."""
    operands = tuple(Operand(dtype, (length,), select_axes(len(shape) + 1, [len(shape)])) for dtype in types)
    sums = kind in (Kind.DOT, Kind.SUM, Kind.SCATTER_SUM)
    return Descriptor(kind, DType.I64 if sums else types[-1], shape, (length,), operands)


@pytest.mark.parametrize("second", [dtype for dtype in DType if not dtype.is_float], ids=lambda d: d.label)
@pytest.mark.parametrize("first", [dtype for dtype in DType if not dtype.is_float], ids=lambda d: d.label)
def test_a_dot_of_any_two_types_at_its_bounds(arithmetic: Arithmetic, first: DType, second: DType) -> None:
    """Lengths around the words that narrow types are taken by, extremes, and sums that wrap."""
    rng = random.Random(f"{first} {second}")
    asked = []
    for length in (1, 7, 8, 9, 15, 16, 17, 33, 100):
        descriptor = reduction_of(Kind.DOT, (first, second), length)
        for values in ((first.range[0], second.range[0]), (first.range[1], second.range[1]), (first.range[0], -1)):
            reads = b"".join(map(stored, values, (first, second)))
            asked.append((descriptor, 1, 0, length, reads * length))
        asked.append((descriptor, 1, 0, length, rng.randbytes(length * stride(descriptor))))
    compare(arithmetic, asked)


def test_scatters_take_what_lands_on_their_row(arithmetic: Arithmetic) -> None:
    """The row is the element's first coordinate; where nothing lands the fill stays, which takes part in a maximum."""
    rng = random.Random(5)
    asked = []
    for kind in (Kind.SCATTER_SUM, Kind.SCATTER_MAX):
        for index in (DType.I8, DType.U8, DType.I32, DType.I64):
            for dtype in (DType.F32, DType.I16, DType.I64)[kind is Kind.SCATTER_SUM :]:
                descriptor = reduction_of(kind, (index, dtype), 6, (3, 5))
                fill = 0xBF800000 if dtype.is_float else -2
                operands = (descriptor.operands[0], replace(descriptor.operands[1], fill=fill))
                descriptor = replace(descriptor, operands=operands)
                for element in (0, 4, 5, 9, 14):
                    asked.append((descriptor, element, 0, 6, random_reads(rng, descriptor, 6)))
    compare(arithmetic, asked)


# Partial results


def test_partial_results_combine_to_the_whole(arithmetic: Arithmetic) -> None:
    """Two rounds: a range longer than 256 in 256 parts, and one of its parts in single positions."""
    rng = random.Random(3)
    for kind, types in [
        (Kind.SUM, (DType.I64,)),
        (Kind.DOT, (DType.I32, DType.I64)),
        (Kind.MAX, (DType.F32,)),
        (Kind.MAX, (DType.I8,)),
        (Kind.SCATTER_SUM, (DType.I8, DType.I64)),
        (Kind.SCATTER_MAX, (DType.I8, DType.F32)),
        (Kind.SCATTER_MAX, (DType.I8, DType.I64)),
    ]:
        descriptor = reduction_of(kind, types, 600)
        reads = random_reads(rng, descriptor, 600)
        whole = result_of(descriptor, 1, reads)
        assert refined(arithmetic, descriptor, reads, 0, 600) == answer_of(descriptor, whole, 0, 600)
        assert refined(arithmetic, descriptor, reads, 7, 10) == answer_of(
            descriptor, result_of(descriptor, 1, reads[7 * stride(descriptor) : 10 * stride(descriptor)]), 7, 10
        )


def refined(arithmetic: Arithmetic, descriptor: Descriptor, reads: bytes, start: int, stop: int) -> int:
    """A range evaluated by its parts."""
    width = stride(descriptor)
    ranges = partial_ranges(start, stop)
    asked = [(descriptor, 1, a, b, reads[a * width : b * width]) for a, b in ranges]
    partials = b"".join(answer.to_bytes(8, "little") for answer in evaluated(arithmetic, asked))
    return int(arithmetic.evaluator.combine(descriptor.encoded, start, stop, partials))


PARTIAL_VALUES = {
    "integers": [INT64_MIN, -1, 0, 1, INT64_MAX, -5, 1 << 40],
    "floats": [0x80000000, 0, 1, 0x80000001, 0xFF800000, 0x7F800000, 0x7FC00000, 0xBF800000, 0x3F800000, 0x7F800001],
}


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind.reduces], ids=lambda kind: kind.name.lower())
def test_any_partial_results_combine(arithmetic: Arithmetic, kind: Kind) -> None:
    """Maxima of all signs and of NaN, sums that wrap, words that no type has: a liar's as well as true ones."""
    rng = random.Random(kind)
    arguments, wanted = [], []
    for dtype in DType:
        types = (dtype, dtype)[: price_arity(kind)]
        if dtype.is_float and kind not in (Kind.MAX, Kind.SCATTER_MAX):
            continue
        index = (DType.I32,) if kind.scatters else types[:-1]
        for length in (2, 3, 255, 256, 257, 1000):
            descriptor = reduction_of(kind, (*index, types[-1]), length)
            pool = PARTIAL_VALUES["floats" if descriptor.dtype.is_float else "integers"]
            for start, stop in ((0, length), (1, length)):
                partials = [rng.choice((*pool, rng.getrandbits(64))) & MASK64 for _ in partial_ranges(start, stop)]
                data = b"".join(partial.to_bytes(8, "little") for partial in partials)
                arguments.append((descriptor.encoded, start, stop, data))
                wanted.append(answer_of(descriptor, combined(descriptor, partials), start, stop))
    answers = arithmetic.metered(arithmetic.evaluator.combine, arguments)
    assert [answer.word for answer in answers] == wanted


def price_arity(kind: Kind) -> int:
    return 1 if kind in (Kind.SUM, Kind.MAX) else 2


# Where reads come from


def test_reads_come_from_where_the_index_map_leads(arithmetic: Arithmetic) -> None:
    """Negative strides, divisors, out of range, ranks up to 8; a gather's second operand at the index posted."""
    rng = random.Random(13)
    arguments, wanted = [], []
    for _ in range(nodes(500, 10_000)):
        descriptor = wild(rng)
        start, stop = random_range(rng, descriptor)
        element, position = rng.randrange(elements_of(descriptor)), rng.randrange(start, stop)
        number = rng.randrange(len(descriptor.operands))
        reads = random_reads(rng, descriptor, stop - start)
        if descriptor.kind is Kind.GATHER:
            row = rng.choice((-1, 0, descriptor.operands[1].shape[0] - 1, descriptor.operands[1].shape[0]))
            reads = stored(row, descriptor.operands[0].dtype) + reads[descriptor.operands[0].dtype.size :]
        arguments.append((descriptor.encoded, element, start, stop, reads, number, position))
        wanted.append(read_of(descriptor, element, start, reads, number, position))
    answers = arithmetic.values(arithmetic.evaluator.readOf, arguments)
    for (answer,), expected, given in zip(answers, wanted, arguments, strict=True):
        assert answer == expected, given
    assert len({expected[3] for expected in wanted}) == 2


def read_of(
    descriptor: Descriptor, element: int, start: int, reads: bytes, number: int, position: int
) -> tuple[Any, ...]:
    operand = descriptor.operands[number]
    first = (position - start) * stride(descriptor)
    offset = first + sum(other.dtype.size for other in descriptor.operands[:number])
    row = None
    if descriptor.kind is Kind.GATHER and number == 1:
        index = descriptor.operands[0].dtype
        row = loaded(reads[first : first + index.size], index)
    point = unravel(element, descriptor.shape) + unravel(position, descriptor.reduction)
    place = source(operand, point, row)
    posted = int.from_bytes(reads[offset : offset + operand.dtype.size], "little")
    fill = operand.fill & MASK[operand.dtype]
    return (operand.dtype, operand.dtype.size, posted, place is not None, place or 0, fill, operand.size)


def test_a_true_read_is_the_source_s_element_or_the_fill(arithmetic: Arithmetic) -> None:
    """What the challenger opens equals what an honest defender posted, whatever the element and the operand."""
    rng = random.Random(17)
    arguments, known = [], []
    for case in islice(cases(), nodes(300)):
        descriptor, length = case.descriptor, positions(case.descriptor)
        if not descriptor.operands:
            continue
        number, position = rng.randrange(len(descriptor.operands)), rng.randrange(length)
        arguments.append((descriptor.encoded, case.element, 0, length, case.reads(0, length), number, position))
        known.append(case.tensors[number])
    for (read,), tensor, given in zip(
        arithmetic.values(arithmetic.evaluator.readOf, arguments), known, arguments, strict=True
    ):
        dtype, _, posted, inside, place, fill, elements = read
        assert elements == len(tensor)
        assert posted == (tensor[place] & MASK[DType(dtype)] if inside else fill), given


# Outputs, and what is refused


def test_the_head_says_what_a_node_puts_out(arithmetic: Arithmetic) -> None:
    rng = random.Random(19)
    descriptors = [wild(rng) for _ in range(60)]
    for descriptor, (output,) in zip(
        descriptors,
        arithmetic.values(arithmetic.evaluator.outputOf, [(descriptor.head,) for descriptor in descriptors]),
        strict=True,
    ):
        dimensions = b"".join(extent.to_bytes(8, "little") for extent in descriptor.shape)
        prefix = bytes([2, descriptor.dtype, len(descriptor.shape)]) + dimensions
        assert output == (descriptor.kind, descriptor.dtype, descriptor.dtype.size, descriptor.size, prefix)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\1\0",
        b"\1\0\1",  # a dimension too few
        b"\1\0\1\x80",  # one that does not end
        b"\1\0\1\x81\0",  # not in its shortest form
        b"\1\0\1\0",  # zero
        b"\1\0\2\x80\x80\x80\x80\x80\x20\2",  # 2^40 twice
        b"\1\0\1\x80\x80\x80\x80\x80\x40",  # 2^41
        b"\1\0\1" + b"\xff" * 9 + b"\1",  # 2^64 - 1
        b"\1\0\1" + b"\xff" * 9 + b"\2",  # beyond 64 bits
        b"\1\0\x09" + b"\1" * 9,  # nine axes
        b"\x08\0\0",  # no kind
        b"\1\7\0",  # no type
    ],
)
def test_a_head_that_is_none_is_refused(arithmetic: Arithmetic, head: bytes) -> None:
    with reverts("MalformedHead"):
        arithmetic.evaluator.outputOf(head)


def test_only_reads_of_the_right_length_are_taken(arithmetic: Arithmetic) -> None:
    evaluate = arithmetic.evaluator.evaluate
    dot = reduction_of(Kind.DOT, (DType.I16, DType.I16), 1 << 20)
    for count, length in ((1, 3), (1, 5), (1, 0), (2, 4)):
        with reverts("WrongLength", length, 4 * count):
            evaluate(dot.encoded, 0, 0, count, b"\1" * length)
    with reverts("WrongLength", 2052, 2052):
        evaluate(dot.encoded, 0, 0, 513, b"\1" * 2052)
    assert evaluate(dot.encoded, 0, 0, 512, b"\1" * 2048) == 512 * 257 * 257
    copy = Descriptor(
        Kind.MAP, DType.F32, (), (), (Operand(DType.F32, (), select_axes(0, [])),), expression.identity(DType.F32, 0)
    )
    with reverts("WrongLength", 5, 4):
        evaluate(copy.encoded, 0, 0, 1, b"\1" * 5)
    with reverts("WrongLength", 8 * PARTIALS - 8, 8 * PARTIALS):
        arithmetic.evaluator.combine(dot.encoded, 0, 300, b"\1" * (8 * PARTIALS - 8))


def test_only_elements_and_positions_that_exist_are_taken(arithmetic: Arithmetic) -> None:
    total = reduction_of(Kind.SUM, (DType.I8,), 10)
    for element, start, stop in ((3, 0, 1), (0, 1, 1), (0, 2, 1), (0, 9, 11), (0, 0, (1 << 256) - 1)):
        with reverts("OutOfRange"):
            arithmetic.evaluator.evaluate(total.encoded, element, start, stop, b"\1")
    for operand, position in ((1, 0), (0, 2), (0, 0)):
        with reverts("OutOfRange"):
            arithmetic.evaluator.readOf(total.encoded, 0, 1, 2, b"\1", operand, position)
    with reverts("NotComputed", 0):
        arithmetic.evaluator.evaluate(Descriptor(Kind.INPUT, DType.I8, (3,)).encoded, 0, 0, 1, b"")


def test_a_nan_of_any_payload_counts_as_one(arithmetic: Arithmetic) -> None:
    """y and reads are raw bytes, yet what is computed, moved or compared is canonical."""
    payload = stored(0xFFC00001, DType.F32)
    copy = Descriptor(
        Kind.MAP, DType.F32, (), (), (Operand(DType.F32, (), select_axes(0, [])),), expression.identity(DType.F32, 0)
    )
    gather = Descriptor(
        Kind.GATHER,
        DType.F32,
        (1,),
        (),
        (Operand(DType.I8, (1,), select_axes(1, [0])), Operand(DType.F32, (4,), select_axes(1, []))),
    )
    assert arithmetic.evaluator.evaluate(copy.encoded, 0, 0, 1, payload) == scalar.CANONICAL_NAN
    assert arithmetic.evaluator.evaluate(gather.encoded, 0, 0, 1, b"\2" + payload) == scalar.CANONICAL_NAN
    for kind, types in ((Kind.MAX, (DType.F32,)), (Kind.SCATTER_MAX, (DType.I8, DType.F32))):
        reads = (b"\0" if kind.scatters else b"") + payload
        node = reduction_of(kind, types, 1)
        assert arithmetic.evaluator.evaluate(node.encoded, 0, 0, 1, reads) == scalar.CANONICAL_NAN
