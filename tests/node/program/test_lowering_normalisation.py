"""Normalisations, their gradients and their running statistics against eager float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from spatial import agrees, agrees_on, execute
from torch import nn
from torch.nn import functional as F

from orebit.executor.reference import ReferenceExecutor
from orebit.strategy.training import Training, trace_training

SHAPES: dict[str, tuple[int, ...]] = {"2d": (3, 4, 5, 2), "1d": (3, 4, 5), "rows": (6, 4)}
MEAN, VARIANCE = torch.tensor([0.0, 0.25, -0.5, 1.0]), torch.tensor([1.0, 2.0, 0.5, 4.0])


@pytest.mark.parametrize("shape", SHAPES)
def test_batch_norm_in_training(shape: str) -> None:
    agrees(lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True), SHAPES[shape], (4,), (4,), tolerance=5e-6)


def test_batch_norm_without_weights() -> None:
    agrees(lambda x: F.batch_norm(x, None, None, training=True), (3, 4, 5), tolerance=5e-6)


@pytest.mark.parametrize("shape", ["2d", "rows"])
def test_batch_norm_in_evaluation(shape: str) -> None:
    def normalise(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return F.batch_norm(x, MEAN.to(x.dtype), VARIANCE.to(x.dtype), w, b, training=False)

    agrees(normalise, SHAPES[shape], (4,), (4,))


LAYERS: dict[str, tuple[Callable[..., torch.Tensor], tuple[tuple[int, ...], ...]]] = {
    "layer": (lambda x, w, b: F.layer_norm(x, (5,), w, b), ((3, 4, 5), (5,), (5,))),
    "layer_two_axes": (lambda x, w, b: F.layer_norm(x, (4, 5), w, b), ((3, 4, 5), (4, 5), (4, 5))),
    "layer_whole": (lambda x, w, b: F.layer_norm(x, (4, 5), w, b), ((4, 5), (4, 5), (4, 5))),
    "layer_bare": (lambda x: F.layer_norm(x, (5,)), ((3, 4, 5),)),
    "layer_no_bias": (lambda x, w: F.layer_norm(x, (5,), w), ((3, 5), (5,))),
    "layer_transposed": (lambda x, w: F.layer_norm(x.transpose(1, 2), (4,), w), ((3, 4, 5), (4,))),
    "group": (lambda x, w, b: F.group_norm(x, 2, w, b), ((3, 4, 5, 2), (4,), (4,))),
    "group_of_all": (lambda x, w, b: F.group_norm(x, 1, w, b), ((3, 4, 5), (4,), (4,))),
    "group_bare": (lambda x: F.group_norm(x, 2), ((3, 4, 6),)),
    "group_rows": (lambda x, w: F.group_norm(x, 2, w), ((3, 8), (8,))),
    "instance": (lambda x: F.instance_norm(x), ((3, 4, 5, 2),)),
    "instance_affine": (lambda x, w, b: F.instance_norm(x, weight=w, bias=b), ((3, 4, 7), (4,), (4,))),
    "weight": (lambda v, g: torch._weight_norm(v, g, 0), ((4, 3, 2), (4, 1, 1))),
    "weight_last": (lambda v, g: torch._weight_norm(v, g, 1), ((4, 3), (1, 3))),
    "rms": (lambda x, w: F.rms_norm(x, (5,), w), ((3, 4, 5), (5,))),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layer(name: str) -> None:
    function, shapes = LAYERS[name]
    agrees(function, *shapes, tolerance=1e-5)


def test_variance_survives_a_large_mean() -> None:
    """Deviations are squared after the mean is taken off: at 1,000 standard deviations they keep their digits."""
    x = 1000 + torch.randn(4, 3, 50, generator=torch.Generator().manual_seed(1))
    _, (value, _) = execute(lambda t: F.batch_norm(t, None, None, training=True), [x])
    wanted = F.batch_norm(x.double(), None, None, training=True)
    assert (torch.from_numpy(value) - wanted).abs().max() < 2e-4


def test_a_constant_channel_is_shifted_only() -> None:
    x = torch.ones(3, 4, 5)
    agrees_on(lambda t, w, b: F.batch_norm(t, None, None, w, b, training=True), [x, torch.ones(4), torch.arange(4.0)])


def _train(layer: nn.Module, steps: int) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The state after some steps, as traced and by torch."""
    torch.manual_seed(0)
    x = torch.randn(12, 3, 4) * 2 + 1
    y = torch.randn(12, 3, 4)

    def optimizer(parameters: object) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=0.1)  # type: ignore[arg-type]  # torch's own type has no name

    traced = trace_training(
        Training(
            model=layer, loss=F.mse_loss, optimizer=optimizer, data=(x, y), batch_size=6, steps=steps, shuffle=False
        )
    )
    executor = ReferenceExecutor(traced.program, traced.constants_for(0), traced.parameters(0, 0))
    state: list[torch.Tensor] = [torch.as_tensor(array) for array in traced.initial_state]
    eager = optimizer(layer.parameters())
    layer.train()
    for step in range(steps):
        state = executor.step(state)
        rows = slice(step % 2 * 6, step % 2 * 6 + 6)
        eager.zero_grad()
        F.mse_loss(layer(x[rows]), y[rows]).backward()
        eager.step()
    return traced.state_dict(state), layer.state_dict()


@pytest.mark.parametrize(
    "layer",
    [nn.BatchNorm1d(3, momentum=0.3), nn.InstanceNorm1d(3, affine=True, track_running_stats=True)],
    ids=["batch", "instance"],
)
def test_running_statistics_are_updated_as_torch_does(layer: nn.Module) -> None:
    made, wanted = _train(layer, 3)
    assert wanted["running_mean"].abs().min() > 0.1
    for name, tensor in wanted.items():
        assert torch.allclose(made[name].to(tensor.dtype), tensor, rtol=1e-5, atol=1e-6), name
