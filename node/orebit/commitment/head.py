"""A tensor's address: the hash of its head (type, dimensions, raw root of its little-endian bytes)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import prod
from typing import TYPE_CHECKING

from orebit.commitment.merkle import HASH_SIZE, data_root, leaf_count, zero_root
from orebit.errors import CommitmentError

if TYPE_CHECKING:
    from typing_extensions import Buffer

TENSOR_TAG = 0x02
MAX_RANK = 8
MAX_ELEMENTS = 1 << 40
F32, I8, U8, I16, U16, I32, I64 = range(7)
ITEM_SIZES = (4, 1, 1, 2, 2, 4, 8)
MAX_HEAD_SIZE = 3 + 8 * MAX_RANK + HASH_SIZE


@dataclass(frozen=True, slots=True)
class TensorHead:
    """Type code, dimensions and raw root of a dense row-major tensor. Bytes without a type are u8[n].

    Raises CommitmentError for an unknown type, a rank above 8, a dimension below 1 or more than 2^40 elements.
    """

    dtype: int
    shape: tuple[int, ...]
    raw_root: bytes

    def __post_init__(self) -> None:
        if not 0 <= self.dtype < len(ITEM_SIZES):
            raise CommitmentError(f"there is no element type {self.dtype}")
        if len(self.shape) > MAX_RANK:
            raise CommitmentError(f"a tensor of rank {len(self.shape)}; the highest is {MAX_RANK}")
        if any(dimension < 1 for dimension in self.shape):
            raise CommitmentError(f"the shape {self.shape} has a dimension below 1")
        if prod(self.shape) > MAX_ELEMENTS:
            raise CommitmentError(f"the shape {self.shape} has more than 2^40 elements")
        if len(self.raw_root) != HASH_SIZE:
            raise CommitmentError(f"a raw root of {len(self.raw_root)} bytes; it has {HASH_SIZE}")

    @property
    def size(self) -> int:
        """Bytes of the tensor."""
        return prod(self.shape) * ITEM_SIZES[self.dtype]

    @property
    def leaves(self) -> int:
        """Leaves of 1,024 bytes that the tensor fills."""
        return leaf_count(self.size)

    @property
    def is_zero(self) -> bool:
        """Whether every byte of the tensor is zero. Such a tensor is never stored or sent."""
        return self.raw_root == zero_root(self.size)

    def encode(self) -> bytes:
        """The preimage of the tensor's root: 02, type, rank, dimensions as u64 little-endian, raw root."""
        fixed = bytes((TENSOR_TAG, self.dtype, len(self.shape)))
        return fixed + struct.pack(f"<{len(self.shape)}Q", *self.shape) + self.raw_root

    @property
    def root(self) -> bytes:
        """The tensor's address."""
        return sha256(self.encode()).digest()

    @classmethod
    def decode(cls, encoded: bytes) -> TensorHead:
        """Parse a preimage; CommitmentError when it is not exactly one head."""
        if len(encoded) < 3 or encoded[0] != TENSOR_TAG or len(encoded) != 3 + 8 * encoded[2] + HASH_SIZE:
            raise CommitmentError("these bytes are not a tensor's head")
        rank = encoded[2]
        if rank > MAX_RANK:
            raise CommitmentError(f"a tensor of rank {rank}; the highest is {MAX_RANK}")
        shape = struct.unpack_from(f"<{rank}Q", encoded, 3)
        return cls(encoded[1], shape, encoded[-HASH_SIZE:])


def tensor_head(dtype: int, shape: Sequence[int], data: Buffer) -> TensorHead:
    """The head of a tensor given by its little-endian bytes (any C-contiguous buffer, of the shape's exact size)."""
    head = TensorHead(int(dtype), tuple(int(dimension) for dimension in shape), data_root(data))
    size = memoryview(data).nbytes
    if size != head.size:
        raise CommitmentError(f"a tensor of shape {head.shape} has {head.size} bytes, not {size}")
    return head


def bytes_head(data: Buffer) -> TensorHead:
    """The head of bytes without a type: u8[n], n at least 1."""
    return tensor_head(U8, (memoryview(data).nbytes,), data)
