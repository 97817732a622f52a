"""Prints a task from the chain: `brownie run status TASK --network NAME`.

Finds the contracts through OREBIT_DEPLOYMENT (a file), else where the deploy script put it (OREBIT_DEPLOYMENT_DIR).
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from brownie import project, web3

# Brownie runs a script by its path and leaves its folder out of the search path.
sys.path.insert(0, str(Path(__file__).resolve().parent))
from deploy import folder  # noqa: E402  # found beside this script

ORE = 10**18
FLAGS = {1: "open", 2: "gated", 4: "keeps results"}


def deployment(chain_id: int) -> dict[str, Any]:
    """What the deploy script wrote for the chain. Exits with a word of advice where there is nothing."""
    named = os.environ.get("OREBIT_DEPLOYMENT")
    path = Path(named) if named else folder(chain_id) / f"{chain_id}.json"
    if not path.is_file():
        sys.exit(f"There is no deployment at {path}. Deploy first, or name its file in OREBIT_DEPLOYMENT.")
    found: dict[str, Any] = json.loads(path.read_text())
    genesis = "0x" + web3.eth.get_block(0).hash.hex().removeprefix("0x")
    if (found["chain_id"], found["genesis_hash"]) != (chain_id, genesis):
        sys.exit(
            f"{path} belongs to chain {found['chain_id']} ({found['genesis_hash']}), this is {chain_id} ({genesis})."
        )
    return found


def tokens(wei: int) -> str:
    return f"{wei / ORE:,.6f}".rstrip("0").rstrip(".")


def print_terms(terms: Any) -> None:
    flags = ", ".join(name for bit, name in FLAGS.items() if terms["flags"] & bit) or "none"
    print(f"  price         {tokens(terms['price'])} a shard, replica fee {terms['feePercent']}%")
    print(f"  stake         {terms['stakeFactor'] / 100:g} times the price, late penalty {terms['lateBp'] / 100:g}%")
    print(f"  draw          {terms['drawBp'] / 100:g}%, {terms['drawDelay']} blocks after the commit", end="")
    print(f", {terms['lotteryBlocks']} to take")
    print(f"  seconds       compute {terms['computeSeconds']} a shard, reveal {terms['revealSeconds']}, ", end="")
    print(f"challenge {terms['challengeSeconds']}, move {terms['moveTime']}")
    print(f"  longest lease {terms['maxGrains']} grains; flags: {flags}; watcher {terms['watcher']}")


def print_batch(market: Any, number: int, batch: Any, price: int) -> int:
    """Prints one line and returns what the batch still reserves."""
    fees = batch["grains"] - batch["replicasPaid"]
    reserved = int(batch["unsettled"] * batch["size"] * price + fees * market.feeOf(number))
    free = batch["free"].bit_count()
    leased = batch["unsettled"] - free
    settled = batch["grains"] - batch["unsettled"]
    state = "settled" if batch["unsettled"] == 0 else "open" if batch["posted"] else "closed"
    print(
        f"  batch {number}: {state}, {batch['grains']} x {batch['size']} shards, {free} grains free, {leased} leased, "
        f"{settled} settled, {tokens(reserved)} reserved"
    )
    return reserved


def main(task: str) -> None:
    at = deployment(int(web3.eth.chain_id))
    market = project.get_loaded_projects()[0].interface.ITaskMarket(at["market"])
    number = int(task)
    if not 1 <= number <= market.taskCount():
        sys.exit(f"There is no task {number}: the market has {market.taskCount()}.")
    info = market.taskOf(number)
    print(f"Task {number} of {info['requester']}")
    print_terms(info["terms"])
    reserved = 0
    for batch in range(1, market.batchCount() + 1):
        found = market.batchOf(batch)
        if found["task"] == number:
            reserved += print_batch(market, batch, found, info["terms"]["price"])
    print(f"  escrow        {tokens(info['escrow'])} free, {tokens(reserved)} reserved")


def __getattr__(name: str) -> Any:
    """Brownie takes the first argument for a function's name: a number there is the task."""
    if not name.isdigit():
        raise AttributeError(name)
    main(name)
    sys.exit(0)
