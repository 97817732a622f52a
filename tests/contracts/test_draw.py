"""The chain's draw and the lottery, against the node package's own arithmetic."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from eth_abi import encode
from eth_utils import keccak
from evm import Reverted, reverts
from market_steps import Lease, Node, Stage

from orebit.chain import commitments
from orebit.chain.types import LeaseId


def draw_seed(stage: Stage, lease: Lease) -> bytes:
    """H(blockhash(d), slot key, generation, commit)."""
    block = stage.chain.rpc("eth_getBlockByNumber", hex(stage.draw_block(lease)), False)
    words = [bytes.fromhex(block["hash"][2:]), lease.key, lease.generation, stage.commitment(lease)]
    return keccak(encode(["bytes32", "uint40", "uint32", "bytes32"], words))


def works(act: Callable[[], object], *refusals: str) -> bool:
    """Whether the act succeeds; it may only fail with one of these."""
    try:
        act()
    except Reverted as failure:
        assert failure.name in refusals, failure
        return False
    return True


@pytest.mark.parametrize("probability", [2500, 5000])
def test_draw_by_block_hash(stage: Stage, probability: int) -> None:
    """A lease is either drawn, and can be taken but not revealed, or not drawn, and then the other way round."""
    batch = stage.batch(grains=12, size=7, drawBp=probability, lotteryBlocks=100, maxGrains=1)
    alice, bob = stage.nodes("alice", "bob")
    leases = [stage.lease(batch, alice, first=index, grains=1, slot=index) for index in range(12)]
    for lease in leases:
        stage.commit(lease)
    drawn = 0
    stage.chain.mine(batch.terms.drawDelay + 51)
    for lease in leases:
        seed = draw_seed(stage, lease)
        expected = int.from_bytes(seed[:16], "big") * 10_000 < probability << 128
        block = stage.chain.rpc("eth_getBlockByNumber", hex(stage.draw_block(lease)), False)
        words = (bytes.fromhex(block["hash"][2:]), LeaseId(lease.id), stage.commitment(lease))
        assert commitments.draw_hash(*words) == seed
        assert commitments.is_drawn(*words, probability) is expected
        with stage.chain.undone():
            assert works(lambda lease=lease: stage.take(lease, bob, 99), "NotDrawn") is expected
        with stage.chain.undone():
            assert works(lambda lease=lease: stage.reveal(lease), "DrawnUntil") is not expected
        if expected:
            replica = stage.take(lease, bob, slot=lease.slot)
            assert replica.block == int.from_bytes(seed[16:], "big") % 4 == commitments.drawn_block(seed, 4)
        drawn += expected
    assert 0 < drawn < 12 or probability != 5000


@pytest.mark.parametrize("probability", [0, 10_000])
def test_certain_draws(stage: Stage, probability: int) -> None:
    batch = stage.batch(grains=4, drawBp=probability, maxGrains=1)
    alice, bob = stage.nodes("alice", "bob")
    for index in range(4):
        lease = stage.lease(batch, alice, first=index, grains=1, slot=index)
        stage.commit(lease)
        stage.after_lottery(lease)
        assert works(lambda lease=lease: stage.take(lease, bob, lease.slot), "NotDrawn") is (probability > 0)


def test_blocks_of_a_drawn_lease(stage: Stage) -> None:
    """Not revealed up to d; drawn, not revealed up to d + L; then alone."""
    batch = stage.batch(drawBp=10_000, drawDelay=3, lotteryBlocks=6)
    lease = stage.lease(batch, stage.node("alice"))
    stage.commit(lease)
    draw = stage.draw_block(lease)
    with reverts("TooEarly", lease.id, draw + 1):
        stage.reveal(lease)
    stage.chain.mine_to(draw - 1)
    with reverts("TooEarly", lease.id, draw + 1):
        stage.reveal(lease)
    for block in (draw, draw + 5):
        stage.chain.mine_to(block)
        with stage.chain.undone(), reverts("DrawnUntil", lease.id, draw + 6):
            stage.reveal(lease)
    stage.chain.mine_to(draw + 6)
    assert stage.reveal(lease).block == draw + 7


def test_blocks_of_a_take(stage: Stage) -> None:
    batch = stage.batch(drawBp=10_000, drawDelay=3, lotteryBlocks=6)
    alice, bob = stage.nodes("alice", "bob")
    lease = stage.lease(batch, alice)
    stage.commit(lease)
    draw = stage.draw_block(lease)
    with reverts("TooEarly", lease.id, draw + 1):
        stage.take(lease, bob)
    stage.chain.mine_to(draw + 5)
    with stage.chain.undone():
        stage.take(lease, bob)
    stage.chain.mine_to(draw + 6)
    with reverts("TooLate", lease.id, draw + 6):
        stage.take(lease, bob)


@pytest.mark.parametrize("blocks", [1, 7, 16])
def test_lottery(stage: Stage, blocks: int) -> None:
    """In its first half only a winning ticket takes, one for each block that has passed; later anyone."""
    batch = stage.batch(drawBp=10_000, lotteryBlocks=blocks, feePercent=1, maxGrains=1, grains=1)
    alice, bob, rich = stage.node("alice"), stage.node("bob"), stage.node("rich", 10**23)
    lease = stage.lease(batch, alice)
    stage.commit(lease)
    seed = draw_seed_after(stage, lease)
    outcomes = set()
    for ticket in range(1, blocks // 2 + 1):
        for node in (bob, rich):
            wins = expected_win(stage, seed, node, ticket, blocks)
            outcomes.add(wins)
            with stage.chain.undone():
                assert works(lambda n=node, j=ticket: stage.take(lease, n, attempt=j), "LotteryLost") is wins
            for attempt in (0, ticket + 1):
                with stage.chain.undone(), reverts("AttemptOutOfRange", attempt, ticket):
                    stage.take(lease, node, attempt=attempt)
        stage.chain.mine()
    assert blocks < 16 or outcomes == {True, False}
    stage.take(lease, bob, attempt=2**256 - 1)


def draw_seed_after(stage: Stage, lease: Lease) -> bytes:
    stage.after_draw(lease)
    return draw_seed(stage, lease)


def expected_win(stage: Stage, seed: bytes, node: Node, attempt: int, blocks: int) -> bool:
    ticket = int.from_bytes(keccak(encode(["bytes32", "uint32", "uint256"], [seed, node.id, attempt])), "big") >> 128
    stake, total = stage.node_info(node).stake, stage.registry.totalStake()
    wins = bool(ticket * total * blocks < 8 * stake << 128)
    assert commitments.wins(seed, node.id, attempt, stake, total, blocks) is wins
    return wins


def test_unbonding_stake_has_no_weight(stage: Stage) -> None:
    """Beside a thousand times its stake bob's ticket loses; once that unbonds, the same ticket wins."""
    batch = stage.batch(drawBp=10_000, lotteryBlocks=8, feePercent=1)
    alice, bob, whale = stage.node("alice", batch.stake(4)), stage.node("bob"), stage.node("whale", 10**25)
    lease = stage.lease(batch, alice)
    stage.commit(lease)
    seed = draw_seed_after(stage, lease)
    stage.chain.mine(2)
    attempt = next(j for j in (1, 2, 3) if not expected_win(stage, seed, bob, j, 8))
    with stage.chain.undone(), reverts("LotteryLost", bob.id, attempt):
        stage.take(lease, bob, attempt=attempt)
    stage.registry.unbond(whale.id, 10**25, sender=whale.owner)
    if expected_win(stage, seed, bob, attempt, 8):
        stage.take(lease, bob, attempt=attempt)


