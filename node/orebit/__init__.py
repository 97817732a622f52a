"""Orebit: a knowledge-mining market on Ethereum.

`Training` says what to train, `submit` has it trained, `audit` checks a task. They are imported when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from orebit.errors import OrebitError

if TYPE_CHECKING:
    from orebit.strategy.api import Trained, audit, submit
    from orebit.strategy.training import Training

__all__ = ["OrebitError", "Trained", "Training", "audit", "submit"]

_PLACES = {
    "Trained": "orebit.strategy.api",
    "Training": "orebit.strategy.training",
    "audit": "orebit.strategy.api",
    "submit": "orebit.strategy.api",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
