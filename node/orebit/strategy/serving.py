"""A requester's blobs over HTTP, for nodes and for auditors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from orebit.chain.home import Home
from orebit.store.local import LocalStore
from orebit.store.server import blob_routes, serve


@asynccontextmanager
async def serve_store(home: Home, host: str, port: int) -> AsyncIterator[str]:
    """Serves a home's blobs; yields the address. Raises ConfigError when the port is taken."""
    app = web.Application()
    app.add_routes(blob_routes(LocalStore(home.blobs)))
    async with serve(app, host, port) as url:
        yield url
