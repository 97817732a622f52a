"""`lease`: free grains, a free slot, free stake."""

from __future__ import annotations

import pytest
from evm import reverts
from market_steps import STAKE, Stage, State


def test_lease(stage: Stage) -> None:
    batch = stage.batch(grains=8, size=3)
    node = stage.node("alice")
    arguments = (batch.id, 2, 3, node.id, 7)
    stage.chain.next_time(stage.chain.time + 1000)
    receipt = stage.market.lease(*arguments, sender=node.operator)
    lease = node.id << 40 | 7 << 32 | 1
    leased = receipt.one("Leased")
    stake = batch.stake(9)
    assert (leased.lease, leased.batch, leased.first, leased.grains, leased.stake) == (lease, batch.id, 2, 3, stake)
    assert not receipt.named("Transfer")
    info = stage.market.leaseOf(lease)
    assert (info.state, info.replica, info.batch, info.first, info.grains) == (State.LEASED, False, batch.id, 2, 3)
    assert (info.firstShard, info.shards, info.stake, info.moveTime) == (6, 9, stake, batch.terms.moveTime)
    assert (info.blockNumber, info.deadline) == (receipt.block, stage.chain.time + 9 * batch.terms.computeSeconds)
    assert (info.games, info.peer, info.drawnBlock) == (0, 0, 0)
    assert stage.free(batch) == 0b11100011
    assert stage.node_info(node).locked == stake
    assert stage.market.slotOf(node.id, 7) == (1, False)


def test_stake_covers_four_fees(stage: Stage) -> None:
    batch = stage.batch(grains=4, size=4, blockLog2=4, maxGrains=4, stakeFactor=10, feePercent=60)
    lease = stage.lease(batch, stage.node("alice"), grains=1)
    assert stage.info(lease).stake == 4 * batch.fee > batch.terms.price * 4 // 10


def test_owner_may_lease_too(stage: Stage) -> None:
    batch = stage.batch()
    node = stage.node("alice")
    stage.market.lease(batch.id, 0, 1, node.id, 0, sender=node.owner)


def test_only_its_operator_leases(stage: Stage) -> None:
    batch = stage.batch()
    alice, bob = stage.nodes("alice", "bob")
    with reverts("NotOperator", alice.id, bob.operator):
        stage.market.lease(batch.id, 0, 1, alice.id, 0, sender=bob.operator)
    for nobody in (0, 99):
        with reverts("NotOperator", nobody, bob.operator):
            stage.market.lease(batch.id, 0, 1, nobody, 0, sender=bob.operator)


@pytest.mark.parametrize(
    ("first", "grains"), [(0, 2), (1, 1), (1, 3), (4, 2), (5, 1), (6, 1), (127, 1), (128, 4), (255, 1), (253, 4)]
)
def test_grains_not_free(stage: Stage, first: int, grains: int) -> None:
    """Grain 1 is leased, 5 and above do not exist."""
    batch = stage.batch(grains=5)
    alice, bob = stage.nodes("alice", "bob")
    stage.lease(batch, alice, first=1, grains=1)
    with reverts("GrainsNotFree", batch.id, first, grains, 0b11101):
        stage.lease(batch, bob, first=first, grains=grains)


def test_the_last_of_128_grains(stage: Stage) -> None:
    batch = stage.batch(grains=128, size=1, maxGrains=128)
    alice, bob = stage.nodes("alice", "bob")
    stage.lease(batch, alice, first=124, grains=4)
    assert stage.free(batch) == 2**124 - 1
    with reverts("GrainsNotFree", batch.id, 127, 1, 2**124 - 1):
        stage.lease(batch, bob, first=127, grains=1)
    stage.lease(batch, bob, first=0, grains=124)
    assert stage.free(batch) == 0


@pytest.mark.parametrize("grains", [0, 4, 255])
def test_length_of_a_lease(stage: Stage, grains: int) -> None:
    batch = stage.batch(grains=5, maxGrains=3)
    with reverts("TermOutOfRange", "grains", grains, 1, 3):
        stage.lease(batch, stage.node("alice"), grains=grains)


