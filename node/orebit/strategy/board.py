"""Where the leases of some tasks stand, folded from the market's events: what a driver and an onlooker look at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from functools import singledispatchmethod

from orebit.chain import events
from orebit.chain.types import LeaseId, Terms


class Stage(Enum):
    """Where a grain stands, in the order of a shard's life."""

    FREE = "free"
    LEASED = "training"
    COMMITTED = "committed"
    REPLICATED = "replicated"
    CONTESTED = "contested"
    REVEALED = "revealed"
    FINAL = "final"


@dataclass
class Lease:
    """A primary lease. `root` is its result root once revealed."""

    id: LeaseId
    batch: int
    first: int
    grains: int
    stake: int
    since: int
    """Block of its last change."""
    stage: Stage = Stage.LEASED
    root: bytes | None = None
    replica: LeaseId | None = None
    called: bool = False


@dataclass
class Batch:
    """A posted batch and its primary leases: the live ones and the final ones."""

    id: int
    task: int
    plan_root: bytes
    grains: int
    size: int
    posted: int
    """Block of posting."""
    leases: dict[LeaseId, Lease] = field(default_factory=dict)
    closed: bool = False
    settled: bool = False
    lost: int = 0
    """Leases that expired, were voided or slashed."""
    exposed: set[int] = field(default_factory=set)
    """Grains whose lease was lost after its result had become public."""

    @property
    def shards(self) -> int:
        return self.grains * self.size

    def lease_of(self, grain: int) -> Lease | None:
        """The primary lease that covers a grain now, None while the grain is free (or refunded)."""
        for lease in self.leases.values():
            if lease.first <= grain < lease.first + lease.grains:
                return lease
        return None

    def stages(self) -> list[Stage]:
        """A stage for every grain."""
        found = (self.lease_of(grain) for grain in range(self.grains))
        return [lease.stage if lease else Stage.FREE for lease in found]

    @property
    def all_final(self) -> bool:
        return all(stage is Stage.FINAL for stage in self.stages())


@dataclass
class Task:
    """A created task and what has happened to its money, in wei."""

    id: int
    requester: str
    terms: Terms
    url: str
    created: int
    transaction: bytes
    """A job's tasks are created in one."""
    batches: list[int] = field(default_factory=list)
    paid: int = 0
    """Paid for primaries."""
    fees: int = 0
    """Paid for replicas."""
    replicas: int = 0
    earned: dict[int, int] = field(default_factory=dict)
    """Wei that each node was paid, fees included."""


