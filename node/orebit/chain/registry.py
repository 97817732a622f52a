"""`NodeRegistry`: typed reads of every view, and calldata of every function."""

from __future__ import annotations

from orebit.chain.connection import BlockReference, Connection
from orebit.chain.contract import Contract
from orebit.chain.types import NodeInfo


class Registry(Contract):
    """The registry of a connection's deployment."""

    name = "NodeRegistry"

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, connection.deployment.registry)

    async def node_of(self, node: int, block: BlockReference = "latest") -> NodeInfo:
        return await self._read(NodeInfo, "nodeOf", node, block=block)

    async def node_count(self, block: BlockReference = "latest") -> int:
        """Identifiers are 1 to this number."""
        return await self._read(int, "nodeCount", block=block)

    async def total_stake(self, block: BlockReference = "latest") -> int:
        return await self._read(int, "totalStake", block=block)

    async def unbonding_seconds(self, block: BlockReference = "latest") -> int:
        return await self._read(int, "unbondingSeconds", block=block)

    async def payee_of(self, node: int, block: BlockReference = "latest") -> str:
        return await self._read(str, "payeeOf", node, block=block)

    async def is_operator(self, node: int, who: str, block: BlockReference = "latest") -> bool:
        """Whether `who` may act for the node: its operator or its owner."""
        return await self._read(bool, "isOperator", node, who, block=block)

    def encode_register(self, operator: str, url: str, capabilities: str, amount: int) -> bytes:
        return self._encode("register", operator, url, capabilities, amount)

    def encode_set_operator(self, node: int, operator: str) -> bytes:
        return self._encode("setOperator", node, operator)

    def encode_set_payee(self, node: int, payee: str) -> bytes:
        return self._encode("setPayee", node, payee)

    def encode_describe(self, node: int, url: str, capabilities: str) -> bytes:
        return self._encode("describe", node, url, capabilities)

    def encode_add_stake(self, node: int, amount: int) -> bytes:
        return self._encode("addStake", node, amount)

    def encode_unbond(self, node: int, amount: int) -> bytes:
        return self._encode("unbond", node, amount)

    def encode_cancel_unbond(self, node: int) -> bytes:
        return self._encode("cancelUnbond", node)

    def encode_withdraw_stake(self, node: int) -> bytes:
        return self._encode("withdrawStake", node)

    def encode_permit(self, value: int, deadline: int, v: int, r: bytes, s: bytes) -> bytes:
        return self._encode("permit", value, deadline, v, r, s)
