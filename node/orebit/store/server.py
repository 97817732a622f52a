"""The HTTP routes by which blobs are served to anyone. What is served is content-addressed, so nobody need trust it."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager

from aiohttp import web

from orebit.commitment import HASH_SIZE
from orebit.errors import BlobCorrupt, BlobMissing, CommitmentError, ConfigError, OrebitError
from orebit.store.files import disk_errors
from orebit.store.local import Extent, LocalStore

MAX_NODES = 8192
MAX_STREAMS = 64
WAIT_SECONDS = 10.0
CHUNK = 256 << 10
WRITE_SECONDS = 30.0

Visible = Callable[[bytes], bool]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def everything(_root: bytes) -> bool:
    """The `visible` of a server that hides nothing."""
    return True


def blob_routes(store: LocalStore, visible: Visible = everything) -> list[web.RouteDef]:
    """Routes that serve a store.

    `GET /blobs/ROOT` (ranges), `/blobs/ROOT/head`, `/blobs/ROOT/nodes?level&from&count`, `/plans/ROOT`, `/health`.
    A root for which `visible` is false is answered like one that is not here: 404. `visible` is called on the event
    loop and must not block.
    """
    server = _Server(store, visible)
    return [
        web.get("/blobs/{root}", server.guard(server.blob)),
        web.get("/blobs/{root}/head", server.guard(server.head)),
        web.get("/blobs/{root}/nodes", server.guard(server.nodes)),
        web.get("/plans/{root}", server.guard(server.plan)),
        web.get("/health", server.health),
    ]


@asynccontextmanager
async def serve(app: web.Application, host: str, port: int) -> AsyncIterator[str]:
    """Serve an application for the length of the block; yields its URL. Port 0 takes a free one.

    Raises ConfigError when the port is in use or the host is not this machine's.
    """
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise ConfigError(_listen_advice(error, host, port)) from error
        bound = runner.addresses[0][1]
        shown = f"[{host}]" if ":" in host else host
        yield f"http://{shown}:{bound}"
    finally:
        await runner.cleanup()


def _listen_advice(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} on {host} is in use by another program. Choose another port, or stop that program."
    return f"Cannot listen on {host}, port {port}: {error.strerror}. Choose an address and port of this machine."


class _Server:
    def __init__(self, store: LocalStore, visible: Visible) -> None:
        self._store = store
        self._visible = visible
        self._slots = asyncio.Semaphore(MAX_STREAMS)

    def guard(self, handler: Callable[[web.Request, bytes], Awaitable[web.StreamResponse]]) -> Handler:
        """Parse and check the root, bound the requests under way, and turn our errors into answers."""

        async def handle(request: web.Request) -> web.StreamResponse:
            root = _root(request)
            if not self._visible(root):
                raise _missing()
            await self._take_slot()
            try:
                return await handler(request, root)
            except (BlobMissing, BlobCorrupt):
                raise _missing() from None
            except CommitmentError as error:
                raise web.HTTPBadRequest(text=str(error)) from error
            except OrebitError as error:
                raise web.HTTPInternalServerError(text="this node cannot read its store") from error
            finally:
                self._slots.release()

        return handle

    async def _take_slot(self) -> None:
        try:
            await asyncio.wait_for(self._slots.acquire(), WAIT_SECONDS)
        except TimeoutError:
            raise web.HTTPServiceUnavailable(text="too many requests at once", headers={"Retry-After": "5"}) from None

    async def health(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def head(self, _request: web.Request, root: bytes) -> web.Response:
        return _bytes(await asyncio.to_thread(self._store.preimage, root))

    async def nodes(self, request: web.Request, root: bytes) -> web.Response:
        level, first, count = (_number(request, name) for name in ("level", "from", "count"))
        if count > MAX_NODES:
            raise web.HTTPBadRequest(text=f"at most {MAX_NODES} nodes a request")
        return _bytes(await asyncio.to_thread(self._store.nodes, root, level, first, count))

    async def plan(self, _request: web.Request, root: bytes) -> web.Response:
        plan = await asyncio.to_thread(self._store.plan, root)
        return web.Response(body=plan.encode(), content_type="application/json")

    async def blob(self, request: web.Request, root: bytes) -> web.StreamResponse:
        extents = await asyncio.to_thread(self._servable, root)
        size = sum(extent.length for extent in extents)
        start, stop, partial = _range(request, size)
        response = web.StreamResponse(status=206 if partial else 200)
        response.content_type = "application/octet-stream"
        response.content_length = stop - start
        response.headers.update(
            {"Accept-Ranges": "bytes", "ETag": f'"{root.hex()}"', "Cache-Control": "public, immutable"}
        )
        if partial:
            response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        await response.prepare(request)
        if request.method != "HEAD":
            await self._send(request, response, extents, start, stop)
        return response

    async def _send(
        self, request: web.Request, response: web.StreamResponse, extents: Sequence[Extent], start: int, stop: int
    ) -> None:
        try:
            for extent, offset, length in _chunks(extents, start, stop):
                data = await asyncio.to_thread(_read, extent, offset, length)
                # A reader that does not read would hold one of the streams for ever.
                await asyncio.wait_for(response.write(data), WRITE_SECONDS)
        except (OrebitError, TimeoutError):
            # The status is sent: a body that ends early is all that can still say no.
            if request.transport is not None:
                request.transport.abort()

    def _servable(self, root: bytes) -> list[Extent]:
        extents = self._store.extents(root)
        if len(extents) == 1 and extents[0].path is None:
            raise BlobMissing("an all-zero tensor is never sent: its head says everything")
        return extents


def _chunks(extents: Sequence[Extent], start: int, stop: int) -> Iterator[tuple[Extent, int, int]]:
    """Reads of at most CHUNK bytes that cover [start, stop) of the extents laid end to end."""
    base = 0
    for extent in extents:
        first, last = max(start - base, 0), min(stop - base, extent.length)
        for place in range(first, last, CHUNK):
            yield extent, place, min(CHUNK, last - place)
        base += extent.length


def _read(extent: Extent, offset: int, length: int) -> bytes:
    if extent.path is None:
        return bytes(length)
    with disk_errors(extent.path), open(extent.path, "rb", buffering=0) as file:
        file.seek(extent.offset + offset)
        data = file.read(length)
    if len(data) != length:
        raise BlobMissing("the file is shorter than it was")
    return data


def _root(request: web.Request) -> bytes:
    text = request.match_info["root"]
    if len(text) != 2 * HASH_SIZE or not all(character in "0123456789abcdef" for character in text):
        raise web.HTTPBadRequest(text="a root is 64 lower-case hexadecimal digits")
    return bytes.fromhex(text)


def _number(request: web.Request, name: str) -> int:
    text = request.query.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise web.HTTPBadRequest(text=f"{name} is a whole number")
    return int(text)


def _range(request: web.Request, size: int) -> tuple[int, int, bool]:
    """Start, stop, and whether a range was asked for."""
    refuse = web.HTTPRequestRangeNotSatisfiable(headers={"Content-Range": f"bytes */{size}"})
    try:
        asked = request.http_range
    except ValueError:
        raise refuse from None
    if asked.start is None and asked.stop is None:
        return 0, size, False
    start, stop, _ = asked.indices(size)
    if start >= stop:
        raise refuse
    return start, stop, True


def _bytes(data: bytes) -> web.Response:
    return web.Response(body=data, content_type="application/octet-stream")


def _missing() -> web.HTTPNotFound:
    return web.HTTPNotFound(text="not here")
