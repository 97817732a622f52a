"""Registration, and what a node says about itself."""

from __future__ import annotations

import pytest
from evm import address_of, reverts
from market_steps import STAKE, Stage, person

NOBODY = "0x" + "00" * 20


def test_register(stage: Stage) -> None:
    owner, operator = stage.fund(person("owner"), 900, stage.registry), person("operator")
    with stage.deltas(registry=900):
        receipt = stage.registry.register(operator, "https://n.example", "gpu", 900, sender=owner)
    assert receipt.one("NodeRegistered").__dict__ == {
        "node": 1,
        "owner": owner,
        "operator": operator,
        "url": "https://n.example",
        "capabilities": "gpu",
    }
    assert vars(receipt.one("StakeAdded")) == {"node": 1, "amount": 900, "stake": 900}
    assert vars(receipt.one("DepositBitSet")) == {"node": 1, "deposited": True}
    assert vars(stage.registry.nodeOf(1)) == {
        "owner": owner,
        "operator": operator,
        "payee": owner,
        "stake": 900,
        "locked": 0,
        "since": receipt.block,
        "unbonding": 0,
        "unbondedAt": 0,
        "deposited": True,
        "url": "https://n.example",
        "capabilities": "gpu",
    }
    assert (stage.registry.nodeCount(), stage.registry.payeeOf(1)) == (1, owner)


def test_register_without_stake(stage: Stage) -> None:
    stage.registry.register(stage.stranger, "", "", 0, sender=stage.stranger)
    assert stage.registry.nodeOf(1).stake == 0


def test_register_needs_an_operator_and_tokens(stage: Stage) -> None:
    with reverts("ZeroAddress"):
        stage.registry.register(NOBODY, "", "", 0, sender=stage.stranger)
    with reverts("ERC20InsufficientAllowance", stage.registry.address, 0, 1):
        stage.registry.register(stage.stranger, "", "", 1, sender=stage.stranger)


def test_an_owner_may_have_many(stage: Stage) -> None:
    for number in (1, 2, 3):
        assert stage.registry.register.simulate(stage.stranger, "", "", 0, sender=stage.stranger) == number
        stage.registry.register(stage.stranger, "", "", 0, sender=stage.stranger)


def test_operator(stage: Stage) -> None:
    node = stage.node("alice")
    receipt = stage.registry.setOperator(node.id, stage.stranger, sender=node.owner)
    assert vars(receipt.one("OperatorSet")) == {"node": node.id, "operator": stage.stranger}
    expected = {stage.stranger: True, node.owner: True, node.operator: False, NOBODY: False}
    assert {who: stage.registry.isOperator(node.id, who) for who in expected} == expected
    with reverts("NotOperator", node.id, node.operator):
        stage.lease(stage.batch(), node)
    with reverts("ZeroAddress"):
        stage.registry.setOperator(node.id, NOBODY, sender=node.owner)


def test_payee(stage: Stage) -> None:
    node = stage.node("alice")
    receipt = stage.registry.setPayee(node.id, stage.stranger, sender=node.owner)
    assert vars(receipt.one("PayeeSet")) == {"node": node.id, "payee": stage.stranger}
    assert stage.registry.payeeOf(node.id) == stage.stranger
    with reverts("ZeroAddress"):
        stage.registry.setPayee(node.id, NOBODY, sender=node.owner)


def test_describe(stage: Stage) -> None:
    node = stage.node("alice")
    for who in (node.owner, node.operator):
        receipt = stage.registry.describe(node.id, "https://new", who, sender=who)
        assert vars(receipt.one("NodeDescribed")) == {"node": node.id, "url": "https://new", "capabilities": who}
        info = stage.node_info(node)
        assert (info.url, info.capabilities, info.stake) == ("https://new", who, STAKE)
    with reverts("NotOperator", node.id, stage.stranger):
        stage.registry.describe(node.id, "", "", sender=stage.stranger)


@pytest.mark.parametrize("node", [0, 7])
def test_nobody(stage: Stage, node: int) -> None:
    assert not stage.registry.isOperator(node, stage.stranger)
    with reverts("NothingUnbonding", node):
        stage.registry.withdrawStake(node, sender=stage.stranger)
    with reverts("NotOperator", node, stage.stranger):
        stage.registry.describe(node, "", "", sender=stage.stranger)


def test_contracts_know_each_other(stage: Stage) -> None:
    """By predicted addresses; there is no setter."""
    market, registry, token, arbiter = (
        address_of(c) for c in (stage.market, stage.registry, stage.token, stage.arbiter)
    )
    assert (stage.market.token(), stage.market.registry(), stage.market.arbiter()) == (token, registry, arbiter)
    assert (stage.registry.TOKEN(), stage.registry.MARKET(), stage.registry.ARBITER()) == (token, market, arbiter)
    assert (stage.arbiter.TOKEN(), stage.arbiter.MARKET(), stage.arbiter.REGISTRY()) == (token, market, registry)
