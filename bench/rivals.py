"""One training step by each engine: plain eager torch, torch.compile, and an Orebit executor."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from workloads import Workload

from orebit.errors import OrebitError
from orebit.executor.conformance import Executor, Factory
from orebit.executor.selection import EXECUTORS, load
from orebit.program.graph import Program

Step = Callable[[], None]


def fastest() -> str:
    """The fastest executor that this machine has."""
    for name in EXECUTORS:
        with contextlib.suppress(OrebitError):
            load(name)
            return name
    raise SystemExit("no executor can be loaded")


class Eager:
    """The same training as a person writes it in torch, rows taken in a shuffled order as the program does."""

    def __init__(self, workload: Workload, compiled: bool = False) -> None:
        model, loss = workload.model, workload.loss
        self.optimizer = workload.optimizer(model.parameters())
        self.x, self.y = workload.data
        self.batch = workload.batch
        self.order = torch.randperm(len(self.x))
        self.place = 0
        self.loss_of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = lambda x, y: loss(model(x), y)
        self.update: Callable[[], Any] = self.optimizer.step
        if compiled:
            self.loss_of = torch.compile(self.loss_of)
            self.update = torch.compile(self.optimizer.step)

    def step(self) -> None:
        rows = self.order[self.place : self.place + self.batch]
        self.place = (self.place + self.batch) % (len(self.x) - self.batch + 1)
        self.optimizer.zero_grad()
        self.loss_of(self.x[rows], self.y[rows]).backward()
        self.update()


@dataclass
class Orebit:
    """A program in an executor, its state carried from step to step."""

    executor: Executor
    state: Sequence[Any]

    @classmethod
    def of(cls, factory: Factory, program: Program, constants: Any, parameters: Any, state: Any) -> Orebit:
        return cls(factory(program, constants, parameters), state)

    def step(self) -> None:
        self.state = self.executor.step(self.state)
