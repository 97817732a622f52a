"""What a driver must not forget, in SQLite: its jobs, every batch before it is posted, and what it refused to merge.

The chain is the truth about what was posted; a batch is found there by its plan root. The journal says which batch was
meant for which round, so that a driver killed at any moment neither posts nor pays twice.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from orebit.chain.types import LeaseId
from orebit.errors import StorageError
from orebit.strategy.spec import JobSpec

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL, run TEXT NOT NULL UNIQUE, spec TEXT NOT NULL, started REAL NOT NULL,
    port INTEGER NOT NULL DEFAULT 0, url TEXT, training INTEGER, averaging INTEGER, block INTEGER,
    outcome TEXT, result TEXT, accuracy REAL, loss REAL
);
CREATE TABLE IF NOT EXISTS batches (
    job INTEGER NOT NULL REFERENCES jobs, plan_root BLOB NOT NULL, kind TEXT NOT NULL, round INTEGER NOT NULL,
    parent BLOB NOT NULL, size INTEGER NOT NULL, entries TEXT NOT NULL, tries INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (job, plan_root)
);
CREATE TABLE IF NOT EXISTS refusals (
    lease TEXT PRIMARY KEY, job INTEGER NOT NULL REFERENCES jobs, reason TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS coins (
    lease TEXT PRIMARY KEY, job INTEGER NOT NULL REFERENCES jobs, called INTEGER NOT NULL
);
"""


class Kind(Enum):
    """What a batch is for."""

    TRAINING = "training"
    AVERAGING = "averaging"


class Outcome(Enum):
    """How a job ended."""

    DONE = "done"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Entry:
    """One shard of a batch: whose it is, and its attempt, which gives it an id of its own."""

    worker: int
    attempt: int


@dataclass(frozen=True)
class BatchRecord:
    """A batch that was posted, or is about to be. `parent` is the root over the states it starts from."""

    plan_root: bytes
    kind: Kind
    round: int
    parent: bytes
    size: int
    entries: tuple[Entry, ...]
    tries: int = 0
    """Postings that the chain refused after they were sent."""


@dataclass(frozen=True)
class JobRecord:
    """A job and how far it is known to be on-chain."""

    id: int
    run: str
    """Names this run of the job in transaction keys."""
    spec: JobSpec
    started: float
    port: int
    url: str | None
    training: int | None
    averaging: int | None
    block: int | None
    outcome: Outcome | None
    result: tuple[bytes, ...] | None
    """Tensor roots of the final averaged state."""
    accuracy: float | None
    """Share of held-out rows that the result gets right."""
    loss: float | None
    """Mean loss over held-out rows."""


