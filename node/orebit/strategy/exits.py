"""Ends what others left overdue, so that a job never waits for a node that is gone: exits are anybody's to take."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from orebit.chain.market import Market
from orebit.chain.types import DEADLINE_BLOCKS, Block, LeaseId, LeaseInfo, LeaseState, Terms
from orebit.strategy.board import Lease

GRACE_SECONDS = 10
"""The nodes concerned come first: they gain by it and send it along with other calls."""


def overdue(info: LeaseInfo, terms: Terms, head: Block) -> bool:
    """Whether a lease's exit is open, as `Deadlines.sol` has it, and has been for the grace."""
    if info.games:
        return False
    seconds, blocks = GRACE_SECONDS, DEADLINE_BLOCKS
    if info.state in (LeaseState.COMMITTED, LeaseState.CALLED):
        blocks += terms.draw_delay + terms.lottery_blocks
    elif info.state in (LeaseState.PAIRED, LeaseState.BOTH) and not info.replica:
        # The replica's deadline has passed first; then it is the primary's turn.
        seconds, blocks = seconds + terms.reveal_seconds, 2 * blocks
    return head.timestamp > info.deadline + seconds and head.number > info.block_number + blocks


def exit_calls(market: Market, infos: Iterable[tuple[LeaseId, LeaseInfo]]) -> list[bytes]:
    """Calldata that ends these overdue leases: finalise, resolve or expire, each with its list."""
    lists: dict[LeaseState, list[LeaseId]] = {}
    for lease, info in infos:
        known = info.state if info.state in (LeaseState.REVEALED, LeaseState.CONTESTED) else LeaseState.LEASED
        lists.setdefault(known, []).append(lease)
    encode = {
        LeaseState.REVEALED: market.encode_finalise,
        LeaseState.CONTESTED: market.encode_resolve,
        LeaseState.LEASED: market.encode_expire,
    }
    return [encode[state](leases) for state, leases in lists.items()]


async def overdue_leases(
    market: Market, leases: Sequence[Lease], terms: Terms, head: Block
) -> list[tuple[LeaseId, LeaseInfo]]:
    """Those of a task's live leases, replicas included, that can be ended now."""
    identifiers = [lease.id for lease in leases] + [lease.replica for lease in leases if lease.replica]
    infos = await asyncio.gather(*(market.lease_of(identifier) for identifier in identifiers))
    return [
        (identifier, info)
        for identifier, info in zip(identifiers, infos, strict=True)
        if info.state not in (LeaseState.FREE, LeaseState.SLASHED) and overdue(info, terms, head)
    ]
