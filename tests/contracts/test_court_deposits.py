"""Node deposits: without one no lease, and out of it challengers who were right are made whole."""

from __future__ import annotations

import functools

import pytest
from court_stage import CAP, GWEI, Courtroom, Sides, scene
from evm import reverts
from liars import flipped_bit
from market_steps import OPEN, PLAN
from worlds import World, wide_world

from orebit.dispute import Phase, Side

GAME = 4_500_000 * CAP * 5 // 4
LEAST = 4 * GAME


@functools.cache
def world() -> World:
    return wide_world(3, steps=50, interval=4)


@functools.cache
def sides() -> Sides:
    return Sides(world(), flipped_bit(21, len(world().program.nodes) - 1, 0, 0), Side.DEFENDER)


def test_a_node_without_a_deposit_may_not_lease(courtroom: Courtroom) -> None:
    court, batch = courtroom.court, courtroom.batch()
    alice = courtroom.node("alice", deposit=0)
    assert court.floorOf(alice.id) == LEAST and court.gamePrice() == GAME
    court.deposit(alice.id, sender=alice.owner, value=LEAST - 1)
    with reverts("NoDeposit", alice.id):
        courtroom.lease(batch, alice)
    receipt = court.deposit(alice.id, sender=courtroom.rich(courtroom.stranger), value=1)
    added = receipt.one("DepositAdded")
    assert (added.node, added.amount, added.deposit) == (alice.id, 1, LEAST)
    assert receipt.one("DepositBitSet").deposited
    courtroom.lease(batch, alice)


def test_only_what_exceeds_the_floor_can_be_withdrawn_while_a_lease_lives(courtroom: Courtroom) -> None:
    court = courtroom.court
    alice = courtroom.node("alice", deposit=LEAST + 5)
    batch = courtroom.batch(flags=OPEN, feePercent=0)
    lease = courtroom.lease(batch, alice)
    with reverts("DepositShort", alice.id, 6, 5):
        court.withdrawDeposit(alice.id, 6, sender=alice.owner)
    courtroom.registry.setPayee(alice.id, courtroom.stranger, sender=alice.owner)
    before = courtroom.balance_of(courtroom.stranger)
    taken = court.withdrawDeposit(alice.id, 5, sender=alice.operator).one("DepositWithdrawn")
    assert (taken.to, taken.amount, taken.deposit) == (courtroom.stranger, 5, LEAST)
    assert courtroom.balance_of(courtroom.stranger) == before + 5
    courtroom.pass_deadline(lease)
    courtroom.expire(lease)
    assert court.withdrawDeposit(alice.id, LEAST, sender=alice.owner).one("DepositBitSet").deposited is False
    with reverts("NoDeposit", alice.id):
        courtroom.lease(courtroom.batch(), alice)
    with reverts("DepositShort", alice.id, 1, 0):
        court.withdrawDeposit(alice.id, 1, sender=alice.owner)


def test_nobody_else_withdraws(courtroom: Courtroom) -> None:
    alice = courtroom.node("alice")
    with reverts("NotOperator", alice.id, courtroom.stranger):
        courtroom.court.withdrawDeposit(alice.id, 1, sender=courtroom.stranger)


@pytest.mark.parametrize("node", [0, 2])
def test_a_node_that_does_not_exist_takes_no_deposit(courtroom: Courtroom, node: int) -> None:
    courtroom.node("alice")
    with reverts("UnknownNode", node):
        courtroom.court.deposit(node, sender=courtroom.rich(courtroom.stranger), value=1)


def test_only_the_registry_announces_nodes(courtroom: Courtroom) -> None:
    with reverts("NotRegistry", courtroom.stranger):
        courtroom.court.nodeRegistered(1, sender=courtroom.stranger)


def test_many_leases_need_an_eighth_as_many_games(courtroom: Courtroom) -> None:
    """Up to 39 leases four games suffice, from 40 on five."""
    court, registry = courtroom.court, courtroom.registry
    alice = courtroom.node("alice", stake=10**24)
    task = courtroom.task(maxGrains=1, flags=OPEN, feePercent=0)
    courtroom.market.post(task.id, PLAN, 50, 1, sender=task.requester)
    batch = courtroom.market.batchCount()
    calls = [courtroom.market.lease.encode(batch, n, 1, alice.id, n) for n in range(42)]
    courtroom.market.multicall(calls[:39], 2**39 - 1, sender=alice.operator)
    assert registry.liveLeases(alice.id) == 39 and court.floorOf(alice.id) == LEAST
    with reverts("NoDeposit", alice.id):
        courtroom.market.lease(batch, 39, 1, alice.id, 39, sender=alice.operator)
    court.deposit(alice.id, sender=alice.owner, value=GAME)
    courtroom.market.multicall(calls[39:], 2**3 - 1, sender=alice.operator)
    assert registry.liveLeases(alice.id) == 42 and court.floorOf(alice.id) == 5 * GAME
    with reverts("DepositShort", alice.id, 1, 0):
        court.withdrawDeposit(alice.id, 1, sender=alice.owner)
    assert court.covers(alice.id, 47) and not court.covers(alice.id, 48)


def test_live_leases_are_counted_however_they_end(courtroom: Courtroom) -> None:
    registry = courtroom.registry
    accused = courtroom.accuse(world(), sides().claimed)
    alice = accused.lease.node
    final = courtroom.accuse(world(), node=alice)
    batch = courtroom.batch(flags=OPEN, feePercent=0)
    late = courtroom.lease(batch, alice, slot=5)
    assert registry.liveLeases(alice.id) == 3
    duel = courtroom.open_game_by(accused)
    assert duel.between(*sides().players(accused)) is Side.CHALLENGER
    assert registry.liveLeases(alice.id) == 2
    courtroom.pass_deadline(final.lease)
    courtroom.finalise(final.lease)
    assert registry.liveLeases(alice.id) == 1
    courtroom.pass_deadline(late)
    courtroom.expire(late)
    assert registry.liveLeases(alice.id) == 0


def test_a_conviction_clears_the_bit_and_holds_the_deposit(courtroom: Courtroom) -> None:
    court = courtroom.court
    duel, honest, lying = scene(courtroom, sides(), Phase.STATES)
    alice = duel.node
    while duel.winner is None:
        if not duel.step(honest, lying, price=GWEI):
            duel.concede()
    node = court.nodeOf(alice.id)
    assert node.deposit < LEAST and not node.enough and not courtroom.node_info(alice).deposited
    with reverts("DepositClaimed", alice.id, 1):
        court.withdrawDeposit(alice.id, 1, sender=alice.owner)
    conviction = court.convictionOf(duel.accused.lease.id)
    courtroom.pass_moment(conviction.blockNumber + 32, conviction.time + conviction.moveTime)
    court.settle(duel.accused.lease.id, 1, sender=alice.owner)
    court.withdrawDeposit(alice.id, node.deposit, sender=alice.owner)
    court.settle(duel.accused.lease.id, 1, sender=alice.owner)
    assert court.nodeOf(alice.id).unsettled == 0


def test_anybody_may_refresh_the_bit(courtroom: Courtroom) -> None:
    """With fewer leases, a deposit that was too small suffices again."""
    court = courtroom.court
    alice = courtroom.node("alice")
    assert not court.refreshDeposit(alice.id, sender=courtroom.stranger).events
