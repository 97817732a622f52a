"""Held-out accuracy of a job through the reference executor, beside eager float32 under the same averaging.

    python bench/training_quality.py examples/mnist_mlp/train.py [--steps 100] [--bits 15]

Both start from the same model and read the same rows in the same order, which the program says. Prints a row a round.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from orebit.executor.reference import ReferenceExecutor
from orebit.numerics.types import DType
from orebit.program.builder import Builder
from orebit.program.lowering import Lowering, Tensor
from orebit.program.lowering.batches import positions, shuffled
from orebit.strategy.job import load_training, parse_reference
from orebit.strategy.training import TracedTraining, Training, trace_training

State = list[Any]


def run(program: Any, constants: State, parameters: State, state: State, steps: int) -> State:
    executor = ReferenceExecutor(program, constants, parameters)
    for _ in range(steps):
        state = list(executor.step(state))
    return state


def programs_round(traced: TracedTraining, number: int, state: State) -> State:
    """One round: every worker's steps, then the average."""
    job = traced.training
    finals = [
        run(traced.program, traced.constants_for(w), traced.parameters(number, w), state, job.steps)
        for w in range(job.shards)
    ]
    return run(traced.average, traced.average_constants(finals), [], traced.initial_state, 1)


def accuracy(traced: TracedTraining, state: State) -> dict[str, float]:
    """What the evaluation program says of a state."""
    evaluation = traced.evaluation
    assert evaluation is not None, "the job holds nothing out"
    constants = traced.evaluation_constants(state)
    final = run(evaluation.program, constants, [], evaluation.initial, evaluation.steps)
    return {name: float(tensor) for name, tensor in zip(evaluation.state_names, final, strict=True)}


def reader(rows: int, batch: int) -> Any:
    """A program whose state is the step and the rows that it reads."""
    builder = Builder()
    lowering = Lowering(builder)
    step, _ = Tensor.of(builder.state(DType.I64, ())), builder.state(DType.I64, (batch,))
    seed, worker = (Tensor.of(builder.parameter(DType.I64, ())) for _ in range(2))
    places = shuffled(lowering, positions(lowering, step, rows, batch), step, seed, worker, rows, batch)
    return builder.finish([lowering.map(lambda s: s + 1, step).value, places.value])


class Eager:
    """The same job in float32, as torch runs it."""

    def __init__(self, job: Training) -> None:
        self.job = job
        self.model = job.model
        self.values: list[torch.Tensor] = [p.detach().clone() for p in self.model.parameters()]
        self.momentum: list[torch.Tensor] | None = None
        self.rows = len(job.data[0]) // job.shards
        assert job.batch_size is not None
        self.reader = reader(self.rows, job.batch_size)

    def round(self, number: int) -> float:
        """Trains and averages all workers; the held-out accuracy."""
        ends = [self._worker(number, worker) for worker in range(self.job.shards)]
        self.values = [torch.stack(tensors).mean(0) for tensors in zip(*(end[0] for end in ends), strict=True)]
        self.momentum = [torch.stack(tensors).mean(0) for tensors in zip(*(end[1] for end in ends), strict=True)]
        self._load(self.values)
        x, y = self.job.held_out
        with torch.no_grad():
            return float((self.model(x).argmax(1) == y).float().mean())

    def _worker(self, number: int, worker: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        job = self.job
        self._load(self.values)
        given = job.optimizer
        optimizer = given if isinstance(given, torch.optim.Optimizer) else given(self.model.parameters())
        optimizer.state.clear()
        optimizer.param_groups[0].update(job.schedule(number) if job.schedule else {})
        if self.momentum is not None:
            for parameter, buffer in zip(self.model.parameters(), self.momentum, strict=True):
                optimizer.state[parameter]["momentum_buffer"] = buffer.clone()
        order = np.random.default_rng(job.seed).permutation(len(job.data[0]))[worker :: job.shards][: self.rows]
        x, y = (column[torch.from_numpy(order)] for column in job.data)
        executor = ReferenceExecutor(self.reader, [], [torch.tensor(job.seed), torch.tensor(worker)])
        state: State = [torch.tensor(number * job.steps), torch.zeros(job.batch_size or 1, dtype=torch.int64)]
        for _ in range(job.steps):
            state = list(executor.step(state))
            optimizer.zero_grad()
            functional.cross_entropy(self.model(x[state[1]]), y[state[1]]).backward()
            optimizer.step()
        parameters = [p.detach().clone() for p in self.model.parameters()]
        return parameters, [optimizer.state[p]["momentum_buffer"].clone() for p in self.model.parameters()]

    def _load(self, values: list[torch.Tensor]) -> None:
        with torch.no_grad():
            for parameter, value in zip(self.model.parameters(), values, strict=True):
                parameter.copy_(value)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("job", help="train.py or train.py:job")
    arguments.add_argument("--steps", type=int, help="steps a shard, instead of the job's own")
    arguments.add_argument("--bits", type=int, help="bits of the exact products, instead of the job's own")
    arguments.add_argument("--seed", type=int, default=0, help="of the shuffles")
    arguments.add_argument("--threads", type=int, default=1)
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    job = load_training(parse_reference(given.job, folder=Path.cwd()))
    job = replace(job, steps=given.steps or job.steps, bits=given.bits or job.bits, seed=given.seed)
    started = time.monotonic()
    traced = trace_training(job)
    print(
        f"traced in {time.monotonic() - started:.1f} s: {len(traced.program.nodes)} nodes,"
        f" {len(traced.program.descriptors)} distinct, {len(traced.program.encode()):,} bytes"
    )
    eager, state = Eager(job), traced.initial_state
    for number in range(job.rounds):
        started = time.monotonic()
        state = programs_round(traced, number, state)
        each = (time.monotonic() - started) / (job.steps * job.shards)
        measured = accuracy(traced, state)
        print(
            f"round {number + 1}: program {measured['accuracy']:.3f} (loss {measured['loss']:.3f},"
            f" {1000 * each:.1f} ms a step), eager float32 {eager.round(number):.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
