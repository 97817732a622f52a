"""What the typed contracts share: a place, an ABI, reading and encoding."""

from __future__ import annotations

from typing import Any, TypeVar

from orebit.chain import abi
from orebit.chain.connection import BlockReference, Connection

T = TypeVar("T")


class Contract:
    """A deployed contract. Reads raise `ChainError`, or `TransactionReverted` with the contract's error."""

    name: str

    def __init__(self, connection: Connection, address: str) -> None:
        self.connection = connection
        self.address = address
        self.abi = abi.load(self.name)

    async def _read(self, kind: type[T], function: str, *arguments: Any, block: BlockReference = "latest") -> T:
        values = await self._read_all(function, *arguments, block=block)
        value: T = abi.coerce(kind, values[0])
        return value

    async def _read_all(self, function: str, *arguments: Any, block: BlockReference = "latest") -> tuple[Any, ...]:
        calldata = self.abi.encode_call(function, arguments)
        what = f"{self.name}.{function}"
        answer = await self.connection.call(self.address, calldata, block=block, what=what)
        return self.abi.decode_result(function, answer)

    def _encode(self, function: str, *arguments: Any) -> bytes:
        return self.abi.encode_call(function, arguments)
