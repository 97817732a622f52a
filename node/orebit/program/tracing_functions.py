"""Functions of Python's and numpy's over traced numbers: while a step is traced, `math.sqrt(1 - beta ** step)` or
`min(step / 100, 1.0)` is a formula like any other."""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import reduce
from typing import Any
from unittest.mock import patch

from orebit.program.tracing_scalars import TracedFloat, applied

OF_ONE = ("sqrt", "exp", "log", "cos", "sin", "tanh")


@contextmanager
def traced_functions() -> Iterator[None]:
    """`math`'s functions, `max` and `min` remember what they are given. What was imported by name before does not; the
    number that it makes differs from trace to trace, and is refused as such."""
    with ExitStack() as patches:
        for name in OF_ONE:
            patches.enter_context(patch.object(math, name, _of_one(name, getattr(math, name))))
        patches.enter_context(patch.object(math, "pow", _power(math.pow)))
        for name in ("max", "min"):
            patches.enter_context(patch.object(builtins, name, _extreme(name, getattr(builtins, name))))
        yield


def _of_one(name: str, original: Callable[..., float]) -> Callable[..., float]:
    def function(*arguments: Any) -> float:
        traced = len(arguments) == 1 and isinstance(arguments[0], TracedFloat)
        return applied(name, arguments[0]) if traced else original(*arguments)

    return function


def _power(original: Callable[..., float]) -> Callable[..., Any]:
    def function(base: Any, exponent: Any) -> Any:
        traced = isinstance(base, TracedFloat) or isinstance(exponent, TracedFloat)
        return base**exponent if traced else original(base, exponent)

    return function


def _extreme(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    def function(*arguments: Any, **named: Any) -> Any:
        if not named:
            given = arguments if len(arguments) != 1 else tuple(arguments[0])
            if _is_traced(given):
                return reduce(lambda a, b: applied(name, a, b) if _is_traced((a, b)) else original(a, b), given)
            if len(arguments) == 1:
                return original(given)
        return original(*arguments, **named)

    return function


def _is_traced(given: tuple[Any, ...]) -> bool:
    """Whether these are numbers, and one that changes from step to step or is read; what is the same in all steps is
    compared, and held to that."""
    if not any(isinstance(number, TracedFloat) and _changes(number) for number in given):
        return False
    return all(isinstance(number, float | int) for number in given)


def _changes(number: TracedFloat) -> bool:
    return number.formula.changes or number.formula.reads
