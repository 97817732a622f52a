"""`expire`: who missed a deadline pays, everybody else goes on."""

from __future__ import annotations

from typing import Any

import pytest
from market_steps import OPEN, Lease, Stage, State


def assert_late(stage: Stage, lease: Lease, event: Any, penalty: int) -> None:
    """Half of the late penalty to the requester, half burnt, the odd wei burnt."""
    half = penalty // 2
    assert event.values == (lease.id, lease.batch.id, penalty, half, penalty - half, 0)


LATE_ALONE = [
    (State.LEASED, {}),
    (State.LEASED, {"flags": OPEN, "feePercent": 0}),
    (State.COMMITTED, {}),
    (State.CALLED, {}),
]


@pytest.mark.parametrize(("state", "terms"), LATE_ALONE)
@pytest.mark.parametrize("closed", [False, True])
def test_late(stage: Stage, state: State, terms: dict[str, int], closed: bool) -> None:
    primary = stage.bring(state, grains=3, **terms).primary
    batch = primary.batch
    if closed:
        assert stage.close(batch).one("BatchClosed").refunded == 0
    escrow, stake = stage.escrow(batch.task), stage.node_info(primary.node).stake
    penalty = primary.stake * 1003 // 10_000
    half = penalty // 2
    stage.pass_deadline(primary)
    with stage.deltas(registry=-penalty, market=half, supply=half - penalty):
        receipt = stage.expire(primary)
    assert_late(stage, primary, *receipt.named("Expired"), penalty)
    taken = receipt.one("StakeTaken")
    assert (taken.amount, taken.toMarket, taken.toArbiter, taken.burnt) == (penalty, half, 0, penalty - half)
    after = stage.node_info(primary.node)
    assert (after.stake, after.locked) == (stake - penalty, 0)
    assert stage.free_slot(primary)
    if closed:
        assert stage.escrow(batch.task) == escrow + half + batch.reserved
        assert receipt.one("Refunded").amount == batch.reserved
        assert receipt.one("BatchSettled").refunded == 0
        assert stage.free(batch) == stage.reserve(batch.id) == 0
    else:
        assert stage.escrow(batch.task) == escrow + half
        assert stage.free(batch) == 0b111
        assert stage.reserve(batch.id) == batch.reserved


@pytest.mark.parametrize(("state", "terms"), LATE_ALONE)
def test_deadline_alone(stage: Stage, state: State, terms: dict[str, int]) -> None:
    primary = stage.bring(state, **terms).primary
    for _ in stage.not_passed(primary):
        assert not stage.expire(primary).events
    stage.pass_deadline(primary)
    assert stage.expire(primary).named("Expired")


