"""Makes the conformance vectors by the scalar oracle; `python -m orebit.executor.conformance_vectors` writes the file.

Every scalar operation meets the special values (subnormals, ties, infinities, NaN, signed zeros, the ends of the
ranges), in pairs, and random ones; small programs meet every kind of node, with integers at the ends of their ranges.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import product
from math import prod
from pathlib import Path

import numpy as np

from orebit.executor import interpreter
from orebit.numerics.types import MASK32, DType
from orebit.program import index_map as maps
from orebit.program.builder import Builder, Value, View
from orebit.program.descriptor import Source
from orebit.program.expression import ExpressionBuilder
from orebit.program.graph import Program
from orebit.program.index_map import AxisMap, IndexMap
from orebit.program.opcodes import LEAVES, SIGNATURES, Op

PATH = Path(__file__).with_name("conformance.npz")
RANDOM_ROWS = 331
F32_SPECIALS = (
    0x00000000, 0x00000001, 0x00000002, 0x00400000, 0x007FFFFF, 0x00800000, 0x00800001, 0x3EFFFFFF, 0x3F000000,
    0x3F000001, 0x3F7FFFFF, 0x3F800000, 0x3F800001, 0x3FC00000, 0x40200000, 0x4AFFFFFF, 0x4B000000, 0x4B000001,
    0x4B7FFFFF, 0x5EFFFFFF, 0x5F000000, 0x7EFFFFFF, 0x7F000000, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FC00000,
    0x7FFFFFFF,
)  # fmt: skip
# Every pair of these is a vector.
F32_CORE = (
    0x00000000, 0x80000000, 0x00000001, 0x80000001, 0x007FFFFF, 0x00800000, 0x3F800000, 0xBF800000, 0x40200000,
    0x7F7FFFFF, 0xFF7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC00001,
)  # fmt: skip
I64_CORE = (0, 1, -1, 31, 32, 63, 64, MASK32, -(1 << 31), (1 << 63) - 1, -(1 << 63))
I64_SPECIALS = (
    0, 1, 2, 3, 5, 31, 32, 33, 63, 64, 65, 0x7F800001, (1 << 24) + 1, (1 << 24) + 3, (1 << 25) - 1, (1 << 31) - 1,
    1 << 31, MASK32, 1 << 32, (1 << 53) + 1, (1 << 54) - 1, (1 << 62) + (1 << 38), (1 << 62) + (1 << 38) + 1,
    (1 << 63) - 1,
)  # fmt: skip


def special(rng: random.Random, dtype: DType) -> int:
    """A value of an f32 (bits) or i64, special more often than not."""
    if dtype.is_float:
        return rng.choice(F32_SPECIALS) | rng.getrandbits(1) << 31
    value = rng.choice(I64_SPECIALS)
    return DType.I64.wrap(-value - rng.getrandbits(1) if rng.getrandbits(1) else value)


def value(rng: random.Random, dtype: DType) -> int:
    choice = rng.random()
    if choice < 0.55:
        return special(rng, dtype)
    if not dtype.is_float:
        return DType.I64.wrap(rng.getrandbits(rng.randint(1, 64)) * rng.choice((1, -1)))
    if choice < 0.8:  # near one: sums cancel, products tie
        return rng.randrange(0x3E800000, 0x41000000) | rng.getrandbits(1) << 31
    return rng.getrandbits(32)


def operation_vectors(op: Op) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Rows of arguments and, last, the result; an f32 is its bits."""
    rng = random.Random(int(op))
    given, _ = SIGNATURES[op]
    table = [list(row) for row in product(*(F32_CORE if dtype.is_float else I64_CORE for dtype in given))]
    for _ in range(RANDOM_ROWS):
        arguments = [value(rng, dtype) for dtype in given]
        if len(arguments) == 2 and rng.random() < 0.1:
            arguments[1] = arguments[0] ^ (rng.getrandbits(1) << 31 if given[0].is_float else rng.getrandbits(1))
        table.append(arguments)
    rng.shuffle(table)
    return np.array([[*row, interpreter.SCALAR[op](*row)] for row in table], dtype=np.int64)


def operations() -> list[Op]:
    """The operations that vectors are made for: all that take values, but SELECT."""
    return [op for op in Op if op not in LEAVES and op is not Op.SELECT]


