"""`call`: the requester, or the watcher it named, has a lease replicated before the chain has drawn."""

from __future__ import annotations

import pytest
from evm import reverts
from market_steps import OPEN, Stage, State


def test_by_requester_or_watcher(stage: Stage) -> None:
    lease = stage.bring(State.COMMITTED, watcher=stage.watcher).primary
    before = vars(stage.info(lease))
    for caller in (stage.requester, stage.watcher):
        with stage.chain.undone():
            receipt = stage.market.call(lease.id, sender=caller)
            assert vars(receipt.one("Called")) == {"lease": lease.id, "by": caller}
            assert vars(stage.info(lease)) == before | {"state": State.CALLED}


def test_by_nobody_else(stage: Stage) -> None:
    lease = stage.bring(State.COMMITTED).primary
    for who in (stage.stranger, lease.node.operator, stage.guardian):
        with reverts("NotRequester", lease.batch.task.id, who):
            stage.market.call(lease.id, sender=who)


def test_until_the_draw(stage: Stage) -> None:
    lease = stage.bring(State.COMMITTED, drawDelay=5).primary
    draw = stage.draw_block(lease)
    with stage.chain.undone():
        stage.chain.mine_to(draw - 1)
        assert stage.call(lease).block == draw
    stage.chain.mine_to(draw)
    with reverts("TooLate", lease.id, draw):
        stage.call(lease)


@pytest.mark.parametrize("state", [state for state in State if state not in (State.FREE, State.COMMITTED)])
def test_primary_in_another_state(stage: Stage, state: State) -> None:
    lease = stage.bring(state).primary
    with reverts("WrongState", lease.id, state):
        stage.call(lease)


@pytest.mark.parametrize("state", [State.PAIRED, State.BOTH, State.HALF_REVEALED, State.REVEALED])
def test_a_replica_is_not_called(stage: Stage, state: State) -> None:
    replica = stage.bring(state).replica
    assert replica
    with reverts("WrongState", replica.id, ...):
        stage.call(replica)


def test_free_slot(stage: Stage) -> None:
    lease = stage.bring(State.FREE).primary
    with reverts("NotRequester", 0, stage.requester):
        stage.call(lease)
    with reverts("StaleLease", lease.id + 1, 1):
        stage.market.call(lease.id + 1, sender=stage.requester)


def test_open_task_knows_no_calls(stage: Stage) -> None:
    lease = stage.bring(State.REVEALED, flags=OPEN, feePercent=0).primary
    with reverts("WrongState", lease.id, State.REVEALED):
        stage.call(lease)
