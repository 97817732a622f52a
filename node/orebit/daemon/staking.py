"""An owner's acts on the node: stake, unbond, withdraw. Each checks first, so that nothing is sent in vain."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from eth_account.signers.local import LocalAccount

from orebit.chain.connection import connect
from orebit.chain.court import Court
from orebit.chain.home import Home
from orebit.chain.market import Market
from orebit.chain.registry import Registry
from orebit.chain.sender import Sender
from orebit.chain.token import Token, format_amount
from orebit.chain.types import NodeInfo
from orebit.daemon import registration
from orebit.daemon.config import NodeConfig
from orebit.daemon.court.deposit import Deposit
from orebit.daemon.journal import Journal
from orebit.errors import AccountError


@dataclass
class Owner:
    """An owner at the registry's counter, for the length of one command."""

    config: NodeConfig
    journal: Journal
    sender: Sender
    registry: Registry
    market: Market
    token: Token
    court: Court | None

    async def stake(self, amount: int) -> int:
        """Adds `amount` wei of stake, registering the node first where there is none; returns its identifier."""
        held = await self.token.balance_of(self.sender.address)
        if held < amount:
            raise AccountError(
                f"{self.sender.address} holds {format_amount(held)} TokenAI, less than the {format_amount(amount)} to "
                "be staked. Send it more, or stake less; nothing was sent."
            )
        node = await registration.find_node(self.registry, self.journal, self.sender.address)
        if node is None:
            await self._allow(amount)
            url = self.config.public_url
            node = await registration.register(self.registry, self.sender, self.journal, url, amount)
        else:
            await self._owned(node)
            await self._allow(amount)
            calldata = self.registry.encode_add_stake(node, amount)
            await self.sender.send(self.registry.address, calldata, label="add stake")
        await self.deposit(node)
        return node

    async def deposit(self, node: int) -> int:
        """Fills up the node's ETH with the court, without which it may not lease; returns what was added, in wei."""
        if self.court is None:
            return 0
        return await Deposit(self.court, self.sender, self.config.court, node).fill()

    async def withdraw_deposit(self) -> int:
        """Takes back what the court holds above its floor (all of it without a live lease); returns it in wei."""
        if self.court is None:
            return 0
        node = await self._node()
        book = await self.court.node_of(node)
        live = (await self.registry.node_of(node)).locked > 0
        amount = book.deposit - (await self.court.floor_of(node) if live else 0)
        if amount <= 0 or book.unsettled:
            return 0
        calldata = self.court.encode_withdraw_deposit(node, amount)
        await self.sender.send(self.court.address, calldata, label="withdraw the deposit")
        return amount

    async def unbond(self, amount: int) -> NodeInfo:
        """Starts to take `amount` wei out of the stake; returns the node, with the time from which it can be paid."""
        node = await self._node()
        info = await self._owned(node)
        if amount > info.available:
            raise AccountError(
                f"Node {node} has {format_amount(info.stake)} TokenAI staked, of which leases lock "
                f"{format_amount(info.locked)}: only {format_amount(info.available)} can be unbonded now. Unbond less, "
                "or run `orebit node drain` and wait until its leases are final; nothing was sent."
            )
        await self.sender.send(self.registry.address, self.registry.encode_unbond(node, amount), label="unbond")
        return await self.registry.node_of(node)

    async def withdraw(self) -> tuple[int, int]:
        """Pays out what the node earned and what has finished unbonding; returns both in wei."""
        node = await self._node()
        earned = await self.market.balance_of(node)
        if earned:
            await self.sender.send(self.market.address, self.market.encode_withdraw(node), label="withdraw")
        info = await self.registry.node_of(node)
        unbonded = info.unbonding if info.unbonding and info.unbonded_at <= time.time() else 0
        if unbonded:
            calldata = self.registry.encode_withdraw_stake(node)
            await self.sender.send(self.registry.address, calldata, label="withdraw stake")
        return earned, unbonded

    async def _node(self) -> int:
        node = await registration.find_node(self.registry, self.journal, self.sender.address)
        if node is None:
            raise AccountError(
                f"{self.sender.address} runs no node yet. Run `orebit node stake AMOUNT`, which registers one."
            )
        return node

    async def _owned(self, node: int) -> NodeInfo:
        info = await self.registry.node_of(node)
        if info.owner != self.sender.address:
            raise AccountError(
                f"Node {node} is operated by this key and owned by {info.owner}, and only its owner moves its stake. "
                "Use the owner's key; nothing was sent."
            )
        return info

    async def _allow(self, amount: int) -> None:
        if await self.token.allowance(self.sender.address, self.registry.address) < amount:
            calldata = self.token.encode_approve(self.registry.address, amount)
            await self.sender.send(self.token.address, calldata, label="allow the registry to take the stake")


@asynccontextmanager
async def owner(config: NodeConfig, home: Home, account: LocalAccount) -> AsyncIterator[Owner]:
    """Connects, for one command. Raises ChainError or ConfigError; the home is locked already."""
    journal = Journal(home.journal)
    try:
        async with await connect(config.rpc) as connection, Sender(connection, account, home.outbox) as sender:
            court = Court(connection) if connection.deployment.has_court else None
            yield Owner(config, journal, sender, Registry(connection), Market(connection), Token(connection), court)
    finally:
        journal.close()
