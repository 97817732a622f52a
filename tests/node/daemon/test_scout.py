"""Which drawn leases and which batches a node goes for, and which it leaves alone, with a reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from test_decision import TERMS
from test_decision import lease as lease_info

from orebit.chain import commitments
from orebit.chain.types import FLAG_GATED, BatchInfo, LeaseId, LeaseInfo, LeaseState, NodeInfo, TaskInfo
from orebit.daemon.config import NodeConfig
from orebit.daemon.decision import Clock
from orebit.daemon.inputs import Inputs
from orebit.daemon.journal import BatchHint, Journal, Phase, TaskHint
from orebit.daemon.leasing import Room
from orebit.daemon.scout import Scout
from orebit.daemon.view import View
from orebit.daemon.work import Worker
from orebit.errors import BlobMissing, ProgramError

ORE = 10**18
US, THEM, SIBLING = 1, 2, 3
THEIRS = LeaseId.of(THEM, 0, 1)
PLAN, COMMIT, BLOCK_HASH = b"\x01" * 32, b"\x02" * 32, b"\x03" * 32
COMMITTED_AT = 100
DRAWN_AT = COMMITTED_AT + TERMS.draw_delay


class World:
    """View, market, registry, inputs and worker in one, each answer set by the test."""

    def __init__(self, journal: Journal) -> None:
        self.market = self.registry = self
        self.terms = replace(TERMS, draw_bp=10_000)
        self.batch = BatchInfo(3, 4, 1, 0b1111, 4, 0, 1, PLAN)
        self.info: LeaseInfo = replace(
            lease_info(LeaseState.COMMITTED), block_number=COMMITTED_AT, root=COMMIT, plan_root=PLAN
        )
        self.block = DRAWN_AT + 1
        self.since = 5
        self.barred = False
        self.cost = 1.0
        self.fault: Exception | None = None
        self.jobs = 0
        self.fetched: list[tuple[int, int]] = []
        self.doubted = 0
        config = NodeConfig(rpc=("http://x",), public_url="http://y")
        parts = cast(View, self), cast(Inputs, self), cast(Worker, self)
        self.scout = Scout(config, journal, *parts, US)
        self.scout.room = Room((0, 1), 100 * ORE, {}, 50 * ORE)

    async def batch_of(self, batch: int) -> BatchInfo:
        return self.batch

    async def is_barred(self, task: int, node: int) -> bool:
        return self.barred

    async def task(self, task: int) -> TaskInfo:
        return TaskInfo("0xRequester", 0, self.terms)

    async def clock(self) -> Clock:
        return Clock(self.block, 1_000)

    async def draw_hash(self, number: int, clock: Clock) -> bytes | None:
        return BLOCK_HASH if clock.block > number else None

    async def lease(self, lease: LeaseId) -> LeaseInfo:
        return self.info

    async def owner(self, node: int) -> str:
        return {US: "0xUs", THEM: "0xThem", SIBLING: "0xUs"}[node]

    async def node_of(self, node: int) -> NodeInfo:
        return cast(NodeInfo, SimpleNamespace(since=self.since))

    async def fetch(self, plan_root: bytes, sources: list[str], first: int, count: int) -> None:
        assert sources == ["http://requester"]
        self.fetched.append((first, count))
        if self.fault is not None:
            raise self.fault

    def seconds(self, plan_root: bytes, first: int, count: int) -> float:
        return self.cost * count

    def doubt(self, plan_root: bytes, first: int, count: int) -> None:
        self.doubted += 1

    def backlog(self) -> float:
        return 0.0

    def stranger(self, lease: LeaseId, phase: Phase = Phase.COMMITTED) -> None:
        journal = self.scout._journal
        journal.see_stranger(90, lease, 7)
        journal.move_stranger(lease, Phase.COMMITTED, COMMITTED_AT, COMMIT)
        if phase is Phase.CALLED:
            journal.call_stranger(lease)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    journal = Journal(tmp_path / "journal.sqlite")
    journal.see_task(1, TaskHint(3, "0xRequester", "http://requester"))
    yield World(journal)
    journal.close()


def post(world: World) -> None:
    world.scout._journal.see_batch(2, BatchHint(7, 3, PLAN))


class TestBatches:
    async def test_free_grains_are_fetched_and_offered(self, world: World) -> None:
        post(world)
        await world.scout.look()
        (offer,) = world.scout.offers.values()
        assert (offer.first, offer.grains, offer.stake, offer.seconds) == (0, 4, 8 * ORE, 4.0)
        assert world.fetched == [(0, 4)]

    async def test_nothing_is_looked_at_without_room(self, world: World) -> None:
        post(world)
        world.scout.room = None
        await world.scout.look()
        world.scout.room = Room((), 100 * ORE, {}, 50 * ORE)
        await world.scout.look()
        assert world.scout.offers == {} and world.fetched == []

    async def test_one_lease_ahead_is_enough(self, world: World) -> None:
        post(world)
        world.jobs = 2
        await world.scout.look()
        assert world.fetched == []

    async def test_work_that_takes_too_long_is_left_and_timed_anew(self, world: World) -> None:
        post(world)
        world.cost = 15.0
        await world.scout.look()
        assert world.scout.offers == {} and world.doubted == 1

    async def test_stake_bounds_the_run(self, world: World) -> None:
        post(world)
        world.scout.room = Room((0,), 4 * ORE, {}, 50 * ORE)
        await world.scout.look()
        assert [offer.grains for offer in world.scout.offers.values()] == [2]

    async def test_a_requesters_cap_is_kept(self, world: World) -> None:
        post(world)
        world.scout.room = Room((0,), 100 * ORE, {"0xRequester": 48 * ORE}, 50 * ORE)
        await world.scout.look()
        assert world.scout.offers == {} and world.fetched == []

    async def test_a_barred_node_does_not_ask(self, world: World) -> None:
        post(world)
        world.terms, world.barred = replace(world.terms, flags=FLAG_GATED), True
        await world.scout.look()
        assert world.fetched == []

    @pytest.mark.parametrize("fault", [ProgramError("a lie"), RuntimeError("torch fell over"), BlobMissing("away")])
    async def test_bad_work_is_refused_and_not_tried_at_once_again(self, world: World, fault: Exception) -> None:
        post(world)
        world.fault = fault
        await world.scout.look()
        await world.scout.look()
        assert world.scout.offers == {} and len(world.fetched) == 1


class TestDrawnLeases:
    async def test_a_drawn_lease_is_a_chance(self, world: World) -> None:
        post(world)
        world.batch = replace(world.batch, free=0)
        world.stranger(THEIRS)
        await world.scout.look()
        (chance,) = world.scout.chances.values()
        assert (chance.primary, chance.drawn_at, chance.stake) == (THEIRS, DRAWN_AT, 4 * ORE)
        assert chance.seed == commitments.draw_hash(BLOCK_HASH, THEIRS, COMMIT)

    async def test_only_the_drawn_block_is_fetched(self, world: World) -> None:
        post(world)
        world.batch = replace(world.batch, free=0)
        world.terms = replace(world.terms, block_log2=1)
        world.info = replace(world.info, shards=5, first_shard=10)
        world.stranger(THEIRS)
        await world.scout.look()
        block = commitments.drawn_block(commitments.draw_hash(BLOCK_HASH, THEIRS, COMMIT), 3)
        assert world.fetched == [(10 + 2 * block, 1 if block == 2 else 2)]

    async def chances(self, world: World, lease: LeaseId = THEIRS, phase: Phase = Phase.COMMITTED) -> int:
        post(world)
        world.batch = replace(world.batch, free=0)
        world.stranger(lease, phase)
        await world.scout.look()
        return len(world.scout.chances)

    async def test_one_not_drawn_is_none(self, world: World) -> None:
        world.terms = replace(world.terms, draw_bp=0)
        assert await self.chances(world) == 0

    async def test_one_called_is_one_whatever_chance_says(self, world: World) -> None:
        world.terms = replace(world.terms, draw_bp=0)
        assert await self.chances(world, phase=Phase.CALLED) == 1

    async def test_the_own_owners_other_node_is_left_to_others(self, world: World) -> None:
        assert await self.chances(world, LeaseId.of(SIBLING, 0, 1)) == 0

    async def test_stake_younger_than_the_commit_is_no_ticket(self, world: World) -> None:
        world.since = COMMITTED_AT
        assert await self.chances(world) == 0

    async def test_after_the_lottery_it_is_over(self, world: World) -> None:
        world.block = DRAWN_AT + TERMS.lottery_blocks
        assert await self.chances(world) == 0

    async def test_before_the_draw_it_has_not_begun(self, world: World) -> None:
        world.block = DRAWN_AT
        assert await self.chances(world) == 0
        world.block = DRAWN_AT + 1
        await world.scout.look()
        assert len(world.scout.chances) == 1

    async def test_what_another_took_is_gone(self, world: World) -> None:
        world.info = replace(world.info, state=LeaseState.PAIRED)
        assert await self.chances(world) == 0
