"""The reader against a real chain and endpoints that lag, lie by omission, refuse and reorganise."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from local_chain import Anvil
from proxies import Call, proxy, refusal, result
from scenes import connected, deployment_of, emit

from orebit.chain.connection import Connection, connect
from orebit.chain.events import Event, Withdrawn
from orebit.chain.reader import EventReader, ReaderSettings, ReorgTooDeep
from orebit.errors import ChainError, StorageError

SMALL = ReaderSettings(keep_blocks=8, max_blocks=4, max_range=16)


async def _drain(reader: EventReader) -> tuple[list[int], list[int]]:
    """(undone, applied) nodes of everything new."""
    undone: list[int] = []
    applied: list[int] = []
    while (delivery := await reader.poll()) is not None:
        undone += _nodes(delivery.undone)
        applied += _nodes(delivery.events)
        reader.acknowledge(delivery)
    return undone, applied


def _nodes(events: Iterable[Event]) -> list[int]:
    return [event.node for event in events if isinstance(event, Withdrawn)]


async def test_each_event_once_and_in_order(anvil: Anvil, tmp_path: Path) -> None:
    async with await connected(anvil) as connection:
        reader = EventReader(connection, tmp_path / "r.sqlite", settings=SMALL)
        for node in range(1, 40):
            emit(anvil, node)
        assert await _drain(reader) == ([], list(range(1, 40)))
        assert await reader.poll() is None
        emit(anvil, 40)
        delivery = await reader.poll()
        assert delivery is not None
        event = delivery.events[0]
        assert isinstance(event, Withdrawn)
        assert (event.node, event.amount, event.to) == (40, 40, "0x0000000000000000000000000000000000000001")
        assert event.place.block == delivery.head.number == 40


async def test_an_unacknowledged_delivery_comes_again_after_a_restart(anvil: Anvil, tmp_path: Path) -> None:
    async with await connected(anvil) as connection:
        emit(anvil, 1)
        first = await EventReader(connection, tmp_path / "r.sqlite", settings=SMALL).poll()
        reader = EventReader(connection, tmp_path / "r.sqlite", settings=SMALL)
        again = await reader.poll()
        assert first == again and again is not None
        reader.acknowledge(again)
        emit(anvil, 2)
        assert await _drain(EventReader(connection, tmp_path / "r.sqlite", settings=SMALL)) == ([], [2])


@pytest.mark.parametrize("mode", ["", None])
async def test_the_cursor_moves_with_the_consumers_transaction(anvil: Anvil, mode: Any) -> None:
    database = sqlite3.connect(":memory:", isolation_level=mode)
    async with await connected(anvil) as connection:
        reader = EventReader(connection, database, settings=SMALL)
        emit(anvil, 7)
        delivery = await reader.poll()
        assert delivery is not None
        database.execute("BEGIN")
        reader.acknowledge(delivery)
        database.rollback()
        assert reader.position is None
        assert await _drain(reader) == ([], [7])
    database.close()


async def test_a_reorg_undoes_newest_first(anvil: Anvil, tmp_path: Path) -> None:
    async with await connected(anvil) as connection:
        reader = EventReader(connection, tmp_path / "r.sqlite", settings=SMALL)
        emit(anvil, 1)
        snapshot = anvil.rpc("evm_snapshot")
        emit(anvil, 2)
        emit(anvil, 3)
        assert await _drain(reader) == ([], [1, 2, 3])
        anvil.rpc("evm_revert", snapshot)
        anvil.rpc("evm_setNextBlockTimestamp", hex(4_000_000_000))
        assert await _drain(reader) == ([], [])
        emit(anvil, 4)
        emit(anvil, 5)
        emit(anvil, 6)
        assert await _drain(EventReader(connection, tmp_path / "r.sqlite", settings=SMALL)) == ([3, 2], [4, 5, 6])


async def test_a_reorg_deeper_than_the_memory_is_an_error(anvil: Anvil, tmp_path: Path) -> None:
    async with await connected(anvil) as connection:
        snapshot = anvil.rpc("evm_snapshot")
        reader = EventReader(connection, tmp_path / "r.sqlite", settings=SMALL)
        for node in range(1, 30):
            emit(anvil, node)
        await _drain(reader)
        anvil.rpc("evm_revert", snapshot)
        anvil.rpc("evm_setNextBlockTimestamp", hex(4_000_000_000))
        anvil.mine(40)
        with pytest.raises(ReorgTooDeep, match="move the journal away"):
            await reader.poll()


async def test_confirmations_hold_events_back(anvil: Anvil, tmp_path: Path) -> None:
    settings = ReaderSettings(confirmations=2)
    async with await connected(anvil) as connection:
        reader = EventReader(connection, tmp_path / "r.sqlite", settings=settings)
        emit(anvil, 1)
        anvil.mine()
        assert await _drain(reader) == ([], [])
        anvil.mine()
        assert await _drain(reader) == ([], [1])


async def _through(chain: Anvil, urls: list[str]) -> Connection:
    return await connect(urls, deployment_of(chain), timeout=5)


async def test_ranges_shrink_until_the_endpoint_takes_them(anvil: Anvil, tmp_path: Path) -> None:
    spans: list[int] = []

    async def stingy(method: str, parameters: list[Any], call: Call) -> dict[str, Any] | None:
        if method != "eth_getLogs" or "fromBlock" not in parameters[0]:
            return None
        span = int(parameters[0]["toBlock"], 16) - int(parameters[0]["fromBlock"], 16) + 1
        spans.append(span)
        return refusal("query returned more than 10000 results", -32005) if span > 3 else None

    async with proxy(anvil.url, stingy) as url, await _through(anvil, [url]) as connection:
        for node in range(1, 40):
            emit(anvil, node)
        assert await _drain(EventReader(connection, tmp_path / "r.sqlite", settings=SMALL)) == ([], list(range(1, 40)))
    assert spans[0] == 16 and min(spans) <= 2


async def test_an_endpoint_without_a_blocks_logs_loses_nothing(anvil: Anvil, tmp_path: Path) -> None:
    """It answers an empty list for a block whose header announces our events: asked again until it has them."""
    missing = 2

    async def behind(method: str, parameters: list[Any], call: Call) -> dict[str, Any] | None:
        nonlocal missing
        if method == "eth_getLogs" and missing:
            missing -= 1
            return result([])
        return None

    async with proxy(anvil.url, behind) as url, await _through(anvil, [url]) as connection:
        reader = EventReader(connection, tmp_path / "r.sqlite", settings=SMALL)
        emit(anvil, 1)
        assert await reader.poll() is None
        assert await reader.poll() is None
        assert await _drain(reader) == ([], [1])


async def test_a_bloom_filters_false_alarm_is_believed_in_the_end(anvil: Anvil, tmp_path: Path) -> None:
    async def empty(method: str, parameters: list[Any], call: Call) -> dict[str, Any] | None:
        return result([]) if method == "eth_getLogs" else None

    async with proxy(anvil.url, empty) as url, await _through(anvil, [url]) as connection:
        reader = EventReader(connection, tmp_path / "r.sqlite", settings=SMALL)
        emit(anvil, 1)
        polls = [await reader.poll() for _ in range(4)]
    assert polls[:3] == [None] * 3
    assert polls[3] is not None and polls[3].events == ()


async def test_a_lagging_endpoint_neither_rewinds_nor_skips(anvil: Anvil, tmp_path: Path) -> None:
    lag = 0

    async def lagging(method: str, parameters: list[Any], call: Call) -> dict[str, Any] | None:
        if method != "eth_getBlockByNumber" or not lag:
            return None
        head = int((await call("eth_blockNumber"))["result"], 16) - lag
        if parameters[0] == "latest":
            return await call(method, hex(head), False)
        return result(None) if int(parameters[0], 16) > head else None

    async with proxy(anvil.url, lagging) as url, await _through(anvil, [url]) as connection:
        reader = EventReader(connection, tmp_path / "r.sqlite", settings=SMALL)
        for node in range(1, 6):
            emit(anvil, node)
        assert await _drain(reader) == ([], [1, 2, 3, 4, 5])
        lag = 3
        assert await reader.poll() is None
        assert reader.head is not None and reader.head.number == 5
        for node in range(6, 10):
            emit(anvil, node)
        assert await _drain(reader) == ([], [6])
        restarted = EventReader(connection, tmp_path / "r.sqlite", settings=SMALL)
        lag = 5
        assert await restarted.poll() is None
        lag = 0
        assert await _drain(restarted) == ([], [7, 8, 9])


async def test_the_endpoint_farthest_ahead_is_read(start_anvil: Callable[..., Anvil], tmp_path: Path) -> None:
    chain = start_anvil()

    async def frozen(method: str, parameters: list[Any], call: Call) -> dict[str, Any] | None:
        if method == "eth_getBlockByNumber" and parameters[0] == "latest":
            return await call(method, "0x0", False)
        return None

    async with proxy(chain.url, frozen) as url, await _through(chain, [url, chain.url]) as connection:
        emit(chain, 1)
        assert await _drain(EventReader(connection, tmp_path / "r.sqlite", settings=SMALL)) == ([], [1])


@pytest.mark.parametrize("logs", [None, [{}], [{"blockNumber": "0x1", "logIndex": "0x0"}], [7]])
async def test_malformed_logs_are_an_error(anvil: Anvil, tmp_path: Path, logs: Any) -> None:
    async def mad(method: str, parameters: list[Any], call: Call) -> dict[str, Any] | None:
        return result(logs) if method == "eth_getLogs" else None

    async with proxy(anvil.url, mad) as url, await _through(anvil, [url]) as connection:
        emit(anvil, 1)
        with pytest.raises(ChainError, match="malformed logs"):
            await EventReader(connection, tmp_path / "r.sqlite").poll()


async def test_logs_of_other_blocks_than_asked_are_an_error(anvil: Anvil, tmp_path: Path) -> None:
    async def shifted(method: str, parameters: list[Any], call: Call) -> dict[str, Any] | None:
        if method != "eth_getLogs" or "fromBlock" not in parameters[0]:
            return None
        return await call(method, parameters[0] | {"toBlock": "latest"})

    async with proxy(anvil.url, shifted) as url, await _through(anvil, [url]) as connection:
        for node in range(1, 40):
            emit(anvil, node)
        with pytest.raises(ChainError, match="logs of other blocks"):
            await EventReader(connection, tmp_path / "r.sqlite", settings=SMALL).poll()


async def test_deliveries_outlast_a_dead_endpoint(anvil: Anvil, tmp_path: Path) -> None:
    failures = 2

    async def flaky(method: str, parameters: list[Any], call: Call) -> dict[str, Any] | None:
        nonlocal failures
        if method == "eth_getBlockByNumber" and parameters[0] == "latest" and failures:
            failures -= 1
            return refusal("internal error", -32603)
        return None

    async with proxy(anvil.url, flaky) as url, await _through(anvil, [url]) as connection:
        reader = EventReader(connection, tmp_path / "r.sqlite", settings=SMALL)
        emit(anvil, 1)
        async for delivery in reader.deliveries(poll_seconds=0.02):
            assert _nodes(delivery.events) == [1]
            break
    assert failures == 0


async def test_a_cursor_that_cannot_be_written_says_so(anvil: Anvil, tmp_path: Path) -> None:
    async with await connected(anvil) as connection:
        with pytest.raises(StorageError, match="event cursor"):
            EventReader(connection, tmp_path / "missing" / "r.sqlite")


async def test_a_new_block_costs_two_requests_and_none_costs_one(anvil: Anvil, tmp_path: Path) -> None:
    asked: list[str] = []

    async def note(method: str, parameters: list[Any], call: Call) -> None:
        asked.append(method)

    async with proxy(anvil.url, note) as url, await _through(anvil, [url]) as connection:
        reader = EventReader(connection, tmp_path / "r.sqlite", settings=SMALL)
        emit(anvil, 1)
        assert await _drain(reader) == ([], [1])
        asked.clear()
        emit(anvil, 2)
        delivery = await reader.poll()
        assert delivery is not None and _nodes(delivery.events) == [2]
        assert asked == ["eth_getBlockByNumber", "eth_getLogs"]
        reader.acknowledge(delivery)
        asked.clear()
        assert await reader.poll() is None
        assert asked == ["eth_getBlockByNumber"]


async def test_it_is_up_to_date_only_with_the_heads_own_hash(anvil: Anvil, tmp_path: Path) -> None:
    async with await connected(anvil) as connection:
        reader = EventReader(connection, tmp_path / "r.sqlite", settings=SMALL)
        assert not reader.up_to_date
        emit(anvil, 1)
        snapshot = anvil.rpc("evm_snapshot")
        emit(anvil, 2)
        await _drain(reader)
        assert reader.up_to_date
        anvil.rpc("evm_revert", snapshot)
        assert await reader.poll() is None and not reader.up_to_date, "the head went back, for now"
        anvil.rpc("evm_setNextBlockTimestamp", hex(4_000_000_000))
        emit(anvil, 3)
        delivery = await reader.poll()
        assert delivery is not None and not reader.up_to_date, "as high as before, another block"
        reader.acknowledge(delivery)
        assert reader.up_to_date
