"""Circular padding while a step is traced: slices joined, instead of copies into parts of an empty tensor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class CircularPadding(TorchFunctionMode):
    """Replaces `torch.nn.functional.pad(..., mode="circular")`, whose backward pass reinterprets strides; all else, and
    what torch itself refuses, stays torch's."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.pad and _mode(*args, **kwargs) == "circular":
            joined = _joined(*args, **kwargs)
            if joined is not None:
                return joined
        return func(*args, **kwargs)


def _mode(input: torch.Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> str:
    return mode


def _joined(input: torch.Tensor, pad: Sequence[int], mode: str, value: float | None = None) -> torch.Tensor | None:
    """The padded tensor, or None where a pad is negative or longer than its axis."""
    pairs = [(-1 - k, pad[2 * k], pad[2 * k + 1]) for k in range(len(pad) // 2)]
    if len(pad) % 2 or any(not 0 <= count <= input.shape[dim] for dim, *counts in pairs for count in counts):
        return None
    for dim, before, after in pairs:
        extent = input.shape[dim]
        parts = [(extent - before, before), (0, extent), (0, after)]
        input = torch.cat([input.narrow(dim, start, length) for start, length in parts if length], dim)
    return input
