"""Commitments that must be shown: this node shows its own when they are demanded, and demands what others withhold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from orebit.chain.court import NO_OPENING, Court
from orebit.chain.sender import Sender
from orebit.chain.types import CHECKPOINTS, DEADLINE_BLOCKS, DEMAND_PART, RESULTS, DemandItem, LeaseId
from orebit.commitment import ListKind, merkle
from orebit.daemon.config import AuditSettings
from orebit.daemon.court.docket import Docket, Summons
from orebit.daemon.court.proofs import Proofs
from orebit.daemon.decision import Clock
from orebit.daemon.journal import Journal, LeaseRecord
from orebit.daemon.view import View
from orebit.dispute import Opening
from orebit.dispute.moves import plain
from orebit.errors import OrebitError, TransactionReverted
from orebit.store import LocalStore

log = structlog.get_logger(__name__)

PART_LEVELS = 7


@dataclass
class Demands:
    """Answers, makes and ends demands."""

    docket: Docket
    journal: Journal
    court: Court
    proofs: Proofs
    store: LocalStore
    sender: Sender
    view: View
    settings: AuditSettings

    async def look(self) -> None:
        """One round over what is pending. Raises ChainError when no endpoint answers."""
        pending = self.docket.demands()
        if not pending:
            return
        clock = await self.view.clock()
        for summons in pending:
            try:
                if summons.own:
                    await self._end(summons, clock)
                else:
                    await self._answer(summons)
            except TransactionReverted as error:
                log.info("a demand needs nothing more", lease=str(summons.item.lease), reason=str(error))
            except OrebitError as error:
                log.warning("cannot answer a demand; trying again", lease=str(summons.item.lease), reason=str(error))

    # Of this node

    async def _answer(self, summons: Summons) -> None:
        item = summons.item
        record = next((each for each in self.journal.leases() if each.lease == item.lease), None)
        if record is None or self.docket.is_convicted(item.lease):
            return
        entries, path, result_path = self._shown(record, item)
        calldata = self.court.encode_answer_demand(item, entries, path, result_path)
        key = f"answer {summons.demand.hex()} {summons.block}"
        await self.sender.send(self.court.address, calldata, label=f"answer on lease {item.lease}", key=key)
        log.info("showed what was demanded", lease=str(item.lease), entries=len(entries))

    def _shown(self, record: LeaseRecord, item: DemandItem) -> tuple[Sequence[bytes], Sequence[bytes], Sequence[bytes]]:
        """A part's entries, its path in its list, and the result's path."""
        result_path: Sequence[bytes] = ()
        if item.item == RESULTS:
            entries = self.proofs.results(record)
            log2 = record.log2 if record.replica else merkle.height(len(entries))
        else:
            own = self.proofs.own(record, item.position)
            entries, result_path = list(own.checkpoints), own.result_path
            log2 = merkle.height(len(entries))
        depth = min(PART_LEVELS, log2)
        levels = merkle.tree(entries)
        path = merkle.path(levels[depth:], item.part) if depth < len(levels) else []
        path += [merkle.EMPTY] * (log2 - depth - len(path))
        part = entries[item.part * DEMAND_PART : (item.part + 1) * DEMAND_PART]
        return part, path, result_path

    # By this node

    async def obtain(
        self,
        lease: LeaseId,
        item: int,
        position: int,
        count: int,
        why: str,
        opening: Opening | None = None,
    ) -> list[bytes] | None:
        """A list that its node does not serve, demanded in parts; None while an answer is awaited."""
        entries: list[bytes] = []
        known = {summons.demand: summons for summons in self.docket.demands(pending=False)}
        for part in range(-(-count // DEMAND_PART)):
            wanted = DemandItem(lease, item, position, part)
            summons = known.get(self.court.demand_id(wanted))
            if summons is None or summons.block == 0:
                await self._demand(wanted, why, opening)
                return None
            if summons.entries is None:
                return None
            entries += summons.entries
        kind = ListKind.RESULTS if item == RESULTS else ListKind.CHECKPOINTS
        self.store.put_list(kind, entries)
        return entries

    async def _demand(self, item: DemandItem, why: str, opening: Opening | None) -> None:
        price = await self.court.demand_price_of(item.lease.node)
        if price > self.settings.bond:
            raise OrebitError(f"A demand costs {price} wei of ETH, which is above `audit.bond`.")
        demand = self.court.demand_id(item)
        shown: Sequence[Any] = NO_OPENING if opening is None else plain(opening)
        self.docket.demand(demand, item, own=True)
        calldata = self.court.encode_demand(item, shown)
        label = f"demand of lease {item.lease}"
        await self.sender.send(self.court.address, calldata, label=label, key=f"demand {demand.hex()}", value=price)
        what = "checkpoints" if item.item == CHECKPOINTS else "result hashes"
        log.warning("demanded", lease=str(item.lease), what=what, reason=why)

    async def _end(self, summons: Summons, clock: Clock) -> None:
        """Nobody answered in time."""
        if summons.block == 0 or not (
            clock.timestamp > summons.deadline and clock.block > summons.block + DEADLINE_BLOCKS
        ):
            return
        calldata = self.court.encode_timeout_demand(summons.item)
        key = f"missed {summons.demand.hex()} {summons.block}"
        label = f"timeout of a demand on lease {summons.item.lease}"
        await self.sender.send(self.court.address, calldata, label=label, key=key)
        log.warning("a demand was not answered", lease=str(summons.item.lease))
