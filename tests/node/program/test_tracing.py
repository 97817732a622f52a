"""Tracing: what is refused and how it is named, what is restored, and that programs are the same everywhere."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from orebit.errors import TraceError
from orebit.executor.reference import ReferenceExecutor
from orebit.program.descriptor import Kind
from orebit.program.lowering import LOWERINGS
from orebit.strategy.training import TracedTraining, Training, trace_training

X = torch.rand(64, 6, generator=torch.Generator().manual_seed(0))
Y = (X.sum(1) > 3).long() + (X[:, 0] > 0.5).long()


def perceptron(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def training(model: nn.Module | None = None, **changes: Any) -> Training:
    model = perceptron() if model is None else model
    settings: dict[str, Any] = {
        "model": model,
        "loss": nn.CrossEntropyLoss(),
        "optimizer": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
        "data": (X, Y),
        "batch_size": 16,
        "steps": 4,
    }
    return Training(**(settings | changes))


class Custom(nn.Module):
    """A layer, then whatever the test wants."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(6, 3)
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self.layer(x))


def refusal(function: Any) -> str:
    with pytest.raises(TraceError) as caught:
        trace_training(training(Custom(function)))
    return str(caught.value)


def run(traced: TracedTraining, steps: int, worker: int = 0) -> list[torch.Tensor]:
    executor = ReferenceExecutor(traced.program, traced.constants_for(worker), traced.parameters(0, worker))
    state: list[Any] = traced.initial_state
    for _ in range(steps):
        state = executor.step(state)
    return state


def line_of(function: Any) -> str:
    return f"{__file__}:{function.__code__.co_firstlineno}"


def test_an_unsupported_operation_names_itself_and_the_users_line() -> None:
    bessel = lambda x: torch.i0(x)  # noqa: E731  # its name is what the error shows
    message = refusal(bessel)
    assert "aten.i0.default" in message and line_of(bessel) in message and "Instead:" in message


def test_an_unsupported_layer_of_torch_names_its_module_and_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.delitem(LOWERINGS, torch.ops.aten.convolution.default)
    model = nn.Sequential(nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 3, 3), nn.Flatten(), nn.Linear(12, 3))
    with pytest.raises(TraceError, match=r"aten\.convolution.*test_tracing.py:\d+, module '1' \(Conv1d\).*Instead"):
        trace_training(training(model))


def test_an_unsupported_backward_names_the_forward_line() -> None:
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            return x * 2

        @staticmethod
        def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:  # type: ignore[override]  # torch declares any arguments
            return torch.i0(grad)

    assert "aten.i0.default" in refusal(lambda x: Doubled.apply(x))


@pytest.mark.parametrize(
    ("source", "draw"),
    [
        ("Python's random", lambda: random.random()),
        ("numpy.random", lambda: float(np.random.random())),
    ],
)
def test_randomness_baked_into_the_step_is_named(source: str, draw: Any) -> None:
    def noisy(x: torch.Tensor) -> torch.Tensor:
        return x * draw()

    message = refusal(noisy)
    assert source in message and f"{__file__}:{noisy.__code__.co_firstlineno + 1}" in message


def test_a_counter_is_named() -> None:
    calls: list[int] = []

    def counting(x: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return x * len(calls)

    assert "something beside the model's and the optimizer's tensors is carried from step to step" in refusal(counting)


def test_a_branch_by_chance_is_named() -> None:
    message = refusal(lambda x: x * 2 if random.random() < 0.5 or random.random() < 0.5 else (x * 3).abs())
    assert "Python's random" in message or "became" in message


def test_values_read_by_numpy_are_found() -> None:
    def baked(x: torch.Tensor) -> torch.Tensor:
        return x * float(x.detach().numpy().mean())

    assert "read by Python" in refusal(baked) or "cannot be traced" in refusal(baked)


@pytest.mark.parametrize(
    ("function", "operation"),
    [
        (lambda x: x * 2 if x.sum() > 0 else x, "aten."),
        (lambda x: x * float(x.detach().mean()), "aten._local_scalar_dense"),
        (lambda x: x * len(torch.nonzero(x)), "aten.nonzero"),
        (lambda x: x * x[x > 0].mean(), "aten."),
        (lambda x: x * len(torch.unique(x)), "aten._unique2"),
    ],
    ids=["branch", "item", "nonzero", "mask", "unique"],
)
def test_what_depends_on_data_is_refused_by_name(function: Any, operation: str) -> None:
    message = refusal(function)
    assert operation in message and f"{__file__}:" in message


def test_a_trainable_parameter_that_reaches_nothing_is_refused() -> None:
    model = perceptron()
    model.register_parameter("spare", nn.Parameter(torch.zeros(2)))
    with pytest.raises(TraceError, match="'spare' is trainable but the loss does not depend on it"):
        trace_training(training(model))


def test_float64_models_and_foreign_optimizers_are_refused() -> None:
    with pytest.raises(TraceError, match=r"'0.weight' of the model is torch.float64.*model.float\(\)"):
        trace_training(training(perceptron().double()))
    with pytest.raises(TraceError, match="not the model's"):
        trace_training(training(optimizer=torch.optim.SGD(perceptron().parameters(), lr=0.1)))


def test_everything_is_restored() -> None:
    model = perceptron().eval()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, foreach=True)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    expected = random.random(), np.random.random(), torch.rand(1).item()
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    trace_training(training(model, optimizer=optimizer))
    assert (random.random(), np.random.random(), torch.rand(1).item()) == expected
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not model.training and not optimizer.state
    assert optimizer.param_groups[0]["foreach"] is True and type(optimizer.param_groups[0]["lr"]) is float
    assert all(parameter.grad is None for parameter in model.parameters())


