"""Turns what the scout found into this cycle's leases and takes, each journalled as an intent first."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from orebit.chain import commitments
from orebit.chain.market import Market
from orebit.chain.registry import Registry
from orebit.chain.types import LeaseId, NodeInfo
from orebit.daemon.acts import Act
from orebit.daemon.decision import Clock
from orebit.daemon.journal import Intent, Journal
from orebit.daemon.leasing import Room
from orebit.daemon.scout import Chance, Scout


class Taking:
    """Spends a cycle's room on chances, then on offers."""

    def __init__(self, journal: Journal, market: Market, registry: Registry, scout: Scout, node: int) -> None:
        self._journal = journal
        self._market = market
        self._registry = registry
        self._scout = scout
        self._node = node

    async def acts(self, clock: Clock, room: Room, info: NodeInfo) -> list[Act]:
        """Takes that win now and leases whose grains are still free, as far as slots and stake last."""
        if not self._scout.chances and not self._scout.offers:
            return []
        slots = await self._open(room.slots)
        total_stake = await self._registry.total_stake() if self._scout.chances else 0
        left = room.stake
        acts: list[Act] = []
        intents: list[Intent] = []
        for chance in list(self._scout.chances.values()):
            attempt = self._attempt(chance, clock, info, total_stake)
            if attempt is None or not slots or chance.stake > left:
                continue
            slot = slots.pop(0)
            left -= chance.stake
            intents.append(Intent(slot, chance.batch, 0, 0, chance.primary))
            acts.append(self._take(chance, slot, attempt))
            del self._scout.chances[chance.primary]
        for offer in list(self._scout.offers.values()):
            del self._scout.offers[offer.batch]
            wanted = (1 << offer.grains) - 1 << offer.first
            batch = await self._market.batch_of(offer.batch)
            if not slots or offer.stake > left or batch.closed or batch.free & wanted != wanted:
                continue
            slot = slots.pop(0)
            left -= offer.stake
            intents.append(Intent(slot, offer.batch, offer.first, offer.grains))
            calldata = self._market.encode_lease(offer.batch, offer.first, offer.grains, self._node, slot)
            acts.append(Act("lease", (LeaseId.of(self._node, slot, 0),), calldata))
        self._journal.intend(intents)
        return acts

    async def _open(self, slots: Sequence[int]) -> list[int]:
        """Those that the market lets this node lease now."""
        answers = await asyncio.gather(*(self._market.slot_of(self._node, slot) for slot in slots))
        return [slot for slot, (_, is_open) in zip(slots, answers, strict=True) if is_open]

    def _take(self, chance: Chance, slot: int, attempt: int) -> Act:
        calldata = self._market.encode_take(chance.primary, self._node, slot, attempt)
        return Act("take", (chance.primary,), calldata)

    def _attempt(self, chance: Chance, clock: Clock, info: NodeInfo, total_stake: int) -> int | None:
        """The lottery's number to name now; 0 once anyone may take; None without a chance in this block."""
        waited = clock.block - chance.drawn_at
        if waited >= chance.lottery_blocks:
            del self._scout.chances[chance.primary]
            return None
        if waited > chance.lottery_blocks // 2:
            return 0
        weight = info.stake
        return commitments.winning_attempt(
            chance.seed, self._node, weight, total_stake, chance.lottery_blocks, last=waited
        )
