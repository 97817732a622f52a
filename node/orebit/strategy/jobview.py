"""Journal and chain laid over each other: what a job has posted, and what has come of it."""

from __future__ import annotations

from orebit.chain.types import LeaseId, Terms
from orebit.strategy.board import Batch, Board, Lease, Stage
from orebit.strategy.journal import BatchRecord, Entry, JobRecord, Journal, Kind
from orebit.strategy.rounds import Step


class JobView:
    """Looks at one job. What comes of the journal is read once, and again after `reread`."""

    def __init__(self, journal: Journal, job: JobRecord, board: Board) -> None:
        assert job.training is not None and job.averaging is not None
        self.job = job
        self.board = board
        self.tasks = {Kind.TRAINING: job.training, Kind.AVERAGING: job.averaging}
        settings = job.spec.task_file
        self.terms: dict[Kind, Terms] = {
            Kind.TRAINING: settings.training_terms,
            Kind.AVERAGING: settings.averaging_terms,
        }
        self._journal = journal
        self.reread()

    def reread(self) -> None:
        """Takes in what was journalled meanwhile."""
        self.records: list[BatchRecord] = self._journal.batches(self.job)
        self.refusals: dict[LeaseId, str] = self._journal.refusals(self.job)
        self._by_step: dict[tuple[Kind, int, bytes], list[BatchRecord]] = {}
        for record in self.records:
            self._by_step.setdefault((record.kind, record.round, record.parent), []).append(record)

    def batch(self, record: BatchRecord) -> Batch | None:
        """A journalled batch on-chain, None while it is not there."""
        return self.board.find(self.tasks[record.kind], record.plan_root)

    def records_of(self, step: Step) -> list[BatchRecord]:
        """Batches that were posted for this step, oldest first."""
        return self._by_step.get((step.kind, step.round, step.parent), [])

    def entries(self, step: Step, worker: int) -> list[tuple[BatchRecord, int]]:
        """Every shard that a worker's part of a step was posted as, oldest first: its batch and place in it."""
        return [
            (record, index)
            for record in self.records_of(step)
            for index, entry in enumerate(record.entries)
            if entry.worker == worker
        ]

    def lease(self, record: BatchRecord, index: int) -> Lease | None:
        """The live or final lease over a shard."""
        batch = self.batch(record)
        return batch.lease_of(index // record.size) if batch else None

    def usable(self, record: BatchRecord, index: int) -> Lease | None:
        """The lease over a shard when its result is public and not refused."""
        lease = self.lease(record, index)
        if lease is None or lease.root is None or lease.id in self.refusals:
            return None
        return lease if lease.stage in (Stage.REVEALED, Stage.FINAL) else None

    def is_alive(self, record: BatchRecord, index: int) -> bool:
        """Whether this shard may still bring a result that can be merged."""
        batch = self.batch(record)
        if batch is None:
            return True
        lease = batch.lease_of(index // record.size)
        return not batch.closed if lease is None else lease.id not in self.refusals

    def missing(self, step: Step) -> list[Entry]:
        """What nobody was asked for, or will bring any more, with an attempt that was not made before."""
        found = []
        for worker in range(step.workers(self.job.spec)):
            entries = self.entries(step, worker)
            if not any(self.is_alive(record, index) for record, index in entries):
                found.append(Entry(worker, len(entries)))
        return found

    def stage(self, step: Step, worker: int) -> Stage | None:
        """Where a worker's part of a step stands; None while it is not on-chain."""
        for record, index in reversed(self.entries(step, worker)):
            if self.batch(record) is not None:
                lease = self.lease(record, index)
                return lease.stage if lease else Stage.FREE
        return None

    def live(self, kind: Kind) -> list[Lease]:
        """Leases of one of the job's tasks that are neither final nor lost."""
        task = self.tasks[kind]
        return [lease for lease in self.board.live_leases() if self.board.batches[lease.batch].task == task]

    def unwanted(self) -> list[Batch]:
        """Open batches that a newer one replaced, or with a free grain whose result is public already."""
        newest = {(record.kind, record.round): record.parent for record in self.records}
        found = []
        for record in self.records:
            batch = self.batch(record)
            if batch is None or batch.closed or batch.settled:
                continue
            copied = any(batch.lease_of(grain) is None for grain in batch.exposed)
            if copied or newest[record.kind, record.round] != record.parent:
                found.append(batch)
        return found
