"""Computing: the most urgent job first, in threads, checkpoint by checkpoint, into store and journal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum

import structlog

from orebit.chain.types import LeaseId
from orebit.commitment import ListKind, ShardResult, list_root, merkle
from orebit.daemon.inputs import Inputs
from orebit.daemon.journal import Journal
from orebit.errors import BlobCorrupt, BlobMissing, ExecutionStopped, OrebitError
from orebit.executor.hardware import Hardware, Split
from orebit.executor.run import Checkpoint, ShardRun, run_shard
from orebit.store import LocalStore, PlanShard

log = structlog.get_logger(__name__)

RETRY_SECONDS = 5.0


class Purpose(Enum):
    """Why shards are executed."""

    LEASE = "lease"
    REPLICA = "replica"
    TESTIMONY = "testimony"
    CHECK = "check"


Key = tuple[LeaseId, Purpose]


@dataclass(frozen=True)
class Job:
    """Shards [first, first + count) of a plan, executed for a lease (a testimony: for the contested primary).

    A check executes a lease of this node again, from its inputs alone.
    `log2`: the block's height for a replica or testimony, whose root is the raw subtree node; a lease's own root is
    its list of results. `deadline`: Unix time. `sources`: who has the inputs. `seconds`: estimated time.
    """

    lease: LeaseId
    purpose: Purpose
    plan_root: bytes
    first: int
    count: int
    log2: int
    deadline: int
    sources: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def key(self) -> Key:
        return self.lease, self.purpose

    def root(self, hashes: Sequence[bytes]) -> bytes:
        """What is committed, revealed or testified, of the result hashes in order."""
        if self.purpose in (Purpose.LEASE, Purpose.CHECK):
            return list_root(ListKind.RESULTS, hashes)
        return merkle.subtree_root(hashes, 0, self.log2)


@dataclass
class Progress:
    """How far a job is: shards done, and steps of the current shard."""

    shards: int = 0
    of_shards: int = 1
    steps: int = 0
    of_steps: int = 1
    started: float = field(default_factory=time.time)

    @property
    def part(self) -> float:
        """Between 0 and 1."""
        return min(1.0, (self.shards + self.steps / max(1, self.of_steps)) / max(1, self.of_shards))


class Workshop:
    """Executes jobs in the calling thread, checkpoint by checkpoint. Safe for several threads at once."""

    def __init__(
        self,
        journal: Journal,
        store: LocalStore,
        inputs: Inputs,
        threads: int,
        ranks: int = 1,
        split: Split = Split.DATA,
        hardware: Hardware = Hardware.AUTO,
    ) -> None:
        self._hardware = hardware
        self._journal = journal
        self._store = store
        self._inputs = inputs
        self._threads = threads
        self._ranks = ranks
        self._split = split

    def execute(self, job: Job, progress: Progress, should_stop: Callable[[], bool]) -> bytes:
        """Computes the job's root; what an earlier life journalled is not computed again, but for a check.

        Raises ExecutionStopped when asked to stop, OrebitError when inputs or disk fail.
        """
        plan = self._inputs.plan(job.plan_root)
        hashes = []
        progress.of_shards = job.count
        if job.purpose is Purpose.CHECK:
            entries = plan.shards[job.first : job.first + job.count]
            return job.root([self._execute_afresh(entry, progress, should_stop) for entry in entries])
        done = self._journal.shard_results(job.lease)
        for number in range(job.first, job.first + job.count):
            if number not in done:
                done[number] = self._execute_shard(job, number, plan.shards[number], progress, should_stop)
            hashes.append(done[number])
            progress.shards, progress.steps = len(hashes), 0
        return self._store_root(job, hashes)

    def _store_root(self, job: Job, hashes: list[bytes]) -> bytes:
        if job.purpose is Purpose.LEASE:
            root = self._store.put_list(ListKind.RESULTS, hashes)
        else:
            root = self._store.put_block(hashes, job.log2)
        self._journal.own_blobs(job.lease, [root])
        return root

    def _execute_afresh(self, entry: PlanShard, progress: Progress, should_stop: Callable[[], bool]) -> bytes:
        """A shard's result hash, from nothing but its inputs, kept nowhere."""
        run = self._run(entry, lambda _: None, lambda *_: None, should_stop, None)
        progress.shards += 1
        return ShardResult(entry.shard.id, run.checkpoints_root).hash

    def _run(
        self,
        entry: PlanShard,
        on_checkpoint: Callable[[Checkpoint], None],
        on_progress: Callable[[int, int], None],
        should_stop: Callable[[], bool],
        resume_from: Checkpoint | None,
    ) -> ShardRun:
        return run_shard(
            self._inputs.program(entry.program),
            self._inputs.tensors(entry.constants),
            self._inputs.tensors(entry.state),
            self._inputs.tensors(entry.parameters),
            entry.steps,
            entry.interval,
            threads=self._threads or os.cpu_count(),
            ranks=self._ranks,
            split=self._split,
            hardware=self._hardware,
            on_progress=on_progress,
            on_checkpoint=on_checkpoint,
            should_stop=should_stop,
            resume_from=resume_from,
        )

    def _execute_shard(
        self, job: Job, number: int, entry: PlanShard, progress: Progress, should_stop: Callable[[], bool]
    ) -> bytes:
        kept = self._kept(job, number, entry)
        progress.of_steps, progress.steps = entry.steps, kept.step if kept else 0
        began, first_step = time.monotonic(), progress.steps

        def stepped(done: int, _steps: int) -> None:
            progress.steps = done

        def reached(checkpoint: Checkpoint) -> None:
            """Its tensors are stored first, then the journal knows of it."""
            self._store_state(job, checkpoint)
            self._journal.checkpoint(job.lease, number, len(checkpoint.roots), checkpoint.root)

        run = self._run(entry, reached, stepped, should_stop, kept)
        if entry.steps > first_step:
            self._journal.set_speed(entry.program, (time.monotonic() - began) / (entry.steps - first_step))
        return self._store_result(job, number, entry, run)

    def _kept(self, job: Job, number: int, entry: PlanShard) -> Checkpoint | None:
        """The last checkpoint of an earlier life whose tensors are still in the store."""
        roots = self._journal.checkpoints(job.lease, number)
        while roots:
            try:
                heads = self._store.list_entries(roots[-1], ListKind.STATE)
                pairs = [self._store.tensor(head) for head in heads]
            except (BlobMissing, BlobCorrupt) as error:
                log.warning("a kept checkpoint is damaged; going back to the one before", reason=str(error))
                roots.pop()
                continue
            step = min(len(roots) * entry.interval, entry.steps)
            log.info("going on from a checkpoint", lease=str(job.lease), shard=number, step=step)
            return Checkpoint(step, tuple(array for _, array in pairs), tuple(head for head, _ in pairs), tuple(roots))
        return None

    def _store_state(self, job: Job, checkpoint: Checkpoint) -> None:
        heads = [
            self._store.put_tensor(head.dtype, head.shape, array).root
            for head, array in zip(checkpoint.heads, checkpoint.state, strict=True)
        ]
        root = self._store.put_list(ListKind.STATE, heads)
        self._journal.own_blobs(job.lease, [root, *heads])

    def _store_result(self, job: Job, number: int, entry: PlanShard, run: ShardRun) -> bytes:
        """The result's preimages and lists, then the journal's word that the shard is done; returns its hash."""
        checkpoints = self._store.put_list(ListKind.CHECKPOINTS, list(run.roots))
        result = self._store.put_preimage(ShardResult(entry.shard.id, checkpoints).encode())
        self._journal.own_blobs(job.lease, [checkpoints, result])
        self._journal.shard_done(job.lease, number, result)
        return result


