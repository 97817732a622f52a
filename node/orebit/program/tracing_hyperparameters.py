"""Where a step's hyper-parameters are held: in optimizers' groups, and in what a user's function closes over.

While a step is traced, every non-zero float there is a TracedFloat. A hyper-parameter that is zero stays a literal:
optimizers branch on it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import CellType, FunctionType, MethodType
from typing import Any

import torch

from orebit.program.tracing_functions import traced_functions
from orebit.program.tracing_scalars import ScalarTable, Setting

# Written as integers, these still are numbers that a search may change.
NUMERIC_KEYS = ("lr", "momentum", "dampening", "weight_decay")


@dataclass(frozen=True)
class Place:
    """One Python variable that holds a float, or a tuple of them."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], None]
    integers: bool = False

    def numbers(self) -> list[tuple[str, float]]:
        """The numbers held, by name: `betas.0` for the first of a tuple."""
        return _floats(self.name, self.read(), self.integers)


def group_places(optimizers: Mapping[str, torch.optim.Optimizer]) -> Iterator[Place]:
    """What the groups of optimizers hold: `lr`; `group1.lr` from the second group on; `name.lr` of a named one."""
    for name, optimizer in optimizers.items():
        for number, group in enumerate(optimizer.param_groups):
            prefix = (f"{name}." if name else "") + (f"group{number}." if number else "")
            for key in group:
                # A count in a tensor is state.
                counts = key == "step" and isinstance(group[key], torch.Tensor)
                if key not in ("params", "initial_lr") and not counts:
                    yield _entry(prefix + key, group, key, key in NUMERIC_KEYS)


def function_places(function: Callable[..., Any], keywords: MutableMapping[str, Any]) -> Iterator[Place]:
    """The floats that a function takes by keyword (`keywords`), closes over, or reads from its module."""
    for key in keywords:
        yield _entry(key, keywords, key, False)
    seen = set(keywords)
    for name, read, write in variables(function):
        if name not in seen and type(read()) is float:
            seen.add(name)
            yield Place(name, read, write)


def _entry(name: str, holder: MutableMapping[str, Any], key: str, integers: bool) -> Place:
    return Place(name, lambda: holder[key], lambda value: holder.__setitem__(key, value), integers)


def variables(function: Callable[..., Any]) -> Iterator[tuple[str, Callable[[], Any], Callable[[Any], None]]]:
    """The variables that a function finds outside itself, each with how to read and how to write it: attributes of the
    object that it is a method of, those of enclosing functions, and those of its module."""
    while isinstance(function, functools.partial):
        function = function.func
    if isinstance(function, MethodType):
        yield from _attributes(function.__self__)
        function = function.__func__
    elif not isinstance(function, FunctionType | torch.nn.Module):
        yield from _attributes(function)
        function = type(function).__call__
    if not isinstance(function, FunctionType):
        return
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        if _is_filled(cell):
            yield name, functools.partial(getattr, cell, "cell_contents"), functools.partial(_fill, cell)
    for name in function.__code__.co_names:
        if name in function.__globals__:
            yield name, *_item(function.__globals__, name)


def _attributes(owner: Any) -> Iterator[tuple[str, Callable[[], Any], Callable[[Any], None]]]:
    for name in list(getattr(owner, "__dict__", {})):
        yield name, *_item(owner.__dict__, name)


def _item(holder: MutableMapping[str, Any], key: str) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    return lambda: holder[key], lambda value: holder.__setitem__(key, value)


def _is_filled(cell: CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:  # a variable that is assigned later
        return False


def _fill(cell: CellType, value: Any) -> None:
    cell.cell_contents = value


def hyperparameters(places: list[Place]) -> dict[str, float]:
    """The non-zero floats of all places, by name; of two with one name the first."""
    found: dict[str, float] = {}
    for place in places:
        for name, number in place.numbers():
            found.setdefault(name, number)
    return found


@contextmanager
def installed(places: list[Place], table: ScalarTable, scheduled: Mapping[str, float], trial: int) -> Iterator[None]:
    """Puts TracedFloats in all places for the while; `trial` picks values that no other trial has.

    Args:
        places: where.
        table: receives the formulas; its settings name the hyper-parameters.
        scheduled: names of those that change from step to step, with a value, not zero, that they have in some step.
        trial: 0 to 15.
    """
    order = {name: number for number, name in enumerate(table.settings)}
    before = [place.read() for place in places]

    def traced(name: str, setting: Any, integers: bool) -> Any:
        if isinstance(setting, tuple | list):
            return type(setting)(traced(f"{name}.{k}", part, integers) for k, part in enumerate(setting))
        number = scheduled.get(name, _number(setting, integers))
        if name not in order or not number:
            return setting
        return table.leaf(Setting(name, name in scheduled), number, trial, order[name])

    try:
        for place, setting in zip(places, before, strict=True):
            place.write(traced(place.name, setting, place.integers))
        with traced_functions():
            yield
    finally:
        for place, setting in zip(places, before, strict=True):
            place.write(setting)


def _floats(name: str, setting: Any, integers: bool) -> list[tuple[str, float]]:
    if isinstance(setting, tuple | list):
        return [pair for k, part in enumerate(setting) for pair in _floats(f"{name}.{k}", part, integers)]
    number = _number(setting, integers)
    return [(name, number)] if number else []


def _number(setting: Any, integers: bool) -> float | None:
    if isinstance(setting, torch.Tensor):
        return float(setting) if setting.dim() == 0 and not setting.requires_grad else None
    if isinstance(setting, bool) or not isinstance(setting, float | int):
        return None
    return float(setting) if isinstance(setting, float) or integers else None
