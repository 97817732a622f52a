"""The judge's powers: games hold a lease, a proof slashes it. Money to the wei, whichever of a pair is proven wrong."""

from __future__ import annotations

import pytest
from evm import address_of, reverts
from market_steps import Batch, Lease, Stage, State


def quarter(lease: Lease) -> int:
    return lease.stake // 4


def assert_slashed(stage: Stage, lease: Lease) -> None:
    info = stage.info(lease)
    assert (info.state, info.peer, info.games) == (State.SLASHED, 0, 0)
    assert info.deadline == stage.chain.time + lease.batch.terms.moveTime
    node = stage.node_info(lease.node)
    assert (node.locked, stage.balance(lease.node)) == (0, 0)


@pytest.mark.parametrize("closed", [False, True])
def test_alone(stage: Stage, closed: bool) -> None:
    primary = stage.bring(State.REVEALED, alone=True, grains=3).primary
    batch = primary.batch
    if closed:
        stage.close(batch)
    escrow, stake, held = stage.escrow(batch.task), primary.stake, stage.node_info(primary.node).stake
    bounty = stake // 4
    assert stage.market.convict.simulate(primary.id, sender=stage.arbiter) == bounty
    with stage.deltas(registry=-stake, arbiter=bounty, supply=bounty - stake):
        receipt = stage.convict(primary)
    (slashed,) = receipt.named("Slashed")
    assert slashed.values == (primary.id, batch.id, stake, bounty, stake - bounty, 0)
    assert_slashed(stage, primary)
    assert stage.node_info(primary.node).stake == held - stake
    if closed:
        assert receipt.one("Refunded").amount == batch.reserved
        assert stage.escrow(batch.task) == escrow + batch.reserved
    else:
        assert (stage.free(batch), stage.reserve(batch.id), stage.escrow(batch.task)) == (0b111, batch.reserved, escrow)


@pytest.mark.parametrize("state", [State.REVEALED, State.CONTESTED])
@pytest.mark.parametrize("closed", [False, True])
def test_primary_of_a_pair(stage: Stage, state: State, closed: bool) -> None:
    """A fee of its stake covers the replica, which is paid after the window: the old one, or a contest's fresh one."""
    pair = stage.bring(state)
    primary, replica, batch = pair.primary, pair.replica, pair.primary.batch
    assert replica
    if closed:
        stage.close(batch)
    escrow, stake, fee = stage.escrow(batch.task), primary.stake, batch.fee
    old = stage.limit(replica)
    bounty = stake // 4
    stage.chain.mine(3)
    with stage.deltas(registry=-stake, arbiter=bounty, market=fee, supply=bounty + fee - stake):
        receipt = stage.convict(primary)
    (slashed,) = receipt.named("Slashed")
    assert slashed.values == (primary.id, batch.id, stake, bounty, stake - bounty - fee, fee)
    assert 2 * slashed.fields["burnt"] >= stake
    assert_slashed(stage, primary)
    info = stage.info(replica)
    assert (info.state, info.peer) == (State.REVEALED, 0)
    if state is State.CONTESTED:
        assert info.deadline == stage.chain.time + batch.terms.challengeSeconds
    else:
        assert stage.limit(replica) == old
    if closed:
        assert stage.escrow(batch.task) == escrow + batch.reserved
    else:
        assert (stage.free(batch), stage.reserve(batch.id)) == (0b11, batch.reserved)
    stage.audit()
    for _ in stage.not_passed(replica):
        assert not stage.finalise(replica).events
    stage.pass_deadline(replica)
    assert stage.finalise(replica).one("Finalised").paid == fee == stage.balance(replica.node)


def test_replica_of_a_contest(stage: Stage) -> None:
    """The primary gets a full window of its own, and its batch keeps the fee until it settles."""
    pair = stage.bring(State.CONTESTED)
    primary, replica, batch = pair.primary, pair.replica, pair.primary.batch
    assert replica
    escrow, stake = stage.escrow(batch.task), replica.stake
    bounty = stake // 4
    stage.chain.mine(3)
    with stage.deltas(registry=-stake, arbiter=bounty, supply=bounty - stake):
        receipt = stage.convict(replica)
    (slashed,) = receipt.named("Slashed")
    assert slashed.values == (replica.id, batch.id, stake, bounty, stake - bounty, 0)
    assert_slashed(stage, replica)
    info = stage.info(primary)
    assert (info.state, info.peer) == (State.REVEALED, 0)
    assert info.deadline == stage.chain.time + batch.terms.challengeSeconds
    for _ in stage.not_passed(primary):
        assert not stage.finalise(primary).events
    stage.pass_deadline(primary)
    receipt = stage.finalise(primary)
    assert receipt.one("Finalised").paid == primary.pay
    assert receipt.one("BatchSettled").refunded == 2 * batch.fee
    assert stage.escrow(batch.task) == escrow + 2 * batch.fee


