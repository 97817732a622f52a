"""`make demo-fraud`: every way of cheating that we know, each caught and judged by the court on a chain of its own.

`CHEAT=wrong-bit make demo-fraud` shows one kind. What happened is written to `build/demo-fraud/report.json`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import structlog
import torch
from aiohttp import web
from rich.table import Table

from fraud_stage import ACCUSER, HONEST, Stage, Trial, console
from local_network import ORE, PASSWORD, ROOT, LocalNetwork, Member, create_account, free_port, interruptible, kill_hard
from orebit.chain import deployment, keystore
from orebit.chain.connection import connect
from orebit.chain.history import replay
from orebit.chain.home import Home
from orebit.chain.ledger import Ledger
from orebit.chain.reconciliation import Reconciler
from orebit.chain.sender import Sender, SenderSettings
from orebit.chain.token import format_amount
from orebit.cli.wide_table import print_table
from orebit.commitment import ListKind, ShardResult, list_root
from orebit.daemon.config import load_config, make_config, render_config
from orebit.daemon.staking import owner
from orebit.executor.run import run_shard
from orebit.program.graph import Program
from orebit.store import LocalStore, Plan, PlanShard, blob_routes, serve
from orebit.strategy.prepare import prepare
from orebit.strategy.terms import load_task_file
from orebit.strategy.training import Training

FOLDER = ROOT / "build" / "demo-fraud"
KINDS = {
    "wrong-bit": "one wrong bit in a weight",
    "lazy": "a lazy node that hands back the initial state",
    "skipped-step": "a step that was left out",
    "wrong-data": "training on other data",
    "learning-rate": "training with another learning rate",
    "inconsistent-trace": "a step whose values do not follow from each other",
    "withheld": "a result of which nothing is shown",
    "silence": "a node that does not answer in court",
    "false-accuser": "an accuser of an honest node",
}
STAKE = 100
STEPS, INTERVAL = 60, 10


def training() -> Training:
    """A small network on made-up data."""
    torch.manual_seed(0)
    x = torch.randn(256, 16)
    model = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4))
    return Training(
        model=model,
        loss=torch.nn.CrossEntropyLoss(),
        optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9),
        data=(x, x[:, :4].argmax(1)),
        batch_size=32,
        steps=STEPS,
        checkpoint=INTERVAL,
        shards=1,
        rounds=1,
    )


# The cast


def settle_in(network: LocalNetwork, name: str, **settings: Any) -> Member:
    """A member with an account and a node.toml."""
    member = network.add_member(name)
    create_account(member)
    port = free_port()
    defaults = {
        "rpc": [network.rpc],
        "listen_host": "127.0.0.1",
        "listen_port": port,
        "public_url": f"http://127.0.0.1:{port}",
        "poll_seconds": 0.25,
        "reveal_confirmations": 0,
        "exit_grace_seconds": 5,
        "threads": 1,
        "withdraw_above": 1000,
    }
    (member.home / "node.toml").write_text(render_config(make_config(**defaults | settings)))
    return member


async def stake(network: LocalNetwork, member: Member) -> int:
    """Registers the member's node with stake and deposit; returns its number."""
    home = Home(member.home)
    account = keystore.unlock(home.keystore, PASSWORD)
    async with owner(load_config(home.path, {}), home, account) as acting:
        return await acting.stake(STAKE * ORE)


def run(network: LocalNetwork, member: Member, *command: str) -> None:
    """Starts the member's process."""
    arguments = command or ("-m", "orebit.cli.main", "node", "run")
    member.process = network.spawn([sys.executable, *arguments], member.name, member.environment)


