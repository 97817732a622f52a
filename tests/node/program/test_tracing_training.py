"""A Training as programs: data, shuffles, averages, evaluation, and the way back to a state_dict."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset, random_split

from orebit.errors import ConfigError, TraceError
from orebit.executor.reference import ReferenceExecutor
from orebit.numerics.types import DType
from orebit.program.averaging import average_program
from orebit.program.builder import Builder
from orebit.program.descriptor import Source
from orebit.program.evaluation import batch_for
from orebit.program.graph import Program, TensorSpec
from orebit.program.lowering import Lowering, Tensor
from orebit.program.lowering.batches import positions, shuffled
from orebit.program.tracing_data import read_dataset
from orebit.strategy.training import TracedTraining, Training, trace_training

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randint(0, 256, (80, 6), generator=GENERATOR).float() / 255
Y = (X.sum(1) > 3).long() + (X[:, 0] > 0.5).long()


def job(model: nn.Module | None = None, **changes: Any) -> Training:
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "model": nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)) if model is None else model,
        "loss": nn.CrossEntropyLoss(),
        "optimizer": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
        "data": (X, Y),
        "batch_size": 16,
        "steps": 4,
    }
    return Training(**(settings | changes))


def steps(program: Program, constants: Any, parameters: Any, state: Any, count: int) -> list[torch.Tensor]:
    executor = ReferenceExecutor(program, constants, parameters)
    for _ in range(count):
        state = executor.step(state)
    return list(state)


def train(traced: TracedTraining, count: int, worker: int = 0, round_number: int = 0) -> list[torch.Tensor]:
    parameters = traced.parameters(round_number, worker)
    return steps(traced.program, traced.constants_for(worker), parameters, traced.initial_state, count)


def orders(count: int, rows: int, batch: int, seed: int = 3, worker: int = 0) -> list[list[int]]:
    """The rows that the first `count` steps read."""
    builder = Builder()
    lowering = Lowering(builder)
    step = Tensor.of(builder.state(DType.I64, ()))
    builder.state(DType.I64, (batch,))
    key, who = (Tensor.of(builder.constant(DType.I64, ())) for _ in range(2))
    places = shuffled(lowering, positions(lowering, step, rows, batch), step, key, who, rows, batch)
    program = builder.finish([lowering.map(lambda s: s + 1, step).value, places.value])
    executor = ReferenceExecutor(program, [np.array(seed), np.array(worker)], [])
    state: Any = [np.array(0), np.zeros(batch, np.int64)]
    read = []
    for _ in range(count):
        state = executor.step(state)
        read.append(state[1].tolist())
    return read


def test_an_epoch_visits_every_row_once_in_an_order_of_its_own() -> None:
    batches = orders(10, 50, 10)
    epochs = [sum(batches[:5], []), sum(batches[5:], [])]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert epochs[0] != epochs[1] and epochs[0] != list(range(50))


def test_the_shuffle_depends_on_seed_and_worker() -> None:
    base = orders(1, 1000, 16)
    assert base == orders(1, 1000, 16)
    assert base != orders(1, 1000, 16, seed=4) and base != orders(1, 1000, 16, worker=1)
    assert base != orders(1, 1000, 16, seed=3 + (1 << 40))


def test_the_shuffle_has_no_visible_bias() -> None:
    counts = np.zeros((10, 10))
    for epoch in orders(100, 10, 10):
        counts[range(10), epoch] += 1
    # Chi-square of 10 by 10 cells, 81 degrees of freedom: 99.9% of fair shuffles lie below 126.
    assert ((counts - 10) ** 2 / 10).sum() < 126


def test_images_are_stored_as_bytes_without_loss() -> None:
    dataset, _ = read_dataset((X, Y), "data")
    assert [(column.dtype, column.scale) for column in dataset.columns] == [(DType.U8, 255), (DType.U8, 0)]
    whole, _ = read_dataset((X * 255, Y), "data")
    assert (whole.columns[0].dtype, whole.columns[0].scale) == (DType.U8, 1)
    other, _ = read_dataset((X - 0.5, Y - 1), "data")
    assert [(c.dtype, c.scale) for c in other.columns] == [(DType.F32, 0), (DType.I64, 0)]
    negative_zero, _ = read_dataset((-X * 0, Y), "data")
    assert negative_zero.columns[0].dtype is DType.F32


def test_packed_and_plain_data_train_to_the_same_bits() -> None:
    packed = trace_training(job())
    with pytest.warns(UserWarning, match="1 of 81 rows of a worker are left out: they fill no batch of 16"):
        plain = trace_training(job(data=(torch.cat([X, X[:1] - 9]), torch.cat([Y, Y[:1]])), shuffle=False))
    assert packed.constants_for(0)[0].dtype == np.uint8 and plain.constants_for(0)[0].dtype == np.float32
    packed = trace_training(job(shuffle=False))
    for a, b in zip(train(packed, 5), train(plain, 5), strict=True):
        assert torch.equal(a, b)


def test_workers_have_equal_parts_that_cover_the_data() -> None:
    with pytest.warns(UserWarning, match="2 of 80 rows of the training data are left out: 3 equal parts"):
        traced = trace_training(job(shards=3))
    parts = [traced.constants_for(worker) for worker in range(3)]
    assert {part[0].shape for part in parts} == {(26, 6)}
    everything = {(*row.tolist(), label) for row, label in zip((X * 255).round().int(), Y.tolist(), strict=True)}
    dealt = [(*row.tolist(), int(label)) for part in parts for row, label in zip(*part, strict=True)]
    assert len(set(dealt)) == 78 and set(dealt) < everything
    assert all(np.array_equal(a, b) for a, b in zip(parts[1], traced.constants_for(1), strict=True))
    assert not np.array_equal(train(traced, 1, worker=0)[1], train(traced, 1, worker=1)[1])


def test_without_shuffle_workers_take_turns_row_by_row() -> None:
    traced = trace_training(job(shards=2, shuffle=False, batch_size=20))
    assert np.array_equal(traced.constants_for(1)[0], (X[1::2] * 255).round().numpy())


def test_a_dataloader_says_batch_size_and_shuffle() -> None:
    loader = DataLoader(TensorDataset(X, Y), batch_size=20, shuffle=False)
    read = trace_training(job(data=loader, batch_size=None))
    given = trace_training(job(batch_size=20, shuffle=False))
    assert read.program.root == given.program.root
    part, rest = random_split(TensorDataset(X, Y), [60, 20])
    traced = trace_training(job(data=part, held_out=rest))
    assert traced.constants_for(0)[0].shape == (60, 6)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"batch_size": None}, ConfigError, "no batch_size"),
        ({"shards": 8}, ConfigError, "10 rows, fewer than a batch of 16"),
        ({"data": "mnist"}, TraceError, "is a str; give tensors"),
        ({"data": (X.double(), Y)}, TraceError, r"float64; convert it with .float\(\)"),
        ({"data": (X, Y[:3])}, TraceError, "not equally many"),
        ({"data": (X[:, :5], Y)}, TraceError, r"fails on a batch of its own data .*\[16, 5\].*RuntimeError"),
        ({"optimizer": lambda p: torch.optim.SGD(p, lr=-1)}, ConfigError, "cannot be made: Invalid learning rate"),
        ({"loss": nn.CrossEntropyLoss(reduction="none")}, TraceError, "not a tensor of one number"),
    ],
)
def test_bad_trainings_are_refused(changes: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        trace_training(job(**changes))


@pytest.mark.parametrize("changes", [{"steps": 0}, {"rounds": -1}, {"seed": -1}, {"bits": 3}, {"batch_size": 0.5}])
def test_bad_numbers_name_the_training(changes: Any) -> None:
    with pytest.raises(ConfigError, match=r"test_tracing_training.py:\d+"):
        job(**changes)


class Tied(nn.Module):
    """Tied weights, a running mean, a counter, and a buffer that is not saved."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.second = nn.Linear(6, 6)
        self.second.weight = self.first.weight
        self.register_buffer("mean", torch.zeros(6))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("scratch", torch.ones(6), persistent=False)
        self.mean: torch.Tensor
        self.seen: torch.Tensor
        self.scratch: torch.Tensor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            with torch.no_grad():
                self.mean.mul_(0.5).add_(x.mean(0), alpha=0.5)
                self.seen.add_(1)
                self.scratch.copy_(x[0])
        return self.second(torch.tanh(self.first(x - self.mean)))  # type: ignore[no-any-return]  # torch.tanh is untyped for modules


