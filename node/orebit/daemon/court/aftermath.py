"""What follows a conviction: claims within one move's time, bonds back, then the bounty; and credits that wait."""

from __future__ import annotations

import time
from dataclasses import dataclass

import structlog

from orebit.chain.court import NO_HINT, Court
from orebit.chain.sender import Sender
from orebit.chain.token import format_amount
from orebit.chain.types import DEADLINE_BLOCKS, Conviction, LeaseId
from orebit.commitment import merkle
from orebit.daemon.court.docket import Case, Docket
from orebit.daemon.decision import Clock
from orebit.daemon.view import View
from orebit.dispute import parse_state
from orebit.errors import OrebitError, TransactionReverted

log = structlog.get_logger(__name__)

MOST_CLAIMS = 16
"""Claims paid by one settlement."""

CREDIT_SECONDS = 30.0


@dataclass
class Aftermath:
    """Settles what this node's games have led to, and what its own leases were convicted of: until then its deposit
    stays where claims can reach it."""

    docket: Docket
    court: Court
    sender: Sender
    view: View
    node: int

    def __post_init__(self) -> None:
        self._next_credit = 0.0

    async def look(self) -> None:
        """One round. Raises ChainError when no endpoint answers."""
        convictions = self.docket.convictions()
        clock = await self.view.clock() if convictions else None
        for lease, _ in convictions:
            assert clock is not None
            try:
                await self._settle(lease, clock)
            except TransactionReverted as error:
                log.info("nothing to settle now", lease=str(lease), reason=str(error))
            except OrebitError as error:
                log.warning("cannot settle; trying again", lease=str(lease), reason=str(error))
        if time.monotonic() >= self._next_credit:
            self._next_credit = time.monotonic() + CREDIT_SECONDS
            await self._withdraw_credit()

    async def _settle(self, lease: LeaseId, clock: Clock) -> None:
        mine = [case for case in self.docket.cases_on(lease) if case.challenger == self.sender.address]
        if not mine and lease.node != self.node:
            self.docket.settle(lease)
            return
        conviction = await self.court.conviction_of(lease)
        over = _over(conviction, clock)
        for case in mine:
            if not over:
                await self._claim(case)
            if case.outcome == "overtaken" and (await self.court.game_of(case.game)).bond:
                await self._return_bond(case)
        if over and conviction.settled:
            self.docket.settle(lease)
        elif over:
            await self._send(self.court.encode_settle(lease, MOST_CLAIMS), f"settle lease {lease}", None)
            log.info("settled", lease=str(lease))

    async def _claim(self, case: Case) -> None:
        """Shows that this node had its own answer before the game."""
        claimed = self.docket.claims(case.lease)
        if case.rank == 0 or any(game == case.game for _, game in claimed):
            return
        raw = self.docket.moves(case.game)[-1].state
        state = parse_state(raw)
        challenge = self.docket.challenge(case.lease, state.position)
        if challenge is None or challenge.own is None or state.entry == merkle.EMPTY:
            return
        path = merkle.path(merkle.tree(challenge.own), state.checkpoint)
        lower = [game for rank, game in claimed if rank <= case.rank]
        calldata = self.court.encode_claim(case.game, raw, path, lower[-1] if lower else NO_HINT)
        await self._send(calldata, f"claim on lease {case.lease}", f"claim {case.game.hex()} {len(lower)}")
        log.info("claimed", lease=str(case.lease), rank=case.rank)

    async def _return_bond(self, case: Case) -> None:
        calldata = self.court.encode_return_bond(case.game, self.docket.moves(case.game)[-1].state)
        await self._send(calldata, f"bond back of lease {case.lease}", f"bond {case.game.hex()}")

    async def _withdraw_credit(self) -> None:
        waiting = await self.court.credit_of(self.sender.address)
        if waiting == 0:
            return
        calldata = self.court.encode_withdraw_credit(self.sender.address)
        await self._send(calldata, "withdraw credit of the court", None)
        log.info("credit withdrawn", ether=format_amount(waiting))

    async def _send(self, calldata: bytes, label: str, key: str | None) -> None:
        await self.sender.send(self.court.address, calldata, label=label, key=key)


def _over(conviction: Conviction, clock: Clock) -> bool:
    """Whether nothing more can be claimed."""
    late = clock.timestamp > conviction.time + conviction.move_time
    return late and clock.block > conviction.block_number + DEADLINE_BLOCKS
