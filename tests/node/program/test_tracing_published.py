"""What published training scripts do, in small: traced as torch does it, or refused by name."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim import swa_utils

from orebit.errors import ConfigError, TraceError
from orebit.executor.reference import ReferenceExecutor
from orebit.program.tracing_methods import single_precision
from orebit.program.tracing_steps import as_model
from orebit.strategy.training import TracedTraining, Training, trace_training

Fields = dict[str, Any]
STEPS = 6
X = torch.randn(48, 6, generator=torch.Generator().manual_seed(0))
Y = torch.randn(48, 3, generator=torch.Generator().manual_seed(1))
CLASSES = torch.randint(0, 3, (48,), generator=torch.Generator().manual_seed(2))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))


def usual(model: nn.Module, optimizer: Any, loss: Callable[..., torch.Tensor], after: Any = None) -> Fields:
    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        value = loss(model(x), y)
        torch.autograd.backward(value)
        if after is not None:
            after()
        optimizer.step()
        return value

    return {"model": model, "optimizer": optimizer, "step": step}


def traced(fields: Fields, labels: torch.Tensor = Y) -> TracedTraining:
    return trace_training(Training(**fields, data=(X, labels), batch_size=8, steps=STEPS, bits=22, shuffle=False))


def agrees(make: Callable[[], Fields], labels: torch.Tensor = Y) -> TracedTraining:
    """STEPS steps leave what torch leaves."""
    job, twin = traced(make(), labels), make()
    executor = ReferenceExecutor(job.program, job.constants_for(0), job.parameters(0, 0))
    state: list[Any] = job.initial_state
    with single_precision():
        for number in range(STEPS):
            state = executor.step(state)
            rows = slice(number * 8 % 48, number * 8 % 48 + 8)
            twin["step"](X[rows], labels[rows])
    made = job.state_dict(state)
    for name, wanted in as_model(twin["model"], "here").state_dict().items():
        assert torch.allclose(made[name].double(), wanted.double(), rtol=1e-4, atol=2e-6), name
    return job


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1)


AVERAGES: dict[str, Fields] = {
    "plain": {},
    "exponential": {"multi_avg_fn": swa_utils.get_ema_multi_avg_fn(0.9)},
    "exponential, one by one": {"avg_fn": swa_utils.get_ema_avg_fn(0.9)},
    "with buffers": {"use_buffers": True},
}


@pytest.mark.parametrize("name", AVERAGES)
def test_an_averaged_model(name: str) -> None:
    """Its first update copies; a program does so by its count, which is state."""

    def make() -> Fields:
        model = nn.Sequential(network(), nn.BatchNorm1d(3))
        average = swa_utils.AveragedModel(model, **AVERAGES[name])
        fields = usual(model, sgd(model), F.mse_loss)
        inner = fields["step"]

        def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            value: torch.Tensor = inner(x, y)
            average.update_parameters(model)
            return value

        return fields | {"model": {"model": model, "average": average}, "step": step}

    agrees(make)


def test_autocast_and_a_grad_scaler_are_left_out() -> None:
    def make() -> Fields:
        model = network()
        optimizer, scaler = sgd(model), torch.amp.GradScaler("cpu")

        def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                value = F.mse_loss(model(x), y)
            scaler.scale(value).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            return value

        return {"model": model, "optimizer": optimizer, "step": step}

    agrees(make)


RATE = 0.05


def test_a_step_without_an_optimizer() -> None:
    def make() -> Fields:
        model = network()

        def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            model.zero_grad()
            value = F.mse_loss(model(x), y)
            torch.autograd.backward(value)
            for parameter in model.parameters():
                assert parameter.grad is not None
                parameter.data.add_(parameter.grad, alpha=-RATE)
            return value

        return {"model": model, "step": step}

    assert agrees(make).hyperparameters == {"RATE": RATE}


def test_batch_norm_over_all_batches() -> None:
    def make() -> Fields:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4, momentum=None), nn.Linear(4, 3))
        return usual(model, sgd(model), F.mse_loss)

    agrees(make)


def test_assignments_by_a_mask() -> None:
    """Of one value, of a row, and of what has a gradient itself."""

    def loss(h: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        h = h.clone()
        h[h < -0.2] = -0.2
        h[:, 1][y[:, 0] > 0] = 0.5
        h[y[:, 1] > 0] = torch.tensor([1.0, 2.0, 3.0]) * h.mean()
        return F.mse_loss(h, y)

    def make() -> Fields:
        model = network()

        def thin() -> None:
            for parameter in model.parameters():
                assert parameter.grad is not None
                parameter.grad[parameter.grad.abs() < 1e-3] = 0

        return usual(model, sgd(model), loss, thin)

    agrees(make)


def test_labels_stored_as_bytes_are_integers_of_their_type() -> None:
    """They index, are negated, padded with negative numbers and counted down."""

    def loss(h: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        chosen = -h.log_softmax(1)[torch.arange(len(y)), y].mean()
        shifted = F.cross_entropy(h, F.pad(y, (0, 1), value=-100)[1:])
        return chosen + shifted + F.mse_loss(h[:, 0], (-y - 2).float()) + (~y).float().mean() * h.mean()

    def make() -> Fields:
        model = network()
        return usual(model, sgd(model), loss)

    assert any(a.dtype == "uint8" for a in agrees(make, CLASSES).constants_for(0))


def test_an_average_of_integers_is_a_float() -> None:
    def loss(h: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        places = (torch.arange(3) * 2 + 1) / 3 - 1
        return F.mse_loss(h * places, y) + h.mean() * torch.cat([torch.arange(2), places]).sum()

    def make() -> Fields:
        model = network()
        return usual(model, sgd(model), loss)

    agrees(make)


class Warmed(torch.optim.Optimizer):
    """Adam's direction with a warm-up, by Python's own functions of a count."""

    def __init__(self, parameters: Any, every: int = 0) -> None:
        super().__init__(parameters, {"lr": 0.1})
        self.every = every

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # without a closure
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    state["step"], state["mean"] = 0, torch.zeros_like(parameter)
                state["step"] += 1
                count = state["step"]
                state["mean"].mul_(0.9).add_(parameter.grad, alpha=0.1)
                rate = group["lr"] * min(count / 4, 1.0) * math.sqrt(1 - 0.99**count) / max(1, count - 3)
                if self.every and count % self.every == 0:
                    parameter.mul_(0.5)
                parameter.add_(state["mean"], alpha=-rate)


def test_functions_of_a_count_are_formulas() -> None:
    """Beyond the count at which a minimum or a maximum turns."""

    def make() -> Fields:
        model = network()
        return usual(model, Warmed(model.parameters()), F.mse_loss)

    agrees(make)


def test_what_happens_every_few_steps_is_refused() -> None:
    model = network()
    with pytest.raises(TraceError, match=r"Python compares .* % 2\) == 0, which differs from step to step"):
        traced(usual(model, Warmed(model.parameters(), 2), F.mse_loss))


def test_clipping_by_norms_that_python_reads() -> None:
    def make() -> Fields:
        model = network()

        def clip() -> None:
            gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
            norm = max(gradient.norm().item() for gradient in gradients)
            for gradient in gradients:
                gradient.mul_(min(1.0, 0.01 / (norm + 1e-6)))

        return usual(model, sgd(model), F.mse_loss, clip)

    agrees(make)


COUNT = 9.0


def test_an_integer_made_of_a_hyperparameter_holds_for_it_only() -> None:
    """Its value while tracing is a little off, and must not be what is rounded."""

    def make() -> Fields:
        model = network()
        optimizer = sgd(model)

        def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            optimizer.zero_grad()
            value = F.mse_loss(model(x), y) * int(COUNT) / round(COUNT) * (COUNT // 3)
            torch.autograd.backward(value)
            optimizer.step()
            return value

        return {"model": model, "optimizer": optimizer, "step": step}

    job = agrees(make)
    with pytest.raises(ConfigError, match=r"traced with COUNT == 9.0 true"):
        job._assembled.parameters(0, 0, job.hyperparameters | {"COUNT": 8.0})


def test_an_integer_made_of_a_value_that_python_reads_is_refused() -> None:
    model = network()
    with pytest.raises(TraceError, match=r"an integer by int\(\), and it differs from step to step"):
        traced(usual(model, sgd(model), lambda h, y: F.mse_loss(h, y) * int(h.detach().mean().item() * 100)))


class Grouped(torch.optim.Optimizer):
    """Keeps its count with the settings of a group, a state that does not start at zero, and one that it replaces."""

    def __init__(self, parameters: Any, in_tensor: bool = False) -> None:
        super().__init__(parameters, {"lr": 0.05})
        self.in_tensor = in_tensor

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # without a closure
        for group in self.param_groups:
            if "step" not in group:
                group["step"] = torch.tensor(0.0) if self.in_tensor else 0
            group["step"] += 1
            count = group["step"].item() if self.in_tensor else group["step"]
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    state["square"] = torch.full_like(parameter, 1e-3)
                    state["mean"] = torch.zeros_like(parameter)
                    state["start"] = parameter.clone()
                state["square"].lerp_(parameter.grad.square(), 0.1)
                state["mean"] = 0.9 * state["mean"] + 0.1 * parameter.grad
                scaled = state["mean"] / (1 - 0.9**count) / state["square"].sqrt()
                parameter.add_(scaled + 0.1 * (parameter - state["start"]), alpha=-group["lr"])


@pytest.mark.parametrize("in_tensor", [False, True])
def test_state_of_optimizers_wherever_they_keep_it(in_tensor: bool) -> None:
    def make() -> Fields:
        model = network()
        return usual(model, Grouped(model.parameters(), in_tensor), F.mse_loss)

    job = agrees(make)
    assert job.hyperparameters == {"lr": 0.05}


class FromGradient(torch.optim.SGD):
    """Starts from the first gradient."""

    def step(self, closure: Any = None) -> Any:
        for parameter in self.param_groups[0]["params"]:
            state = self.state[parameter]
            if "before" not in state:
                state["before"] = parameter.grad.clone()
            parameter.grad.add_(parameter.grad - state["before"])
            state["before"].copy_(parameter.grad)
        return super().step()


def test_state_that_starts_from_data_is_refused() -> None:
    model = network()
    with pytest.raises(
        TraceError, match="gives another '0.weight'.* an optimizer's state in tensors that start at zero"
    ):
        traced(usual(model, FromGradient(model.parameters(), lr=0.1), F.mse_loss))


class Summing(torch.optim.SGD):
    """Sums its learning rates."""

    def step(self, closure: Any = None) -> Any:
        group = self.param_groups[0]
        group["total"] = group.get("total", 0.0) + group["lr"]
        return super().step()


def test_a_number_that_sums_settings_is_refused() -> None:
    model = network()
    with pytest.raises(TraceError, match="keeps 'total' as a Python number"):
        traced(usual(model, Summing(model.parameters(), lr=0.1), F.mse_loss))


def test_an_optimizer_that_cannot_be_made_is_refused() -> None:
    def broken(parameters: Any) -> torch.optim.Optimizer:
        raise RuntimeError("no groups")

    with pytest.raises(ConfigError, match="cannot be made: no groups"):
        trace_training(Training(model=network(), loss=F.mse_loss, optimizer=broken, data=(X, Y), batch_size=8, steps=1))


class Smoothed:
    """A moving average as it is often written: an object that counts, and that copies at first."""

    def __init__(self, model: nn.Module, warm_up: int) -> None:
        self.count, self.warm_up, self.seen = 0, warm_up, 0.0
        self.shadow = [parameter.detach().clone() for parameter in model.parameters()]

    def update(self, model: nn.Module, value: float) -> None:
        self.count += 1
        self.seen += value
        rate = 1.0 if self.count < self.warm_up else 0.1
        for held, parameter in zip(self.shadow, model.parameters(), strict=True):
            held.lerp_(parameter.detach(), rate)


def smoothed(warm_up: int) -> Fields:
    model = network()
    average = Smoothed(model, warm_up)
    fields = usual(model, sgd(model), F.mse_loss)
    inner = fields["step"]

    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        value: torch.Tensor = inner(x, y)
        average.update(model, value.item())
        return value

    held = {f"shadow{place}": tensor for place, tensor in enumerate(average.shadow)}
    return fields | {"model": {"model": model, **held}, "step": step}


def test_an_object_that_counts_and_does_otherwise_after_many_steps_is_refused() -> None:
    with pytest.raises(TraceError, match=r"'average.count'.* counts while the step runs, and after many steps"):
        traced(smoothed(2000))


def test_an_object_that_only_counts_is_traced_and_left_as_it_was() -> None:
    agrees(lambda: smoothed(0))
    fields = smoothed(0)
    traced(fields)
    (average,) = (cell.cell_contents for cell in fields["step"].__closure__ if isinstance(cell.cell_contents, Smoothed))
    assert (average.count, average.seen) == (0, 0.0)


def test_gradients_cleared_after_a_step_that_warms_up_from_zero() -> None:
    """Nothing has a gradient or is changed when the first step ends."""

    def make() -> Fields:
        model = network()
        optimizer = sgd(model)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda number: min(1.0, number / 3))

        def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            value = F.mse_loss(model(x), y)
            torch.autograd.backward(value)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            return value

        return {"model": model, "optimizer": optimizer, "step": step}

    agrees(make)


def test_a_layer_that_python_rarely_leaves_out_is_refused() -> None:
    """Two traces are alike unless one of them happens to leave it out."""
    model = network()

    def loss(h: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.mse_loss(h * 2 if random.random() < 1e-3 else h, y)

    with pytest.raises(TraceError, match="draws from Python's random"):
        traced(usual(model, sgd(model), loss))


def test_kernels_of_attention_that_a_model_asks_for() -> None:
    def loss(h: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]):
            q = torch.stack([h, h * 2]).reshape(1, 2, 8, 3)
            return F.mse_loss(F.scaled_dot_product_attention(q, q, q, is_causal=True)[0, 0], y)

    def make() -> Fields:
        model = network()
        return usual(model, sgd(model), loss)

    agrees(make)


def test_a_look_at_values_that_models_leave_out_when_they_are_traced() -> None:
    """A mask that hides nothing is often looked for; what a step does then is no part of the program."""

    def loss(h: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        mask = y > 0
        if not torch.jit.is_tracing() and mask.all():
            return F.mse_loss(h, y)
        return F.mse_loss(torch.where(mask, h, torch.zeros_like(h)), y)

    def make() -> Fields:
        model = network()
        return usual(model, sgd(model), loss)

    agrees(make)
