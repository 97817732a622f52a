"""What it takes to justify the dearest elements that a valid program can have, and the court's other questions.

A justify move is priced whole: 21,000, calldata at its floor, hashing and evaluating the descriptor, and 40,000 for the
game's books. `make snapshots` writes `snapshots/evaluator.json` anew: those totals, and the calls of the others.
"""

from __future__ import annotations

import json
import os
import random
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from node_arithmetic import Arithmetic, positions, stored
from random_nodes import random_reads

from orebit.numerics import functions, functions_error, functions_power, functions_random, functions_trigonometric
from orebit.numerics.types import INT64_MIN, DType
from orebit.program import price
from orebit.program.check import Clause, check_descriptor
from orebit.program.descriptor import Descriptor, Kind, Operand
from orebit.program.expression import Expression, ExpressionBuilder, Instruction
from orebit.program.index_map import AxisMap, IndexMap
from orebit.program.opcodes import LEAVES, SIGNATURES, Op

SNAPSHOT = Path(__file__).resolve().parent.parent.parent / "snapshots" / "evaluator.json"
WRITE = os.environ.get("OREBIT_SNAPSHOTS") == "write"
LONGEST = -(1 << 61)
EIGHT = (2,) * 8
# Where scalar operations take longest: subnormals, cancellation, ties, NaN, and arguments as far apart as they get.
FLOATS = [
    0x00000002, 0x00000003, 0x007FFFFF, 0x00400000, 0x3F6EBA0F, 0xBF800000, 0x3FC00000, 0xBFC00001, 0x7F7FFFFF,
    0xFF7FFFFF, 0x7FC00001, 0x4B7FFFFF,
]  # fmt: skip
INTS = [0, -1, 3, INT64_MIN, 0x1000003, -(1 << 40)]


@pytest.fixture(scope="module")
def record() -> Iterator[Callable[..., None]]:
    """Compares a figure with the snapshot, or writes all of them at the end."""
    known: dict[str, int] = json.loads(SNAPSHOT.read_text()) if SNAPSHOT.is_file() else {}
    seen: dict[str, int] = {}

    def note(**figures: int) -> None:
        seen.update(figures)
        for name, gas in figures.items():
            assert WRITE or known.get(name) == gas, f"{name} takes {gas}, the snapshot says {known.get(name)}"

    yield note
    if WRITE:
        SNAPSHOT.write_text(json.dumps(dict(sorted(seen.items())), indent=2) + "\n")


def justified(arithmetic: Arithmetic, descriptor: Descriptor, reads: bytes, element: int = 0) -> int:
    """Gas of the move that justifies an element by as many positions as these reads have, within its price."""
    assert not list(check_descriptor(descriptor)), list(check_descriptor(descriptor))
    count = len(reads) // max(sum(operand.dtype.size for operand in descriptor.operands), 1) if reads else 1
    contract, encoded = arithmetic.evaluator, descriptor.encoded
    (answer,) = arithmetic.metered(contract.evaluate, [(encoded, element, 0, count, reads)])
    (hashed,) = arithmetic.metered(contract.hashOf, [(encoded,)])
    assert answer.succeeded and hashed.succeeded
    gas = answer.gas + hashed.gas
    assert gas <= price.evaluation_gas(descriptor, count), f"{gas}, not {price.evaluation_gas(descriptor, count)}"
    total = gas + price.TRANSACTION + price.BOOKS + price.calldata_gas(encoded + reads)
    assert total <= price.MOVE_LIMIT
    return total


# Maps


def map_of(expression: Expression, output: DType | None = None, rank: int = 0) -> Descriptor:
    shape = EIGHT[:rank]
    operands = tuple(Operand(dtype, (), IndexMap(())) for dtype in expression.operands)
    return Descriptor(Kind.MAP, output or expression.result, shape, (), operands, expression)


def written(function: Callable[..., Any], *types: DType) -> Descriptor:
    """A macro as one map."""
    build = ExpressionBuilder(types, 0)
    made = function(*build.operands)
    return map_of(build.finish(made[0] if isinstance(made, tuple) else made))


