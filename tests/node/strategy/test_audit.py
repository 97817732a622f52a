"""The audit of a real task: contracts on anvil, shards executed, blobs served over HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import numpy as np
import pytest
from aiohttp import web
from local_chain import Anvil
from stage import Stage, open_stage

from orebit.chain.deployment import Deployment
from orebit.chain.types import LeaseId
from orebit.cli.audit_view import audit_document
from orebit.commitment import ListKind, ShardResult
from orebit.commitment.merkle import path, tree
from orebit.errors import AuditMismatch, AuditUnverified, ConfigError
from orebit.executor.run import run_shard
from orebit.numerics.types import DType
from orebit.program.builder import Builder
from orebit.program.expression import ExpressionBuilder
from orebit.program.graph import Program
from orebit.store import BlobClient, Limits, LocalStore, Plan, PlanShard, blob_routes, serve
from orebit.strategy.audit import Audit, audit
from orebit.strategy.audit_results import Verdict

STEPS, INTERVAL = 5, 2
START = np.linspace(-1, 1, 300, dtype=np.float32)


def decay() -> Program:
    """w -= rate * w."""
    builder = Builder()
    w = builder.state(DType.F32, START.shape)
    rate = builder.parameter(DType.F32, ())
    scope = ExpressionBuilder([DType.F32, DType.F32], 1)
    return builder.finish(
        [builder.map(scope.finish(scope.operand(0) - scope.operand(1) * scope.operand(0)), [w, rate])]
    )


class Worker:
    """Stores what a requester posts and what a node computes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = LocalStore(folder)

    def plan(self, shards: int) -> Plan:
        program = decay()
        self.store.put_program(program.root, program.encode())
        state = self.store.put_array(START)
        rates = [self.store.put_array(np.array(0.1 * (index + 1), np.float32)) for index in range(shards)]
        entries = [PlanShard(program.root, (), (state.root,), STEPS, INTERVAL, (rate.root,)) for rate in rates]
        plan = Plan(tuple(entries))
        self.store.put_plan(plan)
        return plan

    def compute(self, plan: Plan, indices: Sequence[int], *, flip: int | None = None) -> list[bytes]:
        """Result hashes of these shards; the final state of shard `flip` has one bit altered."""
        return [self._shard(plan.shards[index], index, index == flip) for index in indices]

    def _shard(self, entry: PlanShard, index: int, altered: bool) -> bytes:
        rate = np.array(0.1 * (index + 1), np.float32)
        run = run_shard(decay(), [], [START], [rate], STEPS, INTERVAL)
        final = np.array(run.final_state[0])
        if altered:
            final.view(np.uint32)[17] ^= 1
        last = self.store.put_list(ListKind.STATE, [self.store.put_array(final).root])
        checkpoints = self.store.put_list(ListKind.CHECKPOINTS, [*run.roots[:-1], last])
        return self.store.put_preimage(ShardResult(entry.shard.id, checkpoints).encode())


class World:
    """A requester's and a node's store behind servers, a task with one batch of four shards, and one lease of it."""

    def __init__(self, stage: Stage, requester: Worker, node: Worker, task: int, plan: Plan, batch: int) -> None:
        self.stage = stage
        self.requester = requester
        self.node = node
        self.task = task
        self.plan = plan
        self.batch = batch
        self.auditor = LocalStore(requester.folder.parent / "auditor")

    def lease(self, flip: int | None = None) -> LeaseId:
        """Node 1 leases everything, node 2 checks one shard and agrees, both reveal."""
        stage = self.stage
        lease = stage.lease(self.batch, 1, grains=2)
        hashes = self.node.compute(self.plan, range(4), flip=flip)
        root = self.node.store.put_list(ListKind.RESULTS, hashes)
        stage.commit(lease, root)
        stage.chain.mine(12)
        replica = stage.take(lease, 2)
        block = stage.drawn[replica]
        stage.commit(replica, hashes[block])
        stage.reveal(replica, hashes[block])
        call = stage.market.encode_reveal_paired(lease, root, stage.salt, hashes[block], path(tree(hashes), block))
        stage.by_node(1, call)
        return lease

    def finish(self, lease: LeaseId) -> None:
        self.stage.pass_time()
        self.stage.by_node(3, self.stage.market.encode_finalise([lease]))

    async def audit(self, reexecute: int = 0, sources: Sequence[str] = ()) -> Audit:
        async with aiohttp.ClientSession() as session:
            client = BlobClient(session, self.auditor, Limits(connect=2, stall=2))
            return await audit(self.stage.connection, self.task, client, sources=sources, reexecute=reexecute)


