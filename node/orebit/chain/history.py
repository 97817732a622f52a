"""All that ever happened on a deployment, as books: what an onlooker needs and no more than an RPC URL can give."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing

from orebit.chain.connection import Connection
from orebit.chain.cursor import Position
from orebit.chain.events import CONTRACTS
from orebit.chain.ledger import Ledger
from orebit.chain.reader import EventReader
from orebit.errors import ChainError

_PATIENCE = 20
"""Polls without news before an endpoint that is behind its own head is given up."""


async def replay(connection: Connection) -> tuple[Ledger, Position]:
    """The books of every event from the deployment's block to the head, and the block at which they end.

    Raises `ChainError` when the endpoints do not answer, stay behind, or leave events out.
    """
    while True:
        books = await _replay_once(connection)
        if books is not None:
            return books


async def _replay_once(connection: Connection) -> tuple[Ledger, Position] | None:
    """None when a reorg undid what was read: books have no way back, so they are made anew."""
    target = (await connection.head()).number
    ledger = Ledger(connection.deployment)
    idle = 0
    with closing(sqlite3.connect(":memory:")) as database:
        reader = EventReader(connection, database, contracts=CONTRACTS)
        while reader.position is None or reader.position.number < target:
            delivery = await reader.poll()
            if delivery is None:
                idle = await _wait(idle)
                continue
            if delivery.undone:
                return None
            ledger.apply_all(delivery.events)
            reader.acknowledge(delivery)
            idle = 0
        return ledger, reader.position


async def _wait(idle: int) -> int:
    if idle >= _PATIENCE:
        raise ChainError("The RPC endpoint does not give the blocks up to its own head. Use another endpoint.")
    await asyncio.sleep(0.1)
    return idle + 1
