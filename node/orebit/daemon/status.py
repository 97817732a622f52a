"""What the node is doing, for a person: told by the running daemon on loopback, else read from the journal."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from orebit.daemon.journal import Journal

URL_SETTING = "status_url"


@dataclass(frozen=True)
class LeaseStatus:
    """One lease. `progress` between 0 and 1 while computing, `deadline` Unix time, `stake` wei."""

    lease: str
    role: str
    task: int
    batch: int
    first_shard: int
    shards: int
    state: str
    doing: str
    deadline: int | None
    progress: float | None
    stake: int


@dataclass(frozen=True)
class Status:
    """The whole node; amounts in wei of TokenAI. `running` is false when the journal was all there was to ask."""

    running: bool
    node: int | None
    address: str
    doing: str
    leases: list[LeaseStatus] = field(default_factory=list)
    earned: dict[str, int] = field(default_factory=dict)
    leases_closed: dict[str, int] = field(default_factory=dict)
    stake: int | None = None
    locked: int | None = None
    balance: int | None = None
    block: int | None = None
    halted: str | None = None
    draining: bool = False
    deposit: int | None = None
    """Wei of ETH with the court, as is `floor`; None where no court judges."""
    floor: int | None = None
    games: int = 0
    """Games open that this node is a party to."""
    at: float = field(default_factory=time.time)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Status:
        """Raises ValueError or TypeError when it is not a status."""
        values: dict[str, Any] = json.loads(text)
        values["leases"] = [LeaseStatus(**lease) for lease in values["leases"]]
        return cls(**values)


def closed_counts(journal: Journal) -> dict[str, int]:
    """How many leases ended how."""
    counts: dict[str, int] = {}
    for record in journal.leases(closed=True):
        counts[record.closed or "ended"] = counts.get(record.closed or "ended", 0) + 1
    return counts


def read_status(path: Path, address: str) -> Status:
    """The status of the daemon whose journal is at `path`: asked of it, or, when it is down, from the journal."""
    journal = Journal(path)
    try:
        return _ask(journal.setting(URL_SETTING)) or _from_journal(journal, address)
    finally:
        journal.close()


def _ask(url: str | None) -> Status | None:
    if not url:
        return None
    try:
        with urllib.request.urlopen(f"{url}/status", timeout=3) as answer:
            return Status.from_json(answer.read().decode())
    except (OSError, urllib.error.URLError, ValueError, TypeError, KeyError):
        return None


def _from_journal(journal: Journal, address: str) -> Status:
    leases = [
        LeaseStatus(
            lease=str(record.lease),
            role="replica" if record.replica else "primary",
            task=record.task,
            batch=record.batch,
            first_shard=record.first_shard,
            shards=record.shards,
            state="computed" if record.root else "unfinished",
            doing="waiting for the daemon: start it with `orebit node run`",
            deadline=None,
            progress=None,
            stake=record.stake,
        )
        for record in journal.leases()
    ]
    return Status(
        running=False,
        node=journal.node,
        address=address,
        doing="not running",
        leases=leases,
        earned=journal.earnings(),
        leases_closed=closed_counts(journal),
        halted=journal.halted,
        draining=journal.draining,
    )
