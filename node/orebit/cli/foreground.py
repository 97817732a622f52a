"""A command in the foreground: run to its end or to Ctrl-C, what it opens closed, its logs kept off the terminal."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from orebit.chain import home as homes
from orebit.chain.rpc import parse_urls

if TYPE_CHECKING:
    from orebit.strategy.onlooking import Onlooker
    from orebit.strategy.requester import Requester

DRIVER_LOG = "driver.log"
POLL_SECONDS = 0.5
"""How often a receipt is asked for, at most."""


def run_to_the_end(work: Callable[[], Awaitable[None]]) -> None:
    """Runs to the end; SIGTERM ends it as Ctrl-C does."""

    async def guarded() -> None:
        current = asyncio.current_task()
        assert current is not None
        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, current.cancel)
        await work()

    try:
        asyncio.run(guarded())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


@asynccontextmanager
async def open_requester(home: Path | None, rpc: str, poll_seconds: float = POLL_SECONDS) -> AsyncIterator[Requester]:
    """The requester of a home, locked while it is open."""
    from orebit.strategy import requester as requesters

    place = homes.locate(home)
    urls = parse_urls(rpc)
    with _logging_to(place.path / DRIVER_LOG):
        async with requesters.open_requester(place, rpc=urls, poll_seconds=poll_seconds) as requester:
            yield requester


@asynccontextmanager
async def open_onlooker(task: int, home: Path | None, rpc: str) -> AsyncIterator[Onlooker]:
    """Reads blobs into a store that is removed afterwards; locks nothing."""
    import aiohttp

    from orebit.chain.connection import connect
    from orebit.store.client import BlobClient
    from orebit.store.local import LocalStore
    from orebit.strategy.onlooking import Onlooker

    with tempfile.TemporaryDirectory(prefix="orebit-") as folder:
        async with await connect(parse_urls(rpc)) as connection, aiohttp.ClientSession() as session:
            yield Onlooker(connection, task, BlobClient(session, LocalStore(Path(folder))))


@contextlib.contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    """What happens beneath goes to a file: the terminal is for the person."""
    with path.open("a", encoding="utf-8") as file:
        structlog.configure(
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso"),
                structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
            logger_factory=structlog.PrintLoggerFactory(file=file),
            cache_logger_on_first_use=False,
        )
        try:
            yield
        finally:
            structlog.reset_defaults()
