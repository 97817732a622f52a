"""Events become hints, once, and only about others' leases; our own are looked at on the chain."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from test_decision import TERMS

from orebit.chain import events
from orebit.chain.events import Place
from orebit.chain.types import LeaseId
from orebit.daemon.journal import Intent, Journal, Phase
from orebit.daemon.watch import Watch

US, THEM = 1, 2
OURS, THEIRS, REPLICA = LeaseId.of(US, 3, 1), LeaseId.of(THEM, 0, 5), LeaseId.of(US, 4, 2)
PLAN, COMMIT = b"\x01" * 32, b"\x02" * 32


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path / "journal.sqlite")
    yield opened
    opened.close()


def place(block: int, index: int = 0) -> Place:
    return Place(block, index, bytes(32), bytes(32), "0xMarket")


def told(journal: Journal, *happened: events.Event) -> None:
    watch = Watch(journal, US)
    for event in happened:
        watch.apply(event)


LEASED = events.Leased(place(10), THEIRS, 7, 0, 1, 5)
COMMITTED = events.Committed(place(12), THEIRS, COMMIT)


def test_tasks_and_batches_are_remembered_until_they_settle(journal: Journal) -> None:
    created = events.TaskCreated(place(1), 1, "0xR", TERMS, "http://r")
    told(journal, created, events.BatchPosted(place(2), 7, 1, PLAN, 4, 1, 9))
    assert journal.task(1) is not None and journal.task(1).url == "http://r"  # type: ignore[union-attr]  # the line before asks for it
    assert [hint.batch for hint in journal.open_batches()] == [7]
    told(journal, events.BatchSettled(place(3), 7, 0))
    assert journal.open_batches() == []


def test_a_strangers_commit_keeps_its_block_and_hash(journal: Journal) -> None:
    told(journal, LEASED, COMMITTED, COMMITTED)
    (stranger,) = journal.strangers(Phase.COMMITTED)
    assert (stranger.lease, stranger.batch, stranger.since, stranger.commitment) == (THEIRS, 7, 12, COMMIT)


def test_a_call_does_not_move_the_draw(journal: Journal) -> None:
    told(journal, LEASED, COMMITTED, events.Called(place(13), THEIRS, "0xR"))
    (stranger,) = journal.strangers(Phase.CALLED)
    assert (stranger.since, stranger.commitment) == (12, COMMIT)


def test_a_contest_survives_the_reveal_beside_it(journal: Journal) -> None:
    contested = events.Contested(place(20, 1), THEIRS, REPLICA)
    told(journal, LEASED, COMMITTED, contested, events.Revealed(place(20, 2), THEIRS, PLAN, COMMIT))
    assert [stranger.lease for stranger in journal.strangers(Phase.CONTESTED)] == [THEIRS]


def test_our_own_leases_are_looked_at(journal: Journal) -> None:
    told(
        journal,
        LEASED,
        events.Leased(place(11), OURS, 7, 1, 2, 5),
        events.Taken(place(13), THEIRS, REPLICA, 0, 5),
    )
    assert journal.intents() == [Intent(3, 7, 1, 2), Intent(4, 0, 0, 0, THEIRS)]
    assert [stranger.phase for stranger in journal.strangers()] == [Phase.PAIRED]


def test_a_strangers_replica_is_remembered_as_one(journal: Journal) -> None:
    replica = LeaseId.of(9, 0, 4)
    told(
        journal,
        LEASED,
        events.Taken(place(13), THEIRS, replica, 0, 5),
        events.Committed(place(14), replica, COMMIT),
        events.Revealed(place(15), replica, PLAN, COMMIT),
    )
    assert [(seen.lease, seen.batch) for seen in journal.strangers(Phase.REPLICA)] == [(replica, 7)]
    told(journal, events.Expired(place(16), replica, 7, 3, 1, 2, 0))
    assert journal.strangers(Phase.REPLICA) == []


def test_money_is_ours_only_where_the_lease_is(journal: Journal) -> None:
    told(
        journal,
        LEASED,
        events.Finalised(place(30), THEIRS, 7, PLAN, 11),
        events.Finalised(place(30, 1), OURS, 7, PLAN, 22),
        events.Expired(place(31), REPLICA, 7, 3, 1, 2, 0),
        events.Slashed(place(32), OURS, 7, 50, 10, 30, 10),
        events.Withdrawn(place(33), THEM, "0xT", 99),
        events.Withdrawn(place(34), US, "0xU", 20),
    )
    assert journal.earnings() == {"paid": 22, "penalty": 3, "slashed": 50, "withdrawn": 20}
    assert journal.strangers() == []
    assert journal.last_money(OURS) == "slashed"
