"""`revealPaired`: the primary opens the drawn block of its tree, after its replica."""

from __future__ import annotations

import pytest
from evm import Receipt, reverts
from market_steps import WHOLE_LEASE, Lease, Stage, State


def test_equal(stage: Stage) -> None:
    pair = stage.bring(State.HALF_REVEALED)
    primary, replica = pair.primary, pair.replica
    assert replica
    receipt = stage.reveal_paired(primary, replica)
    assert vars(receipt.one("Revealed")) == {"lease": primary.id, "root": primary.root, "salt": primary.salt}
    assert not receipt.named("Contested")
    for lease in (primary, replica):
        info = stage.info(lease)
        assert (info.state, info.root, info.blockNumber) == (State.REVEALED, lease.root, receipt.block)
        assert info.deadline == stage.chain.time + lease.batch.terms.challengeSeconds
    assert (stage.info(primary).peer, stage.info(replica).peer) == (replica.id, primary.id)


@pytest.mark.parametrize("liar", ["primary", "replica"])
def test_differing(stage: Stage, liar: str) -> None:
    pair = stage.bring(State.LEASED)
    primary = pair.primary.lie() if liar == "primary" else pair.primary
    stage.commit(primary)
    stage.call(primary)
    stage.after_lottery(primary)
    replica = stage.take(primary, stage.nodes_known["bob"])
    if liar == "replica":
        replica.lie()
    stage.commit(replica)
    stage.reveal(replica)
    receipt = stage.reveal_paired(primary, replica)
    assert vars(receipt.one("Contested")) == {"primary": primary.id, "replica": replica.id}
    for lease in (primary, replica):
        info = stage.info(lease)
        assert (info.state, info.root) == (State.CONTESTED, lease.root)
        assert info.deadline == stage.chain.time + lease.batch.terms.challengeSeconds


def test_a_lie_outside_the_drawn_block_goes_unnoticed(stage: Stage) -> None:
    primary = stage.bring(State.LEASED).primary
    primary.lie(0)
    stage.commit(primary)
    stage.call(primary)
    stage.after_lottery(primary)
    replica = stage.take(primary, stage.nodes_known["bob"])
    stage.commit(replica)
    stage.reveal(replica)
    stage.reveal_paired(primary, replica)
    assert stage.state(primary) is (State.CONTESTED if replica.block == 0 else State.REVEALED)


@pytest.mark.parametrize("grains", [1, 3, 4])
@pytest.mark.parametrize("log2", [0, 1, 2, 13, WHOLE_LEASE])
def test_every_shape_of_tree(stage: Stage, grains: int, log2: int) -> None:
    """The path has h - b hashes; blocks may be short, whole leases have no path at all."""
    pair = stage.bring(State.HALF_REVEALED, grains=grains, size=3, blockLog2=log2)
    assert pair.replica and pair.replica.block is not None
    height = (3 * grains - 1).bit_length()
    block_root, path = pair.primary.opening(pair.replica.block)
    assert len(path) == height - min(log2, height)
    for wrong in (path[:-1], [*path, bytes(32)]):
        if wrong != path:
            with reverts("WrongPathLength", len(wrong), len(path)):
                paired(stage, pair.primary, block_root, wrong)
    stage.reveal_paired(pair.primary, pair.replica)
    assert stage.state(pair.primary) is State.REVEALED


def paired(stage: Stage, primary: Lease, block_root: bytes, path: list[bytes]) -> Receipt:
    arguments = (primary.id, primary.root, primary.salt, block_root, path)
    return stage.market.revealPaired(*arguments, sender=primary.node.operator)


def test_wrong_openings(stage: Stage) -> None:
    pair = stage.bring(State.HALF_REVEALED, grains=4, size=2)
    primary, replica = pair.primary, pair.replica
    assert replica and replica.block is not None
    block_root, path = primary.opening(replica.block)
    for index in range(4):
        if index != replica.block:
            with reverts("WrongOpening", primary.root, ...):
                paired(stage, primary, *primary.opening(index))
    with reverts("WrongOpening", primary.root, ...):
        paired(stage, primary, block_root, path[::-1])
    with reverts("WrongOpening", primary.root, ...):
        paired(stage, primary, b"b" * 32, path)


def test_wrong_reveals(stage: Stage) -> None:
    pair = stage.bring(State.HALF_REVEALED)
    primary = pair.primary
    honest = stage.commitment(primary)
    with reverts("WrongReveal", primary.id, honest, stage.commitment(primary, b"r" * 32)):
        stage.market.revealPaired(primary.id, b"r" * 32, primary.salt, b"b" * 32, [], sender=primary.node.operator)
    with reverts("ZeroHash"):
        stage.market.revealPaired(primary.id, bytes(32), primary.salt, b"b" * 32, [], sender=primary.node.operator)
    with reverts("StaleLease", primary.id - 1, 1):
        stage.market.revealPaired(primary.id - 1, primary.root, primary.salt, b"b" * 32, [], sender=stage.stranger)


@pytest.mark.parametrize("state", [state for state in State if state is not State.HALF_REVEALED])
def test_in_another_state(stage: Stage, state: State) -> None:
    primary = stage.bring(state).primary
    with reverts("WrongState", primary.id, state):
        paired(stage, primary, *primary.opening(0))


def test_a_replica_opens_nothing(stage: Stage) -> None:
    pair = stage.bring(State.HALF_REVEALED)
    assert pair.replica
    with reverts("WrongState", pair.replica.id, ...):
        paired(stage, pair.replica, pair.replica.root, [])


def test_deadline(stage: Stage) -> None:
    pair = stage.bring(State.HALF_REVEALED)
    assert pair.replica
    deadline = stage.info(pair.primary).deadline
    for _ in stage.not_passed(pair.primary):
        stage.reveal_paired(pair.primary, pair.replica)
    stage.pass_deadline(pair.primary)
    with reverts("DeadlinePassed", pair.primary.id, deadline):
        stage.reveal_paired(pair.primary, pair.replica)


def test_a_tree_of_another_count_opens_nothing(stage: Stage) -> None:
    """A root made over more results than the lease has shards fits no path: silence, and all of S, is its price."""
    primary = stage.bring(State.LEASED).primary
    primary.results = primary.results * 2
    primary.root = primary.honest_root
    stage.commit(primary)
    stage.call(primary)
    stage.after_lottery(primary)
    replica = stage.take(primary, stage.nodes_known["bob"])
    stage.commit(replica)
    stage.reveal(replica)
    block_root, path = primary.opening(replica.block or 0)
    with reverts("WrongPathLength", 2, 1):
        paired(stage, primary, block_root, path)
    with reverts("WrongOpening", primary.root, ...):
        paired(stage, primary, block_root, path[:-1])
