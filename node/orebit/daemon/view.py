"""Reading the market for a cycle: the clock, leases, draws, and (kept) what never changes once it is on the chain."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from orebit.chain.commitments import draw_block, is_drawn
from orebit.chain.connection import BlockReference, Connection
from orebit.chain.market import Market
from orebit.chain.registry import Registry
from orebit.chain.types import BatchInfo, LeaseId, LeaseInfo, LeaseState, NodeInfo, TaskInfo, Terms
from orebit.daemon.decision import Clock, Draw
from orebit.daemon.snapshot import Snapshot

AT_ONCE = 16
"""Reads that are under way together, so that no endpoint is flooded."""


RECENT_BLOCKS = 64


class View:
    """The market as one node looks at it. Every read raises ChainError when no endpoint answers."""

    def __init__(self, connection: Connection, market: Market, registry: Registry) -> None:
        self.connection = connection
        self.market = market
        self.registry = registry
        self.snapshot = Snapshot()
        self._tasks: dict[int, TaskInfo] = {}
        self._owners: dict[int, str] = {}
        self._urls: dict[int, str] = {}
        self._block_seconds: float | None = None
        self._gate = asyncio.Semaphore(AT_ONCE)

    async def clock(self) -> Clock:
        head = await self.connection.head()
        return Clock(head.number, head.timestamp)

    async def block_seconds(self) -> float:
        """Seconds a block took lately, when first asked."""
        if self._block_seconds is None:
            head = await self.connection.head()
            blocks = min(RECENT_BLOCKS, head.number)
            earlier = await self.connection.block(head.number - blocks) if blocks else None
            self._block_seconds = (head.timestamp - earlier.timestamp) / blocks if earlier is not None else 0.0
        return self._block_seconds

    async def task(self, task: int) -> TaskInfo:
        """Requester and terms, which never change; the escrow is of the first time it was asked for."""
        if task not in self._tasks:
            self._tasks[task] = await self.market.task_of(task)
        return self._tasks[task]

    async def owner(self, node: int) -> str:
        """A node's owner, which never changes."""
        if node not in self._owners:
            self._owners[node] = (await self.registry.node_of(node)).owner
        return self._owners[node]

    async def leases(self, leases: Iterable[LeaseId]) -> dict[LeaseId, LeaseInfo]:
        """As of the cycle's snapshot."""
        wanted = list(leases)

        async def ask(lease: LeaseId) -> LeaseInfo:
            return await self.snapshot.read(lease, lambda block: self.lease(lease, block))

        return dict(zip(wanted, await asyncio.gather(*map(ask, wanted)), strict=True))

    async def lease(self, lease: LeaseId, block: BlockReference = "latest") -> LeaseInfo:
        async with self._gate:
            return await self.market.lease_of(lease, block)

    async def node(self, node: int) -> NodeInfo:
        """As of the cycle's snapshot, as are the two that follow."""
        return await self.snapshot.read(("node", node), lambda block: self.registry.node_of(node, block))

    async def balance(self, node: int) -> int:
        return await self.snapshot.read(("balance", node), lambda block: self.market.balance_of(node, block))

    async def batch_of(self, batch: int) -> BatchInfo:
        return await self.snapshot.read(("batch", batch), lambda block: self.market.batch_of(batch, block))

    async def draw(self, lease: LeaseId, info: LeaseInfo, terms: Terms, clock: Clock) -> Draw:
        """The chain's draw of a committed lease, OPEN until its block is an ancestor of the latest."""
        if info.state not in (LeaseState.COMMITTED, LeaseState.CALLED):
            return Draw.OPEN
        block_hash = await self.draw_hash(draw_block(info.block_number, terms), clock)
        if block_hash is None:
            return Draw.OPEN
        return Draw.HIT if is_drawn(block_hash, lease, info.root, terms.draw_bp) else Draw.MISSED

    async def draw_hash(self, number: int, clock: Clock) -> bytes | None:
        """The hash of block `number`, None while it is not below the latest."""
        if clock.block <= number:
            return None

        async def ask(_: BlockReference) -> bytes | None:
            block = await self.connection.block(number)
            return block.hash if block else None

        return await self.snapshot.read(("hash", number), ask)
