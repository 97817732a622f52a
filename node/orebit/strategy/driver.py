"""Drives a parameter-averaging job to its end: posts, follows, verifies, merges, and falls back when results change.

A job is a dataflow (see `rounds`). Every beat walks it from the first round on: a step whose results are known and
verified yields the next step's starts; one that lacks shards has them posted; one that waits ends the walk. Nothing
else decides what is posted, so a driver that was killed, or whose results were overturned, goes on by walking again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import structlog

from orebit.chain.token import format_amount
from orebit.chain.types import LeaseId
from orebit.errors import (
    BlobCorrupt,
    BlobMissing,
    ChainError,
    JobHalted,
    OrebitError,
    ResultNotFinite,
    ResultRefused,
    TransactionReverted,
)
from orebit.strategy.board import Lease, Stage
from orebit.strategy.follow import Follower
from orebit.strategy.jobview import JobView
from orebit.strategy.journal import BatchRecord, Entry, JobRecord, Kind
from orebit.strategy.progress import QUIET, Observer, Progress, RoundProgress
from orebit.strategy.requester import Requester
from orebit.strategy.results import Merged, ResultReader
from orebit.strategy.rounds import State, Step
from orebit.strategy.tending import Tender
from orebit.strategy.waiting import describe_stall

log = structlog.get_logger(__name__)

MAX_ATTEMPTS = 5
"""Ids that one shard's work is posted under before the driver gives up."""
STALL_SECONDS = 30.0
"""After this long without any event the driver looks for what may be wrong."""


class TasksMoved(OrebitError):
    """The job's tasks have other numbers than the driver was started with."""


@dataclass
class _Memory:
    """What a driver knows besides journal and chain; all of it can be found again."""

    merged: dict[tuple[bytes, int, bytes], Merged] = field(default_factory=dict)
    not_finite: dict[int, set[int]] = field(default_factory=dict)
    """Nodes whose results of a round were not finite."""
    sought: dict[LeaseId, float] = field(default_factory=dict)
    moved_at: float = field(default_factory=time.monotonic)
    message: str = ""
    steps: list[Step] = field(default_factory=list)
    losses: dict[int, tuple[float, ...]] = field(default_factory=dict)


