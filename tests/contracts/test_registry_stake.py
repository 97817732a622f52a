"""Stake: added and unbonded by its owner alone, withdrawn to where the owner said, never while a lease needs it."""

from __future__ import annotations

import pytest
from evm import reverts
from market_steps import STAKE, Node, Stage, State, person


@pytest.fixture
def node(stage: Stage) -> Node:
    node = stage.node("alice")
    stage.fund(node.owner, 1000, stage.registry)
    return node


def test_add(stage: Stage, node: Node) -> None:
    with stage.deltas(registry=5):
        receipt = stage.registry.addStake(node.id, 5, sender=node.owner)
    assert vars(receipt.one("StakeAdded")) == {"node": node.id, "amount": 5, "stake": STAKE + 5}
    info = stage.node_info(node)
    assert (info.stake, info.since) == (STAKE + 5, receipt.block)
    assert stage.registry.totalStake() == STAKE + 5


def test_unbond(stage: Stage, node: Node) -> None:
    since = stage.node_info(node).since
    receipt = stage.registry.unbond(node.id, 7, sender=node.owner)
    at = stage.chain.time + stage.registry.unbondingSeconds()
    assert vars(receipt.one("UnbondStarted")) == {"node": node.id, "amount": 7, "unbondedAt": at}
    info = stage.node_info(node)
    assert (info.stake, info.unbonding, info.unbondedAt, info.since) == (STAKE - 7, 7, at, since)
    assert stage.registry.totalStake() == STAKE - 7


def test_withdraw(stage: Stage, node: Node) -> None:
    stage.registry.unbond(node.id, 7, sender=node.owner)
    at = stage.node_info(node).unbondedAt
    stage.chain.next_time(at - 1)
    with reverts("StillUnbonding", node.id, at):
        stage.registry.withdrawStake(node.id, sender=node.owner)
    with stage.deltas(registry=-7):
        receipt = stage.registry.withdrawStake(node.id, sender=stage.stranger)
    assert stage.chain.time == at
    assert vars(receipt.one("StakeWithdrawn")) == {"node": node.id, "to": node.owner, "amount": 7}
    assert stage.token.balanceOf(node.owner) == 1007
    with reverts("NothingUnbonding", node.id):
        stage.registry.withdrawStake(node.id, sender=node.owner)


def test_withdraw_to_the_payee(stage: Stage, node: Node) -> None:
    cold = person("cold wallet")
    stage.registry.unbond(node.id, STAKE, sender=node.owner)
    stage.registry.setPayee(node.id, cold, sender=node.owner)
    stage.chain.jump(stage.registry.unbondingSeconds())
    stage.registry.withdrawStake(node.id, sender=stage.stranger)
    assert stage.token.balanceOf(cold) == STAKE


def test_unbonding_more_starts_the_clock_again(stage: Stage, node: Node) -> None:
    stage.registry.unbond(node.id, 7, sender=node.owner)
    stage.chain.jump(5)
    stage.registry.unbond(node.id, 3, sender=node.owner)
    info = stage.node_info(node)
    assert (info.unbonding, info.unbondedAt) == (10, stage.chain.time + stage.registry.unbondingSeconds())


def test_cancel(stage: Stage, node: Node) -> None:
    stage.registry.unbond(node.id, 7, sender=node.owner)
    receipt = stage.registry.cancelUnbond(node.id, sender=node.owner)
    assert vars(receipt.one("UnbondCancelled")) == {"node": node.id, "amount": 7}
    info = stage.node_info(node)
    assert (info.stake, info.unbonding, info.since) == (STAKE, 0, receipt.block)
    assert stage.registry.totalStake() == STAKE
    with reverts("NothingUnbonding", node.id):
        stage.registry.cancelUnbond(node.id, sender=node.owner)


def test_only_free_stake_unbonds(stage: Stage) -> None:
    primary = stage.bring(State.LEASED).primary
    node, free = primary.node, STAKE - primary.stake
    with reverts("StakeShort", node.id, free + 1, free):
        stage.registry.unbond(node.id, free + 1, sender=node.owner)
    stage.registry.unbond(node.id, free, sender=node.owner)
    with reverts("StakeShort", node.id, 1, 0):
        stage.registry.unbond(node.id, 1, sender=node.owner)
    assert stage.node_info(node).stake == stage.node_info(node).locked == primary.stake
    stage.pass_deadline(primary)
    stage.expire(primary)
    rest = primary.stake - primary.penalty
    stage.registry.unbond(node.id, rest, sender=node.owner)
    assert stage.node_info(node).stake == 0


def test_only_the_owner(stage: Stage, node: Node) -> None:
    registry = stage.registry
    stage.registry.unbond(node.id, 1, sender=node.owner)
    for who in (node.operator, stage.stranger, stage.guardian):
        for function, arguments in [
            (registry.addStake, (node.id, 1)),
            (registry.unbond, (node.id, 1)),
            (registry.cancelUnbond, (node.id,)),
            (registry.setOperator, (node.id, who)),
            (registry.setPayee, (node.id, who)),
        ]:
            with reverts("NotOwner", node.id, who):
                function(*arguments, sender=who)
    with reverts("NotOwner", 77, node.owner):
        registry.addStake(77, 1, sender=node.owner)


def test_only_the_market_locks(stage: Stage, node: Node) -> None:
    registry = stage.registry
    for who in (stage.stranger, node.owner, stage.arbiter.address, stage.guardian):
        for function, arguments in [
            (registry.lock, (node.id, node.owner, 1)),
            (registry.lockReplica, (node.id, node.owner, 1)),
            (registry.unlock, (node.id, 1)),
            (registry.seize, (node.id, 1, 1, 1, 0)),
        ]:
            with reverts("NotMarket", who):
                function(*arguments, sender=who)


def test_only_the_arbiter_sets_the_deposit_bit(stage: Stage, node: Node) -> None:
    for who in (stage.stranger, node.owner, stage.market.address, stage.guardian):
        with reverts("NotArbiter", who):
            stage.registry.setDeposited(node.id, False, sender=who)
    receipt = stage.registry.setDeposited(node.id, False, sender=stage.arbiter)
    assert vars(receipt.one("DepositBitSet")) == {"node": node.id, "deposited": False}
    assert stage.node_info(node).deposited is False


def test_what_is_seized_goes_where_it_is_said(stage: Stage, node: Node) -> None:
    registry, market = stage.registry, stage.market.address
    before = stage.totals()
    registry.lock(node.id, node.operator, 100, sender=market)
    receipt = registry.seize(node.id, 100, 50, 20, 10, sender=market)
    taken = receipt.one("StakeTaken")
    assert vars(taken) == {"node": node.id, "amount": 50, "toMarket": 20, "toArbiter": 10, "burnt": 20}
    info = stage.node_info(node)
    assert (info.stake, info.locked, registry.totalStake()) == (STAKE - 50, 0, STAKE - 50)
    after = stage.totals()
    changes = {name: after[name] - before[name] for name in after}
    assert changes == {"registry": -50, "market": 20, "arbiter": 10, "supply": -20}
    stage.gifts["market"] = 20
