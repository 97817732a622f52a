"""The books of `ledger` against the chain's storage, wei by wei, at one block."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass

from orebit.chain.connection import Connection
from orebit.chain.court import Court
from orebit.chain.court_ledger import GameRecord
from orebit.chain.cursor import Position
from orebit.chain.ledger import BatchBook, LeaseBook, Ledger, NodeBook, Outcome, TaskBook
from orebit.chain.market import Market
from orebit.chain.registry import Registry
from orebit.chain.token import Token
from orebit.chain.types import LeaseState

_AT_ONCE = 16
"""Requests in flight."""


@dataclass(frozen=True)
class Difference:
    """Something that the events and the storage tell differently. Amounts in wei where they are amounts."""

    what: str
    by_events: object
    on_chain: object

    def __str__(self) -> str:
        return f"{self.what}: {self.by_events} by the events, {self.on_chain} on-chain"


@dataclass(frozen=True)
class Reconciliation:
    """What does not agree, and what strangers gave the contracts beyond their books: wei of TokenAI by contract, and of
    ETH for "court (ETH)"."""

    block: int
    differences: tuple[Difference, ...]
    surplus: dict[str, int]


class Reconciler:
    """Compares with the storage at `position`, where the books must end: by its hash, so no reorg slips between."""

    def __init__(self, ledger: Ledger, connection: Connection, position: Position) -> None:
        self._ledger = ledger
        self._deployment = connection.deployment
        self._position = position
        self._block = position.hash
        self._market = Market(connection)
        self._registry = Registry(connection)
        self._token = Token(connection)
        self._connection = connection
        self._court = Court(connection) if connection.deployment.has_court else None

    async def run(self) -> Reconciliation:
        """Asks for everything that the books know. Raises `ChainError` when the chain does not answer."""
        ledger = self._ledger
        checks: list[Awaitable[list[Difference]]] = [self._totals()]
        checks += [self._task(task) for task in ledger.tasks.values()]
        checks += [self._batch(batch) for batch in ledger.batches.values()]
        checks += [self._node(node) for node in ledger.nodes.values()]
        if self._court is not None:
            checks += [self._deposit(self._court, node) for node in ledger.nodes]
            checks += [self._game(self._court, game) for game in ledger.court.games.values()]
            checks += [self._credit(self._court, who) for who in ledger.court.credits]
        found = await _gather(checks)
        surplus, short = await self._surplus()
        if self._court is not None:
            short += await self._ether(self._court, surplus)
        return Reconciliation(self._position.number, (*(item for part in found for item in part), *short), surplus)

    async def _task(self, book: TaskBook) -> list[Difference]:
        info = await self._market.task_of(book.id, self._block)
        balance = (book.deposited, book.paid + book.refunded + book.penalties + book.burnt + book.held)
        return _compare(
            f"task {book.id}",
            ("requester", book.requester, info.requester),
            ("terms", book.terms, info.terms),
            ("escrow", book.escrow, info.escrow),
            ("deposited and where it went", *balance),
        )

    async def _batch(self, book: BatchBook) -> list[Difference]:
        """What is reserved follows from the grains without a result, the fees unspent, and the fees set aside."""
        info, fee = await asyncio.gather(
            self._market.batch_of(book.id, self._block), self._market.fee_of(book.id, self._block)
        )
        price = self._ledger.tasks[book.task].terms.price
        unspent = (book.grains - info.replicas_paid) * fee
        owed = await self._owed(book) * fee
        return _compare(
            f"batch {book.id}",
            ("task", book.task, info.task),
            ("plan root", book.plan_root.hex(), info.plan_root.hex()),
            ("grains", book.grains, info.grains),
            ("shards a grain", book.size, info.size),
            ("reserved", book.reserved, info.unsettled * info.size * price + unspent + owed),
        )

    async def _owed(self, book: BatchBook) -> int:
        """Replicas that stand alone and revealed: their fees have left the reserve's count and are not paid yet."""
        live = [
            lease
            for lease in self._ledger.leases.values()
            if lease.batch == book.id and lease.replica and lease.outcome is Outcome.LIVE
        ]
        return sum([await self._stands_alone(lease) for lease in live])

    async def _stands_alone(self, lease: LeaseBook) -> bool:
        info = await self._market.lease_of(lease.id, self._block)
        return info.replica and info.peer == 0 and info.state is LeaseState.REVEALED

    async def _node(self, book: NodeBook) -> list[Difference]:
        info, balance = await asyncio.gather(
            self._registry.node_of(book.id, self._block), self._market.balance_of(book.id, self._block)
        )
        return _compare(
            f"node {book.id}",
            ("owner", book.owner, info.owner),
            ("operator", book.operator, info.operator),
            ("payee", book.payee, info.payee),
            ("stake", book.stake, info.stake),
            ("locked", book.locked, info.locked),
            ("unbonding", book.unbonding, info.unbonding),
            ("balance", book.balance, balance),
            ("stake lost by the market's and the registry's events", book.charged, book.taken),
        )

    async def _deposit(self, court: Court, node: int) -> list[Difference]:
        book = await court.node_of(node, self._block)
        return _compare(f"node {node}", ("deposit with the court", self._ledger.court.deposits[node], book.deposit))

    async def _game(self, court: Court, game: GameRecord) -> list[Difference]:
        book = await court.game_of(game.game, self._block)
        return _compare(f"game {game.game.hex()}", ("bond", game.bond, book.bond))

    async def _credit(self, court: Court, who: str) -> list[Difference]:
        stored = await court.credit_of(who, self._block)
        return _compare(who, ("credit with the court", self._ledger.court.credits[who], stored))

    async def _ether(self, court: Court, surplus: dict[str, int]) -> list[Difference]:
        """The court's ETH: bonds, deposits, credits, and what open demands have prepaid."""
        books = self._ledger.court
        open_demands = [await court.demand_of(demand, self._block) for demand in books.demands]
        due = books.held + sum(book.prepaid for book in open_demands)
        held = await self._connection.ether_of(court.address, self._block)
        surplus["court (ETH)"] = held - due
        return [] if held >= due else [Difference("the court: wei of ETH that its books call for", due, held)]

    async def _totals(self) -> list[Difference]:
        ledger, block = self._ledger, self._block
        tasks, batches, nodes, stake, supply = await asyncio.gather(
            self._market.task_count(block),
            self._market.batch_count(block),
            self._registry.node_count(block),
            self._registry.total_stake(block),
            self._token.total_supply(block),
        )
        return _compare(
            "the deployment",
            ("tasks", len(ledger.tasks), tasks),
            ("batches", len(ledger.batches), batches),
            ("nodes", len(ledger.nodes), nodes),
            ("total stake", sum(node.stake for node in ledger.nodes.values()), stake),
            ("token supply", ledger.supply, supply),
        )

    async def _surplus(self) -> tuple[dict[str, int], list[Difference]]:
        """What each contract holds beyond its books; holding less differs, and so does an unexplained exit."""
        ledger = self._ledger
        nodes, tasks = ledger.nodes.values(), ledger.tasks.values()
        arbiter = self._deployment.arbiter
        owed = {
            self._deployment.market: sum(task.held for task in tasks) + sum(node.balance for node in nodes),
            self._deployment.registry: sum(node.stake + node.unbonding for node in nodes),
            arbiter: ledger.received[arbiter] - ledger.sent[arbiter],
        }
        names = dict(zip(owed, ("market", "registry", "arbiter"), strict=True))
        surplus: dict[str, int] = {}
        differences: list[Difference] = []
        for address, due in owed.items():
            held = await self._token.balance_of(address, self._block)
            name = names[address]
            surplus[name] = held - due
            gifts = ledger.transferred_in[address] - ledger.received[address]
            differences += _compare(
                f"the {name}",
                ("tokens held", ledger.holdings[address], held),
                ("tokens sent", ledger.sent[address], ledger.transferred_out[address]),
                ("tokens given to it beyond its books", gifts, held - due),
            )
            if held < due:
                differences.append(Difference(f"the {name}: tokens that its books call for", due, held))
        return surplus, differences


def _compare(whose: str, *pairs: tuple[str, object, object]) -> list[Difference]:
    return [
        Difference(f"{whose}: {what}", by_events, stored) for what, by_events, stored in pairs if by_events != stored
    ]


async def _gather(checks: Iterable[Awaitable[list[Difference]]]) -> list[list[Difference]]:
    """All of them, a few at a time."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(check: Awaitable[list[Difference]]) -> list[Difference]:
        async with gate:
            return await check

    return await asyncio.gather(*(one(check) for check in checks))
