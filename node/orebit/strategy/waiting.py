"""Why nothing happens: what a person can do about a job that nobody works on."""

from __future__ import annotations

import asyncio

from orebit.chain.token import format_amount
from orebit.chain.types import NodeInfo
from orebit.strategy.board import Stage
from orebit.strategy.jobview import JobView
from orebit.strategy.journal import Kind
from orebit.strategy.requester import Requester

MOST_NODES = 256
"""Nodes whose stake is looked at."""


async def describe_stall(requester: Requester, view: JobView) -> str:
    """A sentence on what is waited for; empty when leases are being worked on. Raises ChainError."""
    free = [
        batch
        for record in view.records
        if (batch := view.batch(record)) is not None and not batch.closed and Stage.FREE in batch.stages()
    ]
    if not free:
        return ""
    if await requester.market.paused():
        return " New work is paused by the market's guardian; it goes on by itself once that ends."
    kind = next(kind for kind in Kind if view.tasks[kind] == free[0].task)
    return await _describe_nodes(requester, view, kind, free[0].size)


async def _describe_nodes(requester: Requester, view: JobView, kind: Kind, size: int) -> str:
    nodes = await newest_nodes(requester)
    if not nodes:
        return " No node is registered on this market yet; work begins when one is."
    terms = view.terms[kind]
    needed = terms.stake_factor * terms.price * size // 100
    most = max(node.available for node in nodes)
    if most < needed:
        return (
            f" A lease asks for a stake of {format_amount(needed)} TokenAI, and no node has more than "
            f"{format_amount(most)} free: wait for leases to end, or offer a lower price or stake factor as a new task."
        )
    return " Registered nodes have the stake, but none takes the work: the price may be too low, or they are offline."


async def newest_nodes(requester: Requester) -> list[NodeInfo]:
    """The nodes registered last, at most MOST_NODES of them."""
    count = await requester.registry.node_count()
    first = max(1, count - MOST_NODES + 1)
    return await asyncio.gather(*(requester.registry.node_of(node) for node in range(first, count + 1)))
