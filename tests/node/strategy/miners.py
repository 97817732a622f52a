"""Nodes that a test moves by hand: they lease, compute, commit and reveal on the real contracts, and serve blobs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from eth_utils.address import to_checksum_address
from local_chain import Anvil

from orebit.chain import abi, commitments
from orebit.chain.connection import Connection
from orebit.chain.events import Decoder, Event, Leased
from orebit.chain.market import Market
from orebit.chain.registry import Registry
from orebit.chain.token import UNIT, Token
from orebit.chain.types import LeaseId
from orebit.commitment import ListKind, ShardResult
from orebit.executor.run import run_shard
from orebit.program.graph import Program
from orebit.store.client import BlobClient
from orebit.store.local import LocalStore
from orebit.store.plan import Plan, PlanShard
from orebit.store.server import blob_routes

SALT = bytes(31) + b"\x07"
Tamper = Callable[[Sequence[Any]], Sequence[Any]]


class Bench:
    """The chain with anvil's unlocked accounts: 0 deployed, 1 requests, 2 and on own nodes 1 and on."""

    def __init__(self, chain: Anvil, connection: Connection) -> None:
        self.chain = chain
        self.market = Market(connection)
        self.registry = Registry(connection)
        self.token = Token(connection)
        self.deployment = connection.deployment
        self.accounts = [to_checksum_address(address) for address in chain.rpc("eth_accounts")]
        self._decoder = Decoder(self.deployment)

    def send(self, sender: str, to: str, calldata: bytes) -> list[Event]:
        request = {"from": sender, "to": to, "data": "0x" + calldata.hex(), "gas": hex(5_000_000)}
        receipt = self.chain.receipt(self.chain.rpc("eth_sendTransaction", request))
        assert receipt["status"] == "0x1", receipt
        events = [self._decoder.decode(log) for log in receipt["logs"]]
        return [event for event in events if event is not None]

    def give(self, account: str, amount: int) -> None:
        self.send(self.accounts[0], self.token.address, self.token.encode_transfer(account, amount))

    def register(self, node: int, url: str, stake: int = 1_000 * UNIT) -> None:
        owner = self.accounts[node + 1]
        self.give(owner, stake)
        self.send(owner, self.token.address, self.token.encode_approve(self.registry.address, stake))
        self.send(owner, self.registry.address, self.registry.encode_register(owner, url, "cpu", stake))

    def convict(self, lease: LeaseId) -> None:
        """What the court will do: the judge proves a revealed lease wrong."""
        judge = self.deployment.arbiter
        self.chain.rpc("anvil_impersonateAccount", judge)
        self.chain.rpc("anvil_setBalance", judge, hex(10**18))
        self.send(judge, self.market.address, abi.load("TaskMarket").encode_call("convict", [lease]))

    def pass_time(self, seconds: int = 3_600, blocks: int = 40) -> None:
        self.chain.rpc("evm_increaseTime", seconds)
        self.chain.mine(blocks)


@dataclass
class Miner:
    """One node with a store of its own."""

    bench: Bench
    node: int
    store: LocalStore
    client: BlobClient
    url: str
    free_slot: int = 0
    leases: list[LeaseId] = field(default_factory=list)

    def send(self, calldata: bytes) -> list[Event]:
        return self.bench.send(self.bench.accounts[self.node + 1], self.bench.market.address, calldata)

    def lease(self, batch: int, grain: int, grains: int = 1) -> LeaseId:
        events = self.send(self.bench.market.encode_lease(batch, grain, grains, self.node, self.free_slot))
        self.free_slot += 1
        self.leases.append(next(event.lease for event in events if isinstance(event, Leased)))
        return self.leases[-1]

    async def compute(self, batch: int, grain: int, sources: Sequence[str], tamper: Tamper = list) -> bytes:
        """Fetches and runs a grain, keeps its blobs, and gives the result root. `tamper` changes final states."""
        info = await self.bench.market.batch_of(batch)
        plan: Plan = await self.client.fetch_plan(info.plan_root, sources)
        shards = plan.shards[grain * info.size : (grain + 1) * info.size]
        return self.store.put_list(
            ListKind.RESULTS, [await self._run(shard, [*plan.sources, *sources], tamper) for shard in shards]
        )

    async def _run(self, shard: PlanShard, sources: Sequence[str], tamper: Tamper) -> bytes:
        inputs = await self.client.fetch_shard_inputs(shard.shard, sources)
        arrays = [[self.store.tensor(head.root)[1] for head in group] for group in (inputs.constants, inputs.state)]
        parameters = [self.store.tensor(head.root)[1] for head in inputs.parameters]
        program = Program.decode(inputs.program)
        run = await asyncio.to_thread(run_shard, program, arrays[0], arrays[1], parameters, shard.steps, shard.interval)
        final = [self.store.put_array(array).root for array in tamper(run.final_state)]
        roots = [*run.roots[:-1], self.store.put_list(ListKind.STATE, final)]
        result = ShardResult(shard.shard.id, self.store.put_list(ListKind.CHECKPOINTS, roots))
        return self.store.put_preimage(result.encode())

    async def work(self, batch: int, grain: int, sources: Sequence[str], tamper: Tamper = list) -> LeaseId:
        """A whole lease of one grain, up to the reveal."""
        lease = self.lease(batch, grain)
        root = await self.compute(batch, grain, sources, tamper)
        info = await self.bench.market.batch_of(batch)
        terms = (await self.bench.market.task_of(info.task)).terms
        if not terms.is_open:
            self.send(
                self.bench.market.encode_commit(lease, commitments.commitment(self.bench.deployment, lease, root, SALT))
            )
            self.bench.chain.mine(terms.draw_delay + 1)
        self.send(self.bench.market.encode_reveal(lease, root, bytes(32) if terms.is_open else SALT))
        return lease


class Miners:
    """Miners whose blobs are served while the block lasts."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        self._bench = bench
        self._folder = folder
        self._runners: list[web.AppRunner] = []

    async def __aenter__(self) -> Miners:
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        for runner in self._runners:
            await runner.cleanup()

    async def add(self, node: int) -> Miner:
        store = LocalStore(self._folder / f"node{node}")
        app = web.Application()
        app.add_routes(blob_routes(store))
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        self._runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self._bench.register(node, url)
        return Miner(self._bench, node, store, BlobClient(self._session, store), url)
