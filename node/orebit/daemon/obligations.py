"""This node's own leases: found on the chain, computed, committed, revealed and ended in time, after any crash."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

import structlog

from orebit.chain import commitments
from orebit.chain.market import Market
from orebit.chain.types import LeaseId, LeaseInfo, LeaseState, TaskInfo
from orebit.commitment import merkle
from orebit.daemon.acts import Act
from orebit.daemon.config import NodeConfig
from orebit.daemon.decision import Action, Clock, Decision, Draw, Situation, decide
from orebit.daemon.inputs import Inputs
from orebit.daemon.journal import Journal, LeaseRecord
from orebit.daemon.view import View
from orebit.daemon.work import Job, Purpose, Worker

log = structlog.get_logger(__name__)

NO_SALT = bytes(32)

_LISTED = {Action.FINALISE: "finalise", Action.EXPIRE: "expire", Action.RESOLVE: "resolve"}


@dataclass(frozen=True)
class Standing:
    """One of this node's leases as it stands in this cycle, for the status."""

    record: LeaseRecord
    info: LeaseInfo
    decision: Decision


class Obligations:
    """Keeps what node `node` owes. `key` is its account's private key: every salt follows from it."""

    def __init__(
        self,
        config: NodeConfig,
        journal: Journal,
        view: View,
        inputs: Inputs,
        worker: Worker,
        node: int,
        key: bytes,
    ) -> None:
        self._config = config
        self._journal = journal
        self._view = view
        self._market: Market = view.market
        self._inputs = inputs
        self._worker = worker
        self._node = node
        self._key = key
        self._disputed: set[LeaseId] = set()
        self._sure: set[LeaseId] = set()
        self.standings: list[Standing] = []

    # Finding

    async def adopt(self, slots: Iterable[int]) -> None:
        """Looks at slots on the chain: a lease that the journal lacks is taken up; an intent that failed ends."""
        known = {record.lease for record in self._journal.leases()}
        for slot in slots:
            generation, _ = await self._market.slot_of(self._node, slot)
            lease = LeaseId.of(self._node, slot, generation)
            if lease in known:
                self._journal.forget_intent(slot)
                continue
            info = await self._market.lease_of(lease)
            if info.state in (LeaseState.FREE, LeaseState.SLASHED):
                self._journal.forget_intent(slot)
            else:
                await self._adopt(slot, lease, info)

    async def _adopt(self, slot: int, lease: LeaseId, info: LeaseInfo) -> None:
        batch = await self._market.batch_of(info.batch)
        task = await self._view.task(batch.task)
        log2 = commitments.replica_log2(task.terms, info.grains * batch.size) if info.replica else 0
        record = LeaseRecord(
            lease, info.replica, batch.task, info.batch, info.first_shard, info.shards, info.plan_root, task.requester,
            info.stake, time.time(), log2,
        )  # fmt: skip
        self._journal.adopt(record, slot)
        log.info(
            "replicating" if info.replica else "leased",
            lease=str(lease), batch=info.batch, first=info.first_shard, shards=info.shards, deadline=info.deadline,
        )  # fmt: skip

    # Deciding

    async def acts(self, clock: Clock) -> list[Act]:
        """Every act that this node's leases call for now; starts and drops work on the way."""
        records = self._journal.leases()
        infos = await self._view.leases(record.lease for record in records)
        standings: list[Standing] = []
        acts: list[Act] = []
        lists: dict[Action, list[LeaseId]] = {action: [] for action in _LISTED}
        for record in records:
            info = infos[record.lease]
            decision, task = await self._decide(record, info, clock)
            standings.append(Standing(record, info, decision))
            if decision.action in lists:
                lists[decision.action].append(info.peer if decision.on_peer else record.lease)
            else:
                acts += self._act(record, info, decision, task)
        self.standings = standings
        return [*self._lists(lists), *acts]

    def _lists(self, lists: dict[Action, list[LeaseId]]) -> list[Act]:
        encoders = {
            Action.FINALISE: self._market.encode_finalise,
            Action.EXPIRE: self._market.encode_expire,
            Action.RESOLVE: self._market.encode_resolve,
        }
        return [
            Act(_LISTED[action], tuple(leases), encoders[action](leases)) for action, leases in lists.items() if leases
        ]

    async def _decide(self, record: LeaseRecord, info: LeaseInfo, clock: Clock) -> tuple[Decision, TaskInfo]:
        task = await self._view.task(record.task)
        terms = task.terms
        draw = Draw.OPEN if info.replica else await self._view.draw(record.lease, info, terms, clock)
        confirmations = terms.reveal_depth or self._config.reveal_confirmations
        situation = Situation(info, terms, clock, self._root(record) is not None, draw, confirmations)
        return decide(situation), task

    def _root(self, record: LeaseRecord) -> bytes | None:
        """The root this lease stands by: the first ever computed. Another one later means a faulty machine."""
        computed = self._worker.finished.get((record.lease, _purpose(record)))
        if computed is None:
            return record.root
        stands = self._journal.set_root(record.lease, computed)
        if stands != computed:
            self.halt(
                f"this machine computed {computed.hex()} for lease {record.lease} after it had computed {stands.hex()}"
            )
        return stands

    def _act(self, record: LeaseRecord, info: LeaseInfo, decision: Decision, task: TaskInfo) -> list[Act]:
        lease = record.lease
        if info.state >= LeaseState.REVEALED or (info.replica and info.state is LeaseState.HALF_REVEALED):
            self._journal.publish(lease)
        if info.state is LeaseState.CONTESTED:
            self._check_own(record, info)
        match decision.action:
            case Action.COMPUTE:
                self._worker.submit(self._job(record, info))
            case Action.COMMIT:
                return [Act("commit", (lease,), self._market.encode_commit(lease, self._commitment(record)))]
            case Action.REVEAL:
                salt = NO_SALT if task.terms.is_open else self._salt(lease)
                return [Act("reveal", (lease,), self._market.encode_reveal(lease, self._stands(record), salt))]
            case Action.REVEAL_PAIRED:
                return [self._reveal_paired(record, info, task)]
            case Action.CLOSE:
                self._close(record, self._outcome(lease))
            case Action.HALT:
                self._close(record, "slashed")
                self.halt(f"lease {lease} was proven wrong and its stake is lost")
        return []

    # Acting

    def _job(self, record: LeaseRecord, info: LeaseInfo) -> Job:
        task = self._journal.task(record.task)
        return Job(
            record.lease,
            _purpose(record),
            info.plan_root,
            info.first_shard,
            info.shards,
            record.log2,
            info.deadline,
            (task.url,) if task else (),
            self._inputs.estimate(info.plan_root, info.first_shard, info.shards),
        )

    def _check_own(self, record: LeaseRecord, info: LeaseInfo) -> None:
        """Another node's result differs from ours: everything is executed again, from the inputs alone."""
        lease = record.lease
        if lease not in self._disputed:
            self._disputed.add(lease)
            log.warning("another node's result differs; checking ours, no new leases meanwhile", lease=str(lease))
        again = self._worker.finished.get((lease, Purpose.CHECK))
        if again is None:
            self._worker.submit(replace(self._job(record, info), purpose=Purpose.CHECK))
            return
        results = self._journal.shard_results(lease)
        hashes = [results[number] for number in sorted(results)]
        if again != replace(self._job(record, info), purpose=Purpose.CHECK).root(hashes):
            self.halt(f"this machine re-executed the contested lease {lease} and did not get what it had committed")
        else:
            self._sure.add(lease)

    def _stands(self, record: LeaseRecord) -> bytes:
        root = self._root(record)
        assert root is not None, "only what was computed is committed or revealed"
        return root

    def _salt(self, lease: LeaseId) -> bytes:
        return commitments.salt(self._key, self._view.connection.deployment, lease)

    def _commitment(self, record: LeaseRecord) -> bytes:
        lease = record.lease
        return commitments.commitment(self._view.connection.deployment, lease, self._stands(record), self._salt(lease))

    def _reveal_paired(self, record: LeaseRecord, info: LeaseInfo, task: TaskInfo) -> Act:
        root = self._stands(record)
        results = self._journal.shard_results(record.lease)
        hashes = [results[number] for number in range(record.first_shard, record.first_shard + record.shards)]
        block, path = opening(hashes, info.drawn_block, commitments.replica_log2(task.terms, len(hashes)))
        calldata = self._market.encode_reveal_paired(record.lease, root, self._salt(record.lease), block, path)
        return Act("reveal", (record.lease,), calldata)

    def _outcome(self, lease: LeaseId) -> str:
        return self._journal.last_money(lease) or "ended"

    def _close(self, record: LeaseRecord, outcome: str) -> None:
        self._journal.close_lease(record.lease, outcome)
        self._worker.drop(record.lease)
        log.info("lease closed", lease=str(record.lease), outcome=outcome)

    def halt(self, why: str) -> None:
        """No new leases until the owner looks into it; what is owed is still done."""
        if self._journal.halted is None:
            self._journal.set_setting("halted", why)
            log.error("no new leases: " + why)

    def is_sure(self, lease: LeaseId) -> bool:
        """Whether this machine has executed a contested lease again, and got what it had committed."""
        return lease in self._sure

    @property
    def contested(self) -> bool:
        """Whether one of this node's results is disputed by another node's."""
        return any(standing.info.state is LeaseState.CONTESTED for standing in self.standings)


def _purpose(record: LeaseRecord) -> Purpose:
    return Purpose.REPLICA if record.replica else Purpose.LEASE


def opening(hashes: list[bytes], block: int, log2: int) -> tuple[bytes, list[bytes]]:
    """The raw node over aligned block `block` of 2^log2 results, and its path to the list's raw root."""
    levels = merkle.tree(hashes)
    start = block * merkle.HASH_SIZE
    return levels[log2][start : start + merkle.HASH_SIZE], merkle.path(levels[log2:], block)
