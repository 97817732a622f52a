"""What a cycle reads of the contracts, each once until an event says that something has changed.

Reads name, by its hash, the block up to which events were read. All that is read here changes only in transactions that
emit an event of the deployment, so an answer holds as long as the blocks that follow, each proven by its parent's hash,
have none. A reorg ends it, and so does age: money is at stake, and an endpoint may be wrong about a block.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar

import structlog

from orebit.chain.connection import BlockReference
from orebit.chain.rpc import RpcError

log = structlog.get_logger(__name__)

LONGEST = 5.0
"""Seconds after which everything is read again, whatever the events say."""

T = TypeVar("T")


class Snapshot:
    """Answers as of one block. `stand` is called when a cycle begins, `forget` at any sign of change."""

    def __init__(self) -> None:
        self._block: bytes | None = None
        self._known: dict[Hashable, Any] = {}
        self._since = 0.0

    def forget(self) -> None:
        """Something happened, or was undone; until the next `stand` the latest state is read, and not kept."""
        self._block = None
        self._known = {}
        self._since = time.monotonic()

    def stand(self, block: bytes | None) -> None:
        """Events are known up to the block of this hash, which is the head; None: they are not known up to there."""
        if block is None or time.monotonic() - self._since > LONGEST:
            self.forget()
        self._block = block

    async def read(self, key: Hashable, ask: Callable[[BlockReference], Awaitable[T]]) -> T:
        """What `ask` says of the block; None is not kept. Raises as `ask` does about the latest block."""
        block, known = self._block, self._known
        if block is None:
            return await ask("latest")
        if key in known:
            kept: T = known[key]
            return kept
        try:
            found = await ask(block)
        except RpcError as error:
            # An endpoint that does not have the block yet, or does not take a hash.
            log.debug("read at the latest block instead", key=str(key), reason=str(error))
            return await ask("latest")
        if found is not None:
            known[key] = found  # of a dictionary that may have been forgotten meanwhile
        return found
