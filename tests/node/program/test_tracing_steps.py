"""Training steps that users write: several networks and optimizers, named losses, closures, schedulers inside."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from orebit.errors import ConfigError, TraceError
from orebit.executor.reference import ReferenceExecutor
from orebit.strategy.training import TracedTraining, Training, trace_training

X = torch.randn(32, 6, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long()
STRENGTH = 0.25


def network(inputs: int, outputs: int, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(inputs, 5), nn.Tanh(), nn.Linear(5, outputs))


def traced(step: Any, model: Any, optimizer: Any, **changes: Any) -> TracedTraining:
    settings: dict[str, Any] = {"data": (X, Y), "batch_size": 16, "steps": 6, "shuffle": False, "bits": 22}
    return trace_training(Training(step=step, model=model, optimizer=optimizer, **(settings | changes)))


def run(job: TracedTraining, steps: int = 6) -> dict[str, torch.Tensor]:
    executor = ReferenceExecutor(job.program, job.constants_for(0), job.parameters(0, 0))
    state: list[Any] = job.initial_state
    for _ in range(steps):
        state = executor.step(state)
    return dict(zip(job.state_names, (torch.as_tensor(tensor) for tensor in state), strict=True))


def parameters(job: TracedTraining) -> dict[str, float]:
    return dict(zip(job.parameter_names, map(float, job.parameters(0, 0)), strict=True))


def rows(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    part = slice(step % 2 * 16, step % 2 * 16 + 16)
    return X[part], Y[part]


def test_two_networks_with_two_optimizers_that_step_unequally_often() -> None:
    generator, critic = network(4, 6), network(6, 1, 1)
    first = torch.optim.Adam(generator.parameters(), lr=0.01, betas=(0.5, 0.9))
    second = torch.optim.Adam(critic.parameters(), lr=0.02)
    loss = nn.BCEWithLogitsLoss()

    def step(x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
        for _ in range(2):
            made = generator(torch.randn(len(x), 4)).detach()
            second.zero_grad()
            told = loss(critic(x), torch.ones(16, 1)) + loss(critic(made), torch.zeros(16, 1))
            told.backward()
            second.step()
        first.zero_grad()
        fooled = loss(critic(generator(torch.randn(len(x), 4))), torch.ones(16, 1))
        fooled.backward()
        first.step()
        return {"critic": told, "generator": fooled}

    job = traced(step, {"g": generator, "c": critic}, {"g": first, "c": second})
    # What the program draws is compared with torch in the trace itself; here, what the steps are called and counted.
    assert job.state_names[:2] == ("step", "g.0.weight") and job.state_names[-2:] == ("generator", "loss")
    assert "(1 - c.betas.0)" in job.parameter_names and "(1 - g.betas.0)" in job.parameter_names
    (table,) = (array for array in job.constants_for(0) if array.dtype == np.float32 and array.shape[0] == 6)
    counts = 2 * np.arange(6)
    wanted = [
        -0.02 / (1 - 0.9 ** (counts + 1)),
        -0.02 / (1 - 0.9 ** (counts + 2)),
        -0.01 / (1 - 0.5 ** np.arange(1, 7)),
    ]
    for column in wanted:
        assert any(np.array_equal(column.astype(np.float32), found) for found in table.T)
    state = run(job)
    assert 0.2 < float(state["loss"]) < 5 and set(job.state_dict(list(state.values()))) == {
        f"{part}.{name}" for part in "gc" for name in generator.state_dict()
    }


def test_a_target_network_a_closure_and_a_scheduler_inside() -> None:
    def build() -> tuple[Any, dict[str, nn.Module], torch.optim.Optimizer]:
        online = network(6, 3)
        target = copy.deepcopy(online).requires_grad_(False)
        optimizer = torch.optim.SGD(online.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6)
        tau = 0.125

        def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            loss = F.mse_loss(online(x), target(x) + 1.0) * STRENGTH
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            nn.utils.clip_grad_value_(online.parameters(), 0.05)
            optimizer.step()
            schedule.step()
            for own, other in zip(online.parameters(), target.parameters(), strict=True):
                other.data.mul_(1 - tau).add_(own.data, alpha=tau)
            return loss

        return step, {"online": online, "target": target}, optimizer

    job = traced(*build())
    assert parameters(job) == {"seed": 0, "worker": 0, "STRENGTH": 0.25, "(1 - tau)": 0.875, "tau": 0.125}
    state = run(job)
    step, models, _ = build()
    for number in range(6):
        loss = step(*rows(number))
    for name, tensor in nn.ModuleDict(models).state_dict().items():
        assert torch.allclose(state[name], tensor, atol=3e-6), name
    assert abs(float(state["loss"]) - float(loss.detach())) < 1e-5


def test_keyword_hyperparameters_clipping_by_norm_and_a_number_returned() -> None:
    def build() -> tuple[Any, list[nn.Module], torch.optim.Optimizer]:
        encoder, decoder = network(6, 4), network(2, 6, 1)
        both = [*encoder.parameters(), *decoder.parameters()]
        optimizer = torch.optim.AdamW(both, lr=0.01)

        def step(x: torch.Tensor, y: torch.Tensor, *, weight: float = 0.5) -> float:
            optimizer.zero_grad(set_to_none=True)
            mean, log_variance = encoder(x).chunk(2, 1)
            divergence = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).mean()
            loss = F.mse_loss(decoder(mean), x) + weight * divergence
            loss.backward()
            nn.utils.clip_grad_norm_(both, 0.5)
            optimizer.step()
            return loss.item()  # type: ignore[no-any-return]  # a number

        return step, [encoder, decoder], optimizer

    job = traced(*build(), schedule=lambda number: {"weight": 0.25})
    assert parameters(job)["weight"] == 0.25
    state = run(traced(*build()))
    step, models, _ = build()
    for number in range(6):
        loss = step(*rows(number))
    for name, tensor in nn.ModuleList(models).state_dict().items():
        assert torch.allclose(state[name], tensor, atol=1e-5), name
    assert abs(float(state["loss"]) - loss) < 1e-5


def test_gradients_accumulated_over_parts_of_a_batch() -> None:
    def build() -> tuple[Any, nn.Module, torch.optim.Optimizer]:
        model = network(6, 3)
        model[0].bias.requires_grad_(False)
        optimizer = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), lr=0.1, momentum=0.9)

        def step(x: torch.Tensor, y: torch.Tensor) -> float:
            optimizer.zero_grad()
            total = 0.0
            for part, label in zip(x.chunk(4), y.chunk(4), strict=True):
                loss = F.cross_entropy(model(part), label) / 4
                loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
                total += loss.item()
            optimizer.step()
            return total

        return step, model, optimizer

    state = run(traced(*build()))
    step, model, _ = build()
    for number in range(6):
        loss = step(*rows(number))
    for name, tensor in model.state_dict().items():
        assert torch.allclose(state[name], tensor, atol=3e-6), name
    assert abs(float(state["loss"]) - loss) < 1e-5 and "0.bias.momentum_buffer" not in state


def test_a_loose_tensor_is_trained_beside_a_network() -> None:
    model, temperature = network(6, 2), torch.ones((), requires_grad=True)
    optimizer = torch.optim.SGD([*model.parameters(), temperature], lr=0.1)

    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x) * temperature, y)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
        return loss

    state = run(traced(step, {"net": model, "temperature": temperature}, optimizer))
    assert float(state["temperature"]) != 1 and float(temperature.detach()) == 1
    with pytest.raises(TraceError, match="parameters that are not the model's.*name all models"):
        traced(step, model, optimizer)


def test_what_a_step_may_return() -> None:
    model = network(6, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(x: torch.Tensor, y: torch.Tensor) -> Any:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
        return returned(loss)

    def returned(loss: torch.Tensor) -> Any:
        return None

    with pytest.raises(TraceError, match=r"test_tracing_steps.py:\d+ returns NoneType; let it return the loss"):
        traced(step, model, optimizer)
    with pytest.raises(ConfigError, match="needs a loss, or a step of its own"):
        traced(None, model, optimizer)
    with pytest.raises(TraceError, match="is a str; give a module"):
        traced(step, "model", optimizer)


def test_a_scheduler_stepped_out_of_reach_is_refused() -> None:
    model = network(6, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    hidden = {"scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 2)}

    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
        hidden["scheduler"].step()
        return loss

    with pytest.raises(TraceError, match=r"a scheduler steps inside the step.*Training\(scheduler=...\)"):
        traced(step, model, optimizer)


def test_a_tensor_updated_beside_the_models_is_refused_and_carried_when_named() -> None:
    model, seen = network(6, 2), torch.zeros(6)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
        seen.add_(x.sum(0))
        return loss

    with pytest.raises(
        TraceError, match=r"aten\.add_\.Tensor at .*test_tracing_steps.py:\d+ updates a tensor that is neither"
    ):
        traced(step, model, optimizer)
    seen.zero_()
    state = run(traced(step, {"net": model, "seen": seen}, optimizer), 2)
    assert torch.allclose(state["seen"], X.sum(0), atol=1e-4) and not seen.any()
