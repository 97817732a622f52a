"""Postings and paths under them: the entries below one node of a tree, those outside the count being zero."""

from __future__ import annotations

from collections.abc import Sequence

from orebit.commitment import merkle
from orebit.commitment.merkle import EMPTY, HASH_SIZE, Levels
from orebit.dispute.game import POSTING_DEPTH, Posting, share
from orebit.dispute.moves import Hashes
from orebit.errors import CommitmentError, IllegalMove


def top_depth(count: int, most: int = POSTING_DEPTH) -> int:
    """How many levels below its root a tree of `count` entries is posted first."""
    return min(most, share(merkle.height(count)))


def top(count: int, most: int = POSTING_DEPTH) -> Posting:
    """The place of the posting below the root of a tree of `count` entries."""
    depth = top_depth(count, most)
    return Posting(level=merkle.height(count) - depth, depth=depth)


def below(posting: Posting, index: int) -> Posting:
    """The place of the posting below entry `index` of another, which stands above the lowest level."""
    depth = share(posting.level)
    return Posting(first=index << depth, level=posting.level - depth, depth=depth)


def rooted(place: Posting, count: int, entries: Sequence[bytes]) -> Posting:
    """The posting of these entries at a place in a tree of `count`.

    Raises:
        IllegalMove: when there are too few or too many, or one is zero.
    """
    expected = place.entries(count)
    if len(entries) != expected:
        raise IllegalMove(f"{expected} hashes stand there, not {len(entries)}")
    try:
        root = merkle.lift(b"".join(entries), place.depth) if entries else EMPTY
    except CommitmentError as error:
        raise IllegalMove(str(error)) from error
    return Posting(root, place.first, place.level, place.depth)


def own_entries(levels: Levels, place: Posting) -> Hashes:
    """What stands there in a tree of one's own."""
    count = len(levels[0]) // HASH_SIZE if levels[0] != EMPTY else 0
    end = place.first + place.entries(count)
    return tuple(merkle.unpack(levels[place.level][place.first * HASH_SIZE : end * HASH_SIZE]))


def path_in(entries: Sequence[bytes], depth: int, place: int) -> Hashes:
    """The siblings of entry number `place` of a posting, lowest first."""
    siblings = merkle.path(merkle.tree(b"".join(entries)), place)
    return tuple(siblings) + (EMPTY,) * (depth - len(siblings))


def path_under(levels: Levels, posting: Posting, entries: Sequence[bytes], index: int) -> Hashes:
    """From entry `index` of a tree's lowest level up to a posting's root: through one's own tree, which agrees with the
    posting there, then among the posting's entries."""
    lower = tuple(merkle.path(levels, index)[: posting.level])
    return lower + path_in(entries, posting.depth, (index >> posting.level) - posting.first)


def check_under(posting: Posting, index: int, entry: bytes, path: Sequence[bytes]) -> None:
    """Refuses what is not entry `index` of the posting's own level.

    Raises:
        IllegalMove: saying so.
    """
    check_fold(posting.root, index - posting.first, entry, path, posting.depth)


def check_fold(root: bytes, index: int, entry: bytes, path: Sequence[bytes], depth: int) -> None:
    """Refuses a path of another height, or that ends in another root.

    Raises:
        IllegalMove: saying so.
    """
    if len(path) != depth:
        raise IllegalMove(f"a path of {len(path)} hashes; {depth} lead there")
    try:
        found = merkle.fold(entry, index, path)
    except CommitmentError as error:
        raise IllegalMove(str(error)) from error
    if found != root:
        raise IllegalMove("the path ends in another root")
