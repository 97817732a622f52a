"""Workloads as programs."""

from __future__ import annotations

from workloads import Workload

from orebit.strategy.training import TracedTraining, Training, trace_training


def trace(workload: Workload, bits: int, *, shuffle: bool = True, steps: int = 100, check: int = 2) -> TracedTraining:
    """The workload's training program, `check` steps of it compared with torch's. Raises OrebitError for what cannot
    be traced."""
    return trace_training(
        Training(
            model=workload.model,
            loss=workload.loss,
            optimizer=workload.optimizer,
            data=workload.data,
            steps=steps,
            batch_size=workload.batch,
            bits=bits,
            shuffle=shuffle,
            check=check,
        )
    )
