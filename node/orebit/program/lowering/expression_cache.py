"""Expressions made once: the same function over the same types and numbers gives the same expression.

A step of a recurrence that is unrolled a thousand times asks for its few expressions a thousand times.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from enum import Enum
from functools import partial
from types import FunctionType
from typing import Any

from orebit.program.expression import Expression

MOST = 4096
_known: dict[Hashable, Expression] = {}


class _Unknown(Exception):
    """Something in a function of which it cannot be told whether it is the same again."""


def remembered(
    function: Callable[..., Any], arguments: Sequence[Any], context: Hashable, make: Callable[[], Expression]
) -> Expression:
    """What `make` returns, made only once for equal functions, arguments and context.

    Args:
        function: equal to another if its code is the same and all that it closes over is equal.
        arguments: numbers, or types of operands.
    """
    try:
        key = _of(function), tuple([_of(argument) for argument in arguments]), context
    except _Unknown:
        return make()
    found = _known.get(key)
    if found is None:
        found = make()
        if len(_known) >= MOST:
            _known.clear()
        _known[key] = found
    return found


def _of(thing: Any) -> Hashable:
    """What tells a value from every other: numbers by type too, since 0, 0.0, -0.0 and False are equal."""
    kind = type(thing)
    if kind is FunctionType:
        cells = () if thing.__closure__ is None else tuple([_of(cell.cell_contents) for cell in thing.__closure__])
        keywords = tuple((name, _of(value)) for name, value in (thing.__kwdefaults__ or {}).items())
        return thing.__code__, cells, tuple([_of(value) for value in thing.__defaults__ or ()]), keywords
    if kind is float:
        return kind, thing.hex()
    if kind in (int, bool, str, type(None)):
        return kind, thing
    if kind is tuple:
        return kind, tuple([_of(part) for part in thing])
    if isinstance(thing, Enum):
        return kind, thing
    if kind is partial:
        named = tuple((name, _of(value)) for name, value in thing.keywords.items())
        return kind, _of(thing.func), tuple([_of(value) for value in thing.args]), named
    settings = getattr(kind, "expression_settings", None)
    if settings is None:
        raise _Unknown
    return kind, settings(thing)
