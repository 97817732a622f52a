"""Events of the deployment, each once and in order, through reorgs, restarts, gaps and lagging endpoints.

Near the head blocks are read one by one, each proven to follow the one before by its parent's hash, and logs are asked
for by block hash. Far below it, where no reorg reaches, logs are asked for by ranges that shrink on a refusal.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from eth_utils.crypto import keccak

from orebit.chain import abi
from orebit.chain.connection import Connection, from_hex, parse_block
from orebit.chain.cursor import Cursor, Position
from orebit.chain.events import Decoder, Event
from orebit.chain.rpc import Endpoint, RpcError
from orebit.chain.types import Block
from orebit.errors import ChainError

log = structlog.get_logger(__name__)

Log = Mapping[str, Any]


class ReorgTooDeep(ChainError):
    """The chain was rewritten below every block that the reader remembers."""


@dataclass(frozen=True)
class ReaderSettings:
    confirmations: int = 0
    """Blocks that must follow a block before its events are delivered."""
    keep_blocks: int = 128
    """How deep a reorg may be; deeper blocks are read by ranges."""
    max_range: int = 5_000
    max_blocks: int = 64
    """Most single blocks in one delivery."""
    doubts: int = 3
    """How often a block that announces our events but shows none is asked for again."""


@dataclass(frozen=True)
class Delivery:
    """What changed: first undo `undone` (newest first), then apply `events` (oldest first)."""

    undone: tuple[Event, ...]
    events: tuple[Event, ...]
    position: Position
    """Where the reader stands once this is acknowledged."""
    head: Block
    """The latest block of the chain."""
    ancestor: int
    blocks: tuple[Position, ...]
    logs: tuple[Log, ...]


class _Headers:
    """One endpoint's headers as one poll sees them, each asked for once; the head is known already."""

    def __init__(self, endpoint: Endpoint, head: Block) -> None:
        self.endpoint = endpoint
        self.head = head
        self._seen: dict[int, Block] = {head.number: head}

    async def at(self, number: int) -> Block | None:
        if number not in self._seen:
            found = await _block(self.endpoint, number)
            if found is None:
                return None
            self._seen[number] = found
        return self._seen[number]


