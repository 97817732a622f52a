"""A shard's life, by every road that ends well."""

from __future__ import annotations

import pytest
from world import (
    BOTH,
    CALLED,
    COMMITTED,
    CONTESTED,
    FLAG_KEEP_RESULTS,
    FLAG_OPEN,
    FREE,
    HALF_REVEALED,
    LEASED,
    ORE,
    PAIRED,
    REVEALED,
    SLASHED,
    World,
    results,
)


def test_unreplicated(world: World) -> None:
    node = world.register()
    batch = world.post(world.create_task(), grains=4)
    lease = world.lease(batch, node, first=1, grains=2)
    assert world.state(lease) == LEASED
    assert world.market.batchOf(batch)["free"] == 0b1001
    assert world.registry.nodeOf(node)["locked"] == 4 * ORE
    root = results(lease, 2).root
    world.commit(lease, root)
    assert world.state(lease) == COMMITTED
    world.mine()
    world.reveal(lease, root)
    assert world.state(lease) == REVEALED
    world.finalise(lease)
    assert world.state(lease) == REVEALED, "the window is open"
    world.pass_deadline(60)
    world.finalise(lease)
    assert world.state(lease) == FREE
    assert world.market.balanceOf(node) == 2 * ORE
    assert world.registry.nodeOf(node)["locked"] == 0
    world.assert_conserved()
    before = world.token.balanceOf(world.owners[node])
    world.market.withdraw(node, {"from": world.stranger})
    assert world.token.balanceOf(world.owners[node]) - before == 2 * ORE
    world.assert_conserved()


@pytest.mark.parametrize("size,grains,log2", [(1, 1, 0), (1, 5, 0), (4, 3, 0)])
def test_replicated(world: World, size: int, grains: int, log2: int) -> None:
    primary, replica = world.register(), world.register()
    batch = world.post(world.create_task(), grains=8, size=size)
    lease, peer, tree, node = world.both(batch, primary, replica, grains=grains, size=size)
    assert world.state(lease) == world.state(peer) == BOTH
    world.reveal(peer, node)
    assert world.state(lease) == HALF_REVEALED
    world.reveal_paired(lease, tree)
    assert world.state(lease) == world.state(peer) == REVEALED
    world.assert_conserved()
    world.pass_deadline(60)
    world.finalise(lease)
    assert world.state(lease) == world.state(peer) == FREE
    assert world.market.balanceOf(primary) == grains * size * ORE
    assert world.market.balanceOf(replica) == ORE
    world.assert_conserved()


def test_called_waits_for_a_replica(world: World) -> None:
    node = world.register()
    batch = world.post(world.create_task())
    lease = world.lease(batch, node)
    root = results(lease).root
    world.commit(lease, root)
    committed = world.block
    world.market.call(lease.id, {"from": world.requester})
    assert world.state(lease) == CALLED
    world.mine()
    with world.reverts("DrawnUntil", lease.id, committed + 17):
        world.reveal(lease, root)
    world.mine_to(committed + 18)
    world.reveal(lease, root)
    assert world.state(lease) == REVEALED


def test_lottery(world: World) -> None:
    """Within the first half a take needs a winning ticket, and some node with stake soon has one."""
    primary, rich = world.register(), world.register(stake=20_000 * ORE)
    batch = world.post(world.create_task(drawBp=10_000, lotteryBlocks=200), grains=8)
    lease = world.lease(batch, primary)
    commitment = world.commitment(lease, results(lease).root)
    world.commit(lease, results(lease).root)
    committed = world.block
    world.mine(95)
    seed = world.seed(lease, commitment, committed + 1)
    tickets = {j: world.wins(seed, rich, j, 200) for j in range(1, 95)}
    lost = next(j for j, won in tickets.items() if not won)
    with world.reverts("LotteryLost", rich, lost):
        world.take(lease, rich, attempt=lost)
    with world.reverts("AttemptOutOfRange"):
        world.take(lease, rich, attempt=99)
    won = next(j for j, won in tickets.items() if won)
    taken = world.take(lease, rich, attempt=won)
    assert world.state(lease) == world.state(taken) == PAIRED
    with world.reverts("WrongState", lease.id, PAIRED):
        world.take(lease, rich, slot=1, attempt=won)


def test_open_task(world: World) -> None:
    node = world.register()
    batch = world.post(world.create_task(flags=FLAG_OPEN | FLAG_KEEP_RESULTS, feePercent=0))
    lease = world.lease(batch, node, first=3)
    with world.reverts("OpenTask", lease.id):
        world.commit(lease, results(lease).root)
    world.reveal(lease, results(lease).root)
    world.pass_deadline(60)
    world.finalise(lease)
    assert world.market.balanceOf(node) == ORE
    root, grains = world.market.resultOf(batch, 3)
    assert (bytes(root), grains) == (results(lease).root, 1)
    world.assert_conserved()


