"""Deploys Orebit: `brownie run deploy --network NAME`, and writes where to `deployments/CHAINID.json`.

Environment: OREBIT_RPC (for the network `orebit-local`), OREBIT_ACCOUNT (a keystore of `brownie accounts`, or its
path; not needed where the chain holds unlocked accounts), OREBIT_PASSWORD_FILE, OREBIT_TREASURY and OREBIT_GUARDIAN
(default: the deploying account), OREBIT_ARBITER (a court that is already there; on a local chain also the word
MajorityArbiter), OREBIT_GAS_PRICE_CAP (gwei up to which the court refunds moves; default 20),
OREBIT_WEAK_BLOCK_HASHES=1 (forbids draws by block hash), OREBIT_DEPLOYMENT_DIR (where the file goes; default:
`deployments/`, on a local chain `build/`).
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
STAND_IN = "MajorityArbiter"
COURT = ("NodeEvaluator", "ProgramValidity", "Openings", "Walk", "Element", "Defences", "Claims", "Demands")
"""What the court is made of, before itself: what it calls, and what is linked into it."""


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
    """A court that is already there, or STAND_IN, which only a local chain may have; None: a court is deployed."""
    given = os.environ.get("OREBIT_ARBITER")
    if given == STAND_IN and chain_id not in LOCAL_CHAINS:
        raise DeploymentRefused(
            f"Chain {chain_id} is not local, and MajorityArbiter, which believes its first witness, must judge nowhere "
            "else. Leave OREBIT_ARBITER out, so that the court is deployed, or use a local chain (31337 or 1337)."
        )
    return given if given in (None, STAND_IN) else str(web3.to_checksum_address(given))


def gas_price_cap() -> int:
    """Wei a gas up to which the court refunds moves: bonds and deposits grow with it."""
    gwei = os.environ.get("OREBIT_GAS_PRICE_CAP", "20")
    if not gwei.isdigit() or not 1 <= int(gwei) <= 10_000:
        raise DeploymentRefused(f"OREBIT_GAS_PRICE_CAP is {gwei!r}: give a whole number of gwei, 1 to 10000.")
    return int(gwei) * 10**9


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
    given = judge(chain_id)
    name = STAND_IN if given == STAND_IN else "DisputeCourt"
    made = given in (None, STAND_IN)
    first, nonce = web3.eth.block_number + 1, sender.nonce
    names = [*(COURT if given is None else ()), "Exits", "TokenAI", "NodeRegistry", "TaskMarket"]
    names += [name] if made else []
    at = {each: sender.get_deployment_address(nonce + place) for place, each in enumerate(names)}
    arbiter = at[name] if made else given
    guardian = os.environ.get("OREBIT_GUARDIAN", sender.address)
    token, registry, market = at["TokenAI"], at["NodeRegistry"], at["TaskMarket"]
    arguments: dict[str, tuple[Any, ...]] = {
        "TokenAI": (os.environ.get("OREBIT_TREASURY", sender.address),),
        "NodeRegistry": (token, market, arbiter, unbonding_seconds(chain_id)),
        "TaskMarket": (token, registry, arbiter, guardian, astuple(policy(chain_id))),
        STAND_IN: (token, registry, market),
        "DisputeCourt": (token, registry, market, at.get("NodeEvaluator"), at.get("ProgramValidity"), gas_price_cap()),
    }
    sent = [
        create(sender, nonce + place, each, *arguments.get(each, ()), libraries=at) for place, each in enumerate(names)
    ]
    for receipt, address in zip(sent, at.values(), strict=True):
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
        "arbiter": arbiter,
        "judge": name,
        "evaluator": at.get("NodeEvaluator"),
        "validity": at.get("ProgramValidity"),
        "guardian": guardian,
        "libraries": {each: at[each] for each in names if each in ("Exits", *COURT[2:])},
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
