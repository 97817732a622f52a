"""Middlewares that record or falsify what a blob server answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Handler

from orebit.store import LocalStore

Middleware = Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]
STORE = web.AppKey("store", LocalStore)


class Requests:
    """Records every request."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.headers: list[tuple[str, dict[str, str]]] = []

    async def count(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.seen.append((request.path, dict(request.query)))
        self.headers.append((request.path, dict(request.headers)))
        return await handler(request)


def replace_body(suffix: str, change: Callable[[bytes], bytes]) -> Middleware:
    """Falsifies the bodies of /blobs/ROOT + suffix."""

    async def tamper(request: web.Request, handler: Handler) -> web.StreamResponse:
        expected = f"/blobs/{request.match_info.get('root')}{suffix}"
        if request.path != expected:
            return await handler(request)
        return web.Response(body=change(await _body(request, handler, suffix)))

    return tamper


async def _body(request: web.Request, handler: Handler, suffix: str) -> bytes:
    if suffix:
        response = await handler(request)
        assert isinstance(response, web.Response) and isinstance(response.body, bytes)
        return response.body
    store = request.app[STORE]
    root = bytes.fromhex(request.match_info["root"])
    return b"".join(
        extent.path.read_bytes()[extent.offset : extent.offset + extent.length] for extent in store.extents(root)
    )
