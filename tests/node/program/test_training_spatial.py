"""Convolutional networks from unmodified torch code: traced, trained some steps, and compared with eager float32."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from orebit.executor.reference import ReferenceExecutor
from orebit.program.graph import Program
from orebit.strategy.training import TracedTraining, Training, trace_training

LONG = os.environ.get("OREBIT_LONG_TESTS") == "1"
BATCH = 8


class Block(nn.Module):
    """Two convolutions with batch normalisation and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = F.relu(self.first_norm(self.first(x)))
        return F.relu(self.second_norm(self.second(made)) + self.shortcut(x))


class ResNet8(nn.Module):
    """Three residual blocks between a convolution and a linear layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.blocks = nn.Sequential(Block(width, width, 1), Block(width, 2 * width, 2), Block(2 * width, 4 * width, 2))
        self.head = nn.Linear(4 * width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = self.blocks(self.stem(x))
        return self.head(torch.flatten(F.adaptive_avg_pool2d(made, 1), 1))


class UNet(nn.Module):
    """Two levels down and up: group normalisation, maximum pooling, a transposed convolution, bilinear upsampling."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = self._double(1, width)
        self.second = self._double(width, 2 * width)
        self.bottom = self._double(2 * width, 4 * width)
        self.up = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2)
        self.second_up = self._double(4 * width, 2 * width)
        self.upsample = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.first_up = self._double(3 * width, width)
        self.head = nn.Conv2d(width, 1, 1)

    @staticmethod
    def _double(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.GroupNorm(4, outputs),
            nn.SiLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, padding_mode="reflect"),
            nn.GroupNorm(4, outputs),
            nn.SiLU(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.first(x)
        second = self.second(F.max_pool2d(first, 2))
        made = self.bottom(F.max_pool2d(second, 2))
        made = self.second_up(torch.cat([self.up(made), second], 1))
        return self.head(self.first_up(torch.cat([self.upsample(made), first], 1)))


def images(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4 * BATCH, 3, size, size, generator=generator)
    return x, torch.randint(0, 10, (4 * BATCH,), generator=generator)


def masks(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(4 * BATCH, 1, size, size, generator=torch.Generator().manual_seed(2))
    return x, F.avg_pool2d(x, 3, 1, 1)


def traced(
    model: nn.Module, loss: Callable[..., torch.Tensor], data: tuple[torch.Tensor, torch.Tensor]
) -> TracedTraining:
    def optimizer(parameters: object) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=0.05, momentum=0.9)  # type: ignore[arg-type]  # torch's own type has no name

    return trace_training(
        Training(
            model=model, loss=loss, optimizer=optimizer, data=data, batch_size=BATCH, steps=4, shuffle=False, bits=15
        )
    )


def losses(
    model: nn.Module,
    loss: Callable[..., torch.Tensor],
    data: tuple[torch.Tensor, torch.Tensor],
    steps: int,
) -> tuple[Program, list[float], list[float], dict[str, float]]:
    """The program, the loss of each step as traced and by eager torch, and how far buffers lie apart at the end."""
    made = traced(model, loss, data)
    executor = ReferenceExecutor(made.program, made.constants_for(0), made.parameters(0, 0))
    state: list[torch.Tensor] = [torch.as_tensor(array) for array in made.initial_state]
    own, eager = [], []
    for _ in range(steps):
        state = executor.step(state)
        own.append(float(state[made.loss_index]))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for step in range(steps):
        rows = slice(step % 4 * BATCH, step % 4 * BATCH + BATCH)
        optimizer.zero_grad()
        value = loss(model(data[0][rows]), data[1][rows])
        value.backward()
        optimizer.step()
        eager.append(float(value.detach()))
    names = dict(model.named_buffers())
    final = made.state_dict(state)
    apart = {name: float((final[name] - tensor).abs().max()) for name, tensor in names.items()}
    return made.program, own, eager, apart


@pytest.mark.parametrize(
    ("width", "size", "steps"), [(4, 8, 3), pytest.param(16, 32, 6, marks=pytest.mark.skipif(not LONG, reason="long"))]
)
def test_a_residual_network_trains_as_in_float32(width: int, size: int, steps: int) -> None:
    torch.manual_seed(0)
    program, own, eager, apart = losses(ResNet8(width), F.cross_entropy, images(size), steps)
    assert own == pytest.approx(eager, rel=2e-3)
    assert max(apart.values()) < 1e-2
    assert len(program.nodes) < 3000


@pytest.mark.parametrize(
    ("width", "size", "steps"), [(4, 8, 3), pytest.param(8, 32, 6, marks=pytest.mark.skipif(not LONG, reason="long"))]
)
def test_a_u_net_trains_as_in_float32(width: int, size: int, steps: int) -> None:
    torch.manual_seed(0)
    _, own, eager, _ = losses(UNet(width), F.mse_loss, masks(size), steps)
    assert own == pytest.approx(eager, rel=2e-3)


def test_spectral_and_weight_norm_train_as_in_float32() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)),
        nn.ReLU(),
        nn.utils.parametrizations.spectral_norm(nn.Conv2d(4, 4, 3)),
        nn.Flatten(),
        nn.Linear(64, 10),
    )
    _, own, eager, apart = losses(model, F.cross_entropy, images(8), 3)
    assert own == pytest.approx(eager, rel=2e-3)
    assert max(apart.values()) < 1e-3
