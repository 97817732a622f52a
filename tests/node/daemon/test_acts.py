"""A cycle's transaction: tried first, journalled before it is sent, and never all lost for one call that fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from orebit.chain import events
from orebit.chain.connection import Connection
from orebit.chain.events import Place
from orebit.chain.market import Market
from orebit.chain.sender import Receipt, Sender
from orebit.chain.types import LeaseId
from orebit.daemon.acts import MOST_CALLS, Act, Dispatch
from orebit.daemon.journal import Journal
from orebit.errors import ChainError, TransactionReverted

PLACE = Place(9, 0, bytes(32), bytes(32), "0xMarket")


class Chain:
    """Connection and sender in one: refuses the calldata in `refused`, lets calls at `failing` fail once mined."""

    address = "0xNode"

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.refused: set[bytes] = set()
        self.failing: tuple[int, ...] = ()
        self.error: Exception | None = None
        self.sent: list[tuple[list[bytes], int]] = []

    async def call(self, to: str, data: bytes, *, sender: str, what: str) -> bytes:
        if data in self.refused:
            raise TransactionReverted("The chain refused it: TooEarly().", "TooEarly", {})
        return b""

    async def multicall(self, calls: Sequence[bytes], *, must: int, label: str) -> Receipt:
        assert all(self.journal.acted("commit", LeaseId.of(1, call[0], 1)) for call in calls), "journalled first"
        self.sent.append((list(calls), must))
        if self.error is not None:
            raise self.error
        failed = tuple(events.CallFailed(PLACE, index, b"") for index in self.failing)
        return Receipt(bytes(32), 9, bytes(32), 50_000, 1, failed)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path / "journal.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def chain(journal: Journal) -> Chain:
    return Chain(journal)


def dispatch(chain: Chain) -> Dispatch:
    market = cast(Market, SimpleNamespace(address="0xMarket"))
    return Dispatch(cast(Connection, chain), market, cast(Sender, chain), chain.journal)


def commits(*slots: int) -> list[Act]:
    return [Act("commit", (LeaseId.of(1, slot, 1),), bytes([slot])) for slot in slots]


async def test_several_calls_are_none_of_them_a_must(chain: Chain) -> None:
    assert await dispatch(chain).send(commits(1, 2)) == commits(1, 2)
    assert chain.sent == [([b"\x01", b"\x02"], 0)]


async def test_a_lone_call_is_a_must_so_that_its_failure_costs_nothing(chain: Chain) -> None:
    await dispatch(chain).send(commits(1))
    assert chain.sent == [([b"\x01"], 1)]


async def test_what_would_fail_now_is_left_out(chain: Chain) -> None:
    chain.refused = {b"\x01"}
    assert await dispatch(chain).send(commits(1, 2)) == commits(2)
    assert chain.sent == [([b"\x02"], 1)]
    assert not chain.journal.acted("commit", LeaseId.of(1, 1, 1))


async def test_nothing_is_sent_where_nothing_would_succeed(chain: Chain) -> None:
    chain.refused = {b"\x01"}
    assert await dispatch(chain).send(commits(1)) == []
    assert chain.sent == []


async def test_a_call_that_others_made_first_is_known_to_have_failed(chain: Chain) -> None:
    chain.failing = (0,)
    assert await dispatch(chain).send(commits(1, 2)) == commits(2)
    assert not chain.journal.acted("commit", LeaseId.of(1, 1, 1))
    assert chain.journal.acted("commit", LeaseId.of(1, 2, 1))


async def test_a_refused_transaction_may_be_tried_again(chain: Chain) -> None:
    chain.error = TransactionReverted("The chain refused it: DeadlinePassed().", "DeadlinePassed", {})
    assert await dispatch(chain).send(commits(1)) == []
    assert not chain.journal.acted("commit", LeaseId.of(1, 1, 1))


async def test_an_unknown_outcome_stays_open(chain: Chain) -> None:
    chain.error = ChainError("no endpoint answers")
    with pytest.raises(ChainError):
        await dispatch(chain).send(commits(1))
    assert chain.journal.acted("commit", LeaseId.of(1, 1, 1))


async def test_a_transaction_is_kept_small_enough(chain: Chain) -> None:
    done = await dispatch(chain).send(commits(*range(MOST_CALLS + 3)))
    assert done == commits(*range(MOST_CALLS))
    assert cast(Any, chain.sent)[0][1] == 0
