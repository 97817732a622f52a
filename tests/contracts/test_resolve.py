"""`resolve`: a contest that nobody proved. Both go unpaid, each loses the late penalty."""

from __future__ import annotations

import pytest
from market_steps import Stage, State


@pytest.mark.parametrize("named", ["primary", "replica", "both"])
@pytest.mark.parametrize("closed", [False, True])
def test_void(stage: Stage, named: str, closed: bool) -> None:
    pair = stage.bring(State.CONTESTED, grains=3)
    primary, replica, batch = pair.primary, pair.replica, pair.primary.batch
    assert replica
    if closed:
        stage.close(batch)
    escrow = stage.escrow(batch.task)
    stage.pass_deadline(primary)
    losses = [lease.stake * 1003 // 10_000 for lease in (primary, replica)]
    back = sum(loss // 2 for loss in losses)
    with stage.deltas(registry=-sum(losses), market=back, supply=back - sum(losses)):
        receipt = stage.resolve(*{"primary": [primary], "replica": [replica], "both": [replica, primary]}[named])
    assert [event.values for event in receipt.named("Voided")] == [
        (lease.id, batch.id, loss, loss // 2, loss - loss // 2)
        for lease, loss in zip((primary, replica), losses, strict=True)
    ]
    for lease in (primary, replica):
        assert stage.free_slot(lease) and stage.node_info(lease.node).locked == 0 == stage.balance(lease.node)
    if closed:
        assert receipt.one("Refunded").amount == batch.reserved
        assert receipt.one("BatchSettled").refunded == 0
        assert stage.escrow(batch.task) == escrow + back + batch.reserved
    else:
        assert (stage.free(batch), stage.reserve(batch.id)) == (0b111, batch.reserved)
        assert stage.escrow(batch.task) == escrow + back


def test_deadline(stage: Stage) -> None:
    pair = stage.bring(State.CONTESTED)
    for _ in stage.not_passed(pair.primary):
        assert not stage.resolve(pair.primary).events
    stage.pass_deadline(pair.primary)
    assert stage.resolve(pair.primary).named("Voided")


@pytest.mark.parametrize("side", ["primary", "replica"])
def test_not_while_a_game_is_open(stage: Stage, side: str) -> None:
    pair = stage.bring(State.CONTESTED)
    lease = pair.primary if side == "primary" else pair.replica
    assert lease and pair.replica
    stage.open_game(lease)
    stage.pass_deadline(pair.primary)
    assert not stage.resolve(pair.primary, pair.replica).events
    stage.close_game(lease)
    assert len(stage.resolve(pair.primary).named("Voided")) == 2


@pytest.mark.parametrize("state", [state for state in State if state is not State.CONTESTED])
def test_skips_the_rest(stage: Stage, state: State) -> None:
    pair = stage.bring(state)
    stage.chain.mine(80)
    stage.chain.jump(10_000)
    leases = [lease for lease in (pair.primary, pair.replica) if lease]
    assert not stage.resolve(*leases).events


def test_wrong_generation(stage: Stage) -> None:
    pair = stage.bring(State.CONTESTED)
    stage.pass_deadline(pair.primary)
    assert not stage.market.resolve([0, pair.primary.id + 1, pair.primary.id - 1], sender=stage.stranger).events