@pytest.mark.parametrize("wrong", ["primary", "replica"])
def test_contested_and_judged(world: World, wrong: str) -> None:
    primary, replica, witness = world.register(), world.register(), world.register()
    batch = world.post(world.create_task(), grains=4)
    lease, peer = world.pair(batch, primary, replica, grains=3, wrong=wrong)
    assert world.state(lease) == world.state(peer) == CONTESTED
    drawn = world.market.leaseOf(lease.id)["drawnBlock"]
    truth = results(lease, 3)
    loser, winner = (lease, peer) if wrong == "primary" else (peer, lease)
    before = world.token.balanceOf(world.owners[winner.node])
    stake = world.market.leaseOf(loser.id)["stake"]
    world.arbiter.testify(
        lease.id, witness, truth.block(drawn, 0), truth.path(drawn, 0), {"from": world.owners[witness]}
    )
    assert world.state(loser) == SLASHED
    assert world.state(winner) == REVEALED
    assert world.token.balanceOf(world.owners[winner.node]) - before == stake // 4
    world.assert_conserved()
    world.pass_deadline(60)
    world.finalise(lease, peer)
    assert world.market.balanceOf(winner.node) == (ORE if winner == peer else 3 * ORE)
    assert world.market.balanceOf(loser.node) == 0
    assert world.market.batchOf(batch)["free"] == (0b1111 if wrong == "primary" else 0b1000)
    world.assert_conserved()


def test_contest_without_proof_voids(world: World) -> None:
    primary, replica = world.register(), world.register()
    task = world.create_task()
    batch = world.post(task, grains=4)
    lease, peer = world.pair(batch, primary, replica, wrong="primary")
    world.pass_deadline(60)
    world.resolve(peer)
    assert world.state(lease) == world.state(peer) == FREE
    assert world.market.batchOf(batch)["free"] == 0b1111
    assert world.registry.nodeOf(primary)["stake"] == 1_000 * ORE - 4 * ORE // 10
    world.assert_conserved()


def test_missed_commit_costs_the_late_penalty(world: World) -> None:
    node = world.register()
    task = world.create_task()
    batch = world.post(task, grains=2)
    lease = world.lease(batch, node)
    escrow = world.market.taskOf(task)["escrow"]
    world.expire(lease)
    assert world.state(lease) == LEASED
    world.pass_deadline(20)
    world.expire(lease)
    assert world.state(lease) == FREE
    assert world.registry.nodeOf(node)["stake"] == 1_000 * ORE - 4 * ORE // 10
    assert world.market.taskOf(task)["escrow"] - escrow == 2 * ORE // 10
    world.assert_conserved()


def test_silence_after_both_costs_all(world: World) -> None:
    primary, replica = world.register(), world.register()
    batch = world.post(world.create_task(), grains=2)
    lease, peer, tree, node = world.both(batch, primary, replica)
    world.reveal(peer, node)
    world.pass_deadline(20)
    world.expire(lease)
    assert world.registry.nodeOf(primary)["stake"] == 1_000 * ORE - 4 * ORE
    assert world.state(peer) == REVEALED
    world.assert_conserved()
    world.pass_deadline(60)
    world.finalise(peer)
    assert world.market.balanceOf(replica) == ORE
    world.assert_conserved()


def test_deserted_primary_reveals_alone(world: World) -> None:
    primary, replica = world.register(), world.register()
    batch = world.post(world.create_task(), grains=2)
    lease, peer, tree, _ = world.both(batch, primary, replica)
    with world.reverts("PeerMayAct"):
        world.reveal(lease, tree.root)
    world.pass_deadline(20)
    world.reveal(lease, tree.root)
    assert world.state(lease) == REVEALED
    world.expire(peer)
    assert world.registry.nodeOf(replica)["stake"] == 1_000 * ORE - 4 * ORE
    world.assert_conserved()


def test_batch_settles_and_closes(world: World) -> None:
    node = world.register()
    task = world.create_task(escrow=20 * ORE)
    batch = world.post(task, grains=4)
    assert world.market.taskOf(task)["escrow"] == 12 * ORE
    lease = world.revealed(batch, node)
    world.market.close(batch, {"from": world.requester})
    assert world.market.taskOf(task)["escrow"] == 18 * ORE
    world.pass_deadline(60)
    world.finalise(lease)
    assert world.market.taskOf(task)["escrow"] == 19 * ORE, "the unspent replica fee is back"
    world.assert_conserved()


def test_multicall_survives_a_front_run(world: World) -> None:
    node = world.register()
    batch = world.post(world.create_task())
    lease = world.revealed(batch, node)
    world.pass_deadline(60)
    world.finalise(lease)
    market = world.market
    calls = [
        market.finalise.encode_input([lease.id]),
        market.commit.encode_input(lease.id, b"\x01" * 32),
        market.lease.encode_input(batch, 5, 1, node, 3),
    ]
    with world.reverts("WrongState"):
        market.multicall(calls, 0b111, {"from": world.owners[node]})
    tx = market.multicall(calls, 0b101, {"from": world.owners[node]})
    assert [event["index"] for event in tx.events["CallFailed"]] == [1]
    assert world.state(world.live(node, 3)) == LEASED
