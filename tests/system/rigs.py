"""Node processes of a test's own network, and a requester that posts a small program's shards from the test itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import web
from eth_account import Account
from local_chain import KEYS, Anvil, free_port

from orebit.chain import events, keystore
from orebit.chain.connection import connect
from orebit.chain.deployment import Deployment
from orebit.chain.history import replay
from orebit.chain.home import Home
from orebit.chain.market import Market
from orebit.chain.reader import EventReader
from orebit.chain.reconciliation import Reconciler
from orebit.chain.registry import Registry
from orebit.chain.sender import Sender, SenderSettings
from orebit.chain.token import UNIT, Token
from orebit.chain.types import LeaseId, Terms
from orebit.commitment import ShardResult
from orebit.daemon.config import make_config, render_config
from orebit.daemon.staking import owner
from orebit.executor.run import run_shard
from orebit.numerics.types import DType
from orebit.program.builder import Builder
from orebit.program.expression import ExpressionBuilder
from orebit.program.graph import Program
from orebit.store import LocalStore, Plan, PlanShard, blob_routes, serve

PASSWORD = "a password of the tests"
HERE = Path(__file__).resolve().parent

TERMS = Terms(
    price=UNIT,
    compute_seconds=20,
    reveal_seconds=15,
    challenge_seconds=6,
    stake_factor=200,
    late_bp=500,
    draw_bp=0,
    fee_percent=100,
    draw_delay=1,
    lottery_blocks=40,
    block_log2=0,
    watcher="0x0000000000000000000000000000000000000000",
    move_time=1,
    max_grains=4,
    flags=0,
    reveal_depth=0,
)


@dataclass
class Rig:
    """One node: its home, its environment, and its process while it runs."""

    name: str
    home: Path
    environment: dict[str, str]
    address: str
    node: int = 0
    process: subprocess.Popen[bytes] | None = None

    def start(self, *command: str) -> None:
        """Starts the daemon, or another entry that runs one."""
        arguments = command or ("-c", "from orebit.cli.node import app; app(['run'])")
        with (self.home / "node.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *arguments], env=self.environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    async def up(self, seconds: float = 60) -> None:
        """Waits until the daemon has found or made its node."""
        deadline = time.monotonic() + seconds
        while "node is up" not in self.log:
            assert time.monotonic() < deadline, self.log
            await asyncio.sleep(0.1)

    def kill(self) -> None:
        """SIGKILL: no time to say or save anything."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self, patience: float = 20) -> int:
        """SIGTERM, and the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(patience)

    def command(self, *arguments: str) -> str:
        """Runs `orebit node ...` and returns what it printed."""
        script = "import sys; from orebit.cli.node import app; app(sys.argv[1:])"
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self.command("status", "--json"))
        return status

    @property
    def checkpoints(self) -> int:
        """How many checkpoints its journal keeps of work that is not settled."""
        with contextlib.closing(sqlite3.connect(f"file:{Home(self.home).journal}?mode=ro", uri=True)) as journal:
            count: int = journal.execute("SELECT COUNT(*) FROM progress").fetchone()[0]
        return count

    @property
    def log(self) -> str:
        return (self.home / "node.log").read_text()


class Network:
    """The chain, its deployment and its rigs."""

    def __init__(self, chain: Anvil, deployment: Deployment, folder: Path) -> None:
        self.chain = chain
        self.deployment = deployment
        self.folder = folder
        self.rigs: list[Rig] = []
        self.deployment_file = folder / "deployment.json"
        self.deployment_file.write_text(deployment.model_dump_json())
        os.environ["OREBIT_DEPLOYMENT"] = str(self.deployment_file)

    async def add_rig(self, name: str, *, stake: int = 100, **options: object) -> Rig:
        """A funded, initialised and staked rig that does not run yet."""
        home = self.folder / name
        home.mkdir()
        account = keystore.create(home / "keystore.json", PASSWORD, iterations=2)
        (home / "password").write_text(PASSWORD)
        environment = os.environ | {
            "OREBIT_HOME": str(home),
            "OREBIT_RPC": self.chain.url,
            "OREBIT_DEPLOYMENT": str(self.deployment_file),
            "OREBIT_PASSWORD_FILE": str(home / "password"),
            "OMP_NUM_THREADS": "1",
        }
        rig = Rig(name, home, environment, account.address)
        await self.fund(account.address, stake + 10)
        port = free_port()
        settings = {
            "rpc": [self.chain.url],
            "listen_port": port,
            "listen_host": "127.0.0.1",
            "public_url": f"http://127.0.0.1:{port}",
            "poll_seconds": 0.25,
            "reveal_confirmations": 0,
            "exit_grace_seconds": 2,
            "threads": 1,
            "withdraw_above": 1000,
        }
        config = make_config(**settings | options)
        (home / "node.toml").write_text(render_config(config))
        if stake:
            async with owner(config, Home(home), account) as acting:
                rig.node = await acting.stake(stake * UNIT)
        self.rigs.append(rig)
        return rig

    async def fund(self, address: str, tokens: int) -> None:
        """Ether and TokenAI from the deployer."""
        self.chain.rpc("anvil_setBalance", address, hex(10 * 10**18))
        async with await connect([self.chain.url], self.deployment) as connection:
            data = "0x" + Token(connection).encode_transfer(address, tokens * UNIT).hex()
        sender = Account.from_key(KEYS[0]).address
        request = {"from": sender, "to": self.deployment.token, "data": data, "gas": hex(200_000)}
        receipt = await asyncio.to_thread(lambda: self.chain.receipt(self.chain.rpc("eth_sendTransaction", request)))
        assert receipt["status"] == "0x1"

    def ether_of(self, rig: Rig) -> int:
        """Wei of ETH on its operator's account."""
        return int(self.chain.rpc("eth_getBalance", rig.address, "latest"), 16)

    def stop(self) -> None:
        for rig in self.rigs:
            if rig.process is not None and rig.process.poll() is None:
                rig.kill()
        os.environ.pop("OREBIT_DEPLOYMENT", None)

    @contextlib.asynccontextmanager
    async def requester(self) -> AsyncIterator[Requester]:
        """A requester with a server, an account and tokens, living in the test's process."""
        account = Account.create()
        await self.fund(account.address, 1_000)
        store = LocalStore(self.folder / "requester")
        site = web.Application()
        site.add_routes(blob_routes(store))
        async with (
            serve(site, "127.0.0.1", 0) as url,
            await connect([self.chain.url], self.deployment) as connection,
            Sender(connection, account, self.folder / "requester.sqlite", SenderSettings(poll_seconds=0.1)) as sender,
        ):
            yield Requester(self, Market(connection), Registry(connection), Token(connection), sender, store, url)


