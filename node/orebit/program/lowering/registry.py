"""Which function lowers which aten operation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from torch._ops import OpOverload

Function = TypeVar("Function", bound=Callable[..., Any])
LOWERINGS: dict[OpOverload, Callable[..., Any]] = {}


def lowers(*operations: OpOverload) -> Callable[[Function], Function]:
    """Registers a function for operations of one signature. It takes the Lowering, then the operation's arguments:
    a Tensor for a tensor and for a traced scalar, numbers and lists as they are."""

    def register(function: Function) -> Function:
        for operation in operations:
            if operation in LOWERINGS:
                raise ValueError(f"{operation} already has a lowering")
            LOWERINGS[operation] = function
        return function

    return register


def supported() -> Iterator[str]:
    """Names of the operations with a lowering, sorted."""
    yield from sorted(str(operation) for operation in LOWERINGS)
