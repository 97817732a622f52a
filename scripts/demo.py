"""`make demo`: a real task from escrow to audit, on a chain of its own, with three nodes, one of which is killed."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import structlog
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from local_network import (
    ORE,
    ROOT,
    LocalNetwork,
    Member,
    interruptible,
    kill_hard,
    run_node,
    start,
    start_nodes,
)
from orebit.chain import deployment
from orebit.chain.connection import connect
from orebit.chain.history import replay
from orebit.chain.home import Home
from orebit.chain.ledger import Ledger, Outcome
from orebit.cli.task_view import picture_view
from orebit.errors import ConfigError, OrebitError
from orebit.store.client import BlobClient
from orebit.store.local import LocalStore
from orebit.strategy.audit import Audit, audit
from orebit.strategy.journal import JobRecord
from orebit.strategy.onlooking import JobPicture, Onlooker
from orebit.strategy.requester import open_journal
from orebit.strategy.serving import serve_store

FOLDER = ROOT / "build" / "demo"
MODEL = FOLDER / "model.safetensors"
EXAMPLE = ROOT / "examples" / "mnist_mlp"
NODES = ["ada", "bob", "cleo"]
VICTIM = "bob"
# Computes without vector instructions: its results are drawn, replicated and paid like anybody's.
UNLIKE = "cleo"
TRAINING, AVERAGING = 1, 2
STAKE = 1_000
PURSE = 1_000 * ORE
# The driver needs some seconds to trace before its task is on-chain; nothing on a healthy machine takes this long.
PATIENCE = 300.0

console = Console()


@dataclass
class Demo:
    """One run: its network, the requester, the driver's process, and what happened to the node that is killed."""

    network: LocalNetwork
    requester: Member
    driver: subprocess.Popen[bytes]
    restarted: int = 0
    killed_at: float | None = None
    events: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.events.append(text)

    def disturb(self, picture: JobPicture) -> None:
        """Half way, SIGKILLs a node; two seconds later starts it again in the same folder."""
        victim = self.network.members[VICTIM]
        training = [batch for batch in picture.batches if not batch.averaging]
        if self.killed_at is None and len(training) >= 2:
            assert victim.process is not None
            kill_hard(victim.process)
            self.killed_at = time.monotonic()
            self.say(f"{VICTIM} was killed with SIGKILL.")
        elif self.killed_at is not None and not self.restarted and time.monotonic() > self.killed_at + 2:
            run_node(self.network, victim)
            self.restarted += 1
            self.say(f"{VICTIM} was started again and takes up its leases.")


def set_up(network: LocalNetwork) -> Demo:
    """Chain, contracts, nodes and requester; returns with the task being submitted."""
    with console.status("Starting a chain and deploying the contracts ..."):
        start(network, ["requester"], NODES, PURSE)
    console.print(f"Chain at {network.rpc}; the contracts are deployed.")
    requester = network.members["requester"]
    driver = submit(network, requester)
    network.members[UNLIKE].environment["ATEN_CPU_CAPABILITY"] = "default"
    with console.status(f"Starting {len(NODES)} nodes ..."):
        start_nodes(network, NODES, STAKE)
    console.print(f"{', '.join(NODES)} have staked {STAKE} TokenAI each and are running.")
    return Demo(network, requester, driver)


def submit(network: LocalNetwork, requester: Member) -> subprocess.Popen[bytes]:
    """Starts `orebit task submit`, as a requester would."""
    flags = ["--yes", "--output", str(MODEL)]
    command = [sys.executable, "-m", "orebit.cli.main", "task", "submit", str(EXAMPLE / "task.toml"), *flags]
    console.print(f"orebit task submit examples/mnist_mlp/task.toml --yes --output {MODEL.name}", style="bold")
    return network.spawn(command, requester.name, requester.environment)


async def follow(demo: Demo) -> None:
    """Shows rounds, leases, losses and balances until the driver ends. Raises RuntimeError when it fails."""
    terminal = console.is_terminal
    deadline = time.monotonic() + PATIENCE
    with tempfile.TemporaryDirectory() as folder, Live(console=console, refresh_per_second=4) as live:
        chosen = deployment.load(path=demo.network.deployment)
        async with await connect([demo.network.rpc], chosen) as connection, aiohttp.ClientSession() as session:
            onlooker = Onlooker(connection, TRAINING, BlobClient(session, LocalStore(Path(folder))))
            last = ""
            while demo.driver.poll() is None and time.monotonic() < deadline:
                picture = await look(onlooker)
                if picture is not None:
                    demo.disturb(picture)
                    if terminal:
                        live.update(Group(picture_view(picture), Text("\n".join(demo.events))))
                    elif (line := summary(picture, demo.events)) != last:
                        console.print(last := line, soft_wrap=True)
                await asyncio.sleep(0.5)
    if demo.driver.poll() != 0:
        log = (demo.network.folder / "requester.log").read_text()
        raise RuntimeError(f"The task did not complete; the driver's last words:\n{log[-3000:]}")


async def look(onlooker: Onlooker) -> JobPicture | None:
    """The job, or None while its task is not on-chain yet."""
    try:
        return await onlooker.look()
    except ConfigError:
        return None


