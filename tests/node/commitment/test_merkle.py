"""Trees against a definition written down plainly, and against whatever a poster may get wrong."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orebit.commitment import EMPTY, HASH_SIZE, LEAF_SIZE, merkle
from orebit.errors import CommitmentError

ENTRY = st.binary(min_size=32, max_size=32).filter(lambda entry: entry != EMPTY)
ENTRIES = st.lists(ENTRY, min_size=1, max_size=40)


def plain_root(entries: list[bytes], log2: int) -> bytes:
    """The definition, recursively."""
    if not entries:
        return EMPTY
    if log2 == 0:
        return entries[0]
    half = 1 << (log2 - 1)
    children = plain_root(entries[:half], log2 - 1) + plain_root(entries[half:], log2 - 1)
    return sha256(b"\x01" + children).digest()


@given(ENTRIES)
def test_the_root_is_the_definition(entries: list[bytes]) -> None:
    assert merkle.root(entries) == plain_root(entries, merkle.height(len(entries)))
    assert merkle.root(b"".join(entries)) == merkle.root(entries)


@given(ENTRIES, ENTRIES)
def test_equal_lists_and_only_they_have_equal_roots_at_one_height(first: list[bytes], second: list[bytes]) -> None:
    same_height = merkle.height(len(first)) == merkle.height(len(second))
    if same_height:
        assert (merkle.root(first) == merkle.root(second)) == (first == second)
    assert merkle.root(first) == merkle.root(list(first))


@given(ENTRIES, st.data())
def test_paths_prove_their_entry_at_every_level(entries: list[bytes], data: st.DataObject) -> None:
    levels = merkle.tree(entries)
    level = data.draw(st.integers(0, len(levels) - 1))
    index = data.draw(st.integers(0, merkle.width(len(entries), level) - 1))
    node = levels[level][index * HASH_SIZE : (index + 1) * HASH_SIZE]
    path = merkle.path(levels[level:], index)
    assert merkle.fold(node, index, path) == levels[-1]
    merkle.check_path(levels[-1], len(entries), index, node, path, level=level)


@given(ENTRIES, st.data())
def test_paths_prove_nothing_else(entries: list[bytes], data: st.DataObject) -> None:
    count, levels = len(entries), merkle.tree(entries)
    index = data.draw(st.integers(0, count - 1))
    path, root = merkle.path(levels, index), levels[-1]
    other = data.draw(ENTRY.filter(lambda entry: entry != entries[index]))
    wrong = [
        (count, index, other, path),
        (count, count, entries[index], path),
        (count, -1, entries[index], path),
        (count, index, entries[index], [*path, EMPTY]),
        (count, index, EMPTY, path),
        (2 * count + 1, index, entries[index], path),
    ]
    if path:
        wrong.append((count, index, entries[index], path[:-1]))
        wrong.append((count, index, entries[index], [bytes(31), *path[1:]]))
    for claim in wrong:
        with pytest.raises(CommitmentError):
            merkle.check_path(root, *claim)


def test_a_zero_inside_the_count_and_a_hash_outside_it_are_refused() -> None:
    entry, other = b"\x01" * 32, b"\x02" * 32
    liar = merkle.node_hash(entry, EMPTY)
    with pytest.raises(CommitmentError, match="zero inside the count"):
        merkle.check_path(liar, 2, 0, entry, [EMPTY])
    three = merkle.node_hash(merkle.node_hash(entry, entry), merkle.node_hash(entry, other))
    with pytest.raises(CommitmentError, match="not zero outside"):
        merkle.check_path(three, 3, 2, entry, [other, merkle.node_hash(entry, entry)])
    with pytest.raises(CommitmentError, match="is zero"):
        merkle.root([entry, EMPTY])
    with pytest.raises(CommitmentError, match="is zero"):
        merkle.root(entry + EMPTY + entry)
    # 32 zero bytes that straddle two entries are no entry.
    merkle.root([b"\x01" * 16 + bytes(16), bytes(16) + b"\x01" * 16])


def test_entries_of_another_length_are_refused() -> None:
    for entries in ([b"\x01" * 31], [b"\x01" * 31, b"\x01" * 33], b"\x01" * 33):
        with pytest.raises(CommitmentError, match="32 bytes"):
            merkle.root(entries)


@given(ENTRIES, st.integers(0, 6), st.integers(0, 40))
def test_blocks_are_padded_to_their_height(entries: list[bytes], log2: int, index: int) -> None:
    block = entries[index << log2 : (index + 1) << log2]
    assert merkle.subtree_root(entries, index, log2) == plain_root(block, log2)
    assert merkle.lift(block, log2) == plain_root(block, log2)


@given(ENTRIES, st.integers(0, 5), st.data())
def test_a_block_is_a_node_of_its_list(entries: list[bytes], log2: int, data: st.DataObject) -> None:
    height = merkle.height(len(entries))
    log2 = min(log2, height)
    index = data.draw(st.integers(0, merkle.width(len(entries), log2) - 1))
    node = merkle.subtree_root(entries, index, log2)
    path = merkle.path(merkle.tree(entries)[log2:], index)
    merkle.check_path(merkle.root(entries), len(entries), index, node, path, level=log2)


def test_blocks_that_do_not_exist() -> None:
    for index, log2 in ((-1, 0), (0, -1)):
        with pytest.raises(CommitmentError):
            merkle.subtree_root([b"\x01" * 32], index, log2)
    with pytest.raises(CommitmentError, match="do not fit"):
        merkle.lift([b"\x01" * 32] * 3, 1)


@given(st.binary(min_size=1, max_size=5000))
def test_bytes_are_cut_in_leaves(data: bytes) -> None:
    leaves = [sha256(b"\x00" + data[at : at + LEAF_SIZE]).digest() for at in range(0, len(data), LEAF_SIZE)]
    assert merkle.leaf_hashes(data) == b"".join(leaves)
    assert merkle.data_root(data) == plain_root(leaves, merkle.height(len(leaves)))
    assert merkle.leaf_count(len(data)) == len(leaves)


@given(st.binary(min_size=1, max_size=3000), st.binary(min_size=1, max_size=3000))
def test_equal_bytes_and_only_they_have_equal_roots(first: bytes, second: bytes) -> None:
    assert (merkle.data_root(first) == merkle.data_root(second)) == (first == second)
    assert merkle.data_root(first + b"\0") != merkle.data_root(first)


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 1025, 2048, 2049, 3072, 5000, 65536, 100_001])
def test_the_root_of_zeros_needs_no_zeros(size: int) -> None:
    assert merkle.zero_root(size) == merkle.data_root(bytes(size))


def test_leaves_nodes_and_entries_are_separate_domains() -> None:
    left, right = b"\x01" * 32, b"\x02" * 32
    assert merkle.leaf_hash(left + right) != merkle.node_hash(left, right)
    assert merkle.node_hash(EMPTY, EMPTY) == EMPTY
    assert merkle.node_hash(left, EMPTY) != merkle.node_hash(EMPTY, left)
    for size in (0, 1025):
        with pytest.raises(CommitmentError):
            merkle.leaf_hash(bytes(size))


def test_no_entries() -> None:
    assert merkle.tree([]) == [EMPTY] and merkle.root(b"") == EMPTY and merkle.height(0) == 0
    with pytest.raises(CommitmentError):
        merkle.path(merkle.tree([b"\x01" * 32]), 1)
    with pytest.raises(CommitmentError):
        merkle.height(-1)


def test_known_answers() -> None:
    """Fixed for ever: a change here is a change of the protocol."""
    entries = [bytes((i,)) * 32 for i in (1, 2, 3)]
    assert merkle.root(entries).hex() == "59a0696592f83fed5ddcf2fab4914695eb409d63c04c1fca9698a22fda795391"
    assert (
        merkle.data_root(bytes(range(256)) * 9).hex()
        == "05a3cc03fc34b74b0c21b4b4ff6bb3d3b0828abad0c6b9e9f8d0d7135cff915e"
    )
