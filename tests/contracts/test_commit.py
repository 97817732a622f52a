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


@pytest.mark.parametrize("state", [state for state in State if state > State.LEASED])
def test_no_second_commit(stage: Stage, state: State) -> None:
    lease = stage.bring(state).primary
    with reverts("WrongState", lease.id, state):
        stage.commit(lease)


def test_open_task(stage: Stage) -> None:
    lease = stage.bring(State.LEASED, flags=OPEN, feePercent=0).primary
    with reverts("OpenTask", lease.id):
        stage.commit(lease)


def test_deadline(stage: Stage) -> None:
    lease = stage.bring(State.LEASED).primary
    for _ in stage.not_passed(lease):
        stage.commit(lease)
    deadline = stage.info(lease).deadline
    stage.pass_deadline(lease)
    with reverts("DeadlinePassed", lease.id, deadline):
        stage.commit(lease)
