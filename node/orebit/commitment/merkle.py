"""Binary Merkle trees over SHA-256, padded on the right to a power of two (docs/protocol.md).

A byte string is cut in leaves of 1,024 bytes (the last is the rest); its tree stands over their hashes. A list of
32-byte hashes is its own lowest level. An empty subtree of any height is 32 zero bytes.

Levels are packed: one `bytes` a level, lowest first, 32 bytes an entry, without the empty entries on the right.
Functions that take entries accept a sequence of 32-byte hashes or one packed `bytes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING

from orebit.errors import CommitmentError

if TYPE_CHECKING:
    from typing_extensions import Buffer

LEAF_SIZE = 1024
HASH_SIZE = 32
EMPTY = bytes(HASH_SIZE)

Entries = bytes | Sequence[bytes]
Levels = list[bytes]


def leaf_hash(data: Buffer) -> bytes:
    """The hash of one leaf of 1 to 1,024 bytes."""
    view = memoryview(data).cast("B")
    if not 1 <= len(view) <= LEAF_SIZE:
        raise CommitmentError(f"a leaf holds 1 to {LEAF_SIZE} bytes, not {len(view)}")
    return sha256(b"\x00" + view).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node; two empty children make an empty node."""
    if left == EMPTY and right == EMPTY:
        return EMPTY
    return sha256(b"\x01" + left + right).digest()


