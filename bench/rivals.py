"""One training step by each engine: plain eager torch, torch.compile, bfloat16 autocast, and an Orebit executor."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from workloads import Workload

from orebit.errors import OrebitError
from orebit.executor.conformance import Executor, Factory
from orebit.executor.hardware import Hardware
from orebit.executor.selection import load
from orebit.program.graph import Program

Step = Callable[[], None]


def fastest(hardware: Hardware = Hardware.AUTO) -> str:
    """The fastest executor of this hardware that this machine has."""
    for name in hardware.executors:
        with contextlib.suppress(OrebitError):
            load(name)
            return name
    raise SystemExit("no executor can be loaded")


class Eager:
    """The same training as a person writes it in torch, rows taken in a shuffled order as the program does.

    Args:
        device: torch's name of it. Float32 is float32 there: TF32 is off.
        bfloat16: under autocast, as a person trains on a GPU who cares for speed first.
    """

    def __init__(self, workload: Workload, compiled: bool = False, device: str = "cpu", bfloat16: bool = False) -> None:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        model, loss = workload.model.to(device), workload.loss
        self.optimizer = workload.optimizer(model.parameters())
        self.x, self.y = (tensor.to(device) for tensor in workload.data)
        self.batch = workload.batch
        self.order = torch.randperm(len(self.x)).to(device)
        self.precision = partial(torch.autocast, device, torch.bfloat16, enabled=bfloat16)
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
        with self.precision():
            loss = self.loss_of(self.x[rows], self.y[rows])
        loss.backward()
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
