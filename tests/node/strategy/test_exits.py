"""When the driver ends what others left overdue: as the contract's deadlines have it, and after a grace."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orebit.chain.types import Block, LeaseId, LeaseInfo, LeaseState
from orebit.strategy.exits import GRACE_SECONDS, overdue
from orebit.strategy.terms import load_task_file

TERMS = load_task_file(
    None, {"terms.price": "1", "terms.draw_delay": 2, "terms.lottery_blocks": 16, "terms.reveal": 50}
).training_terms
INFO = LeaseInfo(
    LeaseState.LEASED, False, 1, 0, 1, 0, 1, 100, 1_000, 0, LeaseId(0), 0, b"r" * 32, 6, 5, b"p" * 32
)  # fmt: skip


def at(timestamp: int, number: int) -> Block:
    return Block(number, b"h" * 32, b"p" * 32, timestamp, 0, 0)


@pytest.mark.parametrize(
    ("state", "seconds", "blocks"),
    [
        (LeaseState.LEASED, 0, 32),
        (LeaseState.COMMITTED, 0, 32 + 2 + 16),
        (LeaseState.CALLED, 0, 32 + 2 + 16),
        (LeaseState.PAIRED, 50, 64),
        (LeaseState.BOTH, 50, 64),
        (LeaseState.HALF_REVEALED, 0, 32),
        (LeaseState.REVEALED, 0, 32),
        (LeaseState.CONTESTED, 0, 32),
    ],
)
def test_both_clock_and_blocks_must_have_passed(state: LeaseState, seconds: int, blocks: int) -> None:
    info = replace(INFO, state=state)
    last, deadline = 100 + blocks, 1_000 + seconds + GRACE_SECONDS
    assert overdue(info, TERMS, at(deadline + 1, last + 1))
    assert not overdue(info, TERMS, at(deadline, last + 1))
    assert not overdue(info, TERMS, at(deadline + 1, last))


def test_a_replica_is_on_the_pairs_own_clock() -> None:
    info = replace(INFO, state=LeaseState.PAIRED, replica=True)
    assert overdue(info, TERMS, at(1_000 + GRACE_SECONDS + 1, 133))


def test_an_open_game_stops_everything() -> None:
    assert not overdue(replace(INFO, games=1), TERMS, at(10_000, 10_000))
