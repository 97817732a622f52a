"""Random numbers inside a step: distributions, keys, activation checkpointing, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from orebit.errors import TraceError
from orebit.executor.reference import ReferenceExecutor
from orebit.numerics import functions_random
from orebit.numerics.types import DType
from orebit.program.builder import Builder
from orebit.program.lowering import Lowering, Tensor
from orebit.strategy.training import TracedTraining, Training, trace_training

Array = NDArray[Any]
X, Y = torch.ones(32, 4), torch.zeros(32, 2)


class Drawing(nn.Module):
    """A layer, and a buffer that receives what a function draws."""

    seen: torch.Tensor

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor], shape: tuple[int, ...], dtype: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 2)
        self.function = function
        self.register_buffer("seen", torch.zeros(shape, dtype=dtype))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.copy_(self.function(x))
        return self.layer(x)  # type: ignore[no-any-return]  # modules are untyped in torch


def traced(model: nn.Module, **changes: Any) -> TracedTraining:
    settings: dict[str, Any] = {
        "model": model,
        "loss": nn.MSELoss(),
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.5),
        "data": (X, Y),
        "batch_size": 16,
        "steps": 4,
    }
    return trace_training(Training(**(settings | changes)))


def states(job: TracedTraining, steps: int, worker: int = 0) -> list[dict[str, Array]]:
    executor = ReferenceExecutor(job.program, job.constants_for(worker), job.parameters(0, worker))
    state: list[Any] = job.initial_state
    found = []
    for _ in range(steps):
        state = executor.step(state)
        found.append(dict(zip(job.state_names, (tensor.numpy() for tensor in state), strict=True)))
    return found


def drawn(function: Callable[[torch.Tensor], torch.Tensor], shape: tuple[int, ...], dtype: Any = torch.float32) -> Any:
    return states(traced(Drawing(function, shape, dtype)), 1)[0]["seen"]


N = 4001


@pytest.mark.parametrize(
    ("function", "mean", "variance", "low", "high"),
    [
        (lambda x: torch.rand(N), 1 / 2, 1 / 12, 0, 1 - 2**-24),
        (lambda x: torch.rand_like(torch.zeros(N)), 1 / 2, 1 / 12, 0, 1),
        (lambda x: torch.empty(N).uniform_(-1, 3), 1, 16 / 12, -1, 3),
        (lambda x: torch.randn(N), 0, 1, -6.4, 6.4),
        (lambda x: torch.randn_like(torch.zeros(N)), 0, 1, -6.4, 6.4),
        (lambda x: torch.empty(N).normal_(3, 0.5), 3, 0.25, 0, 6),
        (lambda x: torch.normal(torch.full((N,), 2.0), torch.full((N,), 3.0)), 2, 9, -18, 22),
        (lambda x: torch.empty(N).exponential_(2.0), 0.5, 0.25, 1e-9, 9),
        (lambda x: torch.empty(N).geometric_(0.25), 4, 12, 1, 70),
        (lambda x: torch.empty(N).log_normal_(0.5, 0.25).log(), 0.5, 0.0625, -1, 2),
        (lambda x: torch.empty(N).cauchy_(1.0, 2.0).sub(1).div(2).atan(), 0, np.pi**2 / 12, -1.5708, 1.5708),
        (lambda x: torch.bernoulli(torch.full((N,), 0.25)), 0.25, 0.1875, 0, 1),
        (lambda x: torch.empty(N).bernoulli_(0.9), 0.9, 0.09, 0, 1),
        (lambda x: torch.empty(N).bernoulli_(0.001), 0.001, 0.001, 0, 1),
        (lambda x: F.dropout(torch.ones(N), 0.2), 1, 0.25, 0, 1.25),
        (lambda x: torch.randint(3, 9, (N,)).float(), 5.5, 35 / 12, 3, 8),
        (lambda x: torch.empty(N).random_(0, 5), 2, 2, 0, 4),
        (lambda x: torch.multinomial(torch.tensor([1.0, 0.0, 3.0]), N, replacement=True).float(), 1.5, 0.75, 0, 2),
        (lambda x: F.gumbel_softmax(torch.zeros(N, 2))[:, 0], 0.5, 1 / 12, -1e-6, 1 + 1e-6),
        (lambda x: torch.distributions.Normal(torch.zeros(N), 2.0).rsample(), 0, 4, -13, 13),
        (lambda x: torch.distributions.Categorical(torch.ones(N, 3)).sample().float(), 1, 2 / 3, 0, 2),
    ],
)  # fmt: skip
def test_distributions(function: Any, mean: float, variance: float, low: float, high: float) -> None:
    values = drawn(function, (N,)).astype(np.float64)
    assert abs(values.mean() - mean) < 4.5 * np.sqrt(variance / N)
    assert abs(values.var() - variance) < 0.12 * variance + 4.5 * 0.035 * (variance < 0.01)
    assert low <= values.min() and values.max() <= high


def test_permutations_and_samples_without_replacement() -> None:
    assert sorted(drawn(lambda x: torch.randperm(37), (37,), torch.int64)) == list(range(37))
    weights = torch.tensor([1.0, 5.0, 0.0, 2.0, 2.0]).expand(500, 5)
    chosen = drawn(lambda x: torch.multinomial(weights, 3), (500, 3), torch.int64)
    assert all(len(set(row)) == 3 and 2 not in row for row in chosen.tolist())
    assert abs(np.mean(chosen[:, 0] == 1) - 0.5) < 0.1


def test_draws_differ_by_element_site_step_worker_and_seed_and_by_nothing_else() -> None:
    model = Drawing(lambda x: torch.stack([torch.rand(8), torch.rand(8)]), (2, 8), torch.float32)
    job = traced(model, shards=2)
    first, again = states(job, 3), states(job, 3)
    other = states(job, 3, worker=1) + states(traced(model, shards=2, seed=1), 3)
    values = [number for state in first + other for number in state["seen"].ravel().tolist()]
    assert len(set(values)) == len(values) == 9 * 16
    assert all(np.array_equal(a["seen"], b["seen"]) for a, b in zip(first, again, strict=True))


def test_dropout_has_one_mask_forward_and_backward() -> None:
    class Dropping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(64))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.dropout(self.weight + 1, 0.25)

    job = traced(Dropping(), loss=lambda out, y: out.sum(), optimizer=lambda p: torch.optim.SGD(p, lr=1.0))
    (state,) = states(job, 1)
    # The gradient is the mask; the loss is the sum of what it lets through.
    assert set(np.round(-state["weight"] * 0.75, 6)) == {0.0, 1.0}
    assert np.isclose(state["loss"], -state["weight"].sum())


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_recomputed_forward_draws_what_it_drew(reentrant: bool) -> None:
    class Block(nn.Module):
        def __init__(self, recompute: bool) -> None:
            super().__init__()
            torch.manual_seed(3)
            self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 2)
            self.recompute = recompute

        def inner(self, x: torch.Tensor) -> torch.Tensor:
            return F.dropout(torch.tanh(self.first(x)), 0.5) * torch.rand(8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.recompute:
                x = checkpoint(self.inner, x.requires_grad_(reentrant), use_reentrant=reentrant)
            else:
                x = self.inner(x)
            return self.second(x + torch.randn(8) * 0.1)  # type: ignore[no-any-return]  # modules are untyped in torch

    plain, recomputed = (states(traced(Block(recompute)), 2)[-1] for recompute in (False, True))
    for name, tensor in plain.items():
        assert np.array_equal(tensor, recomputed[name]), name


def test_evaluation_draws_nothing_and_cannot() -> None:
    model = nn.Sequential(nn.Linear(4, 2), nn.Dropout(0.5))
    job = traced(model, held_out=(X, Y))
    assert job.evaluation is not None
    assert job.evaluation.program.header.parameters == 0
    first, second = (states(traced(model, held_out=(X, Y), seed=seed), 1)[0]["loss"] for seed in (0, 1))
    assert first != second
    with pytest.raises(TraceError, match="not in evaluation mode"):
        traced(Drawing(lambda x: torch.rand(2), (2,), torch.float32), held_out=(X, Y))


def test_a_step_that_seeds_the_generator_is_refused() -> None:
    def seeded(x: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(7)
        return torch.rand(2)

    with pytest.raises(TraceError, match="seeds torch's random generator itself"):
        drawn(seeded, (2,))


def test_a_generator_of_the_steps_own_is_left_as_it_was() -> None:
    generator = torch.Generator().manual_seed(5)
    before = generator.get_state()
    values = drawn(lambda x: torch.rand(8, generator=generator), (8,))
    assert len(set(values.tolist())) == 8
    assert torch.equal(generator.get_state(), before)


def test_operations_without_a_draw_say_what_to_use() -> None:
    with pytest.raises(TraceError, match=r"aten\.poisson.*give it as data"):
        drawn(lambda x: torch.poisson(torch.ones(3)), (3,))


def normal_of(words: Array) -> Array:
    builder = Builder()
    lowering = Lowering(builder)
    made = lowering.map(functions_random.normal, Tensor.of(builder.constant(DType.I64, words.shape)))
    builder.state(DType.F32, words.shape)
    program = builder.finish([made.value])
    (result,) = ReferenceExecutor(program, [words], []).step([np.zeros(words.shape, np.float32)])
    return result.numpy()


def test_normal_quantiles_are_within_their_bound() -> None:
    ends = np.concatenate([np.arange(2000), (1 << 31) - 1 - np.arange(2000)])
    words = np.concatenate([np.random.default_rng(0).integers(0, 1 << 31, 50_000), ends]).astype(np.int64)
    tail = torch.from_numpy((2 * words + 1) * 2.0**-33)
    exact = -torch.special.ndtri(tail).numpy()
    values = normal_of(words).astype(np.float64)
    assert np.max(np.abs(np.abs(values) - exact) / exact) < 5e-7
    assert np.array_equal(normal_of(words + (1 << 31)), -normal_of(words))
