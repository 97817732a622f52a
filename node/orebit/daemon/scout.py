"""Looks for work worth taking, in the background: fetched, checked and timed before any stake is asked for."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import structlog

from orebit.chain import commitments
from orebit.chain.types import BatchInfo, LeaseId, LeaseInfo, LeaseState, TaskInfo, Terms
from orebit.daemon.config import NodeConfig
from orebit.daemon.court.prudence import Prudence
from orebit.daemon.decision import Clock
from orebit.daemon.inputs import Inputs
from orebit.daemon.journal import BatchHint, Journal, Phase, Stranger
from orebit.daemon.leasing import Room, choose_run, most_grains, seconds_allowed, stake_needed
from orebit.daemon.view import View
from orebit.daemon.work import Worker
from orebit.errors import BlobTooLarge, ChainError, CommitmentError, ExecutionError, OrebitError, ProgramError

log = structlog.get_logger(__name__)

SOON = 5.0
LATER = 30.0
NEVER = float("inf")


@dataclass(frozen=True)
class Offer:
    """A run of grains whose inputs are here and whose time and stake fit. Amounts in wei."""

    batch: int
    first: int
    grains: int
    stake: int
    seconds: float


@dataclass(frozen=True)
class Chance:
    """A drawn lease whose block's inputs are here. `drawn_at`: the draw's block; `seed`: its hash."""

    primary: LeaseId
    batch: int
    stake: int
    seed: bytes
    drawn_at: int
    lottery_blocks: int


@dataclass(frozen=True)
class _Work:
    """Shards [first, first + shards) of a plan, and what holding them asks for."""

    plan_root: bytes
    url: str
    first: int
    shards: int
    seconds_allowed: float
    stake: int


class Scout:
    """Fills `offers` and `chances` as far as `room`, set by each cycle, has place for them."""

    def __init__(
        self,
        config: NodeConfig,
        journal: Journal,
        view: View,
        inputs: Inputs,
        worker: Worker,
        node: int,
        prudence: Prudence | None = None,
    ) -> None:
        self._prudence = prudence
        self._config = config
        self._journal = journal
        self._view = view
        self._inputs = inputs
        self._worker = worker
        self._node = node
        self._again: dict[int | LeaseId, float] = {}
        self.room: Room | None = None
        self.offers: dict[int, Offer] = {}
        self.chances: dict[LeaseId, Chance] = {}

    async def run(self) -> None:
        """Looks for ever."""
        while True:
            try:
                await self.look()
            except ChainError as error:
                log.warning("cannot look for work", reason=str(error))
                await asyncio.sleep(self._config.poll_seconds * 4)
            await asyncio.sleep(self._config.poll_seconds)

    async def look(self) -> None:
        """One round: drawn leases first, since their time is short, then free grains."""
        room = self.room
        if room is None or not room.slots:
            self.offers.clear()
            return
        clock: Clock | None = None
        if self._config.take_replicas:
            for stranger in self._journal.strangers(Phase.COMMITTED, Phase.CALLED):
                if stranger.lease not in self.chances and self._due(stranger.lease):
                    clock = clock or await self._view.clock()
                    await self._consider_stranger(stranger, room, clock)
        for hint in self._journal.open_batches():
            if self._is_busy():
                return
            if hint.batch not in self.offers and self._due(hint.batch):
                await self._consider_batch(hint, room)

    def _is_busy(self) -> bool:
        return self._worker.jobs + len(self.offers) >= self._config.parallel + self._config.prefetch

    def _due(self, key: int | LeaseId) -> bool:
        return self._again.get(key, 0.0) <= time.monotonic()

    def _refuse(self, key: int | LeaseId, what: str, reason: str, seconds: float) -> None:
        tell = log.debug if key in self._again else log.info  # once is enough for a person
        self._again[key] = time.monotonic() + seconds
        tell("not taken", work=what, reason=reason)

    # Free grains

    async def _consider_batch(self, hint: BatchHint, room: Room) -> None:
        batch = await self._view.batch_of(hint.batch)
        if batch.closed or not batch.free:
            return
        task = await self._view.task(hint.task)
        what = f"batch {hint.batch}"
        if task.terms.is_gated and await self._view.market.is_barred(hint.task, self._node):
            return self._refuse(hint.batch, what, "its requester has barred this node", LATER)
        stake = room.stake_for(task.requester)
        most = most_grains(task.terms, batch, stake)
        if most == 0:
            needed = stake_needed(task.terms, batch, batch.size)
            return self._refuse(hint.batch, what, f"it locks {needed} wei of stake, {stake} are free for it", SOON)
        run = choose_run(batch, most, self._node, hint.plan_root)
        url = self._journal.task(hint.task)
        if run is None or url is None:
            return
        work = self._work_of(batch, task, run, url.url)
        seconds = await self._prepare(hint.batch, what, work)
        if seconds is not None and await self._defensible(hint.batch, what, work, task.terms):
            self.offers[hint.batch] = Offer(hint.batch, *run, work.stake, seconds)

    def _work_of(self, batch: BatchInfo, task: TaskInfo, run: tuple[int, int], url: str) -> _Work:
        first, grains = run
        shards = grains * batch.size
        allowed = seconds_allowed(task.terms, shards, self._config.limits.time_share)
        stake = stake_needed(task.terms, batch, shards)
        return _Work(batch.plan_root, url, first * batch.size, shards, allowed, stake)

    async def _prepare(self, key: int | LeaseId, what: str, work: _Work) -> float | None:
        """Fetches and checks; the seconds it will take, None when refused, which is logged with its reason."""
        try:
            await self._inputs.fetch(work.plan_root, [work.url], work.first, work.shards)
            seconds = await asyncio.to_thread(self._inputs.seconds, work.plan_root, work.first, work.shards)
        except ChainError:
            raise
        except OrebitError as error:
            for_good = isinstance(error, ProgramError | CommitmentError | BlobTooLarge)
            self._refuse(key, what, str(error), NEVER if for_good else LATER)
            return None
        except Exception:  # a stranger's program must not end the daemon, whatever it finds in torch
            log.exception("refused, by a fault of this software", work=what)
            self._again[key] = NEVER
            return None
        ahead = self._worker.backlog() + sum(offer.seconds for offer in self.offers.values()) / self._config.parallel
        if ahead + seconds > work.seconds_allowed:
            reason = (
                f"it would take {seconds:.1f} s after {ahead:.1f} s of other work; "
                f"{work.seconds_allowed:.1f} s are allowed for it"
            )
            self._refuse(key, what, reason, SOON)
            if seconds > work.seconds_allowed:
                self._inputs.doubt(work.plan_root, work.first, work.shards)
            return None
        return seconds

    async def _defensible(self, key: int | LeaseId, what: str, work: _Work, terms: Terms) -> bool:
        """Whether this machine could keep the court's clock about it."""
        if self._prudence is None:
            return True
        try:
            objection = await self._prudence.objection(work.plan_root, work.first, work.shards, terms)
        except ExecutionError as error:
            objection = str(error)
        if objection is not None:
            self._refuse(key, what, objection, SOON)
        return objection is None

    # Drawn leases

    async def _consider_stranger(self, stranger: Stranger, room: Room, clock: Clock) -> None:
        lease = stranger.lease
        hint = self._journal.batch(stranger.batch)
        url = hint and self._journal.task(hint.task)
        if not hint or not url or stranger.commitment is None:
            return
        task = await self._view.task(hint.task)
        terms = task.terms
        drawn_at = commitments.draw_block(stranger.since, terms)
        if clock.block >= drawn_at + terms.lottery_blocks:
            return self._forget(lease)
        block_hash = await self._view.draw_hash(drawn_at, clock)
        if block_hash is None:
            return
        called = stranger.phase is Phase.CALLED
        if not called and not commitments.is_drawn(block_hash, lease, stranger.commitment, terms.draw_bp):
            return self._forget(lease)
        info = await self._view.lease(lease)
        if info.state not in (LeaseState.COMMITTED, LeaseState.CALLED):
            return self._forget(lease)
        if await self._is_own(lease.node):
            return self._refuse(lease, f"replica of {lease}", "its node is of the same owner", NEVER)
        if (await self._view.registry.node_of(self._node)).since >= stranger.since:
            return self._refuse(lease, f"replica of {lease}", "this node's stake is younger than the commit", NEVER)
        batch = await self._view.market.batch_of(info.batch)
        seed = commitments.draw_hash(block_hash, lease, stranger.commitment)
        work = drawn_work(info, batch, task, seed, url.url, self._config.limits.time_share)
        if work.stake > room.stake_for(task.requester):
            return self._refuse(lease, f"replica of {lease}", f"it locks {work.stake} wei of stake", SOON)
        what = f"replica of {lease}"
        prepared = await self._prepare(lease, what, work)
        if prepared is not None and await self._defensible(lease, what, work, terms):
            self.chances[lease] = Chance(lease, info.batch, work.stake, seed, drawn_at, terms.lottery_blocks)

    async def _is_own(self, node: int) -> bool:
        return await self._view.owner(node) == await self._view.owner(self._node)

    def _forget(self, lease: LeaseId) -> None:
        self._again[lease] = NEVER


def drawn_work(info: LeaseInfo, batch: BatchInfo, task: TaskInfo, seed: bytes, url: str, time_share: float) -> _Work:
    """What a replica of a drawn lease re-executes, and locks: an aligned block of 2^b shards; the last may be short."""
    log2 = commitments.replica_log2(task.terms, info.shards)
    skipped = commitments.drawn_block(seed, commitments.block_count(task.terms, info.shards)) << log2
    return _Work(
        info.plan_root,
        url,
        info.first_shard + skipped,
        min(1 << log2, info.shards - skipped),
        seconds_allowed(task.terms, 1 << log2, time_share),
        stake_needed(task.terms, batch, 1 << log2),
    )
