"""Hyper-parameters as traced scalars: floats that remember how they were computed.

While a step is traced, every non-zero float of the optimizer's groups is a `TracedFloat` with a value of its own, close
to the true one. What the optimizer derives from it (`-lr`, `1 - lr * decay`) is a TracedFloat too. The graph only keeps
plain numbers, but a number's bits then say which expression made it. A hyper-parameter that is zero stays a literal:
optimizers branch on it.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

Compute = Callable[[Mapping[str, float]], float]
# How far apart the values of different traces and hyper-parameters lie, relative to the true value.
SPACING = 2.0**-30
# Written as integers, these still are numbers that a search may change.
NUMERIC_KEYS = ("lr", "momentum", "dampening", "weight_decay")


@dataclass
class ScalarTable:
    """The scalars of one trace, by their bits."""

    formulas: dict[bytes, str] = field(default_factory=dict)
    computes: dict[str, Compute] = field(default_factory=dict)

    def formula(self, number: object) -> str | None:
        """The expression that made this number, or None."""
        return self.formulas.get(_bits(number)) if isinstance(number, float) else None


class TracedFloat(float):
    """A float that registers itself, and what is computed from it, in a table."""

    formula: str
    compute: Compute
    table: ScalarTable

    @classmethod
    def make(cls, number: float, formula: str, compute: Compute, table: ScalarTable) -> TracedFloat:
        self = cls(number)
        self.formula, self.compute, self.table = formula, compute, table
        table.formulas.setdefault(_bits(self), formula)
        table.computes.setdefault(formula, compute)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> TracedFloat:
        return self

    def __neg__(self) -> float:
        compute = self.compute
        return TracedFloat.make(-float(self), f"-{self.formula}", lambda values: -compute(values), self.table)


def _binary(name: str, symbol: str) -> None:
    function = getattr(operator, name)

    def forward(self: TracedFloat, other: object) -> object:
        return _combine(function, symbol, self, other, self.table)

    def reflected(self: TracedFloat, other: object) -> object:
        return _combine(function, symbol, other, self, self.table)

    setattr(TracedFloat, f"__{name}__", forward)
    setattr(TracedFloat, f"__r{name}__", reflected)


def _combine(
    function: Callable[[Any, Any], Any], symbol: str, left: object, right: object, table: ScalarTable
) -> object:
    if not isinstance(left, float | int) or not isinstance(right, float | int):
        return NotImplemented
    first, second = _compute_of(left), _compute_of(right)
    number = function(_plain(left), _plain(right))
    if not isinstance(number, float):
        return number
    formula = f"({_formula_of(left)} {symbol} {_formula_of(right)})"
    return TracedFloat.make(number, formula, lambda values: function(first(values), second(values)), table)


for _name, _symbol in (("add", "+"), ("sub", "-"), ("mul", "*"), ("truediv", "/"), ("pow", "**")):
    _binary(_name, _symbol)


def _plain(number: float | int) -> float | int:
    return float(number) if isinstance(number, TracedFloat) else number


def _compute_of(number: float | int) -> Compute:
    if isinstance(number, TracedFloat):
        return number.compute
    return lambda values: number


def _formula_of(number: float | int) -> str:
    return number.formula if isinstance(number, TracedFloat) else repr(number)


def _bits(number: float) -> bytes:
    return struct.pack("<d", float(number))


def _groups(optimizer: torch.optim.Optimizer | None) -> list[dict[str, Any]]:
    return [] if optimizer is None else optimizer.param_groups


def hyperparameters(optimizer: torch.optim.Optimizer | None) -> dict[str, float]:
    """The non-zero floats of an optimizer's groups, by name: `lr`, or `group1.lr` from the second group on."""
    found: dict[str, float] = {}
    for number, group in enumerate(_groups(optimizer)):
        prefix = f"group{number}." if number else ""
        for key, setting in group.items():
            if key == "params":
                continue
            for name, value in _floats(key, setting):
                found[prefix + name] = value
    return found


def install(optimizer: torch.optim.Optimizer | None, trial: int) -> ScalarTable:
    """Replaces every hyper-parameter by a TracedFloat; `trial` picks values that no other trial has."""
    table = ScalarTable()
    names = {name: position for position, name in enumerate(hyperparameters(optimizer))}
    for number, group in enumerate(_groups(optimizer)):
        prefix = f"group{number}." if number else ""
        for key, setting in list(group.items()):
            if key != "params" and _floats(key, setting):
                group[key] = _replace(prefix + key, setting, names, trial, table)
    return table


def _replace(name: str, setting: Any, names: Mapping[str, int], trial: int, table: ScalarTable) -> Any:
    if isinstance(setting, tuple | list):
        return type(setting)(_replace(f"{name}.{k}", element, names, trial, table) for k, element in enumerate(setting))
    number = _number(setting)
    if name not in names or number is None:
        return setting
    shift = 1.0 - SPACING * (1 + trial + 16 * names[name])
    return TracedFloat.make(number * shift, name, lambda values: values[name], table)


def _floats(key: str, setting: Any) -> list[tuple[str, float]]:
    if isinstance(setting, tuple | list):
        return [pair for k, element in enumerate(setting) for pair in _floats(f"{key}.{k}", element)]
    number = _number(setting, integers=key in NUMERIC_KEYS)
    return [] if not number else [(key, number)]


def _number(setting: Any, integers: bool = True) -> float | None:
    if isinstance(setting, torch.Tensor):
        return float(setting) if setting.dim() == 0 else None
    if isinstance(setting, bool) or not isinstance(setting, float | int):
        return None
    return float(setting) if isinstance(setting, float) or integers else None