def test_tied_weights_and_buffers_go_there_and_back() -> None:
    model = Tied()
    traced = trace_training(job(model, shuffle=False))
    assert traced.state_names[:8] == (
        "step", "first.weight", "first.bias", "second.bias", "mean", "seen", "scratch", "first.weight.momentum_buffer",
    )  # fmt: skip
    state = train(traced, 3)
    result = traced.state_dict(state)
    assert list(result) == list(model.state_dict()) and result["seen"].item() == 3
    assert torch.equal(result["first.weight"], result["second.weight"])
    twin = Tied()
    twin.load_state_dict(result, strict=True)
    mean = torch.zeros(6)
    for step in range(3):
        mean = mean * 0.5 + X[16 * step : 16 * step + 16].mean(0) * 0.5
    assert torch.allclose(result["mean"], mean, atol=1e-6)
    assert torch.equal(state[6], X[32])


def test_a_buffer_that_is_replaced_is_refused_and_put_back() -> None:
    class Replacing(Tied):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.mean = self.mean + 1
            return self.first(x) + self.second(x)

    model = Replacing()
    before = model.mean
    with pytest.raises(TraceError, match=r"'mean' of the model is replaced.*copy_\(\)"):
        trace_training(job(model))
    assert model.mean is before


@pytest.mark.parametrize("workers", [1, 4, 32, 40])
def test_averages(workers: int) -> None:
    specs = [TensorSpec(DType.I64, ()), TensorSpec(DType.F32, (3, 2)), TensorSpec(DType.F32, ())]
    program = average_program(specs, workers)
    rng = np.random.default_rng(workers)
    states = [
        [np.array(7 + w), rng.standard_normal((3, 2)).astype(np.float32), np.array(w, np.float32)]
        for w in range(workers)
    ]
    start = [np.zeros(spec.shape, spec.dtype.numpy) for spec in specs]
    made = steps(program, [t for state in states for t in state], [], start, 1)
    total = states[0][1]
    for state in states[1:]:
        total = total + state[1]
    assert int(made[0]) == 7
    assert np.array_equal(made[1].numpy(), total / np.float32(workers))
    assert float(made[2]) == (workers - 1) / 2


