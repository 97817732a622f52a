"""What the contracts' structs are in Python. Field order is the ABI's; amounts are wei of TokenAI."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

FLAG_OPEN = 1
FLAG_GATED = 2
FLAG_KEEP_RESULTS = 4

WHOLE_LEASE = 255
"""`Terms.block_log2` of a task whose replicas re-execute the whole lease."""

DEADLINE_BLOCKS = 32
"""A deadline has passed only when this many blocks went by as well."""

ZERO_ADDRESS = "0x0000000000000000000000000000000000000000"


class LeaseId(int):
    """One life of one lease slot: `node << 40 | slot << 32 | generation`; 72 bits, so SQLite keeps it as text."""

    @classmethod
    def of(cls, node: int, slot: int, generation: int) -> LeaseId:
        return cls(node << 40 | slot << 32 | generation)

    @property
    def node(self) -> int:
        return int(self) >> 40

    @property
    def slot(self) -> int:
        return int(self) >> 32 & 0xFF

    @property
    def generation(self) -> int:
        return int(self) & 0xFFFF_FFFF

    @property
    def key(self) -> int:
        """The slot without its generation, `node << 8 | slot`: what hashes bind as `uint40`."""
        return int(self) >> 32

    def __str__(self) -> str:
        return f"{self.node}/{self.slot}#{self.generation}"

    def __repr__(self) -> str:
        return f"LeaseId({self})"


class LeaseState(IntEnum):
    """Where a lease stands; a pair's state is the primary's, and a replica reports the pair's."""

    FREE = 0
    LEASED = 1
    COMMITTED = 2
    CALLED = 3
    PAIRED = 4
    BOTH = 5
    HALF_REVEALED = 6
    REVEALED = 7
    CONTESTED = 8
    SLASHED = 9


@dataclass(frozen=True)
class Terms:
    """What a requester offers. Seconds, blocks, basis points and percentages as in `ITaskMarket`."""

    price: int
    compute_seconds: int
    reveal_seconds: int
    challenge_seconds: int
    stake_factor: int
    """Hundredths: 200 is twice the price."""
    late_bp: int
    draw_bp: int
    fee_percent: int
    draw_delay: int
    lottery_blocks: int
    block_log2: int
    watcher: str
    move_time: int
    max_grains: int
    flags: int
    reveal_depth: int

    @property
    def is_open(self) -> bool:
        return bool(self.flags & FLAG_OPEN)

    @property
    def is_gated(self) -> bool:
        return bool(self.flags & FLAG_GATED)


@dataclass(frozen=True)
class Policy:
    """What a chain demands of every task's terms."""

    min_move_time: int
    max_move_time: int
    court_windows: bool
    """Whether the challenge window must be at least 4 * move time + compute seconds."""
    weak_block_hashes: bool
    """Whether the draw's probability must be 0, since block hashes mean little here."""


@dataclass(frozen=True)
class TaskInfo:
    requester: str
    escrow: int
    terms: Terms


@dataclass(frozen=True)
class BatchInfo:
    task: int
    grains: int
    size: int
    """Shards a grain."""
    free: int
    """Bit i set: grain i may be leased."""
    unsettled: int
    replicas_paid: int
    posted: int
    """Unix time of posting; 0 once closed."""
    plan_root: bytes

    @property
    def closed(self) -> bool:
        return self.posted == 0

    def free_runs(self) -> list[tuple[int, int]]:
        """Maximal runs of free grains as (first, length)."""
        runs: list[tuple[int, int]] = []
        for grain in range(self.grains):
            if not self.free >> grain & 1:
                continue
            if runs and sum(runs[-1]) == grain:
                runs[-1] = (runs[-1][0], runs[-1][1] + 1)
            else:
                runs.append((grain, 1))
        return runs


@dataclass(frozen=True)
class LeaseInfo:
    state: LeaseState
    replica: bool
    batch: int
    first: int
    grains: int
    first_shard: int
    shards: int
    block_number: int
    """Block of the last change of state (Committed: the commit's block)."""
    deadline: int
    games: int
    peer: LeaseId
    drawn_block: int
    root: bytes
    """The commit, overwritten by the result root."""
    stake: int
    move_time: int
    plan_root: bytes


@dataclass(frozen=True)
class NodeInfo:
    owner: str
    operator: str
    payee: str
    stake: int
    locked: int
    since: int
    unbonding: int
    unbonded_at: int
    deposited: bool
    url: str
    capabilities: str

    @property
    def available(self) -> int:
        """Stake that can be locked or unbonded."""
        return self.stake - self.locked


@dataclass(frozen=True)
class Block:
    number: int
    hash: bytes
    parent: bytes
    timestamp: int
    base_fee: int
    """Wei of ETH a gas; 0 on a chain without EIP-1559."""
    logs_bloom: int
    """The 2048-bit filter of addresses and topics that logged in the block."""


@dataclass(frozen=True)
class GameBook:
    """What the court keeps of a game. `state` is zero once the game is over and paid."""

    state: bytes
    bond: int
    deadline: int
    block_number: int
    order: int


@dataclass(frozen=True)
class NodeBook:
    """What the court keeps of a node; `deposit` in wei of ETH. While convictions are `unsettled`, it stays."""

    deposit: int
    busy_until: int
    games: int
    demands: int
    unsettled: int
    enough: bool


@dataclass(frozen=True)
class Conviction:
    """What the court keeps of an accused lease. `time` 0: it is not convicted. `bounty` in wei of TokenAI."""

    time: int
    block_number: int
    move_time: int
    bounty: int
    games: int
    settled: bool
    prover: str
    proof: int
    """The low bits of the name of the game that proved it."""


RESULTS, CHECKPOINTS = 0, 1
"""What can be demanded: a lease's result hashes, or the checkpoints of one of its shards."""

DEMAND_PART = 128
"""Entries of one demand."""


@dataclass(frozen=True)
class DemandItem:
    """128 entries of one list of a lease; `position` is the shard's, for checkpoints."""

    lease: LeaseId
    item: int
    position: int
    part: int


@dataclass(frozen=True)
class DemandBook:
    """What the court keeps of a demand."""

    demander: str
    prepaid: int
    deadline: int
    block_number: int
    count: int
    answered: bool
    shard: bytes