@contextlib.asynccontextmanager
async def set_up(network: LocalNetwork, kinds: list[str]) -> AsyncIterator[Stage]:
    """Chain, contracts, accounts; the honest node runs."""
    with console.status("Starting a chain and deploying the contracts ..."):
        network.start_chain()
        requester = settle_in(network, "requester")
        settle_in(network, HONEST, audit={"share": 1.0, "intervals": STEPS // INTERVAL})
        for kind in kinds:
            settle_in(network, kind)
        await asyncio.to_thread(network.deploy)
        os.environ["OREBIT_DEPLOYMENT"] = str(network.deployment)
        await asyncio.to_thread(network.fund, list(network.members.values()), 1_000 * ORE)
    console.print(f"Chain at {network.rpc}; the court stands. {HONEST} works, and audits what others reveal.")
    store = LocalStore(requester.home / "store")
    job = prepare(training(), store, load_task_file(None, {}), "fraud")
    shard = PlanShard(job.program, job.constants[0], job.state, job.steps, job.interval, job.parameters[0][0])
    program = Program.decode(store.program(job.program))
    site = web.Application()
    site.add_routes(blob_routes(store))
    account = keystore.unlock(Home(requester.home).keystore, PASSWORD)
    async with (
        serve(site, "127.0.0.1", 0) as url,
        await connect([network.rpc], deployment.load(path=network.deployment)) as connection,
        Sender(connection, account, requester.home / "outbox.sqlite", SenderSettings(poll_seconds=0.1)) as sender,
    ):
        plan = Plan((shard,), (url,))
        store.put_plan(plan)
        stage = Stage(network, connection, sender, store, url, plan, program, expected(store, shard, program))
        workers = [HONEST, *(kind for kind in kinds if kind != ACCUSER)]
        numbers = await asyncio.gather(*(stake(network, network.members[name]) for name in workers))
        stage.nodes = dict(zip(workers, numbers, strict=True))
        run(network, network.members[HONEST])
        yield stage


def expected(store: LocalStore, shard: PlanShard, program: Program) -> bytes:
    """The root of the right result."""
    inputs = [[store.tensor(root)[1] for root in roots] for roots in (shard.constants, shard.state, shard.parameters)]
    ran = run_shard(program, inputs[0], inputs[1], inputs[2], shard.steps, shard.interval)
    return list_root(ListKind.RESULTS, [ShardResult(shard.shard.id, ran.checkpoints_root).hash])


def begin(stage: Stage, kind: str) -> None:
    """Starts the cheat's process, unless it runs already."""
    member = stage.network.members[kind]
    if member.process is None:
        run(stage.network, member, str(ROOT / "scripts" / "cheating_node.py"), kind)


async def play(stage: Stage, kind: str, following: str | None) -> None:
    """One kind: until the court has spoken. What comes of it goes on beside the next, whose process starts by then."""
    console.rule(f"{kind}: {KINDS[kind]}", align="left")
    if kind == ACCUSER:  # it accuses whoever it sees, so nobody else must be about
        await stage.follow(lambda: all(trial.over for trial in stage.trials))
    begin(stage, kind)
    member = stage.network.members[kind]
    if kind == ACCUSER:
        await wait_for(stage.network.folder / f"{member.name}.log", "node is up")
    trial = await stage.offer(kind)
    await wait_for(stage.network.folder / f"{member.name}.log", "node is up")
    if following not in (None, ACCUSER):
        begin(stage, str(following))
    await stage.follow(lambda: trial.judged)
    assert member.process is not None
    kill_hard(member.process)


async def wait_for(path: Path, word: str) -> None:
    """Until a log holds a word. Raises RuntimeError after a minute."""
    deadline = time.monotonic() + 60
    while not path.exists() or word not in path.read_text():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{path} never said {word!r}.")
        await asyncio.sleep(0.2)


# The end


async def conclude(stage: Stage) -> list[dict[str, Any]]:
    """Audits the whole deployment, shows who paid whom, and makes the report."""
    ledger, position = await replay(stage.connection)
    found = await Reconciler(ledger, stage.connection, position).run()
    show_flows(stage, ledger)
    for difference in found.differences:
        console.print(f"[red]{difference}[/]")
    report = []
    for trial in stage.trials:
        conserved = ledger.tasks[trial.task].conserved and not found.differences
        report.append(
            {
                "cheat": trial.kind,
                "slashed": trial.slashed,
                "completed": trial.settled and trial.right,
                "moves": trial.moves,
                "gas_total": gas_of(stage.network, trial),
                "conserved": conserved,
                "seconds": round(trial.seconds, 1),
            }
        )
    return report


def gas_of(network: LocalNetwork, trial: Trial) -> int:
    """Gas of everything that was sent to the court about it."""
    receipts = [network.request("eth_getTransactionReceipt", "0x" + each.hex()) for each in trial.transactions]
    return sum(int(receipt["gasUsed"], 16) for receipt in receipts)


def show_flows(stage: Stage, ledger: Ledger) -> None:
    """TokenAI by task, and the court's ETH."""
    table = Table(title="Who paid whom", title_justify="left")
    for name in ("task", "from", "to", "why"):
        table.add_column(name, no_wrap=True)
    table.add_column("amount", justify="right", no_wrap=True)
    names = stage.names | {f"node {number}": name for name, number in stage.nodes.items()}
    for trial in stage.trials:
        for flow, amount in sorted(ledger.tasks[trial.task].flows.items()):
            source, target = (names.get(name, name) for name in (flow.source, flow.target))
            table.add_row(trial.kind, source, target, flow.reason, f"{format_amount(amount)} TokenAI")
    for paid, amount in sorted(ledger.court.flows.items()):
        target = stage.names.get(paid.target, paid.target)
        table.add_row("", "court", target, paid.reason, f"{amount / ORE:.5f} ETH")
    print_table(table, console)


def show_report(report: list[dict[str, Any]]) -> None:
    table = Table(title="Cheats", title_justify="left")
    for name in report[0]:
        table.add_column(name.replace("_", " "))
    for row in report:
        table.add_row(*(str(value) for value in row.values()))
    print_table(table, console)


def is_good(row: dict[str, Any]) -> bool:
    """The guilty, and nobody else, was slashed; the work was done; every wei is accounted for."""
    return bool(row["slashed"] == (row["cheat"] != ACCUSER) and row["completed"] and row["conserved"])


async def show(network: LocalNetwork, kinds: list[str]) -> list[dict[str, Any]]:
    async with set_up(network, kinds) as stage:
        for kind, following in zip(kinds, [*kinds[1:], None], strict=True):
            await play(stage, kind, following)
        console.rule("what was free again is done by the honest node", align="left")
        await stage.follow(lambda: all(trial.over for trial in stage.trials))
        return await conclude(stage)


def chosen() -> list[str]:
    """All kinds, or the one that CHEAT names."""
    kind = os.environ.get("CHEAT")
    if not kind:
        return list(KINDS)
    if kind not in KINDS:
        raise RuntimeError(f"There is no cheat {kind!r}; choose one of {', '.join(KINDS)}.")
    return [kind]


def main() -> int:
    """Returns the exit code: 0 only when every cheat was judged rightly and every wei is accounted for."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    with interruptible(), LocalNetwork(FOLDER) as network:
        try:
            report = asyncio.run(show(network, chosen()))
        except KeyboardInterrupt:
            console.print("Interrupted; every process is ended.")
            return 130
        except RuntimeError as error:
            console.print(f"[bold red]The demo failed.[/] {error}")
            console.print(f"Logs are in {FOLDER}.")
            return 1
        (FOLDER / "report.json").write_text(json.dumps(report, indent=2) + "\n")
        show_report(report)
        console.print(f"Written to {FOLDER / 'report.json'}.", soft_wrap=True)
        return 0 if all(map(is_good, report)) else 1


if __name__ == "__main__":
    sys.exit(main())
