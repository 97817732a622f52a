"""`withdraw`: a node's balance, to where its owner wants it, by anyone."""

from __future__ import annotations

from evm import reverts
from market_steps import Stage, State, person


def test_withdraw(stage: Stage) -> None:
    primary = stage.bring(State.REVEALED, alone=True).primary
    node, pay = primary.node, primary.pay
    stage.pass_deadline(primary)
    stage.finalise(primary)
    with stage.deltas(market=-pay):
        receipt = stage.market.withdraw(node.id, sender=stage.stranger)
    assert vars(receipt.one("Withdrawn")) == {"node": node.id, "to": node.owner, "amount": pay}
    assert stage.token.balanceOf(node.owner) == pay
    with reverts("NothingToWithdraw", node.id):
        stage.market.withdraw(node.id, sender=node.owner)


def test_to_the_payee(stage: Stage) -> None:
    primary = stage.bring(State.REVEALED, alone=True).primary
    cold = person("cold wallet")
    stage.pass_deadline(primary)
    stage.finalise(primary)
    stage.registry.setPayee(primary.node.id, cold, sender=primary.node.owner)
    stage.market.withdraw(primary.node.id, sender=primary.node.operator)
    assert stage.token.balanceOf(cold) == primary.pay


def test_nothing(stage: Stage) -> None:
    for node in (0, 1, 2**32 - 1):
        with reverts("NothingToWithdraw", node):
            stage.market.withdraw(node, sender=stage.stranger)