def decay_program(size: int) -> Program:
    """w <- w * rate + x: a state of `size` floats, one constant, one parameter."""
    builder = Builder()
    w = builder.state(DType.F32, (size,), "w")
    x = builder.constant(DType.F32, (size,), "x")
    rate = builder.parameter(DType.F32, (1,), "rate")
    expression = ExpressionBuilder([DType.F32] * 3, 1)
    a, b, c = expression.operands
    return builder.finish([builder.map(expression.finish(a * c + b), [w, x, rate])])


@dataclass
class Requester:
    """Posts shards of `decay_program` and watches what becomes of them."""

    network: Network
    market: Market
    registry: Registry
    token: Token
    sender: Sender
    store: LocalStore
    url: str
    seen: list[events.Event] = field(default_factory=list)

    async def create(self, tokens: int = 100, **terms: Any) -> int:
        """A task with this much escrow."""
        amount = tokens * UNIT
        await self.sender.send(
            self.token.address, self.token.encode_approve(self.market.address, amount), label="approve"
        )
        calldata = self.market.encode_create(replace(TERMS, **terms), self.url, amount)
        receipt = await self.sender.send(self.market.address, calldata, label="create")
        return next(event.task for event in receipt.events if isinstance(event, events.TaskCreated))

    async def post(
        self, task: int, *, grains: int, size: int = 1, steps: int = 40, interval: int = 10, elements: int = 256
    ) -> tuple[int, Plan]:
        """A batch of `grains * size` shards that differ in their rate."""
        program = decay_program(elements)
        self.store.put_program(program.root, program.encode())
        w = self.store.put_array(np.linspace(-1, 1, elements, dtype=np.float32)).root
        x = self.store.put_array(np.arange(elements, dtype=np.float32) / elements).root
        rates = [np.array([0.5 + 0.01 * (task * 100 + number)], np.float32) for number in range(grains * size)]
        shards = [
            PlanShard(program.root, (x,), (w,), steps, interval, (self.store.put_array(rate).root,)) for rate in rates
        ]
        plan = Plan(tuple(shards), (self.url,))
        return await self.post_plan(task, plan, grains, size), plan

    async def post_plan(self, task: int, plan: Plan, grains: int, size: int) -> int:
        """A batch of a plan whose inputs are in the store; returns its number."""
        self.store.put_plan(plan)
        calldata = self.market.encode_post(task, plan.root, grains, size)
        receipt = await self.sender.send(self.market.address, calldata, label="post")
        return next(event.batch for event in receipt.events if isinstance(event, events.BatchPosted))

    async def bar(self, task: int, node: int, barred: bool) -> None:
        """Whether the node may take primary leases of a gated task."""
        await self.sender.send(self.market.address, self.market.encode_bar(task, node, barred), label="bar")

    def expected(self, plan: Plan) -> list[bytes]:
        """The result hashes of a plan, computed here."""
        hashes = []
        for entry in plan.shards:
            program = Program.decode(self.store.program(entry.program))
            inputs = [
                [self.store.tensor(root)[1] for root in roots]
                for roots in (entry.constants, entry.state, entry.parameters)
            ]
            run = run_shard(program, inputs[0], inputs[1], inputs[2], entry.steps, entry.interval)
            hashes.append(ShardResult(entry.shard.id, run.checkpoints_root).hash)
        return hashes

    async def follow(self, until: Callable[[], bool], seconds: float = 60) -> None:
        """Collects events in `seen` until the condition holds; fails loudly when it does not in time."""
        reader = EventReader(self.sender._connection, self.network.folder / "events.sqlite", name="test")
        deadline = time.monotonic() + seconds
        while not until():
            if time.monotonic() > deadline:
                told = "\n".join(type(event).__name__ + str(event)[:200] for event in self.seen)
                logs = "\n\n".join(f"{rig.name}:\n{rig.log[-6000:]}" for rig in self.network.rigs)
                raise AssertionError(f"Not in {seconds} s. Events:\n{told}\n\nLogs:\n{logs}")
            delivery = await reader.poll()
            if delivery is None:
                await asyncio.sleep(0.1)
                continue
            self.seen += delivery.events
            reader.acknowledge(delivery)

    def of(self, kind: type[Any], batch: int | None = None) -> list[Any]:
        """Events seen so far of one kind, of one batch where they name it."""
        return [event for event in self.seen if isinstance(event, kind) and (batch is None or event.batch == batch)]

    def settled(self, *batches: int) -> Callable[[], bool]:
        """A condition for `follow`."""
        return lambda: {event.batch for event in self.of(events.BatchSettled)} >= set(batches)

    async def reconciled(self) -> bool:
        """Whether every token, and the court's ETH, is where the events say, to the wei."""
        ledger, position = await replay(self.sender._connection)
        found = await Reconciler(ledger, self.sender._connection, position).run()
        assert not found.differences, [str(difference) for difference in found.differences]
        return all(task.conserved for task in ledger.tasks.values())

    async def conserved(self) -> bool:
        """Whether the market holds exactly escrow, reserves and balances once all batches have settled."""
        held = await self.token.balance_of(self.market.address)
        tasks = [await self.market.task_of(task) for task in range(1, await self.market.task_count() + 1)]
        nodes = range(1, await self.registry.node_count() + 1)
        balances = [await self.market.balance_of(node) for node in nodes]
        return held == sum(task.escrow for task in tasks) + sum(balances)


def paid_twice(finalised: Sequence[events.Finalised]) -> set[LeaseId]:
    """Leases that were paid more than once."""
    leases = [event.lease for event in finalised]
    return {lease for lease in leases if leases.count(lease) > 1}
