"""What this node owes and has done, in SQLite: written before it is acted on, read after `kill -9`.

The chain is the truth about states; the journal holds what the chain cannot know (which work is done, which root a
commit hides) and hints at where to look (tasks, batches and strangers' leases seen in events). Every write is durable
when the call returns. Lease identifiers are 72 bits wide and are kept as 18 hexadecimal digits.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from orebit.chain.types import LeaseId
from orebit.errors import StorageError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS intents (
    slot INTEGER PRIMARY KEY, batch INTEGER NOT NULL, first INTEGER NOT NULL, grains INTEGER NOT NULL,
    primary_lease TEXT
);
CREATE TABLE IF NOT EXISTS leases (
    lease TEXT PRIMARY KEY, replica INTEGER NOT NULL, task INTEGER NOT NULL, batch INTEGER NOT NULL,
    first_shard INTEGER NOT NULL, shards INTEGER NOT NULL, plan_root BLOB NOT NULL, requester TEXT NOT NULL,
    stake TEXT NOT NULL, taken_at REAL NOT NULL,
    log2 INTEGER NOT NULL, root BLOB, closed TEXT, closed_at REAL
);
CREATE TABLE IF NOT EXISTS progress (
    lease TEXT NOT NULL, shard INTEGER NOT NULL, checkpoint INTEGER NOT NULL, state_root BLOB NOT NULL,
    PRIMARY KEY (lease, shard, checkpoint)
);
CREATE TABLE IF NOT EXISTS results (
    lease TEXT NOT NULL, shard INTEGER NOT NULL, result_root BLOB NOT NULL, PRIMARY KEY (lease, shard)
);
CREATE TABLE IF NOT EXISTS acts (
    number INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, lease TEXT NOT NULL, recorded_at REAL NOT NULL,
    outcome TEXT
);
CREATE INDEX IF NOT EXISTS acts_of ON acts (lease, kind);
CREATE TABLE IF NOT EXISTS blobs (root BLOB NOT NULL, lease TEXT NOT NULL, PRIMARY KEY (root, lease)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS money (
    block INTEGER NOT NULL, log INTEGER NOT NULL, kind TEXT NOT NULL, lease TEXT NOT NULL, amount TEXT NOT NULL,
    PRIMARY KEY (block, log)
);
CREATE TABLE IF NOT EXISTS speeds (program BLOB PRIMARY KEY, seconds REAL NOT NULL);
CREATE TABLE IF NOT EXISTS tasks (
    task INTEGER PRIMARY KEY, block INTEGER NOT NULL, requester TEXT NOT NULL, url TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS batches (
    batch INTEGER PRIMARY KEY, block INTEGER NOT NULL, task INTEGER NOT NULL, plan_root BLOB NOT NULL,
    settled INTEGER NOT NULL DEFAULT 0  -- block, 0: not yet
);
CREATE TABLE IF NOT EXISTS strangers (
    lease TEXT PRIMARY KEY, block INTEGER NOT NULL, batch INTEGER NOT NULL, phase TEXT NOT NULL, since INTEGER NOT NULL,
    hash BLOB
);
"""

# Who a blob belongs to when it is no lease's secret.
PUBLIC = ""


def key_of(lease: LeaseId) -> str:
    """A lease identifier as the journal and the logs write it."""
    return f"{lease:018x}"


@dataclass(frozen=True)
class Intent:
    """A lease or a take about to be asked for. `primary` is the lease to be replicated, None for a primary's own."""

    slot: int
    batch: int
    first: int
    grains: int
    primary: LeaseId | None = None


@dataclass(frozen=True)
class LeaseRecord:
    """One of this node's leases.

    `log2`: of a replica, the height of the block it re-executes. `root`: the result root (replica: the block's raw
    node) that it computed. `closed`: how it ended.
    """

    lease: LeaseId
    replica: bool
    task: int
    batch: int
    first_shard: int
    shards: int
    plan_root: bytes
    requester: str
    stake: int
    taken_at: float
    log2: int = 0
    root: bytes | None = None
    closed: str | None = None


