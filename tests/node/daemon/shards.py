"""A small program, its plan in a store, and the result hashes that everybody must get."""

from __future__ import annotations

import numpy as np

from orebit.commitment import ShardResult
from orebit.executor.run import run_shard
from orebit.numerics.types import DType
from orebit.program.builder import Builder
from orebit.program.expression import ExpressionBuilder
from orebit.program.graph import Program
from orebit.store import LocalStore, Plan, PlanShard

W = np.linspace(-1, 1, 8, dtype=np.float32)
X = np.arange(8, dtype=np.float32)


def program() -> Program:
    """w <- w * rate + x."""
    builder = Builder()
    w, x = builder.state(DType.F32, (8,)), builder.constant(DType.F32, (8,))
    rate = builder.parameter(DType.F32, (1,))
    expression = ExpressionBuilder([DType.F32] * 3, 1)
    a, b, c = expression.operands
    return builder.finish([builder.map(expression.finish(a * c + b), [w, x, rate])])


def rate(number: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.array([0.5 + 0.1 * number], np.float32)


def put_plan(store: LocalStore, *, count: int = 3, steps: int = 10, interval: int = 3) -> Plan:
    """A plan of shards that differ in their rate, with everything they read."""
    made = program()
    store.put_program(made.root, made.encode())
    w, x = store.put_array(W).root, store.put_array(X).root
    shards = [
        PlanShard(made.root, (x,), (w,), steps, interval, (store.put_array(rate(number)).root,))
        for number in range(count)
    ]
    plan = Plan(tuple(shards))
    store.put_plan(plan)
    return plan


def result_hashes(plan: Plan) -> list[bytes]:
    """Computed apart from the daemon."""
    hashes = []
    for number, entry in enumerate(plan.shards):
        run = run_shard(program(), [X], [W], [rate(number)], entry.steps, entry.interval)
        hashes.append(ShardResult(entry.shard.id, run.checkpoints_root).hash)
    return hashes