def test_a_lease_is_no_longer_than_its_batch(stage: Stage) -> None:
    batch = stage.batch(grains=2, maxGrains=100)
    with reverts("TermOutOfRange", "grains", 3, 1, 2):
        stage.lease(batch, stage.node("alice"), grains=3)


def test_batch_not_open(stage: Stage) -> None:
    batch = stage.batch()
    node = stage.node("alice")
    with reverts("BatchNotOpen", batch.id + 1):
        stage.market.lease(batch.id + 1, 0, 1, node.id, 0, sender=node.operator)
    stage.close(batch)
    with reverts("BatchNotOpen", batch.id):
        stage.lease(batch, node)


def test_one_lease_a_slot(stage: Stage) -> None:
    batch = stage.batch(grains=4)
    node = stage.node("alice")
    stage.lease(batch, node, first=0, grains=1, slot=255)
    with reverts("SlotBusy", node.id, 255):
        stage.lease(batch, node, first=1, grains=1, slot=255)
    stage.lease(batch, node, first=1, grains=1, slot=0)


@pytest.mark.parametrize("state", [state for state in State if state > State.LEASED])
def test_slot_is_busy_in_every_state(stage: Stage, state: State) -> None:
    pair = stage.bring(state)
    other = stage.batch()
    for lease in filter(None, [pair.primary, pair.replica]):
        with reverts("SlotBusy", lease.node.id, lease.slot):
            stage.lease(other, lease.node, slot=lease.slot)


def test_a_slot_is_reused_under_its_next_generation(stage: Stage) -> None:
    old = stage.bring(State.FREE).primary
    new = stage.lease(old.batch, old.node)
    assert (new.slot, new.generation) == (old.slot, old.generation + 1)
    assert stage.market.slotOf(old.node.id, old.slot) == (2, False)
    assert stage.info(old).state == State.FREE
    assert (stage.info(new).root, stage.info(new).peer) == (stage.info(old).root, 0)


def test_a_slashed_slot_rests(stage: Stage) -> None:
    lease = stage.bring(State.SLASHED, alone=True).primary
    deadline = stage.info(lease).deadline
    assert deadline == stage.chain.time + lease.batch.terms.moveTime
    for _ in stage.not_passed(lease):
        with reverts("SlotBusy", lease.node.id, lease.slot):
            stage.lease(lease.batch, lease.node)
    assert stage.market.slotOf(lease.node.id, lease.slot) == (1, False)
    stage.pass_deadline(lease)
    assert stage.lease(lease.batch, lease.node).generation == 2


def test_stake_is_counted_once(stage: Stage) -> None:
    batch = stage.batch(grains=4)
    stake = batch.stake(2)
    node = stage.node("alice", 2 * stake - 1)
    stage.lease(batch, node, first=0, grains=1)
    with reverts("StakeShort", node.id, stake, stake - 1):
        stage.lease(batch, node, first=1, grains=1, slot=1)
    stage.registry.addStake(node.id, 1, sender=stage.fund(node.owner, 1, stage.registry))
    stage.lease(batch, node, first=1, grains=1, slot=1)
    assert stage.node_info(node).locked == stage.node_info(node).stake


def test_unbonding_stake_backs_nothing(stage: Stage) -> None:
    batch = stage.batch()
    node = stage.node("alice")
    stage.registry.unbond(node.id, STAKE, sender=node.owner)
    with reverts("StakeShort", node.id, batch.stake(4), 0):
        stage.lease(batch, node)


def test_the_court_deposit(stage: Stage) -> None:
    batch = stage.batch()
    node = stage.node("alice")
    stage.registry.setDeposited(node.id, False, sender=stage.arbiter)
    with reverts("NoDeposit", node.id):
        stage.lease(batch, node)
    stage.registry.setDeposited(node.id, True, sender=stage.arbiter)
    stage.lease(batch, node)


def test_the_longest_lease_of_all(stage: Stage) -> None:
    batch = stage.batch(grains=128, size=64, maxGrains=128, computeSeconds=2**24 - 1, price=1, blockLog2=255)
    lease = stage.lease(batch, stage.node("alice"), grains=128)
    info = stage.info(lease)
    assert (info.shards, info.firstShard) == (8192, 0)
    assert info.deadline == stage.chain.time + 8192 * (2**24 - 1)
