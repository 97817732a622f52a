"""The sender's journal: what is to be sent, every signed attempt at it, and how it ended. SQLite, fsynced.

An intent and its first signed transaction are written together, before anything is broadcast; so after a crash either
nothing was sent, or all that may have been sent is known, byte for byte.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from orebit.errors import StorageError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS intents (
    id INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    label TEXT NOT NULL,
    recipient TEXT NOT NULL,
    calldata BLOB NOT NULL,
    value TEXT NOT NULL,
    gas INTEGER NOT NULL,
    nonce INTEGER NOT NULL,
    state TEXT NOT NULL,
    block INTEGER,
    receipt TEXT,
    revert BLOB,
    UNIQUE (scope, key),
    UNIQUE (scope, nonce)
);
CREATE TABLE IF NOT EXISTS attempts (
    hash BLOB PRIMARY KEY,
    intent INTEGER NOT NULL REFERENCES intents (id) ON DELETE CASCADE,
    raw BLOB NOT NULL,
    max_fee TEXT NOT NULL,
    priority_fee TEXT NOT NULL,
    signed_at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS attempts_by_intent ON attempts (intent);
"""


AUTOMATIC = "auto "
"""What keys begin with that nobody chose, and so nobody can ask for again."""


class State(StrEnum):
    SENT = "sent"
    """Signed and journalled; it may or may not be in a mempool or a block."""
    MINED = "mined"
    """In a block of the asked depth, which a deep reorg could still undo."""
    FINAL = "final"
    LOST = "lost"
    """Its nonce was used by a transaction that is not in this journal."""


@dataclass(frozen=True)
class Intent:
    id: int
    key: str
    label: str
    recipient: str
    calldata: bytes
    value: int
    gas: int
    nonce: int
    state: State
    block: int | None
    receipt: Mapping[str, Any] | None
    revert: bytes | None
    """Revert data, where it failed on-chain."""


@dataclass(frozen=True)
class Attempt:
    hash: bytes
    raw: bytes
    max_fee: int
    priority_fee: int
    signed_at: float