class Journal:
    """One home's jobs. Raises StorageError when the disk fails."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._guarded():
            self._base = sqlite3.connect(path, isolation_level=None)
            self._base.row_factory = sqlite3.Row
            self._base.execute("PRAGMA journal_mode = WAL")
            self._base.execute("PRAGMA synchronous = FULL")
            self._base.executescript(_SCHEMA)

    def close(self) -> None:
        self._base.close()

    # Jobs

    def jobs(self) -> list[JobRecord]:
        """All jobs, oldest first."""
        return [_job(row) for row in self._rows("SELECT * FROM jobs ORDER BY id")]

    def job(self, identifier: int) -> JobRecord:
        return _job(self._rows("SELECT * FROM jobs WHERE id = ?", identifier)[0])

    def unfinished(self, key: str) -> JobRecord | None:
        """The latest job of this key that has not ended."""
        rows = self._rows("SELECT * FROM jobs WHERE key = ? AND outcome IS NULL ORDER BY id DESC LIMIT 1", key)
        return _job(rows[0]) if rows else None

    def of_task(self, task: int) -> JobRecord | None:
        """The job whose training or averaging task this is."""
        rows = self._rows("SELECT * FROM jobs WHERE training = ? OR averaging = ?", task, task)
        return _job(rows[0]) if rows else None

    def begin(self, spec: JobSpec, run: str) -> JobRecord:
        """Journals a job before any of its money moves."""
        with self._guarded():
            cursor = self._base.execute(
                "INSERT INTO jobs (key, run, spec, started) VALUES (?, ?, ?, ?)",
                (spec.key, run, spec.encode(), time.time()),
            )
        return self.job(int(cursor.lastrowid or 0))

    def serve_at(self, job: JobRecord, port: int, url: str) -> JobRecord:
        """The port and address that the chain will be told."""
        self._change("UPDATE jobs SET port = ?, url = ? WHERE id = ?", port, url, job.id)
        return self.job(job.id)

    def created(self, job: JobRecord, training: int, averaging: int, block: int) -> JobRecord:
        """The tasks exist; no event of theirs is older than `block`."""
        self._change(
            "UPDATE jobs SET training = ?, averaging = ?, block = ? WHERE id = ?", training, averaging, block, job.id
        )
        return self.job(job.id)

    def end(
        self,
        job: JobRecord,
        outcome: Outcome,
        result: tuple[bytes, ...] | None = None,
        accuracy: float | None = None,
        loss: float | None = None,
    ) -> None:
        roots = None if result is None else json.dumps([root.hex() for root in result])
        self._change(
            "UPDATE jobs SET outcome = ?, result = ?, accuracy = ?, loss = ? WHERE id = ?",
            outcome.value, roots, accuracy, loss, job.id,
        )  # fmt: skip

    # Batches

    def batches(self, job: JobRecord) -> list[BatchRecord]:
        """In the order in which they were journalled."""
        return [_batch(row) for row in self._rows("SELECT * FROM batches WHERE job = ? ORDER BY rowid", job.id)]

    def intend(self, job: JobRecord, batch: BatchRecord) -> None:
        """Journals a batch before it is posted."""
        entries = json.dumps([[entry.worker, entry.attempt] for entry in batch.entries])
        self._change(
            "INSERT OR IGNORE INTO batches (job, plan_root, kind, round, parent, size, entries) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            job.id, batch.plan_root, batch.kind.value, batch.round, batch.parent, batch.size, entries,
        )  # fmt: skip

    def refused_by_chain(self, job: JobRecord, batch: BatchRecord) -> None:
        """A posting was mined and failed; the next one is another transaction."""
        self._change("UPDATE batches SET tries = tries + 1 WHERE job = ? AND plan_root = ?", job.id, batch.plan_root)

    # What was refused, and what was called

    def refuse(self, job: JobRecord, lease: LeaseId, reason: str) -> None:
        """This lease's result is never merged."""
        self._change("INSERT OR IGNORE INTO refusals VALUES (?, ?, ?)", f"{lease:018x}", job.id, reason)

    def refusals(self, job: JobRecord) -> dict[LeaseId, str]:
        rows = self._rows("SELECT lease, reason FROM refusals WHERE job = ?", job.id)
        return {LeaseId(int(row["lease"], 16)): row["reason"] for row in rows}

    def toss(self, job: JobRecord, leases: list[LeaseId], called: bool) -> None:
        """Whether these leases are to be called, decided once."""
        for lease in leases:
            self._change("INSERT OR IGNORE INTO coins VALUES (?, ?, ?)", f"{lease:018x}", job.id, int(called))

    def coins(self, job: JobRecord) -> dict[LeaseId, bool]:
        rows = self._rows("SELECT lease, called FROM coins WHERE job = ?", job.id)
        return {LeaseId(int(row["lease"], 16)): bool(row["called"]) for row in rows}

    def _rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        with self._guarded():
            return self._base.execute(query, values).fetchall()

    def _change(self, query: str, *values: object) -> None:
        with self._guarded():
            self._base.execute(query, values)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StorageError(
                f"The driver's journal {self._path} cannot be used ({error}). Free disk space or restore its "
                "permissions, then start again: what was posted is found on-chain."
            ) from error


def _job(row: sqlite3.Row) -> JobRecord:
    return JobRecord(
        id=row["id"],
        run=row["run"],
        spec=JobSpec.decode(row["spec"]),
        started=row["started"],
        port=row["port"],
        url=row["url"],
        training=row["training"],
        averaging=row["averaging"],
        block=row["block"],
        outcome=Outcome(row["outcome"]) if row["outcome"] else None,
        result=tuple(map(bytes.fromhex, json.loads(row["result"]))) if row["result"] else None,
        accuracy=row["accuracy"],
        loss=row["loss"],
    )


def _batch(row: sqlite3.Row) -> BatchRecord:
    entries = tuple(Entry(worker, attempt) for worker, attempt in json.loads(row["entries"]))
    return BatchRecord(
        row["plan_root"], Kind(row["kind"]), row["round"], row["parent"], row["size"], entries, row["tries"]
    )
