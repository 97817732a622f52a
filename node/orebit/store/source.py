"""The border to a stranger's blob server: bounded, timed requests, and one place where their failures become ours."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from yarl import URL

CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client accepts from strangers. Sizes in bytes, times in seconds."""

    tensor: int = 64 << 30
    entries: int = 1 << 22
    program: int = 64 << 20
    plan: int = 64 << 20
    connect: float = 10.0
    stall: float = 20.0  # the longest silence within an answer
    rate: int = 16 << 10  # the least bytes a second that an answer may average
    parallel: int = 8  # blobs fetched at once


class SourceFailed(Exception):
    """One source did not give what was asked. Stays inside this layer; `corrupt` when it gave something else."""

    def __init__(self, reason: str, *, corrupt: bool = False) -> None:
        super().__init__(reason)
        self.corrupt = corrupt


class Source:
    """One server, by its base URL."""

    def __init__(self, session: aiohttp.ClientSession, url: str, limits: Limits) -> None:
        self._session = session
        self._url = url
        self._limits = limits

    async def body(self, path: str, limit: int, query: Mapping[str, int] | None = None) -> bytes:
        """A whole answer of at most `limit` bytes."""
        data = bytearray()
        async with self._answer(path, limit, query=query) as answer:
            _check_length(answer, limit, exact=False)
            async for chunk in answer.content.iter_any():
                data += chunk
                if len(data) > limit:
                    raise SourceFailed(f"sent more than the {limit} bytes that belong there", corrupt=True)
        return bytes(data)

    async def exactly(self, path: str, size: int, query: Mapping[str, int] | None = None) -> bytes:
        """A whole answer of exactly `size` bytes."""
        data = await self.body(path, size, query)
        if len(data) != size:
            raise SourceFailed(f"sent {len(data)} bytes where {size} belong", corrupt=True)
        return data

    async def stream(self, path: str, start: int, stop: int, size: int) -> AsyncIterator[bytes]:
        """Bytes [start, stop) of a blob of `size` bytes, in pieces as they arrive."""
        whole = (start, stop) == (0, size)
        left = stop - start
        headers = {} if whole else {"Range": f"bytes={start}-{stop - 1}"}
        async with self._answer(path, left, headers=headers) as answer:
            _check_range(answer, start, stop, whole)
            _check_length(answer, left, exact=True)
            async for chunk in answer.content.iter_any():
                left -= len(chunk)
                if left < 0:
                    raise SourceFailed(f"sent more than the {stop - start} bytes asked for", corrupt=True)
                yield chunk
        if left:
            raise SourceFailed(f"ended the blob {left} bytes early", corrupt=True)

    @asynccontextmanager
    async def _answer(
        self,
        path: str,
        expected: int,
        *,
        query: Mapping[str, int] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        limits = self._limits
        timeout = aiohttp.ClientTimeout(
            total=limits.connect + limits.stall + expected / limits.rate,
            sock_connect=limits.connect,
            sock_read=limits.stall,
        )
        try:
            async with self._session.get(
                self._address(path, query),
                headers={"Accept-Encoding": "identity", **(headers or {})},
                timeout=timeout,
                allow_redirects=False,
            ) as answer:
                _check_status(answer)
                yield answer
        except TimeoutError:
            raise SourceFailed(
                f"sent nothing for {limits.stall:g} s, or less than {limits.rate} bytes a second"
            ) from None
        except aiohttp.ClientPayloadError:
            raise SourceFailed("closed the connection before the end") from None
        except (aiohttp.ClientError, OSError) as error:
            raise SourceFailed(f"cannot be reached ({_brief(error)})") from None

    def _address(self, path: str, query: Mapping[str, int] | None) -> URL:
        try:
            base = URL(self._url)
        except ValueError:
            raise SourceFailed("is not a URL") from None
        if base.scheme not in ("http", "https") or not base.host or base.user or base.query_string:
            raise SourceFailed("is not a plain http or https URL")
        address = base.with_path(base.path.rstrip("/") + path)
        return address.with_query({name: str(value) for name, value in query.items()}) if query else address


def _check_status(answer: aiohttp.ClientResponse) -> None:
    if answer.status == 404:
        raise SourceFailed("does not have it")
    if answer.status not in (200, 206):
        raise SourceFailed(f"answered {answer.status} {answer.reason or ''}".rstrip())
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise SourceFailed("answered in an encoding that was not asked for")


def _check_length(answer: aiohttp.ClientResponse, expected: int, *, exact: bool) -> None:
    length = answer.content_length
    if length is not None and (length > expected or (exact and length != expected)):
        raise SourceFailed(f"announces {length} bytes where {expected} belong", corrupt=True)


def _check_range(answer: aiohttp.ClientResponse, start: int, stop: int, whole: bool) -> None:
    if whole:
        return
    if answer.status != 206:
        raise SourceFailed("does not serve ranges")
    told = CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if told is None or (int(told[1]), int(told[2]) + 1) != (start, stop):
        raise SourceFailed("answered with another range than the one asked for", corrupt=True)


def _brief(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
