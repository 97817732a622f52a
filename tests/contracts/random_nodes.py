"""Random nodes for the evaluator: those of the executors' random programs, and wilder ones of any rank and map."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "node" / "executor"))

from node_arithmetic import positions, stored, stride, true_reads
from random_programs import RandomProgram, random_bits, random_integer  # found by the path above

from orebit.executor import interpreter
from orebit.numerics.types import CANONICAL_NAN, DType
from orebit.program import expression
from orebit.program.check import check_descriptor
from orebit.program.descriptor import Descriptor, Kind, Operand, Source
from orebit.program.index_map import AxisMap, IndexMap

INTEGERS = [dtype for dtype in DType if not dtype.is_float]
REDUCING = [kind for kind in Kind if kind.reduces]


@dataclass(frozen=True)
class Case:
    """One element of one node, its operands' tensors, and what the interpreter makes of them."""

    descriptor: Descriptor
    tensors: Sequence[Sequence[int]]
    element: int
    value: int

    def reads(self, start: int, stop: int) -> bytes:
        return true_reads(self.descriptor, self.tensors, self.element, start, stop)


def program_cases(seed: int, elements: int) -> Iterator[Case]:
    """Elements of every node that computes something in a random program."""
    made = RandomProgram(seed, count=4 + seed % 6)
    inputs = made.inputs()
    outputs = interpreter.step(made.program, *(inputs[source] for source in Source))
    for number in made.program.operations:
        descriptor, node = made.program.descriptor(number), made.program.nodes[number]
        tensors = [outputs[read] for read in node.operands]
        for element in made.rng.sample(range(descriptor.size), min(elements, descriptor.size)):
            yield Case(descriptor, tensors, element, outputs[number][element])


def random_reads(rng: random.Random, descriptor: Descriptor, count: int) -> bytes:
    """Reads that nobody has computed: a liar's, special values more often than not."""
    parts = []
    for _ in range(count):
        for number, operand in enumerate(descriptor.operands):
            if operand.dtype.is_float:
                value = random_bits(rng)
            elif number == 0 and descriptor.kind.scatters:
                value = rng.randrange(-1, 3)
            else:
                value = random_integer(rng, operand.dtype)
            parts.append(stored(value, operand.dtype))
    return b"".join(parts)


def wild(rng: random.Random, kind: Kind | None = None) -> Descriptor:
    """A valid descriptor of any kind but input, of ranks up to 8, with maps of every sort; small or huge extents."""
    while True:
        descriptor = _wild(rng, kind or rng.choice(list(Kind)[1:]))
        if not list(check_descriptor(descriptor)):
            return descriptor


def _wild(rng: random.Random, kind: Kind) -> Descriptor:
    shape = _shape(rng, 1 if kind.scatters else 0, 8)
    reduction = _shape(rng, 1, 8) if kind.reduces else ()
    space = shape + reduction
    types = _types(rng, kind)
    operands = tuple(
        _operand(rng, dtype, space, _free(kind, number, len(shape), len(space)), kind is Kind.GATHER and number == 1)
        for number, dtype in enumerate(types)
    )
    if kind is Kind.MAP:
        made = expression.Expression(tuple(types), len(shape), ())
        return Descriptor(kind, made.operands[-1], shape, (), operands, made)
    sums = kind in (Kind.DOT, Kind.SUM, Kind.SCATTER_SUM)
    return Descriptor(kind, DType.I64 if sums else types[-1], shape, reduction, operands)


def _types(rng: random.Random, kind: Kind) -> list[DType]:
    match kind:
        case Kind.MAP:
            return [rng.choice(list(DType)) for _ in range(rng.choice((1, 1, 2, 5, 32)))]
        case Kind.DOT:
            first = rng.choice(INTEGERS)
            return [first, first if rng.random() < 0.5 else rng.choice(INTEGERS)]
        case Kind.SUM:
            return [rng.choice(INTEGERS)]
        case Kind.MAX:
            return [rng.choice(list(DType))]
        case Kind.SCATTER_SUM:
            return [rng.choice(INTEGERS), rng.choice(INTEGERS)]
        case _:
            return [rng.choice(INTEGERS), rng.choice(list(DType))]


def _shape(rng: random.Random, least: int, most: int) -> tuple[int, ...]:
    extents = rng.choice(((1, 2, 3), (1, 2, 3, 127, 128, 1000), (1, 1 << 14, 1 << 20)))
    rank = rng.choice((least, rng.randint(least, 3), rng.randint(least, most)))
    return tuple(rng.choice(extents) for _ in range(rank))


def _free(kind: Kind, number: int, rank: int, axes: int) -> range:
    """The axes of the space that the operand's map may use."""
    if kind.scatters:
        return range(rank, axes) if number == 0 else range(1, axes)
    return range(axes)


def _operand(rng: random.Random, dtype: DType, space: tuple[int, ...], free: range, gathered: bool) -> Operand:
    shape = _shape(rng, 1 if gathered else 0, 8)
    axes = []
    for extent in shape[gathered:]:
        coefficients = [0] * len(space)
        reach = 0
        for axis in free:
            if rng.random() < 0.4:
                coefficients[axis] = rng.choice((1, 1, -1, 2, -3, rng.randint(-(1 << 20), 1 << 20)))
                reach += coefficients[axis] * rng.randrange(space[axis])
        divisor = rng.choice((1, 1, 1, 2, 3, 100, 1 << 40))
        near = rng.randrange(extent) * divisor - reach if rng.random() < 0.7 else rng.randint(-(1 << 50), 1 << 50)
        axes.append(AxisMap(near, tuple(coefficients), divisor))
    if dtype.is_float:
        fill = rng.choice((0, 0x80000000, 0x3F800000, 0xFF800000, CANONICAL_NAN))
    else:
        fill = rng.choice((0, random_integer(rng, dtype)))
    return Operand(dtype, shape, IndexMap(tuple(axes)), fill)


def random_range(rng: random.Random, descriptor: Descriptor, most: int = 64) -> tuple[int, int]:
    """Positions `[start, stop)` that fit one move's reads."""
    length = positions(descriptor)
    fitting = min(length, most, 2048 // max(stride(descriptor), 1))
    count = rng.choice((1, fitting, rng.randint(1, fitting)))
    start = rng.choice((0, length - count, rng.randint(0, length - count)))
    return start, start + count


def elements_of(descriptor: Descriptor) -> int:
    return prod(descriptor.shape)
