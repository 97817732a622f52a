"""Optimizers as they are traced: plain variants, the state they start from, and counts of steps.

What an optimizer derives from its count of steps alone is not computed in the graph: Python reads the count, and what
it computes from it becomes a formula of the step (`tracing_scalars`), tabulated in float64.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import torch
from torch.nn.utils import clip_grad
from torch.optim import _muon, asgd, radam, rprop

from orebit.errors import TraceError
from orebit.program import tracing_updates as updates

Optimizers = Mapping[str, torch.optim.Optimizer]
VARIANTS = ("foreach", "fused", "capturable")


def refuse_unsuitable(optimizers: Optimizers) -> None:
    """Raises:
    TraceError: for an optimizer that evaluates the loss as often as it likes, or takes sparse gradients.
    """
    for optimizer in optimizers.values():
        if isinstance(optimizer, torch.optim.LBFGS):
            raise TraceError(
                "torch.optim.LBFGS searches along a line, each time as long as it takes, and a program is the same in"
                " every step; use Adam or SGD, or the Sandblaster method, whose line search runs in the driver"
            )
        if isinstance(optimizer, torch.optim.SparseAdam):
            raise TraceError("torch.optim.SparseAdam takes sparse gradients, which programs have not; use Adam")


@contextmanager
def plain_variants(optimizers: Optimizers, written_out: bool = True) -> Iterator[None]:
    """Vendor and grouped variants off, no numbers below f32, and, where `written_out`, no branches on the step."""
    for optimizer in optimizers.values():
        for settings in [optimizer.defaults, *optimizer.param_groups]:
            settings.update({key: False for key in VARIANTS if key in settings})
    with ExitStack() as patches:
        patches.enter_context(patch.object(_muon, "_zeropower_via_newtonschulz", updates.orthogonalised))
        for name in ("_has_foreach_support", "_device_has_foreach_support"):
            patches.enter_context(patch.object(clip_grad, name, lambda *_, **__: False))
        if not written_out:
            yield
            return
        patches.enter_context(patch.object(radam, "_single_tensor_radam", updates.radam))
        patches.enter_context(patch.object(asgd, "_single_tensor_asgd", updates.asgd))
        patches.enter_context(patch.object(rprop, "_single_tensor_rprop", updates.rprop))
        yield


def undampened(optimizers: Optimizers) -> dict[tuple[str, int], dict[str, Any]]:
    """The groups, by optimizer and number, that have no dampening in their first step: torch leaves it out where there
    is no momentum to dampen yet."""
    return {
        (name, number): group
        for name, optimizer in optimizers.items()
        for number, group in enumerate(optimizer.param_groups)
        if isinstance(optimizer, torch.optim.SGD) and group["dampening"] and not optimizer.state
    }


@contextmanager
def first_step(groups: Iterable[dict[str, Any]]) -> Iterator[None]:
    """The settings of these undampened groups in their first step."""
    with ExitStack() as settings:
        for group in groups:
            settings.enter_context(patch.dict(group, dampening=0))
        yield


class _Noting(dict[str, Any]):
    """A parameter's state that notes the value with which each of its tensors was put there first."""

    def __init__(self, noted: Beginnings) -> None:
        super().__init__()
        self._noted = noted

    def __setitem__(self, key: str, value: Any) -> None:
        if isinstance(value, torch.Tensor) and key not in self:
            self._noted.values[id(value)] = value.detach().clone()
            if not self._noted.initialising:
                self._noted.keys[id(value)] = key
        super().__setitem__(key, value)

    def setdefault(self, key: str, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]

    def update(self, *others: Any, **named: Any) -> None:
        for key, value in dict(*others, **named).items():
            self[key] = value


