"""Everything that tracing touches, kept and put back."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch


@contextmanager
def restored(model: torch.nn.Module, optimizers: Mapping[str, torch.optim.Optimizer]) -> Iterator[None]:
    """Puts back parameters, gradients, buffers, modules' attributes and modes, optimizers' state and settings, and all
    random generators."""
    tensors = [*model.parameters(), *model.buffers()]
    buffers = [(module, dict(module._buffers)) for module in model.modules()]
    values = [tensor.detach().clone() for tensor in tensors]
    gradients = [tensor.grad for tensor in tensors]
    attributes = [(module, _own_attributes(module)) for module in model.modules()]
    randomness = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        with ExitStack() as states:
            for optimizer in optimizers.values():
                states.enter_context(_restored_optimizer(optimizer))
            yield
    finally:
        for module, held in buffers:
            module._buffers.update(held)
        copy_into(tensors, values)
        for tensor, gradient in zip(tensors, gradients, strict=True):
            tensor.grad = gradient
        for module, attributes_before in attributes:
            for name in _own_attributes(module).keys() - attributes_before.keys():
                del module.__dict__[name]
            module.__dict__.update(attributes_before)
        random.setstate(randomness[0])
        np.random.set_state(randomness[1])
        torch.set_rng_state(randomness[2])


def _own_attributes(module: torch.nn.Module) -> dict[str, Any]:
    return {name: value for name, value in module.__dict__.items() if not name.startswith("_")}


@contextmanager
def _restored_optimizer(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    settings = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    defaults = dict(optimizer.defaults)
    state = {key: _copied(value) for key, value in optimizer.state.items()}
    try:
        yield
    finally:
        for group, setting in zip(optimizer.param_groups, settings, strict=True):
            for key in group.keys() - setting.keys() - {"params"}:
                del group[key]
            group.update(setting)
        optimizer.defaults.clear()
        optimizer.defaults.update(defaults)
        optimizer.state.clear()
        optimizer.state.update(state)


def _copied(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value.clone() if isinstance(value, torch.Tensor) else value for key, value in entry.items()}


def copy_into(tensors: list[torch.Tensor], values: list[torch.Tensor]) -> None:
    """Overwrites tensors in place, outside autograd."""
    with torch.no_grad():
        for tensor, value in zip(tensors, values, strict=True):
            tensor.copy_(value)


def seed_everything(python: int, numpy: int, torch_seed: int) -> None:
    """Seeds the three global generators."""
    random.seed(python)
    np.random.seed(numpy)
    torch.manual_seed(torch_seed)


@contextmanager
def quiet() -> Iterator[None]:
    """Without warnings: torch's about tracing are for its own developers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
