"""Stores, and servers of them that may misbehave."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import numpy as np
import numpy.typing as npt
import pytest
from aiohttp import web
from aiohttp.typedefs import Handler
from tampering import STORE, Middleware

from orebit.store import LocalStore, blob_routes, serve

Start = Callable[..., Awaitable[str]]


@pytest.fixture
def origin(tmp_path: Path) -> LocalStore:
    """The store that servers serve."""
    return LocalStore(tmp_path / "origin")


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """The store that a client fetches into."""
    return LocalStore(tmp_path / "store")


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts servers of a store; `tamper` is a middleware through which every request goes."""
    async with AsyncExitStack() as stack:

        async def start(store: LocalStore, tamper: Middleware | None = None, **options: object) -> str:
            @web.middleware
            async def through(request: web.Request, handler: Handler) -> web.StreamResponse:
                return await (tamper(request, handler) if tamper else handler(request))

            app = web.Application(middlewares=[through])
            app[STORE] = store
            app.add_routes(blob_routes(store, **options))  # type: ignore[arg-type]  # options are the function's own
            return await stack.enter_async_context(serve(app, "127.0.0.1", 0))

        yield start


@pytest.fixture
def noise() -> Callable[..., npt.NDArray[np.float32]]:
    """Random float32 arrays, the same in every run."""
    generator = np.random.default_rng(7)
    return lambda *shape: generator.standard_normal(shape).astype(np.float32)
