"""Audits of others' results: random intervals of revealed leases are executed again, and what is wrong is challenged.

A contradiction inside one interval of the defender's own checkpoints is local: nothing before it need be known. So an
audit costs an interval, whatever the shard's length, and the challenge begins there.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from orebit.chain.commitments import replica_log2
from orebit.chain.types import CHECKPOINTS, RESULTS, LeaseId, LeaseInfo, LeaseState
from orebit.commitment import ListKind, ShardResult, merkle
from orebit.daemon.config import AuditSettings
from orebit.daemon.court.demands import Demands
from orebit.daemon.court.docket import Docket
from orebit.daemon.court.proofs import BLOB_ERRORS, Proofs, opening_of, root_after
from orebit.daemon.inputs import Inputs
from orebit.daemon.journal import Journal, Phase
from orebit.daemon.view import View
from orebit.dispute.game import interval_steps
from orebit.errors import BlobCorrupt, BlobMissing, ChainError, OrebitError
from orebit.store import BlobClient, PlanShard

log = structlog.get_logger(__name__)

PATIENCE = 3
"""How often commitments are asked of the node's own server before they are demanded on the chain."""

PICKED, NOT_PICKED = "picked", "not picked"
"""What chance said of a lease, which is asked once: an audit that has to wait is not drawn again."""

PAIR_SECONDS = 5.0
"""Between looks at whether a pair has revealed; a replica's state is its primary's."""

_WAITING = (
    LeaseState.LEASED,
    LeaseState.COMMITTED,
    LeaseState.CALLED,
    LeaseState.PAIRED,
    LeaseState.BOTH,
    LeaseState.HALF_REVEALED,
)


@dataclass(frozen=True)
class Found:
    """A claim that is false: the first checkpoint that differs, and the checkpoints with the true one in its place."""

    position: int
    claimed: tuple[bytes, ...]
    own: tuple[bytes, ...]
    checkpoint: int