def test_replica_of_equals(stage: Stage) -> None:
    """The primary's own window goes on."""
    pair = stage.bring(State.REVEALED)
    assert pair.replica
    limit = stage.limit(pair.primary)
    stage.chain.mine(5)
    stage.convict(pair.replica)
    assert stage.limit(pair.primary) == limit
    assert stage.info(pair.primary).peer == 0
    stage.pass_deadline(pair.primary)
    assert stage.finalise(pair.primary).one("BatchSettled").refunded == 2 * pair.primary.batch.fee


@pytest.mark.parametrize("first", ["primary", "replica"])
def test_both_of_equals(stage: Stage, first: str) -> None:
    """Accomplices. Nobody gains: a fee that the primary's stake had set aside burns, the batch reserves all again."""
    pair = stage.bring(State.REVEALED)
    primary, replica, batch = pair.primary, pair.replica, pair.primary.batch
    assert replica
    escrow, fee = stage.escrow(batch.task), batch.fee
    bounties = quarter(primary) + quarter(replica)
    stakes = primary.stake + replica.stake
    with stage.deltas(registry=-stakes, arbiter=bounties, supply=bounties - stakes):
        if first == "primary":
            stage.convict(primary)
            receipt = stage.convict(replica)
            assert vars(receipt.one("FeeBurnt")) == {"lease": replica.id, "batch": batch.id, "amount": fee}
        else:
            stage.convict(replica)
            assert stage.convict(primary).one("Slashed").toReserve == 0
    assert (stage.escrow(batch.task), stage.reserve(batch.id), stage.free(batch)) == (escrow, batch.reserved, 0b11)
    assert_slashed(stage, primary if first == "replica" else replica)


@pytest.mark.parametrize("settled", [True, False])
def test_replica_whose_primary_is_paid(stage: Stage, settled: bool) -> None:
    """Its fee was set aside when the primary was paid: back to the reserve, or to escrow if that has settled."""
    batch = stage.batch(grains=2 if settled else 3)
    primary, replica = revealed_pair(stage, batch, grains=2)
    stage.open_game(replica)
    stage.pass_deadline(primary)
    stage.finalise(primary)
    escrow, bounty = stage.escrow(batch.task), quarter(replica)
    with stage.deltas(registry=-replica.stake, arbiter=bounty, supply=bounty - replica.stake):
        receipt = stage.convict(replica)
    assert receipt.one("Slashed").toReserve == 0
    assert stage.escrow(batch.task) - escrow == (batch.fee if settled else 0)
    if settled:
        assert vars(receipt.one("Refunded")) == {"batch": batch.id, "amount": batch.fee}
    else:
        assert not receipt.named("Refunded")
        assert stage.reserve(batch.id) == 2 * batch.terms.price + 3 * batch.fee
    assert_slashed(stage, replica)


def revealed_pair(stage: Stage, batch: Batch, grains: int) -> tuple[Lease, Lease]:
    alice, bob = stage.nodes("alice", "bob")
    primary = stage.lease(batch, alice, grains=grains)
    stage.commit(primary)
    stage.call(primary)
    stage.after_lottery(primary)
    replica = stage.take(primary, bob)
    stage.commit(replica)
    stage.reveal(replica)
    stage.reveal_paired(primary, replica)
    return primary, replica


