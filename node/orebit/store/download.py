"""One tensor's bytes, checked leaf by leaf as they arrive, continued from source to source.

The tree is fetched from the root down, in spans of 2^13 nodes, each checked under the node above it before anything
below is asked for. So a wrong leaf is known, and blamed on who sent it, the moment it is complete.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from hashlib import sha256

from orebit.commitment import HASH_SIZE, LEAF_SIZE, TensorHead
from orebit.commitment.merkle import height, lift, width
from orebit.errors import CommitmentError
from orebit.store.local import LocalStore
from orebit.store.source import Source, SourceFailed

SPAN_LOG2 = 13
WRITE_SIZE = 1 << 20


class Download:
    """The state of one download: how many leaves are checked and on disk. One source at a time."""

    def __init__(self, store: LocalStore, head: TensorHead) -> None:
        self._store = store
        self._head = head
        self._path = f"/blobs/{head.root.hex()}"
        self._partial = store.partial(head)
        self._checked = bytearray()

    def close(self) -> None:
        """Stop; what was checked stays on disk for the next attempt."""
        self._partial.close()

    async def run(self, source: Source) -> None:
        """Fetch what is missing from this source and put the tensor in the store.

        Raises SourceFailed, with everything checked so far kept.
        """
        top = height(self._head.leaves)
        async for first, hashes in self._spans(source, self._head.raw_root, top, 0):
            await self._fill(source, first, hashes)
        if self._partial.length > self._head.size:
            self._partial.truncate(self._head.size)
        await asyncio.to_thread(self._store.finish, self._partial, self._head, bytes(self._checked))

    @property
    def _leaves(self) -> int:
        return len(self._checked) // HASH_SIZE

    async def _spans(self, source: Source, node: bytes, level: int, index: int) -> AsyncIterator[tuple[int, bytes]]:
        """The checked leaf hashes under a checked node, span by span: (first leaf, packed hashes)."""
        if min((index + 1) << level, self._head.leaves) <= self._leaves:
            return
        if level == 0:
            yield index, node
            return
        below = (level - 1) // SPAN_LOG2 * SPAN_LOG2
        first = index << (level - below)
        count = min(1 << (level - below), width(self._head.leaves, below) - first)
        packed = await self._nodes(source, node, level - below, below, first, count)
        if below == 0:
            yield first, packed
            return
        for place in range(count):
            child = packed[place * HASH_SIZE : (place + 1) * HASH_SIZE]
            async for span in self._spans(source, child, below, first + place):
                yield span

    async def _nodes(self, source: Source, top: bytes, log2: int, level: int, first: int, count: int) -> bytes:
        query = {"level": level, "from": first, "count": count}
        packed = await source.exactly(f"{self._path}/nodes", count * HASH_SIZE, query)
        try:
            true = lift(packed, log2) == top
        except CommitmentError:
            true = False
        if not true:
            raise SourceFailed(f"sent nodes of level {level} that are not under the root", corrupt=True)
        return packed

    async def _fill(self, source: Source, first: int, hashes: bytes) -> None:
        """Bring the leaves of one span: from the partial file as far as it holds them, then from the source."""
        await asyncio.to_thread(self._recover, first, hashes)
        last = first + len(hashes) // HASH_SIZE
        if self._leaves >= last:
            return
        start, stop = self._leaves * LEAF_SIZE, min(last * LEAF_SIZE, self._head.size)
        arrived, checked = bytearray(), bytearray()
        try:
            async for chunk in source.stream(self._path, start, stop, self._head.size):
                arrived += chunk
                self._take(arrived, checked, first, hashes)
                if len(checked) >= WRITE_SIZE:
                    full, checked = checked, bytearray()
                    await asyncio.to_thread(self._partial.append, full)
        finally:
            self._partial.append(checked)

    def _take(self, arrived: bytearray, checked: bytearray, first: int, hashes: bytes) -> None:
        """Move every complete leaf from `arrived` to `checked`."""
        used = 0
        try:
            while (leaf := self._leaf_size()) and len(arrived) - used >= leaf:
                data = arrived[used : used + leaf]
                if not self._accept(data, first, hashes):
                    raise SourceFailed(f"sent a corrupt leaf, number {self._leaves}", corrupt=True)
                checked += data
                used += leaf
        finally:
            del arrived[:used]

    def _leaf_size(self) -> int:
        """Bytes of the next leaf; 0 after the last."""
        return max(0, min(LEAF_SIZE, self._head.size - self._leaves * LEAF_SIZE))

    def _accept(self, data: bytes | bytearray, first: int, hashes: bytes) -> bool:
        place = (self._leaves - first) * HASH_SIZE
        digest = sha256(b"\x00" + data).digest()
        if digest != hashes[place : place + HASH_SIZE]:
            return False
        self._checked += digest
        return True

    def _recover(self, first: int, hashes: bytes) -> None:
        """Count what the partial file holds of this span, and forget it from the first leaf that is wrong on."""
        last = first + len(hashes) // HASH_SIZE
        while self._leaves < last and self._partial.length > (place := self._leaves * LEAF_SIZE):
            data = self._partial.read(place, self._leaf_size())
            if not self._accept(data, first, hashes):
                self._partial.truncate(place)