class Worker:
    """Runs jobs in threads, the most urgent first. `done` is set whenever one ends."""

    def __init__(self, workshop: Workshop, inputs: Inputs, parallel: int) -> None:
        self._workshop = workshop
        self._inputs = inputs
        self._parallel = parallel
        self._pool = ThreadPoolExecutor(parallel, thread_name_prefix="shard")
        self._stop = threading.Event()
        self._wake = asyncio.Event()
        self._waiting: dict[Key, Job] = {}
        self._running: dict[Key, tuple[Job, Progress]] = {}
        self._dropped: set[Key] = set()
        self._not_before: dict[Key, float] = {}
        self.finished: dict[Key, bytes] = {}
        self.done = asyncio.Event()

    def submit(self, job: Job) -> None:
        """Queues a job; one that waits, runs or is finished already is left as it is."""
        if job.key not in self.finished and job.key not in self._running:
            self._waiting[job.key] = job
            self._dropped.discard(job.key)
            self._wake.set()

    def drop(self, lease: LeaseId) -> None:
        """Nobody needs this lease's jobs any more."""
        for key in [(lease, purpose) for purpose in Purpose]:
            self._waiting.pop(key, None)
            self.finished.pop(key, None)
            if key in self._running:
                self._dropped.add(key)

    def progress(self, lease: LeaseId) -> Progress | None:
        """How far a lease's running job is; None for one that waits."""
        found = (progress for job, progress in self._running.values() if job.lease == lease)
        return next(found, None)

    @property
    def jobs(self) -> int:
        """Jobs that wait or run."""
        return len(self._waiting) + len(self._running)

    def backlog(self) -> float:
        """Estimated seconds until a job submitted now would begin."""
        running = sum(job.seconds * (1 - progress.part) for job, progress in self._running.values())
        return (running + sum(job.seconds for job in self._waiting.values())) / self._parallel

    async def run(self) -> None:
        """Works until cancelled; then what runs stops at its next step, everything it reached being journalled."""
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(self._parallel):
                    group.create_task(self._work(), name=f"worker {number}")
        finally:
            self._stop.set()
            self._pool.shutdown(wait=True)

    async def _work(self) -> None:
        while True:
            job = self._take()
            if job is None:
                self._wake.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), 1.0)
                continue
            await self._do(job)

    def _retry(self, job: Job) -> None:
        self._not_before[job.key] = time.monotonic() + RETRY_SECONDS
        self._waiting[job.key] = job

    def _take(self) -> Job | None:
        now = time.monotonic()
        ready = [job for job in self._waiting.values() if self._not_before.get(job.key, 0.0) <= now]
        return min(ready, key=lambda job: job.deadline, default=None)

    async def _do(self, job: Job) -> None:
        progress = Progress()
        del self._waiting[job.key]
        self._running[job.key] = job, progress
        log.info("computing", lease=str(job.lease), purpose=job.purpose.value, shards=job.count)

        def should_stop() -> bool:
            return self._stop.is_set() or job.key in self._dropped

        try:
            await self._inputs.fetch(job.plan_root, job.sources, job.first, job.count)
            loop = asyncio.get_running_loop()
            self.finished[job.key] = await loop.run_in_executor(
                self._pool, self._workshop.execute, job, progress, should_stop
            )
            log.info("computed", lease=str(job.lease), seconds=round(time.time() - progress.started, 2))
        except ExecutionStopped:
            log.info("stopped computing", lease=str(job.lease))
        except OrebitError as error:
            log.warning("cannot compute; trying again", lease=str(job.lease), reason=str(error))
            self._retry(job)
        except Exception:  # a stranger's program must not end the daemon, whatever it finds in torch
            log.exception("cannot compute, by a fault of this software; trying again", lease=str(job.lease))
            self._retry(job)
        finally:
            del self._running[job.key]
            self._dropped.discard(job.key)
            self.done.set()
