"""Revert data as the contract's own error: its name and values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError

from orebit.chain.abi import decode_parameters, errors
from orebit.errors import ChainError, TransactionReverted

_ERROR = bytes.fromhex("08c379a0")
_PANIC = bytes.fromhex("4e487b71")
_PANICS = {
    0x01: "assertion failed",
    0x11: "arithmetic overflow",
    0x12: "division by zero",
    0x21: "not a value of the enum",
    0x32: "index out of range",
}


def decode_revert(data: bytes) -> tuple[str, dict[str, Any]]:
    """The error's name and its values by snake_case name; an unknown error keeps its bytes."""
    try:
        return _decode(data)
    except (DecodingError, ChainError):
        return "Unknown", {"data": data}


def _decode(data: bytes) -> tuple[str, dict[str, Any]]:
    if not data:
        return "Reverted", {}
    selector, body = data[:4], data[4:]
    if selector == _ERROR:
        return "Error", {"message": decode(["string"], body)[0]}
    if selector == _PANIC:
        code = decode(["uint256"], body)[0]
        return "Panic", {"code": code, "meaning": _PANICS.get(code, "see the Solidity manual")}
    entry = errors().get(selector)
    if entry is None:
        return "Unknown", {"data": data}
    values = decode_parameters(entry.inputs, body, entry.name)
    return entry.name, {parameter.name: value for parameter, value in zip(entry.inputs, values, strict=True)}


def describe(name: str, values: Mapping[str, Any]) -> str:
    """`NotEnoughStake(needed=5, available=3)`."""
    return f"{name}({', '.join(f'{key}={_show(value)}' for key, value in values.items())})"


def _show(value: Any) -> str:
    return "0x" + value.hex() if isinstance(value, bytes) else str(value)


def reverted(what: str, data: bytes, *, transaction: bytes | None = None) -> TransactionReverted:
    """The exception of a revert: `what` names the act for a person."""
    name, values = decode_revert(data)
    where = f" (transaction 0x{transaction.hex()})" if transaction else ""
    return TransactionReverted(
        f"The chain refused {what}{where}: {describe(name, values)}.", name, values, transaction=transaction
    )
