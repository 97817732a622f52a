"""Python state beside tensors: numbers and tensors that modules, other objects and functions keep between calls."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler

from orebit.errors import TraceError
from orebit.program.tracing_hyperparameters import variables

Kept = Mapping[str, tuple[str, Any]]
"""What is kept by name: its kind, `number` or `tensor`, and what tells two values apart."""


def kept(model: torch.nn.Module, function: Callable[..., Any] | None) -> Kept:
    """Numbers and tensors, neither parameters nor buffers, that modules and a user's function keep between calls."""
    found: dict[str, tuple[str, Any]] = {}
    for path, module in model.named_modules():
        for key, value in module.__dict__.items():
            if not key.startswith("_"):
                _note(found, f"the attribute '{key}' of {_module(path, module)}", value)
    for name, read, _ in () if function is None else variables(function):
        _note(found, f"the variable '{name}'", read())
    return found


def _module(path: str, module: torch.nn.Module) -> str:
    return f"module '{path}' ({type(module).__name__})" if path else f"the model ({type(module).__name__})"


def _note(found: dict[str, tuple[str, Any]], name: str, value: Any) -> None:
    if type(value) in (int, float):
        found[name] = "number", value
    elif isinstance(value, torch.Tensor):
        found[name] = "tensor", digest(value)
    elif isinstance(value, tuple | list) and len(value) < 100:
        for place, element in enumerate(value):
            if isinstance(element, torch.Tensor):
                found[f"{name}, place {place}"] = "tensor", digest(element)


def digest(tensor: torch.Tensor) -> bytes:
    """Tells tensors apart by type, shape and bytes."""
    bare = tensor.detach().contiguous().reshape(-1).view(torch.uint8) if tensor.numel() else tensor.detach()
    head = f"{tensor.dtype}{tuple(tensor.shape)}".encode()
    return hashlib.blake2b(head + bare.numpy().tobytes()).digest()


def refuse_counters(before: Kept, after: Kept, source: str) -> None:
    """Raises:
    TraceError: when a Python number has changed in a step.
    """
    for name, (kind, value) in before.items():
        if kind == "number" and after.get(name, (kind, value)) != (kind, value):
            raise TraceError(
                f"{name} is a Python number that changes while the step at {source} runs ({value!r} became"
                f" {after[name][1]!r}), and a program has only tensors: make it a buffer"
                " (register_buffer with a tensor, then add_(1)), leave it out of the step, or, where a schedule counts"
                " with it, give the schedule as `scheduler`, a function of the step"
            )


def changed_tensors(before: Kept, after: Kept) -> list[str]:
    """Names of kept tensors that are others, or new."""
    return [name for name, entry in after.items() if entry[0] == "tensor" and before.get(name) != entry]


@dataclass(frozen=True)
class Counter:
    """A number that an object, no module, keeps as an attribute: where, and what it was."""

    name: str
    holder: dict[str, Any]
    key: str
    value: float


# Multiples of all that steps are counted by, far beyond any warm-up, and their predecessor.
PROBES = (7_207_200_000, 7_207_199_999)
DEPTH = 3


def counters(function: Callable[..., Any] | None, optimizers: Iterable[torch.optim.Optimizer]) -> list[Counter]:
    """The numbers kept by optimizers, and by objects that a user's function finds outside itself."""
    found: list[Counter] = []
    seen: set[int] = set()
    for optimizer in optimizers:
        _note_numbers(found, type(optimizer).__name__, optimizer, seen, 1)
    for name, read, _ in () if function is None else variables(function):
        value = read()
        for place, part in enumerate(value) if isinstance(value, list | tuple) else [(None, value)]:
            _note_numbers(found, name if place is None else f"{name}[{place}]", part, seen, DEPTH)
    return found


def _note_numbers(found: list[Counter], name: str, owner: Any, seen: set[int], depth: int) -> None:
    held = getattr(owner, "__dict__", None)
    if not isinstance(held, dict) or id(owner) in seen or not depth or isinstance(owner, OTHERS):
        return
    seen.add(id(owner))
    for key, value in held.items():
        if type(value) in (int, float) and not key.startswith("_"):
            found.append(Counter(f"'{name}.{key}'", held, key, value))
        else:
            _note_numbers(found, f"{name}.{key}", value, seen, depth - 1)


# Modules are watched by themselves, schedulers are played.
OTHERS = (torch.nn.Module, LRScheduler, type, ModuleType, FunctionType, MethodType, torch.Tensor)


def moved(before: list[Counter]) -> list[Counter]:
    """Those of which the number is another now."""
    return [one for one in before if _is_other(one.holder.get(one.key), one.value)]


def _is_other(now: Any, value: float) -> bool:
    # What was read out of a tensor while tracing cannot be compared.
    return type(now) not in (int, float) or bool(now != value)


@contextmanager
def put_back(before: list[Counter]) -> Iterator[None]:
    """Afterwards all are as they were."""
    try:
        yield
    finally:
        for one in before:
            one.holder[one.key] = one.value
