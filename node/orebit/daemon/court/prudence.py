"""Whether this machine could keep the court's clock about a shard: four times over, by measurement, before it leases,
replicates or challenges."""

from __future__ import annotations

import asyncio

from orebit.chain.types import DEADLINE_BLOCKS, Terms
from orebit.daemon.inputs import Inputs
from orebit.daemon.view import View
from orebit.dispute import Inputs as Tensors
from orebit.dispute import MoveCost, measure
from orebit.dispute.cost import MARGIN
from orebit.store import PlanShard


class Prudence:
    """Measures each program once."""

    def __init__(self, inputs: Inputs, view: View, threads: int) -> None:
        self._inputs = inputs
        self._view = view
        self._threads = threads or 1
        self._costs: dict[bytes, MoveCost] = {}

    async def objection(self, plan_root: bytes, first: int, count: int, terms: Terms) -> str | None:
        """Why shards [first, first + count) of a fetched plan could not be defended here; None where they could.

        Raises ExecutionError where a step does not fit this machine.
        """
        allowed = max(terms.move_time, DEADLINE_BLOCKS * await self._view.block_seconds())
        entries = self._inputs.plan(plan_root).shards[first : first + count]
        for entry in {(entry.program, entry.interval): entry for entry in entries}.values():
            cost = await asyncio.to_thread(self._cost, entry)
            seconds = cost.seconds(entry.interval)
            if MARGIN * seconds > allowed:
                del self._costs[entry.program]  # what was slow while this machine was busy need not be slow for ever
                return (
                    f"a move of the court about it could take {seconds:.1f} s here, and {MARGIN} times that must fit "
                    f"the {allowed:.0f} s allowed"
                )
        return None

    def _cost(self, entry: PlanShard) -> MoveCost:
        known = self._costs.get(entry.program)
        if known is None:
            tensors = Tensors(
                self._inputs.program(entry.program),
                self._inputs.tensors(entry.constants),
                self._inputs.tensors(entry.state),
                self._inputs.tensors(entry.parameters),
            )
            known = measure(tensors, self._inputs.seconds_a_step(entry), threads=self._threads)
            self._costs[entry.program] = known
        return known