class Driver:
    """One job of one requester, whose tasks exist and whose blobs are served at the job's URL."""

    def __init__(self, requester: Requester, job: JobRecord, results: ResultReader, observer: Observer = QUIET) -> None:
        if job.training is None or job.averaging is None:
            raise JobHalted("The job's tasks do not exist on-chain yet. Submit it again.")
        self._requester = requester
        self._job = job
        self._spec = job.spec
        self._settings = job.spec.task_file.run
        self._results = results
        self._observer = observer
        self._follower = Follower(requester.connection, since=job.block, tasks=(job.training, job.averaging))
        self._tender = Tender(requester, self._settings.call)
        self._memory = _Memory()
        self._view = JobView(requester.journal, job, self._follower.board)

    async def run(self) -> State:
        """Works until the averaged state of the last round stands on final results alone; its tensors' roots.

        Raises JobHalted when going on would waste money. An unreachable chain is waited for.
        """
        while True:
            state = None
            try:
                state = await self.beat()
            except TransactionReverted:
                raise
            except ChainError as error:
                self._memory.message = f"Waiting for the chain: {error}"
            self._observer.progress(self.progress())
            if state is not None:
                return state
            await asyncio.sleep(self._settings.poll)

    async def beat(self) -> State | None:
        """One look at the chain and all that follows from it; the final state when the job is done."""
        if await self._follower.refresh():
            self._memory.moved_at = time.monotonic()
        self._require_tasks()
        self._view = JobView(self._requester.journal, self._job, self._follower.board)
        state = await self._walk()
        if self._follower.head is not None:
            await self._tender.tend(self._view, self._follower.head)
        if state is None and time.monotonic() - self._memory.moved_at > STALL_SECONDS:
            self._memory.message += await describe_stall(self._requester, self._view)
        return state

    def _require_tasks(self) -> None:
        """Raises TasksMoved when a reorg gave the job's task numbers to others."""
        for kind, task in self._view.tasks.items():
            found = self._follower.board.tasks.get(task)
            if found is not None and found.terms != self._view.terms[kind]:
                raise TasksMoved(f"Task {task} is another since the chain was rewritten.")

    # The walk

    async def _walk(self) -> State | None:
        """From the first round on, as far as results reach; the last averaged state once all are final."""
        self._memory.steps = []
        state = self._spec.state
        unfinal: set[int] = set()
        for number in range(self._spec.rounds):
            if len(unfinal) > self._settings.depth:
                self._memory.message = f"Round {number + 1} waits until round {min(unfinal) + 1} is final."
                return None
            trained = await self._step(Step(Kind.TRAINING, number, (state,)), unfinal)
            if trained is None:
                return None
            self._memory.losses[number] = tuple(result.loss for result in trained)
            averaged = await self._step(
                Step(Kind.AVERAGING, number, tuple(result.state for result in trained)), unfinal
            )
            if averaged is None:
                return None
            state = averaged[0].state
        if unfinal:
            self._memory.message = "All rounds are trained; waiting until their results are final."
            return None
        return state

    async def _step(self, step: Step, unfinal: set[int]) -> list[Merged] | None:
        """Verified results of every worker of a step; None while any is missing. Posts what nobody was asked for."""
        self._memory.steps.append(step)
        self._memory.message = f"Round {step.round + 1}: {step.kind.value}."
        await self._post_pending(self._view.records_of(step))
        found = [await self._result(step, worker, unfinal) for worker in range(step.workers(self._spec))]
        if missing := self._view.missing(step):
            await self._post(step, missing)
        results = [merged for merged in found if merged is not None]
        return results if len(results) == len(found) else None

    async def _result(self, step: Step, worker: int, unfinal: set[int]) -> Merged | None:
        """The first usable result of a worker's part. Notes the round when that result is not final."""
        for record, index in self._view.entries(step, worker):
            lease = self._view.usable(record, index)
            merged = await self._merge(step, record, index, lease) if lease else None
            if lease is None or merged is None:
                continue
            if lease.stage is not Stage.FINAL:
                unfinal.add(step.round)
            return merged
        return None

    async def _merge(self, step: Step, record: BatchRecord, index: int, lease: Lease) -> Merged | None:
        """The verified final state of one shard; None while its blobs are missing or once it is refused."""
        assert lease.root is not None
        key = record.plan_root, index, lease.root
        if (known := self._memory.merged.get(key)) is not None:
            return known
        first = lease.first * record.size
        entries = record.entries[first : first + lease.grains * record.size]
        shards = [step.shard(self._spec, entry) for entry in entries]
        try:
            merged = await self._results.read(step, lease, shards, index - first)
        except (BlobMissing, BlobCorrupt) as error:
            await self._seek_longer(step, lease, error)
            return None
        except ResultRefused as error:
            if isinstance(error, ResultNotFinite):
                self._suspect_divergence(step, lease, error)
            await self._refuse(step, lease, str(error))
            return None
        self._memory.merged[key] = merged
        self._memory.sought.pop(lease.id, None)
        return merged

    def _suspect_divergence(self, step: Step, lease: Lease, error: ResultNotFinite) -> None:
        """One node may lie; when a second one finds the same, the training itself is at fault. Raises JobHalted."""
        nodes = self._memory.not_finite.setdefault(step.round, set())
        nodes.add(lease.id.node)
        if len(nodes) > 1:
            raise JobHalted(
                f"{error} Several nodes found the same, so the training diverged. Lower the learning rate and submit "
                f"a new job; `orebit task cancel {self._job.training}` gives back what this one has not spent."
            )

    async def _seek_longer(self, step: Step, lease: Lease, error: OrebitError) -> None:
        """Blobs may come late; after the patience the work is given to others."""
        since = self._memory.sought.setdefault(lease.id, time.monotonic())
        self._memory.message = f"Round {step.round + 1}: looking for the result of lease {lease.id}. {error}"
        if time.monotonic() - since > self._settings.patience:
            await self._refuse(step, lease, str(error))

    async def _refuse(self, step: Step, lease: Lease, reason: str) -> None:
        """Never merges this lease's result; in a gated task its node gets no more work."""
        log.warning("result refused", lease=str(lease.id), round=step.round + 1, reason=reason)
        self._requester.journal.refuse(self._job, lease.id, reason)
        self._observer.note(f"The result of lease {lease.id} is not used. {reason}")
        self._view.reread()
        if self._view.terms[step.kind].is_gated:
            task, node, market = self._view.tasks[step.kind], lease.id.node, self._requester.market
            await self._requester.sender.send(
                market.address,
                market.encode_bar(task, node, True),
                label=f"barring node {node}",
                key=f"bar:{self._job.run}:{task}:{node}",
            )

    # Posting

    async def _post(self, step: Step, entries: Sequence[Entry]) -> None:
        """Journals a batch, then posts it."""
        if max(entry.attempt for entry in entries) >= MAX_ATTEMPTS:
            raise self._given_up(step)
        record, plan = step.batch(self._spec, entries)
        sources = (self._job.url,) if self._job.url else ()
        await asyncio.to_thread(self._requester.store.put_plan, replace(plan, sources=sources))
        self._requester.journal.intend(self._job, record)
        self._view.reread()
        await self._post_pending([record])

    def _given_up(self, step: Step) -> JobHalted:
        reasons = " ".join(sorted(set(self._view.refusals.values())))
        return JobHalted(
            f"The {step.kind.value} of round {step.round + 1} was given out {MAX_ATTEMPTS} times without a result that "
            f"can be merged. {reasons} Get back what is not spent with `orebit task cancel {self._job.training}`."
        )

    async def _post_pending(self, records: Sequence[BatchRecord]) -> None:
        """Posts what is journalled and not on-chain; a posting in flight is waited for, never repeated."""
        for record in records:
            if self._view.batch(record) is None:
                await self._send_post(record)

    async def _send_post(self, record: BatchRecord) -> None:
        market, task = self._requester.market, self._view.tasks[record.kind]
        try:
            await self._requester.sender.send(
                market.address,
                market.encode_post(task, record.plan_root, len(record.entries) // record.size, record.size),
                label=f"posting round {record.round + 1} ({record.kind.value})",
                key=f"post:{self._job.run}:{record.plan_root.hex()}:{record.tries}",
            )
        except TransactionReverted as error:
            if error.transaction is not None:
                self._requester.journal.refused_by_chain(self._job, record)
            if error.error == "NewWorkPaused":
                self._memory.message = "The market's guardian has paused new work; the job goes on once that ends."
            elif error.error == "EscrowShort":
                self._memory.message = self._short_of_escrow(task, error)
            else:
                raise
        else:
            self._memory.moved_at = time.monotonic()

    def _short_of_escrow(self, task: int, error: TransactionReverted) -> str:
        """What to tell while unsettled batches may still give something back. Raises JobHalted when none can."""
        short = format_amount(int(error.values["needed"]) - int(error.values["available"]))
        help_ = f"`orebit task deposit {task} AMOUNT`, then `orebit task resume {task}`"
        if any(not batch.settled for batch in self._follower.board.batches_of(task)):
            return f"The next batch waits for {short} TokenAI of escrow, which earlier batches may give back. {help_}."
        raise JobHalted(
            f"Task {task} lacks {short} TokenAI of escrow for its next batch. Give it more with {help_}: the job goes "
            "on where it is."
        ) from error

    # Telling

    def progress(self) -> Progress:
        """The job as it stands."""
        board, tasks = self._follower.board, self._view.tasks
        found = [board.tasks[task] for task in tasks.values() if task in board.tasks]
        return Progress(
            training_task=tasks[Kind.TRAINING],
            averaging_task=tasks[Kind.AVERAGING],
            rounds=tuple(self._round(number) for number in range(self._spec.rounds)),
            message=self._memory.message,
            paid=sum(task.paid for task in found),
            fees=sum(task.fees for task in found),
            replicas=sum(task.replicas for task in found),
            lost=sum(batch.lost for batch in board.batches.values()),
        )

    def _round(self, number: int) -> RoundProgress:
        steps = {step.kind: step for step in self._memory.steps if step.round == number}
        training, averaging = steps.get(Kind.TRAINING), steps.get(Kind.AVERAGING)
        return RoundProgress(
            number=number,
            training=tuple(
                self._view.stage(training, worker) if training else None for worker in range(self._spec.workers)
            ),
            averaging=self._view.stage(averaging, 0) if averaging else None,
            losses=self._memory.losses.get(number, ()) if averaging else (),
        )
