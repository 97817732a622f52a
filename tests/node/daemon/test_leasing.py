from __future__ import annotations

from dataclasses import replace

import pytest
from test_decision import TERMS

from orebit.chain.types import BatchInfo, LeaseId
from orebit.daemon.config import NodeConfig, StakeCaps
from orebit.daemon.journal import LeaseRecord
from orebit.daemon.leasing import choose_run, most_grains, replica_fee, room, seconds_allowed, stake_needed

ORE = 10**18
PLAN = b"\x07" * 32


def batch(free: int, *, grains: int = 8, size: int = 1) -> BatchInfo:
    return BatchInfo(1, grains, size, free, grains, 0, 1, PLAN)


def held(requester: str, stake: int, slot: int = 0) -> LeaseRecord:
    return LeaseRecord(LeaseId.of(1, slot, 1), False, 1, 1, 0, 1, PLAN, requester, stake, 0.0)


def config(per_requester: int, total: int) -> NodeConfig:
    caps = StakeCaps.model_construct(per_requester=per_requester, total=total)
    return NodeConfig.model_construct(rpc=("http://x",), public_url="http://y", stake=caps)


def test_stake_is_the_price_times_the_factor_or_four_fees() -> None:
    assert stake_needed(TERMS, batch(0xFF), 2) == max(2 * 2 * ORE, 4 * ORE)
    assert stake_needed(TERMS, batch(0xFF), 1) == 4 * ORE
    assert stake_needed(replace(TERMS, fee_percent=0), batch(0xFF), 1) == 2 * ORE


def test_the_fee_is_of_the_longest_leases_block() -> None:
    terms = replace(TERMS, block_log2=3, fee_percent=150)
    assert replica_fee(terms, batch(0xFF, size=1)) == 150 * ORE * 4 // 100  # 4 grains: h = 2
    assert replica_fee(terms, batch(0xFF, grains=2, size=64)) == 150 * ORE * 8 // 100


@pytest.mark.parametrize(("stake", "grains"), [(3 * ORE, 0), (4 * ORE, 2), (6 * ORE, 3), (100 * ORE, 4)])
def test_a_lease_is_as_long_as_stake_and_terms_allow(stake: int, grains: int) -> None:
    assert most_grains(TERMS, batch(0xFF), stake) == grains


@pytest.mark.parametrize("free", [0b1, 0b10110111, 0xFF, 0b10000000])
@pytest.mark.parametrize("most", [1, 2, 4])
def test_a_run_is_free_and_not_too_long(free: int, most: int) -> None:
    for node in range(1, 20):
        chosen = choose_run(batch(free), most, node, PLAN)
        assert chosen is not None
        first, grains = chosen
        wanted = (1 << grains) - 1 << first
        assert 1 <= grains <= most and free & wanted == wanted


def test_nodes_start_at_different_places() -> None:
    assert len({choose_run(batch(0xFF), 1, node, PLAN) for node in range(1, 30)}) > 4


def test_nothing_free_is_nothing_chosen() -> None:
    assert choose_run(batch(0), 4, 1, PLAN) is None
    assert choose_run(batch(0xFF), 0, 1, PLAN) is None


def test_caps_bound_the_whole_and_each_requester() -> None:
    left = room(config(10 * ORE, 25 * ORE), [2, 3], 100 * ORE, [held("a", 8 * ORE), held("b", 4 * ORE, 1)])
    assert left.slots == (2, 3)
    assert left.stake == 13 * ORE
    assert (left.stake_for("a"), left.stake_for("b"), left.stake_for("c")) == (2 * ORE, 6 * ORE, 10 * ORE)


def test_unlocked_stake_bounds_everything() -> None:
    assert room(config(10 * ORE, 25 * ORE), [0], 3 * ORE, []).stake_for("a") == 3 * ORE
    assert room(config(1 * ORE, 2 * ORE), [0], 9 * ORE, [held("a", 5 * ORE)]).stake_for("a") == 0


def test_only_a_share_of_the_time_is_planned() -> None:
    assert seconds_allowed(TERMS, 3, 0.5) == 30.0
