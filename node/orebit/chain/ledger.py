"""Books from events alone: replay every event from the deployment's block, and every wei has a place.

For a task: deposited (by anyone, and taken from stakes) = paid + refunded + penalties + burnt + still held. Pure:
nothing here asks the chain; `reconciliation` compares these books with its storage.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from orebit.chain import court_events
from orebit.chain import events as on_chain
from orebit.chain.court_ledger import CourtLedger
from orebit.chain.deployment import Deployment
from orebit.chain.events import Event
from orebit.chain.types import ZERO_ADDRESS, LeaseId, Terms
from orebit.errors import ChainError


class Outcome(StrEnum):
    """How a lease ended; `LIVE` until it did."""

    LIVE = "live"
    FINAL = "final"
    EXPIRED = "expired"
    VOIDED = "voided"
    SLASHED = "slashed"


class Flow(NamedTuple):
    """Who pays whom, and why."""

    source: str
    target: str
    reason: str


@dataclass
class LeaseBook:
    id: LeaseId
    batch: int
    task: int
    first: int
    """First grain (a replica's: its primary's)."""
    grains: int
    stake: int
    primary: LeaseId | None
    """Set for a replica: the lease that it checks."""
    drawn_block: int = 0
    committed: bool = False
    root: bytes = b""
    """Revealed: a primary's result root, a replica's raw block node; empty before."""
    paid: int = 0
    outcome: Outcome = Outcome.LIVE

    @property
    def replica(self) -> bool:
        return self.primary is not None


@dataclass
class BatchBook:
    id: int
    task: int
    plan_root: bytes
    grains: int
    size: int
    posted_at: int
    """Block of posting."""
    reserved: int
    """Wei still set aside for it."""
    settled: bool = False

    @property
    def shards(self) -> int:
        return self.grains * self.size


@dataclass
class TaskBook:
    id: int
    requester: str
    terms: Terms
    url: str
    escrow: int = 0
    reserved: int = 0
    given: int = 0
    """Deposited into escrow, by anyone."""
    forfeited: int = 0
    """Taken from the stakes of nodes that failed it."""
    paid: int = 0
    refunded: int = 0
    penalties: int = 0
    """Of what was forfeited, bounties to provers (through the arbiter)."""
    burnt: int = 0
    flows: Counter[Flow] = field(default_factory=Counter)

    @property
    def deposited(self) -> int:
        return self.given + self.forfeited

    @property
    def held(self) -> int:
        return self.escrow + self.reserved

    @property
    def conserved(self) -> bool:
        """Whether the books balance, to the wei."""
        return self.deposited == self.paid + self.refunded + self.penalties + self.burnt + self.held


@dataclass
class NodeBook:
    id: int
    owner: str
    operator: str
    payee: str
    url: str
    stake: int = 0
    locked: int = 0
    unbonding: int = 0
    balance: int = 0
    earned: int = 0
    withdrawn: int = 0
    taken: int = 0
    """Stake lost, by the registry's account; `charged` is the same by the market's."""
    charged: int = 0
    shards: int = 0
    replicas: int = 0


class Ledger:
    """All books. `apply` every event once and in order; an event that makes no sense raises `ChainError`."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self.tasks: dict[int, TaskBook] = {}
        self.batches: dict[int, BatchBook] = {}
        self.leases: dict[LeaseId, LeaseBook] = {}
        self.nodes: dict[int, NodeBook] = {}
        self.holdings: Counter[str] = Counter()
        """Wei of the token by address, from its transfers."""
        self.received: Counter[str] = Counter()
        """What each contract must have received and sent by its own events."""
        self.sent: Counter[str] = Counter()
        self.transferred_in: Counter[str] = Counter()
        self.transferred_out: Counter[str] = Counter()
        self.supply = 0
        self.minted = 0
        self.court = CourtLedger()
        """Its ETH, and its games."""
        self._rules: dict[type[Event], Callable[[Any], None]] = {
            on_chain.TaskCreated: self._task_created,
            on_chain.Deposited: self._deposited,
            on_chain.EscrowWithdrawn: self._escrow_withdrawn,
            on_chain.BatchPosted: self._batch_posted,
            on_chain.BatchClosed: self._batch_closed,
            on_chain.BatchSettled: self._batch_settled,
            on_chain.Refunded: self._refunded,
            on_chain.Leased: self._leased,
            on_chain.Taken: self._taken,
            on_chain.Committed: self._committed,
            on_chain.Revealed: self._revealed,
            on_chain.Finalised: self._finalised,
            on_chain.Expired: self._expired,
            on_chain.Voided: self._voided,
            on_chain.Slashed: self._slashed,
            on_chain.FeeBurnt: self._fee_burnt,
            on_chain.Withdrawn: self._withdrawn,
            on_chain.NodeRegistered: self._node_registered,
            on_chain.OperatorSet: self._operator_set,
            on_chain.PayeeSet: self._payee_set,
            on_chain.NodeDescribed: self._node_described,
            on_chain.StakeAdded: self._stake_added,
            on_chain.UnbondStarted: self._unbond_started,
            on_chain.UnbondCancelled: self._unbond_cancelled,
            on_chain.StakeWithdrawn: self._stake_withdrawn,
            on_chain.StakeTaken: self._stake_taken,
            on_chain.Transfer: self._transfer,
            on_chain.Testified: self._testified,
            court_events.Convicted: self._convicted,
            court_events.BountyPaid: self._bounty_paid,
        }

    def apply(self, event: Event) -> None:
        rule = self._rules.get(type(event))
        try:
            self.court.apply(event)
            if rule is not None:
                rule(event)
        except KeyError as error:
            raise ChainError(
                f"The event {type(event).__name__} in block {event.place.block} speaks of {error}, which no earlier "
                "event made. The deployment's block is too late, or the RPC endpoint leaves events out: use another."
            ) from error

    def apply_all(self, events: Iterable[Event]) -> None:
        for event in events:
            self.apply(event)

    def task_of(self, batch: int) -> TaskBook:
        return self.tasks[self.batches[batch].task]

    def leases_of(self, task: int) -> list[LeaseBook]:
        return [lease for lease in self.leases.values() if lease.task == task]

    def batches_of(self, task: int) -> list[BatchBook]:
        return [batch for batch in self.batches.values() if batch.task == task]

    # Requester

    def _task_created(self, event: on_chain.TaskCreated) -> None:
        self.tasks[event.task] = TaskBook(event.task, event.requester, event.terms, event.url)

    def _deposited(self, event: on_chain.Deposited) -> None:
        task = self.tasks[event.task]
        task.escrow += event.amount
        task.given += event.amount
        task.flows[Flow(event.from_, _task_name(task.id), "deposit")] += event.amount
        self.received[self._deployment.market] += event.amount

    def _escrow_withdrawn(self, event: on_chain.EscrowWithdrawn) -> None:
        task = self.tasks[event.task]
        task.escrow -= event.amount
        task.refunded += event.amount
        task.flows[Flow(_task_name(task.id), event.to, "refund")] += event.amount
        self.sent[self._deployment.market] += event.amount

    def _batch_posted(self, event: on_chain.BatchPosted) -> None:
        book = BatchBook(
            event.batch, event.task, event.plan_root, event.grains, event.size, event.place.block, reserved=0
        )
        self.batches[event.batch] = book
        self._reserve(book, event.reserved)

    def _batch_closed(self, event: on_chain.BatchClosed) -> None:
        self._reserve(self.batches[event.batch], -event.refunded)

    def _batch_settled(self, event: on_chain.BatchSettled) -> None:
        self.batches[event.batch].settled = True
        self._reserve(self.batches[event.batch], -event.refunded)

    def _refunded(self, event: on_chain.Refunded) -> None:
        self._reserve(self.batches[event.batch], -event.amount)

    def _reserve(self, batch: BatchBook, amount: int) -> None:
        """Moves from escrow to the batch's reserve (negative: back)."""
        task = self.tasks[batch.task]
        task.escrow -= amount
        task.reserved += amount
        batch.reserved += amount

    # Leases

    def _leased(self, event: on_chain.Leased) -> None:
        batch = self.batches[event.batch]
        self.leases[event.lease] = LeaseBook(
            event.lease, event.batch, batch.task, event.first, event.grains, event.stake, primary=None
        )
        self.nodes[event.lease.node].locked += event.stake

    def _taken(self, event: on_chain.Taken) -> None:
        of = self.leases[event.primary]
        self.leases[event.replica] = LeaseBook(
            event.replica, of.batch, of.task, of.first, of.grains, event.stake, event.primary, event.drawn_block
        )
        self.nodes[event.replica.node].locked += event.stake

    def _committed(self, event: on_chain.Committed) -> None:
        self.leases[event.lease].committed = True

    def _revealed(self, event: on_chain.Revealed) -> None:
        self.leases[event.lease].root = event.root

    def _end(self, lease: LeaseId, outcome: Outcome) -> LeaseBook:
        book = self.leases[lease]
        book.outcome = outcome
        self.nodes[lease.node].locked -= book.stake
        return book

    def _finalised(self, event: on_chain.Finalised) -> None:
        lease = self._end(event.lease, Outcome.FINAL)
        lease.root, lease.paid = event.root, event.paid
        batch, node = self.batches[lease.batch], self.nodes[event.lease.node]
        task = self.tasks[batch.task]
        batch.reserved -= event.paid
        task.reserved -= event.paid
        task.paid += event.paid
        task.flows[Flow(_task_name(task.id), _node_name(node.id), "replica" if lease.replica else "shards")] += (
            event.paid
        )
        node.balance += event.paid
        node.earned += event.paid
        if lease.replica:
            node.replicas += 1
        else:
            node.shards += lease.grains * batch.size

    # Penalties

    def _expired(self, event: on_chain.Expired) -> None:
        lease = self._end(event.lease, Outcome.EXPIRED)
        self._forfeit(lease, event.penalty, "late", event.to_requester, event.to_reserve, 0, event.burnt)

    def _voided(self, event: on_chain.Voided) -> None:
        lease = self._end(event.lease, Outcome.VOIDED)
        self._forfeit(lease, event.penalty, "void", event.to_requester, 0, 0, event.burnt)

    def _slashed(self, event: on_chain.Slashed) -> None:
        lease = self._end(event.lease, Outcome.SLASHED)
        self._forfeit(lease, event.stake, "slash", 0, event.to_reserve, event.bounty, event.burnt)

    def _forfeit(
        self, lease: LeaseBook, amount: int, why: str, to_requester: int, to_reserve: int, bounty: int, burnt: int
    ) -> None:
        task, batch, node = self.tasks[lease.task], self.batches[lease.batch], _node_name(lease.id.node)
        task.forfeited += amount
        task.escrow += to_requester
        task.reserved += to_reserve
        batch.reserved += to_reserve
        task.penalties += bounty
        task.burnt += burnt
        self.nodes[lease.id.node].charged += amount
        for target, part in ((_task_name(task.id), to_requester + to_reserve), ("provers", bounty), ("burnt", burnt)):
            if part:
                task.flows[Flow(node, target, why)] += part

    def _fee_burnt(self, event: on_chain.FeeBurnt) -> None:
        task, batch = self.task_of(event.batch), self.batches[event.batch]
        batch.reserved -= event.amount
        task.reserved -= event.amount
        task.burnt += event.amount
        task.flows[Flow(_task_name(task.id), "burnt", "fee of a convicted replica")] += event.amount
        self.sent[self._deployment.market] += event.amount

    # Nodes

    def _withdrawn(self, event: on_chain.Withdrawn) -> None:
        node = self.nodes[event.node]
        node.balance -= event.amount
        node.withdrawn += event.amount
        self.sent[self._deployment.market] += event.amount

    def _node_registered(self, event: on_chain.NodeRegistered) -> None:
        self.nodes[event.node] = NodeBook(event.node, event.owner, event.operator, event.owner, event.url)

    def _operator_set(self, event: on_chain.OperatorSet) -> None:
        self.nodes[event.node].operator = event.operator

    def _payee_set(self, event: on_chain.PayeeSet) -> None:
        self.nodes[event.node].payee = event.payee

    def _node_described(self, event: on_chain.NodeDescribed) -> None:
        self.nodes[event.node].url = event.url

    def _stake_added(self, event: on_chain.StakeAdded) -> None:
        self.nodes[event.node].stake += event.amount
        self.received[self._deployment.registry] += event.amount

    def _unbond_started(self, event: on_chain.UnbondStarted) -> None:
        self.nodes[event.node].stake -= event.amount
        self.nodes[event.node].unbonding += event.amount

    def _unbond_cancelled(self, event: on_chain.UnbondCancelled) -> None:
        self.nodes[event.node].stake += event.amount
        self.nodes[event.node].unbonding -= event.amount

    def _stake_withdrawn(self, event: on_chain.StakeWithdrawn) -> None:
        self.nodes[event.node].unbonding -= event.amount
        self.sent[self._deployment.registry] += event.amount

    def _stake_taken(self, event: on_chain.StakeTaken) -> None:
        self.nodes[event.node].stake -= event.amount
        self.nodes[event.node].taken += event.amount
        self.sent[self._deployment.registry] += event.amount
        self.received[self._deployment.market] += event.to_market
        self.received[self._deployment.arbiter] += event.to_arbiter

    def _testified(self, event: on_chain.Testified) -> None:
        self.sent[self._deployment.arbiter] += event.bounty

    # Court

    def _convicted(self, event: court_events.Convicted) -> None:
        """A demand that was not answered has no prover: what would be its bounty is burnt."""
        if not any(event.game):
            self.sent[self._deployment.arbiter] += event.bounty
            task = self.tasks[self.leases[event.lease].task]
            task.penalties -= event.bounty
            task.burnt += event.bounty
            self._move_flow(task, event.lease, "burnt", event.bounty)

    def _bounty_paid(self, event: court_events.BountyPaid) -> None:
        self.sent[self._deployment.arbiter] += event.amount
        task = self.tasks[self.leases[event.lease].task]
        self._move_flow(task, event.lease, event.to, event.amount)

    @staticmethod
    def _move_flow(task: TaskBook, lease: LeaseId, target: str, amount: int) -> None:
        """What went to provers unnamed turns out to be somebody's."""
        node = _node_name(lease.node)
        task.flows[Flow(node, "provers", "slash")] -= amount
        if not task.flows[Flow(node, "provers", "slash")]:
            del task.flows[Flow(node, "provers", "slash")]
        if amount:
            task.flows[Flow(node, target, "slash")] += amount

    # Token

    def _transfer(self, event: on_chain.Transfer) -> None:
        if event.from_ == ZERO_ADDRESS:
            self.minted += event.value
            self.supply += event.value
        else:
            self.holdings[event.from_] -= event.value
            self.transferred_out[event.from_] += event.value
        if event.to == ZERO_ADDRESS:
            self.supply -= event.value
        else:
            self.holdings[event.to] += event.value
            self.transferred_in[event.to] += event.value


def _task_name(task: int) -> str:
    return f"task {task}"


def _node_name(node: int) -> str:
    return f"node {node}"
