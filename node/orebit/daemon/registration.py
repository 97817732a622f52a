"""Which node of the registry this account runs, and becoming one."""

from __future__ import annotations

import platform
from importlib.metadata import version

import structlog

from orebit.chain import events
from orebit.chain.registry import Registry
from orebit.chain.sender import Sender
from orebit.daemon.journal import Journal
from orebit.errors import AccountError

log = structlog.get_logger(__name__)


def capabilities() -> str:
    """What this machine says of itself in the registry; nobody relies on it."""
    return f"reference; {platform.machine()}; torch {version('torch')}"


async def find_node(registry: Registry, journal: Journal, address: str) -> int | None:
    """The node that `address` operates or owns: the journal's if it is still so, else the newest of the registry."""
    known = journal.node
    if known is not None and await _acts_for(registry, known, address):
        return known
    for node in range(await registry.node_count(), 0, -1):
        if await _acts_for(registry, node, address):
            journal.set_setting("node", str(node))
            return node
    return None


async def _acts_for(registry: Registry, node: int, address: str) -> bool:
    info = await registry.node_of(node)
    return address in (info.operator, info.owner)


async def register(registry: Registry, sender: Sender, journal: Journal, url: str, stake: int = 0) -> int:
    """Registers a node that this account owns and operates. `stake` (wei) must be allowed to the registry already."""
    calldata = registry.encode_register(sender.address, url, capabilities(), stake)
    receipt = await sender.send(registry.address, calldata, label="register", key=f"register {sender.address}")
    for event in receipt.events:
        if isinstance(event, events.NodeRegistered):
            journal.set_setting("node", str(event.node))
            log.info("registered", node=event.node, url=url)
            return event.node
    raise AccountError(
        f"The registration of {sender.address} is on the chain, but no node came of it. The deployment's addresses may "
        "be of other contracts; check OREBIT_DEPLOYMENT."
    )


async def describe(registry: Registry, sender: Sender, node: int, url: str) -> None:
    """Tells the registry where this node serves blobs, if it says otherwise."""
    if (await registry.node_of(node)).url != url:
        await sender.send(registry.address, registry.encode_describe(node, url, capabilities()), label="describe")
        log.info("the registry has the new address", node=node, url=url)
