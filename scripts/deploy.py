"""Deploys Orebit: `brownie run deploy --network NAME`, and writes where to `deployments/CHAINID.json`.

Environment: OREBIT_RPC (for the network `orebit-local`), OREBIT_ACCOUNT (a keystore of `brownie accounts`, or its
path; not needed where the chain holds unlocked accounts), OREBIT_PASSWORD_FILE, OREBIT_TREASURY and OREBIT_GUARDIAN
(default: the deploying account), OREBIT_ARBITER (a judge that is already there), OREBIT_WEAK_BLOCK_HASHES=1 (forbids
draws by block hash), OREBIT_DEPLOYMENT_DIR (where the file goes; default: `deployments/`, on a local chain `build/`).
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from brownie import accounts, network, project, rpc, web3

ROOT = Path(__file__).resolve().parent.parent
LOCAL_CHAINS = {31337, 1337}
# Block hashes chosen by one sequencer, or block numbers of another chain: calls draw there, not hashes.
WEAK_BLOCK_HASHES = {10, 130, 300, 324, 1101, 5000, 8453, 34443, 42161, 42170, 59144, 81457, 421614, 534352, 84532}
DAY = 86_400


class DeploymentRefused(Exception):
    """The deployment would not be safe, or cannot begin. The message says why and what to do."""


@dataclass(frozen=True)
class Policy:
    """Constructor argument of the market; mirrors `Policy` of ITaskMarket.sol."""

    min_move_time: int
    max_move_time: int
    court_windows: bool
    weak_block_hashes: bool


def policy(chain_id: int) -> Policy:
    """What the chain demands of terms. Only a local chain gets windows too short for a court."""
    weak = chain_id in WEAK_BLOCK_HASHES or os.environ.get("OREBIT_WEAK_BLOCK_HASHES") == "1"
    if chain_id in LOCAL_CHAINS:
        return Policy(1, DAY, False, weak)
    return Policy(600, DAY, True, weak)


def unbonding_seconds(chain_id: int) -> int:
    return 10 if chain_id in LOCAL_CHAINS else 7 * DAY


def judge(chain_id: int) -> str | None:
    """Address of a judge that is already there; None to deploy MajorityArbiter, which only a local chain may have."""
    given = os.environ.get("OREBIT_ARBITER")
    if given is None and chain_id not in LOCAL_CHAINS:
        raise DeploymentRefused(
            f"Chain {chain_id} is not local, and MajorityArbiter, which believes its first witness, must judge nowhere "
            "else. Deploy a court first and name it in OREBIT_ARBITER, or use a local chain (31337 or 1337)."
        )
    return given and web3.to_checksum_address(given)


def deployer() -> Any:
    """The account that pays: the keystore of OREBIT_ACCOUNT, else the chain's first unlocked account."""
    name = os.environ.get("OREBIT_ACCOUNT")
    if name:
        password_file = os.environ.get("OREBIT_PASSWORD_FILE")
        password = Path(password_file).read_text().strip() if password_file else None
        return accounts.load(name, password)
    if len(accounts) == 0:
        raise DeploymentRefused(
            "The chain has no unlocked account. Name a keystore in OREBIT_ACCOUNT (`brownie accounts list` shows them)."
        )
    return accounts[0]


def create(sender: Any, nonce: int, name: str, *arguments: Any, libraries: dict[str, str] | None = None) -> Any:
    """Sends one contract's creation. Leaves no artefact behind, so that runs side by side never meet."""
    container = getattr(project.get_loaded_projects()[0], name)
    bytecode = container.bytecode
    for marker in set(re.findall("_{1,}[^_]*_{1,}", bytecode)):
        bytecode = bytecode.replace(marker, (libraries or {})[marker.strip("_")][-40:])
    data = web3.eth.contract(abi=container.abi, bytecode=bytecode).constructor(*arguments).data_in_transaction
    return sender.transfer(data=data, nonce=nonce, required_confs=0, silent=True)


def deploy(sender: Any, chain_id: int) -> dict[str, Any]:
    """Creates every contract; each is told the others' addresses, predicted from the sender's nonce."""
    arbiter = judge(chain_id)
    treasury = os.environ.get("OREBIT_TREASURY", sender.address)
    guardian = os.environ.get("OREBIT_GUARDIAN", sender.address)
    first = web3.eth.block_number + 1
    nonce = sender.nonce
    exits, token, registry, market, next_address = (sender.get_deployment_address(nonce + i) for i in range(5))
    planned = arbiter or next_address
    rules = astuple(policy(chain_id))
    sent = [
        create(sender, nonce, "Exits"),
        create(sender, nonce + 1, "TokenAI", treasury),
        create(sender, nonce + 2, "NodeRegistry", token, market, planned, unbonding_seconds(chain_id)),
        create(sender, nonce + 3, "TaskMarket", token, registry, planned, guardian, rules, libraries={"Exits": exits}),
    ]
    if arbiter is None:
        sent.append(create(sender, nonce + 4, "MajorityArbiter", token, registry, market))
    for receipt, address in zip(sent, (exits, token, registry, market, next_address), strict=False):
        receipt.wait(1)
        if receipt.status != 1 or receipt.contract_address != address:
            raise DeploymentRefused(f"Transaction {receipt.txid} created no contract at {address}: deploy again.")
    return {
        "chain_id": chain_id,
        "genesis_hash": "0x" + web3.eth.get_block(0).hash.hex().removeprefix("0x"),
        "block": first,
        "token": token,
        "registry": registry,
        "market": market,
        "arbiter": planned,
        "guardian": guardian,
        "libraries": {"Exits": exits},
    }


def folder(chain_id: int) -> Path:
    """Where the deployment's file goes. A local chain is gone tomorrow, so its file stays out of `deployments/`."""
    default = ROOT / ("build" if chain_id in LOCAL_CHAINS else "deployments")
    return Path(os.environ.get("OREBIT_DEPLOYMENT_DIR", default))


def main() -> None:
    # Brownie attaches in silence to whatever listens on an embedded chain's port.
    if network.show_active() == "development" and not rpc.is_child():
        raise DeploymentRefused(
            "Something else listens on the embedded chain's port. End it, or deploy there by intent: "
            "OREBIT_RPC=http://HOST:PORT brownie run deploy --network orebit-local."
        )
    chain_id = int(web3.eth.chain_id)
    deployment = deploy(deployer(), chain_id)
    path = folder(chain_id) / f"{chain_id}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(deployment, indent=2) + "\n")
    partial.replace(path)
    for name, value in deployment.items():
        print(f"{name:13} {value}")
    print(f"Written to {path}.")
