"""Heads, lists, shards and results: their bytes, and what they refuse to be."""

from __future__ import annotations

import struct
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orebit.commitment import (
    EMPTY,
    ListHead,
    ListKind,
    Shard,
    ShardResult,
    TensorHead,
    bytes_head,
    list_head,
    list_root,
    plan_root,
    state_root,
    tensor_head,
)
from orebit.commitment.merkle import data_root, root
from orebit.errors import CommitmentError

HASH = st.binary(min_size=32, max_size=32)
SHAPE = st.lists(st.integers(1, 16), max_size=8).map(tuple)
HEADS = st.builds(TensorHead, st.integers(0, 6), SHAPE, HASH)
SHARDS = st.integers(1, 1 << 32).flatmap(
    lambda steps: st.builds(Shard, HASH, HASH, HASH, st.just(steps), st.integers(1, steps), HASH)
)
ENTRIES = st.lists(HASH.filter(any), min_size=1, max_size=20)


@given(HEADS)
def test_heads_are_their_bytes(head: TensorHead) -> None:
    encoded = head.encode()
    assert TensorHead.decode(encoded) == head and head.root == sha256(encoded).digest()
    assert encoded[:3] == bytes((2, head.dtype, len(head.shape))) and encoded[-32:] == head.raw_root
    for wrong in (encoded[:-1], encoded + b"\0", b"\x03" + encoded[1:], b""):
        with pytest.raises(CommitmentError):
            TensorHead.decode(wrong)


@given(HEADS, HEADS)
def test_heads_bind_type_shape_and_bytes(first: TensorHead, second: TensorHead) -> None:
    assert (first.root == second.root) == (first == second)


@pytest.mark.parametrize(
    ("dtype", "shape", "raw_root"),
    [
        (7, (1,), EMPTY),
        (-1, (1,), EMPTY),
        (0, (0,), EMPTY),
        (0, (3, -1), EMPTY),
        (0, (1,) * 9, EMPTY),
        (0, (1 << 20, 1 << 21), EMPTY),
        (0, (1,), EMPTY[:-1]),
    ],
)
def test_heads_that_cannot_be(dtype: int, shape: tuple[int, ...], raw_root: bytes) -> None:
    with pytest.raises(CommitmentError):
        TensorHead(dtype, shape, raw_root)


def test_a_head_of_nine_axes_is_not_parsed() -> None:
    with pytest.raises(CommitmentError):
        TensorHead.decode(bytes((2, 0, 9)) + struct.pack("<9Q", *[1] * 9) + EMPTY)


def test_heads_of_data() -> None:
    array = np.arange(600, dtype=np.int64).reshape(20, 30)
    head = tensor_head(6, array.shape, array)
    assert (head.size, head.leaves, head.raw_root) == (4800, 5, data_root(array.tobytes()))
    assert bytes_head(array) == TensorHead(2, (4800,), head.raw_root)
    assert tensor_head(0, (), np.float32(1)).size == 4
    assert tensor_head(0, (3000,), bytes(12000)).is_zero and not head.is_zero
    with pytest.raises(CommitmentError, match="4800 bytes, not 4000"):
        tensor_head(6, (20, 30), array.tobytes()[:4000])
    with pytest.raises(CommitmentError):
        bytes_head(b"")


@given(ENTRIES, ENTRIES, st.sampled_from(ListKind), st.sampled_from(ListKind))
def test_lists_bind_kind_count_and_entries(
    first: list[bytes], second: list[bytes], kind: ListKind, other: ListKind
) -> None:
    same = first == second and kind == other
    assert (list_root(kind, first) == list_root(other, second)) == same
    head = list_head(kind, first)
    assert head.encode() == struct.pack("<BBQ", 3, kind, len(first)) + root(first)
    assert ListHead.decode(head.encode()) == head
    assert head.check(b"".join(first)) == first


@given(ENTRIES)
def test_a_list_of_one_more_or_less_is_another(entries: list[bytes]) -> None:
    head = list_head(ListKind.STATE, entries)
    blob = b"".join(entries)
    for wrong in (blob + b"\x01" * 32, blob[:-32], blob[:-1], blob[:-32] + EMPTY, blob[:-1] + bytes((blob[-1] ^ 1,))):
        with pytest.raises(CommitmentError):
            head.check(wrong)
    with pytest.raises(CommitmentError):
        replace(head, count=len(entries) + 1).check(blob + EMPTY)


def test_empty_lists_are_for_constants_and_parameters_only() -> None:
    for kind in ListKind:
        if kind in (ListKind.CONSTANTS, ListKind.PARAMETERS):
            assert list_head(kind, []).encode() == bytes((3, kind)) + bytes(8) + EMPTY
        else:
            with pytest.raises(CommitmentError):
                list_head(kind, [])
    for count, raw_root in ((1, EMPTY), (0, b"\x01" * 32), (-1, EMPTY)):
        with pytest.raises(CommitmentError):
            ListHead(ListKind.CONSTANTS, count, raw_root)
    for wrong in (b"\x03\x08" + bytes(8) + EMPTY, b"\x02\x05" + bytes(8) + EMPTY, b"\x03\x05" + bytes(7) + EMPTY):
        with pytest.raises(CommitmentError):
            ListHead.decode(wrong)


@given(SHARDS)
def test_shards_are_their_bytes(shard: Shard) -> None:
    encoded = shard.encode()
    assert Shard.decode(encoded) == shard and shard.id == sha256(encoded).digest()
    assert encoded == (
        b"\x05" + shard.program + shard.constants + shard.state
        + struct.pack("<QQ", shard.steps, shard.interval) + shard.parameters
    )  # fmt: skip
    assert len(encoded) == 145
    assert (shard.checkpoints - 1) * shard.interval < shard.steps <= shard.checkpoints * shard.interval
    with pytest.raises(CommitmentError):
        Shard.decode(encoded + b"\0")


@pytest.mark.parametrize(("steps", "interval"), [(0, 0), (1, 0), (1, 2), ((1 << 32) + 1, 1), (-1, -1)])
def test_shards_that_cannot_be(steps: int, interval: int) -> None:
    with pytest.raises(CommitmentError):
        Shard(EMPTY, EMPTY, EMPTY, steps, interval, EMPTY)
    with pytest.raises(CommitmentError):
        Shard(EMPTY, EMPTY, EMPTY[:-1], 1, 1, EMPTY)


@given(HASH, HASH)
def test_results_are_their_bytes(shard_id: bytes, checkpoints: bytes) -> None:
    result = ShardResult(shard_id, checkpoints)
    assert result.encode() == b"\x06" + shard_id + checkpoints
    assert ShardResult.decode(result.encode()) == result and result.hash == sha256(result.encode()).digest()
    with pytest.raises(CommitmentError):
        ShardResult.decode(b"\x05" + result.encode()[1:])


def test_tags_separate_domains() -> None:
    entry = b"\x01" * 32
    roots = {list_root(kind, [entry]) for kind in ListKind}
    roots |= {bytes_head(entry).root, ShardResult(entry, entry).hash, root([entry]), data_root(entry)}
    assert len(roots) == len(ListKind) + 4
    assert state_root([entry]) == list_root(ListKind.STATE, [entry])
    assert plan_root([entry]) == list_root(ListKind.PLAN, [entry])
