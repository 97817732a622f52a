"""The guardian: stops new work and nothing else, and can leave for good."""

from __future__ import annotations

import pytest
from evm import reverts
from market_steps import PLAN, Stage, State, Terms


def pause(stage: Stage) -> None:
    stage.market.setPaused(True, sender=stage.guardian)


def test_new_work_stops(stage: Stage) -> None:
    batch = stage.batch()
    node = stage.node("alice")
    receipt = stage.market.setPaused(True, sender=stage.guardian)
    assert receipt.one("PausedSet").paused and stage.market.paused()
    with reverts("NewWorkPaused"):
        stage.market.create(Terms().values, "", 0, sender=stage.requester)
    with reverts("NewWorkPaused"):
        stage.market.post(batch.task.id, PLAN, 1, 1, sender=stage.requester)
    with reverts("NewWorkPaused"):
        stage.lease(batch, node)
    assert not stage.market.setPaused(False, sender=stage.guardian).one("PausedSet").paused
    stage.lease(stage.batch(), node)


@pytest.mark.parametrize("alone", [True, False])
def test_live_work_goes_on(stage: Stage, alone: bool) -> None:
    primary = stage.bring(State.LEASED).primary
    pause(stage)
    stage.commit(primary)
    if alone:
        stage.after_draw(primary)
        stage.reveal(primary)
    else:
        stage.call(primary)
        stage.after_lottery(primary)
        replica = stage.take(primary, stage.nodes_known["bob"])
        stage.commit(replica)
        stage.reveal(replica)
        stage.reveal_paired(primary, replica)
    stage.pass_deadline(primary)
    stage.finalise(primary)
    stage.market.withdraw(primary.node.id, sender=stage.stranger)
    assert stage.token.balanceOf(primary.node.owner) == primary.pay


def test_refunds_and_exits_go_on(stage: Stage) -> None:
    contested, leased = stage.bring(State.CONTESTED), stage.bring(State.LEASED, names=("carol", "dave"))
    pause(stage)
    stage.market.deposit(leased.primary.batch.task.id, 1, sender=stage.fund(stage.stranger, 1))
    for pair in (contested, leased):
        stage.close(pair.primary.batch)
    stage.pass_deadline(leased.primary)
    assert stage.expire(leased.primary).named("Refunded")
    stage.pass_deadline(contested.primary)
    assert stage.resolve(contested.primary).named("Refunded")
    task = leased.primary.batch.task
    stage.market.withdrawEscrow(task.id, stage.escrow(task), stage.requester, sender=stage.requester)
    node = leased.primary.node
    stake = stage.node_info(node).stake
    stage.registry.unbond(node.id, stake, sender=node.owner)
    stage.chain.jump(stage.registry.unbondingSeconds())
    stage.registry.withdrawStake(node.id, sender=node.owner)
    assert stage.token.balanceOf(node.owner) == stake


def test_verdicts_go_on(stage: Stage) -> None:
    primary = stage.bring(State.CONTESTED).primary
    pause(stage)
    stage.open_game(primary)
    stage.convict(primary)


def test_only_the_guardian(stage: Stage) -> None:
    for who in (stage.stranger, stage.requester):
        with reverts("NotGuardian", who):
            stage.market.setPaused(True, sender=who)
        with reverts("NotGuardian", who):
            stage.market.renounceGuardian(sender=who)


@pytest.mark.parametrize("paused", [True, False])
def test_renounce(stage: Stage, paused: bool) -> None:
    """It cannot leave the market paused behind it."""
    if paused:
        pause(stage)
    receipt = stage.market.renounceGuardian(sender=stage.guardian)
    assert receipt.named("GuardianRenounced") and bool(receipt.named("PausedSet")) is paused
    assert stage.market.guardian() == "0x" + "00" * 20 and not stage.market.paused()
    with reverts("NotGuardian", stage.guardian):
        pause(stage)
    stage.batch()
