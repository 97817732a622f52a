"""One transaction a cycle: what the node wants to do now, tried first, journalled, sent as one `multicall`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from orebit.chain import events
from orebit.chain.connection import Connection
from orebit.chain.market import Market
from orebit.chain.revert import decode_revert, describe
from orebit.chain.sender import Sender
from orebit.chain.types import LeaseId
from orebit.daemon.journal import Journal
from orebit.errors import TransactionReverted

log = structlog.get_logger(__name__)

MOST_CALLS = 24
"""Calls of one multicall, so that it fits a transaction's gas; the rest goes with the next cycle."""

DONE = "done"


@dataclass(frozen=True)
class Act:
    """A call of the market: what it does, for which leases, and its calldata."""

    kind: str
    leases: tuple[LeaseId, ...]
    calldata: bytes


class Dispatch:
    """Sends a cycle's acts. Raises ChainError when no endpoint answers, AccountError when gas cannot be paid."""

    def __init__(self, connection: Connection, market: Market, sender: Sender, journal: Journal) -> None:
        self._connection = connection
        self._market = market
        self._sender = sender
        self._journal = journal

    async def send(self, acts: Sequence[Act]) -> list[Act]:
        """Sends those acts that would succeed now, most urgent first; returns those that did.

        No call of several is a must: whatever others did first, the rest of the cycle goes on. A lone call is one, so
        that its reason for failing is known before gas is spent.
        """
        wanted = [act for act, good in zip(acts, await asyncio.gather(*map(self._try, acts)), strict=True) if good]
        wanted = wanted[:MOST_CALLS]
        if not wanted:
            return []
        numbers = [self._journal.record_acts((act.kind, lease) for lease in act.leases) for act in wanted]
        label = ", ".join(f"{act.kind} {' '.join(map(str, act.leases))}".strip() for act in wanted)
        try:
            receipt = await self._sender.multicall(
                [act.calldata for act in wanted], must=1 if len(wanted) == 1 else 0, label=label
            )
        except TransactionReverted as error:
            self._journal.settle_acts([number for group in numbers for number in group], str(error))
            # Two nodes that ask for the same grains in one block are nothing to worry about.
            tell = log.info if {act.kind for act in wanted} <= {"lease", "take"} else log.warning
            tell("transaction refused", acts=label, reason=str(error))
            return []
        failed = {event.index: event.reason for event in receipt.events if isinstance(event, events.CallFailed)}
        for index, (act, group) in enumerate(zip(wanted, numbers, strict=True)):
            outcome = describe(*decode_revert(failed[index])) if index in failed else DONE
            self._journal.settle_acts(group, outcome)
            if index in failed:
                log.warning("call failed", act=act.kind, leases=[*map(str, act.leases)], reason=outcome)
        log.info("sent", acts=label, block=receipt.block, gas=receipt.gas_used)
        return [act for index, act in enumerate(wanted) if index not in failed]

    async def _try(self, act: Act) -> bool:
        try:
            await self._connection.call(self._market.address, act.calldata, sender=self._sender.address, what=act.kind)
        except TransactionReverted as error:
            log.info("not now", act=act.kind, leases=[*map(str, act.leases)], reason=str(error))
            return False
        return True
