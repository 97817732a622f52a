"""The court's cases that concern this node, in its journal: games with every move, demands, convictions, challenges.

What events tell is undone with their blocks; what this node intends (challenges, audits, its own demands) is written
before it is acted on. So a node that was killed in the middle of a game finds the game where it stands.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

from orebit.chain.types import DemandItem, LeaseId
from orebit.commitment.merkle import unpack
from orebit.daemon.journal import Journal, key_of

_SCHEMA = """
CREATE TABLE IF NOT EXISTS games (
    game BLOB PRIMARY KEY, block INTEGER NOT NULL, lease TEXT NOT NULL, challenger TEXT NOT NULL, rank INTEGER NOT NULL,
    outcome TEXT, ended INTEGER NOT NULL DEFAULT 0  -- block, 0: not yet
);
CREATE TABLE IF NOT EXISTS game_moves (
    game BLOB NOT NULL, block INTEGER NOT NULL, log INTEGER NOT NULL, state BLOB NOT NULL, deadline INTEGER NOT NULL,
    posted BLOB NOT NULL, PRIMARY KEY (game, block, log)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS convictions (
    lease TEXT PRIMARY KEY, block INTEGER NOT NULL, game BLOB NOT NULL, settled INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS claims (
    game BLOB PRIMARY KEY, block INTEGER NOT NULL, lease TEXT NOT NULL, rank INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS demands (
    demand BLOB PRIMARY KEY, block INTEGER NOT NULL, lease TEXT NOT NULL, item INTEGER NOT NULL,
    position INTEGER NOT NULL, part INTEGER NOT NULL, deadline INTEGER NOT NULL, own INTEGER NOT NULL,
    entries BLOB, ended INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS challenges (
    lease TEXT NOT NULL, position INTEGER NOT NULL, plan_root BLOB NOT NULL, first_shard INTEGER NOT NULL,
    salt BLOB NOT NULL, reason TEXT NOT NULL, own BLOB, claimed BLOB, checkpoint INTEGER, stage TEXT NOT NULL,
    PRIMARY KEY (lease, position)
);
CREATE TABLE IF NOT EXISTS audits (lease TEXT PRIMARY KEY, verdict TEXT NOT NULL, at REAL NOT NULL);
"""

WANTED, OPENED, OVER = "wanted", "opened", "over"


@dataclass(frozen=True)
class Case:
    """One game to which this node is a party. `rank`: of the challenger's pre-commit, 0 without one."""

    game: bytes
    lease: LeaseId
    challenger: str
    rank: int
    outcome: str | None


@dataclass(frozen=True)
class Played:
    """One move (or the opening): the state after it, encoded, its answer's deadline, and what it posted."""

    block: int
    log: int
    state: bytes
    deadline: int
    posted: bytes


@dataclass(frozen=True)
class Challenge:
    """A game that this node wants to open, or has opened.

    `own`: its own checkpoints, where it has them. `claimed`, `checkpoint`: the defender's, and the first that is false;
    None: the defender shows its checkpoints in the game.
    """

    lease: LeaseId
    position: int
    plan_root: bytes
    first_shard: int
    """The lease's in its plan."""
    salt: bytes
    reason: str
    own: tuple[bytes, ...] | None
    claimed: tuple[bytes, ...] | None
    checkpoint: int | None
    stage: str = WANTED


@dataclass(frozen=True)
class Summons:
    """A demand: of this node's lease, or (`own`) made by this node."""

    demand: bytes
    item: DemandItem
    block: int
    deadline: int
    own: bool
    entries: tuple[bytes, ...] | None
    ended: bool


class Docket:
    """Reads and writes the journal's part on the court. Raises StorageError when the disk fails."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        journal.prepare(_SCHEMA)

    # Games, as events tell them

    def open_game(self, block: int, case: Case) -> None:
        self._journal.write(
            "INSERT OR REPLACE INTO games VALUES (?, ?, ?, ?, ?, NULL, 0)",
            case.game, block, key_of(case.lease), case.challenger, case.rank,
        )  # fmt: skip

    def add_move(self, game: bytes, move: Played) -> None:
        values = (game, move.block, move.log, move.state, move.deadline, move.posted)
        self._journal.write("INSERT OR REPLACE INTO game_moves VALUES (?, ?, ?, ?, ?, ?)", *values)

    def end_game(self, game: bytes, block: int, outcome: str) -> None:
        self._journal.write("UPDATE games SET outcome = ?, ended = ? WHERE game = ?", outcome, block, game)

    def convict(self, lease: LeaseId, block: int, game: bytes) -> None:
        """Every game on the lease is over."""
        name = key_of(lease)
        with self._journal.transaction():
            self._journal.write("INSERT OR REPLACE INTO convictions VALUES (?, ?, ?, 0)", name, block, game)
            self._journal.write(
                "UPDATE games SET outcome = CASE WHEN game = ? THEN 'proven' ELSE 'overtaken' END, ended = ?"
                " WHERE lease = ? AND outcome IS NULL",
                game, block, name,
            )  # fmt: skip

    def add_claim(self, game: bytes, block: int, lease: LeaseId, rank: int) -> None:
        self._journal.write("INSERT OR REPLACE INTO claims VALUES (?, ?, ?, ?)", game, block, key_of(lease), rank)

    def case(self, game: bytes) -> Case | None:
        found = self._cases("WHERE game = ?", game)
        return found[0] if found else None

    def open_cases(self) -> list[Case]:
        return self._cases("WHERE outcome IS NULL ORDER BY block")

    def cases_on(self, lease: LeaseId) -> list[Case]:
        return self._cases("WHERE lease = ? ORDER BY block", key_of(lease))

    def _cases(self, where: str, *values: object) -> list[Case]:
        rows = self._journal.query(f"SELECT game, lease, challenger, rank, outcome FROM games {where}", *values)
        return [Case(bytes(game), LeaseId(lease, 16), *rest) for game, lease, *rest in rows]

    def moves(self, game: bytes) -> list[Played]:
        """Every move of a game in order."""
        rows = self._journal.query(
            "SELECT block, log, state, deadline, posted FROM game_moves WHERE game = ? ORDER BY block, log", game
        )
        return [
            Played(block, log, bytes(state), deadline, bytes(posted)) for block, log, state, deadline, posted in rows
        ]

    # Convictions

    def convictions(self) -> list[tuple[LeaseId, bytes]]:
        """Leases convicted in games of this node, or its own leases, that are not settled; and the game that proved."""
        rows = self._journal.query("SELECT lease, game FROM convictions WHERE settled = 0 ORDER BY block")
        return [(LeaseId(lease, 16), bytes(game)) for lease, game in rows]

    def is_convicted(self, lease: LeaseId) -> bool:
        return bool(self._journal.query("SELECT 1 FROM convictions WHERE lease = ?", key_of(lease)))

    def settle(self, lease: LeaseId) -> None:
        """Nothing more comes of it for this node."""
        self._journal.write("UPDATE convictions SET settled = 1 WHERE lease = ?", key_of(lease))

    def claims(self, lease: LeaseId) -> list[tuple[int, bytes]]:
        """(rank, game) of every claim so far, the lowest rank first."""
        rows = self._journal.query("SELECT rank, game FROM claims WHERE lease = ? ORDER BY rank", key_of(lease))
        return [(rank, bytes(game)) for rank, game in rows]

    # Demands

    def demand(self, demand: bytes, item: DemandItem, *, block: int = 0, deadline: int = 0, own: bool = False) -> None:
        """A demand that this node is about to make (`own`), or that an event told."""
        values = (demand, block, key_of(item.lease), item.item, item.position, item.part, deadline, int(own))
        self._journal.write(
            "INSERT INTO demands VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL, 0)"
            " ON CONFLICT (demand) DO UPDATE SET block = excluded.block, deadline = excluded.deadline",
            *values,
        )

    def end_demand(self, demand: bytes, block: int, entries: tuple[bytes, ...] | None) -> None:
        packed = None if entries is None else b"".join(entries)
        self._journal.write("UPDATE demands SET ended = ?, entries = ? WHERE demand = ?", block, packed, demand)

    def demands(self, *, pending: bool = True) -> list[Summons]:
        """Demands that nobody has answered yet, or all."""
        where = "WHERE ended = 0" if pending else ""
        rows = self._journal.query(
            f"SELECT demand, lease, item, position, part, block, deadline, own, entries, ended FROM demands {where}"
        )
        return [
            Summons(
                bytes(demand),
                DemandItem(LeaseId(lease, 16), item, position, part),
                block,
                deadline,
                bool(own),
                None if entries is None else tuple(unpack(bytes(entries))),
                bool(ended),
            )
            for demand, lease, item, position, part, block, deadline, own, entries, ended in rows
        ]

    def knows_demand(self, demand: bytes) -> bool:
        return bool(self._journal.query("SELECT 1 FROM demands WHERE demand = ?", demand))

    # What this node intends

    def want(
        self,
        lease: LeaseId,
        position: int,
        plan_root: bytes,
        first_shard: int,
        reason: str,
        *,
        own: tuple[bytes, ...] | None = None,
        claimed: tuple[bytes, ...] | None = None,
        checkpoint: int | None = None,
    ) -> None:
        """Records a challenge before anything is sent; one that is known stays."""
        self._journal.write(
            "INSERT OR IGNORE INTO challenges VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            key_of(lease),
            position,
            plan_root,
            first_shard,
            secrets.token_bytes(32),
            reason,
            None if own is None else b"".join(own),
            None if claimed is None else b"".join(claimed),
            checkpoint,
            WANTED,
        )

    def challenges(self, stage: str | None = None) -> list[Challenge]:
        rows = self._journal.query(
            "SELECT lease, position, plan_root, first_shard, salt, reason, own, claimed, checkpoint, stage"
            " FROM challenges WHERE ? IS NULL OR stage = ? ORDER BY rowid",
            stage, stage,
        )  # fmt: skip
        return [
            Challenge(
                LeaseId(lease, 16), position, bytes(plan), first, bytes(salt), reason, _list(own), _list(claimed), *rest
            )
            for lease, position, plan, first, salt, reason, own, claimed, *rest in rows
        ]

    def challenge(self, lease: LeaseId, position: int) -> Challenge | None:
        return next((each for each in self.challenges() if (each.lease, each.position) == (lease, position)), None)

    def move_challenge(self, challenge: Challenge, stage: str) -> None:
        self._journal.write(
            "UPDATE challenges SET stage = ? WHERE lease = ? AND position = ?",
            stage, key_of(challenge.lease), challenge.position,
        )  # fmt: skip

    def audited(self, lease: LeaseId) -> str | None:
        """What was found of a lease, or why it was left alone; None: nobody looked yet."""
        rows = self._journal.query("SELECT verdict FROM audits WHERE lease = ?", key_of(lease))
        return str(rows[0][0]) if rows else None

    def set_audited(self, lease: LeaseId, verdict: str) -> None:
        self._journal.write("INSERT OR REPLACE INTO audits VALUES (?, ?, ?)", key_of(lease), verdict, time.time())

    def roll_back(self, block: int) -> None:
        """The chain dropped everything after `block`."""
        with self._journal.transaction():
            for table in ("games", "game_moves", "convictions", "claims"):
                self._journal.write(f"DELETE FROM {table} WHERE block > ?", block)
            self._journal.write("DELETE FROM demands WHERE block > ? AND own = 0", block)
            self._journal.write("UPDATE games SET outcome = NULL, ended = 0 WHERE ended > ?", block)
            self._journal.write("UPDATE demands SET entries = NULL, ended = 0 WHERE ended > ?", block)


def _list(packed: bytes | None) -> tuple[bytes, ...] | None:
    return None if packed is None else tuple(unpack(bytes(packed)))