@dataclass
class Beginnings:
    """The values with which optimizers made their state tensors, by identity, and the keys of those that were not put
    there by the method of torch's that initialises states."""

    values: dict[int, torch.Tensor] = field(default_factory=dict)
    keys: dict[int, str] = field(default_factory=dict)
    initialising: bool = False

    def of(self, tensor: torch.Tensor, model: Iterable[torch.Tensor]) -> torch.Tensor:
        """What a state tensor starts from: what it was made with, unless that may come from data, else zero.

        Args:
            tensor: of a state.
            model: the model's tensors as they were, with which a state may start.
        """
        start = self.values.get(id(tensor))
        known = start is not None and (id(tensor) not in self.keys or self._is_constant(id(tensor), start, model))
        return start.clone() if known and start is not None else torch.zeros_like(tensor)

    def _is_constant(self, place: int, start: torch.Tensor, model: Iterable[torch.Tensor]) -> bool:
        if any(start.shape == tensor.shape and torch.equal(start, tensor) for tensor in model):
            return True
        if not _is_uniform(start) or start.numel() > 1:
            return _is_uniform(start)
        alike = (self.values[other] for other, key in self.keys.items() if key == self.keys[place])
        number = float(start.reshape(()))
        return number.is_integer() or any(
            other.numel() > 1 and _is_uniform(other) and float(other.reshape(-1)[0]) == number for other in alike
        )


def _is_uniform(tensor: torch.Tensor) -> bool:
    return tensor.numel() > 0 and bool((tensor == tensor.reshape(-1)[0]).all())


@contextmanager
def beginnings(optimizers: Optimizers) -> Iterator[Beginnings]:
    """Watches optimizers as they make their state tensors."""
    found = Beginnings()
    with ExitStack() as watches:
        for optimizer in optimizers.values():
            watches.enter_context(_noting(optimizer, found))
            if hasattr(optimizer, "_init_group"):
                watches.enter_context(patch.object(optimizer, "_init_group", _watched(optimizer._init_group, found)))
        yield found


def _watched(original: Callable[..., Any], found: Beginnings) -> Callable[..., Any]:
    def initialise(*arguments: Any, **named: Any) -> Any:
        found.initialising = True
        try:
            return original(*arguments, **named)
        finally:
            found.initialising = False

    return initialise


@contextmanager
def _noting(optimizer: torch.optim.Optimizer, found: Beginnings) -> Iterator[None]:
    state = optimizer.state
    optimizer.state = defaultdict(lambda: _Noting(found), state)
    try:
        yield
    finally:
        state.clear()
        state.update(optimizer.state)
        optimizer.state = state


@dataclass
class Pins:
    """Keeps an optimizer's state in the tensors where it was first: what takes the place of one is copied into it."""

    tensors: dict[tuple[int, str], tuple[dict[str, Any], torch.Tensor]] = field(default_factory=dict)

    def hold(self, optimizers: Optimizers) -> None:
        """After every step."""
        for entry in _entries(optimizers):
            for key, value in entry.items():
                if isinstance(value, torch.Tensor):
                    held = self.tensors.setdefault((id(entry), key), (entry, value))[1]
                    if held is not value and held.shape == value.shape and held.dtype is value.dtype:
                        held.copy_(value.detach())
                        entry[key] = held


def _entries(optimizers: Optimizers) -> Iterator[dict[str, Any]]:
    """The states of parameters."""
    for optimizer in optimizers.values():
        yield from (entry for entry in optimizer.state.values() if isinstance(entry, dict))


def held_tensors(optimizers: Optimizers, names: Mapping[int, str]) -> dict[str, torch.Tensor]:
    """The optimizers' state tensors as `parameter.key`, with the optimizer's name before where two hold one parameter.

    Args:
        optimizers: by name.
        names: of parameters, by identity.
    """
    found: dict[str, torch.Tensor] = {}
    for label, optimizer in optimizers.items():
        for number, group in enumerate(optimizer.param_groups):
            if isinstance(group.get("step"), torch.Tensor):
                found[f"{label}.group{number}.step".lstrip(".")] = group["step"]
        for parameter, entry in optimizer.state.items():
            if not isinstance(entry, dict):
                raise TraceError(
                    f"{type(optimizer).__name__} keeps '{parameter}' beside the states of its parameters, where a"
                    " program cannot find it; keep it in a parameter's state, or take another optimizer"
                )
            for key, value in entry.items():
                if isinstance(value, torch.Tensor):
                    name = f"{names[id(parameter)]}.{key}"
                    found[f"{label}.{name}" if name in found else name] = value
    return found


def held_numbers(optimizers: Optimizers) -> list[tuple[dict[str, Any], str]]:
    """Where optimizers keep Python numbers, in their state or beside the settings of a group: a dictionary and a key
    each."""
    entries = list(_entries(optimizers))
    entries += [group for optimizer in optimizers.values() for group in optimizer.param_groups]
    return [(entry, key) for entry in entries for key, value in entry.items() if type(value) in (int, float)]
