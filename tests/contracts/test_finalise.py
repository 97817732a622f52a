"""`finalise`: pays what stood its window, frees slots and stakes, settles batches."""

from __future__ import annotations

import pytest
from market_steps import KEEP, OPEN, Lease, Pair, Stage, State


def whole(pair: Pair) -> list[Lease]:
    return [lease for lease in (pair.primary, pair.replica) if lease]


def test_alone(stage: Stage) -> None:
    primary = stage.bring(State.REVEALED, alone=True, grains=3).primary
    batch = primary.batch
    escrow, info = stage.escrow(batch.task), stage.info(primary)
    stage.pass_deadline(primary)
    with stage.deltas():
        receipt = stage.finalise(primary)
    pay = 6 * batch.terms.price
    assert [event.values for event in receipt.named("Finalised")] == [(primary.id, batch.id, primary.root, pay)]
    assert vars(receipt.one("BatchSettled")) == {"batch": batch.id, "refunded": 3 * batch.fee}
    assert stage.balance(primary.node) == pay
    assert stage.escrow(batch.task) == escrow + 3 * batch.fee
    assert stage.node_info(primary.node).locked == 0
    assert stage.free_slot(primary) and info.state == State.REVEALED
    after = stage.market.batchOf(batch.id)
    assert (after.unsettled, after.free, stage.reserve(batch.id)) == (0, 0, 0)


@pytest.mark.parametrize("named", ["primary", "replica", "both", "reversed"])
def test_pair(stage: Stage, named: str) -> None:
    """Naming either pays both, once."""
    pair = stage.bring(State.REVEALED, grains=3)
    primary, replica, batch = pair.primary, pair.replica, pair.primary.batch
    assert replica
    escrow = stage.escrow(batch.task)
    stage.pass_deadline(primary)
    lists = {"primary": [primary], "replica": [replica], "both": [primary, replica], "reversed": [replica, primary]}
    receipt = stage.finalise(*lists[named], *lists[named])
    assert sorted(event.values for event in receipt.named("Finalised")) == sorted(
        [(primary.id, batch.id, primary.root, primary.pay), (replica.id, batch.id, replica.root, batch.fee)]
    )
    assert receipt.one("BatchSettled").refunded == 2 * batch.fee
    assert (stage.balance(primary.node), stage.balance(replica.node)) == (6 * batch.terms.price, batch.fee)
    assert stage.escrow(batch.task) == escrow + 2 * batch.fee
    for lease in whole(pair):
        assert stage.node_info(lease.node).locked == 0 and stage.free_slot(lease)
        assert stage.lease(stage.batch(), lease.node).generation == 2


@pytest.mark.parametrize("alone", [True, False])
def test_deadline(stage: Stage, alone: bool) -> None:
    pair = stage.bring(State.REVEALED, alone=alone)
    for _ in stage.not_passed(pair.primary):
        assert not stage.finalise(*whole(pair)).events
    stage.pass_deadline(pair.primary)
    assert len(stage.finalise(*whole(pair)).named("Finalised")) == len(whole(pair))


@pytest.mark.parametrize("state", [state for state in State if state is not State.REVEALED])
def test_skips_what_is_not_ready(stage: Stage, state: State) -> None:
    pair = stage.bring(state)
    stage.chain.mine(80)
    stage.chain.jump(10_000)
    before = [vars(stage.info(lease)) for lease in whole(pair)]
    released = state is State.SLASHED
    receipt = stage.finalise(pair.primary)
    assert not receipt.events
    if not released:
        assert not stage.finalise(*whole(pair)).events
        assert [vars(stage.info(lease)) for lease in whole(pair)] == before


def test_skips_other_generations_and_nonsense(stage: Stage) -> None:
    primary = stage.bring(State.REVEALED, alone=True).primary
    stage.pass_deadline(primary)
    wrong = [0, primary.id + 1, primary.id - 1, 2**72 - 1]
    assert not stage.market.finalise(wrong, sender=stage.stranger).events
    receipt = stage.market.finalise([0, primary.id, 2**72 - 1], sender=stage.stranger)
    assert receipt.one("Finalised").lease == primary.id
    assert not stage.finalise(primary).events
    assert not stage.market.finalise([], sender=stage.stranger).events


def test_part_of_a_batch(stage: Stage) -> None:
    """One lease of three grains and its replica take one fee of the three that their grains reserved."""
    batch = stage.batch(grains=5, size=2)
    alice, bob = stage.nodes("alice", "bob")
    primary = stage.lease(batch, alice, first=1, grains=3)
    stage.commit(primary)
    stage.call(primary)
    stage.after_lottery(primary)
    replica = stage.take(primary, bob)
    stage.commit(replica)
    stage.reveal(replica)
    stage.reveal_paired(primary, replica)
    stage.pass_deadline(primary)
    receipt = stage.finalise(primary)
    assert not receipt.named("BatchSettled")
    info = stage.market.batchOf(batch.id)
    assert (info.unsettled, info.replicasPaid, info.free) == (2, 1, 0b10001)
    assert stage.reserve(batch.id) == 2 * 2 * batch.terms.price + 4 * batch.fee


