"""`DisputeCourt`: typed reads of its views, and calldata of its functions. Games themselves: `orebit.dispute`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from orebit.chain.abi import plain
from orebit.chain.connection import BlockReference, Connection
from orebit.chain.contract import Contract
from orebit.chain.types import Conviction, DemandBook, DemandItem, GameBook, LeaseId, NodeBook

NO_HINT = bytes(32)
NO_OPENING = (0, 0, (bytes(32), bytes(32), bytes(32), 0, 0, bytes(32)), ())
"""In place of an opening, for a demand of results."""


class Court(Contract):
    """The court of a connection's deployment."""

    name = "DisputeCourt"

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, connection.deployment.arbiter)
        self._chain_id = connection.deployment.chain_id

    # Identities

    def game_id(self, lease: LeaseId, root: bytes, position: int, challenger: str) -> bytes:
        """The name of the game that this challenger opens about one shard of a lease."""
        types = ["uint256", "address", "uint72", "bytes32", "uint16", "address"]
        return keccak(encode(types, [self._chain_id, self.address, int(lease), root, position, challenger]))

    def precommitment(
        self, lease: LeaseId, root: bytes, position: int, own: bytes, challenger: str, salt: bytes
    ) -> bytes:
        """What `precommit` takes: binds the challenger's own checkpoints root before it opens."""
        types = ["uint256", "address", "uint72", "bytes32", "uint16", "bytes32", "address", "bytes32"]
        values = [self._chain_id, self.address, int(lease), root, position, own, challenger, salt]
        return keccak(encode(types, values))

    def demand_id(self, item: DemandItem) -> bytes:
        """The name of a demand."""
        values = [self._chain_id, self.address, plain(item)]
        return keccak(encode(["uint256", "address", "(uint72,uint8,uint16,uint32)"], values))

    # Views

    async def game_of(self, game: bytes, block: BlockReference = "latest") -> GameBook:
        return await self._read(GameBook, "gameOf", game, block=block)

    async def node_of(self, node: int, block: BlockReference = "latest") -> NodeBook:
        return await self._read(NodeBook, "nodeOf", node, block=block)

    async def conviction_of(self, lease: LeaseId, block: BlockReference = "latest") -> Conviction:
        return await self._read(Conviction, "convictionOf", lease, block=block)

    async def demand_of(self, demand: bytes, block: BlockReference = "latest") -> DemandBook:
        return await self._read(DemandBook, "demandOf", demand, block=block)

    async def credit_of(self, who: str, block: BlockReference = "latest") -> int:
        """Wei of ETH that wait for somebody."""
        return await self._read(int, "creditOf", who, block=block)

    async def precommit_of(self, hash: bytes, block: BlockReference = "latest") -> tuple[int, int]:
        """Rank of a pre-commit (0: there is none) and its block."""
        order, number = await self._read_all("precommitOf", hash, block=block)
        return order, number

    async def bond_of(self, lease: LeaseId, challenger: str, block: BlockReference = "latest") -> int:
        """Wei of ETH that the next game against the lease costs this challenger."""
        return await self._read(int, "bondOf", lease, challenger, block=block)

    async def floor_of(self, node: int, block: BlockReference = "latest") -> int:
        """The deposit below which a node may not lease."""
        return await self._read(int, "floorOf", node, block=block)

    async def game_price(self, block: BlockReference = "latest") -> int:
        """What one game may cost both sides at most."""
        return await self._read(int, "gamePrice", block=block)

    async def demand_price_of(self, node: int, block: BlockReference = "latest") -> int:
        """What the next demand of a node prepays."""
        return await self._read(int, "demandPriceOf", node, block=block)

    async def gas_price_cap(self, block: BlockReference = "latest") -> int:
        """Highest gas price, in wei, at which moves are refunded."""
        return await self._read(int, "gasPriceCap", block=block)

    # Calldata: games

    def encode_precommit(self, hash: bytes) -> bytes:
        return self._encode("precommit", hash)

    def encode_opening(self, call: str, arguments: Sequence[Any]) -> bytes:
        """`open` or `openAt`, with the arguments that `orebit.dispute.arguments` gives."""
        return self._encode(call, *arguments)

    def encode_move(self, call: str, game: bytes, state: bytes, arguments: Sequence[Any]) -> bytes:
        """A move that answers `state`, with the arguments that `orebit.dispute.arguments` gives."""
        return self._encode(call, game, state, *arguments)

    def encode_timeout(self, game: bytes, state: bytes) -> bytes:
        return self._encode("timeout", game, state)

    # Calldata: after a conviction

    def encode_claim(self, game: bytes, state: bytes, path: Sequence[bytes], hint: bytes = NO_HINT) -> bytes:
        """`path`: the own entry's in the own checkpoints; `hint`: the claim with the highest lower rank."""
        return self._encode("claim", game, state, list(path), hint)

    def encode_settle(self, lease: LeaseId, most: int) -> bytes:
        return self._encode("settle", lease, most)

    def encode_return_bond(self, game: bytes, state: bytes) -> bytes:
        return self._encode("returnBond", game, state)

    # Calldata: demands

    def encode_demand(self, item: DemandItem, opening: Sequence[Any] = NO_OPENING) -> bytes:
        """`opening` shows the shard whose checkpoints are demanded; of results only the lease is read."""
        given = opening if opening is not NO_OPENING else (int(item.lease), *NO_OPENING[1:])
        return self._encode("demand", item, given)

    def encode_answer_demand(
        self, item: DemandItem, entries: Sequence[bytes], path: Sequence[bytes], result_path: Sequence[bytes]
    ) -> bytes:
        return self._encode("answerDemand", item, list(entries), list(path), list(result_path))

    def encode_timeout_demand(self, item: DemandItem) -> bytes:
        return self._encode("timeoutDemand", item)

    # Calldata: ETH

    def encode_deposit(self, node: int) -> bytes:
        return self._encode("deposit", node)

    def encode_withdraw_deposit(self, node: int, amount: int) -> bytes:
        return self._encode("withdrawDeposit", node, amount)

    def encode_refresh_deposit(self, node: int) -> bytes:
        return self._encode("refreshDeposit", node)

    def encode_withdraw_credit(self, to: str) -> bytes:
        return self._encode("withdrawCredit", to)