def chain(op: Op, count: int) -> Descriptor:
    """One operation over and over."""
    given = (DType.I64, DType.F32, DType.F32) if op is Op.SELECT else () if op in LEAVES else SIGNATURES[op][0]
    immediate = LONGEST if op is Op.CONST_I64 else 0
    rank = 1 if op is Op.INDEX else 0
    instruction = Instruction(op, tuple(range(len(given))), immediate)
    return map_of(Expression(tuple(given), rank, (instruction,) * count), rank=rank)


def longest(make: Callable[[int], Descriptor]) -> Descriptor:
    """The most of it that is valid."""

    def size(count: int) -> int:
        descriptor = make(count)
        return max(price.justify_gas(descriptor) - price.MOVE_LIMIT, len(descriptor.encoded) - 4096)

    return make(bisect_right(range(1, 4097), 0, key=size))


def slowest(arithmetic: Arithmetic, op: Op, types: tuple[DType, ...]) -> bytes:
    """The reads, of those that were thought of, on which the operation takes longest."""
    pools = [FLOATS if dtype.is_float else INTS for dtype in types]
    tried = [b"".join(map(stored, values, types)) for values in product(*pools)]
    encoded = chain(op, 16).encoded
    taken = arithmetic.metered(arithmetic.evaluator.evaluate, [(encoded, 0, 0, 1, reads) for reads in tried])
    return max(zip(tried, taken, strict=True), key=lambda pair: pair[1].gas)[0]


@pytest.mark.parametrize("op", list(Op), ids=lambda op: op.name.lower())
def test_a_map_of_one_operation(arithmetic: Arithmetic, record: Callable[..., None], op: Op) -> None:
    """As many as a valid map holds, on the arguments that take longest."""
    descriptor = longest(lambda count: chain(op, count))
    assert descriptor.expression is not None
    reads = slowest(arithmetic, op, descriptor.expression.operands) if descriptor.operands else b""
    record(**{f"map_of_{op.name.lower()}": justified(arithmetic, descriptor, reads)})


