"""How the contract remembers what was posted, by keccak256: a leaf by its words, reads and partial results by segments
(docs/court.md, 4 and 5)."""

from __future__ import annotations

from collections.abc import Sequence

from eth_utils.crypto import keccak

from orebit.commitment.merkle import LEAF_SIZE
from orebit.dispute.moves import Hashes, Naming, Segment
from orebit.errors import IllegalMove

WORD = 32
WORD_DEPTH = 5
SEGMENT_BYTES = 256


def leaf_root(leaf: bytes) -> bytes:
    """The root over the 32 words of a leaf, zero behind its end."""
    return _levels(leaf)[-1][0]


def show_element(leaf: bytes, element: int, width: int, y: int) -> Naming:
    """Names an element of a leaf, with its word; `y` is the defender's claim."""
    number = element * width % LEAF_SIZE // WORD
    levels = _levels(leaf)
    path = tuple(levels[depth][(number >> depth) ^ 1] for depth in range(WORD_DEPTH))
    return Naming(element, y, _words(leaf)[number], path)


def shown_element(naming: Naming, root: bytes, width: int) -> int:
    """The element's bytes in the leaf, as a number.

    Raises:
        IllegalMove: when the word is not the leaf's.
    """
    at = naming.element * width % LEAF_SIZE
    if len(naming.word) != WORD or len(naming.path) != WORD_DEPTH:
        raise IllegalMove("a named element comes with its word of 32 bytes and a path of 5 hashes")
    node, number = naming.word, at // WORD
    for sibling in naming.path:
        node = keccak(sibling + node) if number & 1 else keccak(node + sibling)
        number >>= 1
    if node != root:
        raise IllegalMove("the word shown is not the leaf's")
    return int.from_bytes(naming.word[at % WORD : at % WORD + width], "little")


def segments(posted: bytes, stride: int) -> list[bytes]:
    """Whole positions, as many as fit 256 bytes and at least one, the last being the rest."""
    size = _positions(stride) * stride
    return [posted[at : at + size] for at in range(0, len(posted), size)] if size else []


def segments_hash(posted: bytes, stride: int) -> bytes:
    """What the game keeps of reads or partial results."""
    return keccak(b"".join(keccak(segment) for segment in segments(posted, stride)))


def show_position(posted: bytes, stride: int, position: int) -> Segment:
    """The segment that holds a position, counted from the first that was posted."""
    parts = segments(posted, stride)
    return Segment(parts[position // _positions(stride)], tuple(keccak(part) for part in parts))


def shown_position(segment: Segment, kept: bytes, stride: int, position: int, count: int) -> bytes:
    """The bytes of one of `count` positions.

    Raises:
        IllegalMove: when there is no such position, or the segment is not the one posted.
    """
    if not 0 <= position < count or stride == 0:
        raise IllegalMove(f"position {position} was not among the {count} posted")
    each = _positions(stride)
    number, within = divmod(position, each)
    size = min(each, count - number * each) * stride
    expected = -(-count // each)
    if len(segment.hashes) != expected or keccak(b"".join(segment.hashes)) != kept:
        raise IllegalMove("these are not the hashes of all that was posted")
    if len(segment.data) != size or keccak(segment.data) != segment.hashes[number]:
        raise IllegalMove("this is not what was posted there")
    return segment.data[within * stride : (within + 1) * stride]


def operands_hash(operands: bytes) -> bytes:
    """What the game keeps of a node's operand numbers."""
    return keccak(operands)


def _positions(stride: int) -> int:
    return max(1, SEGMENT_BYTES // stride) if stride else 0


def _words(leaf: bytes) -> list[bytes]:
    padded = leaf.ljust(LEAF_SIZE, b"\0")
    return [padded[at : at + WORD] for at in range(0, LEAF_SIZE, WORD)]


def _levels(leaf: bytes) -> list[Sequence[bytes]]:
    level: Hashes = tuple(_words(leaf))
    levels: list[Sequence[bytes]] = [level]
    while len(level) > 1:
        level = tuple(keccak(level[at] + level[at + 1]) for at in range(0, len(level), 2))
        levels.append(level)
    return levels