@pytest.fixture
async def world(anvil: Anvil, deployed: Deployment, tmp_path: Path) -> AsyncIterator[World]:
    requester, node = Worker(tmp_path / "requester"), Worker(tmp_path / "node")
    async with AsyncExitStack() as stack:
        urls = []
        for worker in (requester, node):
            app = web.Application()
            app.add_routes(blob_routes(worker.store))
            urls.append(await stack.enter_async_context(serve(app, "127.0.0.1", 0)))
        stage = await open_stage(anvil, deployed)
        await stack.enter_async_context(stage.connection)
        stage.prepare(url=urls[1])
        task = stage.create(url=urls[0], draw_bp=10_000)
        plan = requester.plan(4)
        yield World(stage, requester, node, task, plan, stage.post(task, grains=2, size=2, plan_root=plan.root))


async def test_an_honest_task_is_verified_and_its_shards_hold(world: World) -> None:
    world.finish(world.lease())
    found = await world.audit(reexecute=3)
    found.demand()
    assert found.conserved
    assert len(found.of(Verdict.VERIFIED)) == 1 + 1 + 1 + 3 and len(found.checks) == 6
    assert sum("the hash holds" in check.detail for check in found.checks) == 3
    document = json.loads(json.dumps(audit_document(found)))
    assert document["conserved"] is True and document["verdict"] == "verified"
    assert document["deposited"] == document["paid"] + document["held"]
    assert [(node["node"], node["payee"]) for node in document["nodes"]] == [
        (number, world.stage.owner(number)) for number in (1, 2)
    ]
    assert {(flow["from"], flow["why"]) for flow in document["flows"]} == {
        (world.stage.requester, "deposit"),
        (f"task {world.task}", "shards"),
        (f"task {world.task}", "replica"),
    }


async def test_before_the_end_the_revealed_result_is_checked_too(world: World) -> None:
    world.lease()
    found = await world.audit()
    found.demand()
    assert found.task.paid == 0 and [check.subject.split()[0] for check in found.checks] == ["batch", "lease"]


async def test_a_wrong_bit_is_found_by_executing_again(world: World) -> None:
    """All hashes fit, the chain is content: only the work itself tells."""
    world.finish(world.lease(flip=2))
    assert (await world.audit()).demand() is None
    found = await world.audit(reexecute=4)
    assert found.conserved
    wrong = found.of(Verdict.MISMATCH)
    assert [check.subject for check in wrong] == [f"batch {world.batch} shard 2"]
    with pytest.raises(AuditMismatch, match="shard 2"):
        found.demand()


async def test_a_missing_result_is_unverified(world: World) -> None:
    lease = world.lease()
    world.finish(lease)
    for file in world.node.folder.rglob("*"):
        if file.is_file():
            file.unlink()
    found = await world.audit(reexecute=1)
    assert found.conserved and not found.of(Verdict.MISMATCH)
    assert {check.subject.split()[0] for check in found.of(Verdict.UNVERIFIED)} == {"lease", "replica"}
    with pytest.raises(AuditUnverified, match="--source"):
        found.demand()
    assert AuditUnverified.exit_code == 3 and AuditMismatch.exit_code == 2


async def test_a_result_of_other_shards_is_a_mismatch(world: World) -> None:
    stage = world.stage
    lease = stage.lease(world.batch, 1, grains=2)
    hashes = world.node.compute(world.plan, [0, 1, 3, 2])
    root = world.node.store.put_list(ListKind.RESULTS, hashes)
    stage.commit(lease, root)
    stage.chain.mine(20)
    stage.reveal(lease, root)
    found = await world.audit()
    assert [check.verdict for check in found.checks] == [Verdict.VERIFIED, Verdict.MISMATCH]
    assert "names shard" in found.checks[1].detail
    assert audit_document(found)["verdict"] == "mismatch"


async def test_a_plan_of_another_size_is_a_mismatch(world: World) -> None:
    world.stage.post(world.task, grains=3, size=1, plan_root=world.plan.root)
    found = await world.audit()
    assert [check.detail for check in found.of(Verdict.MISMATCH)] == ["4 shards in a batch of 3"]


async def test_an_unknown_task_is_said_to_be(world: World) -> None:
    world.task = 9
    with pytest.raises(ConfigError, match="There is no task 9: this market has tasks 1 to 1"):
        await world.audit()
