"""The executors of this machine, for tests that every executor must pass."""

from __future__ import annotations

import pytest

from orebit.executor.conformance import Factory
from orebit.executor.hardware import EXECUTORS
from orebit.executor.selection import Unavailable, load


def factory_of(name: str) -> Factory:
    """The executor of this name; the test is skipped, saying why, where this machine lacks it."""
    try:
        return load(name)
    except Unavailable as reason:
        pytest.skip(str(reason))


every_executor = pytest.mark.parametrize("executor", EXECUTORS)