@dataclass(frozen=True)
class TaskHint:
    task: int
    requester: str
    url: str


@dataclass(frozen=True)
class BatchHint:
    batch: int
    task: int
    plan_root: bytes


class Phase(StrEnum):
    """Where another node's lease was when last heard of."""

    LEASED = "leased"
    COMMITTED = "committed"
    CALLED = "called"
    PAIRED = "paired"
    REPLICA = "replica"
    REVEALED = "revealed"
    CONTESTED = "contested"


@dataclass(frozen=True)
class Stranger:
    """Another node's lease; `since` is its phase's first block, `commitment` what it committed."""

    lease: LeaseId
    batch: int
    phase: Phase
    since: int
    commitment: bytes | None = None


class Journal:
    """The durable memory of one node, safe to use from any thread. Raises StorageError when the disk fails."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        try:
            self._base = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._base.execute("PRAGMA journal_mode = WAL")
            self._base.execute("PRAGMA synchronous = FULL")
            self._base.execute("PRAGMA busy_timeout = 5000")
            self._base.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise StorageError(
                f"The journal {path} cannot be opened: {error}. Free some disk, or restore the file from a backup."
            ) from error
        self._path = path
        rows = self._read("SELECT root FROM blobs WHERE lease = ?", PUBLIC)
        self._public = {bytes(root) for (root,) in rows}

    def close(self) -> None:
        with self._lock:
            self._base.close()

    @contextlib.contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._base.in_transaction:
                yield self._base
                return
            try:
                self._base.execute("BEGIN IMMEDIATE")
                try:
                    yield self._base
                except BaseException:
                    self._base.execute("ROLLBACK")
                    raise
                self._base.execute("COMMIT")
            except sqlite3.Error as error:
                raise StorageError(
                    f"The journal {self._path} cannot be written: {error}. Free some disk and start the node again; "
                    "nothing was done that the journal does not know of."
                ) from error

    def _run(self, statement: str, *values: Any) -> None:
        with self._write() as base:
            base.execute(statement, values)

    def _read(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._lock:
            try:
                return self._base.execute(query, values).fetchall()
            except sqlite3.Error as error:
                raise StorageError(f"The journal {self._path} cannot be read: {error}.") from error

    # For those who keep tables of their own here

    def prepare(self, schema: str) -> None:
        """Makes the tables that are missing."""
        with self._lock:
            self._base.executescript(schema)

    def write(self, statement: str, *values: Any) -> None:
        """One statement, durable when it returns, or with the transaction around it."""
        self._run(statement, *values)

    def query(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        return self._read(query, *values)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything written inside, by this thread, becomes durable together or not at all."""
        with self._write():
            yield

    @property
    def database(self) -> sqlite3.Connection:
        """The connection, for an event reader that moves its cursor within `transaction`."""
        return self._base

    # Settings that outlive the process

    def setting(self, key: str) -> str | None:
        rows = self._read("SELECT value FROM meta WHERE key = ?", key)
        return str(rows[0][0]) if rows else None

    def set_setting(self, key: str, value: str) -> None:
        self._run("INSERT OR REPLACE INTO meta VALUES (?, ?)", key, value)

    @property
    def node(self) -> int | None:
        """This node's identifier in the registry, once known."""
        value = self.setting("node")
        return int(value) if value else None

    @property
    def draining(self) -> bool:
        """Whether `orebit node drain` asked for no new leases."""
        return self.setting("draining") == "1"

    @property
    def halted(self) -> str | None:
        """Why this node takes no leases until its owner looks into it, or None."""
        return self.setting("halted") or None

    # Obligations

    def intend(self, intents: Iterable[Intent]) -> None:
        """Records leases and takes before they are asked for."""
        rows = [
            (intent.slot, intent.batch, intent.first, intent.grains, intent.primary and key_of(intent.primary))
            for intent in intents
        ]
        with self._write() as base:
            base.executemany("INSERT OR REPLACE INTO intents VALUES (?, ?, ?, ?, ?)", rows)

    def expect(self, intent: Intent) -> None:
        """An event says that this slot holds a lease of ours, whoever asked for it: it is to be looked at."""
        row = (intent.slot, intent.batch, intent.first, intent.grains, intent.primary and key_of(intent.primary))
        self._run("INSERT OR IGNORE INTO intents VALUES (?, ?, ?, ?, ?)", *row)

    def intents(self) -> list[Intent]:
        return [
            Intent(slot, batch, first, grains, None if primary is None else LeaseId(primary, 16))
            for slot, batch, first, grains, primary in self._read("SELECT * FROM intents ORDER BY slot")
        ]

    def forget_intent(self, slot: int) -> None:
        self._run("DELETE FROM intents WHERE slot = ?", slot)

    def adopt(self, record: LeaseRecord, slot: int) -> None:
        """Records a lease that the chain says is ours and ends its slot's intent. What is known already stays."""
        with self._write() as base:
            base.execute("DELETE FROM intents WHERE slot = ?", (slot,))
            base.execute(
                "INSERT OR IGNORE INTO leases VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL, NULL)",
                (
                    key_of(record.lease), int(record.replica), record.task, record.batch, record.first_shard,
                    record.shards, record.plan_root, record.requester, str(record.stake), record.taken_at, record.log2,
                ),
            )  # fmt: skip

    def leases(self, *, closed: bool = False) -> list[LeaseRecord]:
        """Leases still open, or those closed, oldest first."""
        test = "IS NOT NULL" if closed else "IS NULL"
        rows = self._read(
            "SELECT lease, replica, task, batch, first_shard, shards, plan_root, requester, stake, taken_at, log2,"
            f" root, closed FROM leases WHERE closed {test} ORDER BY taken_at, lease"
        )
        return [
            LeaseRecord(
                LeaseId(lease, 16), bool(replica), task, batch, first, shards, plan, requester, int(stake), *rest
            )
            for lease, replica, task, batch, first, shards, plan, requester, stake, *rest in rows
        ]

    def set_root(self, lease: LeaseId, root: bytes) -> bytes:
        """Records the root that will be committed and returns the one that stands: the first recorded, for ever."""
        with self._write() as base:
            base.execute("UPDATE leases SET root = ? WHERE lease = ? AND root IS NULL", (root, key_of(lease)))
            row = base.execute("SELECT root FROM leases WHERE lease = ?", (key_of(lease),)).fetchone()
        return bytes(row[0]) if row and row[0] else root

    def close_lease(self, lease: LeaseId, outcome: str) -> None:
        """The lease has left the chain or is out of this node's hands; its progress is dropped."""
        name = key_of(lease)
        with self._write() as base:
            base.execute(
                "UPDATE leases SET closed = ?, closed_at = ? WHERE lease = ? AND closed IS NULL",
                (outcome, time.time(), name),
            )
            base.execute("DELETE FROM progress WHERE lease = ?", (name,))

    # Work

    def checkpoint(self, lease: LeaseId, shard: int, checkpoint: int, state_root: bytes) -> None:
        """The state after this checkpoint (1-based) is safe in the store."""
        self._run("INSERT OR REPLACE INTO progress VALUES (?, ?, ?, ?)", key_of(lease), shard, checkpoint, state_root)

    def checkpoints(self, lease: LeaseId, shard: int) -> list[bytes]:
        """State roots from checkpoint 1 on, without a gap."""
        rows = self._read(
            "SELECT checkpoint, state_root FROM progress WHERE lease = ? AND shard = ? ORDER BY checkpoint",
            key_of(lease),
            shard,
        )
        roots = []
        for expected, (number, root) in enumerate(rows, start=1):
            if number != expected:
                break
            roots.append(bytes(root))
        return roots

    def shard_done(self, lease: LeaseId, shard: int, result_root: bytes) -> None:
        self._run("INSERT OR REPLACE INTO results VALUES (?, ?, ?)", key_of(lease), shard, result_root)

    def shard_results(self, lease: LeaseId) -> dict[int, bytes]:
        """Result hashes computed so far, by the shard's number within the batch."""
        rows = self._read("SELECT shard, result_root FROM results WHERE lease = ?", key_of(lease))
        return {shard: bytes(root) for shard, root in rows}

    def set_speed(self, program: bytes, seconds: float) -> None:
        """Seconds that one step of a program took here."""
        self._run("INSERT OR REPLACE INTO speeds VALUES (?, ?)", program, seconds)

    def forget_speed(self, program: bytes) -> None:
        """It is to be measured again."""
        self._run("DELETE FROM speeds WHERE program = ?", program)

    def speed(self, program: bytes) -> float | None:
        rows = self._read("SELECT seconds FROM speeds WHERE program = ?", program)
        return float(rows[0][0]) if rows else None

    # Which blobs may be served

    def own_blobs(self, lease: LeaseId | None, roots: Iterable[bytes]) -> None:
        """Blobs of a lease not yet revealed, or (None) of what is public already."""
        owned = list(roots)
        with self._write() as base:
            owner = PUBLIC if lease is None else key_of(lease)
            base.executemany("INSERT OR IGNORE INTO blobs VALUES (?, ?)", [(root, owner) for root in owned])
        if lease is None:
            self._public.update(owned)

    def publish(self, lease: LeaseId) -> None:
        """The lease is revealed: its blobs are everybody's."""
        name = key_of(lease)
        roots = [bytes(root) for (root,) in self._read("SELECT root FROM blobs WHERE lease = ?", name)]
        if not roots:
            return
        with self._write() as base:
            base.executemany("INSERT OR IGNORE INTO blobs VALUES (?, ?)", [(root, PUBLIC) for root in roots])
            base.execute("DELETE FROM blobs WHERE lease = ?", (name,))
        self._public.update(roots)

    def is_public(self, root: bytes) -> bool:
        """Whether a blob may be served; from memory, for a server's event loop."""
        return root in self._public

    # Acts on the chain

    def record_acts(self, acts: Iterable[tuple[str, LeaseId]]) -> list[int]:
        """Writes (kind, lease) down before they are sent; returns their numbers."""
        with self._write() as base:
            return [
                int(
                    base.execute(
                        "INSERT INTO acts (kind, lease, recorded_at) VALUES (?, ?, ?)",
                        (kind, key_of(lease), time.time()),
                    ).lastrowid
                    or 0
                )
                for kind, lease in acts
            ]

    def settle_acts(self, numbers: Iterable[int], outcome: str) -> None:
        with self._write() as base:
            base.executemany("UPDATE acts SET outcome = ? WHERE number = ?", [(outcome, number) for number in numbers])

    def acted(self, kind: str, lease: LeaseId) -> bool:
        """Whether this act was recorded and has not failed."""
        query = "SELECT 1 FROM acts WHERE lease = ? AND kind = ? AND (outcome IS NULL OR outcome = 'done')"
        return bool(self._read(query, key_of(lease), kind))

    # Money and hints from events

    def earn(self, block: int, log: int, kind: str, lease: LeaseId, amount: int) -> None:
        """One event's money for this node in wei; the same event twice counts once."""
        self._run("INSERT OR REPLACE INTO money VALUES (?, ?, ?, ?, ?)", block, log, kind, key_of(lease), str(amount))

    def earnings(self) -> dict[str, int]:
        """Wei by kind: paid, penalty, slashed, withdrawn."""
        totals: dict[str, int] = {}
        for kind, amount in self._read("SELECT kind, amount FROM money"):
            totals[kind] = totals.get(kind, 0) + int(amount)
        return totals

    def last_money(self, lease: LeaseId) -> str | None:
        """How a lease ended for this node, as far as events told: paid, penalty or slashed."""
        rows = self._read("SELECT kind FROM money WHERE lease = ? ORDER BY block DESC, log DESC", key_of(lease))
        return str(rows[0][0]) if rows else None

    def see_task(self, block: int, hint: TaskHint) -> None:
        self._run("INSERT OR REPLACE INTO tasks VALUES (?, ?, ?, ?)", hint.task, block, hint.requester, hint.url)

    def task(self, task: int) -> TaskHint | None:
        rows = self._read("SELECT task, requester, url FROM tasks WHERE task = ?", task)
        return TaskHint(*rows[0]) if rows else None

    def see_batch(self, block: int, hint: BatchHint) -> None:
        self._run("INSERT OR REPLACE INTO batches VALUES (?, ?, ?, ?, 0)", hint.batch, block, hint.task, hint.plan_root)

    def settle_batch(self, block: int, batch: int) -> None:
        """Nothing of the batch can be leased again."""
        self._run("UPDATE batches SET settled = ? WHERE batch = ?", block, batch)

    def open_batches(self) -> list[BatchHint]:
        rows = self._read("SELECT batch, task, plan_root FROM batches WHERE settled = 0 ORDER BY batch")
        return [BatchHint(batch, task, bytes(root)) for batch, task, root in rows]

    def see_stranger(self, block: int, lease: LeaseId, batch: int, phase: Phase = Phase.LEASED) -> None:
        """Another node's lease lives: it may be drawn, contested or left overdue."""
        self._run(
            "INSERT OR REPLACE INTO strangers VALUES (?, ?, ?, ?, ?, NULL)",
            key_of(lease),
            block,
            batch,
            phase,
            block,
        )

    def see_replica(self, block: int, primary: LeaseId, replica: LeaseId) -> None:
        """Another node replicates `primary`, which is ours or a stranger's."""
        name = key_of(primary)
        rows = self._read(
            "SELECT batch FROM strangers WHERE lease = ? UNION SELECT batch FROM leases WHERE lease = ?", name, name
        )
        if rows:
            self.see_stranger(block, replica, rows[0][0], Phase.REPLICA)

    def move_stranger(self, lease: LeaseId, phase: Phase, block: int, commitment: bytes | None = None) -> None:
        """Its state changed at `block`. A contest is not undone by its reveal; a replica's state is its primary's."""
        self._run(
            "UPDATE strangers SET phase = ?, since = ?, hash = coalesce(?, hash) WHERE lease = ?"
            " AND NOT (phase = ? AND ? = ?) AND phase <> ?",
            phase, block, commitment, key_of(lease), Phase.CONTESTED, phase, Phase.REVEALED,
            Phase.REPLICA,
        )  # fmt: skip

    def call_stranger(self, lease: LeaseId) -> None:
        """Its requester called it: it is drawn whatever chance says, and the commit's block stays."""
        self._run("UPDATE strangers SET phase = ? WHERE lease = ?", Phase.CALLED, key_of(lease))

    def forget_stranger(self, lease: LeaseId) -> None:
        self._run("DELETE FROM strangers WHERE lease = ?", key_of(lease))

    def strangers(self, *phases: Phase) -> list[Stranger]:
        """Other nodes' leases that may live, in these phases or in any."""
        wanted = phases or tuple(Phase)
        rows = self._read(
            f"SELECT lease, batch, phase, since, hash FROM strangers WHERE phase IN ({', '.join('?' * len(wanted))})"
            " ORDER BY block, lease",
            *wanted,
        )
        return [
            Stranger(LeaseId(lease, 16), batch, Phase(phase), since, root) for lease, batch, phase, since, root in rows
        ]

    def batch(self, batch: int) -> BatchHint | None:
        rows = self._read("SELECT batch, task, plan_root FROM batches WHERE batch = ?", batch)
        return BatchHint(*rows[0]) if rows else None

    def roll_back(self, block: int) -> None:
        """The chain dropped everything after `block`: forget what its events told; the new chain's follow."""
        with self._write() as base:
            for table in ("money", "tasks", "batches", "strangers"):
                base.execute(f"DELETE FROM {table} WHERE block > ?", (block,))
            base.execute("UPDATE batches SET settled = 0 WHERE settled > ?", (block,))