def test_many_leases_at_once(stage: Stage) -> None:
    batch = stage.batch(grains=6, size=1, maxGrains=1, flags=OPEN, feePercent=0)
    alice, bob = stage.nodes("alice", "bob")
    leases = [
        stage.lease(batch, node, first=2 * i + j, slot=i) for i in range(3) for j, node in enumerate((alice, bob))
    ]
    for lease in leases:
        stage.reveal(lease)
    stage.pass_deadline(leases[-1])
    receipt = stage.finalise(*leases)
    assert len(receipt.named("Finalised")) == 6
    assert receipt.one("BatchSettled").refunded == 0
    assert stage.balance(alice) == stage.balance(bob) == 3 * batch.terms.price


@pytest.mark.parametrize("flags", [0, KEEP, KEEP | OPEN])
def test_kept_results(stage: Stage, flags: int) -> None:
    terms = {"flags": flags, "feePercent": 0} if flags & OPEN else {"flags": flags}
    primary = stage.bring(State.REVEALED, alone=True, grains=3, **terms).primary
    stage.pass_deadline(primary)
    stage.finalise(primary)
    kept = (primary.root, 3) if flags & KEEP else (bytes(32), 0)
    assert stage.market.resultOf(primary.batch.id, 0) == kept
    assert stage.market.resultOf(primary.batch.id, 1) == (bytes(32), 0)


# Open games


@pytest.mark.parametrize("games", [1, 2])
def test_no_payment_while_a_game_is_open(stage: Stage, games: int) -> None:
    primary = stage.bring(State.REVEALED, alone=True).primary
    for _ in range(games):
        stage.open_game(primary)
    stage.pass_deadline(primary)
    for _ in range(games):
        assert not stage.finalise(primary).events
        stage.close_game(primary)
    assert stage.finalise(primary).one("Finalised").paid == primary.pay


@pytest.mark.parametrize("named", ["primary", "replica"])
def test_a_game_over_the_replica(stage: Stage, named: str) -> None:
    """The primary is paid, its batch settles without the fee, and the replica waits for its games, alone."""
    pair = stage.bring(State.REVEALED)
    primary, replica, batch = pair.primary, pair.replica, pair.primary.batch
    assert replica
    stage.open_game(replica)
    stage.pass_deadline(primary)
    receipt = stage.finalise(primary if named == "primary" else replica)
    assert [event.fields["lease"] for event in receipt.named("Finalised")] == [primary.id]
    assert receipt.one("BatchSettled").refunded == batch.fee
    info = stage.info(replica)
    assert (info.state, info.peer, info.games) == (State.REVEALED, 0, 1)
    assert not stage.finalise(replica).events
    stage.audit()
    stage.close_game(replica)
    receipt = stage.finalise(replica)
    assert receipt.one("Finalised").paid == batch.fee == stage.balance(replica.node)
    assert stage.market.batchOf(batch.id).replicasPaid == 2


@pytest.mark.parametrize("named", ["primary", "replica"])
def test_a_game_over_the_primary(stage: Stage, named: str) -> None:
    """Naming the replica pays it, now; the primary waits, and no second fee is ever paid."""
    pair = stage.bring(State.REVEALED)
    primary, replica, batch = pair.primary, pair.replica, pair.primary.batch
    assert replica
    stage.open_game(primary)
    stage.pass_deadline(primary)
    receipt = stage.finalise(primary if named == "primary" else replica)
    if named == "primary":
        assert not receipt.events
        receipt = stage.finalise(primary, replica)
    assert [event.values for event in receipt.named("Finalised")] == [(replica.id, batch.id, replica.root, batch.fee)]
    info = stage.info(primary)
    assert (info.state, info.peer, info.games) == (State.REVEALED, 0, 1)
    assert stage.market.batchOf(batch.id).replicasPaid == 1
    assert not stage.finalise(primary, replica).events
    stage.audit()
    stage.close_game(primary)
    receipt = stage.finalise(replica, primary)
    assert receipt.one("Finalised").lease == primary.id
    assert receipt.one("BatchSettled").refunded == batch.fee
    assert stage.balance(replica.node) == batch.fee


def test_games_over_both(stage: Stage) -> None:
    pair = stage.bring(State.REVEALED)
    for lease in whole(pair):
        stage.open_game(lease)
    stage.pass_deadline(pair.primary)
    assert not stage.finalise(*whole(pair)).events
    for lease in whole(pair):
        stage.close_game(lease)
    assert len(stage.finalise(*whole(pair)).named("Finalised")) == 2
