"""Blobs on the local disk, addressed by root: checked as they are read, written whole or not at all.

Every root that the chain or a shard names is the hash of a small preimage, whose tag tells how to read the rest:
a tensor's bytes and a list's entries lie under their raw roots, each stored once. Slices and compositions are
extents over bytes that are there already. All-zero tensors have no bytes at all.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from orebit.commitment import HASH_SIZE, LEAF_SIZE, ListHead, ListKind, TensorHead, compose, list_head, retype
from orebit.commitment.head import TENSOR_TAG
from orebit.commitment.lists import LIST_TAG
from orebit.commitment.merkle import (
    Entries,
    Levels,
    data_root,
    height,
    leaf_hashes,
    lift,
    pack,
    root,
    tree,
    unpack,
    width,
)
from orebit.commitment.shard import RESULT_TAG, SHARD_TAG
from orebit.errors import BlobCorrupt, BlobMissing, CommitmentError, StorageError
from orebit.numerics.types import DType
from orebit.program.graph import Program
from orebit.store.files import Folder, Partial, disk_errors
from orebit.store.plan import Plan

if TYPE_CHECKING:
    from typing_extensions import Buffer

    Data = Buffer | npt.NDArray[Any]

PROGRAM_TAG = 0x04
# Trees over fewer leaves are computed when they are asked for; a larger one is a file beside the bytes.
SMALL_TREE = 256
# Smaller tensors are read; larger ones are mapped.
MAP_SIZE = 1 << 20


@dataclass(frozen=True, slots=True)
class Extent:
    """A run of bytes inside a stored file; zeros where `path` is None."""

    path: Path | None
    offset: int
    length: int


class LocalStore:
    """A content-addressed store under one folder. Safe for concurrent readers and writers, threads and processes.

    Everything raises StorageError when the disk refuses, BlobMissing for a root that is not here, and BlobCorrupt
    when the bytes found are not the root's (they are then removed, so that a download can replace them).
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._folder = Folder(self.path)

    # ------------------------------------------------------------------ writing

    def put_preimage(self, preimage: bytes, *, durable: bool = True) -> bytes:
        """Store a tagged preimage; returns its root."""
        name = sha256(preimage).digest()
        self._put("preimages", name, preimage, durable=durable)
        return name

    def put_tensor(self, dtype: int, shape: Sequence[int], data: Data) -> TensorHead:
        """Store a tensor from its little-endian bytes or a numpy array of that type."""
        view = _bytes_of(data)
        leaves = leaf_hashes(view)
        head = TensorHead(int(dtype), tuple(int(dimension) for dimension in shape), root(leaves))
        if len(view) != head.size:
            raise CommitmentError(f"a tensor of shape {head.shape} has {head.size} bytes, not {len(view)}")
        self._put_data(head, view, leaves)
        self.put_preimage(head.encode())
        return head

    def put_array(self, array: npt.NDArray[Any]) -> TensorHead:
        """Store a numpy array under its own type and shape."""
        return self.put_tensor(DType.from_numpy(array.dtype), array.shape, array)

    def put_bytes(self, data: Buffer) -> TensorHead:
        """Store bytes without a type, as u8[n]."""
        return self.put_tensor(DType.U8, (memoryview(data).nbytes,), data)

    def put_list(self, kind: ListKind, entries: Entries, *, durable: bool = True) -> bytes:
        """Store a hash list; returns its finalised root."""
        packed = pack(entries)
        head = list_head(kind, packed)
        if packed:
            self._put("lists", head.raw_root, packed, durable=durable)
        return self.put_preimage(head.encode(), durable=durable)

    def put_block(self, entries: Entries, log2: int) -> bytes:
        """Store a replica's result hashes; returns the raw node of height `log2` over them (no kind, no count)."""
        packed = pack(entries)
        node = lift(packed, log2)
        if log2:
            self._put("lists", node, packed)
        return node

    def put_program(self, program_root: bytes, encoded: bytes) -> None:
        """Store a program's bytes under its root. Raises ProgramError, or BlobCorrupt when they are another's."""
        program = Program.decode(encoded)
        if program.root != program_root:
            raise BlobCorrupt(f"these bytes are the program {program.root.hex()}, not {program_root.hex()}")
        self._put("programs", program_root, encoded)
        self.put_preimage(program.preimage)

    def put_plan(self, plan: Plan) -> bytes:
        """Store a plan with its shards' preimages, lists and carried values; returns its root."""
        for value in plan.values.values():
            self._put_value(value)
        written: set[bytes] = set()
        for entry in plan.shards:
            lists = (
                (ListKind.CONSTANTS, entry.constants),
                (ListKind.STATE, entry.state),
                (ListKind.PARAMETERS, entry.parameters),
            )
            for kind, roots in lists:
                packed = bytes((kind,)) + b"".join(roots)
                if packed not in written:
                    written.add(packed)
                    self.put_list(kind, roots, durable=False)
            self.put_preimage(entry.shard.encode(), durable=False)
        self.put_list(ListKind.PLAN, [entry.shard.id for entry in plan.shards], durable=False)
        self._folder.write(self._place("plans", plan.root), plan.encode())
        return plan.root

    def put_retyped(self, tensor_root: bytes, dtype: int, shape: Sequence[int]) -> TensorHead:
        """A new head over the bytes of a stored tensor."""
        head = retype(self.head(tensor_root), dtype, shape)
        self.put_preimage(head.encode())
        return head

    def put_slice(self, tensor_root: bytes, log2: int, index: int, dtype: int, shape: Sequence[int]) -> TensorHead:
        """A new head over leaves [index * 2^log2, (index + 1) * 2^log2) of a stored tensor, without a copy."""
        whole = self.head(tensor_root)
        run = 1 << log2
        if index < 0 or (index + 1) * run > whole.leaves:
            raise CommitmentError(f"run {index} of 2^{log2} leaves does not lie inside {whole.leaves} leaves")
        leaves = self.nodes(tensor_root, 0, index * run, run)
        part = TensorHead(int(dtype), tuple(shape), root(leaves))
        offset = index * run * LEAF_SIZE
        if part.size != min(run * LEAF_SIZE, whole.size - offset):
            raise CommitmentError(f"the shape {part.shape} has {part.size} bytes; the run of leaves has another size")
        self._put_extents(part, leaves, list(_cut(self._extents(whole), offset, part.size)))
        return part

    def put_composed(self, piece_roots: Sequence[bytes], dtype: int, shape: Sequence[int]) -> TensorHead:
        """A new head over stored tensors laid end to end, without a copy. Sizes: see `commitment.compose`."""
        pieces = [self.head(piece) for piece in piece_roots]
        whole = compose(pieces, dtype, shape)
        leaves = b"".join([self._leaves(piece) for piece in pieces])
        self._put_extents(whole, leaves, [extent for piece in pieces for extent in self._extents(piece)])
        return whole

    def partial(self, head: TensorHead) -> Partial:
        """The partial file of this tensor's bytes. Raises StorageError when the disk has no room for them."""
        self._folder.refuse_without_room(head.size)
        return self._folder.partial(head.raw_root, self._place("raw", head.raw_root))

    def finish(self, partial: Partial, head: TensorHead, leaves: bytes) -> None:
        """A download is whole and every leaf of it was checked: its bytes and its head are now here."""
        self._put_tree(head.raw_root, leaves)
        partial.finish()
        self.put_preimage(head.encode())

    # ------------------------------------------------------------------ reading

    def has(self, blob_root: bytes) -> bool:
        """Whether the root and everything directly under it (a tensor's bytes, a list's entries) are here."""
        try:
            preimage = self.preimage(blob_root)
        except BlobMissing:
            return self._place("lists", blob_root).exists()
        if preimage[0] == TENSOR_TAG:
            return self.has_data(TensorHead.decode(preimage))
        if preimage[0] == LIST_TAG:
            head = ListHead.decode(preimage)
            return head.count == 0 or self._place("lists", head.raw_root).exists()
        return preimage[0] != PROGRAM_TAG or self._place("programs", blob_root).exists()

    def has_data(self, head: TensorHead) -> bool:
        """Whether this tensor's bytes are here, under whatever head."""
        try:
            self._extents(head)
        except BlobMissing:
            return False
        return True

    def preimage(self, blob_root: bytes) -> bytes:
        """The tagged preimage of a root."""
        data = self._get("preimages", blob_root)
        if not data or sha256(data).digest() != blob_root:
            raise self._corrupt("preimages", blob_root)
        return data

    def head(self, tensor_root: bytes) -> TensorHead:
        """A tensor's head."""
        return TensorHead.decode(self.preimage(tensor_root))

    def tensor(self, tensor_root: bytes) -> tuple[TensorHead, npt.NDArray[Any]]:
        """A tensor, checked leaf by leaf: its head and a read-only array (mapped when large)."""
        head = self.head(tensor_root)
        dtype = DType(head.dtype).numpy
        if head.is_zero:
            array = np.zeros(head.shape, dtype)
        else:
            data = self._data(head)
            if data_root(data) != head.raw_root:
                raise self._corrupt("raw", head.raw_root)
            array = np.frombuffer(data, dtype).reshape(head.shape)
        array.flags.writeable = False
        return head, array

    def list_entries(self, list_root: bytes, kind: ListKind) -> list[bytes]:
        """The entries of a list of this kind."""
        head = ListHead.decode(self.preimage(list_root))
        if head.kind != kind:
            raise CommitmentError(f"{list_root.hex()} is a list of kind {head.kind.name}, not {ListKind(kind).name}")
        if head.count == 0:
            return []
        try:
            return head.check(self._get("lists", head.raw_root))
        except CommitmentError as error:
            raise self._corrupt("lists", head.raw_root) from error

    def block_entries(self, node: bytes, log2: int) -> list[bytes]:
        """The entries that `put_block` stored under a raw node."""
        if log2 == 0:
            return [node]
        entries = unpack(self._get("lists", node))
        if lift(entries, log2) != node:
            raise self._corrupt("lists", node)
        return entries

    def program(self, program_root: bytes) -> bytes:
        """A program's bytes."""
        encoded = self._get("programs", program_root)
        if Program.decode(encoded).root != program_root:
            raise self._corrupt("programs", program_root)
        return encoded

    def plan(self, plan_root: bytes) -> Plan:
        """A plan."""
        plan = Plan.decode(self._get("plans", plan_root))
        if plan.root != plan_root:
            raise self._corrupt("plans", plan_root)
        return plan

    # ------------------------------------------------------------------ serving

    def extents(self, blob_root: bytes) -> list[Extent]:
        """The files in which a root's own bytes lie, in order; what a server sends. Not checked."""
        try:
            preimage = self.preimage(blob_root)
        except BlobMissing:
            return [self._file("lists", blob_root)]
        tag = preimage[0]
        if tag == TENSOR_TAG:
            return self._extents(TensorHead.decode(preimage))
        if tag == LIST_TAG:
            head = ListHead.decode(preimage)
            return [self._file("lists", head.raw_root)] if head.count else []
        if tag in (SHARD_TAG, RESULT_TAG):
            return [self._file("preimages", blob_root)]
        return [self._file("programs", blob_root)]

    def nodes(self, tensor_root: bytes, level: int, first: int, count: int) -> bytes:
        """Nodes [first, first + count) of a level of a tensor's tree, packed; level 0 are the leaves' hashes."""
        head = self.head(tensor_root)
        inside = 0 <= level <= height(head.leaves) and first >= 0 and count >= 1
        if not inside or first + count > width(head.leaves, level):
            raise CommitmentError(f"nodes [{first}, {first + count}) of level {level} lie outside this tensor's tree")
        skip = sum(width(head.leaves, lower) for lower in range(level)) + first
        place = self._place("trees", head.raw_root)
        with disk_errors(place):
            try:
                with open(place, "rb", buffering=0) as file:
                    data = os.pread(file.fileno(), count * HASH_SIZE, skip * HASH_SIZE)
            except FileNotFoundError:
                data = b""
        if len(data) == count * HASH_SIZE:
            return data
        levels = self._levels(head)
        return levels[level][first * HASH_SIZE : (first + count) * HASH_SIZE]

    # ------------------------------------------------------------------ inside

    def _place(self, kind: str, name: bytes) -> Path:
        return self._folder.place(kind, name)

    def _put(self, kind: str, name: bytes, data: Buffer, *, durable: bool = True) -> None:
        place = self._place(kind, name)
        if _size(place) != memoryview(data).nbytes:
            self._folder.write(place, data, durable=durable)

    def _put_data(self, head: TensorHead, data: Buffer, leaves: bytes) -> None:
        if head.is_zero:
            return
        self._put_tree(head.raw_root, leaves)
        self._put("raw", head.raw_root, data)

    def _put_tree(self, raw_root: bytes, leaves: bytes) -> None:
        if len(leaves) > SMALL_TREE * HASH_SIZE:
            # It can be made again from the bytes, so it need not outlive a power failure.
            self._put("trees", raw_root, b"".join(tree(leaves)), durable=False)

    def _put_extents(self, head: TensorHead, leaves: bytes, extents: Sequence[Extent]) -> None:
        if not self.has_data(head):
            rows = [[extent.path.name if extent.path else "", extent.offset, extent.length] for extent in extents]
            self._put_tree(head.raw_root, leaves)
            self._put("extents", head.raw_root, json.dumps(rows).encode())
        self.put_preimage(head.encode())

    def _put_value(self, value: bytes) -> None:
        size = 3 + 8 * value[2] + HASH_SIZE if len(value) > 2 else 0
        head = TensorHead.decode(value[:size])
        if self.put_tensor(head.dtype, head.shape, value[size:]) != head:
            raise CommitmentError("a value that the plan carries has another root than its head")

    def _get(self, kind: str, name: bytes) -> bytes:
        place = self._place(kind, name)
        with disk_errors(place):
            try:
                return place.read_bytes()
            except FileNotFoundError:
                raise BlobMissing(f"The blob {name.hex()} is not in the store {self._folder.path}.") from None

    def _file(self, kind: str, name: bytes) -> Extent:
        place = self._place(kind, name)
        size = _size(place)
        if size < 0:
            raise BlobMissing(f"The blob {name.hex()} is not in the store {self._folder.path}.")
        return Extent(place, 0, size)

    def _extents(self, head: TensorHead) -> list[Extent]:
        if head.is_zero:
            return [Extent(None, 0, head.size)]
        place = self._place("raw", head.raw_root)
        if _size(place) == head.size:
            return [Extent(place, 0, head.size)]
        rows = json.loads(self._get("extents", head.raw_root))
        extents = [
            Extent(self._place("raw", bytes.fromhex(name)) if name else None, offset, length)
            for name, offset, length in rows
        ]
        if any(extent.path and _size(extent.path) < extent.offset + extent.length for extent in extents):
            raise BlobMissing(f"A piece of the composed blob {head.root.hex()} is no longer in {self._folder.path}.")
        return extents

    def _data(self, head: TensorHead) -> bytearray | memoryview:
        extents = self._extents(head)
        if len(extents) == 1 and extents[0].path is not None and extents[0].length >= MAP_SIZE:
            return _map(extents[0].path, extents[0].offset, extents[0].length)
        data = bytearray(head.size)
        place = 0
        for extent in extents:
            if extent.path is not None:
                _read_into(memoryview(data)[place : place + extent.length], extent.path, extent.offset)
            place += extent.length
        return data

    def _levels(self, head: TensorHead) -> Levels:
        levels = tree(leaf_hashes(self._data(head)))
        if levels[-1] != head.raw_root:
            raise self._corrupt("raw", head.raw_root)
        return levels

    def _leaves(self, head: TensorHead) -> bytes:
        if head.leaves == 1:
            return head.raw_root
        return self.nodes(head.root, 0, 0, head.leaves)

    def _corrupt(self, kind: str, name: bytes) -> BlobCorrupt:
        """Take what is wrong out of the way, and say so."""
        places = [self._place(kind, name)]
        if kind == "raw":
            places += [self._place("trees", name), *self._wrong_pieces(name), self._place("extents", name)]
        for place in places:
            with disk_errors(place):
                place.unlink(missing_ok=True)
        return BlobCorrupt(
            f"The bytes stored for {name.hex()} in {self._folder.path} are not the ones that this root names, so the "
            "disk or another program changed them. They were removed; fetch the blob again, and check the disk if "
            "this happens more than once."
        )

    def _wrong_pieces(self, raw_root: bytes) -> list[Path]:
        """The files under a composed raw root whose own bytes are wrong."""
        if _size(self._place("extents", raw_root)) < 0:
            return []
        names = {name for name, _, _ in json.loads(self._get("extents", raw_root)) if name}
        places = [self._place("raw", bytes.fromhex(name)) for name in names]
        return [place for place in places if data_root(_map(place, 0, _size(place))) != bytes.fromhex(place.name)]


