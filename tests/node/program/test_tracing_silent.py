"""What goes wrong without a word in a plain trace is captured rightly here, or refused by name."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from orebit.errors import TraceError
from orebit.executor.reference import ReferenceExecutor
from orebit.program.lowering import LOWERINGS
from orebit.program.lowering.context import Lowering
from orebit.program.lowering.tensor import Tensor
from orebit.strategy.training import TracedTraining, Training, trace_training

X = torch.rand(32, 6, generator=torch.Generator().manual_seed(0))
Y = (X.sum(1) > 3).long()


class Model(nn.Module):
    """A layer, and whatever the test does with what it gives."""

    calls: int

    def __init__(self, function: Callable[[Model, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(6, 3)
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self, self.layer(x))


def traced(model: nn.Module, **changes: Any) -> TracedTraining:
    settings: dict[str, Any] = {
        "model": model,
        "loss": nn.CrossEntropyLoss(),
        "optimizer": lambda p: torch.optim.SGD(p, lr=0.1),
        "data": (X, Y),
        "batch_size": 16,
        "steps": 4,
        "shuffle": False,
    }
    return trace_training(Training(**(settings | changes)))


def refusal(function: Callable[[Model, torch.Tensor], torch.Tensor], **attributes: Any) -> str:
    model = Model(function)
    for name, value in attributes.items():
        setattr(model, name, value)
    before = dict(model.__dict__)
    with pytest.raises(TraceError) as caught:
        traced(model)
    assert {name: value for name, value in model.__dict__.items() if name != "training"} == {
        name: value for name, value in before.items() if name != "training"
    }
    return str(caught.value)


def run(job: TracedTraining, steps: int) -> dict[str, torch.Tensor]:
    executor = ReferenceExecutor(job.program, job.constants_for(0), job.parameters(0, 0))
    state: list[Any] = job.initial_state
    for _ in range(steps):
        state = executor.step(state)
    return dict(zip(job.state_names, (torch.as_tensor(tensor) for tensor in state), strict=True))


def test_running_statistics_of_batch_norm_are_updated() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    state = run(traced(model), 1)
    model(X[:16])
    assert state["1.num_batches_tracked"] == 1
    for name in ("1.running_mean", "1.running_var"):
        assert torch.allclose(state[name], model.state_dict()[name], atol=1e-4)


def test_indexing_by_a_mask_is_refused() -> None:
    assert "indexing by a mask" in refusal(lambda model, h: h * h[h > 0].mean())


def test_assignment_by_a_mask_of_as_many_values_is_refused() -> None:
    def clear(model: Model, h: torch.Tensor) -> torch.Tensor:
        h = h.clone()
        h[h < 0] = h.detach()[h < 0] * 0.1
        return h

    assert "indexing by a mask" in refusal(clear)


@pytest.mark.parametrize(
    "draw",
    [random.random, lambda: float(np.random.random()), lambda: time.time() % 10.0],
    ids=["random", "numpy", "time"],
)
def test_randomness_and_time_of_the_host_are_refused(draw: Callable[[], float]) -> None:
    message = refusal(lambda model, h: h * draw())
    assert any(name in message for name in ("Python's random", "numpy.random", "carried from step to step"))


def test_a_hidden_state_kept_as_an_attribute_is_refused_by_its_name() -> None:
    def recurrent(model: Model, h: torch.Tensor) -> torch.Tensor:
        hidden = getattr(model, "hidden", torch.zeros(16, 3))
        out = torch.tanh(h + hidden)
        model.hidden = out.detach()
        return out

    message = refusal(recurrent)
    assert "carried from step to step (the attribute 'hidden' of the model (Model))" in message and "copy_()" in message


def test_a_tensor_kept_to_look_at_does_no_harm() -> None:
    def keeping(model: Model, h: torch.Tensor) -> torch.Tensor:
        model.latest = torch.sigmoid(h.detach())
        return h

    model = Model(keeping)
    assert len(traced(model).program.nodes) > 0
    assert not hasattr(model, "latest")


def test_a_constant_cache_is_a_constant() -> None:
    def cached(model: Model, h: torch.Tensor) -> torch.Tensor:
        if not hasattr(model, "positions"):
            model.positions = torch.arange(3.0) / 7
        return h + model.positions  # type: ignore[operator]  # an attribute made above

    assert any(np.array_equal(a, np.arange(3, dtype=np.float32) / 7) for a in traced(Model(cached)).constants_for(0))


def test_a_counter_that_rarely_matters_is_refused_by_its_name() -> None:
    def counting(model: Model, h: torch.Tensor) -> torch.Tensor:
        model.calls += 1
        return h * 2 if model.calls % 100 == 0 else h

    message = refusal(counting, calls=0)
    assert (
        "the attribute 'calls' of the model (Model) is a Python number that changes" in message and "buffer" in message
    )


def test_a_hyperparameter_put_into_a_tensor_is_refused() -> None:
    model = Model(lambda model, h: h)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y) * torch.tensor(optimizer.param_groups[0]["lr"])
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
        return loss

    with pytest.raises(TraceError, match="hyper-parameters put into tensors"):
        traced(model, loss=None, step=step, optimizer=optimizer)


def test_gradients_left_over_from_the_step_before_are_refused() -> None:
    model = Model(lambda model, h: h)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        loss = F.cross_entropy(model(x), y)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
        return loss

    with pytest.raises(TraceError, match=r"adds to gradients that an earlier step left.*zero_grad\(\)"):
        traced(model, loss=None, step=step, optimizer=optimizer)


def test_lengths_of_packed_sequences_from_data_are_refused() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.GRU(1, 2, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            lengths = (x.detach() > 0.5).sum(1).clamp(min=1)
            packed = nn.utils.rnn.pack_padded_sequence(x.unsqueeze(2), lengths, batch_first=True, enforce_sorted=False)
            return self.cell(packed)[1][0]  # type: ignore[no-any-return]  # modules are untyped in torch

    with pytest.raises(TraceError, match="lengths of packed sequences are read from data|test_tracing_silent"):
        traced(Recurrent())


def test_distributions_that_check_their_arguments_are_captured() -> None:
    def energy(model: Model, h: torch.Tensor) -> torch.Tensor:
        normal = torch.distributions.Normal(h, 1.0)
        return h + normal.log_prob(torch.zeros_like(h)) * 0.1

    assert torch.distributions.Distribution._validate_args
    assert len(traced(Model(energy)).program.nodes) > 0
    assert torch.distributions.Distribution._validate_args


def test_a_value_that_python_reads_stays_in_the_graph() -> None:
    model = Model(lambda model, h: h * (1.0 + h.detach().abs().mean().item()))
    state, twin = run(traced(model, bits=22), 2), Model(model.function)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
    for rows in (slice(0, 16), slice(16, 32)):
        optimizer.zero_grad()
        F.cross_entropy(twin(X[rows]), Y[rows]).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
    assert torch.allclose(state["layer.weight"], twin.layer.weight.detach(), atol=1e-5)


def test_a_branch_on_a_value_that_python_reads_is_refused() -> None:
    message = refusal(lambda model, h: h * 2 if h.detach().mean().item() > 0 else h)
    assert "Python compares read 0 > 0" in message and "torch.where" in message


def test_what_is_computed_from_constants_may_be_branched_on() -> None:
    def branching(model: Model, h: torch.Tensor) -> torch.Tensor:
        weights = torch.linspace(-1, 2, 3)
        return h * weights if weights.sum() > 0 and weights.max().item() == 2 else h

    assert len(traced(Model(branching)).program.nodes) > 0


def test_a_wrong_program_is_refused_before_it_is_posted(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(lowering: Lowering, a: Tensor) -> Tensor:
        return lowering.map(lambda x: x * 1.05, a)

    model = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 2))
    traced(model)
    monkeypatch.setitem(LOWERINGS, torch.ops.aten.tanh.default, wrong)
    with pytest.raises(
        TraceError, match=r"after 2 steps '0.weight' of the program is not what the step at .*makes of it"
    ):
        traced(model)
