"""`TokenAI`: balances, allowances, transfers, and the EIP-2612 permit."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from eth_account.messages import encode_typed_data
from eth_account.signers.local import LocalAccount

from orebit.chain.connection import BlockReference, Connection
from orebit.chain.contract import Contract
from orebit.errors import ConfigError

DECIMALS = 18
UNIT = 10**DECIMALS


def parse_amount(text: str) -> int:
    """Wei of a decimal number of tokens, exact. Raises `ConfigError` for anything else."""
    try:
        value = Decimal(text) * UNIT
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or value < 0 or value != value.to_integral_value():
        raise ConfigError(f"{text!r} is not an amount: give a number of TokenAI with at most {DECIMALS} decimals.")
    return int(value)


def format_amount(wei: int) -> str:
    """Tokens in decimal, exact, without trailing zeros."""
    whole, part = divmod(abs(wei), UNIT)
    fraction = f".{part:018d}".rstrip("0").rstrip(".")
    return f"{'-' if wei < 0 else ''}{whole}{fraction}"


class Token(Contract):
    """The token of a connection's deployment."""

    name = "TokenAI"

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, connection.deployment.token)

    async def balance_of(self, address: str, block: BlockReference = "latest") -> int:
        return await self._read(int, "balanceOf", address, block=block)

    async def allowance(self, owner: str, spender: str, block: BlockReference = "latest") -> int:
        return await self._read(int, "allowance", owner, spender, block=block)

    async def total_supply(self, block: BlockReference = "latest") -> int:
        return await self._read(int, "totalSupply", block=block)

    async def nonces(self, owner: str, block: BlockReference = "latest") -> int:
        return await self._read(int, "nonces", owner, block=block)

    def encode_transfer(self, to: str, amount: int) -> bytes:
        return self._encode("transfer", to, amount)

    def encode_approve(self, spender: str, amount: int) -> bytes:
        return self._encode("approve", spender, amount)

    async def sign_permit(
        self, account: LocalAccount, spender: str, value: int, deadline: int
    ) -> tuple[int, bytes, bytes]:
        """(v, r, s) by which `spender` may take `value` from the account until `deadline` (Unix time)."""
        nonce = await self.nonces(account.address)
        message = {"owner": account.address, "spender": spender, "value": value, "nonce": nonce, "deadline": deadline}
        signed = account.sign_message(
            encode_typed_data(domain_data=await self._domain(), message_types=_PERMIT, message_data=message)
        )
        return signed.v, signed.r.to_bytes(32, "big"), signed.s.to_bytes(32, "big")

    async def _domain(self) -> dict[str, object]:
        """The token's EIP-712 domain, asked of it (ERC-5267)."""
        _, name, version, chain_id, contract, _, _ = await self._read_all("eip712Domain")
        return {"name": name, "version": version, "chainId": chain_id, "verifyingContract": contract}


_PERMIT = {
    "Permit": [
        {"name": "owner", "type": "address"},
        {"name": "spender", "type": "address"},
        {"name": "value", "type": "uint256"},
        {"name": "nonce", "type": "uint256"},
        {"name": "deadline", "type": "uint256"},
    ]
}
