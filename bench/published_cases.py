"""What bench/published.py tries: trainings of published models, by package."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Fields = dict[str, Any]
ROWS, BATCH = 8, 4
MODULES = ("vision", "language", "generative", "sequences", "optimizers", "scripts")


@dataclass(frozen=True)
class Case:
    """A training by the name of its package; `make` gives the fields of an orebit.Training."""

    package: str
    name: str
    make: Callable[[], Fields]


CASES: list[Case] = []


def load() -> None:
    """Fills CASES."""
    for name in MODULES:
        importlib.import_module(f"published_{name}")


def published(package: str, name: str) -> Callable[[Callable[[], Fields]], Callable[[], Fields]]:
    """Registers a case."""

    def register(make: Callable[[], Fields]) -> Callable[[], Fields]:
        CASES.append(Case(package, name, make))
        return make

    return register


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.01)


def adamw(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=1e-3)


def images(size: int = 32, channels: int = 3, rows: int = ROWS) -> Tensor:
    return torch.randn(rows, channels, size, size, generator=torch.Generator().manual_seed(1))


def numbers(*shape: int, rows: int = ROWS) -> Tensor:
    return torch.randn(rows, *shape, generator=torch.Generator().manual_seed(2))


def classes(count: int = 10, *shape: int, rows: int = ROWS) -> Tensor:
    return torch.randint(0, count, (rows, *shape), generator=torch.Generator().manual_seed(3))


def supervised(
    model: Any, x: Tensor, y: Tensor, loss: Any = functional.cross_entropy, optimizer: Any = sgd, batch: int = BATCH
) -> Fields:
    """An ordinary training."""
    return {"model": model, "loss": loss, "optimizer": optimizer, "data": (x, y), "batch_size": batch}


def stepped(model: Any, optimizer: Any, step: Callable[..., Any], *data: Tensor, batch: int = BATCH) -> Fields:
    """A training with a step of its own."""
    return {"model": model, "optimizer": optimizer, "step": step, "data": data, "batch_size": batch}


def own_loss(
    model: Any, loss: Callable[..., Any], *data: Tensor, optimizer: Any = adamw, batch: int = BATCH, held: Any = None
) -> Fields:
    """The usual step around a loss that a model computes itself, `held` being all that is held beside it."""
    made = optimizer(model.parameters())

    def step(*rows: Tensor) -> Tensor:
        made.zero_grad()
        value: Tensor = loss(*rows)
        torch.autograd.backward(value)
        made.step()
        return value

    return stepped(model if held is None else held, made, step, *data, batch=batch)
