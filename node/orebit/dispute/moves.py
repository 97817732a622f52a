"""Moves: plain values whose fields are the arguments of the contract's functions, after the game's name and state."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, ClassVar

from orebit.commitment.merkle import EMPTY
from orebit.commitment.shard import Shard

Hashes = tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Opening:
    """What a challenger must show to open a game: the shard, and its place in the batch's plan."""

    lease: int
    position: int
    shard: Shard
    plan_path: Hashes


@dataclass(frozen=True, slots=True)
class Precommitment:
    """What the challenger had committed to; all zero: to nothing."""

    checkpoints: bytes = EMPTY
    salt: bytes = EMPTY
    paired: bool = False
    path: Hashes = ()


@dataclass(frozen=True, slots=True)
class Interval:
    """Both ends of one interval of the defender's checkpoints."""

    checkpoint: int
    result_path: Hashes
    claim: bytes
    claim_path: Hashes
    before: bytes = EMPTY
    before_path: Hashes = ()


@dataclass(frozen=True, slots=True)
class Pick:
    """An entry of the opponent's last posting; of a state, also the state left of it."""

    index: int = 0
    entry: bytes = EMPTY
    path: Hashes = ()
    before: bytes = EMPTY
    before_path: Hashes = ()


@dataclass(frozen=True, slots=True)
class NodeOpening:
    """A node's leaf in the program's tree."""

    head: bytes = b""
    body: bytes = EMPTY
    """sha256 of the descriptor's body."""
    operands: bytes = b""
    """Operand numbers, u32 little-endian."""
    path: Hashes = ()


@dataclass(frozen=True, slots=True)
class Naming:
    """Which element of a leaf is false, and what the defender claims instead, if the challenger posted the leaf."""

    element: int = 0
    y: int = 0
    word: bytes = EMPTY
    """The 32 bytes of the leaf that hold the element, zero behind the leaf's end."""
    path: Hashes = ()


@dataclass(frozen=True, slots=True)
class Segment:
    """Part of what was posted: whole positions, and the hashes of all segments."""

    data: bytes
    hashes: Hashes


NO_SHARD_FIELDS = (EMPTY, EMPTY, EMPTY, 0, 0, EMPTY)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a read's true value is; everything is empty where the index map leads outside."""

    path: Hashes = ()
    head: bytes = b""
    leaf: bytes = b""
    leaf_path: Hashes = ()
    shard: Shard | None = None
    """For constants and parameters."""


@dataclass(frozen=True, slots=True)
class InvalidityEvidence:
    """One clause that the program breaks, one node, at most one other."""

    clause: int
    header: bytes
    nodes: bytes
    node: int
    descriptor: bytes
    head_length: int
    operands: bytes
    path: Hashes
    operand: int = 0
    producer: NodeOpening = field(default_factory=NodeOpening)


@dataclass(frozen=True, slots=True)
class Open:
    """A challenger opens; the defender answers."""

    call: ClassVar[str] = "open"
    opening: Opening
    precommitment: Precommitment = field(default_factory=Precommitment)


@dataclass(frozen=True, slots=True)
class OpenAt:
    """A challenger opens at one interval of the defender's checkpoints, and posts below it next."""

    call: ClassVar[str] = "openAt"
    opening: Opening
    precommitment: Precommitment
    interval: Interval


@dataclass(frozen=True, slots=True)
class Answer:
    """The defender's result hash under the lease's root, and the top of its checkpoints."""

    call: ClassVar[str] = "answer"
    path: Hashes
    entries: Hashes


@dataclass(frozen=True, slots=True)
class Descend:
    """Hashes below a picked hash, or the states of a picked section."""

    call: ClassVar[str] = "descend"
    pick: Pick
    entries: Hashes


@dataclass(frozen=True, slots=True)
class PostTrace:
    """The roots of every node's output in one step."""

    call: ClassVar[str] = "trace"
    pick: Pick
    header: bytes
    nodes: bytes
    """Raw root over the program's node leaves."""
    node_half: Hashes
    state_half: Hashes


@dataclass(frozen=True, slots=True)
class PostTensor:
    """The top of a picked tensor's tree, or its bytes if they are one leaf."""

    call: ClassVar[str] = "tensor"
    pick: Pick
    node: NodeOpening
    posting: bytes


@dataclass(frozen=True, slots=True)
class PostLeaf:
    """The bytes of a picked leaf."""

    call: ClassVar[str] = "leaf"
    pick: Pick
    data: bytes


@dataclass(frozen=True, slots=True)
class Name:
    """The challenger names the false element of the defender's leaf."""

    call: ClassVar[str] = "name"
    naming: Naming


@dataclass(frozen=True, slots=True)
class PostPartials:
    """Partial results that combine to the defender's claim."""

    call: ClassVar[str] = "partials"
    naming: Naming
    descriptor: bytes
    results: bytes


@dataclass(frozen=True, slots=True)
class PickPartial:
    """The challenger picks the partial result that is false."""

    call: ClassVar[str] = "pickPartial"
    index: int
    segment: Segment


@dataclass(frozen=True, slots=True)
class Justify:
    """What the defender's claim reads."""

    call: ClassVar[str] = "justify"
    naming: Naming
    descriptor: bytes
    reads: bytes


@dataclass(frozen=True, slots=True)
class Refute:
    """The challenger shows that one read is false."""

    call: ClassVar[str] = "refute"
    descriptor: bytes
    operands: bytes
    operand: int
    position: int
    segment: Segment
    source: Source


@dataclass(frozen=True, slots=True)
class ShowInvalid:
    """The defender shows that the program is not valid."""

    call: ClassVar[str] = "invalid"
    evidence: InvalidityEvidence


Opener = Open | OpenAt
Move = (
    Answer
    | Descend
    | PostTrace
    | PostTensor
    | PostLeaf
    | Name
    | PostPartials
    | PickPartial
    | Justify
    | Refute
    | ShowInvalid
)


def arguments(move: Move | Opener) -> tuple[Any, ...]:
    """The move's arguments as an ABI encoder takes them: structs are tuples in the order of their fields."""
    return tuple(_plain(getattr(move, each.name)) for each in fields(move))


def plain(value: Any) -> Any:
    """A state or a part of a move as an ABI encoder takes it."""
    return _plain(value)


def _plain(value: Any) -> Any:
    if value is None:  # the only optional field there is
        return NO_SHARD_FIELDS
    if is_dataclass(value):
        return tuple(_plain(getattr(value, each.name)) for each in fields(value))
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
