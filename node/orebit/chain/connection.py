"""A chain that is proven to be the deployment's, and calls to it."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any

from orebit.chain import deployment as deployments
from orebit.chain.deployment import Deployment
from orebit.chain.revert import reverted
from orebit.chain.rpc import Endpoint, Rpc, RpcError
from orebit.chain.types import Block
from orebit.errors import ChainError

BlockReference = int | bytes | str
"""A number, a hash, or "latest", "pending", "finalized"."""


class WrongChain(ChainError):
    """An endpoint serves another chain than the deployment's."""


class Connection:
    """RPC endpoints of the chain that `deployment` names. Close it, or use it as an async context manager."""

    def __init__(self, rpc: Rpc, deployment: Deployment) -> None:
        self.rpc = rpc
        self.deployment = deployment

    async def call(
        self, to: str, data: bytes, *, block: BlockReference = "latest", sender: str | None = None, what: str = "a call"
    ) -> bytes:
        """What a contract answers. Raises `TransactionReverted` with its error, `ChainError` when no one answers."""
        request = {"to": to, "data": "0x" + data.hex()} | ({"from": sender} if sender else {})
        try:
            return from_hex(await self.rpc.call("eth_call", request, reference(block)))
        except RpcError as error:
            if error.revert_data is None:
                raise
            raise reverted(what, error.revert_data) from error

    async def block(self, which: int | str = "latest") -> Block | None:
        """A block's header, None where the endpoint has none."""
        found = await self.rpc.call("eth_getBlockByNumber", reference(which), False)
        return parse_block(found) if found else None

    async def head(self) -> Block:
        """The latest block."""
        found = await self.block()
        if found is None:
            raise ChainError("The RPC endpoint has no latest block: it is still starting. Try again in a moment.")
        return found

    async def ether_of(self, address: str, block: BlockReference = "latest") -> int:
        """Wei of ETH that an address holds."""
        return quantity(await self.rpc.call("eth_getBalance", address, reference(block)))

    async def code_of(self, address: str, block: BlockReference = "latest") -> bytes:
        return from_hex(await self.rpc.call("eth_getCode", address, reference(block)))

    async def close(self) -> None:
        await self.rpc.close()

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def connect(
    urls: Sequence[str] | str, deployment: Deployment | None = None, *, timeout: float = 15.0
) -> Connection:
    """Connects and checks chain id, genesis and code; without `deployment`, finds it by environment or chain id.

    Raises `ChainError` when no endpoint answers or the chain is another, `ConfigError` when no deployment is known.
    """
    rpc = Rpc([urls] if isinstance(urls, str) else urls, timeout=timeout)
    try:
        connection = Connection(rpc, await _choose(rpc, deployment))
        await _check(connection)
    except BaseException:
        await rpc.close()
        raise
    return connection


async def _choose(rpc: Rpc, deployment: Deployment | None) -> Deployment:
    if deployment is not None:
        return deployment
    if deployments.named_elsewhere():
        return deployments.load()
    return deployments.load(quantity(await rpc.call("eth_chainId")))


async def _check(connection: Connection) -> None:
    """Every endpoint that answers must serve the deployment's chain; one at least must answer."""
    wanted = connection.deployment

    async def guard(endpoint: Endpoint) -> None:
        await _require_chain(endpoint, wanted)

    for endpoint in connection.rpc.endpoints:
        endpoint.guard = guard
    for endpoint in connection.rpc.endpoints:
        try:
            await endpoint.verify()
        except (WrongChain, RpcError):
            raise
        except ChainError:
            continue  # down: the guard looks again when it is back
    if not await connection.code_of(wanted.market):
        raise ChainError(
            f"There is no contract at the market's address {wanted.market} on chain {wanted.chain_id}. "
            "The deployment file is stale, or the endpoint has not synced yet."
        )


async def _require_chain(endpoint: Endpoint, wanted: Deployment) -> None:
    """Raises `WrongChain` when the endpoint serves another chain than the deployment's."""
    chain_id = quantity(await endpoint.request("eth_chainId"))
    if chain_id != wanted.chain_id:
        raise WrongChain(
            f"{endpoint.name} serves chain {chain_id}, but the deployment is on chain {wanted.chain_id}. "
            f"Use an RPC URL of chain {wanted.chain_id}, or name its deployment in OREBIT_DEPLOYMENT."
        )
    genesis = await endpoint.request("eth_getBlockByNumber", "0x0", False)
    if genesis is None or parse_block(genesis).hash != wanted.genesis:
        raise WrongChain(
            f"{endpoint.name} has the right chain id {chain_id} but another genesis block than the deployment: "
            "a local chain was restarted, or it is a different network. Deploy again, or use the right RPC URL."
        )


def reference(block: BlockReference) -> Any:
    """A block as RPC parameter."""
    if isinstance(block, bytes):
        return {"blockHash": "0x" + block.hex()}
    return hex(block) if isinstance(block, int) else block


def parse_block(found: Any) -> Block:
    """A header from its JSON. Raises `ChainError` for nonsense."""
    try:
        return Block(
            int(found["number"], 16),
            from_hex(found["hash"]),
            from_hex(found["parentHash"]),
            int(found["timestamp"], 16),
            int(found.get("baseFeePerGas") or "0x0", 16),
            int(found["logsBloom"], 16),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ChainError(f"The RPC endpoint's block is malformed ({error!r}); use another endpoint.") from error


def from_hex(text: Any) -> bytes:
    """Bytes of a 0x string. Raises `ChainError` for anything else."""
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except (AttributeError, ValueError) as error:
        raise ChainError(f"The RPC endpoint answered {text!r} where hex was due; use another endpoint.") from error


def quantity(text: Any) -> int:
    """The number of a 0x string. Raises `ChainError` for anything else."""
    try:
        return int(text, 16)
    except (TypeError, ValueError) as error:
        raise ChainError(f"The RPC endpoint answered {text!r} where a number was due; use another endpoint.") from error
