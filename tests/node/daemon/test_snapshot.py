"""What a cycle need not ask again, and what makes it ask again: any event, a reorg, age, and events that are behind."""

from __future__ import annotations

import pytest

from orebit.chain.connection import BlockReference
from orebit.chain.rpc import RpcError
from orebit.daemon import snapshot as snapshots
from orebit.daemon.snapshot import Snapshot
from orebit.errors import ChainError

ONE, TWO = b"\x01" * 32, b"\x02" * 32


class Chain:
    """Answers with a number that a test sets, and notes at which block it was asked."""

    def __init__(self) -> None:
        self.value: int | None = 7
        self.asked: list[BlockReference] = []
        self.lacks: set[BlockReference] = set()

    async def ask(self, block: BlockReference) -> int | None:
        self.asked.append(block)
        if block in self.lacks:
            raise RpcError("eth_call", -32000, "header not found", None)
        return self.value


@pytest.fixture
def chain() -> Chain:
    return Chain()


@pytest.fixture
def snapshot() -> Snapshot:
    made = Snapshot()
    made.forget()
    made.stand(ONE)
    return made


async def test_an_answer_holds_over_blocks_without_events(chain: Chain, snapshot: Snapshot) -> None:
    assert await snapshot.read("key", chain.ask) == 7
    snapshot.stand(TWO)
    assert await snapshot.read("key", chain.ask) == 7
    assert chain.asked == [ONE], "asked once, about the block up to which events are known, by its hash"
    assert await snapshot.read("other", chain.ask) == 7
    assert chain.asked == [ONE, TWO]


async def test_after_an_event_everything_is_asked_again(chain: Chain, snapshot: Snapshot) -> None:
    await snapshot.read("key", chain.ask)
    snapshot.forget()
    snapshot.stand(TWO)
    chain.value = 8
    assert await snapshot.read("key", chain.ask) == 8
    assert chain.asked == [ONE, TWO]


async def test_nothing_is_kept_while_events_are_behind(chain: Chain, snapshot: Snapshot) -> None:
    await snapshot.read("key", chain.ask)
    snapshot.stand(None)
    chain.value = 8
    assert await snapshot.read("key", chain.ask) == 8
    chain.value = 9
    assert await snapshot.read("key", chain.ask) == 9
    assert chain.asked == [ONE, "latest", "latest"]


async def test_an_answer_that_arrives_after_an_event_is_not_kept(chain: Chain, snapshot: Snapshot) -> None:
    async def slow(block: BlockReference) -> int | None:
        found = await chain.ask(block)
        snapshot.forget()
        snapshot.stand(TWO)
        return found

    assert await snapshot.read("key", slow) == 7
    chain.value = 8
    assert await snapshot.read("key", chain.ask) == 8


async def test_an_endpoint_without_the_block_is_asked_for_the_latest_each_time(
    chain: Chain, snapshot: Snapshot
) -> None:
    chain.lacks.add(ONE)
    assert await snapshot.read("key", chain.ask) == 7
    chain.value = 8
    assert await snapshot.read("key", chain.ask) == 8
    assert chain.asked == [ONE, "latest", ONE, "latest"]


async def test_what_is_not_there_yet_is_asked_for_again(chain: Chain, snapshot: Snapshot) -> None:
    chain.value = None
    assert await snapshot.read("key", chain.ask) is None
    chain.value = 8
    assert await snapshot.read("key", chain.ask) == 8


async def test_nothing_is_kept_for_long(chain: Chain, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    await snapshot.read("key", chain.ask)
    monkeypatch.setattr(snapshots, "LONGEST", -1.0)
    snapshot.stand(TWO)
    chain.value = 8
    assert await snapshot.read("key", chain.ask) == 8


async def test_no_answer_is_an_error(snapshot: Snapshot) -> None:
    async def dead(block: BlockReference) -> int:
        raise ChainError("nobody answers")

    with pytest.raises(ChainError):
        await snapshot.read("key", dead)