def test_late_replica(stage: Stage) -> None:
    """Paired, and the replica never committed: the late penalty; the primary goes on, the reserve stays."""
    pair = stage.bring(State.PAIRED)
    primary, replica, batch = pair.primary, pair.replica, pair.primary.batch
    assert replica
    escrow = stage.escrow(batch.task)
    for _ in stage.not_passed(replica):
        assert not stage.expire(replica, primary).events
    stage.pass_deadline(replica)
    penalty = replica.stake * 1003 // 10_000
    with stage.deltas(registry=-penalty, market=penalty // 2, supply=penalty // 2 - penalty):
        receipt = stage.expire(replica, primary)
    assert_late(stage, replica, *receipt.named("Expired"), penalty)
    assert stage.escrow(batch.task) == escrow + penalty // 2
    assert stage.free_slot(replica) and stage.node_info(replica.node).locked == 0
    info = stage.info(primary)
    assert (info.state, info.peer) == (State.PAIRED, 0)
    assert stage.free(batch) == 0 and stage.reserve(batch.id) == batch.reserved


def test_silent_replica(stage: Stage) -> None:
    """Both have committed: silence costs all of S, burnt; the primary goes on."""
    pair = stage.bring(State.BOTH)
    primary, replica, batch = pair.primary, pair.replica, pair.primary.batch
    assert replica
    escrow = stage.escrow(batch.task)
    for _ in stage.not_passed(replica):
        assert not stage.expire(replica, primary).events
    stage.pass_deadline(replica)
    with stage.deltas(registry=-replica.stake, supply=-replica.stake):
        receipt = stage.expire(replica, primary)
    (expired,) = receipt.named("Expired")
    assert expired.values == (replica.id, batch.id, replica.stake, 0, replica.stake, 0)
    assert (stage.escrow(batch.task), stage.reserve(batch.id)) == (escrow, batch.reserved)
    info = stage.info(primary)
    assert (info.state, info.peer) == (State.BOTH, 0)
    stage.reveal(primary)
    stage.pass_deadline(primary)
    assert stage.finalise(primary).one("Finalised").paid == primary.pay
    assert stage.balance(replica.node) == 0


@pytest.mark.parametrize("state", [State.PAIRED, State.BOTH])
@pytest.mark.parametrize("order", ["primary", "primary, replica", "replica, primary"])
def test_neither(stage: Stage, state: State, order: str) -> None:
    """Neither acted: Paired, both are late; Both, both lose all of S. The range is reposted."""
    pair = stage.bring(state)
    primary, replica, batch = pair.primary, pair.replica, pair.primary.batch
    assert replica
    escrow = stage.escrow(batch.task)
    for _ in stage.not_passed(primary, turn=True):
        assert not stage.expire(primary).events
    stage.pass_deadline(primary, turn=True)
    late = state is State.PAIRED
    losses = [lease.stake * 1003 // 10_000 if late else lease.stake for lease in (primary, replica)]
    back = sum(loss // 2 for loss in losses) if late else 0
    with stage.deltas(registry=-sum(losses), market=back, supply=back - sum(losses)):
        names = {"primary": primary, "replica": replica}
        receipt = stage.expire(*[names[name] for name in order.split(", ")])
    for lease, loss in zip((primary, replica), losses, strict=True):
        (expired,) = [event for event in receipt.named("Expired") if event.fields["lease"] == lease.id]
        half = loss // 2 if late else 0
        assert expired.values == (lease.id, batch.id, loss, half, loss - half, 0)
        assert stage.free_slot(lease) and stage.node_info(lease.node).locked == 0
    assert stage.escrow(batch.task) == escrow + back
    assert (stage.free(batch), stage.reserve(batch.id)) == (0b11, batch.reserved)


@pytest.mark.parametrize("closed", [False, True])
def test_silent_primary(stage: Stage, closed: bool) -> None:
    """Its replica has revealed: all of S, a fee of it back to the reserve; the replica is paid after a window."""
    pair = stage.bring(State.HALF_REVEALED)
    primary, replica, batch = pair.primary, pair.replica, pair.primary.batch
    assert replica
    if closed:
        stage.close(batch)
    escrow, fee, stake = stage.escrow(batch.task), batch.fee, primary.stake
    for _ in stage.not_passed(primary):
        assert not stage.expire(primary, replica).events
    stage.pass_deadline(primary)
    with stage.deltas(registry=-stake, market=fee, supply=fee - stake):
        receipt = stage.expire(replica, primary)
    (expired,) = receipt.named("Expired")
    assert expired.values == (primary.id, batch.id, stake, 0, stake - fee, fee)
    assert stage.free_slot(primary) and stage.node_info(primary.node).locked == 0
    if closed:
        assert stage.escrow(batch.task) == escrow + batch.reserved
    else:
        assert (stage.free(batch), stage.reserve(batch.id)) == (0b11, batch.reserved)
    info = stage.info(replica)
    assert (info.state, info.peer, info.root) == (State.REVEALED, 0, replica.root)
    assert info.deadline == stage.chain.time + batch.terms.challengeSeconds
    for _ in stage.not_passed(replica):
        assert not stage.finalise(replica).events
    stage.pass_deadline(replica)
    receipt = stage.finalise(replica)
    assert receipt.one("Finalised").paid == fee == stage.balance(replica.node)
    assert stage.market.batchOf(batch.id).replicasPaid == (2 if closed else 0)


@pytest.mark.parametrize("state", [State.PAIRED, State.BOTH])
def test_deserting_replica_is_expired_at_once(stage: Stage, state: State) -> None:
    """The primary has revealed alone: its replica's deadline has passed already."""
    pair = stage.bring(state)
    primary, replica, batch = pair.primary, pair.replica, pair.primary.batch
    assert replica
    stage.pass_deadline(primary)
    stage.reveal(primary)
    loss = replica.stake * 1003 // 10_000 if state is State.PAIRED else replica.stake
    back = loss // 2 if state is State.PAIRED else 0
    with stage.deltas(registry=-loss, market=back, supply=back - loss):
        receipt = stage.expire(replica)
    (expired,) = receipt.named("Expired")
    assert expired.values == (replica.id, batch.id, loss, back, loss - back, 0)
    assert stage.free_slot(replica)
    stage.pass_deadline(primary)
    assert stage.finalise(primary).one("Finalised").paid == primary.pay


@pytest.mark.parametrize("state", [State.FREE, State.REVEALED, State.CONTESTED, State.SLASHED])
def test_skips_the_rest(stage: Stage, state: State) -> None:
    pair = stage.bring(state)
    stage.chain.mine(80)
    stage.chain.jump(10_000)
    leases = [lease for lease in (pair.primary, pair.replica) if lease]
    assert not stage.expire(*leases).events
    wrong = [0, pair.primary.id + 1, pair.primary.id - 1, 2**72 - 1]
    assert not stage.market.expire(wrong, sender=stage.stranger).events


def test_wrong_generation(stage: Stage) -> None:
    primary = stage.bring(State.LEASED).primary
    stage.pass_deadline(primary)
    assert not stage.market.expire([primary.id + 1, primary.id - 1], sender=stage.stranger).events
    assert stage.expire(primary, primary).named("Expired")[0].fields["lease"] == primary.id


def test_a_list_goes_on_over_what_is_not_ready(stage: Stage) -> None:
    batch = stage.batch(grains=4, maxGrains=1)
    alice = stage.node("alice")
    leases = [stage.lease(batch, alice, first=i, grains=1, slot=i) for i in range(4)]
    stage.commit(leases[1])
    stage.pass_deadline(leases[3])
    receipt = stage.expire(*leases)
    assert [event.fields["lease"] for event in receipt.named("Expired")] == [leases[i].id for i in (0, 2, 3)]
    assert stage.free(batch) == 0b1101


def test_reposted_work_is_leased_again(stage: Stage) -> None:
    primary = stage.bring(State.LEASED).primary
    stage.pass_deadline(primary)
    stage.expire(primary)
    carol = stage.node("carol")
    again = stage.lease(primary.batch, carol)
    stage.commit(again)
    stage.after_draw(again)
    stage.reveal(again)
    stage.pass_deadline(again)
    assert stage.finalise(again).one("Finalised").paid == again.pay
