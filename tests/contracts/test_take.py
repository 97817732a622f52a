"""`take`: becoming the replica of a drawn or called lease."""

from __future__ import annotations

import pytest
from evm import reverts
from market_steps import WHOLE_LEASE, Stage, State


def test_take(stage: Stage) -> None:
    primary = stage.bring(State.CALLED).primary
    carol = stage.node("carol")
    batch = primary.batch
    stage.after_lottery(primary)
    with reverts("StakeTooYoung", carol.id, ..., ...):
        stage.take(primary, carol)
    bob = stage.nodes_known["bob"]
    receipt = stage.market.take(primary.id, bob.id, 9, 0, sender=bob.operator)
    taken = receipt.one("Taken")
    replica = bob.id << 40 | 9 << 32 | 1
    assert (taken.primary, taken.replica, taken.stake) == (primary.id, replica, batch.stake(2))
    ours, theirs = stage.info(primary), stage.market.leaseOf(replica)
    assert (ours.state, ours.replica, ours.peer) == (State.PAIRED, False, replica)
    assert (theirs.state, theirs.replica, theirs.peer) == (State.PAIRED, True, primary.id)
    assert ours.drawnBlock == theirs.drawnBlock == taken.drawnBlock < 2
    assert (theirs.firstShard, theirs.shards) == (taken.drawnBlock * 2, 2)
    assert (ours.firstShard, ours.shards) == (0, 4)
    deadline = stage.chain.time + 2 * batch.terms.computeSeconds
    assert {(info.blockNumber, info.deadline) for info in (ours, theirs)} == {(receipt.block, deadline)}
    assert stage.node_info(bob).locked == theirs.stake == batch.stake(2)
    assert ours.root == stage.commitment(primary)


@pytest.mark.parametrize("grains", [1, 2, 3, 4])
@pytest.mark.parametrize("log2", [0, 1, 2, 13, WHOLE_LEASE])
def test_block(stage: Stage, grains: int, log2: int) -> None:
    """ceil(shards / 2^b) blocks of 2^b, the last short; stake and time are a whole block's."""
    pair = stage.bring(State.PAIRED, grains=grains, size=3, blockLog2=log2)
    shards = 3 * grains
    size = 2 ** min(log2, (shards - 1).bit_length())
    assert pair.replica and pair.replica.block is not None
    info = stage.info(pair.replica)
    assert pair.replica.block < -(-shards // size)
    assert info.firstShard == pair.replica.block * size
    assert info.shards == min(size, shards - info.firstShard)
    assert info.stake == pair.primary.batch.stake(size) == pair.replica.stake
    assert info.deadline == stage.chain.time + size * 100


@pytest.mark.parametrize("state", [state for state in State if state not in (State.COMMITTED, State.CALLED)])
def test_primary_in_another_state(stage: Stage, state: State) -> None:
    pair = stage.bring(state)
    carol = stage.node("carol")
    with reverts("WrongState", pair.primary.id, state):
        stage.take(pair.primary, carol)


@pytest.mark.parametrize("state", [State.PAIRED, State.BOTH, State.HALF_REVEALED, State.REVEALED])
def test_no_replica_of_a_replica(stage: Stage, state: State) -> None:
    replica = stage.bring(state).replica
    carol = stage.node("carol")
    assert replica
    with reverts("WrongState", replica.id, ...):
        stage.take(replica, carol)


def test_not_its_own_replica(stage: Stage) -> None:
    primary = stage.bring(State.CALLED).primary
    stage.after_lottery(primary)
    with reverts("OwnReplica", primary.node.id):
        stage.take(primary, primary.node, slot=1)


def test_not_drawn(stage: Stage) -> None:
    primary = stage.bring(State.COMMITTED).primary
    stage.after_lottery(primary)
    with reverts("NotDrawn", primary.id):
        stage.take(primary, stage.nodes_known["bob"])


def test_generation(stage: Stage) -> None:
    primary = stage.bring(State.CALLED).primary
    stage.after_lottery(primary)
    bob = stage.nodes_known["bob"]
    with reverts("StaleLease", primary.id + 1, 1):
        stage.market.take(primary.id + 1, bob.id, 0, 0, sender=bob.operator)


def test_by_its_operator_into_a_free_slot_with_stake(stage: Stage) -> None:
    primary = stage.bring(State.CALLED, lotteryBlocks=40).primary
    batch, bob = primary.batch, stage.nodes_known["bob"]
    stage.after_lottery(primary)
    with reverts("NotOperator", bob.id, stage.stranger):
        stage.market.take(primary.id, bob.id, 0, 0, sender=stage.stranger)
    with stage.chain.undone():
        stage.registry.unbond(bob.id, stage.node_info(bob).stake - batch.stake(2) + 1, sender=bob.owner)
        with reverts("StakeShort", bob.id, batch.stake(2), batch.stake(2) - 1):
            stage.take(primary, bob)
    with stage.chain.undone():
        stage.registry.setDeposited(bob.id, False, sender=stage.arbiter)
        with reverts("NoDeposit", bob.id):
            stage.take(primary, bob)
    stage.take(primary, bob)
    with reverts("WrongState", primary.id, State.PAIRED):
        stage.take(primary, bob, slot=1)


def test_slot_busy(stage: Stage) -> None:
    primary = stage.bring(State.COMMITTED, drawDelay=20).primary
    bob = stage.nodes_known["bob"]
    stage.lease(stage.batch(), bob, slot=3)
    stage.call(primary)
    stage.after_lottery(primary)
    with reverts("SlotBusy", bob.id, 3):
        stage.take(primary, bob, slot=3)


def test_the_owner_may_take_too(stage: Stage) -> None:
    primary = stage.bring(State.CALLED).primary
    stage.after_lottery(primary)
    bob = stage.nodes_known["bob"]
    stage.market.take(primary.id, bob.id, 0, 0, sender=bob.owner)


def test_a_block_that_is_short_costs_a_whole_one(stage: Stage) -> None:
    """Three shards, blocks of two: the drawn one may have a single shard, for the same fee and stake."""
    sizes = set()
    for round_ in range(8):
        pair = stage.bring(State.PAIRED, names=(f"a{round_}", f"b{round_}"), grains=3, size=1)
        assert pair.replica
        info = stage.info(pair.replica)
        sizes.add(info.shards)
        assert info.stake == pair.primary.batch.stake(2)
    assert sizes == {1, 2}
