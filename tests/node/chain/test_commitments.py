"""Commit, draw and lottery against the deployed market: it must agree with every prediction."""

from __future__ import annotations

from dataclasses import replace

import pytest
from local_chain import Anvil
from stage import TERMS, Refused, open_stage

from orebit.chain import commitments
from orebit.chain.deployment import Deployment
from orebit.chain.token import UNIT
from orebit.chain.types import LeaseId, LeaseState

ROOT = b"r" * 32


async def test_draw_lottery_and_drawn_block_as_the_market_sees_them(anvil: Anvil, deployed: Deployment) -> None:
    stage = await open_stage(anvil, deployed)
    stage.prepare(nodes=2)
    task = stage.create(block_log2=1, lottery_blocks=40)
    batch = stage.post(task, grains=12, size=5)
    seen = {"drawn": 0, "free": 0, "lost": 0}
    for slot in range(12):
        lease = stage.lease(batch, 1, first=slot, slot=slot)
        commitment = stage.commitment(lease, ROOT)
        block = stage.commit(lease, ROOT)
        anvil.mine(3)
        block_hash = stage.block_hash(block + TERMS.draw_delay)
        if not commitments.is_drawn(block_hash, lease, commitment, TERMS.draw_bp):
            with pytest.raises(Refused, match="NotDrawn"):
                stage.take(lease, 2, 1, slot)
            stage.reveal(lease, ROOT)
            seen["free"] += 1
            continue
        with pytest.raises(Refused, match="DrawnUntil"):
            stage.reveal(lease, ROOT)
        seen["drawn"] += 1
        seed = commitments.draw_hash(block_hash, lease, commitment)
        for attempt in (1, 2, 3):
            if commitments.wins(seed, 2, attempt, 1_000 * UNIT, 2_000 * UNIT, 40):
                continue
            with pytest.raises(Refused, match="LotteryLost"):
                stage.take(lease, 2, attempt, slot)
            seen["lost"] += 1
        anvil.mine(10)
        winning = commitments.winning_attempt(seed, 2, 1_000 * UNIT, 2_000 * UNIT, 40, last=12)
        if winning is None:
            continue
        stage.take(lease, 2, winning, slot)
        replica = await stage.market.lease_of((await stage.market.lease_of(lease)).peer)
        terms = replace(TERMS, block_log2=1)
        assert commitments.block_count(terms, 5) == 3
        assert replica.drawn_block == commitments.drawn_block(seed, 3)
        assert replica.shards == (1 if replica.drawn_block == 2 else 2)
    assert min(seen.values()) > 0, seen
    await stage.connection.close()


async def test_a_commitment_opens_only_with_its_root_and_salt(anvil: Anvil, deployed: Deployment) -> None:
    stage = await open_stage(anvil, deployed)
    stage.prepare(nodes=1)
    lease = stage.lease(stage.post(stage.create(draw_bp=0)), 1)
    stage.commit(lease, ROOT)
    anvil.mine(2)
    with pytest.raises(Refused, match="WrongReveal") as caught:
        stage.reveal(lease, b"x" * 32)
    assert caught.value.values["expected"] == stage.commitment(lease, ROOT)
    stage.reveal(lease, ROOT)
    info = await stage.market.lease_of(lease)
    assert (info.state, info.root) == (LeaseState.REVEALED, ROOT)
    await stage.connection.close()


def _deployment(**changes: object) -> Deployment:
    values = {
        "chain_id": 31337,
        "genesis_hash": "0x" + "11" * 32,
        "block": 1,
        "token": "0x" + "01" * 20,
        "registry": "0x" + "02" * 20,
        "market": "0x" + "03" * 20,
        "arbiter": "0x" + "04" * 20,
    }
    return Deployment.model_validate(values | changes)


def test_salts_differ_by_lease_generation_chain_market_and_key() -> None:
    lease = LeaseId.of(1, 2, 3)
    key = b"k" * 32
    salts = {
        commitments.salt(key, _deployment(), lease),
        commitments.salt(key, _deployment(), LeaseId.of(1, 2, 4)),
        commitments.salt(key, _deployment(chain_id=1), lease),
        commitments.salt(key, _deployment(market="0x" + "05" * 20), lease),
        commitments.salt(b"l" * 32, _deployment(), lease),
    }
    assert len(salts) == 5
    assert commitments.salt(key, _deployment(), lease) in salts


def test_a_zero_hash_never_draws() -> None:
    lease = LeaseId.of(1, 0, 1)
    assert not commitments.is_drawn(commitments.NO_HASH, lease, ROOT, 10_000)
    assert commitments.is_drawn(b"h" * 32, lease, ROOT, 10_000)
    assert not commitments.is_drawn(b"h" * 32, lease, ROOT, 0)


@pytest.mark.parametrize(
    ("shards", "log2", "height", "b", "blocks"),
    [(1, 0, 0, 0, 1), (5, 1, 3, 1, 3), (64, 0, 6, 0, 64), (64, 255, 6, 6, 1), (5, 13, 3, 3, 1), (8, 2, 3, 2, 2)],
)
def test_blocks_of_a_lease(shards: int, log2: int, height: int, b: int, blocks: int) -> None:
    terms = replace(TERMS, block_log2=log2)
    assert commitments.tree_height(shards) == height
    assert commitments.replica_log2(terms, shards) == b
    assert commitments.block_count(terms, shards) == blocks


def test_winning_attempt_is_the_first(seed: bytes = b"s" * 32) -> None:
    won = [j for j in range(1, 200) if commitments.wins(seed, 7, j, 1, 10, 100)]
    assert won, "the odds of no win are below 1e-6"
    assert commitments.winning_attempt(seed, 7, 1, 10, 100, last=200) == won[0]
    assert commitments.winning_attempt(seed, 7, 1, 10, 100, first=won[0] + 1, last=200) == won[1]
    assert commitments.winning_attempt(seed, 7, 1, 10, 100, last=won[0] - 1) is None
