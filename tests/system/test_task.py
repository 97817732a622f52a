"""A requester's own commands against a real chain and real nodes: trained, resumed after SIGKILL, cancelled."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from rigs import PASSWORD, Network

from orebit.chain import keystore
from orebit.chain.connection import connect
from orebit.chain.market import Market
from orebit.chain.registry import Registry
from orebit.chain.token import UNIT, Token

pytestmark = pytest.mark.timeout(300)

TRAIN = """
import torch
import orebit

def job():
    torch.manual_seed(0)
    x = torch.randn(256, 8)
    y = (x[:, :4].sum(1) > x[:, 4:].sum(1)).long()
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
    return orebit.Training(
        model=model,
        loss=torch.nn.CrossEntropyLoss(),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        data=(x[:192], y[:192]),
        held_out=(x[192:], y[192:]),
        batch_size=16,
        steps=12,
        shards=3,
        rounds=2,
    )
"""

TERMS = """
job = "train.py:job"

[terms]
price = "1"
compute = "30s"
reveal = "20s"
challenge = "6s"
move = "1s"
draw = "50%"
lottery_blocks = 16

[averaging]
price = "0.01"

[run]
poll = 0.2
"""


class Client:
    """A requester with a home, files to submit, and commands run as processes."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "train.py").write_text(TRAIN)
        (folder / "task.toml").write_text(TERMS)
        (folder / "password").write_text(PASSWORD)
        self.address = keystore.create(folder / "keystore.json", PASSWORD, iterations=2).address
        self.environment = os.environ | {
            "OREBIT_HOME": str(folder),
            "OREBIT_RPC": network.chain.url,
            "OREBIT_DEPLOYMENT": str(network.deployment_file),
            "OREBIT_PASSWORD_FILE": str(folder / "password"),
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "200",
        }

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / "output.log").open("ab") as output:
            return subprocess.Popen(
                self._command(arguments), env=self.environment, cwd=self.folder, stdout=output, stderr=output,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip

    async def run(self, *arguments: str, code: int = 0) -> str:
        def done() -> str:
            result = subprocess.run(
                self._command(arguments), env=self.environment, cwd=self.folder, capture_output=True, text=True,
                stdin=subprocess.DEVNULL, check=False,
            )  # fmt: skip
            assert result.returncode == code, result.stdout + result.stderr + self.log
            return result.stdout + result.stderr

        return await asyncio.to_thread(done)

    def _command(self, arguments: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-m", "orebit.cli.main", "task", *arguments]

    @property
    def output(self) -> str:
        path = self.folder / "output.log"
        return path.read_text() if path.exists() else ""

    @property
    def log(self) -> str:
        path = self.folder / "driver.log"
        return path.read_text()[-4000:] if path.exists() else ""


@pytest.fixture
async def client(network: Network) -> Client:
    made = Client(network, network.folder / "requester")
    await network.fund(made.address, 100)
    return made


async def until(condition: Callable[[], bool], seconds: float, what: Callable[[], str]) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what()
        await asyncio.sleep(0.1)


async def held_by(network: Network, address: str) -> int:
    async with await connect([network.chain.url], network.deployment) as connection:
        return await Token(connection).balance_of(address)


async def books(network: Network) -> dict[str, Any]:
    async with await connect([network.chain.url], network.deployment) as connection:
        market, registry = Market(connection), Registry(connection)
        tasks = [await market.task_of(task) for task in range(1, await market.task_count() + 1)]
        nodes = range(1, await registry.node_count() + 1)
        return {
            "held": await Token(connection).balance_of(market.address),
            "escrow": sum(task.escrow for task in tasks),
            "balances": sum([await market.balance_of(node) for node in nodes]),
            "stakes": await registry.total_stake(),
            "tasks": len(tasks),
            "batches": await market.batch_count(),
        }


async def test_a_model_is_trained_paid_for_and_fetched(network: Network, client: Client) -> None:
    for name in ("first", "second", "third"):
        (await network.add_rig(name)).start()
    offer = await client.run("submit", "task.toml", "--dry-run")
    assert "6.02 TokenAI" in offer and "3 nodes" in offer and "dry run" in offer
    assert (await books(network))["tasks"] == 0
    await client.run("submit", "task.toml", "--yes", "-o", "model.safetensors")
    found = await books(network)
    assert found["tasks"] == 2 and found["batches"] == 4
    assert found["held"] == found["escrow"] + found["balances"] and found["escrow"] == 0
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
    model.load_state_dict(safetensors.torch.load_file(client.folder / "model.safetensors"), strict=True)
    (job,) = json.loads(await client.run("list", "--json"))
    assert job["outcome"] == "done" and job["accuracy"] > 0.8
    await client.run("watch", "1")
    seen = json.loads(await client.run("status", "1", "--json"))
    assert int(seen["paid"]) == 6 * UNIT + 2 * UNIT // 100
    assert seen["settled"] and [len(batch["losses"]) for batch in seen["batches"]] == [3, 0, 3, 0]
    assert await held_by(network, client.address) == 100 * UNIT - int(seen["paid"]) - int(seen["fees"])


async def test_twenty_kills_of_driver_and_nodes_cost_nobody_anything(network: Network, client: Client) -> None:
    rigs = [await network.add_rig(name) for name in ("first", "second")]
    for rig in rigs:
        rig.start()
    chance = random.Random(3)
    driver = client.start("submit", "task.toml", "--yes", "--rounds", "4")
    drivers_killed = 0
    for _ in range(20):
        await asyncio.sleep(chance.uniform(0.2, 3))
        if chance.random() < 0.5 and driver.poll() is None:
            driver.kill()
            driver.wait()
            drivers_killed += 1
            driver = client.start("submit", "task.toml", "--yes", "--rounds", "4")
        else:
            rig = chance.choice(rigs)
            rig.kill()
            rig.start()
    await until(lambda: driver.poll() is not None, 150, lambda: client.output + client.log)
    assert driver.returncode == 0, client.output + client.log
    assert drivers_killed >= 5
    found = await books(network)
    assert found["tasks"] == 2 and found["batches"] == 8
    assert found["held"] == found["balances"] and found["escrow"] == 0
    assert found["stakes"] == 2 * 100 * UNIT
    seen = json.loads(await client.run("status", "1", "--json"))
    assert int(seen["paid"]) == 12 * UNIT + 4 * UNIT // 100
    assert sum(batch["lost"] for batch in seen["batches"]) == 0


API = """
import json
import orebit
from train import job

training = job()
training.rounds, training.shards = 1, 1
trained = orebit.submit(training, terms={"price": "0.5"}, file="task.toml")
training.model.load_state_dict(trained.state_dict)
found = orebit.audit(trained.task, reexecute=1)
verdicts = [check.verdict.name for check in found.checks]
print(json.dumps({"accuracy": trained.accuracy, "conserved": found.conserved, "verdicts": verdicts}))
"""


async def test_the_same_from_python(network: Network, client: Client) -> None:
    (await network.add_rig("only")).start()
    (client.folder / "program.py").write_text(API)
    printed = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "program.py"],
        env=client.environment,
        cwd=client.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert printed.returncode == 0, printed.stdout + printed.stderr
    found = json.loads(printed.stdout.splitlines()[-1])
    assert found["accuracy"] > 0.5 and found["conserved"]
    assert set(found["verdicts"]) == {"VERIFIED"}


async def test_cancel_gives_back_what_nobody_works_on(network: Network, client: Client) -> None:
    driver = client.start("submit", "task.toml", "--yes")
    await until(lambda: "3 free" in client.output, 60, lambda: client.output + client.log)
    locked = await client.run("cancel", "1", "--yes", code=1)
    assert "in use by process" in locked
    driver.send_signal(signal.SIGINT)
    assert await asyncio.to_thread(driver.wait, 20) == 130
    assert "orebit task resume 1" in client.output
    told = await client.run("cancel", "1", "--yes")
    assert "1 batches were closed" in told
    assert await held_by(network, client.address) == 100 * UNIT
    assert "cancelled" in await client.run("resume", "1", code=1)


BAD_INPUT: list[tuple[tuple[str, ...], dict[str, str], str]] = [
    (("submit", "task.toml", "--yes", "--price", "50"), {}, r"holds 100 TokenAI, but 600\.\d+ are needed"),
    (("submit", "task.toml", "--yes"), {"OREBIT_RPC": "http://127.0.0.1:9"}, r"127.0.0.1:9"),
    (("submit", "task.toml"), {}, r"add --yes"),
    (("status", "7"), {}, r"There is no task 7"),
    (("deposit", "7", "1"), {}, r"There is no task 7"),
]


async def test_bad_input_gets_a_paragraph_and_moves_no_money(network: Network, client: Client) -> None:
    good = client.environment
    for arguments, environment, said in BAD_INPUT:
        client.environment = good | environment
        told = await client.run(*arguments, code=1)
        assert "Traceback" not in told
        assert re.search(said, " ".join(told.split())), told
    assert (await books(network))["tasks"] == 0
    assert await held_by(network, client.address) == 100 * UNIT
