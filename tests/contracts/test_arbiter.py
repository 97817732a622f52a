"""MajorityArbiter: a witness decides a contest, and nothing else."""

from __future__ import annotations

import pytest
from evm import Receipt, reverts
from market_steps import WHOLE_LEASE, Lease, Node, Pair, Stage, State, result_of


def contest(stage: Stage, liar: str, **terms: int) -> Pair:
    """A contested pair of which one side lied, and carol, a node, beside it."""
    stage.node("carol")
    pair = stage.bring(State.LEASED, **terms)
    if liar == "primary":
        pair.primary.lie()
    stage.commit(pair.primary)
    stage.call(pair.primary)
    stage.after_lottery(pair.primary)
    pair.replica = stage.take(pair.primary, stage.nodes_known["bob"])
    if liar == "replica":
        pair.replica.lie()
    stage.commit(pair.replica)
    stage.reveal(pair.replica)
    stage.reveal_paired(pair.primary, pair.replica)
    assert stage.state(pair.primary) is State.CONTESTED
    return pair


def honest(pair: Pair) -> Lease:
    """The primary as it should have been."""
    lease = pair.primary
    results = [result_of(lease.batch, shard) for shard in range(lease.shards)]
    return Lease(lease.id, lease.node, lease.batch, lease.first, lease.grains, lease.salt, results)


def bear_witness(stage: Stage, pair: Pair, lease: Lease, witness: Node, sender: str | None = None) -> Receipt:
    assert pair.replica and pair.replica.block is not None
    root, path = honest(pair).opening(pair.replica.block)
    return stage.arbiter.testify(lease.id, witness.id, root, path, sender=sender or witness.operator)


@pytest.mark.parametrize("named", ["primary", "replica"])
@pytest.mark.parametrize("liar", ["primary", "replica"])
@pytest.mark.parametrize("log2", [0, 1, WHOLE_LEASE])
def test_testify(stage: Stage, liar: str, named: str, log2: int) -> None:
    pair = contest(stage, liar, blockLog2=log2, grains=3)
    assert pair.replica
    wrong, right = (pair.primary, pair.replica) if liar == "primary" else (pair.replica, pair.primary)
    carol = stage.nodes_known["carol"]
    lease = pair.primary if named == "primary" else pair.replica
    receipt = bear_witness(stage, pair, lease, carol)
    told = receipt.one("Testified")
    bounty = wrong.stake // 4
    assert (told.lease, told.witness, told.convicted, told.bounty) == (lease.id, carol.id, wrong.id, bounty)
    assert (
        told.root == pair.replica.honest_root if liar == "primary" else honest(pair).block_root(pair.replica.block or 0)
    )
    assert receipt.one("Slashed").lease == wrong.id
    assert stage.token.balanceOf(right.node.owner) == bounty
    assert stage.token.balanceOf(stage.arbiter.address) == 0
    assert (stage.state(wrong), stage.state(right)) == (State.SLASHED, State.REVEALED)
    with reverts("NotContested", wrong.id):
        bear_witness(stage, pair, wrong, carol)
    with reverts("NotContested", right.id):
        bear_witness(stage, pair, right, carol)
    stage.pass_deadline(right)
    assert stage.finalise(right).one("Finalised").paid == right.pay


def test_agrees_with_neither(stage: Stage) -> None:
    pair = contest(stage, "primary")
    carol = stage.nodes_known["carol"]
    with reverts("AgreesWithNeither", pair.primary.id, b"x" * 32):
        stage.arbiter.testify(pair.primary.id, carol.id, b"x" * 32, [bytes(32)], sender=carol.operator)
    with reverts("WrongPathLength", 0, 1):
        stage.arbiter.testify(pair.primary.id, carol.id, b"x" * 32, [], sender=carol.operator)


def test_both_lied(stage: Stage) -> None:
    """An honest witness agrees with neither: the contest is voided in the end."""
    pair = stage.bring(State.LEASED)
    carol = stage.node("carol")
    stage.commit(pair.primary.lie())
    stage.call(pair.primary)
    stage.after_lottery(pair.primary)
    pair.replica = stage.take(pair.primary, stage.nodes_known["bob"]).lie().lie()
    stage.commit(pair.replica)
    stage.reveal(pair.replica)
    stage.reveal_paired(pair.primary, pair.replica)
    with reverts("AgreesWithNeither", pair.primary.id, ...):
        bear_witness(stage, pair, pair.primary, carol)
    stage.pass_deadline(pair.primary)
    assert len(stage.resolve(pair.primary).named("Voided")) == 2


def test_a_witness_is_neither_side_and_has_stake(stage: Stage) -> None:
    pair = contest(stage, "primary")
    carol, poor = stage.nodes_known["carol"], stage.node("poor", 0)
    assert pair.replica
    for node in (pair.primary.node, pair.replica.node, poor):
        with reverts("NotAWitness", node.id):
            bear_witness(stage, pair, pair.primary, node)
    with reverts("NotOperator", carol.id, stage.stranger):
        bear_witness(stage, pair, pair.primary, carol, sender=stage.stranger)
    bear_witness(stage, pair, pair.primary, carol, sender=carol.owner)


def test_deadline(stage: Stage) -> None:
    pair = contest(stage, "primary")
    carol = stage.nodes_known["carol"]
    deadline = stage.info(pair.primary).deadline
    for _ in stage.not_passed(pair.primary):
        bear_witness(stage, pair, pair.primary, carol)
    stage.pass_deadline(pair.primary)
    with reverts("ContestOver", pair.primary.id, deadline):
        bear_witness(stage, pair, pair.primary, carol)


@pytest.mark.parametrize("state", [state for state in State if state is not State.CONTESTED])
def test_never_on_what_is_not_contested(stage: Stage, state: State) -> None:
    stage.node("carol")
    pair = stage.bring(state)
    for lease in filter(None, [pair.primary, pair.replica]):
        with reverts("NotContested", lease.id):
            stage.arbiter.testify(lease.id, 1, b"x" * 32, [], sender=stage.nodes_known["carol"].operator)
    with reverts("NotContested", 0):
        stage.arbiter.testify(0, 1, b"x" * 32, [], sender=stage.nodes_known["carol"].operator)


def test_bounty_goes_to_the_payee(stage: Stage) -> None:
    pair = contest(stage, "primary")
    assert pair.replica
    stage.registry.setPayee(pair.replica.node.id, stage.stranger, sender=pair.replica.node.owner)
    bear_witness(stage, pair, pair.primary, stage.nodes_known["carol"])
    assert stage.token.balanceOf(stage.stranger) == pair.primary.stake // 4


def test_only_the_registry_announces_nodes(stage: Stage) -> None:
    with reverts("NotRegistry", stage.stranger):
        stage.arbiter.nodeRegistered(1, sender=stage.stranger)
