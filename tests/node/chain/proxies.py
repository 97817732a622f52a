"""An RPC endpoint that misbehaves as it is told, in front of a real one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

Call = Callable[..., Awaitable[dict[str, Any]]]
"""Asks the real endpoint: method, then parameters; the whole JSON-RPC answer."""

Tamper = Callable[[str, list[Any], Call], Awaitable[dict[str, Any] | None]]
"""Answers in place of the real endpoint, or None to let it answer."""


@asynccontextmanager
async def proxy(target: str, tamper: Tamper) -> AsyncIterator[str]:
    """Serves `target` through `tamper`; yields the URL."""
    async with aiohttp.ClientSession() as session:

        async def call(method: str, *parameters: Any) -> dict[str, Any]:
            body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
            async with session.post(target, json=body) as response:
                answer: dict[str, Any] = await response.json()
                return answer

        async def serve(request: web.Request) -> web.Response:
            body = await request.json()
            answer = await tamper(body["method"], body["params"], call)
            return web.json_response(answer or await call(body["method"], *body["params"]))

        app = web.Application()
        app.router.add_post("/", serve)
        runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        assert runner.addresses
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


def result(value: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "result": value}


def refusal(message: str, code: int = -32000) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "error": {"code": code, "message": message}}


async def honest(method: str, parameters: list[Any], call: Call) -> None:
    return None


async def silent(method: str, parameters: list[Any], call: Call) -> None:
    """Never answers within a test's patience."""
    await asyncio.sleep(30)