@pytest.mark.parametrize("closed", [False, True])
def test_primary_whose_replica_is_paid(stage: Stage, closed: bool) -> None:
    """The fee that its replica took comes back out of its stake: its grains will be drawn again."""
    pair = stage.bring(State.REVEALED)
    primary, replica, batch = pair.primary, pair.replica, pair.primary.batch
    assert replica
    stage.open_game(primary)
    stage.pass_deadline(primary)
    stage.finalise(replica)
    if closed:
        stage.close(batch)
    escrow, stake, fee = stage.escrow(batch.task), primary.stake, batch.fee
    assert stage.reserve(batch.id) == batch.reserved - fee
    with stage.deltas(registry=-stake, arbiter=stake // 4, market=fee, supply=stake // 4 + fee - stake):
        receipt = stage.convict(primary)
    (slashed,) = receipt.named("Slashed")
    assert slashed.values == (primary.id, batch.id, stake, stake // 4, stake - stake // 4 - fee, fee)
    if closed:
        assert stage.escrow(batch.task) == escrow + batch.reserved
        assert receipt.one("Refunded").amount == batch.reserved
    else:
        assert (stage.reserve(batch.id), stage.free(batch)) == (batch.reserved, 0b11)
    assert stage.balance(replica.node) == fee
    assert_slashed(stage, primary)


def test_released_replica(stage: Stage) -> None:
    """Its primary was silent and paid its fee; proven wrong itself, that fee burns."""
    pair = stage.bring(State.HALF_REVEALED)
    primary, replica, batch = pair.primary, pair.replica, pair.primary.batch
    assert replica
    stage.pass_deadline(primary)
    stage.expire(primary)
    stake, fee, escrow = replica.stake, batch.fee, stage.escrow(batch.task)
    with stage.deltas(registry=-stake, arbiter=stake // 4, market=-fee, supply=stake // 4 - stake - fee):
        receipt = stage.convict(replica)
    assert receipt.one("FeeBurnt").amount == fee
    assert (stage.escrow(batch.task), stage.reserve(batch.id)) == (escrow, batch.reserved)
    assert_slashed(stage, replica)


def test_half_burns_at_the_highest_fee(stage: Stage) -> None:
    pair = stage.bring(State.CONTESTED, stakeFactor=1, feePercent=400)
    primary, batch = pair.primary, pair.primary.batch
    assert primary.stake == 4 * batch.fee
    slashed = stage.convict(primary).one("Slashed")
    assert (slashed.bounty, slashed.toReserve, slashed.burnt) == (batch.fee, batch.fee, 2 * batch.fee)


UNREVEALED = [("primary", state) for state in State if state not in (State.REVEALED, State.CONTESTED)]
PAIRED = [("replica", state) for state in (State.PAIRED, State.BOTH, State.HALF_REVEALED, State.SLASHED)]


@pytest.mark.parametrize(("side", "state"), UNREVEALED + PAIRED)
def test_only_what_is_revealed(stage: Stage, side: str, state: State) -> None:
    pair = stage.bring(state)
    if state is State.SLASHED and pair.replica:
        stage.convict(pair.replica)
    lease = pair.primary if side == "primary" else pair.replica
    assert lease
    for act in (stage.convict, stage.open_game):
        with reverts("WrongState", lease.id, state):
            act(lease)
    with reverts("NoGameOpen", lease.id):
        stage.close_game(lease)


@pytest.mark.parametrize("state", [State.PAIRED, State.BOTH])
def test_not_a_replica_left_behind(stage: Stage, state: State) -> None:
    pair = stage.bring(state)
    assert pair.replica
    stage.pass_deadline(pair.primary)
    stage.reveal(pair.primary)
    for act in (stage.convict, stage.open_game):
        with reverts("WrongState", pair.replica.id, ...):
            act(pair.replica)


def test_only_the_arbiter(stage: Stage) -> None:
    primary = stage.bring(State.REVEALED).primary
    for who in (stage.stranger, stage.guardian, stage.requester, primary.node.owner, stage.registry):
        for function in (stage.market.convict, stage.market.gameOpened, stage.market.gameClosed):
            with reverts("NotArbiter", address_of(who)):
                function(primary.id, sender=who)


def test_generation(stage: Stage) -> None:
    primary = stage.bring(State.REVEALED).primary
    for function in (stage.market.convict, stage.market.gameOpened, stage.market.gameClosed):
        with reverts("StaleLease", primary.id + 1, 1):
            function(primary.id + 1, sender=stage.arbiter)


# Games


@pytest.mark.parametrize("state", [State.REVEALED, State.CONTESTED])
@pytest.mark.parametrize("side", ["primary", "replica"])
def test_games_open_within_the_window(stage: Stage, state: State, side: str) -> None:
    pair = stage.bring(state)
    lease = pair.primary if side == "primary" else pair.replica
    assert lease
    deadline = stage.info(lease).deadline
    for _ in stage.not_passed(lease):
        assert vars(stage.open_game(lease).one("GameOpened")) == {"lease": lease.id, "games": 1}
    with stage.chain.undone():
        stage.pass_deadline(lease)
        with reverts("DeadlinePassed", lease.id, deadline):
            stage.open_game(lease)
    stage.open_game(lease)
    assert stage.open_game(lease).one("GameOpened").games == 2
    other = pair.replica if side == "primary" else pair.primary
    assert other and (stage.info(lease).games, stage.info(other).games) == (2, 0)
    assert vars(stage.close_game(lease).one("GameClosed")) == {"lease": lease.id, "games": 1}
    assert stage.close_game(lease).one("GameClosed").games == 0
    with reverts("NoGameOpen", lease.id):
        stage.close_game(lease)


def test_first_proof_ends_all_games(stage: Stage) -> None:
    primary = stage.bring(State.REVEALED, alone=True).primary
    for _ in range(3):
        stage.open_game(primary)
    stage.pass_deadline(primary)
    stage.convict(primary)
    assert stage.info(primary).games == 0
    with reverts("NoGameOpen", primary.id):
        stage.close_game(primary)
    with reverts("WrongState", primary.id, State.SLASHED):
        stage.convict(primary)


@pytest.mark.parametrize("loser", ["primary", "replica"])
def test_the_other_sides_games_go_on(stage: Stage, loser: str) -> None:
    pair = stage.bring(State.CONTESTED)
    assert pair.replica
    lost, other = (pair.primary, pair.replica) if loser == "primary" else (pair.replica, pair.primary)
    stage.open_game(lost)
    stage.open_game(other)
    stage.convict(lost)
    assert stage.info(other).games == 1
    stage.pass_deadline(other)
    assert not stage.finalise(other).events
    stage.close_game(other)
    assert stage.finalise(other).one("Finalised").paid == other.pay
