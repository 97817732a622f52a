"""Tables of scalar operations by the oracle, and what an executor makes of them."""

from __future__ import annotations

import random
from functools import cache

import numpy as np

from orebit.executor.conformance import Factory, to_array, to_numbers
from orebit.executor.conformance_vectors import value
from orebit.executor.interpreter import SCALAR
from orebit.numerics.types import DType
from orebit.program.builder import Builder
from orebit.program.expression import ExpressionBuilder
from orebit.program.opcodes import LEAVES, SIGNATURES, Op

Table = np.ndarray[tuple[int, ...], np.dtype[np.int64]]
OPERATIONS = [op for op in Op if op not in LEAVES]
SELECTS = (DType.F32, DType.I64)


def arguments(op: Op, arm: DType) -> tuple[DType, ...]:
    return (DType.I64, arm, arm) if op is Op.SELECT else SIGNATURES[op][0]


@cache
def table(op: Op, arm: DType, rows: int, seed: int = 0) -> Table:
    """`rows` rows of arguments and, last, the oracle's result; special values more often than not, pairs related."""
    rng = random.Random(f"{op.name} {arm.name} {seed}")
    given = arguments(op, arm)
    made = []
    for _ in range(rows):
        row = [value(rng, dtype) for dtype in given]
        if len(row) == 2 and rng.random() < 0.15:  # equal, opposite, or neighbours
            row[1] = row[0] ^ (rng.choice((0, 1, 1 << 31, 1 << 23)) if given[0].is_float else rng.getrandbits(1))
        made.append([*row, _result(op, row)])
    return np.array(made, dtype=np.int64)


def _result(op: Op, row: list[int]) -> int:
    if op is Op.SELECT:
        return row[1] if row[0] else row[2]
    return SCALAR[op](*row)


def computed(factory: Factory, op: Op, arm: DType, rows: Table) -> Table:
    """What an executor makes of the arguments: each operation alone in a map over all rows."""
    given = arguments(op, arm)
    builder = Builder()
    scope = ExpressionBuilder(given, 1)
    operands = [builder.state(dtype, (len(rows),)) for dtype in given]
    output = builder.map(scope.finish(scope.emit(op, *scope.operands)), operands)
    builder.state(output.dtype, (len(rows),))
    program = builder.finish([*operands, output])
    columns = [to_array(rows[:, position], dtype) for position, dtype in enumerate([*given, output.dtype])]
    return to_numbers(factory(program, [], []).step(columns)[-1]).astype(np.int64)


def differing(factory: Factory, op: Op, arm: DType, rows: Table) -> list[str]:
    """Rows, as text, on which executor and oracle differ."""
    made = computed(factory, op, arm, rows)
    wanted = rows[:, -1]
    if op is Op.SELECT and arm.is_float:
        nan = (wanted & 0x7FFFFFFF) > 0x7F800000
        wanted = np.where(nan, 0x7FC00000, wanted)
    wrong = np.flatnonzero(made != wanted)
    return [f"{op.name} {[hex(n) for n in rows[i, :-1]]} is {made[i]:#x}, not {wanted[i]:#x}" for i in wrong[:5]]
