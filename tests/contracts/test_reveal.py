"""`reveal`: alone, as a replica, deserted by one, or in an open task."""

from __future__ import annotations

import pytest
from evm import reverts
from market_steps import OPEN, Stage, State

ALONE = (State.COMMITTED, State.CALLED)


def test_undrawn(stage: Stage) -> None:
    lease = stage.bring(State.COMMITTED).primary
    stage.after_draw(lease)
    receipt = stage.reveal(lease)
    assert vars(receipt.one("Revealed")) == {"lease": lease.id, "root": lease.root, "salt": lease.salt}
    info = stage.info(lease)
    assert (info.state, info.root, info.blockNumber, info.peer) == (State.REVEALED, lease.root, receipt.block, 0)
    assert info.deadline == stage.chain.time + lease.batch.terms.challengeSeconds
    assert stage.node_info(lease.node).locked == lease.stake


def test_called_but_untaken(stage: Stage) -> None:
    lease = stage.bring(State.CALLED).primary
    last = stage.draw_block(lease) + lease.batch.terms.lotteryBlocks
    stage.chain.mine_to(last - 1)
    with stage.chain.undone(), reverts("DrawnUntil", lease.id, last):
        stage.reveal(lease)
    stage.chain.mine_to(last)
    stage.reveal(lease)
    assert stage.state(lease) is State.REVEALED


def test_too_early(stage: Stage) -> None:
    for state in ALONE:
        with stage.chain.undone():
            lease = stage.bring(state).primary
            with reverts("TooEarly", lease.id, stage.draw_block(lease) + 1):
                stage.reveal(lease)


@pytest.mark.parametrize("state", ALONE)
def test_deadline(stage: Stage, state: State) -> None:
    lease = stage.bring(state, lotteryBlocks=200, drawDelay=7, revealSeconds=1000).primary
    deadline = stage.info(lease).deadline
    assert stage.limit(lease)[0] == stage.info(lease).blockNumber + 7 + 200 + 32
    for _ in stage.not_passed(lease):
        stage.reveal(lease)
    stage.pass_deadline(lease)
    with reverts("DeadlinePassed", lease.id, deadline):
        stage.reveal(lease)


def test_wrong_reveals(stage: Stage) -> None:
    lease = stage.bring(State.COMMITTED).primary
    stage.after_draw(lease)
    honest = stage.commitment(lease)
    with reverts("WrongReveal", lease.id, honest, stage.commitment(lease, b"r" * 32)):
        stage.market.reveal(lease.id, b"r" * 32, lease.salt, sender=lease.node.operator)
    with reverts("WrongReveal", lease.id, honest, ...):
        stage.market.reveal(lease.id, lease.root, b"s" * 32, sender=lease.node.operator)
    with reverts("ZeroHash"):
        stage.market.reveal(lease.id, bytes(32), lease.salt, sender=lease.node.operator)
    with reverts("StaleLease", lease.id + 1, 1):
        stage.market.reveal(lease.id + 1, lease.root, lease.salt, sender=lease.node.operator)


@pytest.mark.parametrize(
    "state", [State.FREE, State.LEASED, State.HALF_REVEALED, State.REVEALED, State.CONTESTED, State.SLASHED]
)
def test_primary_in_another_state(stage: Stage, state: State) -> None:
    lease = stage.bring(state).primary
    with reverts("WrongState", lease.id, state):
        stage.reveal(lease)


@pytest.mark.parametrize("state", [State.PAIRED, State.HALF_REVEALED, State.REVEALED, State.CONTESTED])
def test_replica_in_another_state(stage: Stage, state: State) -> None:
    replica = stage.bring(state).replica
    assert replica
    with reverts("WrongState", replica.id, state):
        stage.reveal(replica)


def test_replica(stage: Stage) -> None:
    pair = stage.bring(State.BOTH)
    assert pair.replica
    receipt = stage.reveal(pair.replica)
    assert vars(receipt.one("Revealed")) == {
        "lease": pair.replica.id,
        "root": pair.replica.root,
        "salt": pair.replica.salt,
    }
    for lease in (pair.primary, pair.replica):
        info = stage.info(lease)
        assert (info.state, info.blockNumber) == (State.HALF_REVEALED, receipt.block)
        assert info.deadline == stage.chain.time + lease.batch.terms.revealSeconds
    assert stage.info(pair.replica).root == pair.replica.root
    assert stage.info(pair.primary).root == stage.commitment(pair.primary)


