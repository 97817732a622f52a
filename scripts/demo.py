"""`make demo`: a real task from escrow to audit, on a chain of its own, with three nodes, one of which is killed."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
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
from orebit.chain.ledger import Ledger, Outcome
from orebit.cli.task_view import picture_view
from orebit.store.client import BlobClient
from orebit.store.local import LocalStore
from orebit.strategy.onlooking import JobPicture, Onlooker

FOLDER = ROOT / "build" / "demo"
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
    command = [sys.executable, "-m", "orebit.cli.main", "task", "submit", str(EXAMPLE / "task.toml"), "--yes"]
    console.print("orebit task submit examples/mnist_mlp/task.toml --yes", style="bold")
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
    from orebit.errors import ConfigError

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


def measure_accuracy(demo: Demo) -> float:
    """The share of held-out images that the trained model names right, by ordinary torch."""
    import torch
    from safetensors.torch import load_file

    path = FOLDER / "model.safetensors"
    demo.network.orebit(demo.requester, "task", "result", str(TRAINING), "-o", str(path))
    sys.path.insert(0, str(EXAMPLE))
    import train

    training = train.job()
    training.model.load_state_dict(load_file(path), strict=True)
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


async def read_books(network: LocalNetwork) -> Ledger:
    """Every task, lease and node, from the deployment's events."""
    async with await connect([network.rpc], deployment.load(path=network.deployment)) as connection:
        return (await replay(connection))[0]


def audit(demo: Demo, onlooker: Member) -> bool:
    """Audits both tasks from RPC and blobs alone, and shows the first; whether every token is accounted for."""
    command = [sys.executable, "-m", "orebit.cli.main", "task", "serve"]
    server = demo.network.spawn(command, "serve", demo.requester.environment)
    try:
        wait_for_log(demo.network.folder / "serve.log", "Serving")
        console.print(f"orebit audit {TRAINING} --reexecute 1", style="bold")
        with ThreadPoolExecutor() as pool:
            other = pool.submit(demo.network.orebit, onlooker, "audit", str(AVERAGING), "--reexecute", "1", "--json")
            told = demo.network.orebit(onlooker, "audit", str(TRAINING), "--reexecute", "1")
            console.print(told, highlight=False, soft_wrap=True)
            # An audit that finds anything wrong exits non-zero, which raises.
            return bool(json.loads(other.result())["conserved"])
    finally:
        kill_hard(server)


def wait_for_log(path: Path, word: str) -> None:
    """Waits until a process has written `word`. Raises RuntimeError after twenty seconds."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if path.exists() and word in path.read_text():
            return
        time.sleep(0.1)
    raise RuntimeError(f"{path} never said {word!r}.")


def report(demo: Demo, started: float) -> dict[str, Any]:
    """Measures what the run achieved and writes `build/demo/report.json`."""
    network = demo.network
    with ThreadPoolExecutor() as pool:
        accuracy = pool.submit(measure_accuracy, demo)
        onlooker = network.add_member("onlooker")
        jobs = pool.submit(network.orebit, demo.requester, "task", "list", "--json")
        books = asyncio.run(read_books(network))
        conserved = audit(demo, onlooker)
    final = [lease for lease in books.leases.values() if lease.outcome is Outcome.FINAL and not lease.replica]
    shards = sum(lease.grains * books.batches[lease.batch].size for lease in final)
    found = {
        "accuracy": round(accuracy.result(), 4),
        "rounds": json.loads(jobs.result())[0]["rounds"],
        "shards_paid": shards,
        "replicated": sum(node.replicas for node in books.nodes.values()),
        "restarted": demo.restarted,
        "gas_per_shard": round(measure_gas(network) / shards),
        "seconds": round(time.monotonic() - started, 1),
        "conserved": conserved,
    }
    (FOLDER / "report.json").write_text(json.dumps(found, indent=2) + "\n")
    return found


def main() -> int:
    """Returns the exit code: 0 only when the task completed and every token is accounted for."""
    with interruptible(), LocalNetwork(FOLDER) as network:
        started = time.monotonic()
        try:
            demo = set_up(network)
            asyncio.run(follow(demo))
            console.print((FOLDER / "requester.log").read_text().strip().splitlines()[-2], soft_wrap=True)
            found = report(demo, started)
        except KeyboardInterrupt:
            console.print("Interrupted; every process is ended.")
            return 130
        except RuntimeError as error:
            console.print(Text.assemble(("The demo failed. ", "bold red"), str(error)))
            console.print(f"Logs are in {FOLDER}.")
            return 1
        for name, value in found.items():
            console.print(f"{name:14} {value}")
        console.print(f"Written to {FOLDER / 'report.json'}.", soft_wrap=True)
        return 0 if found["conserved"] and found["restarted"] else 1


if __name__ == "__main__":
    sys.exit(main())
