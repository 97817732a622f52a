"""Plans, a shard's inputs and a lease's results, from one store to another."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from tampering import Requests, replace_body

from orebit.commitment import ListKind, Shard, ShardResult, list_root
from orebit.commitment.merkle import subtree_root
from orebit.errors import BlobCorrupt, BlobMissing, BlobTooLarge, CommitmentError, ProgramError
from orebit.numerics.types import DType
from orebit.program.builder import Builder
from orebit.program.expression import ExpressionBuilder
from orebit.program.graph import Program
from orebit.store import BlobClient, Limits, LocalStore, Plan, PlanShard


@pytest.fixture
def program() -> Program:
    """state + constant * parameter."""
    builder = Builder()
    inputs = [builder.state(DType.F32, (512,)), builder.constant(DType.F32, (512,)), builder.parameter(DType.F32, (1,))]
    expression = ExpressionBuilder([DType.F32] * 3, 1)
    state, constant, parameter = expression.operands
    return builder.finish([builder.map(expression.finish(state + constant * parameter), inputs)])


@pytest.fixture
def plan(origin: LocalStore, program: Program, noise) -> Plan:
    """Three shards over the same program and state, with constants and parameters of their own."""
    origin.put_program(program.root, program.encode())
    state = origin.put_array(noise(512)).root
    shards, values = [], {}
    for _ in range(3):
        parameter = noise(1)
        head = origin.put_array(parameter)
        values[head.root] = head.encode() + parameter.tobytes()
        constants = (origin.put_array(noise(512)).root,)
        shards.append(PlanShard(program.root, constants, (state,), 10, 4, (head.root,)))
    made = Plan(tuple(shards), ("http://one", "http://two"), {b"\x01" * 32: (b"\x02" * 32,)}, values)
    origin.put_plan(made)
    return made


def put_result(store: LocalStore, shard: Shard, noise, shape: tuple[int, ...] = (512,), checkpoints: int = 3) -> bytes:
    states = [store.put_list(ListKind.STATE, [store.put_array(noise(*shape)).root]) for _ in range(checkpoints)]
    return store.put_preimage(ShardResult(shard.id, store.put_list(ListKind.CHECKPOINTS, states)).encode())


def test_a_plan_survives_its_json(origin, plan) -> None:
    assert Plan.decode(plan.encode()) == plan
    assert Plan.decode(plan.encode()).encode() == plan.encode()
    assert origin.plan(plan.root) == plan
    assert plan.root == list_root(ListKind.PLAN, [entry.shard.id for entry in plan.shards])


@pytest.mark.parametrize(
    "change",
    [
        lambda plan: plan["shards"].clear(),
        lambda plan: plan.pop("shards"),
        lambda plan: plan["shards"].append(7),
        lambda plan: plan["shards"][0].update(steps="10"),
        lambda plan: plan["shards"][0].update(steps=True),
        lambda plan: plan["shards"][0].update(program="00"),
        lambda plan: plan["shards"][0].update(program=5),
        lambda plan: plan["shards"][0].update(constants={}),
        lambda plan: plan["shards"][0].update(state=["zz" * 32]),
        lambda plan: plan.update(sources=["http://x"] * 65),
        lambda plan: plan.update(sources="http://x"),
        lambda plan: plan.update(pieces=[]),
        lambda plan: plan.update(pieces={"00": []}),
        lambda plan: plan.update(values={"00" * 32: "11" * 2000}),
    ],
)
def test_what_is_not_a_plan(plan, change) -> None:
    document = json.loads(plan.encode())
    change(document)
    with pytest.raises(CommitmentError):
        Plan.decode(json.dumps(document).encode())


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"[" * 100_000, b"\xff\xfe", b'{"shards": ' + b"9" * 5000 + b"}"])
def test_what_is_not_even_json(text) -> None:
    with pytest.raises(CommitmentError):
        Plan.decode(text)


async def test_a_plan_brings_lists_preimages_and_parameters(session, store, origin, start, plan) -> None:
    source = await start(origin)
    client = BlobClient(session, store)
    fetched = await client.fetch_plan(plan.root, [source])
    assert fetched == plan
    for entry in plan.shards:
        assert Shard.decode(store.preimage(entry.shard.id)) == entry.shard
        assert store.list_entries(entry.shard.state, ListKind.STATE) == list(entry.state)
        assert store.has(entry.parameters[0])


async def test_a_plan_that_is_not_there_or_not_the_roots_own(session, store, origin, start, plan) -> None:
    client = BlobClient(session, store)
    source = await start(origin)
    other = replace(plan, shards=plan.shards[:2])
    with pytest.raises(BlobMissing):
        await client.fetch_plan(other.root, [source])
    origin._folder.write(origin._place("plans", other.root), plan.encode())
    with pytest.raises(BlobMissing):
        await client.fetch_plan(other.root, [source])


async def test_a_server_that_answers_with_another_plan(session, store, origin, start, plan) -> None:
    async def swap(request: web.Request, handler: Any) -> web.StreamResponse:
        return web.Response(body=replace(plan, shards=plan.shards[:2]).encode())

    async def ramble(request: web.Request, handler: Any) -> web.StreamResponse:
        return web.Response(body=b"x" * 10_001)

    client = BlobClient(session, store, Limits(plan=10_000))
    with pytest.raises(BlobCorrupt, match="whose shards have another root"):
        await client.fetch_plan(plan.root, [await start(origin, swap)])
    with pytest.raises(BlobCorrupt, match="announces 10001 bytes where 10000 belong"):
        await client.fetch_plan(plan.root, [await start(origin, ramble)])
    assert await client.fetch_plan(plan.root, [await start(origin)]) == plan


async def test_a_plan_with_wrong_values(session, store, origin, start, plan) -> None:
    wrong = replace(plan, values={root: value[:-1] + b"\x00" for root, value in plan.values.items()})
    origin._folder.write(origin._place("plans", plan.root), wrong.encode())
    with pytest.raises(BlobCorrupt, match="another root than its head"):
        await BlobClient(session, store).fetch_plan(plan.root, [await start(origin)])


async def test_the_inputs_of_a_shard(session, store, origin, start, plan, program) -> None:
    requests = Requests()
    source = await start(origin, requests.count)
    client = BlobClient(session, store)
    shard = plan.shards[0].shard
    with pytest.raises(BlobTooLarge, match="inputs of shard"):
        await client.fetch_shard_inputs(shard, [source], limit=2048 + 2048 + 3)
    inputs = await client.fetch_shard_inputs(shard, [source], limit=2048 + 2048 + 4)
    assert Program.decode(inputs.program).root == program.root
    assert [head.root for head in inputs.constants] == list(plan.shards[0].constants)
    assert [head.root for head in inputs.state] == list(plan.shards[0].state)
    for head in inputs.constants + inputs.state + inputs.parameters:
        assert np.array_equal(store.tensor(head.root)[1], origin.tensor(head.root)[1])
    before = len(requests.seen)
    assert await client.fetch_shard_inputs(shard, [source]) == inputs
    assert len(requests.seen) == before


@pytest.mark.parametrize(
    ("field", "shape", "copies", "reason"),
    [
        ("constants", (512,), 2, "constants do not fit its program.*has 2 entries, not 1"),
        ("constants", (513,), 1, r"tensor 0 is f32\[513\], declared is f32\[512\]"),
        ("state", (1 << 20,), 1, r"state do not fit its program: tensor 0 is f32\[1048576\]"),
        ("parameters", (1, 1), 1, r"declared is f32\[1\]"),
    ],
)
async def test_inputs_that_do_not_fit_the_program_are_not_fetched(
    session, store, origin, start, plan, noise, field, shape, copies, reason
) -> None:
    head = origin.put_array(noise(*shape))
    entry = replace(plan.shards[0], **{field: (head.root,) * copies})
    origin.put_plan(Plan((entry,)))
    requests = Requests()
    with pytest.raises(ProgramError, match=reason):
        await BlobClient(session, store).fetch_shard_inputs(entry.shard, [await start(origin, requests.count)])
    assert f"/blobs/{head.root.hex()}" not in [path for path, _ in requests.seen]


async def test_a_program_of_another_root_or_none_at_all(session, store, origin, start, plan, program) -> None:
    client = BlobClient(session, store)
    for body in (lambda body: body[:-1], lambda body: b"", lambda body: body + b"\0"):
        with pytest.raises(BlobCorrupt, match="a program that is not the root's"):
            await client.fetch_program(program.root, [await start(origin, replace_body("", body))])
    assert not store.has(program.root)
    with pytest.raises(BlobCorrupt):
        store.put_program(b"\x01" * 32, program.encode())
    with pytest.raises(ProgramError):
        store.put_program(program.root, b"nonsense")
    await client.fetch_program(program.root, [await start(origin)])
    assert store.preimage(program.root) == program.preimage


async def test_the_results_of_a_lease(session, store, origin, start, plan, noise) -> None:
    shards = [entry.shard for entry in plan.shards]
    results = [put_result(origin, shard, noise) for shard in shards]
    root = origin.put_list(ListKind.RESULTS, results)
    source = await start(origin)
    client = BlobClient(session, store)
    light = await client.fetch_result(root, [source], shards=shards, tensors=False)
    assert not store.has(light[0].state[0].root)
    outcomes = await client.fetch_result(root, [source], shards=shards)
    assert outcomes == light and [outcome.result.hash for outcome in outcomes] == results
    for outcome in outcomes:
        assert outcome.state_root == outcome.checkpoints[2]
        (head,) = outcome.state
        assert np.array_equal(store.tensor(head.root)[1], origin.tensor(head.root)[1])
    assert await client.fetch_result(root, [source]) == outcomes
    with pytest.raises(BlobTooLarge):
        await client.fetch_result(root, [source], limit=3 * 2048 - 1)


async def test_the_results_of_a_replica(session, store, origin, start, plan, noise) -> None:
    shards = [entry.shard for entry in plan.shards]
    results = [put_result(origin, shard, noise) for shard in shards]
    node = origin.put_block(results, 2)
    assert node == subtree_root(results, 0, 2)
    client = BlobClient(session, store)
    outcomes = await client.fetch_block_result(node, 2, [await start(origin)], shards=shards)
    assert [outcome.result.hash for outcome in outcomes] == results


async def test_a_node_that_commits_to_something_else(session, store, origin, start, plan, noise) -> None:
    shards = [entry.shard for entry in plan.shards][:1]
    source = await start(origin)
    client = BlobClient(session, store)
    for result, reason in (
        (put_result(origin, plan.shards[1].shard, noise), "names shard"),
        (put_result(origin, shards[0], noise, checkpoints=2), "CHECKPOINTS has 2 entries, not 3"),
        (put_result(origin, shards[0], noise, shape=(1 << 10,)), "other types or shapes"),
        (shards[0].id, "not a shard's result"),
    ):
        root = origin.put_list(ListKind.RESULTS, [result])
        with pytest.raises(CommitmentError, match=reason):
            await client.fetch_result(root, [source], shards=shards)
    root = origin.put_list(ListKind.RESULTS, [put_result(origin, plan.shards[0].shard, noise)] * 2)
    with pytest.raises(CommitmentError, match="RESULTS has 2 entries, not 1"):
        await client.fetch_result(root, [source], shards=shards)
