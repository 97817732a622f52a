"""JSON-RPC over HTTP to several endpoints: the first that answers is used until it fails."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from orebit.errors import ChainError, ConfigError

REST_SECONDS = 30.0
"""How long an endpoint that could not be reached is asked last."""


class RpcError(ChainError):
    """The endpoint answered with a JSON-RPC error: its code, message and data."""

    def __init__(self, method: str, code: int, text: str, data: Any) -> None:
        super().__init__(f"The RPC endpoint refused {method}: {text} (code {code}).")
        self.code = code
        self.text = text
        self.data = data

    @property
    def revert_data(self) -> bytes | None:
        """The data of a revert, wherever this client puts it; None when the error is no revert."""
        data = self.data.get("data") if isinstance(self.data, dict) else self.data
        if isinstance(data, str) and data.startswith("0x"):
            return bytes.fromhex(data[2:])
        return b"" if self.code == 3 or "revert" in self.text.lower() else None


def parse_urls(text: str) -> list[str]:
    """The RPC URLs of a comma-separated list. Raises `ConfigError` for none, or for one that is not http(s)."""
    urls = [part.strip() for part in text.split(",") if part.strip()]
    for url in urls:
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise ConfigError(f"{redact(url)!r} is not an RPC URL: give http://HOST:PORT or https://HOST/... .")
    if not urls:
        raise ConfigError("No RPC URL is given. Set OREBIT_RPC, or use --rpc, with one or several separated by commas.")
    return urls


def redact(url: str) -> str:
    """Scheme, host and port only: paths and users carry API keys."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}" if parts.hostname else url


Guard = Callable[["Endpoint"], Awaitable[None]]
"""Raises `ChainError` for an endpoint that must not be used."""


class Endpoint:
    """One URL. Raises `RpcError` for an error answer and `ChainError` for no answer or nonsense."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.name = redact(url)
        self.guard: Guard | None = None
        """Asked once, before the first call: an endpoint that was down at the start is checked when it comes back."""
        self._guarding = asyncio.Lock()
        self._session = session
        self._numbers = itertools.count(1)
        self._failed_at = -math.inf

    @property
    def resting(self) -> bool:
        """Whether it failed a moment ago, so that others are asked first."""
        return time.monotonic() - self._failed_at < REST_SECONDS

    async def call(self, method: str, *parameters: Any) -> Any:
        if self.guard is not None:
            await self.verify()
        return await self.request(method, *parameters)

    async def verify(self) -> None:
        """Has the guard look at it, once."""
        async with self._guarding:
            if self.guard is not None:
                await self.guard(self)
                self.guard = None

    async def request(self, method: str, *parameters: Any) -> Any:
        """A call that no guard sees."""
        body = {"jsonrpc": "2.0", "id": next(self._numbers), "method": method, "params": parameters}
        answer = self._parse(await self._post(json.dumps(body)))
        if "error" in answer:
            error = answer["error"] if isinstance(answer["error"], dict) else {"message": answer["error"]}
            raise RpcError(method, error.get("code", 0), str(error.get("message", "")), error.get("data"))
        if "result" not in answer:
            raise ChainError(f"{self.name} answered without a result; it may not be an Ethereum RPC endpoint.")
        self._failed_at = -math.inf
        return answer["result"]

    async def _post(self, body: str) -> str:
        try:
            headers = {"Content-Type": "application/json"}
            async with self._session.post(self.url, data=body, headers=headers) as response:
                return await response.text(encoding="utf-8", errors="replace")
        except TimeoutError as error:
            self._failed_at = time.monotonic()
            raise ChainError(f"{self.name} did not answer in time.") from error
        except (aiohttp.ClientError, OSError) as error:
            self._failed_at = time.monotonic()
            raise ChainError(f"{self.name} cannot be reached ({error or type(error).__name__}).") from error

    def _parse(self, text: str) -> dict[str, Any]:
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise ChainError(f"{self.name} answered something other than JSON-RPC: {text[:80]!r}.")
        return answer


_RATE_LIMITED = -32005
_TRANSIENT = (-32603, _RATE_LIMITED)
"""Internal error and limit exceeded: worth asking another endpoint."""


class Rpc:
    """Several endpoints of one chain."""

    def __init__(self, urls: Sequence[str], *, timeout: float = 15.0) -> None:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout))
        self.endpoints = [Endpoint(url, self._session) for url in urls]
        self._current = 0

    def ordered(self) -> list[Endpoint]:
        """The endpoint in use first, then the others, last those that failed a moment ago."""
        found = self.endpoints[self._current :] + self.endpoints[: self._current]
        return sorted(found, key=lambda endpoint: endpoint.resting)

    def awake(self) -> list[Endpoint]:
        """In the same order, without those that failed a moment ago, unless all did."""
        found = self.ordered()
        return [endpoint for endpoint in found if not endpoint.resting] or found

    async def call(self, method: str, *parameters: Any) -> Any:
        """The first endpoint's answer. Raises `RpcError` for a refusal, `ChainError` when no endpoint answers."""
        failures: list[ChainError] = []
        for endpoint in self.ordered():
            try:
                answer = await endpoint.call(method, *parameters)
            except RpcError as error:
                if error.code not in _TRANSIENT or error.revert_data is not None:
                    raise
                failures.append(error)
            except ChainError as error:
                failures.append(error)
            else:
                self._current = self.endpoints.index(endpoint)
                return answer
        if isinstance(failures[-1], RpcError):
            raise failures[-1]
        raise ChainError(
            f"No RPC endpoint answered: {' '.join(map(str, failures))} "
            "Check the network and the RPC URL (OREBIT_RPC or --rpc); several may be given, separated by commas."
        )

    async def call_all(self, method: str, *parameters: Any) -> list[Any]:
        """Every endpoint's answer; those that fail or are resting are left out."""
        answers = await asyncio.gather(
            *(endpoint.call(method, *parameters) for endpoint in self.awake()), return_exceptions=True
        )
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, ChainError):
                raise answer
        return [answer for answer in answers if not isinstance(answer, BaseException)]

    async def close(self) -> None:
        await self._session.close()

    async def __aenter__(self) -> Rpc:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
