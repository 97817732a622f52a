"""`close`: no more leases; free grains come back at once, live ones go on as if nothing had happened."""

from __future__ import annotations

import pytest
from evm import reverts
from market_steps import Stage, State


def test_nothing_leased(stage: Stage) -> None:
    batch = stage.batch(grains=5, size=3)
    escrow = stage.escrow(batch.task)
    receipt = stage.close(batch)
    assert [event.values for event in receipt.named("BatchClosed")] == [(batch.id, batch.reserved)]
    assert [event.values for event in receipt.named("BatchSettled")] == [(batch.id, 0)]
    assert stage.escrow(batch.task) == escrow + batch.reserved
    info = stage.market.batchOf(batch.id)
    assert (info.free, info.unsettled, info.posted, info.replicasPaid) == (0, 0, 0, 5)


def test_some_leased(stage: Stage) -> None:
    batch = stage.batch(grains=128, size=2, maxGrains=128)
    lease = stage.lease(batch, stage.node("alice"), first=3, grains=100)
    escrow = stage.escrow(batch.task)
    refund = 28 * (2 * batch.terms.price + batch.fee)
    receipt = stage.close(batch)
    assert receipt.one("BatchClosed").refunded == refund
    assert not receipt.named("BatchSettled")
    assert stage.escrow(batch.task) == escrow + refund
    info = stage.market.batchOf(batch.id)
    assert (info.free, info.unsettled, info.posted, info.replicasPaid) == (0, 100, 0, 28)
    assert stage.reserve(batch.id) == batch.reserved - refund
    stage.commit(lease)
    stage.after_draw(lease)
    stage.reveal(lease)
    stage.pass_deadline(lease)
    receipt = stage.finalise(lease)
    assert receipt.one("Finalised").paid == lease.pay
    assert receipt.one("BatchSettled").refunded == 100 * batch.fee
    assert stage.escrow(batch.task) == escrow + refund + 100 * batch.fee


@pytest.mark.parametrize("state", [State.LEASED, State.COMMITTED, State.CALLED, State.PAIRED, State.BOTH])
def test_a_live_lease_goes_on(stage: Stage, state: State) -> None:
    pair = stage.bring(state, lotteryBlocks=40, drawDelay=9)
    stage.close(pair.primary.batch)
    primary, bob = pair.primary, stage.nodes_known["bob"]
    if state < State.COMMITTED:
        stage.commit(primary)
    if state < State.CALLED:
        stage.call(primary)
    if state < State.PAIRED:
        stage.after_lottery(primary)
    replica = pair.replica or stage.take(primary, bob)
    if state < State.BOTH:
        stage.commit(replica)
    stage.reveal(replica)
    stage.reveal_paired(primary, replica)
    stage.pass_deadline(primary)
    receipt = stage.finalise(primary)
    assert {event.fields["paid"] for event in receipt.named("Finalised")} == {primary.pay, replica.pay}
    assert receipt.one("BatchSettled").refunded == primary.batch.fee


def test_twice(stage: Stage) -> None:
    batch = stage.batch()
    stage.lease(batch, stage.node("alice"), grains=1)
    stage.close(batch)
    with reverts("BatchNotOpen", batch.id):
        stage.close(batch)


def test_settled(stage: Stage) -> None:
    primary = stage.bring(State.REVEALED, alone=True).primary
    stage.pass_deadline(primary)
    stage.finalise(primary)
    with reverts("BatchNotOpen", primary.batch.id):
        stage.close(primary.batch)


def test_only_the_requester(stage: Stage) -> None:
    batch = stage.batch(watcher=stage.watcher)
    for who in (stage.stranger, stage.watcher, stage.guardian):
        with reverts("NotRequester", batch.task.id, who):
            stage.market.close(batch.id, sender=who)
    with reverts("NotRequester", 0, stage.requester):
        stage.market.close(batch.id + 1, sender=stage.requester)


def test_grains_of_a_closed_batch_come_back_one_by_one(stage: Stage) -> None:
    """Two leases end without a result after closing: each refunds its own, the last one settles the batch."""
    batch = stage.batch(grains=4, maxGrains=2)
    alice, bob = stage.nodes("alice", "bob")
    leases = [stage.lease(batch, alice, first=0, grains=2), stage.lease(batch, bob, first=2, grains=1)]
    stage.close(batch)
    escrow = stage.escrow(batch.task)
    stage.pass_deadline(leases[0])
    a_grain = 2 * batch.terms.price + batch.fee
    receipt = stage.expire(leases[0])
    assert receipt.one("Refunded").amount == 2 * a_grain
    assert not receipt.named("BatchSettled")
    receipt = stage.expire(leases[1])
    assert receipt.one("Refunded").amount == a_grain
    assert receipt.one("BatchSettled").refunded == 0
    assert stage.escrow(batch.task) == escrow + 3 * a_grain + sum(lease.penalty // 2 for lease in leases)
