"""Keeps a board abreast of the chain, from some block on, through reorgs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from orebit.chain.connection import Connection
from orebit.chain.events import Event
from orebit.chain.reader import EventReader
from orebit.chain.types import Block
from orebit.strategy.board import Board


class Follower:
    """A board of some tasks (None: all) whose events are no older than block `since`.

    The board is made anew at every start and after every reorg: it is a fold, and the chain keeps its input.
    """

    def __init__(self, connection: Connection, *, since: int | None = None, tasks: Iterable[int] | None = None) -> None:
        deployment = connection.deployment
        start = deployment.block if since is None else max(since, deployment.block)
        self._connection = Connection(connection.rpc, deployment.model_copy(update={"block": start}))
        self._tasks = None if tasks is None else tuple(tasks)
        self.reorgs = 0
        self._reset()

    def _reset(self) -> None:
        self.board = Board(self._tasks)
        self.events: list[Event] = []
        self._reader = EventReader(self._connection, sqlite3.connect(":memory:", isolation_level=None))

    @property
    def head(self) -> Block | None:
        """The highest block seen."""
        return self._reader.head

    async def refresh(self) -> bool:
        """Reads up to the head; whether anything happened. Raises ChainError when no endpoint answers."""
        happened = False
        while (delivery := await self._reader.poll()) is not None:
            happened = happened or bool(delivery.events or delivery.undone)
            if delivery.undone:
                self.reorgs += 1
                self._reset()
                continue
            self.board.apply_all(delivery.events)
            self.events += delivery.events
            self._reader.acknowledge(delivery)
            if delivery.position.number >= delivery.head.number:
                break
        return happened
