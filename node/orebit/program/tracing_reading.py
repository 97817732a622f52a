"""What Python reads out of tensors while a step is traced (`.item()`): a count of steps, a value that stays in the
graph, or a constant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import isfinite
from typing import Any
from unittest.mock import patch

import torch
from torch.fx.experimental.proxy_tensor import get_proxy_mode, get_proxy_slot

from orebit.program.tracing_randomness import site_of
from orebit.program.tracing_scalars import Clock, Read, ScalarTable, TracedFloat

# Places of leaves: hyper-parameters first, then as many clocks, then reads.
MOST_CLOCKS = 64


class Origins:
    """Tells tensors that depend on a step's inputs or on chance from those that are the same in every step."""

    def __init__(self) -> None:
        self._known: dict[Any, bool] = {}

    def vary(self, tensor: torch.Tensor) -> bool:
        """Whether `tensor`, met while a graph is recorded, may differ from step to step."""
        mode = get_proxy_mode()
        slot: Any = None if mode is None else get_proxy_slot(tensor, mode.tracer, None)
        return False if slot is None else self._node_varies(slot.proxy.node)

    def _node_varies(self, node: Any) -> bool:
        pending = [node]
        while pending:
            latest = pending[-1]
            unknown = [source for source in latest.all_input_nodes if source not in self._known]
            if latest in self._known or not unknown:
                pending.pop()
                own = latest.op == "placeholder" or site_of(latest) is not None
                self._known[latest] = own or any(self._known[source] for source in latest.all_input_nodes)
            else:
                pending += unknown
        return self._known[node]


@dataclass
class Reader:
    """Answers `.item()` in one trial.

    Args:
        table: receives the formulas.
        trial: 0 to 15.
        clocks: of each tensor that counts steps, by identity: its value before the step, and how much more each step.
    """

    table: ScalarTable
    trial: int
    clocks: Mapping[int, Clock]
    origins: Origins = field(default_factory=Origins)
    _met: list[Clock] = field(default_factory=list)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """`.item()` asks this reader."""
        original = torch.Tensor.item

        def item(tensor: torch.Tensor) -> Any:
            clock = self.clocks.get(id(tensor))
            if clock is not None:
                return self.clock(Clock(_value(tensor), clock.stride))
            if tensor.is_floating_point() and tensor.numel() == 1 and self.origins.vary(tensor):
                return self._read(tensor)
            return original(tensor)

        with patch.object(torch.Tensor, "item", item):
            yield

    def clock(self, clock: Clock) -> TracedFloat:
        """A traced count of steps."""
        if clock not in self._met:
            self._met.append(clock)
        # Any value does that no literal has; counts are compared nowhere.
        return self.table.leaf(clock, 8.0, self.trial, len(self.table.settings) + self._met.index(clock))

    def _read(self, tensor: torch.Tensor) -> TracedFloat:
        value, number = _value(tensor), len(self.table.reads)
        # A copy: what is read must not change when the tensor does.
        self.table.reads.append(tensor.detach().reshape(()).to(torch.float32, copy=True))
        place = len(self.table.settings) + MOST_CLOCKS + number
        return self.table.leaf(Read(number), value if value and isfinite(value) else 1.0, self.trial, place)


def _value(tensor: torch.Tensor) -> float:
    """A tensor's own value; numpy reads it beside all dispatch."""
    return float(tensor.detach().numpy().reshape(())[()])
