"""The client against honest and hostile servers on loopback."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from tampering import Requests, replace_body

from orebit.commitment import LEAF_SIZE, ListKind, TensorHead
from orebit.errors import BlobCorrupt, BlobMissing, BlobTooLarge, CommitmentError, StorageError
from orebit.store import BlobClient, Limits, LocalStore

Noise = Callable[..., Any]
QUICK = Limits(connect=2.0, stall=0.3)


async def test_a_tensor_arrives_bit_for_bit(session, store, origin, start, noise) -> None:
    head = origin.put_array(noise(700, 333))
    client = BlobClient(session, store)
    assert await client.fetch_tensor(head.root, [await start(origin)]) == head
    assert np.array_equal(store.tensor(head.root)[1], origin.tensor(head.root)[1])


@pytest.mark.parametrize("size", [1, 1023, 1024, 1025, 2048, 5000, 300_000])
async def test_every_size_of_a_last_leaf(session, store, origin, start, size) -> None:
    head = origin.put_bytes(bytes(range(1, 251)) * (size // 250 + 1) if size >= 250 else b"\x07" * size)
    await BlobClient(session, store).fetch_tensor(head.root, [await start(origin)])
    assert store.tensor(head.root)[1].tobytes() == origin.tensor(head.root)[1].tobytes()


async def test_a_tree_of_several_spans(session, store, origin, start) -> None:
    data = np.random.default_rng(1).integers(0, 255, (8192 * 2 + 77) * LEAF_SIZE + 5, dtype=np.uint8)
    head = origin.put_array(data)
    requests = Requests()
    await BlobClient(session, store).fetch_tensor(head.root, [await start(origin, requests.count)])
    assert np.array_equal(store.tensor(head.root)[1], data)
    assert [query for path, query in requests.seen if path.endswith("/nodes")] == [
        {"level": "13", "from": "0", "count": "3"},
        {"level": "0", "from": "0", "count": "8192"},
        {"level": "0", "from": "8192", "count": "8192"},
        {"level": "0", "from": "16384", "count": "78"},
    ]


async def test_a_corrupt_leaf_in_the_middle_is_named_and_the_next_source_continues(
    session, store, origin, start, noise
) -> None:
    head = origin.put_array(noise(400, 256))
    assert head.leaves == 400

    async def corrupt(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path.count("/") != 2:
            return await handler(request)
        data = bytearray(origin.tensor(head.root)[1].tobytes())
        data[123 * LEAF_SIZE + 5] ^= 1
        return web.Response(body=bytes(data))

    bad = await start(origin, corrupt)
    client = BlobClient(session, store)
    with pytest.raises(BlobCorrupt, match=f"{bad} sent a corrupt leaf, number 123"):
        await client.fetch_tensor(head.root, [bad])
    assert not store.has(head.root)
    requests = Requests()
    good = await start(origin, requests.count)
    await client.fetch_tensor(head.root, [good])
    ranges = [headers.get("Range") for path, headers in requests.headers if path.count("/") == 2]
    assert ranges == [f"bytes={123 * LEAF_SIZE}-{400 * LEAF_SIZE - 1}"]
    assert np.array_equal(store.tensor(head.root)[1], origin.tensor(head.root)[1])


async def test_two_sources_the_first_bad(session, store, origin, start, noise) -> None:
    head = origin.put_array(noise(40, 256))
    bad = await start(origin, replace_body("/nodes", lambda body: body[:-1] + bytes((body[-1] ^ 1,))))
    await BlobClient(session, store).fetch_tensor(head.root, [bad, await start(origin)])
    assert store.has(head.root)


async def test_nodes_with_a_zero_inside_the_count_are_refused(session, store, origin, start, noise) -> None:
    head = origin.put_array(noise(40, 256))
    bad = await start(origin, replace_body("/nodes", lambda body: bytes(32) + body[32:]))
    with pytest.raises(BlobCorrupt, match="not under the root"):
        await BlobClient(session, store).fetch_tensor(head.root, [bad])


async def test_what_the_disk_holds_of_a_download_is_checked_before_it_counts(
    session, store, origin, start, noise
) -> None:
    head = origin.put_array(noise(64, 256))
    data = bytearray(origin.tensor(head.root)[1].tobytes())
    data[20 * LEAF_SIZE] ^= 1
    partial = store.partial(head)
    partial.append(data[: 50 * LEAF_SIZE + 100])
    partial.close()
    requests = Requests()
    await BlobClient(session, store).fetch_tensor(head.root, [await start(origin, requests.count)])
    ranges = [headers.get("Range") for path, headers in requests.headers if path.count("/") == 2]
    assert ranges == [f"bytes={20 * LEAF_SIZE}-{64 * LEAF_SIZE - 1}"]
    assert np.array_equal(store.tensor(head.root)[1], origin.tensor(head.root)[1])


@pytest.mark.parametrize(
    ("chunked", "error", "reason"),
    [
        (False, BlobMissing, "closed the connection before the end"),
        (True, BlobCorrupt, f"ended the blob {54 * LEAF_SIZE - 7} bytes early"),
    ],
)
async def test_a_body_cut_short(session, store, origin, start, noise, chunked, error, reason) -> None:
    head = origin.put_array(noise(64, 256))

    async def cut(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path.count("/") != 2:
            return await handler(request)
        response = web.StreamResponse()
        if chunked:
            response.enable_chunked_encoding()
        else:
            response.content_length = head.size
        await response.prepare(request)
        await response.write(origin.tensor(head.root)[1].tobytes()[: 10 * LEAF_SIZE + 7])
        if not chunked:
            await asyncio.sleep(0.05)
            assert request.transport is not None
            request.transport.close()
        return response

    with pytest.raises(error, match=reason):
        await BlobClient(session, store).fetch_tensor(head.root, [await start(origin, cut)])
    assert not store.has(head.root)


async def test_a_server_that_lies_about_sizes(session, store, origin, start, noise) -> None:
    head = origin.put_array(noise(64, 256))

    async def endless(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path.count("/") != 2:
            return await handler(request)
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(origin.tensor(head.root)[1].tobytes())
        await response.write(b"more")
        return response

    longer = await start(origin, replace_body("/head", lambda body: body + bytes(5000)))
    other = await start(origin, replace_body("/head", lambda body: TensorHead(0, (65, 256), body[-32:]).encode()))
    short = await start(origin, replace_body("", lambda body: body[:-1]))
    client = BlobClient(session, store)
    for source, reason in (
        (longer, "announces 5051 bytes where 4096 belong"),
        (other, "a head that is not the root's"),
        (await start(origin, endless), "more than the 65536 bytes"),
        (short, "announces 65535 bytes where 65536 belong"),
    ):
        with pytest.raises(BlobCorrupt, match=reason):
            await client.fetch_tensor(head.root, [source])
    assert not store.has(head.root)


async def test_a_head_above_the_limit_is_refused_before_anything_is_asked_for(session, store, origin, start) -> None:
    huge = TensorHead(0, (1 << 40,), b"\x05" * 32)
    origin.put_preimage(huge.encode())
    requests = Requests()
    source = await start(origin, requests.count)
    with pytest.raises(BlobTooLarge, match=str(4 << 40)):
        await BlobClient(session, store).fetch_tensor(huge.root, [source])
    assert [path for path, _ in requests.seen] == [f"/blobs/{huge.root.hex()}/head"]
    assert list((Path(store._folder.path) / "partial").iterdir()) == []


async def test_a_server_that_stalls(session, store, origin, start, noise) -> None:
    head = origin.put_array(noise(64, 256))

    async def stall(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path.count("/") != 2:
            return await handler(request)
        response = web.StreamResponse()
        response.content_length = head.size
        await response.prepare(request)
        await response.write(origin.tensor(head.root)[1].tobytes()[: 30 * LEAF_SIZE])
        await asyncio.sleep(5)
        return response

    stalling = await start(origin, stall)
    with pytest.raises(BlobMissing, match="sent nothing for 0.3 s"):
        await BlobClient(session, store, QUICK).fetch_tensor(head.root, [stalling])
    requests = Requests()
    await BlobClient(session, store, QUICK).fetch_tensor(head.root, [stalling, await start(origin, requests.count)])
    ranges = [headers.get("Range") for path, headers in requests.headers if path.count("/") == 2]
    assert ranges == [f"bytes={30 * LEAF_SIZE}-{64 * LEAF_SIZE - 1}"]


async def test_a_server_that_drips(session, store, origin, start, noise) -> None:
    """One byte within every stall time would otherwise hold a node for ever."""
    head = origin.put_array(noise(4, 256))

    async def drip(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path.count("/") != 2:
            return await handler(request)
        response = web.StreamResponse()
        response.content_length = head.size
        await response.prepare(request)
        for byte in origin.tensor(head.root)[1].tobytes():
            await response.write(bytes((byte,)))
            await asyncio.sleep(0.05)
        return response

    limits = Limits(connect=0.2, stall=0.3, rate=1 << 20)
    with pytest.raises(BlobMissing, match="less than"):
        fetch = BlobClient(session, store, limits).fetch_tensor(head.root, [await start(origin, drip)])
        await asyncio.wait_for(fetch, 3)


async def test_every_source_has_its_reason(session, store, origin, start, noise, unused_tcp_port) -> None:
    head = origin.put_array(noise(4, 256))
    sources = [
        "ftp://nowhere",
        f"http://127.0.0.1:{unused_tcp_port}",
        await start(LocalStore(origin._folder.path.parent / "empty")),
    ]
    with pytest.raises(BlobMissing) as caught:
        await BlobClient(session, store).fetch_tensor(head.root, sources)
    told = str(caught.value)
    assert "ftp://nowhere is not a plain http or https URL" in told
    assert f"{sources[1]} cannot be reached" in told
    assert f"{sources[2]} does not have it" in told
    with pytest.raises(BlobMissing, match="no source was named"):
        await BlobClient(session, store).fetch_tensor(head.root, [])


async def test_zero_tensors_are_never_asked_for(session, store, origin, start) -> None:
    head = origin.put_array(np.zeros((1000, 1000), np.int64))
    requests = Requests()
    await BlobClient(session, store).fetch_tensor(head.root, [await start(origin, requests.count)])
    assert [path for path, _ in requests.seen] == [f"/blobs/{head.root.hex()}/head"]
    assert not store.tensor(head.root)[1].any()


async def test_redirects_and_encodings_are_refused(session, store, origin, start, noise) -> None:
    head = origin.put_array(noise(4, 256))

    async def redirect(request: web.Request, _handler: Any) -> web.StreamResponse:
        raise web.HTTPFound("http://127.0.0.1/admin")

    async def squeeze(request: web.Request, handler: Any) -> web.StreamResponse:
        response = await handler(request)
        response.headers["Content-Encoding"] = "gzip"
        return response

    client = BlobClient(session, store)
    with pytest.raises(BlobMissing, match="answered 302"):
        await client.fetch_tensor(head.root, [await start(origin, redirect)])
    with pytest.raises(BlobMissing, match="encoding"):
        await client.fetch_tensor(head.root, [await start(origin, squeeze)])


async def test_pieces_are_fetched_instead_of_the_whole(session, store, origin, start, noise) -> None:
    pieces = [origin.put_array(noise(4, 256)) for _ in range(3)]
    roots = [piece.root for piece in pieces]
    whole = origin.put_composed(roots, 0, (12, 256))
    requests = Requests()
    source = await start(origin, requests.count)
    client = BlobClient(session, store)
    await client.fetch_tensor(whole.root, [source], pieces={whole.root: roots})
    assert f"/blobs/{whole.root.hex()}" not in [path for path, _ in requests.seen]
    assert np.array_equal(store.tensor(whole.root)[1], origin.tensor(whole.root)[1])
    assert len(list((store._folder.path / "raw").glob("*/*"))) == 3


async def test_wrong_advice_on_pieces_costs_nothing_but_the_heads(session, store, origin, start, noise) -> None:
    pieces = [origin.put_array(noise(4, 256)) for _ in range(3)]
    roots = [piece.root for piece in pieces]
    whole = origin.put_composed(roots, 0, (12, 256))
    source = await start(origin)
    wrong = {whole.root: roots[::-1], roots[0]: [whole.root]}
    await BlobClient(session, store).fetch_tensor(whole.root, [source], pieces=wrong)
    assert np.array_equal(store.tensor(whole.root)[1], origin.tensor(whole.root)[1])


async def test_the_same_tensor_at_once_is_fetched_once(session, store, origin, start, noise) -> None:
    head = origin.put_array(noise(64, 256))
    requests = Requests()
    source = await start(origin, requests.count)
    client = BlobClient(session, store)
    await asyncio.gather(*(client.fetch_tensor(head.root, [source]) for _ in range(5)))
    assert [path for path, _ in requests.seen].count(f"/blobs/{head.root.hex()}") == 1


async def test_lists(session, store, origin, start) -> None:
    entries = [bytes((i % 251 + 1,)) * 32 for i in range(1000)]
    root = origin.put_list(ListKind.RESULTS, entries)
    source = await start(origin)
    client = BlobClient(session, store)
    with pytest.raises(BlobTooLarge):
        await client.fetch_list(root, ListKind.RESULTS, [source], limit=999)
    with pytest.raises(CommitmentError, match="RESULTS, not STATE"):
        await client.fetch_list(root, ListKind.STATE, [source])
    bad = await start(origin, replace_body("", lambda body: body[32:] + body[:32]))
    with pytest.raises(BlobCorrupt, match="another root"):
        await client.fetch_list(root, ListKind.RESULTS, [bad])
    assert await client.fetch_list(root, ListKind.RESULTS, [bad, source]) == entries
    assert store.list_entries(root, ListKind.RESULTS) == entries
    empty = origin.put_list(ListKind.CONSTANTS, [])
    assert await client.fetch_list(empty, ListKind.CONSTANTS, [source]) == []


async def test_blocks(session, store, origin, start) -> None:
    entries = [bytes((i + 1,)) * 32 for i in range(3)]
    node = origin.put_block(entries, 2)
    source = await start(origin)
    client = BlobClient(session, store)
    with pytest.raises(BlobCorrupt):
        await client.fetch_block(node, 4, 2, [source])
    assert await client.fetch_block(node, 3, 2, [source]) == entries
    assert await client.fetch_block(entries[0], 1, 0, []) == [entries[0]]


async def test_a_disk_that_fills_up_during_a_download(session, store, origin, start, noise, monkeypatch) -> None:
    head = origin.put_array(noise(3000, 256))
    source = await start(origin)
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        if os.fstat(descriptor).st_size > 1 << 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data)

    client = BlobClient(session, store)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(StorageError, match="Free some space"):
            await client.fetch_tensor(head.root, [source])
    assert not store.has(head.root)
    await client.fetch_tensor(head.root, [source])
    assert np.array_equal(store.tensor(head.root)[1], origin.tensor(head.root)[1])


async def test_a_cancelled_download_continues_where_it_was(session, store, origin, start, noise) -> None:
    head = origin.put_array(noise(64, 256))
    begun = asyncio.Event()

    async def stall(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path.count("/") != 2:
            return await handler(request)
        response = web.StreamResponse()
        response.content_length = head.size
        await response.prepare(request)
        await response.write(origin.tensor(head.root)[1].tobytes()[: 10 * LEAF_SIZE + 3])
        begun.set()
        await asyncio.sleep(5)
        return response

    client = BlobClient(session, store)
    fetch = asyncio.create_task(client.fetch_tensor(head.root, [await start(origin, stall)]))
    await begun.wait()
    await asyncio.sleep(0.1)
    fetch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetch
    requests = Requests()
    await client.fetch_tensor(head.root, [await start(origin, requests.count)])
    ranges = [headers.get("Range") for path, headers in requests.headers if path.count("/") == 2]
    assert ranges == [f"bytes={10 * LEAF_SIZE}-{64 * LEAF_SIZE - 1}"]


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_is_flipped_nothing_wrong_is_kept(session, store, origin, start, noise, seed) -> None:
    random = np.random.default_rng(seed)
    head = origin.put_array(noise(20, 256))

    def flip(body: bytes) -> bytes:
        changed = bytearray(body)
        changed[random.integers(len(body))] ^= 1 << random.integers(8)
        return bytes(changed)

    bad = [await start(origin, replace_body(suffix, flip)) for suffix in ("/head", "/nodes", "")]
    client = BlobClient(session, store)
    for source in bad:
        with pytest.raises(BlobCorrupt, match=source):
            await client.fetch_tensor(head.root, [source])
        assert not store.has(head.root)
        await client.fetch_head(head.root, bad[1:])
    await client.fetch_tensor(head.root, [*bad[1:], await start(origin)])
    assert np.array_equal(store.tensor(head.root)[1], origin.tensor(head.root)[1])
