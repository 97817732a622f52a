"""What a game knows, as the contract has it: `Game` of contracts/interfaces/IDisputeCourt.sol and its parts, field by
field. A move passes the whole state that it answers, in bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from orebit.commitment.merkle import EMPTY, height, width
from orebit.errors import ProgramError
from orebit.program.graph import HEADER_BYTES, Header

SECTION_DEPTH = 5
SECTION_STATES = 1 << SECTION_DEPTH
POSTING_DEPTH = 7
STATE_HALF_DEPTH = 5


class Side(IntEnum):
    """Who makes the next move."""

    CHALLENGER = 0
    DEFENDER = 1

    @property
    def other(self) -> Side:
        return Side.DEFENDER if self is Side.CHALLENGER else Side.CHALLENGER


class Phase(IntEnum):
    """What was posted last, hence what the next move may be."""

    RESULT = 0
    PICKED = 1
    CHECKPOINTS = 2
    STATES = 3
    TRACE = 4
    NODES = 5
    NEW_STATE = 6
    TENSOR = 7
    LEAF = 8
    ELEMENT = 9
    PARTIALS = 10
    READS = 11


@dataclass(frozen=True, slots=True)
class Posting:
    """The entries below one node of a tree, of which the game keeps the raw root only."""

    root: bytes = EMPTY
    first: int = 0
    """Index of the first entry, on its own level of the tree."""
    level: int = 0
    """Level of the entries: 0 is the tree's lowest."""
    depth: int = 0
    """Levels between the entries and the root: at most 2^depth entries."""

    def entries(self, count: int) -> int:
        """How many entries lie inside a tree of `count`."""
        return max(0, min(width(count, self.level) - self.first, 1 << self.depth))

    def covers(self, index: int) -> bool:
        """Whether entry `index` of the tree's lowest level lies below it."""
        return index >> self.level + self.depth == self.first >> self.depth


@dataclass(frozen=True, slots=True)
class DisputedTensor:
    """The tensor that somebody has posted below the root of."""

    node: int = 0
    """Its node's number, inputs first."""
    dtype: int = 0
    width: int = 0
    """Bytes of an element."""
    size: int = 0
    """Bytes of the tensor."""
    descriptor: bytes = EMPTY
    """Its node's descriptor's hash."""
    operands: bytes = EMPTY
    """keccak256 of the operand numbers, as the node's leaf has them."""


@dataclass(frozen=True, slots=True)
class DisputedValue:
    """The element, and what the defender claims of it."""

    leaf: int = 0
    """Index of the leaf that was posted."""
    element: int = 0
    """Row-major number of the element."""
    y: int = 0
    """The claim: the element's bytes as an unsigned number, or a partial result's."""
    start: int = 0
    stop: int = 0
    """Positions of the reduction over which it is claimed; 0 and 0: all of them."""
    rounds: int = 0
    """How many times partial results were posted."""
    stride: int = 0
    """Bytes a position of what was posted last."""
    posted: bytes = EMPTY
    """Hash over the segments of what was posted last."""


@dataclass(frozen=True, slots=True)
class GameState:
    """All that a game knows."""

    lease: int
    position: int
    """The disputed shard, counted within the lease (a replica's: within its block)."""
    challenger: str
    opened: int
    """Block of the opening."""
    move_time: int
    phase: Phase
    turn: Side
    shard: bytes
    steps: int
    interval: int
    own: bytes = EMPTY
    """The checkpoints root that the challenger committed to before it opened."""
    entry: bytes = EMPTY
    """The challenger's state root at the disputed checkpoint; zero while unknown."""
    checkpoint: int = 0
    costs: int = 0
    """Wei that the challenger is owed by a convicted node."""
    pred: bytes = EMPTY
    """The agreed state before the section."""
    first_step: int = 0
    last_step: int = 0
    """The section's steps, [first_step, last_step), of which the state after the last is disputed."""
    program: bytes = EMPTY
    """The program's root; from the trace on the raw root over its node leaves."""
    header: bytes = bytes(HEADER_BYTES)
    """The program's header, from the trace on."""
    last: Posting = field(default_factory=Posting)
    """What was posted last."""
    tensor: DisputedTensor = field(default_factory=DisputedTensor)
    value: DisputedValue = field(default_factory=DisputedValue)
    stack: tuple[Posting, ...] = ()
    """Postings above `last`, highest first: of the checkpoints while they are walked, of the nodes to the end."""

    @property
    def checkpoints(self) -> int:
        """How many checkpoints the shard has."""
        return -(-self.steps // self.interval)

    @property
    def counts(self) -> Header:
        """The program's header, from the trace on.

        Raises:
            ProgramError: before, or where it is of another version.
        """
        if self.phase < Phase.TRACE:
            raise ProgramError("this game has not come to one step, so no program's header was shown yet")
        return Header.decode(self.header)


def share(levels: int, most: int = POSTING_DEPTH) -> int:
    """How many levels the next posting takes of so many: as even a share as whole levels allow, of as few postings as
    take at most `most` each, since a posting's cost doubles with each level."""
    return -(-levels // -(-levels // most)) if levels else 0


def section_steps(first: int, last: int) -> list[int]:
    """After which steps the states of a section are posted, the last after its last step: as many as of a tree with the
    steps as leaves, 32 at most."""
    n = last - first
    m = min(n, 1 << share(height(n), SECTION_DEPTH))
    return [first + j * n // m for j in range(1, m + 1)]


def interval_steps(checkpoint: int, steps: int, interval: int) -> tuple[int, int]:
    """The section before a checkpoint: the steps from the checkpoint left of it."""
    return checkpoint * interval, min((checkpoint + 1) * interval, steps)


def node_half(header: Header) -> int:
    """How many entries of a trace are neither inputs nor new state."""
    return header.nodes - header.new_state
