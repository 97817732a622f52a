"""The requester's coin: one for a group, tossed when its first draw is about to close, never for what came later."""

from __future__ import annotations

from orebit.chain.types import LeaseId
from orebit.strategy.board import Lease, Stage
from orebit.strategy.calls import callable_now, toss, untossed
from orebit.strategy.terms import load_task_file

TERMS = load_task_file(None, {"terms.price": "1", "terms.draw_delay": 3}).training_terms


def committed(node: int, block: int) -> Lease:
    return Lease(LeaseId.of(node, 0, 1), 1, node, 1, 1, block, Stage.COMMITTED)


def test_the_coin_waits_for_others_while_there_is_time() -> None:
    first = committed(1, 100)
    assert untossed([first], {}, TERMS, 100) == []
    second = committed(2, 101)
    assert untossed([first, second], {}, TERMS, 101) == [first.id, second.id]


def test_a_later_commit_gets_a_coin_of_its_own() -> None:
    first, late = committed(1, 100), committed(2, 102)
    coins = {first.id: False}
    assert untossed([first, late], coins, TERMS, 102) == []
    assert untossed([first, late], coins, TERMS, 103) == [late.id]


def test_a_closed_draw_is_not_tossed_for() -> None:
    assert untossed([committed(1, 100)], {}, TERMS, 103) == []


def test_only_called_leases_with_an_open_draw_are_sent() -> None:
    called, spared, late = committed(1, 100), committed(2, 100), committed(3, 90)
    coins = {called.id: True, spared.id: False, late.id: True}
    assert callable_now([called, spared, late], coins, TERMS, 101) == [called.id]
    called.called = True
    assert callable_now([called], coins, TERMS, 101) == []


def test_certain_coins() -> None:
    assert all(toss(1.0) for _ in range(50))
    assert not any(toss(0.0) for _ in range(50))
