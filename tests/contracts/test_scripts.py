"""The Brownie scripts, as a person runs them, on a chain that somebody else started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, free_port
from eth_account import Account
from web3 import HTTPProvider, Web3
from world import ORE, World

import deploy

KEY = "0x" + "11" * 32


class Chain:
    """An anvil of its own, and a keystore with money on it."""

    def __init__(self, folder: Path, chain_id: int) -> None:
        port = free_port()
        command = ["anvil", "--port", str(port), "--chain-id", str(chain_id), "--accounts", "0", "--quiet"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        self.web3 = Web3(HTTPProvider(f"http://127.0.0.1:{port}"))
        while not self.web3.is_connected():
            assert self.process.poll() is None
        account = Account.from_key(KEY)
        self.web3.provider.make_request("anvil_setBalance", [account.address, hex(10**20)])
        self.address, self.folder = account.address, folder
        (folder / "key.json").write_text(json.dumps(Account.encrypt(KEY, "secret", iterations=2)))
        (folder / "password").write_text("secret\n")
        self.environment = os.environ | {
            "OREBIT_RPC": f"http://127.0.0.1:{port}",
            "OREBIT_ACCOUNT": str(folder / "key.json"),
            "OREBIT_PASSWORD_FILE": str(folder / "password"),
            "OREBIT_DEPLOYMENT_DIR": str(folder),
        }

    def create_task(self, at: dict[str, Any], project: Any) -> None:
        """A task of 20 tokens with one batch of 4 x 2 shards, by the account of the keystore."""
        token = self.web3.eth.contract(at["token"], abi=project.TokenAI.abi)
        market = self.web3.eth.contract(at["market"], abi=project.TaskMarket.abi)
        for call in (
            token.functions.approve(at["market"], 20 * ORE),
            market.functions.create(World.terms(), "http://requester", 20 * ORE),
            market.functions.post(1, b"\x01" * 32, 4, 2),
        ):
            nonce = self.web3.eth.get_transaction_count(self.address)
            signed = Account.sign_transaction(call.build_transaction({"from": self.address, "nonce": nonce}), KEY)
            sent = self.web3.eth.send_raw_transaction(signed.raw_transaction)
            assert self.web3.eth.wait_for_transaction_receipt(sent).status == 1

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name("brownie")), "run", *arguments, "--network", "orebit-local"]
        return subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=120)


@pytest.fixture
def start(tmp_path: Path, contracts: Any) -> Iterator[Any]:
    subprocess.run([sys.executable, str(ROOT / "scripts" / "setup_networks.py")], check=True)
    chains: list[Chain] = []

    def begin(chain_id: int) -> Chain:
        chains.append(Chain(tmp_path, chain_id))
        return chains[-1]

    yield begin
    for chain in chains:
        chain.process.terminate()
        chain.process.wait()


def test_deploys_from_a_keystore_and_tells_a_task(start: Any, contracts: Any) -> None:
    chain = start(1337)
    done = chain.run("deploy")
    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads((chain.folder / "1337.json").read_text())
    assert written["chain_id"] == 1337
    assert written["genesis_hash"] == "0x" + bytes(chain.web3.eth.get_block(0).hash).hex()
    for name in ("token", "registry", "market", "arbiter", "evaluator", "validity"):
        assert len(chain.web3.eth.get_code(written[name])) > 100
    assert written["judge"] == "DisputeCourt"
    court = chain.web3.eth.contract(written["arbiter"], abi=contracts.DisputeCourt.abi)
    for name in ("token", "registry", "market", "evaluator", "validity"):
        assert getattr(court.functions, name)().call() == written[name]
    assert written["guardian"] == chain.address
    missing = chain.run("status", "1")
    assert missing.returncode == 1
    assert "There is no task 1" in missing.stdout + missing.stderr
    chain.create_task(written, contracts)
    told = chain.run("status", "1")
    assert told.returncode == 0, told.stdout + told.stderr
    assert f"Task 1 of {chain.address}" in told.stdout
    assert "batch 1: open, 4 x 2 shards, 4 grains free, 0 leased, 0 settled, 12 reserved" in told.stdout
    assert "8 free, 12 reserved" in told.stdout


def test_refuses_the_stand_in_judge_elsewhere(start: Any) -> None:
    chain = start(5)
    chain.environment |= {"OREBIT_ARBITER": "MajorityArbiter"}
    done = chain.run("deploy")
    assert done.returncode != 0
    assert "Chain 5 is not local" in done.stdout + done.stderr
    assert chain.web3.eth.get_transaction_count(chain.address) == 0
    assert not (chain.folder / "5.json").exists()


def test_elsewhere_a_court_judges_under_the_strict_policy(start: Any, contracts: Any) -> None:
    chain = start(42161)
    court = "0x" + "00" * 19 + "c0"
    chain.environment |= {"OREBIT_ARBITER": court}
    done = chain.run("deploy")
    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads((chain.folder / "42161.json").read_text())
    market = chain.web3.eth.contract(written["market"], abi=contracts.TaskMarket.abi)
    assert market.functions.arbiter().call().lower() == written["arbiter"].lower() == court
    assert market.functions.policy().call() == (600, 86_400, True, True), "its block numbers are another chain's"


def test_policy_by_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OREBIT_WEAK_BLOCK_HASHES", raising=False)
    assert not deploy.policy(31337).court_windows
    assert deploy.policy(1).court_windows
    assert deploy.policy(1).min_move_time == 600
    assert not deploy.policy(1).weak_block_hashes
    assert deploy.policy(42161).weak_block_hashes
    monkeypatch.setenv("OREBIT_WEAK_BLOCK_HASHES", "1")
    assert deploy.policy(1).weak_block_hashes


@pytest.mark.parametrize("name", ["TaskMarket", "NodeRegistry", "TokenAI", "MajorityArbiter", "DisputeCourt"])
def test_shipped_abi_is_the_contract_s(contracts: Any, name: str) -> None:
    shipped = json.loads((ROOT / "node" / "orebit" / "chain" / "abi" / f"{name}.json").read_text())

    def canonical(abi: Any) -> list[str]:
        # Brownie gives the constructor a name of its own.
        return sorted(json.dumps(item, sort_keys=True) for item in abi if item["type"] != "constructor")

    assert canonical(shipped) == canonical(contracts[name].abi), "run `python scripts/export_abi.py`"
