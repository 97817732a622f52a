"""What a node can show of a shard, and that it never takes an accused node's word for what it is to check."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import cast

import pytest
from shards import W, X, program, put_plan, rate

from orebit.chain.types import DEMAND_PART, RESULTS, DemandItem, LeaseId
from orebit.commitment import ListKind, ShardResult, merkle
from orebit.daemon.config import AuditSettings, Limits
from orebit.daemon.court.audit import Auditor
from orebit.daemon.court.demands import Demands
from orebit.daemon.court.docket import Docket
from orebit.daemon.court.proofs import Proofs, opening_of, result_path
from orebit.daemon.inputs import Inputs
from orebit.daemon.journal import Journal, LeaseRecord
from orebit.executor.run import ShardRun, run_shard, state_heads
from orebit.store import BlobClient, LocalStore, PlanShard

LEASE = LeaseId.of(7, 1, 1)


class World:
    """A store with a plan of three shards, and proofs over it."""

    def __init__(self, folder: Path) -> None:
        self.journal = Journal(folder / "journal.sqlite")
        self.store = LocalStore(folder / "store")
        self.plan = put_plan(self.store)
        self.inputs = Inputs(self.store, cast(BlobClient, None), self.journal, Limits())
        self.proofs = Proofs(self.journal, self.store, self.inputs, 1)

    def run(self, number: int) -> ShardRun:
        entry = self.plan.shards[number]
        return run_shard(program(), [X], [W], [rate(number)], entry.steps, entry.interval)

    def put_state(self, run: ShardRun) -> bytes:
        """The final state of a run, into the store; its root."""
        for array in run.final_state:
            self.store.put_array(array)
        return self.store.put_list(ListKind.STATE, [head.root for head in state_heads(run.final_state)])


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def auditor(world: World) -> Auditor:
    docket = Docket(world.journal)
    rest = [None] * 2
    # None stands for what is not asked here.
    made = Auditor(AuditSettings(share=1), world.journal, docket, *rest, world.inputs, world.proofs, None, 7)  # type: ignore[arg-type]
    return made


def initial(world: World, entry: PlanShard) -> bytes:
    return world.store.put_list(ListKind.STATE, list(entry.state))


def test_a_claimed_state_that_was_served_is_computed_all_the_same(world: World) -> None:
    entry, true = world.plan.shards[0], world.run(0).roots
    lazy = initial(world, entry)  # every checkpoint is the initial state, and the store has its tensors
    claimed = [lazy] * len(true)
    assert auditor(world)._execute(entry, claimed, 0) == true[0] != lazy
    second = auditor(world)._execute(entry, claimed, 1)
    assert second == true[0], "an interval on from the initial state, which is what is claimed to its left"


def test_an_audit_of_one_interval_trusts_only_what_lies_left_of_it(world: World) -> None:
    entry, true = world.plan.shards[0], list(world.run(0).roots)
    for checkpoint in range(len(true)):
        assert auditor(world)._execute(entry, true, checkpoint) == true[checkpoint]
    assert auditor(world)._execute_all(entry) == true


def test_what_a_lease_committed_to_hangs_under_its_root(world: World) -> None:
    hashes = []
    for number, entry in enumerate(world.plan.shards):
        checkpoints = world.store.put_list(ListKind.CHECKPOINTS, list(world.run(number).roots))
        hashes.append(world.store.put_preimage(ShardResult(entry.shard.id, checkpoints).encode()))
        world.journal.shard_done(LEASE, number, hashes[-1])
    record = LeaseRecord(LEASE, False, 1, 1, 0, 3, world.plan.root, "0xr", 1, 0.0)
    for position in range(3):
        own = world.proofs.own(record, position)
        assert own.checkpoints == world.run(position).roots
        assert merkle.fold(hashes[position], position, own.result_path) == merkle.root(hashes)


@pytest.mark.parametrize(("count", "log2"), [(1, 0), (3, 2), (3, 4)])
def test_a_replica_s_path_goes_up_to_its_block_s_node(count: int, log2: int) -> None:
    hashes = [bytes([number + 1]) * 32 for number in range(count)]
    for position in range(count):
        path = result_path(hashes, position, log2)
        assert len(path) == log2
        assert merkle.fold(hashes[position], position, path) == merkle.lift(hashes, log2)


def test_an_opening_shows_the_shard_in_its_plan(world: World) -> None:
    opening = opening_of(int(LEASE), 1, world.plan, 1)
    ids = [entry.shard.id for entry in world.plan.shards]
    assert opening.shard == world.plan.shards[2].shard
    assert merkle.fold(ids[2], 2, opening.plan_path) == merkle.root(ids)


def demands(world: World) -> Demands:
    rest = [None] * 3
    return Demands(Docket(world.journal), world.journal, None, world.proofs, world.store, *rest)  # type: ignore[arg-type]


@pytest.mark.parametrize(("shards", "log2"), [(1, None), (3, None), (128, None), (300, None), (3, 4), (300, 10)])
def test_what_a_demand_is_shown_hangs_under_the_lease_s_root(world: World, shards: int, log2: int | None) -> None:
    hashes = [sha256(bytes([number % 256, number >> 8])).digest() for number in range(shards)]
    for number, each in enumerate(hashes):
        world.journal.shard_done(LEASE, number, each)
    record = LeaseRecord(LEASE, log2 is not None, 1, 1, 0, shards, world.plan.root, "0xr", 1, 0.0, log2 or 0)
    height = merkle.height(shards) if log2 is None else log2
    root = merkle.root(hashes) if log2 is None else merkle.lift(hashes, log2)
    for part in range(-(-shards // DEMAND_PART)):
        entries, path, result_path_ = demands(world)._shown(record, DemandItem(LEASE, RESULTS, 0, part))
        assert list(entries) == hashes[part * DEMAND_PART : (part + 1) * DEMAND_PART] and not result_path_
        depth = min(7, height)
        assert len(path) == height - depth
        assert merkle.fold(merkle.lift(entries, depth), part, path) == root