class EventReader:
    """Reads from the deployment's block on. `database` may be the consumer's own: the cursor moves with its writes."""

    def __init__(
        self,
        connection: Connection,
        database: sqlite3.Connection | Path,
        *,
        name: str = "events",
        contracts: Sequence[str] = ("TaskMarket", "NodeRegistry", "MajorityArbiter", "DisputeCourt"),
        settings: ReaderSettings | None = None,
    ) -> None:
        self.settings = settings or ReaderSettings()
        self._connection = connection
        deployment = connection.deployment
        self._decoder = Decoder(deployment)
        self._addresses = [address for address, kind in self._decoder.contracts.items() if kind in contracts]
        self._marks = [_bloom_mark(address, kind) for address, kind in self._decoder.contracts.items()]
        self._cursor = Cursor(database, f"{name}:{deployment.genesis_hash}:{deployment.market}")
        self._range = self.settings.max_range
        self._doubted: dict[bytes, int] = {}
        self.head: Block | None = None
        """The highest block seen; it never goes back, whatever endpoint answers."""
        self.up_to_date = False
        """Whether the last poll found the chain's head to be the last acknowledged block, by its hash."""

    def close(self) -> None:
        """Closes the database that was opened for it, if one was."""
        self._cursor.close()

    @property
    def position(self) -> Position | None:
        """The last acknowledged block; None before the first."""
        return self._cursor.newest()

    async def poll(self) -> Delivery | None:
        """What is new, None when nothing is; the same again until it is acknowledged.

        Raises `ReorgTooDeep`, and `ChainError` when no endpoint answers.
        """
        self.up_to_date = False
        endpoint, head = await self._best_endpoint()
        if self.head is not None and head.number < self.head.number:
            return None
        self.head = head
        last = self.position
        self.up_to_date = last is not None and last.hash == head.hash
        if self.up_to_date:
            return None
        headers = _Headers(endpoint, head)
        start = await self._ancestor(headers, last)
        if start is None:
            return None
        undone = self._decode(self._cursor.logs_above(start.number))
        blocks, logs = await self._read_on(headers, start, head.number - self.settings.confirmations)
        if not blocks and not undone:
            return None
        position = blocks[-1] if blocks else start
        return Delivery(
            tuple(undone), tuple(self._decode(logs)), position, head, start.number, tuple(blocks), tuple(logs)
        )

    def acknowledge(self, delivery: Delivery) -> None:
        """The consumer has it for good: the cursor moves. Within the consumer's transaction, it moves with that."""
        self.up_to_date = delivery.position.hash == delivery.head.hash
        keep_above = delivery.position.number - self.settings.keep_blocks
        self._cursor.move(delivery.ancestor, delivery.blocks, delivery.logs, keep_above)

    async def deliveries(self, poll_seconds: float = 1.0) -> AsyncIterator[Delivery]:
        """Forever, waiting out RPC failures; each delivery is acknowledged when the next is asked for."""
        pause = poll_seconds
        while True:
            try:
                delivery = await self.poll()
                pause = poll_seconds
            except ReorgTooDeep:
                raise
            except ChainError as error:
                log.warning("reader waits for the chain", reason=str(error))
                delivery, pause = None, min(2 * pause, 30.0)
            if delivery is None:
                await asyncio.sleep(pause)
                continue
            yield delivery
            self.acknowledge(delivery)

    async def _best_endpoint(self) -> tuple[Endpoint, Block]:
        """The endpoint that is farthest ahead: one poll asks only this one, so that its answers fit together."""
        endpoints = self._connection.rpc.awake()
        answers = await asyncio.gather(*(_block(endpoint, "latest") for endpoint in endpoints), return_exceptions=True)
        best: tuple[Endpoint, Block] | None = None
        for endpoint, answer in zip(endpoints, answers, strict=True):
            if isinstance(answer, BaseException):
                if not isinstance(answer, ChainError):
                    raise answer
            elif answer is not None and (best is None or answer.number > best[1].number):
                best = endpoint, answer
        if best is None:
            raise ChainError(
                f"No RPC endpoint answered: {' '.join(str(answer) for answer in answers)} "
                "Check the network and the RPC URL."
            )
        return best

    async def _ancestor(self, headers: _Headers, last: Position | None) -> Position | None:
        """The newest known block that the chain still has; None while the endpoint lags behind the cursor."""
        if last is None:
            return Position(self._connection.deployment.block - 1, b"")
        if headers.head.number > last.number:
            # The block after it, which is to be read anyway, names it as its parent unless there was a reorg.
            following = await headers.at(last.number + 1)
            if following is not None and following.parent == last.hash:
                return last
        known = self._cursor.positions()
        for position in known:
            found = await headers.at(position.number)
            if found is None and position is known[0]:
                return None
            if found is not None and found.hash == position.hash:
                return position
        raise ReorgTooDeep(
            f"The chain was rewritten below block {known[-1].number}, deeper than the {self.settings.keep_blocks} "
            "blocks that this process remembers. Check that the RPC endpoint serves the right chain; if it does, move "
            "the journal away and start again, to read everything anew."
        )

    async def _read_on(self, headers: _Headers, start: Position, target: int) -> tuple[list[Position], list[Log]]:
        if target - start.number > self.settings.keep_blocks + self.settings.max_blocks:
            return await self._read_range(headers.endpoint, start, target - self.settings.keep_blocks)
        return await self._read_blocks(headers, start, min(target, start.number + self.settings.max_blocks))

    async def _read_range(self, endpoint: Endpoint, start: Position, limit: int) -> tuple[list[Position], list[Log]]:
        """One range, halved until the endpoint takes it; its end must stay the same block all along."""
        while True:
            last = min(start.number + self._range, limit)
            bounds = {"fromBlock": hex(start.number + 1), "toBlock": hex(last), "address": self._addresses}
            end = await _block(endpoint, last)
            try:
                logs = await _logs(endpoint, bounds)
            except ChainError as error:
                # A refused range and an answer too large to arrive in time call for the same.
                if self._range == 1:
                    raise
                self._range = max(1, self._range // 2)
                log.info("smaller log ranges", blocks=self._range, reason=str(error))
                continue
            again = await _block(endpoint, last)
            if end is None or again is None or end.hash != again.hash:
                return [], []
            if any(not start.number < _order(item)[0] <= last for item in logs):
                raise ChainError(
                    f"{endpoint.name} answered with logs of other blocks than asked; use another endpoint."
                )
            self._range = min(2 * self._range, self.settings.max_range)
            return [Position(last, end.hash)], sorted(logs, key=_order)

    async def _read_blocks(self, headers: _Headers, start: Position, last: int) -> tuple[list[Position], list[Log]]:
        """Block by block, as far as each follows the one before."""
        blocks: list[Position] = []
        logs: list[Log] = []
        previous = start.hash
        for number in range(start.number + 1, last + 1):
            header = await headers.at(number)
            if header is None or (previous and header.parent != previous):
                break
            found = await self._logs_of(headers.endpoint, header)
            if found is None:
                break
            blocks.append(Position(number, header.hash))
            logs += found
            previous = header.hash
        return blocks, logs

    async def _logs_of(self, endpoint: Endpoint, header: Block) -> list[Log] | None:
        """The block's logs; None while the endpoint does not have them, though it has the header."""
        query = {"blockHash": "0x" + header.hash.hex(), "address": self._addresses}
        try:
            logs = await _logs(endpoint, query)
        except RpcError as error:
            log.info("endpoint lacks a block's logs", block=header.number, reason=str(error))
            return None
        if any(from_hex(item["blockHash"]) != header.hash for item in logs):
            return None
        if not logs and self._announces(header):
            self._doubted[header.hash] = self._doubted.get(header.hash, 0) + 1
            if self._doubted[header.hash] <= self.settings.doubts:
                return None
        self._doubted.pop(header.hash, None)
        return sorted(logs, key=_order)

    def _announces(self, header: Block) -> bool:
        """Whether the header's bloom filter holds one of our contracts with one of its events (rarely by accident)."""
        bloom = header.logs_bloom
        return any(
            bloom & address == address and any(bloom & topic == topic for topic in topics)
            for name, address, topics in self._marks
            if name in self._addresses
        )

    def _decode(self, logs: Sequence[Log]) -> list[Event]:
        events = (self._decoder.decode(item) for item in logs)
        return [event for event in events if event is not None]


async def _block(endpoint: Endpoint, which: int | str) -> Block | None:
    found = await endpoint.call("eth_getBlockByNumber", hex(which) if isinstance(which, int) else which, False)
    return parse_block(found) if found else None


async def _logs(endpoint: Endpoint, query: Mapping[str, Any]) -> list[Log]:
    """Logs that have a place. Raises `ChainError` for anything else."""
    found = await endpoint.call("eth_getLogs", query)
    try:
        for item in found:
            _order(item)
            from_hex(item["blockHash"])
    except (KeyError, TypeError, ValueError) as error:
        raise ChainError(f"{endpoint.name} answered with malformed logs ({error!r}); use another endpoint.") from error
    return list(found)


def _order(item: Log) -> tuple[int, int]:
    return int(item["blockNumber"], 16), int(item["logIndex"], 16)


def _bloom_mark(address: str, contract: str) -> tuple[str, int, list[int]]:
    """An address with its bits, and those of its contract's event topics, in a header's filter."""
    topics = [bloom_bits(topic) for topic in abi.load(contract).events]
    return address, bloom_bits(bytes.fromhex(address[2:])), topics


def bloom_bits(value: bytes) -> int:
    """The three bits that a value sets in a 2048-bit logs bloom (Yellow Paper, 4.4.3)."""
    digest = keccak(value)
    bits = 0
    for index in (0, 2, 4):
        bits |= 1 << (int.from_bytes(digest[index : index + 2], "big") & 2047)
    return bits