@pytest.mark.parametrize("late", [False, True])
def test_stake_raised_since_the_commit(stage: Stage, late: bool) -> None:
    """Neither by registering, by adding, nor by no longer unbonding; not even once the lottery is over."""
    batch = stage.batch(drawBp=10_000, drawDelay=10, lotteryBlocks=40)
    alice, adds, cancels, ready = stage.nodes("alice", "adds", "cancels", "ready")
    stage.fund(adds.owner, 1, stage.registry)
    stage.registry.unbond(cancels.id, 1, sender=cancels.owner)
    lease = stage.lease(batch, alice)
    committed = stage.commit(lease).block
    since = {
        stage.node("new"): committed + 3,
        adds: stage.registry.addStake(adds.id, 1, sender=adds.owner).block,
        cancels: stage.registry.cancelUnbond(cancels.id, sender=cancels.owner).block,
    }
    stage.chain.mine_to(stage.draw_block(lease) + (39 if late else 0))
    for node, block in since.items():
        assert stage.node_info(node).since == block
        with stage.chain.undone(), reverts("StakeTooYoung", node.id, block, committed):
            stage.take(lease, node, attempt=1)
    assert works(lambda: stage.take(lease, ready, attempt=1), "LotteryLost") or not late


def test_stake_raised_in_the_block_of_the_commit(stage: Stage) -> None:
    batch = stage.batch(drawBp=10_000)
    alice, bob = stage.nodes("alice", "bob")
    stage.fund(bob.owner, 1, stage.registry)
    lease = stage.lease(batch, alice)
    stage.chain.rpc("evm_setAutomine", False)
    try:
        commit = stage.market.commit.encode(lease.id, stage.commitment(lease))
        add = stage.registry.addStake.encode(bob.id, 1)
        for sender, to, data in [(alice.operator, stage.market, commit), (bob.owner, stage.registry, add)]:
            call = {"from": sender, "to": to.address, "data": "0x" + data.hex(), "gas": "0x7a1200", "gasPrice": "0x0"}
            stage.chain.rpc("eth_sendTransaction", call)
        stage.chain.mine()
    finally:
        stage.chain.rpc("evm_setAutomine", True)
    committed = stage.info(lease).blockNumber
    assert stage.node_info(bob).since == committed
    stage.after_lottery(lease)
    with reverts("StakeTooYoung", bob.id, committed, committed):
        stage.take(lease, bob)
