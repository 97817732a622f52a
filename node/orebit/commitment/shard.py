"""Shards and their results: fixed-size preimages of a shard's id and of a result hash."""

from __future__ import annotations

import struct
from dataclasses import dataclass, fields
from hashlib import sha256

from orebit.commitment.merkle import HASH_SIZE
from orebit.errors import CommitmentError

SHARD_TAG = 0x05
RESULT_TAG = 0x06
MAX_STEPS = 1 << 32
_SHARD = struct.Struct("<B32s32s32sQQ32s")
_RESULT = struct.Struct("<B32s32s")


@dataclass(frozen=True, slots=True)
class Shard:
    """One unit of paid work: the roots of its inputs, its steps and checkpoint interval.

    Raises CommitmentError unless 1 <= interval <= steps <= 2^32.
    """

    program: bytes
    constants: bytes
    state: bytes
    steps: int
    interval: int
    parameters: bytes

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bytes) and len(value) != HASH_SIZE:
                raise CommitmentError(f"a shard's {field.name} root has {len(value)} bytes, not {HASH_SIZE}")
        if not 1 <= self.interval <= self.steps <= MAX_STEPS:
            raise CommitmentError(f"a shard of {self.steps} steps cannot have a checkpoint every {self.interval}")

    @property
    def checkpoints(self) -> int:
        """Entries of the checkpoints list: the states after steps c, 2c, ..., T."""
        return -(-self.steps // self.interval)

    def encode(self) -> bytes:
        """The preimage of the shard's id: 05, program, constants, state, steps, interval, parameters."""
        return _SHARD.pack(
            SHARD_TAG, self.program, self.constants, self.state, self.steps, self.interval, self.parameters
        )

    @property
    def id(self) -> bytes:
        """The shard's address."""
        return sha256(self.encode()).digest()

    @classmethod
    def decode(cls, encoded: bytes) -> Shard:
        """Parse a preimage; CommitmentError when it is not exactly one shard."""
        if len(encoded) != _SHARD.size or encoded[0] != SHARD_TAG:
            raise CommitmentError("these bytes are not a shard")
        _, *values = _SHARD.unpack(encoded)
        return cls(*values)


@dataclass(frozen=True, slots=True)
class ShardResult:
    """What a node claims for one shard: the root of its checkpoints."""

    shard_id: bytes
    checkpoints_root: bytes

    def __post_init__(self) -> None:
        if len(self.shard_id) != HASH_SIZE or len(self.checkpoints_root) != HASH_SIZE:
            raise CommitmentError("a result binds a 32-byte shard id and a 32-byte checkpoints root")

    def encode(self) -> bytes:
        """The preimage of the result hash: 06, shard id, checkpoints root."""
        return _RESULT.pack(RESULT_TAG, self.shard_id, self.checkpoints_root)

    @property
    def hash(self) -> bytes:
        """The result's address."""
        return sha256(self.encode()).digest()

    @classmethod
    def decode(cls, encoded: bytes) -> ShardResult:
        """Parse a preimage; CommitmentError when it is not exactly one result."""
        if len(encoded) != _RESULT.size or encoded[0] != RESULT_TAG:
            raise CommitmentError("these bytes are not a shard's result")
        _, shard_id, checkpoints_root = _RESULT.unpack(encoded)
        return cls(shard_id, checkpoints_root)