def test_an_average_of_trained_states_continues_the_training() -> None:
    traced = trace_training(job(shards=2, rounds=2))
    finals = [train(traced, 4, worker) for worker in range(2)]
    (averaged,) = [steps(traced.average, traced.average_constants(finals), [], traced.initial_state, 1)]
    assert int(averaged[0]) == 4 and traced.average.specs(Source.STATE) == traced.program.specs(Source.STATE)
    after = steps(traced.program, traced.constants_for(0), traced.parameters(1, 0), averaged, 4)
    assert int(after[0]) == 8 and float(after[traced.loss_index]) > 0


def test_evaluation_agrees_with_eager() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    traced = trace_training(job(model, held_out=(X, Y)))
    state = train(traced, 30)
    evaluation = traced.evaluation
    assert evaluation is not None and evaluation.state_names == ("step", "loss", "total", "correct", "accuracy")
    made = steps(evaluation.program, traced.evaluation_constants(state), [], evaluation.initial, evaluation.steps)
    model.load_state_dict(traced.state_dict(state), strict=True)
    output = model(X)
    assert int(made[3]) == int((output.argmax(1) == Y).sum())
    assert float(made[4]) == np.float32(int(made[3]) / 80)
    assert abs(float(made[1]) - float(F.cross_entropy(output, Y).detach())) < 1e-3


def test_regression_is_evaluated_by_its_loss() -> None:
    model = nn.Linear(6, 1)
    target = X.sum(1, keepdim=True)
    traced = trace_training(job(model, loss=nn.MSELoss(), data=(X, target), held_out=(X, target)))
    assert traced.evaluation is not None and traced.evaluation.state_names == ("step", "loss", "total")
    with pytest.raises(ConfigError, match="held_out"):
        trace_training(job(model, loss=nn.MSELoss(), data=(X, target))).evaluation_constants([])


@pytest.mark.parametrize(("rows", "batch"), [(1000, 500), (80, 80), (7, 7), (1021, 510), (1042, 347)])
def test_evaluation_batches(rows: int, batch: int) -> None:
    assert batch_for(rows) == batch


def test_the_schedule_may_only_set_what_exists() -> None:
    traced = trace_training(job(schedule=lambda number: {"learning_rate": 0.1}))
    with pytest.raises(ConfigError, match="learning_rate.*lr, momentum"):
        traced.parameters(0, 0)
