"""Small contracts and connections that the chain tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from local_chain import KEYS, Anvil

from orebit.chain.connection import Connection, connect
from orebit.chain.deployment import Deployment

COUNTER = to_checksum_address("0x" + "000000000000000000000000000000000000c0de")
"""Adds one to its slot 0 on every call; reverts with no data when called with any calldata of one byte."""

_COUNTER_CODE = "0x36600114600f575f546001015f55005b5f5ffd"

_EMITTER_CODE = "0x365f5f37604051602051" + "5f516060360360" + "60a300"
"""Logs its calldata: three topics, then data."""

MARKET = to_checksum_address("0x" + "00" * 18 + "aa01")


def account(key: str) -> LocalAccount:
    made: LocalAccount = Account.from_key(key)
    return made


def deployment_of(chain: Anvil, **changes: Any) -> Deployment:
    """A deployment whose market is some code, for tests that need a checked connection only."""
    chain.rpc("anvil_setCode", MARKET, _EMITTER_CODE)
    chain.rpc("anvil_setCode", COUNTER, _COUNTER_CODE)
    values = {
        "chain_id": int(chain.rpc("eth_chainId"), 16),
        "genesis_hash": chain.rpc("eth_getBlockByNumber", "0x0", False)["hash"],
        "block": 1,
        "token": "0x" + "00" * 18 + "aa02",
        "registry": "0x" + "00" * 18 + "aa03",
        "market": MARKET,
        "arbiter": "0x" + "00" * 18 + "aa04",
    }
    return Deployment.model_validate(values | changes)


async def connected(chain: Anvil) -> Connection:
    return await connect([chain.url], deployment_of(chain), timeout=5)


def count(chain: Anvil) -> int:
    """How often the counter was called."""
    return int(chain.rpc("eth_getStorageAt", COUNTER, "0x0", "latest"), 16)


def outbox(folder: Path) -> Path:
    return folder / "outbox.sqlite"


def emit(chain: Anvil, node: int) -> None:
    """Has the market log a `Withdrawn` of `node` wei by that node, in a block of its own on an automining chain."""
    topic = keccak(text="Withdrawn(uint32,address,uint96)")
    calldata = topic + node.to_bytes(32, "big") + bytes(31) + b"\x01" + node.to_bytes(32, "big")
    sender = account(KEYS[1]).address
    hashed = chain.rpc(
        "eth_sendTransaction", {"from": sender, "to": MARKET, "data": "0x" + calldata.hex(), "gas": "0x20000"}
    )
    chain.receipt(hashed)
