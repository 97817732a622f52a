"""The store on disk: what is put is what is read, whatever happens to the disk or the process."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from orebit.commitment import ListKind, Shard, ShardResult, bytes_head, list_root
from orebit.errors import BlobCorrupt, BlobMissing, CommitmentError, StorageError
from orebit.store import LocalStore
from orebit.store.files import PARTIAL_LIFE_SECONDS


def files(store: LocalStore, kind: str) -> list[Path]:
    return sorted(path for path in (store._folder.path / kind).rglob("*") if path.is_file())


@pytest.mark.parametrize("dtype", ["f4", "i1", "u1", "i2", "u2", "i4", "i8"])
@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (300, 700)])
def test_tensors(store, dtype, shape) -> None:
    array = (np.arange(np.prod(shape, dtype=int)).reshape(shape) % 100 + 1).astype(dtype)
    head = store.put_array(array)
    found, read = store.tensor(head.root)
    assert found == head and read.dtype == array.dtype and np.array_equal(read, array)
    assert not read.flags.writeable


def test_big_endian_and_strided_arrays_are_stored_by_value(store) -> None:
    array = np.arange(12, dtype=">f4").reshape(3, 4)
    assert store.put_array(array) == store.put_array(array.astype("<f4"))
    assert np.array_equal(store.tensor(store.put_array(array.T).root)[1], array.T)


def test_a_tensor_of_another_size_than_its_shape(store) -> None:
    with pytest.raises(CommitmentError, match="16 bytes, not 12"):
        store.put_tensor(0, (4,), bytes(range(12)))


def test_bytes_are_stored_once_whatever_the_head(store, noise) -> None:
    array = noise(64, 64)
    head = store.put_array(array)
    flat = store.put_retyped(head.root, 5, (4096,))
    assert store.put_bytes(array.tobytes()).raw_root == head.raw_root
    assert len(files(store, "raw")) == 1
    assert np.array_equal(store.tensor(flat.root)[1], array.reshape(-1).view("<i4"))


def test_zero_tensors_take_no_bytes(store) -> None:
    head = store.put_array(np.zeros((1 << 10, 1 << 10), np.int64))
    assert files(store, "raw") == [] and store.has(head.root)
    assert not store.tensor(head.root)[1].any()
    negative = store.put_array(-np.zeros(4, np.float32))
    assert not negative.is_zero and len(files(store, "raw")) == 1


def test_slices_and_compositions_resolve_to_existing_bytes(store, noise) -> None:
    pieces = [store.put_array(noise(512, 256)) for _ in range(3)] + [store.put_array(noise(5, 100))]
    zero = store.put_array(np.zeros((512, 256), np.float32))
    order = [pieces[0], zero, pieces[1], pieces[2], pieces[3]]
    whole = store.put_composed([piece.root for piece in order], 0, (512 * 256 * 4 + 500,))
    expected = np.concatenate([store.tensor(piece.root)[1].reshape(-1) for piece in order])
    assert np.array_equal(store.tensor(whole.root)[1], expected)
    assert store.put_slice(whole.root, 9, 3, 0, (512, 256)) == pieces[2]
    across = store.put_slice(whole.root, 10, 0, 0, (1024, 256))
    assert np.array_equal(store.tensor(across.root)[1].reshape(-1), expected[: 1024 * 256])
    inner = store.put_slice(across.root, 8, 1, 0, (256, 256))
    assert np.array_equal(store.tensor(inner.root)[1].reshape(-1), expected[256 * 256 : 512 * 256])
    assert len(files(store, "raw")) == 4
    with pytest.raises(CommitmentError):
        store.put_slice(whole.root, 10, 2, 0, (1024, 256))
    with pytest.raises(CommitmentError):
        store.put_slice(whole.root, 9, 0, 0, (512, 255))
    with pytest.raises(CommitmentError):
        store.put_composed([pieces[3].root, pieces[0].root], 0, (512 * 256 + 500,))


def test_nodes_come_from_the_file_or_are_computed(store, noise) -> None:
    head = store.put_array(noise(1000, 256))
    stored = [store.nodes(head.root, level, 0, -(-1000 >> level)) for level in range(11)]
    (tree,) = files(store, "trees")
    tree.unlink()
    assert [store.nodes(head.root, level, 0, -(-1000 >> level)) for level in range(11)] == stored
    assert stored[10] == head.raw_root
    assert store.nodes(head.root, 3, 100, 25) == stored[3][100 * 32 :]
    for level, first, count in ((0, 999, 2), (11, 0, 1), (0, -1, 1), (0, 0, 0), (-1, 0, 1)):
        with pytest.raises(CommitmentError):
            store.nodes(head.root, level, first, count)


def test_lists_preimages_and_blocks(store) -> None:
    entries = [bytes((i + 1,)) * 32 for i in range(5)]
    root = store.put_list(ListKind.RESULTS, entries)
    assert root == list_root(ListKind.RESULTS, entries) and store.has(root)
    assert store.list_entries(root, ListKind.RESULTS) == entries
    with pytest.raises(CommitmentError):
        store.list_entries(root, ListKind.STATE)
    assert store.list_entries(store.put_list(ListKind.PARAMETERS, []), ListKind.PARAMETERS) == []
    shard = Shard(*entries[:3], 10, 5, entries[3])
    assert store.put_preimage(shard.encode()) == shard.id and store.has(shard.id)
    assert Shard.decode(store.preimage(shard.id)) == shard
    result = ShardResult(shard.id, entries[4])
    assert store.put_preimage(result.encode()) == result.hash
    node = store.put_block(entries, 3)
    assert store.block_entries(node, 3) == entries and store.has(node)
    assert store.block_entries(entries[0], 0) == [entries[0]]
    with pytest.raises(BlobMissing):
        store.preimage(bytes(32))
    assert not store.has(bytes(32))


@pytest.mark.parametrize("rows", [30, 3000])
def test_bytes_that_changed_on_disk_are_noticed_and_can_be_replaced(store, noise, rows) -> None:
    array = noise(rows, 256)
    head = store.put_array(array)
    (file,) = files(store, "raw")
    flip(file, 1000)
    with pytest.raises(BlobCorrupt, match="fetch the blob again"):
        store.tensor(head.root)
    assert not store.has(head.root)
    store.put_array(array)
    assert np.array_equal(store.tensor(head.root)[1], array)


def test_a_corrupt_piece_is_found_through_its_composition(store, noise) -> None:
    arrays = [noise(4, 256) for _ in range(2)]
    pieces = [store.put_array(array) for array in arrays]
    whole = store.put_composed([piece.root for piece in pieces], 0, (8, 256))
    flip(store._place("raw", pieces[1].raw_root), 5)
    with pytest.raises(BlobCorrupt):
        store.tensor(whole.root)
    assert store.has(pieces[0].root) and not store.has(pieces[1].root) and not store.has(whole.root)


def test_corrupt_lists_and_preimages(store) -> None:
    root = store.put_list(ListKind.STATE, [b"\x01" * 32, b"\x02" * 32])
    flip(files(store, "lists")[0], 40)
    with pytest.raises(BlobCorrupt):
        store.list_entries(root, ListKind.STATE)
    flip(files(store, "preimages")[0], 3)
    with pytest.raises(BlobCorrupt):
        store.preimage(root)
    with pytest.raises(BlobMissing):
        store.preimage(root)


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_concurrent_puts_of_the_same_and_of_other_blobs(tmp_path, noise) -> None:
    arrays = [noise(300, 256) for _ in range(4)]
    failures: list[BaseException] = []

    def work() -> None:
        try:
            store = LocalStore(tmp_path)
            for array in arrays:
                assert np.array_equal(store.tensor(store.put_array(array).root)[1], array)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(files(LocalStore(tmp_path), "raw")) == 4 and files(LocalStore(tmp_path), "tmp") == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB; skips where this user may not mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", place], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting needs root")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk(small_disk, noise) -> None:
    store = LocalStore(small_disk)
    kept = store.put_array(noise(100, 256))
    with pytest.raises(StorageError, match="no room left.*Free some space"):
        store.put_array(noise(200, 256))
    assert files(store, "tmp") == []
    assert store.tensor(kept.root)[0] == kept
    with pytest.raises(StorageError, match="no room left"):
        store.partial(bytes_head(noise(300, 256)))


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOSPC, "Free some space"),
        (errno.EDQUOT, "raise the quota"),
        (errno.EACCES, "Give this user the right"),
        (errno.EROFS, "OREBIT_HOME"),
        (errno.EMFILE, "ulimit"),
        (errno.EIO, "Check the disk"),
    ],
)
def test_a_disk_that_refuses(store, noise, monkeypatch, code, advice) -> None:
    array = noise(64, 256)

    def refuse(_descriptor: int, _data: object) -> int:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", refuse)
        with pytest.raises(StorageError, match=advice):
            store.put_array(array)
    assert files(store, "tmp") == [] and files(store, "raw") == []
    assert store.has(store.put_array(array).root)


def test_a_folder_that_is_a_file(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be read or written"):
        LocalStore(tmp_path / "file")


KILLED = """
import os, sys
from orebit.store import LocalStore
store = LocalStore(sys.argv[1])
write = os.write
def write_half(descriptor, data):
    write(descriptor, data[: len(data) // 2])
    print("writing", flush=True)
    sys.stdin.read()
os.write = write_half
store.put_bytes(b"x" * 100_000)
"""


def test_what_a_killed_process_left_is_cleaned_and_never_read(tmp_path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", KILLED, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert writer.stdout is not None and writer.stdin is not None
    try:
        assert writer.stdout.readline() == b"writing\n"
        head = bytes_head(b"x" * 100_000)
        beside = LocalStore(tmp_path)
        assert len(files(beside, "tmp")) == 1, "a write under way is not a leftover"
        assert not beside.has(head.root)
    finally:
        writer.kill()
        writer.communicate()
    after = LocalStore(tmp_path)
    assert files(after, "tmp") == []
    assert not after.has(head.root)
    assert after.put_bytes(b"x" * 100_000) == head and after.has(head.root)


def test_old_partial_downloads_are_forgotten_and_new_ones_kept(tmp_path) -> None:
    store = LocalStore(tmp_path)
    for text in (b"old" * 1000, b"new" * 1000):
        partial = store.partial(bytes_head(text))
        partial.append(text)
        partial.close()
    old = store._folder.path / "partial" / bytes_head(b"old" * 1000).raw_root.hex()
    before = time.time() - PARTIAL_LIFE_SECONDS - 1
    os.utime(old, (before, before))
    assert [path.name for path in files(LocalStore(tmp_path), "partial")] == [bytes_head(b"new" * 1000).raw_root.hex()]


def test_two_downloads_of_one_tensor_do_not_share_a_file(store) -> None:
    head = bytes_head(b"y" * 3000)
    first, second = store.partial(head), store.partial(head)
    first.append(b"first")
    second.append(b"2nd")
    assert (first.length, second.length) == (5, 3)
    assert first.read(0, 9) == b"first" and second.read(0, 9) == b"2nd"
    first.close()
    second.close()
    assert [path.name for path in files(store, "partial")] == [head.raw_root.hex()]
    with pytest.raises(StorageError):
        second.append(b"late")
