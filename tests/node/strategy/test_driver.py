"""The driver on the real contracts, beat by beat, with nodes moved by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from eth_account import Account
from local_chain import KEYS, Anvil
from miners import SALT, Bench, Miner, Miners
from toys import toy_job

from orebit.chain import commitments
from orebit.chain.connection import connect
from orebit.chain.deployment import Deployment
from orebit.chain.home import Home
from orebit.chain.token import UNIT
from orebit.chain.types import LeaseState
from orebit.errors import AccountError, ConfigError, JobHalted
from orebit.store.client import BlobClient
from orebit.strategy import funds, submission
from orebit.strategy.board import Stage
from orebit.strategy.driver import Driver
from orebit.strategy.journal import JobRecord, Kind
from orebit.strategy.requester import Requester, open_requester
from orebit.strategy.results import ResultReader


class Notes:
    """What an observer was told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def progress(self, progress: object) -> None:
        self.last = progress

    def note(self, text: str) -> None:
        self.notes.append(text)


@dataclass
class Scene:
    bench: Bench
    requester: Requester
    job: JobRecord
    driver: Driver
    notes: Notes
    miners: Miners
    url: str

    async def batches(self, kind: Kind) -> list[int]:
        task = self.job.training if kind is Kind.TRAINING else self.job.averaging
        count = await self.bench.market.batch_count()
        return [batch for batch in range(1, count + 1) if (await self.bench.market.batch_of(batch)).task == task]

    async def work(self, miner: Miner, kind: Kind, grains: int, **how: Any) -> None:
        for grain in range(grains):
            await miner.work((await self.batches(kind))[-1], grain, [self.url], **how)

    async def train_round(self, miner: Miner) -> None:
        """A round by an honest node."""
        await self.driver.beat()
        await self.work(miner, Kind.TRAINING, 2)
        await self.driver.beat()
        await self.work(miner, Kind.AVERAGING, 1)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    (tmp_path / "home").mkdir()
    return Home(tmp_path / "home")


@asynccontextmanager
async def opened(anvil: Anvil, home: Home) -> AsyncIterator[Requester]:
    async with open_requester(home, rpc=[anvil.url], account=Account.from_key(KEYS[1]), poll_seconds=0.02) as requester:
        yield requester


