"""Jobs: the root that is committed, resumed from any checkpoint, and kept from the public until it is revealed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import aiohttp
import pytest
from aiohttp import web
from shards import put_plan, result_hashes

from orebit.chain.types import LeaseId
from orebit.commitment import ListKind, list_root, merkle
from orebit.daemon import work
from orebit.daemon.config import Limits
from orebit.daemon.inputs import Inputs
from orebit.daemon.journal import Journal
from orebit.daemon.work import Job, Progress, Purpose, Worker, Workshop
from orebit.errors import BlobMissing, ExecutionStopped
from orebit.store import BlobClient, LocalStore, Plan, blob_routes, serve

LEASE = LeaseId.of(1, 0, 1)


class Bench:
    """A workshop with its store and journal, which can be opened again as after a crash."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = LocalStore(folder / "blobs")
        self.plan = put_plan(self.store)
        self.reopen()

    def reopen(self) -> None:
        self.journal = Journal(self.folder / "journal.sqlite")
        client = cast(BlobClient, None)  # everything is in the store
        self.inputs = Inputs(self.store, client, self.journal, Limits())
        self.workshop = Workshop(self.journal, self.store, self.inputs, threads=1)

    def job(self, purpose: Purpose = Purpose.LEASE, first: int = 0, count: int = 3, log2: int = 0) -> Job:
        return Job(LEASE, purpose, self.plan.root, first, count, log2, deadline=0)

    def execute(self, job: Job, stop: Callable[[], bool] = lambda: False) -> bytes:
        return self.workshop.execute(job, Progress(), stop)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.journal.close()


def after(calls: int) -> Callable[[], bool]:
    """Says stop at that call."""
    left = iter(range(calls))
    return lambda: next(left, None) is None


def test_a_leases_root_is_over_its_results(bench: Bench) -> None:
    assert bench.execute(bench.job()) == list_root(ListKind.RESULTS, result_hashes(bench.plan))


def test_a_replicas_root_is_the_blocks_raw_node(bench: Bench) -> None:
    hashes = result_hashes(bench.plan)
    assert bench.execute(bench.job(Purpose.REPLICA, first=1, count=1, log2=0)) == hashes[1]
    bench.journal.close()
    (bench.folder / "journal.sqlite").unlink()
    bench.reopen()
    assert bench.execute(bench.job(Purpose.TESTIMONY, first=2, count=1, log2=1)) == merkle.lift([hashes[2]], 1)


def test_a_check_believes_nothing_that_was_kept(bench: Bench) -> None:
    for shard in range(3):
        bench.journal.shard_done(LEASE, shard, bytes([shard + 1]) * 32)
    root = bench.execute(bench.job(Purpose.CHECK))
    assert root == list_root(ListKind.RESULTS, result_hashes(bench.plan))
    assert bench.journal.checkpoints(LEASE, 0) == []


@pytest.mark.parametrize("steps", range(1, 29, 3))
def test_stopped_at_any_step_it_goes_on_to_the_same_root(bench: Bench, steps: int) -> None:
    with pytest.raises(ExecutionStopped):
        bench.execute(bench.job(), after(steps))
    bench.journal.close()
    bench.reopen()
    counted: list[int] = []
    root = bench.execute(bench.job(), lambda: bool(counted.append(1)))
    assert root == list_root(ListKind.RESULTS, result_hashes(bench.plan))
    done = steps // 10 * 10 + steps % 10 // 3 * 3
    assert len(counted) == 30 - done


def test_a_damaged_checkpoint_costs_one_interval_only(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ExecutionStopped):
        bench.execute(bench.job(count=1), after(8))
    last = bench.journal.checkpoints(LEASE, 0)[-1]
    whole = bench.store.list_entries

    def damaged(root: bytes, kind: ListKind) -> list[bytes]:
        if root == last:
            raise BlobMissing("gone")
        return whole(root, kind)

    monkeypatch.setattr(bench.store, "list_entries", damaged)
    counted: list[int] = []
    bench.execute(bench.job(count=1), lambda: bool(counted.append(1)))
    assert len(counted) == 7


async def test_nothing_is_served_before_it_is_revealed(bench: Bench) -> None:
    root = bench.execute(bench.job())
    site = web.Application()
    site.add_routes(blob_routes(bench.store, bench.journal.is_public))
    async with serve(site, "127.0.0.1", 0) as url, aiohttp.ClientSession() as session:
        secrets = [root, *result_hashes(bench.plan), *bench.journal.checkpoints(LEASE, 0)]
        for secret in secrets:
            assert (await session.get(f"{url}/blobs/{secret.hex()}")).status == 404
            assert (await session.get(f"{url}/blobs/{secret.hex()}/head")).status == 404
        bench.journal.publish(LEASE)
        for secret in secrets:
            assert (await session.get(f"{url}/blobs/{secret.hex()}/head")).status == 200
    outcome = Journal(bench.folder / "journal.sqlite")
    assert outcome.is_public(root)
    outcome.close()


class Fetched:
    """Inputs whose blobs need no fetching."""

    async def fetch(self, plan_root: bytes, sources: tuple[str, ...], first: int, count: int) -> Plan:
        return cast(Plan, None)


async def test_the_most_urgent_job_is_done_first(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[LeaseId] = []

    class Recording:
        def execute(self, job: Job, progress: Progress, should_stop: Callable[[], bool]) -> bytes:
            order.append(job.lease)
            return bytes(32)

    worker = Worker(cast(Workshop, Recording()), cast(Inputs, Fetched()), parallel=1)
    for slot, deadline in enumerate((30, 10, 20)):
        worker.submit(Job(LeaseId.of(1, slot, 1), Purpose.LEASE, bytes(32), 0, 1, 0, deadline))
    await run_until(worker, lambda: len(worker.finished) == 3)
    assert [lease.slot for lease in order] == [1, 2, 0]


async def test_a_job_that_fails_is_tried_again_and_ends_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "RETRY_SECONDS", 0.05)
    failures = [BlobMissing("no source"), RuntimeError("a fault in a kernel")]

    class Failing:
        def execute(self, job: Job, progress: Progress, should_stop: Callable[[], bool]) -> bytes:
            if failures:
                raise failures.pop()
            return b"\x01" * 32

    worker = Worker(cast(Workshop, Failing()), cast(Inputs, Fetched()), parallel=1)
    worker.submit(Job(LEASE, Purpose.LEASE, bytes(32), 0, 1, 0, 0))
    await run_until(worker, lambda: (LEASE, Purpose.LEASE) in worker.finished)
    assert failures == [] and worker.finished[LEASE, Purpose.LEASE] == b"\x01" * 32


async def test_cancelling_stops_what_runs() -> None:
    class Endless:
        def execute(self, job: Job, progress: Progress, should_stop: Callable[[], bool]) -> bytes:
            while not should_stop():
                pass
            raise ExecutionStopped("stopped")

    worker = Worker(cast(Workshop, Endless()), cast(Inputs, Fetched()), parallel=1)
    worker.submit(Job(LEASE, Purpose.LEASE, bytes(32), 0, 1, 0, 0))
    await run_until(worker, lambda: worker.progress(LEASE) is not None)
    assert worker.finished == {}


async def run_until(worker: Worker, condition: Callable[[], bool]) -> None:
    """Runs the worker until the condition holds, ten seconds at most, then cancels it."""
    running = asyncio.create_task(worker.run())
    try:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.01)
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
