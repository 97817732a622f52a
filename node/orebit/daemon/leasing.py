"""Which work to take: how much stake, time and room there is, and which grains of a batch to ask for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from orebit.chain.commitments import replica_log2
from orebit.chain.types import BatchInfo, Terms
from orebit.daemon.config import NodeConfig
from orebit.daemon.journal import LeaseRecord


@dataclass(frozen=True)
class Room:
    """What this node may still take on. Wei of stake; seconds of work already promised, for one worker."""

    slots: tuple[int, ...]
    stake: int
    by_requester: dict[str, int]
    cap: int
    backlog: float = 0.0

    def stake_for(self, requester: str) -> int:
        """Most stake that may be locked behind one more lease of this requester."""
        return max(0, min(self.stake, self.cap - self.by_requester.get(requester, 0)))


def room(config: NodeConfig, free_slots: Iterable[int], available: int, held: Iterable[LeaseRecord]) -> Room:
    """The room left by the leases held. `available`: the node's stake that nothing locks, in wei."""
    by_requester: dict[str, int] = {}
    for record in held:
        by_requester[record.requester] = by_requester.get(record.requester, 0) + record.stake
    left = config.stake.total - sum(by_requester.values())
    return Room(tuple(free_slots), max(0, min(available, left)), by_requester, config.stake.per_requester)


def replica_fee(terms: Terms, batch: BatchInfo) -> int:
    """Wei a replica of the batch earns: a percentage of price * 2^b of its longest lease, as `Pricing.fee`."""
    longest = batch.size * min(terms.max_grains, batch.grains)
    return (terms.price * terms.fee_percent << replica_log2(terms, longest)) // 100


def stake_needed(terms: Terms, batch: BatchInfo, shards: int) -> int:
    """S in wei: max(factor * price * shards, 4 * replica fee), as `Pricing.stake`. A replica's is over 2^b shards."""
    return max(terms.stake_factor * terms.price * shards // 100, 4 * replica_fee(terms, batch))


def seconds_allowed(terms: Terms, shards: int, share: float) -> float:
    """Seconds of its time to commit that a lease may be planned to take."""
    return terms.compute_seconds * shards * share


def most_grains(terms: Terms, batch: BatchInfo, stake: int) -> int:
    """Longest lease, in grains, that the terms and this much stake (wei) allow; 0 for none."""
    for grains in range(min(terms.max_grains, batch.grains), 0, -1):
        if stake_needed(terms, batch, grains * batch.size) <= stake:
            return grains
    return 0


def choose_run(batch: BatchInfo, most: int, node: int, plan_root: bytes) -> tuple[int, int] | None:
    """(first, grains) of a run of at most `most` free grains, None without one.

    Nodes start at different places, by a hash of node and plan, so that they seldom ask for the same grains.
    """
    pieces = [
        (first + offset, min(most, length - offset))
        for first, length in batch.free_runs()
        for offset in range(0, length, max(1, most))
    ]
    if not pieces or most < 1:
        return None
    seed = hashlib.sha256(plan_root + node.to_bytes(4, "big")).digest()
    return pieces[int.from_bytes(seed[:8], "big") % len(pieces)]