@dataclass
class Auditor:
    """Looks at revealed leases of strangers, each once: primaries and replicas by chance, both of a contested pair."""

    settings: AuditSettings
    journal: Journal
    docket: Docket
    view: View
    client: BlobClient
    inputs: Inputs
    proofs: Proofs
    demands: Demands
    node: int

    def __post_init__(self) -> None:
        self._chance = random.SystemRandom()
        self._tries: dict[LeaseId, int] = {}
        self._again: dict[LeaseId, float] = {}
        self._peers: dict[LeaseId, LeaseId] = {}

    async def look(self) -> None:
        """One round. Raises ChainError when no endpoint answers."""
        if self.settings.share == 0:
            return
        for stranger in self.journal.strangers(Phase.CONTESTED):
            for lease in (stranger.lease, await self._peer(stranger.lease)):
                if lease.node not in (0, self.node) and self.docket.audited(lease) in (None, PICKED, NOT_PICKED):
                    await self._audit(lease)
        for stranger in self.journal.strangers(Phase.REVEALED, Phase.REPLICA):
            if self._is_picked(stranger.lease):
                await self._audit(stranger.lease)

    async def _peer(self, primary: LeaseId) -> LeaseId:
        """The replica of a contested primary, which may be the one that is wrong."""
        if primary not in self._peers:
            self._peers[primary] = (await self.view.lease(primary)).peer
        return self._peers[primary]

    def _is_picked(self, lease: LeaseId) -> bool:
        """Whether chance has picked the lease, and nothing was found yet."""
        known = self.docket.audited(lease)
        if known is None:
            known = PICKED if self._chance.random() < self.settings.share else NOT_PICKED
            self.docket.set_audited(lease, known)
        return known == PICKED

    async def _audit(self, lease: LeaseId) -> None:
        if self._again.get(lease, 0.0) > time.monotonic():
            return
        try:
            info = await self.view.lease(lease)
            if info.state in _WAITING:
                self._again[lease] = time.monotonic() + PAIR_SECONDS
                return
            if info.state not in (LeaseState.REVEALED, LeaseState.CONTESTED):
                self.docket.set_audited(lease, f"over: {info.state.name.lower()}")
                return
            verdict = await self._check(lease, info, whole=info.state is LeaseState.CONTESTED)
        except ChainError:
            raise
        except OrebitError as error:
            self._postpone(lease, error)
            return
        except Exception:  # a stranger's program must not end the daemon, whatever it finds
            log.exception("cannot audit, by a fault of this software", lease=str(lease))
            verdict = "a fault of this software"
        if verdict is not None:
            self.docket.set_audited(lease, verdict)

    def _postpone(self, lease: LeaseId, error: OrebitError) -> None:
        self._tries[lease] = self._tries.get(lease, 0) + 1
        self._again[lease] = time.monotonic() + min(0.5 * 2 ** self._tries[lease], 60)
        tell = log.info if self._tries[lease] == 1 else log.debug
        tell("cannot audit now; trying again", lease=str(lease), reason=str(error))

    async def _check(self, lease: LeaseId, info: LeaseInfo, *, whole: bool) -> str | None:
        """What was found; None while something is still awaited."""
        url = (await self.view.registry.node_of(lease.node)).url
        hashes = await self._results(lease, info, url)
        if hashes is None:
            return None
        positions = range(info.shards) if whole else [self._chance.randrange(info.shards)]
        for position in positions:
            verdict = await self._check_shard(lease, info, url, position, hashes[position], whole=whole)
            if verdict is None or verdict != "right":
                return verdict
        return "right"

    async def _results(self, lease: LeaseId, info: LeaseInfo, url: str) -> list[bytes] | None:
        try:
            if info.replica:
                batch = await self.view.market.batch_of(info.batch)
                log2 = replica_log2((await self.view.task(batch.task)).terms, info.grains * batch.size)
                return await self.client.fetch_block(info.root, info.shards, log2, [url])
            return await self.client.fetch_list(info.root, ListKind.RESULTS, [url], count=info.shards)
        except (BlobMissing, BlobCorrupt) as error:
            if self._tries.get(lease, 0) < PATIENCE:
                raise
            return await self.demands.obtain(lease, RESULTS, 0, info.shards, str(error))

    async def _check_shard(
        self, lease: LeaseId, info: LeaseInfo, url: str, position: int, result: bytes, *, whole: bool
    ) -> str | None:
        batch = self.journal.batch(info.batch)
        task = batch and self.journal.task(batch.task)
        sources = [*([task.url] if task else []), url]
        number = info.first_shard + position
        plan = await self.inputs.fetch(info.plan_root, sources, number, 1)
        entry = plan.shards[number]
        claimed = await self._checkpoints(lease, info, url, position, result, entry)
        if claimed is None:
            return None
        if len(claimed) == 0:
            self.docket.want(lease, position, info.plan_root, info.first_shard, "its result is of another shard")
            return "wrong: its result hash is not of the shard"
        found = await self._compare(entry, position, claimed, [url], whole=whole)
        if found is None:
            log.info("audited: right", lease=str(lease), shard=number)
            return "right"
        first, last = interval_steps(found.checkpoint, entry.steps, entry.interval)
        reason = f"the state after step {last} does not follow from the one after step {first}"
        log.warning("audited: wrong", lease=str(lease), shard=number, reason=reason)
        self.docket.want(
            lease, position, info.plan_root, info.first_shard, reason,
            own=found.own, claimed=found.claimed, checkpoint=found.checkpoint,
        )  # fmt: skip
        return f"wrong: {reason}"

    async def _checkpoints(
        self, lease: LeaseId, info: LeaseInfo, url: str, position: int, result: bytes, entry: PlanShard
    ) -> list[bytes] | None:
        """The checkpoints that were committed to; empty where the result is none of this shard's."""
        count = entry.shard.checkpoints
        try:
            preimage = ShardResult.decode(await self.client.fetch_preimage(result, [url]))
            if preimage.shard_id != entry.shard.id:
                return []
            return await self.client.fetch_list(preimage.checkpoints_root, ListKind.CHECKPOINTS, [url], count=count)
        except (BlobMissing, BlobCorrupt) as error:
            if self._tries.get(lease, 0) < PATIENCE:
                raise
            plan = self.inputs.plan(info.plan_root)
            opening = opening_of(int(lease), position, plan, info.first_shard)
            return await self.demands.obtain(lease, CHECKPOINTS, position, count, str(error), opening)

    async def _compare(
        self, entry: PlanShard, position: int, claimed: Sequence[bytes], sources: Sequence[str], *, whole: bool
    ) -> Found | None:
        """The first of the picked intervals whose end is false; `whole`: all of them, executed from the beginning."""
        if whole:
            true = await asyncio.to_thread(self._execute_all, entry)
            wrong = next((place for place, root in enumerate(true) if root != claimed[place]), None)
            return None if wrong is None else Found(position, tuple(claimed), tuple(true), wrong)
        for checkpoint in self._pick(len(claimed)):
            if checkpoint and not await self._fetch_state(claimed[checkpoint - 1], sources):
                # Bulk bytes cannot be demanded of anybody: the shard is executed from its beginning.
                return await self._compare(entry, position, claimed, sources, whole=True)
            root = await asyncio.to_thread(self._execute, entry, claimed, checkpoint)
            if root != claimed[checkpoint]:
                own = (*claimed[:checkpoint], root, *claimed[checkpoint + 1 :])
                return Found(position, tuple(claimed), own, checkpoint)
        return None

    def _pick(self, count: int) -> list[int]:
        return sorted(self._chance.sample(range(count), min(self.settings.intervals, count)))

    async def _fetch_state(self, root: bytes, sources: Sequence[str]) -> bool:
        try:
            for head in await self.client.fetch_list(root, ListKind.STATE, sources):
                await self.client.fetch_tensor(head, sources)
        except BLOB_ERRORS:
            return False
        return True

    def _execute(self, entry: PlanShard, claimed: Sequence[bytes], checkpoint: int) -> bytes:
        """The state root at a checkpoint, from the defender's state at the one before."""
        evidence = self.proofs.evidence(entry, None, claimed[:checkpoint])
        try:
            return root_after(evidence, interval_steps(checkpoint, entry.steps, entry.interval)[1])
        finally:
            evidence.close()

    def _execute_all(self, entry: PlanShard) -> list[bytes]:
        """The state root at every checkpoint."""
        evidence = self.proofs.evidence(entry, None)
        try:
            return merkle.unpack(evidence.checkpoints[0])
        finally:
            evidence.close()
