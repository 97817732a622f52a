"""Everything a requester's process holds open: home (locked), chain, key, journal and store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eth_account.signers.local import LocalAccount

from orebit.chain import keystore
from orebit.chain.connection import Connection, connect
from orebit.chain.home import Home
from orebit.chain.market import Market
from orebit.chain.registry import Registry
from orebit.chain.sender import Sender, SenderSettings
from orebit.chain.token import Token
from orebit.strategy.journal import Journal

if TYPE_CHECKING:
    from orebit.store.local import LocalStore

JOURNAL_NAME = "jobs.sqlite"


@dataclass(frozen=True)
class Requester:
    """One account on one chain, and what it keeps in its home."""

    home: Home
    connection: Connection
    market: Market
    registry: Registry
    token: Token
    sender: Sender
    account: LocalAccount
    journal: Journal
    store: LocalStore


def open_journal(home: Home) -> Journal:
    """The home's jobs."""
    return Journal(home.path / JOURNAL_NAME)


def _unlock(home: Home) -> LocalAccount:
    keystore.address_of(home.keystore)  # no password is asked for where there is no keystore
    return keystore.unlock(home.keystore, keystore.read_password())


@asynccontextmanager
async def open_requester(
    home: Home,
    *,
    rpc: Sequence[str],
    account: LocalAccount | None = None,
    poll_seconds: float = 1.0,
) -> AsyncIterator[Requester]:
    """Locks the home, unlocks the key (unless an account is given) and connects.

    Raises LockedError, AccountError, ConfigError or ChainError, before anything is written.
    """
    from orebit.store.local import LocalStore

    with home.lock():
        key = account or _unlock(home)
        journal = open_journal(home)
        try:
            async with await connect(rpc) as connection:
                settings = SenderSettings(poll_seconds=poll_seconds)
                async with Sender(connection, key, home.outbox, settings) as sender:
                    yield Requester(
                        home=home,
                        connection=connection,
                        market=Market(connection),
                        registry=Registry(connection),
                        token=Token(connection),
                        sender=sender,
                        account=key,
                        journal=journal,
                        store=LocalStore(home.blobs),
                    )
        finally:
            journal.close()
