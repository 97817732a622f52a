"""`commit`: once a lease, in time, by its node, to something."""

from __future__ import annotations

import pytest
from evm import reverts
from market_steps import OPEN, Stage, State


def test_primary(stage: Stage) -> None:
    lease = stage.bring(State.LEASED).primary
    receipt = stage.commit(lease)
    committed = receipt.one("Committed")
    assert (committed.lease, committed.commitment) == (lease.id, stage.commitment(lease))
    info = stage.info(lease)
    assert (info.state, info.root, info.blockNumber) == (State.COMMITTED, stage.commitment(lease), receipt.block)
    assert info.deadline == stage.chain.time + lease.batch.terms.revealSeconds


def test_replica(stage: Stage) -> None:
    pair = stage.bring(State.PAIRED)
    assert pair.replica
    receipt = stage.commit(pair.replica)
    assert receipt.one("Committed").lease == pair.replica.id
    for lease in (pair.primary, pair.replica):
        info = stage.info(lease)
        assert (info.state, info.root, info.blockNumber) == (State.BOTH, stage.commitment(lease), receipt.block)
        assert info.deadline == stage.chain.time + lease.batch.terms.revealSeconds


@pytest.mark.parametrize("state", [state for state in State if state is not State.LEASED])
def test_primary_in_another_state(stage: Stage, state: State) -> None:
    lease = stage.bring(state).primary
    with reverts("WrongState", lease.id, state):
        stage.commit(lease)


@pytest.mark.parametrize("state", [State.BOTH, State.HALF_REVEALED, State.REVEALED, State.CONTESTED])
def test_replica_in_another_state(stage: Stage, state: State) -> None:
    replica = stage.bring(state).replica
    assert replica
    with reverts("WrongState", replica.id, state):
        stage.commit(replica)


def test_open_task(stage: Stage) -> None:
    lease = stage.bring(State.LEASED, flags=OPEN, feePercent=0).primary
    with reverts("OpenTask", lease.id):
        stage.commit(lease)


@pytest.mark.parametrize("state", [State.LEASED, State.PAIRED])
def test_deadline(stage: Stage, state: State) -> None:
    pair = stage.bring(state)
    lease = pair.replica or pair.primary
    deadline = stage.info(lease).deadline
    for _ in stage.not_passed(lease):
        stage.commit(lease)
    stage.pass_deadline(lease)
    with reverts("DeadlinePassed", lease.id, deadline):
        stage.commit(lease)


@pytest.mark.parametrize("state", [State.LEASED, State.PAIRED])
def test_only_its_operator(stage: Stage, state: State) -> None:
    pair = stage.bring(state)
    lease = pair.replica or pair.primary
    for who in (stage.stranger, stage.requester):
        with reverts("NotOperator", lease.node.id, who):
            stage.market.commit(lease.id, b"c" * 32, sender=who)
    stage.market.commit(lease.id, b"c" * 32, sender=lease.node.owner)


def test_to_something(stage: Stage) -> None:
    lease = stage.bring(State.LEASED).primary
    with reverts("ZeroHash"):
        stage.market.commit(lease.id, bytes(32), sender=lease.node.operator)


def test_generation(stage: Stage) -> None:
    lease = stage.bring(State.LEASED).primary
    for other in (lease.id - 1, lease.id + 1):
        with reverts("StaleLease", other, 1):
            stage.market.commit(other, b"c" * 32, sender=lease.node.operator)
    unused = lease.id + (1 << 32)
    with reverts("StaleLease", unused, 0):
        stage.market.commit(unused, b"c" * 32, sender=lease.node.operator)


def test_a_slot_never_used_is_no_lease(stage: Stage) -> None:
    node = stage.node("alice")
    nothing = node.id << 40
    with reverts("WrongState", nothing, State.FREE):
        stage.market.commit(nothing, b"c" * 32, sender=node.operator)


def test_deserted_replica_commits_no_more(stage: Stage) -> None:
    pair = stage.bring(State.PAIRED)
    stage.pass_deadline(pair.primary)
    stage.reveal(pair.primary)
    assert pair.replica
    with reverts("WrongState", pair.replica.id, ...):
        stage.commit(pair.replica)
    stage.expire(pair.replica)
