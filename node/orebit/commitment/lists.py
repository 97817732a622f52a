"""Finalised hash lists: a raw root bound to its kind and count. A list's blob is its packed entries."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256

from orebit.commitment.merkle import EMPTY, HASH_SIZE, Entries, pack, root, unpack
from orebit.errors import CommitmentError

LIST_TAG = 0x03
LIST_HEAD_SIZE = 2 + 8 + HASH_SIZE


class ListKind(IntEnum):
    """What a list's entries are."""

    PLAN = 1  # shard ids of a batch
    RESULTS = 2  # result hashes of a lease
    CHECKPOINTS = 3  # state roots of a shard
    STATE = 4  # tensor roots, as are the next two
    CONSTANTS = 5
    PARAMETERS = 6
    TRACE = 7  # tensor roots of one step's nodes


_MAY_BE_EMPTY = frozenset((ListKind.CONSTANTS, ListKind.PARAMETERS))


@dataclass(frozen=True, slots=True)
class ListHead:
    """Kind, count and raw root of a list. Raises CommitmentError for an empty list of a kind that has entries."""

    kind: ListKind
    count: int
    raw_root: bytes

    def __post_init__(self) -> None:
        if len(self.raw_root) != HASH_SIZE or not 0 <= self.count < 1 << 40:
            raise CommitmentError(f"a list of {self.count} entries under a root of {len(self.raw_root)} bytes")
        if (self.count == 0) != (self.raw_root == EMPTY):
            raise CommitmentError("a list is empty exactly when its raw root is zero")
        if self.count == 0 and self.kind not in _MAY_BE_EMPTY:
            raise CommitmentError(f"a list of kind {self.kind.name} has at least one entry")

    @property
    def size(self) -> int:
        """Bytes of the list's blob."""
        return self.count * HASH_SIZE

    def encode(self) -> bytes:
        """The preimage of the list's root: 03, kind, count as u64 little-endian, raw root."""
        return struct.pack("<BBQ", LIST_TAG, self.kind, self.count) + self.raw_root

    @property
    def root(self) -> bytes:
        """The list's address."""
        return sha256(self.encode()).digest()

    @classmethod
    def decode(cls, encoded: bytes) -> ListHead:
        """Parse a preimage; CommitmentError when it is not exactly one list head."""
        if len(encoded) != LIST_HEAD_SIZE or encoded[0] != LIST_TAG:
            raise CommitmentError("these bytes are not a list's head")
        _, kind, count = struct.unpack_from("<BBQ", encoded)
        if kind not in ListKind._value2member_map_:
            raise CommitmentError(f"there is no list of kind {kind}")
        return cls(ListKind(kind), count, encoded[-HASH_SIZE:])

    def check(self, blob: bytes) -> list[bytes]:
        """The entries of `blob`. CommitmentError for another count, a zero inside it, or another raw root."""
        if len(blob) != self.size:
            raise CommitmentError(f"a list of {self.count} entries has {self.size} bytes, not {len(blob)}")
        if root(blob) != self.raw_root:
            raise CommitmentError("the entries have another root than the list's head names")
        return unpack(blob)


def list_head(kind: ListKind, entries: Entries) -> ListHead:
    """The head of the list of these entries."""
    packed = pack(entries)
    return ListHead(ListKind(kind), len(packed) // HASH_SIZE, root(packed))


def list_root(kind: ListKind, entries: Entries) -> bytes:
    """The finalised root of the list of these entries."""
    return list_head(kind, entries).root


def state_root(tensor_roots: Entries) -> bytes:
    """The root of a state: its tensors' roots in program order."""
    return list_root(ListKind.STATE, tensor_roots)


def plan_root(shard_ids: Entries) -> bytes:
    """The root of a batch's shard ids."""
    return list_root(ListKind.PLAN, shard_ids)
