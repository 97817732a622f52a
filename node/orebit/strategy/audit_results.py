"""Results against blobs: plan root, shard ids, result hashes, checkpoints, states; and re-execution."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from orebit.chain.commitments import replica_log2
from orebit.chain.ledger import BatchBook, LeaseBook, Ledger, Outcome
from orebit.commitment import Shard, ShardResult, TensorHead
from orebit.commitment.merkle import subtree_root
from orebit.errors import (
    BlobCorrupt,
    BlobMissing,
    BlobTooLarge,
    CommitmentError,
    ExecutionError,
    OrebitError,
    ProgramError,
)
from orebit.program.graph import Program
from orebit.store.client import BlobClient
from orebit.store.plan import Plan, PlanShard


class Verdict(StrEnum):
    """What a check of a root said."""

    VERIFIED = "verified"
    UNVERIFIED = "unverified"
    """A blob is missing: nothing contradicts the chain, nothing proves it."""
    MISMATCH = "mismatch"


@dataclass(frozen=True)
class Check:
    """One root's verdict and why. `subject` names it for a person: "batch 3", "lease 1/0#2", "batch 3 shard 5"."""

    subject: str
    root: bytes
    verdict: Verdict
    detail: str = ""


@dataclass(frozen=True)
class CheckedLease:
    """A primary's result hashes, in the order of its shards, each checked down to the final state."""

    lease: LeaseBook
    batch: BatchBook
    plan: Plan
    hashes: tuple[bytes, ...]

    def shard_index(self, place: int) -> int:
        """The plan's shard at `place` of the lease."""
        return self.lease.first * self.batch.size + place


