"""The ETH that a node keeps with the court: filled up in time, within its owner's limit."""

from __future__ import annotations

import time

import structlog

from orebit.chain.court import Court
from orebit.chain.sender import Sender
from orebit.chain.token import format_amount
from orebit.daemon.config import CourtSettings
from orebit.errors import AccountError

log = structlog.get_logger(__name__)

LOOK_SECONDS = 15.0
WARN_AT = 1.15
"""Times the floor at which a deposit that cannot be raised is told of."""


class Deposit:
    """Keeps the deposit of node `node` between the floor and `margin` times the floor."""

    def __init__(self, court: Court, sender: Sender, settings: CourtSettings, node: int) -> None:
        self._court = court
        self._sender = sender
        self._settings = settings
        self._node = node
        self._next = 0.0
        self._warned = False
        self.held: int | None = None
        """Wei, as is the floor, when last looked at."""
        self.floor: int | None = None

    async def look(self) -> None:
        """Every few seconds. Raises ChainError when no endpoint answers."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + LOOK_SECONDS
        try:
            await self.fill()
        except AccountError as error:
            if not self._warned:
                self._warned = True
                log.warning("the deposit with the court cannot be filled up", reason=str(error))

    async def fill(self) -> int:
        """Adds what is missing, and returns it. Raises AccountError when limit or account do not suffice."""
        floor = await self._court.floor_of(self._node)
        book = await self._court.node_of(self._node)
        self.held, self.floor = book.deposit, floor
        if book.deposit >= floor and not book.enough:
            await self._send(self._court.encode_refresh_deposit(self._node), "refresh the deposit", 0)
        if book.deposit >= floor * min(WARN_AT, self._settings.margin):
            self._warned = False
            return 0
        target = min(int(floor * self._settings.margin), self._settings.deposit_most)
        missing = target - book.deposit
        if target < floor:
            raise AccountError(
                f"The court asks {format_amount(floor)} ETH of this node, and court.deposit_most in node.toml allows "
                f"{format_amount(self._settings.deposit_most)}. Raise it: below the floor the node may not lease."
            )
        if missing <= 0:
            return 0
        await self._send(self._court.encode_deposit(self._node), "deposit with the court", missing)
        log.info("deposited with the court", ether=format_amount(missing), deposit=format_amount(target))
        return missing

    async def _send(self, calldata: bytes, label: str, value: int) -> None:
        await self._sender.send(self._court.address, calldata, label=label, value=value)
