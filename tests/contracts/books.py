"""A pure model of money: what MARKET.md says that each event moves, computed from the terms alone, in integers.

It replays events and knows every lease's state from them. Amounts in events are compared with its own, never believed.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from evm import Receipt
from market_steps import Batch, Stage, State, Task, Terms, is_live

LATE = (State.LEASED, State.COMMITTED, State.CALLED, State.PAIRED)


@dataclass
class Entry:
    """One lease in the books."""

    batch: int
    first: int
    grains: int
    stake: int
    replica: bool
    state: State = State.LEASED
    peer: int = 0
    # Its replica's fee left the reserve while it was still open to proof.
    replica_paid: bool = False


class Books:
    """Escrows, reserves, balances, stakes, and what has been burnt."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.tasks: dict[int, Task] = {}
        self.batches: dict[int, Batch] = {}
        self.closed: set[int] = set()
        self.free: dict[int, set[int]] = {}
        self.unsettled: dict[int, int] = {}
        self.escrow: defaultdict[int, int] = defaultdict(int)
        self.reserve: defaultdict[int, int] = defaultdict(int)
        self.balance: defaultdict[int, int] = defaultdict(int)
        self.stake: defaultdict[int, int] = defaultdict(int)
        self.unbonding: defaultdict[int, int] = defaultdict(int)
        self.locked: defaultdict[int, int] = defaultdict(int)
        self.leases: dict[int, Entry] = {}
        # Fees of replicas that stand alone: taken from the reserve, or covered by their primary's stake.
        self.set_aside: dict[int, int] = {}
        self.covered: set[int] = set()
        self.bounties = 0
        self.burnt = 0

    # Events

    def apply(self, receipt: Receipt) -> None:
        """A batch settles after all else that its transaction did to it."""
        for event in sorted(receipt.events, key=lambda event: event.name == "BatchSettled"):
            handler = getattr(self, f"on_{event.name}", None)
            if handler is not None:
                handler(*event.values)

    def on_TaskCreated(self, task: int, requester: str, terms: Any, _: str) -> None:
        self.tasks[task] = Task(task, Terms(**vars(terms)), requester)

    def on_Deposited(self, task: int, _: str, amount: int) -> None:
        self.escrow[task] += amount

    def on_EscrowWithdrawn(self, task: int, _: str, amount: int) -> None:
        self.escrow[task] -= amount
        assert self.escrow[task] >= 0

    def on_BatchPosted(self, batch: int, task: int, _: bytes, grains: int, size: int, reserved: int) -> None:
        made = Batch(batch, self.tasks[task], grains, size)
        self.batches[batch], self.free[batch], self.unsettled[batch] = made, set(range(grains)), grains
        assert reserved == made.reserved
        self.escrow[task] -= reserved
        self.reserve[batch] += reserved
        assert self.escrow[task] >= 0

    def on_BatchClosed(self, batch: int, refunded: int) -> None:
        assert refunded == self.refund(batch, len(self.free[batch]))
        self.closed.add(batch)
        self.free[batch] = set()

    def refund(self, batch: int, grains: int) -> int:
        """Grains that will not be worked on any more."""
        made = self.batches[batch]
        amount = grains * (made.size * made.terms.price + made.fee)
        self.unsettled[batch] -= grains
        self.reserve[batch] -= amount
        self.escrow[made.task.id] += amount
        return amount

    def on_BatchSettled(self, batch: int, refunded: int) -> None:
        assert (self.unsettled[batch], self.free[batch]) == (0, set())
        assert refunded == self.reserve[batch]
        self.escrow[self.batches[batch].task.id] += refunded
        self.reserve[batch] = 0

    def on_Leased(self, lease: int, batch: int, first: int, grains: int, stake: int) -> None:
        made = self.batches[batch]
        taken = set(range(first, first + grains))
        assert taken and taken <= self.free[batch] and batch not in self.closed
        self.free[batch] -= taken
        assert stake == made.stake(grains * made.size)
        self.open(lease, Entry(batch, first, grains, stake, replica=False))

    def on_Taken(self, primary: int, replica: int, _: int, stake: int) -> None:
        pair = self.leases[primary]
        made = self.batches[pair.batch]
        assert pair.state in (State.COMMITTED, State.CALLED)
        assert stake == made.stake(1 << made.terms.block_log2(pair.grains * made.size))
        self.open(replica, Entry(pair.batch, pair.first, pair.grains, stake, replica=True, peer=primary))
        pair.peer = replica
        self.move(primary, State.PAIRED)

    def open(self, lease: int, entry: Entry) -> None:
        node = lease >> 40
        assert lease not in self.leases
        self.leases[lease] = entry
        self.locked[node] += entry.stake
        assert self.locked[node] <= self.stake[node]

    def move(self, lease: int, state: State) -> None:
        """A pair moves together."""
        entry = self.leases[lease]
        entry.state = state
        if entry.peer:
            self.leases[entry.peer].state = state

    def unlink(self, lease: int) -> None:
        """A replica that has not committed is then late on its own account."""
        pair = [self.leases[lease], self.leases.get(self.leases[lease].peer)]
        for entry in filter(None, pair):
            entry.peer = 0
            if entry.replica and entry.state is State.PAIRED:
                entry.state = State.LEASED

    def on_Committed(self, lease: int, _: bytes) -> None:
        replica = self.leases[lease].replica
        assert self.leases[lease].state is (State.PAIRED if replica else State.LEASED)
        self.move(lease, State.BOTH if replica else State.COMMITTED)

    def on_Called(self, lease: int, _: str) -> None:
        self.move(lease, State.CALLED)

    def on_Revealed(self, lease: int, _: bytes, __: bytes) -> None:
        entry = self.leases[lease]
        if entry.replica:
            assert entry.state is State.BOTH
            self.move(lease, State.HALF_REVEALED)
            return
        if entry.state in (State.PAIRED, State.BOTH):
            self.unlink(lease)
        self.move(lease, State.REVEALED)

    def on_Contested(self, primary: int, _: int) -> None:
        self.move(primary, State.CONTESTED)

    def on_Finalised(self, lease: int, _: int, __: bytes, paid: int) -> None:
        entry = self.leases[lease]
        assert entry.state is State.REVEALED
        made = self.batches[entry.batch]
        if entry.replica:
            self.pay_replica(lease, entry, made.fee)
        else:
            shards = entry.grains * made.size
            self.reserve[entry.batch] -= shards * made.terms.price
            self.unsettled[entry.batch] -= entry.grains
            self.balance[lease >> 40] += shards * made.terms.price
            if entry.peer:
                self.reserve[entry.batch] -= made.fee
                self.set_aside[entry.peer] = made.fee
                self.unlink(lease)
        assert paid == (made.fee if entry.replica else entry.grains * made.size * made.terms.price)
        self.end(lease, 0)

    def pay_replica(self, lease: int, entry: Entry, fee: int) -> None:
        if lease in self.set_aside:
            self.set_aside.pop(lease)
            self.covered.discard(lease)
        else:
            self.reserve[entry.batch] -= fee
            self.leases[entry.peer].replica_paid = True
            self.unlink(lease)
        self.balance[lease >> 40] += fee

    def end(self, lease: int, lost: int, state: State = State.FREE) -> None:
        """Unlocks S, of which `lost` is gone."""
        node, entry = lease >> 40, self.leases[lease]
        self.locked[node] -= entry.stake
        self.stake[node] -= lost
        entry.state = state
        assert not entry.peer, "a link was left standing"

    def on_Expired(self, lease: int, _: int, penalty: int, requester: int, burnt: int, reserve: int) -> None:
        entry = self.leases[lease]
        made = self.batches[entry.batch]
        peer = entry.peer
        self.unlink(lease)
        if entry.state in LATE:
            assert (penalty, requester, burnt, reserve) == self.late(lease, entry)
        else:
            fee = made.fee if entry.state is State.HALF_REVEALED else 0
            assert entry.state in (State.BOTH, State.HALF_REVEALED)
            assert (penalty, requester, burnt, reserve) == (entry.stake, 0, entry.stake - fee, fee)
            self.burnt += burnt
            if entry.state is State.HALF_REVEALED:
                self.release(peer, fee)
            self.end(lease, entry.stake)
        if not entry.replica:
            self.repost(entry)

    def late(self, lease: int, entry: Entry) -> tuple[int, int, int, int]:
        """The late penalty: half to the requester, half, and the odd wei, burnt."""
        made = self.batches[entry.batch]
        penalty = made.terms.penalty(entry.stake)
        half = penalty // 2
        self.escrow[made.task.id] += half
        self.burnt += penalty - half
        self.end(lease, penalty)
        return penalty, half, penalty - half, 0

    def release(self, replica: int, fee: int) -> None:
        """A replica whose primary lost S: its fee is covered by that."""
        self.leases[replica].state = State.REVEALED
        self.set_aside[replica] = fee
        self.covered.add(replica)

    def repost(self, entry: Entry) -> None:
        if entry.batch in self.closed:
            self.refund(entry.batch, entry.grains)
        else:
            self.free[entry.batch] |= set(range(entry.first, entry.first + entry.grains))

    def on_Voided(self, lease: int, _: int, penalty: int, requester: int, burnt: int) -> None:
        entry = self.leases[lease]
        assert entry.state is State.CONTESTED
        self.unlink(lease)
        assert (penalty, requester, burnt, 0) == self.late(lease, entry)
        if not entry.replica:
            self.repost(entry)

    def on_Slashed(self, lease: int, _: int, stake: int, bounty: int, burnt: int, reserve: int) -> None:
        entry = self.leases[lease]
        assert entry.state in (State.REVEALED, State.CONTESTED)
        owed = self.slash_replica(lease, entry) if entry.replica else self.slash_primary(lease, entry)
        assert (stake, bounty, reserve) == (entry.stake, entry.stake // 4, owed)
        assert burnt == stake - bounty - reserve and 2 * burnt >= stake
        self.bounties += bounty
        self.burnt += burnt
        self.end(lease, stake, State.SLASHED)

    def slash_primary(self, lease: int, entry: Entry) -> int:
        """Returns the fee that its stake owes: to a replica yet to be paid, or to the reserve that paid one."""
        made, peer = self.batches[entry.batch], entry.peer
        self.unlink(lease)
        if peer:
            self.release(peer, made.fee)
        elif entry.replica_paid:
            self.reserve[entry.batch] += made.fee
        self.repost(entry)
        return made.fee if peer or entry.replica_paid else 0

    def slash_replica(self, lease: int, entry: Entry) -> int:
        made = self.batches[entry.batch]
        if entry.peer:
            self.move(lease, State.REVEALED)
            self.unlink(lease)
            return 0
        fee = self.set_aside.pop(lease)
        if lease in self.covered:
            self.covered.discard(lease)
            self.burnt += fee
        elif self.unsettled[entry.batch]:
            self.reserve[entry.batch] += fee
        else:
            self.escrow[made.task.id] += fee
        return 0

    def on_Withdrawn(self, node: int, _: str, amount: int) -> None:
        assert self.balance[node] == amount
        self.balance[node] = 0

    def on_StakeAdded(self, node: int, amount: int, _: int) -> None:
        self.stake[node] += amount

    def on_UnbondStarted(self, node: int, amount: int, _: int) -> None:
        self.stake[node] -= amount
        self.unbonding[node] += amount
        assert self.stake[node] >= self.locked[node]

    def on_UnbondCancelled(self, node: int, amount: int) -> None:
        self.stake[node] += amount
        self.unbonding[node] -= amount

    def on_StakeWithdrawn(self, node: int, _: str, amount: int) -> None:
        self.unbonding[node] -= amount

    # The chain against the books

    def check(self) -> None:
        """Everything that the contracts say about money is what the books say."""
        stage, market = self.stage, self.stage.market
        infos = dict(zip(self.batches, market.batchOf.each(self.batches), strict=True))
        assert {task: info.escrow for task, info in zip(self.tasks, market.taskOf.each(self.tasks), strict=True)} == {
            task: self.escrow[task] for task in self.tasks
        }
        assert stage.reserves(list(self.batches)) == {batch: self.reserve[batch] for batch in self.batches}
        assert {batch: (info.free, info.unsettled) for batch, info in infos.items()} == {
            batch: (sum(1 << grain for grain in self.free[batch]), self.unsettled[batch]) for batch in self.batches
        }
        nodes = range(1, stage.registry.nodeCount() + 1)
        assert market.balanceOf.each(nodes) == [self.balance[node] for node in nodes]
        stakes = [(info.stake, info.locked, info.unbonding) for info in stage.registry.nodeOf.each(nodes)]
        assert stakes == [(self.stake[node], self.locked[node], self.unbonding[node]) for node in nodes]
        self.check_leases()
        assert stage.token.totalSupply() == stage.token.CAP() - self.burnt
        assert stage.token.balanceOf(stage.arbiter.address) == self.bounties
        held = sum(
            map(sum, (self.escrow.values(), self.reserve.values(), self.balance.values(), self.set_aside.values()))
        )
        assert stage.token.balanceOf(market.address) == held + stage.gifts["market"]
        kept = sum(self.stake.values()) + sum(self.unbonding.values())
        assert stage.token.balanceOf(stage.registry.address) == kept + stage.gifts["registry"]

    def check_leases(self) -> None:
        for (lease, entry), info in zip(self.leases.items(), self.stage.market.leaseOf.each(self.leases), strict=True):
            if info.state == State.FREE:
                assert entry.state in (State.FREE, State.SLASHED), lease
                continue
            assert (info.state, info.peer, info.stake) == (entry.state, entry.peer, entry.stake), lease
            assert is_live(info) or not info.peer

    def check_reserves(self) -> None:
        """reserve >= fee * (unsettled grains whose draw is still ahead), besides what their shards cost."""
        for batch, made in self.batches.items():
            live = [entry for entry in self.leases.values() if entry.batch == batch and entry.state is State.REVEALED]
            drawn = sum(entry.replica_paid for entry in live if not entry.replica)
            shards = self.unsettled[batch] * made.size
            assert self.reserve[batch] >= shards * made.terms.price + (self.unsettled[batch] - drawn) * made.fee
