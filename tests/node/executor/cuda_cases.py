"""Programs that a GPU and its emulation are tried on, each against the reference executor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from contraction_programs import Convolution, convolution_program, finished, floats, matrix_program, one_map
from fused_programs import RegionProgram
from random_programs import RandomProgram, as_array

from orebit.executor.conformance import Factory
from orebit.executor.cuda.library import Arithmetic
from orebit.executor.reference import ReferenceExecutor
from orebit.numerics.types import DType
from orebit.program.builder import Builder
from orebit.program.descriptor import Source
from orebit.program.graph import Program
from orebit.program.index_map import select_axes

Inputs = dict[Source, list[np.ndarray]]
STEPS = 2
LARGER = (1, 2, 3, 5, 8, 17, 33)


def small(seed: int) -> RandomProgram:
    return RandomProgram(seed, count=3 + seed % 6)


def larger(seed: int) -> RandomProgram:
    return RandomProgram(seed, count=8, extents=LARGER)


def region(seed: int) -> RandomProgram:
    return RegionProgram(seed)


def inputs_of(made: RandomProgram) -> Inputs:
    values, program = made.inputs(), made.program
    return {
        source: [as_array(v, spec) for v, spec in zip(values[source], program.specs(source), strict=True)]
        for source in Source
    }


def difference(factory: Factory, program: Program, given: Inputs) -> str | None:
    """The first new state, of two steps, in which an executor differs from the reference one; None if none does."""
    constants, parameters = given[Source.CONSTANT], given[Source.PARAMETER]
    reference, other = ReferenceExecutor(program, constants, parameters), factory(program, constants, parameters)
    ours: Sequence[Any] = given[Source.STATE]
    theirs: Sequence[Any] = ours
    for step in range(STEPS):
        ours, theirs = reference.step(ours), other.step(theirs)
        for number, a, b in zip(program.new_state, ours, theirs, strict=True):
            if a.contiguous().numpy().tobytes() != b.contiguous().numpy().tobytes():
                return f"step {step}, node {number}: {program.descriptor(number)}"
    return None


def integer_product(rows: int, columns: int, depth: int, types: tuple[DType, DType]) -> Program:
    """A product of whole integer types, with nothing around it."""
    builder = Builder()
    a = builder.constant(types[0], (rows, depth)).view(select_axes(3, [0, 2]))
    b = builder.constant(types[1], (depth, columns)).view(select_axes(3, [2, 1]))
    return finished(builder, builder.dot(a, b, (rows, columns), (depth,)))


def extremes(rng: np.random.Generator, dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
    """Integers of a type, its ends most of all: sums are as large as they can be."""
    low, high = dtype.range
    drawn = rng.integers(low, high, size=shape, endpoint=True)
    return np.where(rng.random(shape) < 0.7, rng.choice([low, high, low], size=shape), drawn).astype(dtype.numpy)


def product_cases(long: bool) -> Iterator[tuple[str, Program, Inputs]]:
    """Name, program, inputs: tiles and their edges, batches, digits of one, two and three, cuts, convolutions."""
    rng = np.random.default_rng(7)
    matrices = [
        ((), 70, 130, 100, 15, (False, False)),
        ((3,), 33, 40, 65, 8, (False, True)),
        ((), 12, 9, 3000, 15, (True, False)),
    ]
    if long:
        matrices += [((2, 3), 17, 31, 300, bits, (False, True)) for bits in (4, 12, 14, 16, 17, 22)]
        matrices += [((), 40, 30, 70_000, 15, (False, False)), ((), 256, 512, 512, 15, (False, False))]
    for batch, m, n, k, bits, transposed in matrices:
        program = matrix_program(batch, m, n, k, bits, transposed)
        yield f"matrix {batch} {m} {n} {k} {bits}", program, _floats(rng, program)
    for kind in ("forward", "input", "weight") if long else ("input",):
        for stride in (1, 2) if long else (2,):
            program = convolution_program(Convolution(2, 4, 9, 8, 8, 3, 3, stride, 1), 15, kind)
            yield f"convolution {kind} {stride}", program, _floats(rng, program)
    for types in ((DType.I16, DType.I16), (DType.I8, DType.U8), (DType.U16, DType.I8))[: 3 if long else 1]:
        program = integer_product(20, 30, 2500, types)
        shapes = [(20, 2500), (2500, 30)]
        constants = [extremes(rng, dtype, shape) for dtype, shape in zip(types, shapes, strict=True)]
        yield f"integers {types}", program, _over(program, constants)


def library_cases(kind: Arithmetic) -> Iterator[tuple[str, Program, Inputs]]:
    """Products that torch's kernels take."""
    rng = np.random.default_rng(8)
    if kind is Arithmetic.BYTES:
        shapes: list[tuple[tuple[int, ...], int, int, int, int]] = [((), 40, 24, 100, 8), ((), 17, 8, 1000, 4)]
        types = (DType.I8, DType.I8)
    else:
        shapes = [((3,), 20, 11, 30, 22), ((), 7, 33, 500, 17)]
        types = (DType.I32, DType.I32)
    for batch, m, n, k, bits in shapes:
        program = matrix_program(batch, m, n, k, bits, (True, False))
        yield f"matrix {batch} {m} {n} {k} {bits}", program, _floats(rng, program)
    builder = Builder()
    held = [builder.constant(dtype, shape) for dtype, shape in zip(types, ((20, 60), (60, 16)), strict=True)]
    limit = 127 if kind is Arithmetic.BYTES else (1 << 21) - 1
    kept = [one_map(builder, lambda q: q.max(-limit).min(limit), [x], x.shape, x.dtype) for x in held]
    a, b = kept[0].view(select_axes(3, [0, 2])), kept[1].view(select_axes(3, [2, 1]))
    program = finished(builder, builder.dot(a, b, (20, 16), (60,)))
    yield "integers", program, _over(program, [extremes(rng, x.dtype, x.shape) for x in held])


def _floats(rng: np.random.Generator, program: Program) -> Inputs:
    return _over(program, [floats(rng, spec.shape, special=True) for spec in program.specs(Source.CONSTANT)])


def _over(program: Program, constants: list[np.ndarray]) -> Inputs:
    state = [np.zeros(spec.shape, spec.dtype.numpy) for spec in program.specs(Source.STATE)]
    return {Source.CONSTANT: constants, Source.PARAMETER: [], Source.STATE: state}
