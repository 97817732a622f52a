"""Two interleaved half circles, told apart by a small network; a job of seconds to try a network with."""

from __future__ import annotations

import math

import torch
from torch import nn

import orebit


def moons(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """`count` noisy points, f32[count, 2], and which half circle each lies on, i64[count]."""
    generator = torch.Generator().manual_seed(seed)
    side = torch.arange(count) % 2
    angle = torch.rand(count, generator=generator) * math.pi
    upper = torch.stack([angle.cos(), angle.sin()], 1)
    lower = torch.stack([1 - angle.cos(), 0.5 - angle.sin()], 1)
    points = torch.where(side[:, None] == 0, upper, lower)
    return points + 0.1 * torch.randn(count, 2, generator=generator), side


def job() -> orebit.Training:
    """Two workers, averaged twice, with Nesterov momentum and a learning rate that falls by the round."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))
    return orebit.Training(
        model=model,
        loss=nn.CrossEntropyLoss(),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-4),
        schedule=lambda round_number: {"lr": 0.05 / (1 + round_number)},
        data=moons(1_000, seed=1),
        held_out=moons(400, seed=2),
        batch_size=50,
        steps=100,
        shards=2,
        rounds=2,
    )
