"""Commitments: what a root binds (docs/protocol.md, 1 and 2). Pure functions over hashlib."""

from __future__ import annotations

from orebit.commitment.composition import Slice, compose, retype, take
from orebit.commitment.head import TensorHead, bytes_head, tensor_head
from orebit.commitment.lists import ListHead, ListKind, list_head, list_root, plan_root, state_root
from orebit.commitment.merkle import EMPTY, HASH_SIZE, LEAF_SIZE
from orebit.commitment.shard import Shard, ShardResult

__all__ = [
    "EMPTY",
    "HASH_SIZE",
    "LEAF_SIZE",
    "ListHead",
    "ListKind",
    "Shard",
    "ShardResult",
    "Slice",
    "TensorHead",
    "bytes_head",
    "compose",
    "list_head",
    "list_root",
    "plan_root",
    "retype",
    "state_root",
    "take",
    "tensor_head",
]