def summary(picture: JobPicture, events: list[str]) -> str:
    """One line for logs that are no terminal."""
    batches = []
    for batch in picture.batches:
        name = "average" if batch.averaging else "train"
        stages = [stage.value for stage in batch.stages]
        counts = " ".join(f"{stages.count(stage)} {stage}" for stage in dict.fromkeys(stages))
        loss = f" loss {sum(batch.losses) / len(batch.losses):.4f}" if batch.losses else ""
        batches.append(f"{name} {batch.id}: {counts}{loss}")
    return " | ".join([*batches, *events[-1:]])


def last_words(demo: Demo) -> str:
    """What the driver said when the task was done."""
    lines = (demo.network.folder / "requester.log").read_text().splitlines()
    return next(line for line in reversed(lines) if line.startswith(f"Task {TRAINING} is done"))


def measure_accuracy() -> float:
    """The share of held-out images that the trained model names right, by ordinary torch."""
    import torch
    from safetensors.torch import load_file

    sys.path.insert(0, str(EXAMPLE))
    import train

    training = train.job()
    training.model.load_state_dict(load_file(MODEL), strict=True)
    images, labels = training.held_out
    training.model.eval()
    with torch.no_grad():
        return float((training.model(images).argmax(1) == labels).float().mean())


def measure_gas(network: LocalNetwork) -> int:
    """All gas that members used since the deployment."""
    members = {member.address.lower() for member in network.members.values()}
    used = 0
    for number in range(int(network.request("eth_blockNumber"), 16) + 1):
        for receipt in network.request("eth_getBlockReceipts", hex(number)):
            if receipt["from"].lower() in members:
                used += int(receipt["gasUsed"], 16)
    return used


async def look_back(demo: Demo) -> tuple[Ledger, bool]:
    """Every task, lease and node from the deployment's events, and whether every token is accounted for.

    Meanwhile the requester's blobs are served as `orebit task serve` serves them, and both tasks audited: the training
    by an onlooker's command, which is shown, and the averaging beside it.
    """
    network = demo.network
    onlooker = network.add_member("onlooker")
    console.print(f"orebit audit {TRAINING} --reexecute 1", style="bold")
    async with serve_store(Home(demo.requester.home), "127.0.0.1", the_job(demo).port):
        # An audit that finds anything wrong exits non-zero, which raises.
        told, (books, averaging) = await asyncio.gather(
            asyncio.to_thread(network.orebit, onlooker, "audit", str(TRAINING), "--reexecute", "1"),
            read_books(network, Path(onlooker.home)),
        )
    console.print(told, highlight=False, soft_wrap=True)
    averaging.demand()
    return books, averaging.conserved


async def read_books(network: LocalNetwork, folder: Path) -> tuple[Ledger, Audit]:
    """The books, and an audit of the averaging task from RPC and blobs alone."""
    chosen = deployment.load(path=network.deployment)
    async with await connect([network.rpc], chosen) as connection, aiohttp.ClientSession() as session:
        books, _ = await replay(connection)
        return books, await audit(connection, AVERAGING, BlobClient(session, LocalStore(folder)), reexecute=1)


def the_job(demo: Demo) -> JobRecord:
    """As the requester's journal has it."""
    journal = open_journal(Home(demo.requester.home))
    try:
        job = journal.of_task(TRAINING)
    finally:
        journal.close()
    assert job is not None, "its driver has ended well"
    return job


def report(demo: Demo, started: float) -> dict[str, Any]:
    """Measures what the run achieved and writes `build/demo/report.json`."""
    with ThreadPoolExecutor() as pool:
        accuracy = pool.submit(measure_accuracy)
        books, conserved = asyncio.run(look_back(demo))
    final = [lease for lease in books.leases.values() if lease.outcome is Outcome.FINAL and not lease.replica]
    shards = sum(lease.grains * books.batches[lease.batch].size for lease in final)
    found = {
        "accuracy": round(accuracy.result(), 4),
        "rounds": the_job(demo).spec.rounds,
        "shards_paid": shards,
        "replicated": sum(node.replicas for node in books.nodes.values()),
        "restarted": demo.restarted,
        "gas_per_shard": round(measure_gas(demo.network) / shards),
        "seconds": round(time.monotonic() - started, 1),
        "conserved": conserved,
    }
    (FOLDER / "report.json").write_text(json.dumps(found, indent=2) + "\n")
    return found


def main() -> int:
    """Returns the exit code: 0 only when the task completed and every token is accounted for."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with interruptible(), LocalNetwork(FOLDER) as network:
        started = time.monotonic()
        try:
            demo = set_up(network)
            asyncio.run(follow(demo))
            console.print(last_words(demo), soft_wrap=True)
            found = report(demo, started)
        except KeyboardInterrupt:
            console.print("Interrupted; every process is ended.")
            return 130
        except (RuntimeError, OrebitError) as error:
            console.print(Text.assemble(("The demo failed. ", "bold red"), str(error)))
            console.print(f"Logs are in {FOLDER}.")
            return 1
        for name, value in found.items():
            console.print(f"{name:14} {value}")
        console.print(f"Written to {FOLDER / 'report.json'}.", soft_wrap=True)
        return 0 if found["conserved"] and found["restarted"] else 1


if __name__ == "__main__":
    sys.exit(main())