def _bytes_of(data: Data) -> memoryview:
    if not isinstance(data, np.ndarray):
        return memoryview(data).cast("B")
    little = np.ascontiguousarray(data, dtype=data.dtype.newbyteorder("<"))
    return memoryview(little.reshape(-1).view(np.uint8))  # type: ignore[arg-type]  # an array is a buffer


def _cut(extents: Sequence[Extent], offset: int, length: int) -> Iterator[Extent]:
    """The part [offset, offset + length) of a run of extents."""
    for extent in extents:
        skip = min(offset, extent.length)
        take = min(extent.length - skip, length)
        if take:
            yield Extent(extent.path, extent.offset + skip, take)
        offset -= skip
        length -= take


def _size(place: Path) -> int:
    """Bytes of a file; -1 where there is none."""
    with disk_errors(place):
        try:
            return place.stat().st_size
        except FileNotFoundError:
            return -1


def _map(place: Path, offset: int, length: int) -> memoryview:
    start = offset - offset % mmap.ALLOCATIONGRANULARITY
    with disk_errors(place), open(place, "rb") as file:
        mapped = mmap.mmap(file.fileno(), offset - start + length, offset=start, access=mmap.ACCESS_READ)
    return memoryview(mapped)[offset - start :]


def _read_into(target: memoryview, place: Path, offset: int) -> None:
    with disk_errors(place), open(place, "rb") as file:
        file.seek(offset)
        if file.readinto(target) != len(target):
            raise StorageError(f"{place} is shorter than it was when it was stored. Check the disk and start again.")