class ResultAuditor:
    """Checks one task's roots. `sources` are tried before the URLs that the chain names."""

    def __init__(self, ledger: Ledger, task: int, client: BlobClient, sources: Sequence[str] = ()) -> None:
        self._ledger = ledger
        self._task = ledger.tasks[task]
        self._client = client
        self._sources = tuple(sources)
        self._nodes = sorted({lease.id.node for lease in ledger.leases_of(task)})
        self.checks: list[Check] = []
        self._plans: dict[int, Plan] = {}
        self._checked: dict[object, CheckedLease] = {}

    async def check_all(self, *, tensors: bool = True) -> None:
        """Every plan, then every result that stands, replicas last; verdicts go to `checks`."""
        leases = [lease for lease in self._ledger.leases_of(self._task.id) if _stands(lease)]
        for batch in self._ledger.batches_of(self._task.id):
            await self._check_plan(batch)
        for lease in leases:
            if not lease.replica:
                await self._check_primary(lease, tensors)
        for lease in leases:
            if lease.replica:
                self._check_replica(lease)

    async def reexecute(self, count: int, chance: random.Random) -> None:
        """Runs `count` shards picked at random from the results that were verified, and compares their hashes."""
        places = [(checked, place) for checked in self._checked.values() for place in range(len(checked.hashes))]
        for checked, place in chance.sample(places, min(count, len(places))):
            await self._reexecute(checked, place)

    # Roots

    async def _check_plan(self, batch: BatchBook) -> None:
        subject = f"batch {batch.id}"
        try:
            plan = await self._client.fetch_plan(batch.plan_root, self._urls())
        except OrebitError as error:
            self._note(subject, batch.plan_root, error)
            return
        if len(plan.shards) != batch.shards:
            what = f"{len(plan.shards)} shards in a batch of {batch.shards}"
            self.checks.append(Check(subject, batch.plan_root, Verdict.MISMATCH, what))
            return
        self._plans[batch.id] = plan
        self.checks.append(Check(subject, batch.plan_root, Verdict.VERIFIED, f"{batch.shards} shards"))

    async def _check_primary(self, lease: LeaseBook, tensors: bool) -> None:
        batch, subject = self._ledger.batches[lease.batch], f"lease {lease.id}"
        plan = self._plans.get(lease.batch)
        if plan is None:
            self.checks.append(Check(subject, lease.root, Verdict.UNVERIFIED, "its batch's plan is not known"))
            return
        shards = [entry.shard for entry in _part(plan, lease, batch)]
        urls = self._urls(plan, lease.id.node)
        try:
            outcomes = await self._client.fetch_result(lease.root, urls, shards=shards, tensors=tensors)
        except OrebitError as error:
            self._note(subject, lease.root, error)
            return
        hashes = tuple(outcome.result.hash for outcome in outcomes)
        self._checked[lease.id] = CheckedLease(lease, batch, plan, hashes)
        self.checks.append(Check(subject, lease.root, Verdict.VERIFIED, f"{len(shards)} shards"))

    def _check_replica(self, lease: LeaseBook) -> None:
        """A replica's node must stand in its primary's tree, once both are final."""
        subject, primary = f"replica {lease.id}", self._checked.get(lease.primary)
        if primary is None:
            self.checks.append(Check(subject, lease.root, Verdict.UNVERIFIED, "its primary's result is not known"))
            return
        log2 = replica_log2(self._task.terms, len(primary.hashes))
        same = subtree_root(primary.hashes, lease.drawn_block, log2) == lease.root
        what = "" if same else f"block {lease.drawn_block} of its primary has another root"
        self.checks.append(Check(subject, lease.root, Verdict.VERIFIED if same else Verdict.MISMATCH, what))

    # Re-execution

    async def _reexecute(self, checked: CheckedLease, place: int) -> None:
        index, expected = checked.shard_index(place), checked.hashes[place]
        subject = f"batch {checked.batch.id} shard {index}"
        shard = checked.plan.shards[index].shard
        urls = self._urls(checked.plan, checked.lease.id.node)
        try:
            inputs = await self._client.fetch_shard_inputs(shard, urls, pieces=checked.plan.pieces)
            groups = (inputs.constants, inputs.state, inputs.parameters)
            result = await asyncio.to_thread(self._run, shard, inputs.program, *groups)
        except OrebitError as error:
            self._note(f"{subject} again", expected, error)
            return
        same = result.hash == expected
        what = f"executed again, {shard.steps} steps: " + (
            "the hash holds" if same else f"the hash is {result.hash.hex()}"
        )
        self.checks.append(Check(subject, expected, Verdict.VERIFIED if same else Verdict.MISMATCH, what))

    def _run(
        self,
        shard: Shard,
        program: bytes,
        constants: Sequence[TensorHead],
        state: Sequence[TensorHead],
        parameters: Sequence[TensorHead],
    ) -> ShardResult:
        given = [[self._array(head) for head in heads] for heads in (constants, state, parameters)]
        from orebit.executor.run import run_shard  # torch takes seconds, which an audit without re-execution need not

        run = run_shard(Program.decode(program), given[0], given[1], given[2], shard.steps, shard.interval)
        return ShardResult(shard.id, run.checkpoints_root)

    def _array(self, head: TensorHead) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
        return self._client.store.tensor(head.root)[1]

    # Sources and notes

    def _urls(self, plan: Plan | None = None, node: int | None = None) -> list[str]:
        """Given sources, the node itself, the requester, the plan's advice, and every other node of the task."""
        first = [self._ledger.nodes[node].url] if node is not None else []
        others = [self._ledger.nodes[number].url for number in self._nodes]
        advice = list(plan.sources) if plan is not None else []
        return [url for url in dict.fromkeys([*self._sources, *first, self._task.url, *advice, *others]) if url]

    def _note(self, subject: str, root: bytes, error: OrebitError) -> None:
        self.checks.append(Check(subject, root, _verdict(error), str(error)))


def _stands(lease: LeaseBook) -> bool:
    """Revealed and neither slashed nor voided; of a replica, paid: before, it may be contested."""
    if lease.replica:
        return lease.outcome is Outcome.FINAL
    return bool(lease.root) and lease.outcome in (Outcome.FINAL, Outcome.LIVE)


def _part(plan: Plan, lease: LeaseBook, batch: BatchBook) -> Sequence[PlanShard]:
    return plan.shards[lease.first * batch.size : (lease.first + lease.grains) * batch.size]


def _verdict(error: OrebitError) -> Verdict:
    """Bytes that contradict a root are a mismatch; bytes that nobody gave are not."""
    if isinstance(error, BlobMissing | BlobTooLarge):
        return Verdict.UNVERIFIED
    if isinstance(error, BlobCorrupt | CommitmentError | ProgramError | ExecutionError):
        return Verdict.MISMATCH
    raise error
