"""The HTTP routes, as any client sees them."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest
from aiohttp import web

from orebit.commitment import ListKind, Shard
from orebit.errors import ConfigError
from orebit.store import blob_routes, serve, server


@pytest.fixture
async def url(start, origin) -> str:
    return await start(origin)


async def get(session, address: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    async with session.get(address, headers=headers) as answer:
        return answer.status, await answer.read(), dict(answer.headers)


async def test_every_kind_of_blob(session, origin, url, noise) -> None:
    array = noise(30, 40)
    head = origin.put_array(array)
    shard = Shard(*[bytes((i,)) * 32 for i in (1, 2, 3)], 4, 2, b"\x05" * 32)
    origin.put_preimage(shard.encode())
    entries = [b"\x07" * 32, b"\x08" * 32]
    listed = origin.put_list(ListKind.STATE, entries)
    block = origin.put_block(entries, 2)
    for root, data in (
        (head.root, array.tobytes()),
        (shard.id, shard.encode()),
        (listed, b"".join(entries)),
        (block, b"".join(entries)),
        (origin.put_list(ListKind.CONSTANTS, []), b""),
    ):
        assert (await get(session, f"{url}/blobs/{root.hex()}"))[:2] == (200, data)
    assert (await get(session, f"{url}/blobs/{head.root.hex()}/head"))[:2] == (200, head.encode())
    nodes = f"{url}/blobs/{head.root.hex()}/nodes"
    assert (await get(session, f"{nodes}?level=3&from=0&count=1"))[:2] == (200, head.raw_root)
    assert (await get(session, f"{nodes}?level=0&from=1&count=3"))[1] == origin.nodes(head.root, 0, 1, 3)
    assert (await get(session, f"{url}/health"))[:2] == (200, b'{"status": "ok"}')


async def test_ranges(session, origin, url) -> None:
    data = bytes(i % 251 for i in range(700_000))
    pieces = [origin.put_bytes(data[i * 262144 : (i + 1) * 262144]) for i in range(3)]
    head = origin.put_composed([piece.root for piece in pieces], 2, (700_000,))
    address = f"{url}/blobs/{head.root.hex()}"
    for text, start, stop in (
        ("0-0", 0, 1),
        ("262140-262150", 262140, 262151),
        ("100-", 100, 700_000),
        ("-5", 699_995, 700_000),
        ("699999-800000", 699_999, 700_000),
        ("1000-650000", 1000, 650_001),
    ):
        status, body, headers = await get(session, address, Range=f"bytes={text}")
        assert (status, body) == (206, data[start:stop])
        assert headers["Content-Range"] == f"bytes {start}-{stop - 1}/700000"
    for text in ("bytes=700000-", "bytes=5-3", "lines=1-2", "bytes=a-b"):
        assert (await get(session, address, Range=text))[0] == 416
    async with session.head(address) as answer:
        assert answer.status == 200 and answer.content_length == 700_000 and answer.headers["Accept-Ranges"] == "bytes"


async def test_what_is_not_here_and_what_is_hidden_look_alike(session, origin, start, noise) -> None:
    head = origin.put_array(noise(3, 3))
    shown: set[bytes] = set()
    url = await start(origin, visible=shown.__contains__)
    missing = await get(session, f"{url}/blobs/{bytes(31).hex()}01")
    for path in ("", "/head", "/nodes?level=0&from=0&count=1"):
        hidden = await get(session, f"{url}/blobs/{head.root.hex()}{path}")
        assert hidden[:2] == missing[:2] == (404, b"not here")
    assert (await get(session, f"{url}/plans/{head.root.hex()}"))[0] == 404
    shown.add(head.root)
    assert (await get(session, f"{url}/blobs/{head.root.hex()}"))[0] == 200


async def test_zero_tensors_are_not_sent_whole_or_by_range(session, origin, url) -> None:
    head = origin.put_array(np.zeros(1 << 20, np.float32))
    assert (await get(session, f"{url}/blobs/{head.root.hex()}"))[0] == 404
    assert (await get(session, f"{url}/blobs/{head.root.hex()}/head"))[0] == 200


async def test_zeros_inside_a_composition_are_sent(session, origin, url, noise) -> None:
    pieces = [origin.put_array(np.zeros((4, 256), np.float32)), origin.put_array(noise(4, 256))]
    whole = origin.put_composed([piece.root for piece in pieces], 0, (8, 256))
    assert (await get(session, f"{url}/blobs/{whole.root.hex()}"))[1] == origin.tensor(whole.root)[1].tobytes()


async def test_requests_that_make_no_sense(session, origin, url, noise) -> None:
    head = origin.put_array(noise(30, 40))
    nodes = f"/blobs/{head.root.hex()}/nodes"
    for path in (
        "/blobs/abc",
        "/blobs/" + "G" * 64,
        "/blobs/" + "A" * 64,
        "/plans/..",
        nodes,
        f"{nodes}?level=0&from=0&count=8193",
        f"{nodes}?level=0&from=0&count=0",
        f"{nodes}?level=-1&from=0&count=1",
        f"{nodes}?level=0&from=4&count=5",
        f"{nodes}?level=9999999999999999999&from=0&count=1",
    ):
        assert (await get(session, url + path))[0] in (400, 404), path


async def test_a_file_that_shrank_ends_the_answer_early(session, origin, start, store, noise) -> None:
    head = origin.put_array(noise(1000, 256))
    extent = origin.extents(head.root)[0]
    assert extent.path is not None
    with open(extent.path, "r+b") as file:
        file.truncate(5000)
    url = await start(origin)
    assert (await get(session, f"{url}/blobs/{head.root.hex()}"))[0] == 404


async def test_a_port_in_use(start, origin) -> None:
    url = await start(origin)
    app = web.Application()
    app.add_routes(blob_routes(origin))
    with pytest.raises(ConfigError, match="in use by another program"):
        async with serve(app, "127.0.0.1", int(url.rsplit(":", 1)[1])):
            pass


async def test_requests_beyond_the_bound_wait_and_are_then_refused(session, origin, start, noise, monkeypatch) -> None:
    monkeypatch.setattr(server, "MAX_STREAMS", 1)
    monkeypatch.setattr(server, "WAIT_SECONDS", 0.2)
    head = origin.put_array(noise(10, 10))
    url = await start(origin)
    preimage, held = origin.preimage, threading.Event()
    monkeypatch.setattr(origin, "preimage", lambda root: held.wait(5) and preimage(root))
    slow = asyncio.create_task(get(session, f"{url}/blobs/{head.root.hex()}/head"))
    await asyncio.sleep(0.1)
    assert (await get(session, f"{url}/blobs/{head.root.hex()}"))[0] == 503
    held.set()
    assert (await slow)[0] == 200
    assert (await get(session, f"{url}/blobs/{head.root.hex()}"))[0] == 200