def test_hyperparameters_are_parameters_not_literals() -> None:
    def traced(lr: float, momentum: float, decay: float) -> TracedTraining:
        def make(parameters: Any) -> torch.optim.Optimizer:
            return torch.optim.SGD(parameters, lr=lr, momentum=momentum, weight_decay=decay, nesterov=True)

        return trace_training(training(optimizer=make))

    first, second = traced(0.1, 0.9, 1e-3), traced(0.025, 0.5, 0.25)
    assert first.program.root == second.program.root
    assert first.parameter_names == ("seed", "worker", "weight_decay", "momentum", "-lr")
    assert [float(p) for p in second.parameters(0, 3)] == [0, 3, 0.25, 0.5, np.float32(-0.025)]
    assert traced(0.1, 0.9, 0.0).program.root != first.program.root


def test_dampening_and_parameter_groups() -> None:
    def make(parameters: Any) -> torch.optim.Optimizer:
        first, *rest = parameters
        groups = [{"params": [first]}, {"params": rest, "lr": 0.01}]
        return torch.optim.SGD(groups, lr=0.1, momentum=0.9, dampening=0.25)

    traced = trace_training(training(optimizer=make))
    values = dict(zip(traced.parameter_names, map(float, traced.parameters(0, 0)), strict=True))
    # torch dampens nothing in the first step: a table of the step, a row each.
    table = next(array for array in traced.constants_for(0) if array.shape == (4, 2))
    assert table.tolist() == [[1.0, 1.0]] + [[0.75, 0.75]] * 3
    assert values["-lr"] == np.float32(-0.1) and values["-group1.lr"] == np.float32(-0.01)


def test_schedule_changes_parameters_by_round() -> None:
    traced = trace_training(training(schedule=lambda number: {"lr": 0.1 / (1 + number)}))
    place = traced.parameter_names.index("-lr")
    assert [float(traced.parameters(r, 0)[place]) for r in (0, 1)] == [np.float32(-0.1), np.float32(-0.05)]


SCRIPT = """
import hashlib
import numpy as np
import torch
from torch import nn
from orebit.executor.reference import ReferenceExecutor
from orebit.strategy.training import Training, trace_training
torch.set_num_threads({threads})
torch.manual_seed({seed})
model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
x = torch.rand(64, 6) - 0.5; y = (x[:, 0] > 0.5).long()
job = Training(model=model, loss=nn.CrossEntropyLoss(), data=(x, y), held_out=(x, y), batch_size=16, steps=4,
               optimizer=torch.optim.SGD(model.parameters(), lr={lr}, momentum=0.9))
traced = trace_training(job)
print(traced.program.root.hex(), traced.average.root.hex(), traced.evaluation.program.root.hex())
state = [np.resize(np.arange(-9, 14) / 16, tensor.shape).astype(tensor.dtype) for tensor in traced.initial_state]
data = [np.resize(np.arange(251) % 3, array.shape).astype(array.dtype) for array in traced.constants_for(0)]
parameters = [np.array(1), np.array(2), np.float32(0.9), np.float32(-0.1)]
executor = ReferenceExecutor(traced.program, data, parameters)
for _ in range(10):
    state = executor.step(state)
print(hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in state)).hexdigest())
"""


def test_program_and_trained_bits_are_the_same_in_other_processes_and_on_other_processors() -> None:
    def roots(capability: str | None, **settings: Any) -> str:
        environment = dict(os.environ) | ({} if capability is None else {"ATEN_CPU_CAPABILITY": capability})
        script = SCRIPT.format(**settings)
        return subprocess.run(
            [sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True
        ).stdout

    first = roots(None, threads=2, seed=0, lr=0.1)
    assert len(first.split()) == 4
    assert roots("default", threads=1, seed=1, lr=0.02) == first


def test_tracing_is_quick_and_small() -> None:
    started = time.monotonic()
    traced = trace_training(training())
    assert time.monotonic() - started < 20
    assert len(traced.program.nodes) < 200
    kinds = [traced.program.descriptor(number).kind for number in traced.program.operations]
    assert kinds.count(Kind.DOT) == 5 and kinds.count(Kind.GATHER) == 3


def test_values_agree_with_eager_over_a_hundred_steps() -> None:
    model = perceptron()
    job = training(model, shuffle=False, steps=120)
    state = run(trace_training(job), 120)
    twin = perceptron()
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9)
    for step in range(120):
        rows = slice(step % 4 * 16, step % 4 * 16 + 16)
        optimizer.zero_grad()
        loss = F.cross_entropy(twin(X[rows]), Y[rows])
        loss.backward()
        optimizer.step()
    assert int(state[0]) == 120
    assert abs(float(state[-1]) - float(loss.detach())) < 0.01
    for tensor, parameter in zip(state[1:5], twin.parameters(), strict=True):
        assert torch.allclose(tensor, parameter.detach(), atol=0.02)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.SGD(p, lr=0.1),
        lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.01),
        lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.8, maximize=True),
        lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
    ],
    ids=["plain", "decay", "nesterov", "maximize", "rmsprop"],
)
def test_optimizers_agree_with_eager(make: Any) -> None:
    state = run(trace_training(training(perceptron(), shuffle=False, bits=22, optimizer=make)), 12)
    twin = perceptron()
    optimizer = make(twin.parameters())
    for step in range(12):
        rows = slice(step % 4 * 16, step % 4 * 16 + 16)
        optimizer.zero_grad()
        F.cross_entropy(twin(X[rows]), Y[rows]).backward()
        optimizer.step()
    for tensor, parameter in zip(state[1:5], twin.parameters(), strict=True):
        assert torch.allclose(tensor, parameter.detach(), atol=3e-5)
