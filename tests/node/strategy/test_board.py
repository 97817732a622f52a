"""The board as a fold over events: where each grain stands through every turn a lease can take."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from orebit.chain import events
from orebit.chain.events import Place
from orebit.chain.types import LeaseId, Terms
from orebit.strategy.board import Batch, Board, Stage
from orebit.strategy.terms import load_task_file

TERMS: Terms = load_task_file(None, {"terms.price": "1"}).training_terms
PRIMARY, REPLICA = LeaseId.of(1, 0, 1), LeaseId.of(2, 0, 1)
ROOT = b"r" * 32
_blocks = count(10)


def place(transaction: bytes = b"t" * 32) -> Place:
    return Place(next(_blocks), 0, b"h" * 32, transaction, "0x")


def posted(grains: int = 2) -> Board:
    board = Board()
    board.apply(events.TaskCreated(place(), 1, "0xa", TERMS, "http://r"))
    board.apply(events.BatchPosted(place(), 5, 1, b"p" * 32, grains, 1, 4))
    return board


def leased(grains: int = 1) -> tuple[Board, Batch]:
    board = posted()
    board.apply(events.Leased(place(), PRIMARY, 5, 0, grains, 6))
    return board, board.batches[5]


def lost(kind: type[Any], lease: LeaseId) -> events.Event:
    amounts = {events.Expired: (1, 0, 1, 0), events.Voided: (1, 0, 1), events.Slashed: (4, 1, 3, 0)}[kind]
    event: events.Event = kind(place(), lease, 5, *amounts)
    return event


def test_a_lease_from_free_to_final() -> None:
    board, batch = leased()
    assert batch.stages() == [Stage.LEASED, Stage.FREE]
    board.apply(events.Committed(place(), PRIMARY, b"c" * 32))
    assert batch.stages()[0] is Stage.COMMITTED
    board.apply(events.Revealed(place(), PRIMARY, ROOT, b"s" * 32))
    assert batch.stages()[0] is Stage.REVEALED
    board.apply(events.Finalised(place(), PRIMARY, 5, ROOT, 7))
    assert batch.stages()[0] is Stage.FINAL
    assert (board.tasks[1].paid, board.tasks[1].fees, board.tasks[1].earned) == (7, 0, {1: 7})
    assert not batch.all_final


def test_a_replicas_pay_is_a_fee_and_moves_no_grain() -> None:
    board, batch = leased()
    board.apply(events.Committed(place(), PRIMARY, b"c" * 32))
    board.apply(events.Taken(place(), PRIMARY, REPLICA, 0, 4))
    assert batch.stages()[0] is Stage.REPLICATED
    board.apply(events.Revealed(place(), REPLICA, b"x" * 32, b"s" * 32))
    assert batch.stages()[0] is Stage.REPLICATED
    board.apply(events.Revealed(place(), PRIMARY, ROOT, b"s" * 32))
    board.apply(events.Finalised(place(), PRIMARY, 5, ROOT, 7))
    board.apply(events.Finalised(place(), REPLICA, 5, b"x" * 32, 3))
    task = board.tasks[1]
    assert (task.paid, task.fees, task.replicas, task.earned) == (7, 3, 1, {1: 7, 2: 3})


def test_a_contest_hides_the_result_until_the_replica_is_convicted() -> None:
    board, batch = leased()
    board.apply(events.Committed(place(), PRIMARY, b"c" * 32))
    board.apply(events.Taken(place(), PRIMARY, REPLICA, 0, 4))
    board.apply(events.Revealed(place(), PRIMARY, ROOT, b"s" * 32))
    board.apply(events.Contested(place(), PRIMARY, REPLICA))
    assert batch.stages()[0] is Stage.CONTESTED
    board.apply(lost(events.Slashed, REPLICA))
    assert batch.stages()[0] is Stage.REVEALED
    assert batch.lost == 0


@pytest.mark.parametrize("kind", [events.Expired, events.Voided, events.Slashed])
def test_a_lost_primary_frees_its_grains_and_a_public_result_is_remembered(kind: type[Any]) -> None:
    board, batch = leased(grains=2)
    board.apply(lost(kind, PRIMARY))
    assert batch.stages() == [Stage.FREE, Stage.FREE]
    assert (batch.lost, batch.exposed) == (1, set())
    again = LeaseId.of(1, 0, 2)
    board.apply(events.Leased(place(), again, 5, 1, 1, 6))
    board.apply(events.Revealed(place(), again, ROOT, b"s" * 32))
    board.apply(lost(kind, again))
    assert (batch.lost, batch.exposed) == (2, {1})


def test_a_stale_event_of_a_lost_lease_changes_nothing() -> None:
    board, batch = leased()
    board.apply(lost(events.Expired, PRIMARY))
    board.apply(events.Committed(place(), PRIMARY, b"c" * 32))
    assert batch.stages()[0] is Stage.FREE


def test_only_wanted_tasks_are_kept_and_jobs_share_a_transaction() -> None:
    board = Board([2])
    for task, transaction in ((1, b"t"), (2, b"t"), (3, b"u")):
        board.apply(events.TaskCreated(place(transaction * 32), task, "0xa", TERMS, "http://r"))
    assert list(board.tasks) == [2]
    everything = Board()
    for task, transaction in ((1, b"t"), (2, b"t"), (3, b"u")):
        everything.apply(events.TaskCreated(place(transaction * 32), task, "0xa", TERMS, "http://r"))
    assert [task.id for task in everything.job_of(2)] == [1, 2]


def test_a_batch_is_found_by_its_plan() -> None:
    board = posted()
    found = board.find(1, b"p" * 32)
    assert found is not None and found.id == 5
    assert board.find(1, b"q" * 32) is None
    board.apply(events.BatchClosed(place(), 5, 1))
    board.apply(events.BatchSettled(place(), 5, 0))
    assert found.closed and found.settled
