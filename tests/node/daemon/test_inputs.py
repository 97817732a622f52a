"""What strangers offer is fetched and checked before any stake is locked; what is too much or wrong is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import numpy as np
import pytest
from aiohttp import web
from shards import program, put_plan

from orebit.daemon.config import Limits
from orebit.daemon.inputs import Inputs, operations
from orebit.daemon.journal import Journal
from orebit.errors import BlobMissing, BlobTooLarge, ProgramError
from orebit.store import BlobClient, LocalStore, Plan, blob_routes, serve


@pytest.fixture
def theirs(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "requester")


@pytest.fixture
async def url(theirs: LocalStore) -> AsyncIterator[str]:
    site = web.Application()
    site.add_routes(blob_routes(theirs))
    async with serve(site, "127.0.0.1", 0) as address:
        yield address


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path / "journal.sqlite")
    yield opened
    opened.close()


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[BlobClient]:
    async with aiohttp.ClientSession() as session:
        yield BlobClient(session, LocalStore(tmp_path / "node"))


def inputs(client: BlobClient, journal: Journal, **limits: int) -> Inputs:
    return Inputs(client.store, client, journal, Limits().model_copy(update=limits))


async def test_everything_a_shard_reads_is_here_and_served_on(
    theirs: LocalStore, url: str, client: BlobClient, journal: Journal
) -> None:
    plan = put_plan(theirs)
    ours = inputs(client, journal)
    await ours.fetch(plan.root, [url], 1, 1)
    entry = plan.shards[1]
    for root in (plan.root, entry.program, *entry.tensors):
        assert journal.is_public(root)
    assert not journal.is_public(plan.shards[2].shard.id)
    with ours.executor(entry) as executor:
        assert executor.step(ours.tensors(entry.state))
    assert ours.estimate(plan.root, 1, 1) == 0.0
    measured = ours.seconds(plan.root, 1, 1)
    assert ours.seconds(plan.root, 1, 1) == ours.estimate(plan.root, 1, 1) == measured > 0  # once, not again
    journal.set_speed(entry.program, 2.0)
    assert ours.seconds(plan.root, 0, 2) == ours.estimate(plan.root, 0, 2) == 2 * entry.steps * 2.0


async def test_a_second_fetch_needs_no_server(
    theirs: LocalStore, url: str, client: BlobClient, journal: Journal
) -> None:
    plan = put_plan(theirs)
    await inputs(client, journal).fetch(plan.root, [url], 0, 3)
    await inputs(client, journal).fetch(plan.root, ["http://127.0.0.1:1"], 0, 3)


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"steps": 9}, "10 steps exceeds"),
        ({"program_nodes": 3}, "4 nodes"),
        ({"tensor_elements": 7}, "tensor of 8 elements"),
        ({"step_operations": 7}, "takes 8 operations"),
    ],
)
async def test_what_exceeds_a_limit_is_refused(
    theirs: LocalStore, url: str, client: BlobClient, journal: Journal, limits: dict[str, int], says: str
) -> None:
    plan = put_plan(theirs)
    with pytest.raises(ProgramError, match=says):
        await inputs(client, journal, **limits).fetch(plan.root, [url], 0, 1)


async def test_too_many_bytes_are_refused_before_they_come(
    theirs: LocalStore, url: str, client: BlobClient, journal: Journal
) -> None:
    plan = put_plan(theirs)
    with pytest.raises(BlobTooLarge):
        await inputs(client, journal, input_bytes=50).fetch(plan.root, [url], 0, 1)


async def test_tensors_of_another_shape_than_the_programs_are_refused(
    theirs: LocalStore, url: str, client: BlobClient, journal: Journal
) -> None:
    honest = put_plan(theirs)
    other = theirs.put_array(np.zeros(9, np.float32) + 1).root
    for changes in ({"state": (other,)}, {"constants": (other,)}, {"parameters": (other,)}, {"constants": ()}):
        plan = Plan((replace(honest.shards[0], **changes),))
        theirs.put_plan(plan)
        with pytest.raises(ProgramError, match="do not fit its program"):
            await inputs(client, journal).fetch(plan.root, [url], 0, 1)


async def test_a_plan_shorter_than_its_batch_is_refused(
    theirs: LocalStore, url: str, client: BlobClient, journal: Journal
) -> None:
    plan = put_plan(theirs)
    with pytest.raises(ProgramError, match="has 3 shards"):
        await inputs(client, journal).fetch(plan.root, [url], 2, 2)


async def test_a_missing_plan_names_its_source(url: str, client: BlobClient, journal: Journal) -> None:
    with pytest.raises(BlobMissing, match="127.0.0.1"):
        await inputs(client, journal).fetch(b"\x05" * 32, [url], 0, 1)


def test_a_steps_work_is_known_without_executing_it() -> None:
    assert operations(program()) == 8