def test_replica_deadline(stage: Stage) -> None:
    replica = stage.bring(State.BOTH).replica
    assert replica
    deadline = stage.info(replica).deadline
    for _ in stage.not_passed(replica):
        stage.reveal(replica)
    stage.pass_deadline(replica)
    with reverts("DeadlinePassed", replica.id, deadline):
        stage.reveal(replica)


def test_wrong_reveal_of_a_replica(stage: Stage) -> None:
    replica = stage.bring(State.BOTH).replica
    assert replica
    with reverts("WrongReveal", replica.id, stage.commitment(replica), ...):
        stage.market.reveal(replica.id, b"r" * 32, replica.salt, sender=replica.node.operator)
    with reverts("ZeroHash"):
        stage.market.reveal(replica.id, bytes(32), replica.salt, sender=replica.node.operator)


@pytest.mark.parametrize("state", [State.PAIRED, State.BOTH])
def test_deserted(stage: Stage, state: State) -> None:
    """The replica missed its turn: the primary reveals alone, in a turn of its own, and the link is gone."""
    pair = stage.bring(state)
    primary, replica = pair.primary, pair.replica
    assert replica
    deadline = stage.info(primary).deadline
    for _ in stage.not_passed(primary):
        with reverts("PeerMayAct", primary.id, deadline):
            stage.reveal(primary)
    for _ in stage.not_passed(primary, turn=True):
        stage.reveal(primary)
    with stage.chain.undone():
        stage.pass_deadline(primary, turn=True)
        with reverts("DeadlinePassed", primary.id, deadline + 200):
            stage.reveal(primary)
    stage.pass_deadline(primary)
    stage.reveal(primary)
    ours, theirs = stage.info(primary), stage.info(replica)
    assert (ours.state, ours.peer, ours.root) == (State.REVEALED, 0, primary.root)
    assert (theirs.state, theirs.peer) == (State.LEASED if state is State.PAIRED else State.BOTH, 0)
    with reverts("WrongState", replica.id, ...):
        stage.reveal(replica)
    stage.expire(replica)
    assert stage.free_slot(replica)


@pytest.mark.parametrize("state", [State.PAIRED, State.BOTH])
def test_deserted_by_an_expired_replica(stage: Stage, state: State) -> None:
    pair = stage.bring(state)
    assert pair.replica
    limit, turn = stage.limit(pair.primary), stage.limit(pair.primary, turn=True)
    stage.pass_deadline(pair.primary)
    stage.expire(pair.replica)
    info = stage.info(pair.primary)
    assert (info.state, info.peer, limit) == (state, 0, stage.limit(pair.primary))
    stage.next_at(turn[0], turn[1] + 1)
    stage.reveal(pair.primary)
    assert stage.state(pair.primary) is State.REVEALED


def test_open_task(stage: Stage) -> None:
    lease = stage.bring(State.LEASED, flags=OPEN, feePercent=0).primary
    with reverts("NotOperator", lease.node.id, stage.stranger):
        stage.reveal(lease, sender=stage.stranger)
    with reverts("ZeroHash"):
        stage.market.reveal(lease.id, bytes(32), lease.salt, sender=lease.node.operator)
    receipt = stage.reveal(lease)
    assert vars(receipt.one("Revealed")) == {"lease": lease.id, "root": lease.root, "salt": bytes(32)}
    info = stage.info(lease)
    assert (info.state, info.root) == (State.REVEALED, lease.root)
    assert info.deadline == stage.chain.time + lease.batch.terms.challengeSeconds
    with reverts("WrongState", lease.id, State.REVEALED):
        stage.reveal(lease)


def test_open_task_deadline(stage: Stage) -> None:
    lease = stage.bring(State.LEASED, flags=OPEN, feePercent=0).primary
    deadline = stage.info(lease).deadline
    for _ in stage.not_passed(lease):
        stage.reveal(lease)
    stage.pass_deadline(lease)
    with reverts("DeadlinePassed", lease.id, deadline):
        stage.reveal(lease)


def test_whoever_knows_the_salt_may_reveal(stage: Stage) -> None:
    """So that a node may let another account pay its gas; nobody else can know the salt."""
    lease = stage.bring(State.COMMITTED).primary
    stage.after_draw(lease)
    stage.reveal(lease, sender=stage.stranger)
    assert stage.state(lease) is State.REVEALED