class Outbox:
    """The journal of one account on one chain: `scope` names both, so that a restarted local chain starts anew."""

    def __init__(self, path: Path, scope: str) -> None:
        self._scope = scope
        try:
            self._database = sqlite3.connect(path, isolation_level=None)
            self._database.row_factory = sqlite3.Row
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.execute("PRAGMA foreign_keys = ON")
            self._database.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise _broken(path, error) from error
        self._path = path

    def add(
        self, key: str, label: str, recipient: str, calldata: bytes, value: int, gas: int, nonce: int, first: Attempt
    ) -> Intent:
        """Journals an intent with its first attempt."""
        with self._transaction():
            cursor = self._database.execute(
                "INSERT INTO intents (scope, key, label, recipient, calldata, value, gas, nonce, state) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (self._scope, key, label, recipient, calldata, str(value), gas, nonce, State.SENT),
            )
            self._insert(cursor.lastrowid or 0, first)
        return self.get(cursor.lastrowid or 0)

    def attempt(self, intent: Intent, attempt: Attempt) -> None:
        """Journals a replacement of the same nonce."""
        with self._transaction():
            self._insert(intent.id, attempt)

    def forget(self, intent: Intent) -> None:
        """Drops an intent that no endpoint ever accepted, so that its key and nonce are free again."""
        with self._transaction():
            self._database.execute("DELETE FROM intents WHERE id = ?", (intent.id,))

    def included(self, intent: Intent, receipt: Mapping[str, Any], revert: bytes | None) -> None:
        """It is in a block; `revert` is its revert data if it failed there."""
        with self._transaction():
            self._database.execute(
                "UPDATE intents SET state = ?, block = ?, receipt = ?, revert = ? WHERE id = ?",
                (State.MINED, int(receipt["blockNumber"], 16), json.dumps(receipt), revert, intent.id),
            )

    def finish(self, intent: Intent, receipt: Mapping[str, Any]) -> None:
        """Too deep to be undone: the signed bytes are no longer needed, nor is an intent that nobody can ask for."""
        with self._transaction():
            if intent.key.startswith(AUTOMATIC):
                self._database.execute("DELETE FROM intents WHERE id = ?", (intent.id,))
                return
            self._database.execute("DELETE FROM attempts WHERE intent = ?", (intent.id,))
            self._database.execute(
                "UPDATE intents SET state = ?, block = ?, receipt = ? WHERE id = ?",
                (State.FINAL, int(receipt["blockNumber"], 16), json.dumps(receipt), intent.id),
            )

    def lose(self, intent: Intent) -> None:
        """Gives up key and nonce, and keeps the rest as a record."""
        with self._transaction():
            self._database.execute(
                "UPDATE intents SET state = ?, key = key || ' lost ' || id, nonce = -id WHERE id = ?",
                (State.LOST, intent.id),
            )

    def get(self, identifier: int) -> Intent:
        return self._select("id = ?", identifier)[0]

    def find(self, key: str) -> Intent | None:
        found = self._select("key = ?", key)
        return found[0] if found else None

    def unfinished(self) -> list[Intent]:
        """What is sent or mined but not final, by nonce."""
        return self._select("state IN (?, ?) ORDER BY nonce", State.SENT, State.MINED)

    def at_nonce(self, nonce: int) -> Intent | None:
        found = self._select("nonce = ?", nonce)
        return found[0] if found else None

    def next_nonce(self) -> int:
        """One above every nonce ever journalled."""
        row = self._database.execute(
            "SELECT coalesce(max(nonce), -1) + 1 AS next FROM intents WHERE scope = ?", (self._scope,)
        ).fetchone()
        return max(0, int(row["next"]))

    def attempts(self, intent: Intent) -> list[Attempt]:
        """Newest first."""
        rows = self._database.execute(
            "SELECT * FROM attempts WHERE intent = ? ORDER BY signed_at DESC, rowid DESC", (intent.id,)
        )
        return [
            Attempt(row["hash"], row["raw"], int(row["max_fee"]), int(row["priority_fee"]), row["signed_at"])
            for row in rows
        ]

    def close(self) -> None:
        self._database.close()

    def _insert(self, intent: int, attempt: Attempt) -> None:
        self._database.execute(
            "INSERT INTO attempts VALUES (?, ?, ?, ?, ?, ?)",
            (attempt.hash, intent, attempt.raw, str(attempt.max_fee), str(attempt.priority_fee), attempt.signed_at),
        )

    def _select(self, where: str, *values: Any) -> list[Intent]:
        rows = self._database.execute(f"SELECT * FROM intents WHERE scope = ? AND {where}", (self._scope, *values))
        return [_intent(row) for row in rows]

    def _transaction(self) -> _Transaction:
        return _Transaction(self._database, self._path)


class _Transaction:
    """BEGIN IMMEDIATE to COMMIT; a full disk or a foreign lock becomes a `StorageError`."""

    def __init__(self, database: sqlite3.Connection, path: Path) -> None:
        self._database = database
        self._path = path

    def __enter__(self) -> None:
        try:
            self._database.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise _broken(self._path, error) from error

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            self._database.execute("ROLLBACK" if error else "COMMIT")
        except sqlite3.Error as failure:
            raise _broken(self._path, failure) from failure
        if isinstance(error, sqlite3.Error):
            raise _broken(self._path, error) from error


def _broken(path: Path, error: sqlite3.Error) -> StorageError:
    return StorageError(
        f"The journal {path} cannot be written ({error}). Free disk space or restore its permissions, then start "
        "again: nothing that was sent is lost."
    )


def _intent(row: sqlite3.Row) -> Intent:
    receipt = json.loads(row["receipt"]) if row["receipt"] else None
    return Intent(
        row["id"], row["key"], row["label"], row["recipient"], row["calldata"], int(row["value"]), row["gas"],
        row["nonce"], State(row["state"]), row["block"], receipt, row["revert"],
    )  # fmt: skip


def now() -> float:
    return time.time()