class Board:
    """A fold over events in chain order. `wanted` limits it to some tasks; None keeps all of them."""

    def __init__(self, wanted: Iterable[int] | None = None) -> None:
        self.wanted = None if wanted is None else set(wanted)
        self.tasks: dict[int, Task] = {}
        self.batches: dict[int, Batch] = {}
        self.by_plan: dict[tuple[int, bytes], int] = {}
        self._primary: dict[LeaseId, Batch] = {}
        self._replica_of: dict[LeaseId, LeaseId] = {}

    def watch(self, task: int) -> None:
        """Also keeps this task; its events must still be to come."""
        if self.wanted is not None:
            self.wanted.add(task)

    def apply_all(self, happened: Iterable[events.Event]) -> None:
        for event in happened:
            self.apply(event)

    @singledispatchmethod
    def apply(self, event: events.Event) -> None:
        """Takes in one event; those that do not move a lease are ignored."""

    def batches_of(self, task: int) -> list[Batch]:
        found = self.tasks.get(task)
        return [self.batches[batch] for batch in found.batches] if found else []

    def job_of(self, task: int) -> list[Task]:
        """The tasks that were created together with this one, itself included."""
        found = self.tasks.get(task)
        return [other for other in self.tasks.values() if found and other.transaction == found.transaction]

    def find(self, task: int, plan_root: bytes) -> Batch | None:
        """The latest batch of a task with this plan."""
        batch = self.by_plan.get((task, plan_root))
        return None if batch is None else self.batches[batch]

    def live_leases(self) -> Iterator[Lease]:
        """Primary leases that are neither final nor lost."""
        for batch in self.batches.values():
            yield from (lease for lease in batch.leases.values() if lease.stage is not Stage.FINAL)

    @apply.register
    def _(self, event: events.TaskCreated) -> None:
        if self.wanted is None or event.task in self.wanted:
            place = event.place
            self.tasks[event.task] = Task(
                event.task, event.requester, event.terms, event.url, place.block, place.transaction
            )

    @apply.register
    def _(self, event: events.BatchPosted) -> None:
        task = self.tasks.get(event.task)
        if task is None:
            return
        task.batches.append(event.batch)
        self.batches[event.batch] = Batch(
            event.batch, event.task, event.plan_root, event.grains, event.size, event.place.block
        )
        self.by_plan[event.task, event.plan_root] = event.batch

    @apply.register
    def _(self, event: events.BatchClosed) -> None:
        if batch := self.batches.get(event.batch):
            batch.closed = True

    @apply.register
    def _(self, event: events.BatchSettled) -> None:
        if batch := self.batches.get(event.batch):
            batch.settled = True

    @apply.register
    def _(self, event: events.Leased) -> None:
        batch = self.batches.get(event.batch)
        if batch is None:
            return
        lease = Lease(event.lease, batch.id, event.first, event.grains, event.stake, event.place.block)
        batch.leases[event.lease] = lease
        self._primary[event.lease] = batch

    @apply.register
    def _(self, event: events.Committed) -> None:
        self._move(event.lease, Stage.COMMITTED, event)

    @apply.register
    def _(self, event: events.Called) -> None:
        if lease := self._find(event.lease):
            lease.called = True

    @apply.register
    def _(self, event: events.Taken) -> None:
        if lease := self._find(event.primary):
            lease.replica = event.replica
            self._replica_of[event.replica] = event.primary
            self._move(event.primary, Stage.REPLICATED, event)

    @apply.register
    def _(self, event: events.Revealed) -> None:
        if lease := self._find(event.lease):
            lease.root = event.root
            if lease.stage is not Stage.CONTESTED:
                self._move(event.lease, Stage.REVEALED, event)

    @apply.register
    def _(self, event: events.Contested) -> None:
        self._move(event.primary, Stage.CONTESTED, event)

    @apply.register
    def _(self, event: events.Finalised) -> None:
        batch = self.batches.get(event.batch)
        if batch is None:
            return
        task = self.tasks[batch.task]
        node = event.lease.node
        task.earned[node] = task.earned.get(node, 0) + event.paid
        lease = self._find(event.lease)
        if lease is None:
            self._replica_of.pop(event.lease, None)
            task.fees += event.paid
            task.replicas += 1
            return
        lease.root = event.root
        task.paid += event.paid
        self._move(event.lease, Stage.FINAL, event)

    @apply.register
    def _(self, event: events.Expired) -> None:
        self._lose(event.lease, event)

    @apply.register
    def _(self, event: events.Voided) -> None:
        self._lose(event.lease, event)

    @apply.register
    def _(self, event: events.Slashed) -> None:
        self._lose(event.lease, event)

    def _find(self, lease: LeaseId) -> Lease | None:
        batch = self._primary.get(lease)
        return batch.leases.get(lease) if batch else None

    def _move(self, lease: LeaseId, stage: Stage, event: events.Event) -> None:
        if found := self._find(lease):
            found.stage = stage
            found.since = event.place.block

    def _lose(self, lost: LeaseId, event: events.Event) -> None:
        """A primary's grains are free again; a primary that lost only its replica goes on."""
        batch = self._primary.pop(lost, None)
        if batch is not None:
            lease = batch.leases.pop(lost)
            batch.lost += 1
            if lease.root is not None:
                batch.exposed.update(range(lease.first, lease.first + lease.grains))
            return
        primary = self._find(self._replica_of.pop(lost, LeaseId(0)))
        if primary is None:
            return
        primary.replica = None
        if primary.stage is Stage.CONTESTED:
            self._move(primary.id, Stage.REVEALED, event)
