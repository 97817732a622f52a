"""The requester's own draw: whole groups of committed leases are called for replication, or none of them, by a coin.

A group is what stands committed when the first of its draws is about to close; a lease that commits later gets a coin
of its own group, so nobody learns from the fate of others whether it will be checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import SystemRandom

from orebit.chain.types import LeaseId, Terms
from orebit.strategy.board import Lease, Stage

MARGIN_BLOCKS = 1
"""Blocks left before the draw closes within which a call must be on its way."""


def untossed(leases: Sequence[Lease], coins: Mapping[LeaseId, bool], terms: Terms, head: int) -> list[LeaseId]:
    """The group whose coin is due at block `head`: empty while every draw is still comfortably open."""
    waiting = [lease for lease in leases if lease.stage is Stage.COMMITTED and lease.id not in coins]
    open_ones = [lease for lease in waiting if head < lease.since + terms.draw_delay]
    due = any(head + MARGIN_BLOCKS >= lease.since + terms.draw_delay - MARGIN_BLOCKS for lease in open_ones)
    return [lease.id for lease in open_ones] if due else []


def callable_now(leases: Sequence[Lease], coins: Mapping[LeaseId, bool], terms: Terms, head: int) -> list[LeaseId]:
    """Leases whose coin said call and whose draw is still open for a transaction in the next block."""
    return [
        lease.id
        for lease in leases
        if coins.get(lease.id) and lease.stage is Stage.COMMITTED and not lease.called
        if head + 1 <= lease.since + terms.draw_delay
    ]


def toss(probability: float) -> bool:
    """A coin that nobody can foresee."""
    return SystemRandom().random() < probability