def many_operands(dtype: DType, rank: int) -> Descriptor:
    """32 operands of that rank under an output of the same, as long as a descriptor may be."""

    def make(numbers: int) -> Descriptor:
        axes = [[0] * (rank + 1) for _ in range(32 * rank)]
        for place in range(min(numbers, 32 * rank * (rank + 1))):
            axes[place // (rank + 1)][place % (rank + 1)] = 1 << 20
        maps = [AxisMap(axis[0], tuple(axis[1:])) for axis in axes]
        operands = tuple(
            Operand(dtype, EIGHT[:rank], IndexMap(tuple(maps[k * rank : (k + 1) * rank]))) for k in range(32)
        )
        expression = Expression((dtype,) * 32, rank, ())
        return Descriptor(Kind.MAP, dtype, EIGHT[:rank], (), operands, expression)

    return longest(make)


@pytest.mark.parametrize("rank", [0, 4, 8])
@pytest.mark.parametrize("dtype", [DType.F32, DType.I8, DType.I64], ids=lambda dtype: dtype.label)
def test_a_map_of_many_operands(arithmetic: Arithmetic, record: Callable[..., None], dtype: DType, rank: int) -> None:
    descriptor = many_operands(dtype, rank)
    reads = stored(0x7FC00001 if dtype.is_float else -1, dtype) * 32
    gas = justified(arithmetic, descriptor, reads, descriptor.size - 1)
    record(**{f"map_of_32_{dtype.label}_rank_{rank}": gas})


def test_macros(arithmetic: Arithmetic, record: Callable[..., None]) -> None:
    two = stored(0x3FC00000, DType.F32) * 2
    record(
        threefry=justified(arithmetic, threefry(), b"\x9d" * 32),
        erf=justified(arithmetic, written(functions_error.erf, DType.F32), two[:4]),
        exp=justified(arithmetic, written(functions.exp, DType.F32), two[:4]),
        sin=justified(arithmetic, written(functions_trigonometric.sin, DType.F32), two[:4]),
        power=justified(arithmetic, written(functions_power.power, DType.F32, DType.F32), two),
    )


def threefry() -> Descriptor:
    return written(
        lambda a, b, c, d: functions_random.threefry2x32((a, b), (c, d)), DType.I64, DType.I64, DType.I64, DType.I64
    )


def test_values_that_take_two_bytes_to_number(arithmetic: Arithmetic, record: Callable[..., None]) -> None:
    def make(count: int) -> Descriptor:
        pads = (Instruction(Op.CONST_F32),) * 200
        return map_of(Expression((), 0, (*pads, *(Instruction(Op.FADD, (150, 151)),) * count)))

    record(map_of_fadd_of_late_values=justified(arithmetic, longest(make), b""))


# Reductions


def reduction(kind: Kind, types: tuple[DType, ...], rank: int = 8, length: int = 4096) -> Descriptor:
    """Operands and space of that rank, maps as long as is valid."""
    shape, extents = EIGHT[:rank], (length, *(1,) * (rank - 1))
    space = shape + extents
    operands = []
    for number, dtype in enumerate(types):
        axes = []
        for _ in range(rank):
            coefficients = [1 << 40] * len(space)
            for axis in range(rank):
                if kind.scatters and (number == 0 or axis == 0):
                    coefficients[axis] = 0
            axes.append(AxisMap(1 << 40, tuple(coefficients), 1 << 40))
        operands.append(Operand(dtype, EIGHT[:rank], IndexMap(tuple(axes)), 0))
    sums = kind in (Kind.DOT, Kind.SUM, Kind.SCATTER_SUM)
    return Descriptor(kind, DType.I64 if sums else types[-1], shape, extents, tuple(operands))


def dearest_reads(descriptor: Descriptor, count: int) -> bytes:
    """Everything lands, nothing is zero, and floats are compared to the end."""
    position = b""
    for number, operand in enumerate(descriptor.operands):
        if operand.dtype.is_float:
            position += stored(0xBF800000, operand.dtype)
        elif descriptor.kind.scatters and number == 0:
            position += bytes(operand.dtype.size)
        else:
            position += stored(-1, operand.dtype)
    return position * count


INTEGERS = [dtype for dtype in DType if not dtype.is_float]
REDUCTIONS: list[tuple[Kind, tuple[DType, ...]]] = [
    *((Kind.DOT, (dtype, dtype)) for dtype in INTEGERS),
    (Kind.DOT, (DType.I8, DType.I16)),
    (Kind.DOT, (DType.I16, DType.I8)),
    (Kind.DOT, (DType.I8, DType.I64)),
    *((Kind.SUM, (dtype,)) for dtype in INTEGERS),
    *((Kind.MAX, (dtype,)) for dtype in DType),
    *((Kind.SCATTER_SUM, (index, DType.I64)) for index in (DType.I8, DType.U16, DType.I32, DType.I64)),
    *((Kind.SCATTER_MAX, (DType.I32, dtype)) for dtype in DType),
]


@pytest.mark.parametrize("rank", [1, 8])
@pytest.mark.parametrize(
    ("kind", "types"), REDUCTIONS, ids=lambda p: p.name.lower() if isinstance(p, Kind) else "_".join(t.label for t in p)
)
def test_a_reduction_over_as_many_positions_as_one_move_takes(
    arithmetic: Arithmetic, record: Callable[..., None], kind: Kind, types: tuple[DType, ...], rank: int
) -> None:
    descriptor = reduction(kind, types, rank)
    count = price.positions_per_move(descriptor)
    gas = max(justified(arithmetic, descriptor, reads) for reads in every_reads(descriptor, count))
    record(**{f"{kind.name.lower()}_{'_'.join(dtype.label for dtype in types)}_rank_{rank}": gas})


def every_reads(descriptor: Descriptor, count: int) -> Iterator[bytes]:
    yield dearest_reads(descriptor, count)
    yield random_reads(random.Random(1), descriptor, count)
    if descriptor.operands[-1].dtype.is_float:  # the greatest so far is the second of two at every other position
        one = dearest_reads(descriptor, 1)
        yield (one[:-4] + stored(0x3F800000, DType.F32) + one) * (count // 2) + one * (count % 2)


def test_a_gather(arithmetic: Arithmetic, record: Callable[..., None]) -> None:
    for dtype in (DType.F32, DType.I64):
        index = Operand(DType.I64, EIGHT, reduction(Kind.SUM, (DType.I64,)).operands[0].map)
        axes = tuple(AxisMap(1 << 40, (1 << 40,) * 8, 1 << 40) for _ in range(8))
        index = Operand(DType.I64, EIGHT, IndexMap(axes))
        descriptor = Descriptor(Kind.GATHER, dtype, EIGHT, (), (index, Operand(dtype, EIGHT, IndexMap(axes[1:]))))
        record(**{f"gather_{dtype.label}": justified(arithmetic, descriptor, b"\xff" * (8 + dtype.size))})


# The court's other questions


def test_partial_results(arithmetic: Arithmetic, record: Callable[..., None]) -> None:
    """256 of them: with a descriptor as long as a reduction's can be, the move stays below the limit."""
    for name, kind, types, partial in (
        ("sum", Kind.DOT, (DType.I32, DType.I32), b"\xff" * 8),
        ("max_i64", Kind.MAX, (DType.I64,), b"\xff" * 8),
        ("max_f32", Kind.MAX, (DType.F32,), stored(0xBF800000, DType.F32) + bytes(4)),
    ):
        descriptor = reduction(kind, types, 8, 1 << 16)
        encoded = descriptor.encoded
        arguments = (encoded, 0, positions(descriptor), partial * 256)
        (combined,) = arithmetic.metered(arithmetic.evaluator.combine, [arguments])
        (hashed,) = arithmetic.metered(arithmetic.evaluator.hashOf, [(encoded,)])
        assert combined.succeeded
        posted = encoded + partial * 256
        worked = 4 * posted.count(0) + 16 * (len(posted) - posted.count(0)) + combined.gas + hashed.gas + price.BOOKS
        assert price.TRANSACTION + max(worked, price.calldata_gas(posted)) <= price.MOVE_LIMIT
        record(**{f"combine_{name}": combined.gas})


def test_where_a_read_comes_from(arithmetic: Arithmetic, record: Callable[..., None]) -> None:
    """One position of a dot and of a map of 32 operands, of rank 8."""
    dot = reduction(Kind.DOT, (DType.I64, DType.I64))
    wide = many_operands(DType.I64, 8)
    (first,) = arithmetic.metered(arithmetic.evaluator.readOf, [(dot.encoded, 255, 9, 10, b"\1" * 16, 1, 9)])
    (second,) = arithmetic.metered(arithmetic.evaluator.readOf, [(wide.encoded, 255, 0, 1, b"\1" * 256, 31, 0)])
    assert first.succeeded and second.succeeded
    record(read_of_dot_rank_8=first.gas, read_of_map_32_operands_rank_8=second.gas)


def test_clauses(arithmetic: Arithmetic, record: Callable[..., None]) -> None:
    """Each on the longest of the descriptors above that it concerns."""
    wide = many_operands(DType.I64, 8)
    long = longest(lambda count: chain(Op.IADD, count))
    assert long.expression is not None
    dear = replace(long, expression=replace(long.expression, instructions=long.expression.instructions * 2))
    endless = reduction(Kind.DOT, (DType.I64, DType.I64), 8, 1 << 40)
    for name, clause, descriptor, violated in (
        ("malformed_operands", Clause.MALFORMED, wide, False),
        ("malformed_expression", Clause.MALFORMED, long, False),
        ("affine_bounds", Clause.AFFINE_BOUNDS, wide, False),
        ("fill", Clause.FILL, wide, False),
        ("kind_types", Clause.KIND_TYPES, long, False),
        ("price", Clause.PRICE, dear, True),
        ("game_length", Clause.GAME_LENGTH, endless, True),
    ):
        place = ((1, 1, 0, 0, 1, 1), 5, descriptor.encoded, len(descriptor.head), b"", 31, b"")
        (answer,) = arithmetic.metered(arithmetic.validity.violates, [(clause, place)])
        assert answer.word == violated, name
        record(**{f"violates_{name}": answer.gas})
