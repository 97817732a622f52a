"""What keeps a job moving besides results: calls for replication, ends of overdue leases, closing what is unwanted."""

from __future__ import annotations

import time

from orebit.chain.types import Block, LeaseId
from orebit.strategy import calls
from orebit.strategy.exits import exit_calls, overdue_leases
from orebit.strategy.jobview import JobView
from orebit.strategy.journal import Kind
from orebit.strategy.requester import Requester

EXIT_SECONDS = 5.0
"""How often overdue leases are looked for."""
REPEAT_SECONDS = 60.0
"""An exit that was sent is not sent again for this long."""


class Tender:
    """Sends a job's small transactions, several in one multicall; none of them must succeed."""

    def __init__(self, requester: Requester, call_probability: float) -> None:
        self._requester = requester
        self._call = call_probability
        self._exits_at = 0.0
        self._ended: dict[LeaseId, float] = {}

    async def tend(self, view: JobView, head: Block) -> None:
        """One look. Raises ChainError when the chain cannot be reached."""
        market = self._requester.market
        requests = self._calls(view, head)
        requests += [market.encode_close(batch.id) for batch in view.unwanted()]
        if time.monotonic() >= self._exits_at:
            self._exits_at = time.monotonic() + EXIT_SECONDS
            requests += await self._exits(view, head)
        if requests:
            await self._requester.sender.multicall(requests, must=0, label="tending the job")

    def _calls(self, view: JobView, head: Block) -> list[bytes]:
        if not self._call:
            return []
        terms, journal = view.terms[Kind.TRAINING], self._requester.journal
        leases = view.live(Kind.TRAINING)
        group = calls.untossed(leases, journal.coins(view.job), terms, head.number)
        if group:
            journal.toss(view.job, group, calls.toss(self._call))
        wanted = calls.callable_now(leases, journal.coins(view.job), terms, head.number)
        return [self._requester.market.encode_call(lease) for lease in wanted]

    async def _exits(self, view: JobView, head: Block) -> list[bytes]:
        now = time.monotonic()
        found = []
        for kind in Kind:
            overdue = await overdue_leases(self._requester.market, view.live(kind), view.terms[kind], head)
            found += [pair for pair in overdue if now - self._ended.get(pair[0], -REPEAT_SECONDS) >= REPEAT_SECONDS]
        self._ended.update((lease, now) for lease, _ in found)
        return exit_calls(self._requester.market, found)