def programs() -> Iterator[tuple[str, Program]]:
    """Small programs without state to speak of, one a kind of node, over two constants."""
    for dtype in (DType.I8, DType.I16, DType.I32, DType.I64):
        yield f"dot-{dtype.label}", _program(dtype, dtype, _dot)
    yield "dot-clamped", _program(DType.I64, DType.I64, _clamped_dot)
    for dtype in list(DType)[1:]:
        yield f"sum-{dtype.label}", _program(dtype, dtype, _sum)
    for dtype in DType:
        yield f"max-{dtype.label}", _program(dtype, dtype, _max)
        yield f"store-{dtype.label}", _program(DType.I64, dtype, _store)
    for dtype in (DType.F32, DType.U16, DType.I64):
        yield f"gather-{dtype.label}", _program(DType.I8, dtype, _gather)
        yield f"scatter-max-{dtype.label}", _program(DType.I8, dtype, _scatter_max)
    yield "scatter-sum-i64", _program(DType.I8, DType.I64, _scatter_sum)


ROWS, COLUMNS = 5, 37


def _program(first: DType, second: DType, make: Callable[[Builder, Value, Value], Value]) -> Program:
    builder = Builder()
    a = builder.constant(first, (ROWS, COLUMNS))
    b = builder.constant(second, (ROWS, COLUMNS))
    result = make(builder, a, b)
    builder.state(result.dtype, result.shape)
    return builder.finish([result])


def _dot(builder: Builder, a: Value, b: Value) -> Value:
    rows = [a.view(maps.select_axes(3, [0, 2])), b.view(maps.select_axes(3, [1, 2]))]
    return builder.dot(rows[0], rows[1], (ROWS, ROWS), (COLUMNS,))


def _clamped_dot(builder: Builder, a: Value, b: Value) -> Value:
    scope = ExpressionBuilder([DType.I64], 2)
    clamp = scope.finish(scope.operand(0).max(-((1 << 21) - 1)).min((1 << 21) - 1))
    return _dot(builder, builder.map(clamp, [a]), builder.map(clamp, [b]))


def _sum(builder: Builder, a: Value, b: Value) -> Value:
    return builder.sum(a.view(maps.identity(2)), (ROWS,), (COLUMNS,))


def _max(builder: Builder, a: Value, b: Value) -> Value:
    windows = IndexMap((AxisMap(0, (1, 0, 0)), AxisMap(-1, (0, 2, 1))))
    return builder.max(a.view(windows), (ROWS, COLUMNS // 2), (3,))


def _store(builder: Builder, a: Value, b: Value) -> Value:
    scope = ExpressionBuilder([DType.I64, b.dtype], 2)
    first, second = scope.operands
    picked = (scope.flat() & 3).eq(0).select(second, first.as_f32() if b.dtype.is_float else first + scope.index(1))
    return builder.map(scope.finish(picked), [a, b], dtype=b.dtype)


def _gather(builder: Builder, a: Value, b: Value) -> Value:
    return builder.gather(a.view(maps.transpose([1, 0])), b.view(maps.select_axes(2, [0])), (COLUMNS, ROWS))


def _scattered(a: Value, b: Value) -> tuple[View, View]:
    index = a.view(IndexMap((AxisMap(0, (0, 0, 0)), AxisMap(0, (0, 0, 1)))))
    return index, b.view(IndexMap((AxisMap(0, (0, 1, 0)), AxisMap(0, (0, 0, 1)))))


def _scatter_sum(builder: Builder, a: Value, b: Value) -> Value:
    index, source = _scattered(a, b)
    return builder.scatter_sum(index, source, (7, ROWS), (COLUMNS,))


def _scatter_max(builder: Builder, a: Value, b: Value) -> Value:
    index, source = _scattered(a, b)
    return builder.scatter_max(index, source, (7, ROWS), (COLUMNS,))


def program_vectors(program: Program, seed: int) -> list[list[int]]:
    """The two constants and the result."""
    rng = random.Random(seed)
    constants = []
    for spec in program.specs(Source.CONSTANT):
        scalar = spec.dtype.scalar
        drawn = [value(rng, scalar) for _ in range(prod(spec.shape))]
        constants.append(drawn if spec.dtype.is_float else [spec.dtype.wrap(number) for number in drawn])
    spec = program.specs(Source.STATE)[0]
    outputs = interpreter.step(program, [[0] * prod(spec.shape)], constants, [])
    return [*constants, outputs[-1]]


def generate() -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]:
    """All arrays of the file: `op/NAME`, and `program/NAME` with `program/NAME/0`, `/1` and `/result`."""
    arrays: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]] = {}
    for op in operations():
        arrays[f"op/{op.name}"] = operation_vectors(op)
    for seed, (name, program) in enumerate(programs()):
        arrays[f"program/{name}"] = np.frombuffer(program.encode(), dtype=np.uint8)
        for part, tensor in zip(("0", "1", "result"), program_vectors(program, seed), strict=True):
            arrays[f"program/{name}/{part}"] = np.array(tensor, dtype=np.int64)
    return arrays


if __name__ == "__main__":
    np.savez_compressed(PATH, **generate())  # type: ignore[arg-type]  # numpy types no keyword arrays
