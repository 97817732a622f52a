"""New heads over existing bytes have the roots that a copy of those bytes would have."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orebit.commitment import LEAF_SIZE, TensorHead, bytes_head, compose, retype, take
from orebit.commitment.merkle import leaf_hashes, tree
from orebit.errors import CommitmentError

SIZES = st.integers(1, 9 * LEAF_SIZE)


def data(size: int, seed: int = 1) -> bytes:
    return bytes((at * at + at // 251 + seed) % 256 for at in range(size))


@given(SIZES, st.data())
def test_slices_have_the_root_of_their_bytes(size: int, draw: st.DataObject) -> None:
    content = data(size)
    whole, levels = bytes_head(content), tree(leaf_hashes(content))
    log2 = draw.draw(st.integers(0, len(levels) - 1))
    runs = whole.leaves >> log2
    if runs == 0:
        return
    index = draw.draw(st.integers(0, runs - 1))
    run = content[(index * LEAF_SIZE) << log2 : ((index + 1) * LEAF_SIZE) << log2]
    part = take(whole, levels, log2, index, 2, (len(run),))
    assert part.part == bytes_head(run)
    assert content[part.offset : part.offset + len(run)] == run
    part.check()
    for wrong in (
        replace(part, index=part.index + 1),
        replace(part, log2=part.log2 + 1),
        replace(part, siblings=(*part.siblings, bytes(32))),
        replace(part, part=bytes_head(run + b"\1")),
        replace(part, part=bytes_head(bytes((run[0] ^ 1,)) + run[1:])),
    ):
        with pytest.raises(CommitmentError):
            wrong.check()


@given(st.integers(0, 3), st.integers(1, 6), st.data())
def test_compositions_have_the_root_of_their_bytes(log2: int, count: int, draw: st.DataObject) -> None:
    full = LEAF_SIZE << log2
    last = draw.draw(st.integers(1, full))
    contents = [data(full, seed) for seed in range(count - 1)] + [data(last, 99)]
    pieces = [bytes_head(content) for content in contents]
    size = sum(map(len, contents))
    assert compose(pieces, 2, (size,)) == bytes_head(b"".join(contents))
    with pytest.raises(CommitmentError):
        compose(pieces, 2, (size + 1,))


@given(st.integers(0, 3), st.integers(1, 5))
def test_slices_of_a_composition_are_its_pieces(log2: int, count: int) -> None:
    contents = [data(LEAF_SIZE << log2, seed) for seed in range(count)]
    pieces = [bytes_head(content) for content in contents]
    whole = compose(pieces, 2, ((LEAF_SIZE << log2) * count,))
    levels = tree(leaf_hashes(b"".join(contents)))
    for index, piece in enumerate(pieces):
        assert take(whole, levels, log2, index, 2, piece.shape).part == piece


@pytest.mark.parametrize(
    "sizes",
    [
        [],
        [1000, 1024],
        [1024, 1025],
        [2048, 1024, 2048],
        [3072, 3072],
        [1025, 1],
        [2047, 2048],
    ],
)
def test_pieces_that_do_not_fit(sizes: list[int]) -> None:
    pieces = [bytes_head(data(size)) for size in sizes]
    with pytest.raises(CommitmentError):
        compose(pieces, 2, (max(sum(sizes), 1),))


def test_runs_that_do_not_lie_inside() -> None:
    content = data(3 * LEAF_SIZE + 10)
    whole, levels = bytes_head(content), tree(leaf_hashes(content))
    assert take(whole, levels, 2, 0, 2, (len(content),)).part == whole
    for log2, index in ((1, 2), (0, 4), (0, -1), (3, 0), (-1, 0)):
        with pytest.raises(CommitmentError):
            take(whole, levels, log2, index, 2, (LEAF_SIZE,))
    with pytest.raises(CommitmentError, match="another tensor's"):
        take(whole, tree(leaf_hashes(data(4096))), 0, 0, 2, (LEAF_SIZE,))


def test_retyping_keeps_the_bytes() -> None:
    head = bytes_head(data(96))
    assert retype(head, 0, (4, 6)) == TensorHead(0, (4, 6), head.raw_root)
    with pytest.raises(CommitmentError):
        retype(head, 0, (4, 7))
