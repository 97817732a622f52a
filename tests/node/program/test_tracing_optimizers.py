"""Optimizers, schedules, clipping and accumulation against torch's own, over more steps than a trace sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import lr_scheduler

from orebit.errors import ConfigError, TraceError
from orebit.executor.reference import ReferenceExecutor
from orebit.strategy.training import TracedTraining, Training, trace_training

X = torch.rand(32, 6, generator=torch.Generator().manual_seed(0))
Y = (X.sum(1) > 3).long() + (X[:, 0] > 0.5).long()
STEPS = 8


def perceptron() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))


def traced(model: nn.Module, **changes: Any) -> TracedTraining:
    settings: dict[str, Any] = {
        "model": model,
        "loss": nn.CrossEntropyLoss(),
        "data": (X, Y),
        "batch_size": 16,
        "steps": STEPS,
        "shuffle": False,
        "bits": 22,
        "check": 0,
    }
    return trace_training(Training(**(settings | changes)))


def run(job: TracedTraining, steps: int = STEPS, round_number: int = 0) -> dict[str, torch.Tensor]:
    executor = ReferenceExecutor(job.program, job.constants_for(0), job.parameters(round_number, 0))
    state: list[Any] = job.initial_state
    for _ in range(steps):
        state = executor.step(state)
    return dict(zip(job.state_names, (torch.as_tensor(tensor) for tensor in state), strict=True))


def eager(optimizer: Any, model: nn.Module, after: Callable[[], Any] = lambda: None) -> dict[str, torch.Tensor]:
    for step in range(STEPS):
        rows = slice(step % 2 * 16, step % 2 * 16 + 16)
        optimizer.zero_grad()
        F.cross_entropy(model(X[rows]), Y[rows]).backward()
        optimizer.step()
        after()
    return {name: tensor.detach() for name, tensor in model.named_parameters()}


def agree(made: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], tolerance: float = 3e-6) -> None:
    for name, tensor in wanted.items():
        assert torch.allclose(made[name], tensor, atol=tolerance), name


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.01),
        lambda p: torch.optim.AdamW(p, lr=0.01, amsgrad=True),
        lambda p: torch.optim.NAdam(p, lr=0.01, momentum_decay=0.01),
        lambda p: torch.optim.RAdam(p, lr=0.01, betas=(0.9, 0.99), weight_decay=0.01),
        lambda p: torch.optim.RAdam(p, lr=0.01, decoupled_weight_decay=True, weight_decay=0.1),
        lambda p: torch.optim.Adamax(p, lr=0.01),
        lambda p: torch.optim.Adagrad(p, lr=0.05, lr_decay=0.1, initial_accumulator_value=0.1),
        lambda p: torch.optim.Adadelta(p, lr=1.0),
        lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.3, weight_decay=0.01),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
        lambda p: torch.optim.Adafactor(p, lr=0.5, weight_decay=0.01),
        lambda p: torch.optim.ASGD(p, lr=0.1, t0=3, lambd=0.01),
        lambda p: torch.optim.Rprop(p, lr=0.01, etas=(0.4, 1.5)),
    ],
    ids=[
        "adam",
        "adamw",
        "nadam",
        "radam",
        "radamw",
        "adamax",
        "adagrad",
        "adadelta",
        "rmsprop",
        "sgd",
        "nesterov",
        "adafactor",
        "asgd",
        "rprop",
    ],
)
def test_optimizers_agree_with_torch(make: Any) -> None:
    twin = perceptron()
    agree(run(traced(perceptron(), optimizer=make)), eager(make(twin.parameters()), twin))


def test_muon_is_torchs_but_for_its_bfloat16() -> None:
    class Matrices(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first, self.second = nn.Linear(6, 5, bias=False), nn.Linear(5, 3, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(torch.tanh(self.first(x)))  # type: ignore[no-any-return]  # modules are untyped in torch

    def make(parameters: Any) -> Any:
        return torch.optim.Muon(parameters, lr=0.01)

    made, twin = run(traced(Matrices(), optimizer=make)), Matrices()
    before = {name: tensor.detach().clone() for name, tensor in twin.named_parameters()}
    wanted = eager(make(twin.parameters()), twin)
    for name, tensor in wanted.items():
        assert (made[name] - tensor).norm() < 0.05 * (tensor - before[name]).norm()


def test_a_count_of_steps_is_no_state_and_hyperparameters_are_no_literals() -> None:
    first, second = (
        traced(perceptron(), optimizer=lambda p, lr=lr: torch.optim.AdamW(p, lr=lr, betas=(lr * 9, 0.99)))
        for lr in (0.05, 0.1)
    )
    assert first.program.root == second.program.root
    assert not any(name.endswith(".step") for name in first.state_names)
    (table,) = (array for array in first.constants_for(0) if array.shape == (STEPS, 2))
    steps = np.arange(1, STEPS + 1)
    assert np.array_equal(table[:, 0], np.sqrt(1 - 0.99**steps).astype(np.float32))
    assert np.array_equal(table[:, 1], (-0.05 / (1 - 0.45**steps)).astype(np.float32))


def test_tables_go_on_over_rounds_with_the_schedule_of_each() -> None:
    job = traced(
        perceptron(),
        optimizer=lambda p: torch.optim.Adam(p, lr=0.5),
        steps=3,
        rounds=2,
        schedule=lambda number: {"lr": 0.5 / (1 + number)},
    )
    (table,) = (array for array in job.constants_for(0) if array.shape == (6, 2))
    rates = np.array([0.5] * 3 + [0.25] * 3)
    assert np.array_equal(table[:, 1], (-rates / (1 - 0.9 ** np.arange(1, 7))).astype(np.float32))


@pytest.mark.parametrize(
    "make",
    [
        lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS),
        lambda o: lr_scheduler.LambdaLR(o, lambda step: min(1.0, step / 4)),
        lambda o: lr_scheduler.OneCycleLR(o, 0.2, total_steps=STEPS + 1),
        lambda o: lr_scheduler.SequentialLR(
            o, [lr_scheduler.LinearLR(o, 0.1, total_iters=3), lr_scheduler.StepLR(o, 2, 0.5)], [3]
        ),
    ],
    ids=["cosine", "warm-up from 0", "one cycle", "sequence"],
)
def test_schedulers_agree_with_torch(make: Any) -> None:
    def optimizer(model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    model, twin = perceptron(), perceptron()
    own, other = optimizer(model), optimizer(twin)
    scheduler, stepped = make(own), make(other)
    before = scheduler.state_dict()
    made = run(traced(model, optimizer=own, scheduler=scheduler))
    agree(made, eager(other, twin, stepped.step))
    assert str(scheduler.state_dict()) == str(before)


def test_a_function_of_the_step_is_a_scheduler_too() -> None:
    def rate(step: int) -> dict[str, float]:
        return {"lr": 0.1 / (1 + step)}

    twin = perceptron()
    other = torch.optim.SGD(twin.parameters(), lr=0.1)
    decay = lr_scheduler.LambdaLR(other, lambda step: 1 / (1 + step))
    made = run(traced(perceptron(), optimizer=lambda p: torch.optim.SGD(p, lr=0.1), scheduler=rate))
    agree(made, eager(other, twin, decay.step))
    with pytest.raises(ConfigError, match="sets rate; let it set the same names in every step, of .*lr"):
        traced(perceptron(), optimizer=lambda p: torch.optim.SGD(p, lr=0.1), scheduler=lambda step: {"rate": 1.0})
    both = traced(
        perceptron(),
        optimizer=lambda p: torch.optim.SGD(p, lr=0.1),
        scheduler=rate,
        schedule=lambda number: {"lr": 0.1},
    )
    with pytest.raises(ConfigError, match="the schedule sets lr, but"):
        both.parameters(0, 0)


def test_lbfgs_is_refused_by_name() -> None:
    with pytest.raises(TraceError, match="LBFGS searches along a line"):
        traced(perceptron(), optimizer=lambda p: torch.optim.LBFGS(p))


def test_a_scheduler_driven_by_validation_is_refused() -> None:
    model = perceptron()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(TraceError, match="ReduceLROnPlateau.*validation metric.*from round to round"):
        traced(model, optimizer=optimizer, scheduler=lr_scheduler.ReduceLROnPlateau(optimizer))


def test_a_branch_on_a_hyperparameter_holds_for_its_values_only() -> None:
    class Clipped(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:  # type: ignore[override]  # torch declares overloads
            for group in self.param_groups:
                for parameter in group["params"]:
                    rate = group["lr"] if group["lr"] < 0.25 else 0.25
                    parameter.data.add_(parameter.grad, alpha=-rate)

    job = traced(
        perceptron(),
        optimizer=lambda p: Clipped(p, lr=0.1),
        schedule=lambda number: {"lr": (0.2, 0.3)[number]},
        rounds=2,
    )
    assert float(job.parameters(0, 0)[2]) == np.float32(-0.2)
    with pytest.raises(ConfigError, match="traced with lr < 0.25 true"):
        job.parameters(1, 0)


class Counting(torch.optim.Optimizer):
    """As people write them: lazily made state, a count in Python."""

    def __init__(self, parameters: Any, begin: float) -> None:
        super().__init__(parameters, {"lr": 0.1})
        self.begin = begin

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # torch declares overloads
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    state["step"], state["mean"] = 0, torch.full_like(parameter, self.begin)
                state["step"] += 1
                state["mean"].mul_(0.9).add_(parameter.grad, alpha=0.1)
                parameter.add_(state["mean"] / (1 - 0.9 ** state["step"]), alpha=-group["lr"])


def test_an_optimizer_that_counts_in_python() -> None:
    twin = perceptron()
    made = run(traced(perceptron(), optimizer=lambda p: Counting(p, 0.0)))
    agree(made, eager(Counting(twin.parameters(), 0.0), twin))


def test_an_optimizer_whose_state_starts_elsewhere() -> None:
    twin = perceptron()
    made = run(traced(perceptron(), optimizer=lambda p: Counting(p, 1.0)))
    agree(made, eager(Counting(twin.parameters(), 1.0), twin))
