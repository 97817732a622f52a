"""How long a job may take: a step measured here, and the pace of the chain."""

from __future__ import annotations

import time
from dataclasses import dataclass

from orebit.chain.connection import Connection
from orebit.executor.selection import choose_executor
from orebit.program.graph import Program
from orebit.store.local import LocalStore
from orebit.strategy.spec import JobSpec

MEASURE_SECONDS = 2.0
MEASURE_STEPS = 5
PACE_BLOCKS = 20


@dataclass(frozen=True)
class Pace:
    """Seconds a training step takes on this machine, and seconds between blocks."""

    step: float
    block: float


def measure_step(store: LocalStore, spec: JobSpec) -> float:
    """Seconds of one training step here, after one to warm up, by the executor that a node like this one would use.

    Only the time counts, so nobody waits for that executor's vectors.
    """
    program = Program.decode(store.program(spec.program))
    constants = [store.tensor(root)[1] for root in spec.constants[0]]
    parameters = [store.tensor(root)[1] for root in spec.parameters[0][0]]
    executor = choose_executor(program, spec.steps, vectors=False)(program, constants, parameters)
    state = executor.step([store.tensor(root)[1] for root in spec.state])
    started, steps = time.perf_counter(), 0
    while steps < MEASURE_STEPS and time.perf_counter() - started < MEASURE_SECONDS:
        state = executor.step(state)
        steps += 1
    return (time.perf_counter() - started) / steps


async def measure_blocks(connection: Connection) -> float:
    """Mean seconds between the last blocks."""
    head = await connection.head()
    first = await connection.block(max(0, head.number - PACE_BLOCKS))
    if first is None or first.number == head.number:
        return 0.0
    return (head.timestamp - first.timestamp) / (head.number - first.number)
