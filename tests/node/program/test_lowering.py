"""Every lowering against eager float64: values and gradients, through the traced step and the reference executor."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from orebit.executor.reference import ReferenceExecutor
from orebit.numerics.types import DType
from orebit.program.builder import Builder
from orebit.program.descriptor import Kind
from orebit.program.graph import Program
from orebit.program.lowering import LOWERINGS, Lowering, Tensor
from orebit.program.lowering.captured import Bindings
from orebit.program.tracing import TrainingStep, capture

Forward = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
SHAPE = (6, 5)


class Function(nn.Module):
    """A weight that goes through one operation together with the batch."""

    def __init__(self, forward: Forward, shape: tuple[int, ...]) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.weight = nn.Parameter(torch.randn(shape, generator=generator) * 0.7)
        self.function = forward

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self.weight, x)


def weighted(output: torch.Tensor) -> torch.Tensor:
    """A scalar on which every element of the output has its own influence."""
    weights = [math.cos(k) for k in range(output.numel())]
    return (output.reshape(-1) * torch.tensor(weights, dtype=output.dtype)).sum()


def step_program(
    model: nn.Module, loss: Callable[..., torch.Tensor], batches: Any, bits: int, lr: float = 1.0
) -> tuple[Program, list[Any], list[Any]]:
    """The program of one SGD step over a batch held as state, its state and its parameters."""
    step = TrainingStep(model, loss, torch.optim.SGD(model.parameters(), lr=lr), "test.py:1")
    captured = capture(step, batches)
    builder = Builder()
    arrays = [item.initial.numpy() for item in captured.state] + [t.numpy() for t in batches[0]]
    names = [item.name for item in captured.state] + [f"x{k}" for k in range(len(batches[0]))]
    state = [builder.state(DType.from_numpy(a.dtype), a.shape, n) for a, n in zip(arrays, names, strict=True)]
    loss_state = builder.state(DType.F32, ())
    lowering = Lowering(builder, bits)
    bindings = Bindings(lowering, captured)
    *new, value = bindings.lower([Tensor.of(s) for s in state])
    kept = state[len(new) :]
    results = [lowering.value(t, t.shape) for t in new] + kept + [lowering.value(value, loss_state.shape)]
    program = builder.finish(results)
    executor = ReferenceExecutor(program, bindings.constants, bindings.scalar_values({"lr": lr}))
    made = executor.step([*arrays, np.zeros((), np.float32)])
    return program, [t.numpy() for t in made], arrays


def check(forward: Forward, *, shape: tuple[int, ...] = SHAPE, bits: int = 22, tolerance: float = 3e-6) -> None:
    """Loss and gradient of `weighted(forward(w, x))` against float64."""
    generator = torch.Generator().manual_seed(2)
    batches = tuple((torch.randn(shape, generator=generator), torch.zeros(1)) for _ in range(2))
    model = Function(forward, shape)
    _, made, _ = step_program(model, lambda out, _: weighted(out), batches, bits)
    weight = model.weight.detach().double().requires_grad_()
    loss = weighted(forward(weight, batches[0][0].double()))
    loss.backward()
    assert weight.grad is not None
    gradient = model.weight.detach().numpy() - made[0]
    scale = float(weight.grad.abs().max())
    # The gradient is read off the new weight, hence rounded with it.
    assert np.abs(gradient - weight.grad.numpy()).max() <= tolerance * max(scale, 2.0)
    assert abs(float(made[-1]) - float(loss.detach())) <= tolerance * max(1.0, float(loss.detach().abs()), scale)


ELEMENTWISE: dict[str, Forward] = {
    "add": lambda w, x: w + x,
    "add_alpha": lambda w, x: torch.add(w, x, alpha=0.3),
    "add_scalar": lambda w, x: w * x + 2,
    "sub": lambda w, x: x - w,
    "sub_alpha": lambda w, x: torch.sub(x, w, alpha=2),
    "rsub": lambda w, x: 3 - w * x,
    "mul": lambda w, x: w * x * 0.5,
    "div": lambda w, x: w / (x.abs() + 1),
    "div_by": lambda w, x: x / (w.abs() + 1),
    "div_scalar": lambda w, x: w / 3,
    "neg": lambda w, x: -w * x,
    "square": lambda w, x: w**2 * x,
    "cube": lambda w, x: w**3,
    "reciprocal": lambda w, x: (w.abs() + 1).reciprocal(),
    "sqrt": lambda w, x: (w.abs() + 0.5).sqrt(),
    "rsqrt": lambda w, x: (w.abs() + 0.5).rsqrt(),
    "exp": lambda w, x: torch.exp(w + x * 0.1),
    "log": lambda w, x: torch.log(w.abs() + 0.3),
    "tanh": lambda w, x: torch.tanh(w * x),
    "sigmoid": lambda w, x: torch.sigmoid(w * x),
    "relu": lambda w, x: torch.relu(w * x),
    "silu": lambda w, x: F.silu(w * x),
    "leaky_relu": lambda w, x: F.leaky_relu(w * x, 0.1),
    "hardtanh": lambda w, x: F.hardtanh(w * x, -0.4, 0.5),
    "clamp": lambda w, x: (w * x).clamp(-0.3, 0.6),
    "abs": lambda w, x: (w * x).abs(),
    "where": lambda w, x: torch.where(x > 0, w, w * 2),
    "where_compared": lambda w, x: torch.where((x <= 0.2) & (w != x), w * x, w * 3),
    "masked_fill": lambda w, x: (w * x).masked_fill(x < 0, 0.25),
    "maximum": lambda w, x: torch.maximum(w, x) + torch.minimum(w, x * 0.5),
    "addcmul": lambda w, x: torch.addcmul(x, w, x, value=0.5),
    "addcdiv": lambda w, x: torch.addcdiv(x, w, x.abs() + 1, value=0.5),
    "masks": lambda w, x: w * (((x > 0) | (w > x)) ^ ~(x < 0.3)).float(),
    "cast_mask": lambda w, x: w * (x > 0).float(),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise(name: str) -> None:
    check(ELEMENTWISE[name])


VIEWS: dict[str, Forward] = {
    "transpose": lambda w, x: w.t() * x.t(),
    "permute": lambda w, x: w.reshape(2, 3, 5).permute(2, 0, 1) * 2,
    "view_of_transposed": lambda w, x: w.t().reshape(10, 3) * 2,
    "expand": lambda w, x: w[:, :1].expand(6, 5) * x,
    "unsqueeze": lambda w, x: w.unsqueeze(1) * x.unsqueeze(0),
    "squeeze": lambda w, x: (w.unsqueeze(0) * x).squeeze(0),
    "flatten": lambda w, x: (w * x).flatten(),
    "select": lambda w, x: w * x[2],
    "cat": lambda w, x: torch.cat([w, w * x], 1) * 2,
    "slice": lambda w, x: w[1:6:2, :3] * x[:3, 1:4],
    "cat_rows": lambda w, x: torch.cat([w, x, w * 2], 0),
}


@pytest.mark.parametrize("name", VIEWS)
def test_view(name: str) -> None:
    check(VIEWS[name])


REDUCTIONS: dict[str, Forward] = {
    "sum": lambda w, x: (w * x).sum(),
    "sum_rows": lambda w, x: (w * x).sum(0),
    "sum_kept": lambda w, x: (w * x).sum(1, keepdim=True) * w,
    "sum_transposed": lambda w, x: (w * x).t().sum(1),
    "mean": lambda w, x: (w * x).mean(),
    "mean_dim": lambda w, x: (w * x).mean(1),
    "softmax": lambda w, x: torch.softmax(w * x, 1),
    "log_softmax": lambda w, x: torch.log_softmax(w * x, 0),
}


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reduction(name: str) -> None:
    check(REDUCTIONS[name])


PRODUCTS: dict[str, Forward] = {
    "mm": lambda w, x: w @ x.t(),
    "mm_transposed": lambda w, x: w.t() @ x,
    "linear": lambda w, x: F.linear(x, w, w.sum(1)),
    "addmm_scaled": lambda w, x: torch.addmm(w[:, :1].expand(6, 6), w, x.t(), beta=0.5, alpha=2.0),
    "bmm": lambda w, x: torch.bmm(w.reshape(2, 3, 5), x.reshape(2, 5, 3)),
    "mv": lambda w, x: w @ x[0],
}


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize(("bits", "tolerance"), [(22, 2e-6), (15, 3e-4)])
def test_product(name: str, bits: int, tolerance: float) -> None:
    check(PRODUCTS[name], bits=bits, tolerance=tolerance)


def classify(loss: Callable[..., torch.Tensor], target: torch.Tensor, tolerance: float = 3e-6) -> None:
    """Loss and gradient of a loss with integer targets."""
    generator = torch.Generator().manual_seed(4)
    batches = tuple((torch.randn(SHAPE, generator=generator), t) for t in (target, target.roll(1)))
    model = Function(lambda w, x: w * x, SHAPE)
    _, made, _ = step_program(model, loss, batches, 22)
    weight = model.weight.detach().double().requires_grad_()
    expected = loss(weight * batches[0][0].double(), target)
    expected.backward()
    assert weight.grad is not None
    assert abs(float(made[-1]) - float(expected.detach())) <= tolerance * max(1.0, float(expected.detach()))
    assert np.abs(model.weight.detach().numpy() - made[0] - weight.grad.numpy()).max() <= tolerance


TARGET = torch.tensor([0, 4, 2, 1, 1, 3])


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_cross_entropy(reduction: str) -> None:
    classify(lambda out, y: F.cross_entropy(out, y, reduction=reduction), TARGET, tolerance=1e-5)


def test_cross_entropy_ignores_an_index() -> None:
    classify(lambda out, y: F.cross_entropy(out, y, ignore_index=1), TARGET)


def test_cross_entropy_unreduced() -> None:
    classify(lambda out, y: weighted(F.cross_entropy(out, y, reduction="none")), TARGET)


@pytest.mark.parametrize(
    "loss", [F.mse_loss, F.smooth_l1_loss, F.huber_loss, lambda a, b: F.mse_loss(a, b, reduction="sum")]
)
def test_regression_loss(loss: Forward) -> None:
    check(lambda w, x: loss(w * 2, x))


def test_class_weights() -> None:
    classify(lambda out, y: F.cross_entropy(out, y, weight=torch.arange(1.0, 6.0).to(out.dtype)), TARGET)


def test_argmax_takes_the_first_of_equals() -> None:
    x = np.float32([[1, 3, 3], [2, 2, 2], [0, -1, 5], [np.nan, 1, np.nan]])
    builder = Builder()
    source = builder.constant(DType.F32, x.shape)
    made = LOWERINGS[torch.ops.aten.argmax.default](Lowering(builder), Tensor.of(source), 1)
    builder.state(DType.I64, (4,))
    (places,) = ReferenceExecutor(builder.finish([made.value]), [x], []).step([np.zeros(4, np.int64)])
    assert places.tolist() == torch.from_numpy(x).argmax(1).tolist() == [1, 0, 2, 0]


def test_log_softmax_of_masked_scores() -> None:
    x = np.float32([[0.0, -np.inf, 1.0], [-np.inf, -np.inf, -np.inf]])
    builder = Builder()
    lowering = Lowering(builder)
    made = LOWERINGS[torch.ops.aten._softmax.default](
        lowering, Tensor.of(builder.constant(DType.F32, x.shape)), 1, False
    )
    builder.state(DType.F32, x.shape)
    (rows,) = ReferenceExecutor(builder.finish([made.value]), [x], []).step([np.zeros_like(x)])
    assert rows[1].tolist() == [0, 0, 0]
    assert rows[0, 1] == 0 and np.allclose(rows[0].numpy(), torch.softmax(torch.from_numpy(x[0]), 0).numpy())


def test_no_quantised_tensor_serves_forward_and_backward() -> None:
    """Forward and backward contract different axes of a matrix, so each product has operands of its own."""
    batches = tuple((torch.randn(8, 6), torch.zeros(1)) for _ in range(2))
    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6))
    program, _, _ = step_program(model, lambda out, _: weighted(out), batches, 15)
    dots = [program.nodes[n] for n in program.operations if program.descriptor(n).kind is Kind.DOT]
    operands = [operand for node in dots for operand in node.operands]
    assert len(dots) == 5 and len(set(operands)) == len(operands)


def test_every_lowering_is_of_an_operation_that_torch_has() -> None:
    assert len(LOWERINGS) > 80
    assert all(str(operation).startswith("aten.") for operation in LOWERINGS)
