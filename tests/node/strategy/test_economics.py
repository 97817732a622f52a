"""The arithmetic of terms: every figure that the market's description states, and a simulation that agrees with it."""

from __future__ import annotations

import math
import random

import pytest

from orebit.strategy.economics import (
    LeaseEconomics,
    bounty_only_equilibrium,
    covered_gain,
    detection_probability,
    draw_needed,
    effective_adversary,
    lease_economics,
    overhead,
    replica_fee,
    round_stall_probability,
    sabotage_factor_needed,
    stake_factor_needed,
    steps_warning,
    unfinal_exposure,
    verdict,
)

ORE = 10**18


def lease(
    *, shards: int = 1, factor: int = 600, draw: float = 0.25, block_log2: int = 0, price: int = ORE
) -> LeaseEconomics:
    fee = replica_fee(price, fee_percent=100, block_log2=block_log2, shards=shards)
    return lease_economics(price=price, shards=shards, stake_factor=factor, fee=fee, block_log2=block_log2, draw=draw)


@pytest.mark.parametrize(
    ("shards", "block", "draw", "factor", "extra"),
    [
        (1, 1, 0.5, 1.87, 0.5),
        (1, 1, 0.1, 14.67, 0.1),
        (64, 64, 0.1, 14.67, 0.1),
        (64, 1, 1.0, 0.267, 0.016),
        (64, 1, 0.25, 5.07, 0.004),
        (8, 1, 1.0, 0.267, 0.125),
    ],
)
def test_published_stake_factors_and_overheads(
    shards: int, block: int, draw: float, factor: float, extra: float
) -> None:
    assert stake_factor_needed(draw) == pytest.approx(factor, abs=0.005)
    assert overhead(draw, shards=shards, block=block) == pytest.approx(extra, abs=0.0005)


def test_sabotage_needs_larger_blocks() -> None:
    assert sabotage_factor_needed(1.0, outside_gain=10, block=1) == pytest.approx(20.3, abs=0.05)
    assert sabotage_factor_needed(1.0, outside_gain=10, block=4) == pytest.approx(5.3, abs=0.05)


@pytest.mark.parametrize("draw", [0.1, 0.25, 0.5, 1.0])
def test_the_least_draw_is_the_inverse_of_the_least_stake(draw: float) -> None:
    assert draw_needed(stake_factor_needed(draw)) == pytest.approx(draw)


@pytest.mark.parametrize("block", [1, 4, 64])
def test_the_covered_gain_is_the_inverse_of_the_stake_against_sabotage(block: int) -> None:
    factor = sabotage_factor_needed(0.5, outside_gain=10 * block, block=block)
    assert covered_gain(0.5, factor, block=block) == pytest.approx(10 * block)


def test_a_verdict_names_what_would_help() -> None:
    assert "the draw to" in verdict(lease(draw=0.1)).text
    little = LeaseEconomics(price=ORE, shards=1, block=1, fee=0, stake=ORE // 10, draw=0.1)
    assert "several shards" in verdict(little).text
    assert "prices by it outside" in verdict(lease(draw=1.0)).text


def test_without_outside_gain_sabotage_is_saving_work() -> None:
    for block in (1, 4, 64):
        assert sabotage_factor_needed(0.25, outside_gain=0, block=block) == pytest.approx(stake_factor_needed(0.25))


def test_bounties_alone_leave_two_thirds_cheating() -> None:
    assert bounty_only_equilibrium(5) == pytest.approx(0.64)


def test_eight_single_leases_nearly_always_wait() -> None:
    assert round_stall_probability(0.25, 8) == pytest.approx(0.90, abs=0.001)


def test_effective_share_grows_when_honest_stake_sleeps() -> None:
    assert effective_adversary(0.2, 1.0) == pytest.approx(0.2)
    assert effective_adversary(0.2, 0.5) == pytest.approx(1 / 3)
    assert effective_adversary(0.0, 0.0) == 0.0


def test_nothing_drawn_cannot_be_made_sound() -> None:
    judged = verdict(lease(draw=0.0, factor=10_000))
    assert judged.needed == math.inf
    assert not judged.sound
    assert "Nobody is drawn" in judged.text


def test_defaults_are_sound_and_a_tenth_is_not() -> None:
    assert verdict(lease(draw=0.25, factor=600)).sound
    assert verdict(lease(shards=8, draw=1.0, factor=200)).sound
    judged = verdict(lease(draw=0.1, factor=600))
    assert not judged.sound
    assert "14.67" in judged.text


def test_four_fees_are_the_least_stake() -> None:
    assert lease(factor=10).stake == 4 * ORE
    assert lease(factor=600).stake == 6 * ORE


def test_fee_follows_the_block_but_not_beyond_the_lease() -> None:
    assert lease(shards=64, block_log2=3).fee == 8 * ORE
    assert lease(shards=3, block_log2=255).fee == 4 * ORE
    assert lease(shards=1, block_log2=255).fee == ORE


def test_auditors_add_to_detection() -> None:
    alone = detection_probability(draw=0.25, shards=64, block=1, wrong=8)
    assert alone == pytest.approx(0.25 * (2 / 3) * 8 / 64)
    helped = detection_probability(draw=0.25, shards=64, block=1, wrong=8, audited=0.1)
    assert helped == pytest.approx(1 - (1 - alone) * 0.9**8)


def test_a_short_last_block_is_not_more_than_certain() -> None:
    assert detection_probability(draw=1.0, shards=5, block=4, wrong=5, adversary=0.0) == 1.0


@pytest.mark.parametrize(("draw", "shards", "block"), [(0.5, 1, 1), (1.0, 16, 1), (0.5, 16, 4)])
def test_a_cheats_gain_changes_sign_at_the_threshold(draw: float, shards: int, block: int) -> None:
    needed = stake_factor_needed(draw)
    below, at, above = (
        max(_simulated_gain(draw, shards, block, wrong, needed + shift) for wrong in {1, block, shards})
        for shift in (-0.4, 0.0, 0.4)
    )
    assert below > 0.03
    assert abs(at) < 0.03
    assert above < -0.03 * block / shards


def _simulated_gain(draw: float, shards: int, block: int, wrong: int, factor: float) -> float:
    """Mean gain over an honest node, in prices a wrong shard, of leaving the first `wrong` shards out."""
    rng = random.Random(7)
    games, caught = 60_000, 0
    for _ in range(games):
        drawn = rng.random() < draw and rng.random() >= 1 / 3
        caught += drawn and rng.randrange(math.ceil(shards / block)) * block < wrong
    loss = shards + 0.75 * factor * shards
    return (0.8 * wrong - caught / games * loss) / wrong


def test_exposure_and_short_shards() -> None:
    assert unfinal_exposure(depth=2, shards=4, price=ORE) == 8 * ORE
    assert steps_warning(100) is None
    warning = steps_warning(60)
    assert warning is not None
    assert "60 steps" in warning
