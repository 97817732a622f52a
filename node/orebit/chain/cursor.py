"""Where an event reader stands: the last blocks by hash with their events, in SQLite, so that a reorg can be undone."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orebit.errors import StorageError

_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS reader_blocks (
        reader TEXT NOT NULL, number INTEGER NOT NULL, hash BLOB NOT NULL, PRIMARY KEY (reader, number)
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS reader_logs (
        reader TEXT NOT NULL, block INTEGER NOT NULL, position INTEGER NOT NULL, log TEXT NOT NULL,
        PRIMARY KEY (reader, block, position)
    ) WITHOUT ROWID""",
)


@dataclass(frozen=True)
class Position:
    """The last block whose events were delivered."""

    number: int
    hash: bytes


class Cursor:
    """The durable part of a reader. Given a connection that is in a transaction, it writes within that."""

    def __init__(self, database: sqlite3.Connection | Path, reader: str) -> None:
        self._reader = reader
        self._owned = isinstance(database, Path)
        try:
            self._database = database if isinstance(database, sqlite3.Connection) else sqlite3.connect(database)
            for statement in _SCHEMA:
                self._database.execute(statement)
        except sqlite3.Error as error:
            raise StorageError(
                f"The event cursor cannot be opened ({error}). Check the disk and {database}."
            ) from error

    def close(self) -> None:
        """Closes the database if it was opened here."""
        if self._owned:
            self._database.close()

    def positions(self) -> list[Position]:
        """Known blocks, newest first."""
        rows = self._database.execute(
            "SELECT number, hash FROM reader_blocks WHERE reader = ? ORDER BY number DESC", (self._reader,)
        )
        return [Position(number, bytes(block_hash)) for number, block_hash in rows]

    def newest(self) -> Position | None:
        """The first of them."""
        found = self._database.execute(
            "SELECT number, hash FROM reader_blocks WHERE reader = ? ORDER BY number DESC LIMIT 1", (self._reader,)
        ).fetchone()
        return None if found is None else Position(found[0], bytes(found[1]))

    def logs_above(self, number: int) -> list[Mapping[str, Any]]:
        """Logs delivered from blocks above `number`, newest first."""
        rows = self._database.execute(
            "SELECT log FROM reader_logs WHERE reader = ? AND block > ? ORDER BY block DESC, position DESC",
            (self._reader, number),
        )
        return [json.loads(text) for (text,) in rows]

    def move(
        self, ancestor: int, blocks: Sequence[Position], logs: Iterable[Mapping[str, Any]], keep_above: int
    ) -> None:
        """Drops all above `ancestor`, adds what follows it, and forgets what is too deep to be undone."""
        standalone = not self._database.in_transaction
        try:
            if standalone:
                self._database.execute("BEGIN IMMEDIATE")
            self._write(ancestor, blocks, logs, keep_above)
            if standalone:
                self._database.commit()
        except sqlite3.Error as error:
            if standalone:
                self._database.rollback()
            raise StorageError(f"The event cursor cannot be written ({error}). Free disk space and restart.") from error

    def _write(
        self, ancestor: int, blocks: Sequence[Position], logs: Iterable[Mapping[str, Any]], keep_above: int
    ) -> None:
        execute, many = self._database.execute, self._database.executemany
        execute("DELETE FROM reader_blocks WHERE reader = ? AND number > ?", (self._reader, ancestor))
        execute("DELETE FROM reader_logs WHERE reader = ? AND block > ?", (self._reader, ancestor))
        many("INSERT INTO reader_blocks VALUES (?, ?, ?)", [(self._reader, at.number, at.hash) for at in blocks])
        many(
            "INSERT INTO reader_logs VALUES (?, ?, ?, ?)",
            [
                (self._reader, int(log["blockNumber"], 16), int(log["logIndex"], 16), json.dumps(log))
                for log in logs
                if int(log["blockNumber"], 16) > keep_above
            ],
        )
        execute(
            "DELETE FROM reader_blocks WHERE reader = ? AND number < ? "
            "AND number < (SELECT max(number) FROM reader_blocks WHERE reader = ?)",
            (self._reader, keep_above, self._reader),
        )
        execute("DELETE FROM reader_logs WHERE reader = ? AND block <= ?", (self._reader, keep_above))
