"""Measures a trained state on held-out data, by a program like any other: the same figures on every machine."""

from __future__ import annotations

from dataclasses import dataclass

from orebit.executor.run import run_shard
from orebit.program.graph import Program
from orebit.store.local import LocalStore
from orebit.strategy.rounds import State
from orebit.strategy.spec import JobSpec


@dataclass(frozen=True)
class Score:
    """Held-out measurements; None where the job has none, or does not classify."""

    loss: float | None = None
    accuracy: float | None = None


def evaluate(store: LocalStore, spec: JobSpec, state: State) -> Score:
    """Runs a job's evaluation over a final state whose tensors the store holds."""
    wanted = spec.evaluation
    if wanted is None:
        return Score()
    constants = [state[place] for place in wanted.model] + list(wanted.data)
    run = run_shard(
        Program.decode(store.program(wanted.program)),
        [store.tensor(root)[1] for root in constants],
        [store.tensor(root)[1] for root in wanted.initial],
        [],
        wanted.steps,
        wanted.steps,
    )
    measured = {name: float(array) for name, array in zip(wanted.names, run.final_state, strict=True)}
    return Score(measured.get("loss"), measured.get("accuracy"))
