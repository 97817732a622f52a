"""The contracts on a local chain, from the compiled artefacts, without Brownie."""

from __future__ import annotations

import json
from typing import Any, Literal

from eth_abi.abi import encode
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from local_chain import ROOT, Anvil

from orebit.chain.deployment import Deployment

ARTEFACTS = ROOT / "build" / "contracts"
UNBONDING_SECONDS = 60
POLICY = (1, 3600, False, False)
"""Least and most seconds of a court move, court windows off, block hashes good."""


class Deployer:
    """Creates contracts from anvil's first account, which also gets the whole supply."""

    def __init__(self, chain: Anvil) -> None:
        self.chain = chain
        self.sent: dict[str, str] = {}
        self.address = to_checksum_address(chain.rpc("eth_accounts")[0])
        self.nonce = int(chain.rpc("eth_getTransactionCount", self.address, "latest"), 16)

    def predict(self, ahead: int) -> str:
        """The address of the contract created `ahead` creations from now (0: the next)."""
        nonce = self.nonce + ahead
        assert nonce < 128
        item = b"\xd6\x94" + bytes.fromhex(self.address[2:]) + (bytes([nonce]) if nonce else b"\x80")
        return to_checksum_address(keccak(item)[12:])

    def create(self, name: str, types: list[str], values: list[Any], libraries: dict[str, str] | None = None) -> str:
        """Sends it, and returns where it will be."""
        code = json.loads((ARTEFACTS / f"{name}.json").read_text())["bytecode"]
        for library, address in (libraries or {}).items():
            code = code.replace(f"__{library}".ljust(40, "_"), address[2:].lower())
        data = "0x" + code.removeprefix("0x") + encode(types, values).hex()
        call = {"from": self.address, "data": data, "gas": hex(16_000_000), "nonce": hex(self.nonce)}
        self.sent[name] = self.chain.rpc("eth_sendTransaction", call)
        address = self.predict(0)
        self.nonce += 1
        return address

    def settle(self) -> None:
        """Waits until everything stands where it was to be."""
        for name, hashed in self.sent.items():
            assert self.chain.receipt(hashed)["status"] == "0x1", name


GAS_PRICE_CAP = 20 * 10**9
COURT_LIBRARIES = ("Openings", "Walk", "Element", "Defences", "Claims", "Demands")


def deploy(chain: Anvil, judge: Literal["DisputeCourt", "MajorityArbiter"] = "MajorityArbiter") -> Deployment:
    """Token, library, registry, market and judge, which know each other by predicted addresses."""
    deployer = Deployer(chain)
    block = int(chain.rpc("eth_blockNumber"), 16) + 1
    token = deployer.create("TokenAI", ["address"], [deployer.address])
    linked = {"Exits": deployer.create("Exits", [], [])}
    evaluator = validity = None
    if judge == "DisputeCourt":
        linked |= {name: deployer.create(name, [], []) for name in COURT_LIBRARIES}
        evaluator, validity = deployer.create("NodeEvaluator", [], []), deployer.create("ProgramValidity", [], [])
    registry, market, arbiter = (deployer.predict(ahead) for ahead in range(3))
    made = deployer.create("NodeRegistry", ["address"] * 3 + ["uint40"], [token, market, arbiter, UNBONDING_SECONDS])
    assert made == registry
    types = ["address"] * 4 + ["(uint24,uint24,bool,bool)"]
    made = deployer.create("TaskMarket", types, [token, registry, arbiter, deployer.address, POLICY], linked)
    assert made == market
    if judge == "DisputeCourt":
        values = [token, registry, market, evaluator, validity, GAS_PRICE_CAP]
        assert deployer.create(judge, ["address"] * 5 + ["uint96"], values, linked) == arbiter
    else:
        assert deployer.create(judge, ["address"] * 3, [token, registry, market]) == arbiter
    deployer.settle()
    return Deployment(
        chain_id=int(chain.rpc("eth_chainId"), 16),
        genesis_hash=chain.rpc("eth_getBlockByNumber", "0x0", False)["hash"],
        block=block,
        token=token,
        registry=registry,
        market=market,
        arbiter=arbiter,
        judge=judge,
        evaluator=evaluator,
        validity=validity,
        guardian=deployer.address,
    )
