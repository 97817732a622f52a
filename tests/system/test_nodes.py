"""Real daemons on a real chain: work is leased, computed, checked, paid, and survives what happens to processes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import torch
from rigs import Network, Requester, paid_twice

from orebit.chain import court_events, events
from orebit.chain.token import UNIT
from orebit.chain.types import FLAG_GATED, FLAG_OPEN
from orebit.commitment import ListKind, list_root
from orebit.store import Plan, PlanShard
from orebit.strategy.prepare import prepare
from orebit.strategy.terms import load_task_file
from orebit.strategy.training import Training

pytestmark = pytest.mark.timeout(180)

FAULTY = str(Path(__file__).with_name("faulty_node.py"))


def assert_right_and_paid(requester: Requester, batch: int, plan: Plan) -> None:
    """Every grain has one final result, the right one, and was paid once."""
    expected = requester.expected(plan)
    leases = {event.lease: event for event in requester.of(events.Leased, batch)}
    size = requester.of(events.BatchPosted, batch)[0].size
    primaries = [event for event in requester.of(events.Finalised, batch) if event.lease in leases]
    covered: list[int] = []
    for event in primaries:
        lease = leases[event.lease]
        shards = range(lease.first * size, (lease.first + lease.grains) * size)
        covered += shards
        assert event.root == list_root(ListKind.RESULTS, [expected[shard] for shard in shards])
    assert sorted(covered) == list(range(len(expected)))
    assert sum(event.paid for event in primaries) == len(expected) * UNIT
    assert not paid_twice(requester.of(events.Finalised, batch))


async def test_leased_computed_revealed_and_paid(network: Network) -> None:
    rigs = [await network.add_rig("first", withdraw_above=1), await network.add_rig("second", withdraw_above=1)]
    for rig in rigs:
        rig.start()
    async with network.requester() as requester:
        task = await requester.create(max_grains=1)
        batch, plan = await requester.post(task, grains=4)
        open_task = await requester.create(flags=FLAG_OPEN, fee_percent=0)
        open_batch, open_plan = await requester.post(open_task, grains=2, size=2)
        await requester.follow(requester.settled(batch, open_batch))
        assert_right_and_paid(requester, batch, plan)
        assert_right_and_paid(requester, open_batch, open_plan)
        assert len(requester.of(events.Committed)) == 4, "what an open task computes is revealed without a commit"
        assert not requester.of(events.Expired)
        await requester.follow(lambda: bool(requester.of(events.Withdrawn)))
        assert await requester.conserved()
        statuses = [rig.status() for rig in rigs]
        assert all(status["running"] for status in statuses)
        assert sum(status["earned"].get("paid", 0) for status in statuses) == 8 * UNIT
    for rig in rigs:
        assert rig.stop() == 0
    assert rigs[0].status()["running"] is False


async def test_every_drawn_lease_is_replicated_and_both_are_paid(network: Network) -> None:
    for name, capability in (("first", "default"), ("second", "avx2")):
        rig = await network.add_rig(name)
        rig.environment["ATEN_CPU_CAPABILITY"] = capability
        rig.start()
    for rig in network.rigs:
        await rig.up()
    async with network.requester() as requester:
        task = await requester.create(draw_bp=10_000, max_grains=2, block_log2=1)
        batch, plan = await requester.post(task, grains=2, size=3)
        await requester.follow(requester.settled(batch), 90)
        assert_right_and_paid(requester, batch, plan)
        assert requester.of(events.Taken)
        leases = {event.lease for event in requester.of(events.Leased)}
        replicas = [event for event in requester.of(events.Finalised, batch) if event.lease not in leases]
        assert len(replicas) == len(requester.of(events.Taken))
        assert not requester.of(events.Contested) and not requester.of(events.Expired)
        assert await requester.conserved()


def classifier() -> Training:
    """A step of training wide enough for every vector width: 784-128-10, batches of 64."""
    torch.manual_seed(0)
    x = torch.randint(0, 256, (256, 784)) / 255
    model = torch.nn.Sequential(torch.nn.Linear(784, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
    return Training(
        model=model,
        loss=torch.nn.CrossEntropyLoss(),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        data=(x, torch.arange(256) % 10),
        batch_size=64,
        steps=30,
        checkpoint=10,
        shards=1,
        rounds=1,
    )


UNLIKE = {
    "plain": {"ATEN_CPU_CAPABILITY": "default", "OMP_NUM_THREADS": "1"},
    "wide": {"ATEN_CPU_CAPABILITY": "avx2", "OMP_NUM_THREADS": "1"},
    "threaded": {"OMP_NUM_THREADS": "2"},
}


async def test_three_unlike_nodes_give_one_result_hash(network: Network) -> None:
    rigs = []
    for name, environment in UNLIKE.items():
        rig = await network.add_rig(name, threads=int(environment["OMP_NUM_THREADS"]))
        rig.environment |= environment
        rig.start()
        rigs.append(rig)
    async with network.requester() as requester:
        job = await asyncio.to_thread(prepare, classifier(), requester.store, load_task_file(None, {}), "classifier")
        shard = PlanShard(job.program, job.constants[0], job.state, job.steps, job.interval, job.parameters[0][0])
        plan = Plan((shard,), (requester.url,))
        batches = {}
        for rig in rigs:
            task = await requester.create(flags=FLAG_GATED)
            for other in rigs:
                if other is not rig:
                    await requester.bar(task, other.node, True)
            batches[await requester.post_plan(task, plan, 1, 1)] = rig.node
        await requester.follow(requester.settled(*batches), 90)
        for batch in batches:
            assert_right_and_paid(requester, batch, plan)
        assert {batch: requester.of(events.Leased, batch)[0].lease.node for batch in batches} == batches
        assert len({event.root for event in requester.of(events.Revealed)}) == 1


async def test_a_killed_node_goes_on_where_it_was(network: Network) -> None:
    rig = await network.add_rig("only")
    rig.start()
    async with network.requester() as requester:
        task = await requester.create(compute_seconds=80, reveal_seconds=30)
        batch, plan = await requester.post(task, grains=1, steps=6_000, interval=200, elements=1 << 18)
        await requester.follow(lambda: bool(requester.of(events.Leased)))
        async with asyncio.timeout(60):
            while rig.checkpoints < 2:
                await asyncio.sleep(0.02)
        rig.kill()
        await asyncio.sleep(1)
        rig.start()
        await requester.follow(requester.settled(batch), 100)
        assert_right_and_paid(requester, batch, plan)
        assert "going on from a checkpoint" in rig.log
        assert len(requester.of(events.Committed)) == 1
        assert not requester.of(events.Expired) and not requester.of(events.CallFailed)


async def test_one_altered_bit_is_caught_slashed_and_done_again_rightly(network: Network) -> None:
    faulty = await network.add_rig("faulty")
    honest = [await network.add_rig(name) for name in ("honest", "witness")]
    faulty.start(FAULTY)
    for rig in honest:
        rig.start()
    for rig in network.rigs:
        await rig.up()
    async with network.requester() as requester:
        task = await requester.create(draw_bp=10_000, max_grains=1, challenge_seconds=20, flags=FLAG_GATED)
        for rig in honest:  # so that the faulty node has the lease; a barred node may still check it
            await requester.bar(task, rig.node, True)
        batch, plan = await requester.post(task, grains=1)
        await requester.follow(lambda: bool(requester.of(events.Slashed)), 90)
        for rig in honest:
            await requester.bar(task, rig.node, False)
        await requester.follow(requester.settled(batch), 120)
        assert_right_and_paid(requester, batch, plan)
        (slashed,) = requester.of(events.Slashed)
        assert slashed.lease.node == faulty.node
        assert requester.of(events.Contested)
        (convicted,) = requester.of(court_events.Convicted)
        assert convicted.lease == slashed.lease
        await requester.follow(lambda: bool(requester.of(court_events.BountyPaid)), 30)
        (paid,) = requester.of(court_events.BountyPaid)
        assert paid.amount == slashed.bounty and paid.to in {rig.address for rig in honest}
        assert await requester.token.balance_of(paid.to) == 10 * UNIT + slashed.bounty
        assert (await requester.registry.node_of(faulty.node)).stake < 100 * UNIT
        for rig in honest:
            assert (await requester.registry.node_of(rig.node)).stake == 100 * UNIT
        assert await requester.conserved() and await requester.reconciled()
    await asyncio.sleep(1)
    assert faulty.status()["halted"]


async def test_a_faulty_replica_is_the_one_that_is_slashed(witnessed: Network) -> None:
    faulty, honest, witness = [await witnessed.add_rig(name) for name in ("faulty", "honest", "witness")]
    faulty.start(FAULTY)
    honest.start()
    await faulty.up()
    await honest.up()
    async with witnessed.requester() as requester:
        terms = {"draw_bp": 10_000, "block_log2": 1, "challenge_seconds": 20, "flags": FLAG_GATED}
        task = await requester.create(**terms)
        await requester.bar(task, faulty.node, True)  # it may still be drawn as a replica
        batch, plan = await requester.post(task, grains=1, size=3)
        await requester.follow(lambda: bool(requester.of(events.Taken)))
        witness.start()
        await requester.follow(requester.settled(batch), 90)
        assert_right_and_paid(requester, batch, plan)
        (slashed,) = requester.of(events.Slashed)
        assert slashed.lease.node == faulty.node
        (testified,) = requester.of(events.Testified)
        assert testified.witness == witness.node
        assert (await requester.registry.node_of(honest.node)).stake == 100 * UNIT
        assert await requester.conserved()


async def test_a_primary_whose_replica_vanishes_reveals_alone_and_is_paid(network: Network) -> None:
    primary, vanishing = [await network.add_rig(name) for name in ("primary", "vanishing")]
    primary.start()
    vanishing.start()
    await primary.up()
    await vanishing.up()
    async with network.requester() as requester:
        task = await requester.create(draw_bp=10_000, compute_seconds=10, lottery_blocks=120, flags=FLAG_GATED)
        await requester.bar(task, vanishing.node, True)
        batch, plan = await requester.post(task, grains=1, steps=1_500, elements=1 << 16, interval=100)
        await requester.follow(lambda: bool(requester.of(events.Taken)))
        vanishing.kill()
        await requester.follow(requester.settled(batch), 90)
        assert_right_and_paid(requester, batch, plan)
        await requester.follow(lambda: bool(requester.of(events.Expired)))
        assert {event.lease.node for event in requester.of(events.Expired)} == {vanishing.node}
        assert await requester.conserved()


async def test_a_stop_warns_a_start_goes_on_and_a_drain_finishes(network: Network) -> None:
    rig = await network.add_rig("only")
    rig.start()
    async with network.requester() as requester:
        task = await requester.create(max_grains=2)
        batch, plan = await requester.post(task, grains=2)
        await requester.follow(lambda: bool(requester.of(events.Revealed)))
        assert await asyncio.to_thread(rig.stop) == 0
        assert "stopped with a live lease" in rig.log
        rig.start()
        await requester.follow(requester.settled(batch))
        assert_right_and_paid(requester, batch, plan)

        last, last_plan = await requester.post(task, grains=1)
        await requester.follow(lambda: bool(requester.of(events.Leased, last)))
        assert "finishes 1 lease," in await asyncio.to_thread(rig.command, "drain")
        ignored, _ = await requester.post(task, grains=1)
        await requester.follow(requester.settled(last))
        assert_right_and_paid(requester, last, last_plan)
        assert rig.process is not None
        assert await asyncio.to_thread(rig.process.wait, 20) == 0
        assert not requester.of(events.Leased, ignored)
        assert "drained" in rig.log


async def test_a_lost_journal_is_made_again_from_the_chain(network: Network) -> None:
    rig = await network.add_rig("only")
    rig.start()
    async with network.requester() as requester:
        task = await requester.create(draw_bp=0, draw_delay=40, reveal_seconds=40)
        batch, plan = await requester.post(task, grains=1)
        await requester.follow(lambda: bool(requester.of(events.Committed)))
        rig.kill()
        for leftover in rig.home.glob("journal.sqlite*"):
            leftover.unlink()
        rig.start()
        await requester.follow(requester.settled(batch), 90)
        assert_right_and_paid(requester, batch, plan)
        assert len(requester.of(events.Committed)) == 1
        assert not requester.of(events.Expired)