def leaf_count(size: int) -> int:
    """How many leaves `size` bytes have."""
    return -(-size // LEAF_SIZE)


def height(count: int) -> int:
    """Levels between the entries and the root of a tree over `count` entries; 0 for none or one."""
    if count < 0:
        raise CommitmentError(f"a tree cannot have {count} entries")
    return max(count - 1, 0).bit_length()


def leaf_hashes(data: Buffer) -> bytes:
    """The packed hashes of every leaf of `data` (any C-contiguous buffer)."""
    view = memoryview(data).cast("B")
    return b"".join(
        [sha256(b"\x00" + view[start : start + LEAF_SIZE]).digest() for start in range(0, len(view), LEAF_SIZE)]
    )


def pack(entries: Entries) -> bytes:
    """Entries as one `bytes`. Raises CommitmentError at an entry that is not 32 bytes long or is all zero."""
    packed = entries if isinstance(entries, bytes) else b"".join(entries)
    whole = len(packed) % HASH_SIZE == 0
    if not whole or (not isinstance(entries, bytes) and any(len(entry) != HASH_SIZE for entry in entries)):
        raise CommitmentError("every entry of a hash list is 32 bytes long; one of these is not")
    if EMPTY in packed and EMPTY in unpack(packed):
        raise CommitmentError("an entry inside a hash list is zero, which only padding outside its count may be")
    return packed


def unpack(packed: bytes) -> list[bytes]:
    """The 32-byte entries of one packed level or list blob."""
    if len(packed) % HASH_SIZE:
        raise CommitmentError(f"{len(packed)} bytes are not a whole number of 32-byte hashes")
    return [packed[start : start + HASH_SIZE] for start in range(0, len(packed), HASH_SIZE)]


def tree(entries: Entries) -> Levels:
    """Every level of the tree over `entries`, lowest first, the root's level last. No entries: one level, EMPTY."""
    level = pack(entries)
    if not level:
        return [EMPTY]
    levels = [level]
    while len(level) > HASH_SIZE:
        level = _parents(level)
        levels.append(level)
    return levels


def root(entries: Entries) -> bytes:
    """The raw root over `entries`; EMPTY for none."""
    return tree(entries)[-1]


def data_root(data: Buffer) -> bytes:
    """The raw root of a byte string."""
    return root(leaf_hashes(data))


def path(levels: Levels, index: int) -> list[bytes]:
    """The siblings of entry `index`, lowest first: `height(count)` hashes."""
    count = len(levels[0]) // HASH_SIZE
    if not 0 <= index < count:
        raise CommitmentError(f"entry {index} lies outside the tree's {count}")
    siblings = []
    for level in levels[:-1]:
        start = (index ^ 1) * HASH_SIZE
        siblings.append(level[start : start + HASH_SIZE] or EMPTY)
        index >>= 1
    return siblings


def fold(node: bytes, index: int, siblings: Sequence[bytes]) -> bytes:
    """The root that `node` at `index` of its level has under these siblings."""
    if index < 0 or index >> len(siblings):
        raise CommitmentError(f"a path of {len(siblings)} hashes has no place {index}")
    for sibling in siblings:
        if len(sibling) != HASH_SIZE:
            raise CommitmentError("every hash of a path is 32 bytes long; one of these is not")
        node = node_hash(sibling, node) if index & 1 else node_hash(node, sibling)
        index >>= 1
    return node


def check_path(top: bytes, count: int, index: int, node: bytes, siblings: Sequence[bytes], *, level: int = 0) -> None:
    """Check that `node` is number `index` of `level` in the tree of `count` entries under the raw root `top`.

    Raises CommitmentError when the index lies outside the count, the path has another height than the count gives,
    a sibling is zero inside the count or not zero outside it, or the path ends in another root.
    """
    if not 0 <= level <= height(count) or not 0 <= index < width(count, level):
        raise CommitmentError(f"node {index} of level {level} lies outside a tree of {count} entries")
    if len(siblings) != height(count) - level:
        raise CommitmentError(f"a path of {len(siblings)} hashes; this tree's has {height(count) - level}")
    if node == EMPTY:
        raise CommitmentError("an entry inside the count is zero")
    for step, sibling in enumerate(siblings):
        inside = ((index >> step) ^ 1) < width(count, level + step)
        if inside == (sibling == EMPTY):
            raise CommitmentError("a hash of the path is zero inside the count, or not zero outside it")
    if fold(node, index, siblings) != top:
        raise CommitmentError("the path ends in another root")


def width(count: int, level: int) -> int:
    """How many non-empty nodes a tree of `count` entries has at `level`."""
    return -(-count >> level) if count else 0


def subtree_root(entries: Entries, index: int, log2: int) -> bytes:
    """The raw node over block `index` of 2^log2 entries, padded with EMPTY. A block that holds no entry is EMPTY."""
    if index < 0 or log2 < 0:
        raise CommitmentError(f"there is no block {index} of 2^{log2} entries")
    packed = pack(entries)
    size = HASH_SIZE << log2
    return lift(packed[index * size : (index + 1) * size], log2)


def lift(entries: Entries, log2: int) -> bytes:
    """The raw node of height `log2` over at most 2^log2 entries, padded with EMPTY."""
    levels = tree(entries)
    node = levels[-1]
    if len(levels) - 1 > log2:
        raise CommitmentError(f"{len(levels[0]) // HASH_SIZE} entries do not fit under a node of height {log2}")
    for _ in range(log2 - len(levels) + 1):
        node = node_hash(node, EMPTY)
    return node


@lru_cache(maxsize=4096)
def zero_root(size: int) -> bytes:
    """The raw root of `size` zero bytes, in time logarithmic in `size`."""
    count = leaf_count(size)
    if count == 0:
        return EMPTY
    full = leaf_hash(bytes(LEAF_SIZE)) if count > 1 else EMPTY
    # The rightmost node of each level, and the node that all others of that level equal.
    last = leaf_hash(bytes(size - (count - 1) * LEAF_SIZE))
    while count > 1:
        last = node_hash(last, EMPTY) if count & 1 else node_hash(full, last)
        full = node_hash(full, full)
        count = -(-count // 2)
    return last


def _parents(level: bytes) -> bytes:
    if len(level) // HASH_SIZE & 1:
        level += EMPTY
    pair = 2 * HASH_SIZE
    return b"".join([sha256(b"\x01" + level[start : start + pair]).digest() for start in range(0, len(level), pair)])
