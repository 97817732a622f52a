"""What a job is said to cost, reserve and risk before its requester agrees."""

from __future__ import annotations

from typing import Any

import pytest

from orebit.errors import ConfigError
from orebit.strategy.quote import Quote
from orebit.strategy.terms import load_task_file

ORE = 10**18


def quote(flags: dict[str, Any] | None = None, *, shards: int = 4, rounds: int = 3, steps: int = 120) -> Quote:
    settings = load_task_file(None, {"terms.price": "1", "averaging.price": "0.01"} | (flags or {}))
    return Quote(
        training=settings.training_terms,
        averaging=settings.averaging_terms,
        rounds=rounds,
        shards=shards,
        steps=steps,
        grain=settings.run.grain,
        depth=settings.run.depth,
        call=settings.run.call,
    )


def test_work_fees_and_reserve_of_single_shards() -> None:
    offer = quote()
    assert offer.work == 12 * ORE + 3 * ORE // 100
    assert offer.expected_fees == 3 * ORE
    assert offer.training_reserve == 24 * ORE
    assert offer.averaging_reserve == 5 * ORE // 100
    assert offer.escrow(None) == (24 * ORE, 5 * ORE // 100)
    assert offer.lease.stake == 6 * ORE
    assert offer.exposure == 8 * ORE
    assert offer.overhead == pytest.approx(0.25)
    assert offer.verdict.sound


def test_a_grain_of_eight_costs_an_eighth_more() -> None:
    offer = quote({"run.grain": 8}, shards=8)
    assert offer.overhead == pytest.approx(0.125)
    assert offer.lease.stake == 16 * ORE
    assert offer.verdict.sound
    assert offer.warnings() == []


def test_fee_follows_the_longest_lease_of_the_batch() -> None:
    flags = {"terms.block": 4, "terms.max_grains": 128}
    assert quote(flags, shards=1).fee == ORE
    assert quote(flags, shards=2).fee == 2 * ORE
    assert quote(flags, shards=64).fee == 4 * ORE


def test_a_call_counts_as_a_draw() -> None:
    offer = quote({"run.call": "25%", "terms.draw_delay": 3})
    assert offer.draw == pytest.approx(0.25)
    assert offer.verdict.sound
    assert offer.warnings() == []


def test_warnings_for_weak_terms_stalls_and_short_shards() -> None:
    words = " ".join(quote({"terms.draw": "10%", "terms.stake_factor": 2}, shards=8, steps=60).warnings())
    assert "Saving work pays" in words
    assert "wait for a replica" in words
    assert "60 steps" in words
    assert "Nobody is drawn" in " ".join(quote({"terms.draw": 0}).warnings())


def test_a_chosen_escrow_must_cover_the_first_round() -> None:
    training, averaging = quote().escrow(10 * ORE)
    assert training + averaging == 10 * ORE
    assert training >= 8 * ORE
    assert averaging >= ORE // 100
    with pytest.raises(ConfigError, match=r"8\.01"):
        quote().escrow(8 * ORE)


def test_grains_must_divide_and_fit_a_batch() -> None:
    with pytest.raises(ConfigError, match="divide"):
        quote({"run.grain": 3})
    with pytest.raises(ConfigError, match="at least 2"):
        quote(shards=256)


def test_more_nodes_finish_sooner() -> None:
    offer = quote()
    times = [offer.expected_seconds(step_seconds=0.02, nodes=nodes, block_seconds=0.25) for nodes in (1, 4)]
    assert times[0] > times[1] > offer.training.challenge_seconds