@pytest.fixture
def start(
    anvil: Anvil, deployed: Deployment, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Begins a toy job, its tasks created and its blobs served; or takes up the one that the home has."""
    path = tmp_path / "deployment.json"
    path.write_text(deployed.model_dump_json())
    monkeypatch.setenv("OREBIT_DEPLOYMENT", str(path))

    @asynccontextmanager
    async def begin(**how: Any) -> AsyncIterator[Scene]:
        async with (
            await connect([anvil.url], deployed) as connection,
            opened(anvil, home) as requester,
            aiohttp.ClientSession() as session,
        ):
            bench = Bench(anvil, connection)
            jobs = requester.journal.jobs()
            if not jobs:
                bench.give(requester.account.address, 100 * UNIT)
                offer = await submission.make_offer(requester, toy_job(requester.store, **how))
                jobs = [submission.begin(requester, offer)]
            async with submission._serving(requester, jobs[0]) as job, Miners(bench, tmp_path) as miners:
                job = await submission._create_tasks(requester, job)
                client = BlobClient(session, requester.store)
                notes = Notes()
                results = ResultReader(job.spec, requester.store, client, requester.registry)
                driver = Driver(requester, job, results, notes)
                assert job.url is not None
                yield Scene(bench, requester, job, driver, notes, miners, job.url)

    return begin


def x_of(scene: Scene, state: tuple[bytes, ...]) -> list[float]:
    array: np.ndarray[Any, Any] = scene.requester.store.tensor(state[1])[1]
    return [float(value) for value in array]


async def test_two_rounds_end_in_the_average_and_only_then(start: Callable[..., Any]) -> None:
    async with start() as scene:
        miner = await scene.miners.add(1)
        for _ in range(2):
            await scene.train_round(miner)
        assert await scene.driver.beat() is None
        assert "final" in scene.driver.progress().message
        scene.bench.pass_time()
        miner.send(scene.bench.market.encode_finalise(miner.leases))
        state = await scene.driver.beat()
        assert state is not None
        assert x_of(scene, state) == [16.0] * 4
        progress = scene.driver.progress()
        assert progress.paid == 4 * UNIT + 2 * UNIT // 100
        assert [part.losses for part in progress.rounds] == [(4.0, 4.0), (8.0, 8.0)]
        returned = await funds.withdraw(scene.requester, (scene.job.training, scene.job.averaging))
        assert returned == 8 * UNIT + 4 * UNIT // 100 - progress.paid


async def test_a_driver_that_was_killed_goes_on_without_posting_twice(start: Callable[..., Any]) -> None:
    async with start() as scene:
        miner = await scene.miners.add(1)
        await scene.train_round(miner)
        await scene.driver.beat()
        before = await scene.bench.market.batch_count()
        tasks = await scene.bench.market.task_count()
    async with start() as scene:
        await scene.driver.beat()
        assert await scene.bench.market.batch_count() == before == 3
        assert await scene.bench.market.task_count() == tasks == 2
        assert scene.driver.progress().rounds[1].training == (Stage.FREE, Stage.FREE)


async def test_depth_limits_what_stands_on_unfinal_results(start: Callable[..., Any]) -> None:
    async with start(rounds=3, flags={"run.depth": 1}) as scene:
        miner = await scene.miners.add(1)
        await scene.train_round(miner)
        await scene.train_round(miner)
        await scene.driver.beat()
        assert len(await scene.batches(Kind.TRAINING)) == 2
        assert "Round 3 waits until round 1 is final" in scene.driver.progress().message
        scene.bench.pass_time()
        miner.send(scene.bench.market.encode_finalise(miner.leases[:3]))
        await scene.driver.beat()
        await scene.driver.beat()
        assert len(await scene.batches(Kind.TRAINING)) == 3


async def test_a_wrong_average_is_refused_and_its_node_barred(start: Callable[..., Any]) -> None:
    async with start(rounds=1, flags={"run.escrow": "9"}) as scene:
        liar, honest = await scene.miners.add(1), await scene.miners.add(2)
        await scene.driver.beat()
        await scene.work(honest, Kind.TRAINING, 2)
        await scene.driver.beat()
        await scene.work(liar, Kind.AVERAGING, 1, tamper=lambda state: [state[0], state[1] * 2, state[2]])
        await scene.driver.beat()
        assert "average is wrong" in scene.notes.notes[0]
        assert await scene.bench.market.is_barred(scene.job.averaging, 1)
        await scene.driver.beat()
        assert len(await scene.batches(Kind.AVERAGING)) == 2
        await scene.work(honest, Kind.AVERAGING, 1)
        scene.bench.pass_time()
        honest.send(scene.bench.market.encode_finalise(honest.leases))
        state = await scene.driver.beat()
        assert state is not None and x_of(scene, state) == [8.0] * 4


async def test_an_overturned_result_is_fallen_back_from_with_new_shard_ids(start: Callable[..., Any]) -> None:
    async with start(flags={"run.escrow": "30"}) as scene:
        liar, honest = await scene.miners.add(1), await scene.miners.add(2)
        await scene.driver.beat()
        (first,) = await scene.batches(Kind.TRAINING)
        wrong = await liar.work(first, 0, [scene.url], lambda state: [state[0], state[1] + 100, state[2]])
        await honest.work(first, 1, [scene.url])
        await scene.driver.beat()
        await scene.work(honest, Kind.AVERAGING, 1)
        await scene.driver.beat()
        _, built = await scene.batches(Kind.TRAINING)
        scene.bench.convict(wrong)
        await scene.driver.beat()
        await scene.driver.beat()
        assert (await scene.bench.market.batch_of(first)).closed
        replacement = (await scene.batches(Kind.TRAINING))[-1]
        old, new = [
            scene.requester.store.plan((await scene.bench.market.batch_of(batch)).plan_root).shards
            for batch in (first, replacement)
        ]
        assert len(new) == 1 and new[0].shard.id != old[0].shard.id and new[0].state == old[0].state
        await honest.work(replacement, 0, [scene.url])
        await scene.driver.beat()
        await scene.work(honest, Kind.AVERAGING, 1)
        await scene.driver.beat()
        await scene.driver.beat()
        assert (await scene.bench.market.batch_of(built)).closed
        await scene.work(honest, Kind.TRAINING, 2)
        await scene.driver.beat()
        await scene.work(honest, Kind.AVERAGING, 1)
        scene.bench.pass_time()
        honest.send(scene.bench.market.encode_finalise(honest.leases))
        state = await scene.driver.beat()
        assert state is not None and x_of(scene, state) == [16.0] * 4


async def test_a_pause_is_waited_out(start: Callable[..., Any]) -> None:
    async with start(rounds=1) as scene:
        bench = scene.bench
        bench.send(bench.accounts[0], bench.market.address, bench.market.encode_set_paused(True))
        assert await scene.driver.beat() is None
        assert "paused" in scene.driver.progress().message
        bench.send(bench.accounts[0], bench.market.address, bench.market.encode_set_paused(False))
        await scene.driver.beat()
        assert len(await scene.batches(Kind.TRAINING)) == 1


async def test_a_stall_is_explained(start: Callable[..., Any]) -> None:
    async with start(rounds=1) as scene:
        await scene.driver.beat()
        await scene.driver.beat()
        scene.driver._memory.moved_at -= 60
        await scene.driver.beat()
        assert "No node is registered" in scene.driver.progress().message
        scene.bench.register(1, "http://127.0.0.1:1", stake=UNIT)
        await scene.driver.beat()
        scene.driver._memory.moved_at -= 60
        await scene.driver.beat()
        assert "asks for a stake of 6 TokenAI, and no node has more than 1 free" in scene.driver.progress().message


async def test_a_round_is_called_as_a_whole_in_time(start: Callable[..., Any]) -> None:
    flags = {"run.call": "100%", "terms.draw_delay": 3}
    async with start(rounds=1, flags=flags) as scene:
        miner = await scene.miners.add(1)
        await scene.driver.beat()
        (batch,) = await scene.batches(Kind.TRAINING)
        leases = [miner.lease(batch, grain) for grain in range(2)]
        scene.bench.chain.rpc("evm_setAutomine", False)
        for lease in leases:
            request = {"from": scene.bench.accounts[2], "to": scene.bench.market.address, "gas": hex(300_000)}
            request["data"] = "0x" + scene.bench.market.encode_commit(lease, b"\x01" * 32).hex()
            scene.bench.chain.rpc("eth_sendTransaction", request)
        scene.bench.chain.mine()
        scene.bench.chain.rpc("evm_setAutomine", True)
        scene.bench.chain.mine()
        await scene.driver.beat()
        states = [(await scene.bench.market.lease_of(lease)).state for lease in leases]
        assert states == [LeaseState.CALLED] * 2


async def test_one_nodes_infinity_is_refused_and_a_seconds_halts_the_job(start: Callable[..., Any]) -> None:
    def diverged(state: Any) -> list[Any]:
        return [state[0], state[1] * np.inf, state[2]]

    async with start(rounds=1, flags={"run.escrow": "9"}) as scene:
        first, second = await scene.miners.add(1), await scene.miners.add(2)
        await scene.driver.beat()
        await first.work((await scene.batches(Kind.TRAINING))[-1], 0, [scene.url], tamper=diverged)
        await scene.driver.beat()
        assert "not finite in x" in scene.notes.notes[0]
        assert len(await scene.batches(Kind.TRAINING)) == 2
        await second.work((await scene.batches(Kind.TRAINING))[-1], 0, [scene.url], tamper=diverged)
        with pytest.raises(JobHalted, match="the training diverged"):
            await scene.driver.beat()


async def test_a_result_of_other_shapes_is_refused_and_given_out_again(start: Callable[..., Any]) -> None:
    async with start(rounds=1, flags={"run.escrow": "9"}) as scene:
        liar, honest = await scene.miners.add(1), await scene.miners.add(2)
        await scene.driver.beat()
        batch = (await scene.batches(Kind.TRAINING))[-1]
        await liar.work(batch, 0, [scene.url], lambda state: [state[0], np.zeros(5, np.float32), state[2]])
        await honest.work(batch, 1, [scene.url])
        await scene.driver.beat()
        await scene.driver.beat()
        first, second = await scene.batches(Kind.TRAINING)
        info = await scene.bench.market.batch_of(second)
        assert (info.grains, info.size) == (1, 1)
        await honest.work(second, 0, [scene.url])
        await scene.driver.beat()
        assert len(await scene.batches(Kind.AVERAGING)) == 1


async def test_a_withheld_result_is_given_to_others_after_the_patience(start: Callable[..., Any]) -> None:
    async with start(rounds=1, flags={"run.patience": 0, "run.escrow": "9"}) as scene:
        miner = await scene.miners.add(1)
        await scene.driver.beat()
        lease = miner.lease((await scene.batches(Kind.TRAINING))[-1], 0)
        bench = scene.bench
        root = b"\x01" * 32
        miner.send(bench.market.encode_commit(lease, commitments.commitment(bench.deployment, lease, root, SALT)))
        bench.chain.mine(2)
        miner.send(bench.market.encode_reveal(lease, root, SALT))
        await scene.driver.beat()
        await scene.driver.beat()
        assert len(await scene.batches(Kind.TRAINING)) == 2
        assert "could not be fetched" in scene.notes.notes[0]


async def test_overdue_leases_are_ended_by_the_driver(start: Callable[..., Any]) -> None:
    async with start(rounds=1) as scene:
        miner = await scene.miners.add(1)
        await scene.driver.beat()
        miner.lease((await scene.batches(Kind.TRAINING))[-1], 0)
        scene.bench.pass_time(1_000)
        scene.driver._tender._exits_at = 0.0
        await scene.driver.beat()
        await scene.driver.beat()
        assert scene.driver.progress().lost == 1
        assert scene.driver.progress().rounds[0].training[0] is Stage.FREE


async def test_a_short_escrow_halts_with_what_to_do_and_a_deposit_helps(start: Callable[..., Any]) -> None:
    async with start(flags={"run.escrow": "4.5"}) as scene:
        miner = await scene.miners.add(1)
        await scene.train_round(miner)
        await scene.driver.beat()
        assert "waits for" in scene.driver.progress().message
        scene.bench.pass_time()
        miner.send(scene.bench.market.encode_finalise(miner.leases))
        with pytest.raises(JobHalted, match=f"orebit task deposit {scene.job.training}"):
            await scene.driver.beat()
        await funds.deposit(scene.requester, scene.job.training, 2 * UNIT)
        await scene.driver.beat()
        assert len(await scene.batches(Kind.TRAINING)) == 2


async def test_cancel_returns_all_that_no_lease_stands_behind(start: Callable[..., Any]) -> None:
    async with start() as scene:
        miner = await scene.miners.add(1)
        await scene.driver.beat()
        miner.lease((await scene.batches(Kind.TRAINING))[-1], 0)
        refund = await funds.cancel(scene.requester, scene.job.training)
        assert refund.closed == 1
        assert refund.reserved == 2 * UNIT
        assert refund.returned == 8 * UNIT + 4 * UNIT // 100 - refund.reserved
        scene.bench.pass_time()
        miner.send(scene.bench.market.encode_expire(miner.leases))
        again = await funds.cancel(scene.requester, scene.job.averaging)
        assert again.reserved == 0
        assert again.returned == refund.reserved + 6 * UNIT * 5 // 100 // 2


async def test_money_is_asked_for_before_anything_happens(start: Callable[..., Any]) -> None:
    async with start() as scene:
        spec = toy_job(scene.requester.store, flags={"terms.price": "1000"})
        with pytest.raises(AccountError, match="No money moved"):
            await submission.make_offer(scene.requester, spec)
        with pytest.raises(ConfigError, match="There is no task 9"):
            await funds.deposit(scene.requester, 9, UNIT)
        assert await scene.bench.market.task_count() == 2
