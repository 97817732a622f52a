"""Of a contested pair the other one is challenged where it differs, once this node is sure of its own result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import pytest
from shards import W, X, program, put_plan, rate

from orebit.chain.types import RESULTS, LeaseId, LeaseInfo, LeaseState
from orebit.commitment import ListKind, ShardResult
from orebit.daemon.config import Limits
from orebit.daemon.court.contests import Contests
from orebit.daemon.court.docket import Docket
from orebit.daemon.court.proofs import Proofs
from orebit.daemon.inputs import Inputs
from orebit.daemon.journal import Journal, LeaseRecord
from orebit.executor.run import run_shard
from orebit.store import BlobClient, LocalStore

OWN, PEER = LeaseId.of(3, 1, 1), LeaseId.of(7, 1, 1)
FIRST = 1
"""The lease's first shard in its plan, of which it has four; the replica's block has the last two."""


class Pair:
    """This node's primary and another's replica, of which one shard may be false; everything else in one: the chain,
    what this node owes, and what it demands."""

    def __init__(self, folder: Path, session: aiohttp.ClientSession, wrong: int | None) -> None:
        self.journal, self.store = Journal(folder / "journal.sqlite"), LocalStore(folder / "store")
        self.plan = put_plan(self.store, count=5)
        client = BlobClient(session, self.store)
        proofs = Proofs(self.journal, self.store, Inputs(self.store, client, self.journal, Limits()), 1)
        for number in range(FIRST, FIRST + 4):
            self.journal.shard_done(OWN, number, self.put(number, rate(number)))
        theirs = [self.put(number, rate(number + (number == wrong))) for number in (3, 4)]
        root = self.store.put_block(theirs, 1)
        self.peer = LeaseInfo(
            LeaseState.CONTESTED, True, 1, 0, 4, 3, 2, 10, 100, 0, OWN, 0, root, 0, 60, self.plan.root
        )  # fmt: skip
        record = LeaseRecord(OWN, False, 1, 1, FIRST, 4, self.plan.root, "0xr", 1, 0.0)
        info = replace(self.peer, replica=False, first_shard=FIRST, shards=4, peer=PEER)
        self.standings = [SimpleNamespace(record=record, info=info)]
        self.sure = True
        self.demanded: list[tuple[LeaseId, int]] = []
        self.docket = Docket(self.journal)
        self.registry = self.market = self
        shared = cast(Any, self)
        self.contests = Contests(shared, self.docket, shared, client, proofs, shared)

    def put(self, number: int, given: Any) -> bytes:
        """A result hash with everything below it."""
        entry = self.plan.shards[number]
        run = run_shard(program(), [X], [W], [given], entry.steps, entry.interval)
        checkpoints = self.store.put_list(ListKind.CHECKPOINTS, list(run.roots))
        return self.store.put_preimage(ShardResult(entry.shard.id, checkpoints).encode())

    def is_sure(self, lease: LeaseId) -> bool:
        return self.sure

    async def lease(self, lease: LeaseId) -> LeaseInfo:
        assert lease == PEER
        return self.peer

    async def node_of(self, node: int) -> Any:
        return SimpleNamespace(url="http://127.0.0.1:1")

    async def batch_of(self, batch: int) -> Any:
        return SimpleNamespace(task=1, size=1)

    async def task(self, task: int) -> Any:
        return SimpleNamespace(terms=SimpleNamespace(block_log2=1))

    async def obtain(self, lease: LeaseId, item: int, *_: Any) -> None:
        self.demanded.append((lease, item))


@pytest.mark.parametrize("wrong", [3, 4])
async def test_the_shard_that_differs_is_challenged_at_its_first_false_checkpoint(tmp_path: Path, wrong: int) -> None:
    async with aiohttp.ClientSession() as session:
        pair = Pair(tmp_path, session, wrong)
        for _ in range(2):
            await pair.contests.look()
    (challenge,) = pair.docket.challenges()
    assert (challenge.lease, challenge.first_shard + challenge.position) == (PEER, wrong)
    assert challenge.checkpoint == 0 and challenge.own is not None and challenge.claimed is not None
    assert challenge.own[0] != challenge.claimed[0]


async def test_who_is_not_sure_challenges_nobody(tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as session:
        pair = Pair(tmp_path, session, 3)
        pair.sure = False
        await pair.contests.look()
        assert pair.docket.challenges() == []
        pair.sure = True
        await pair.contests.look()
    assert len(pair.docket.challenges()) == 1


async def test_a_pair_that_is_not_contested_is_left_alone(tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as session:
        pair = Pair(tmp_path, session, 3)
        (standing,) = pair.standings
        standing.info = replace(standing.info, state=LeaseState.REVEALED)
        await pair.contests.look()
    assert pair.docket.challenges() == []


async def test_checkpoints_that_are_withheld_must_be_shown_in_the_game(tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as session:
        pair = Pair(tmp_path, session, None)
        pair.peer = replace(pair.peer, root=pair.store.put_block([pair.journal.shard_results(OWN)[3], b"x" * 32], 1))
        await pair.contests.look()
    (challenge,) = pair.docket.challenges()
    assert (challenge.position, challenge.claimed, challenge.checkpoint) == (1, None, None)
    assert challenge.own is not None, "it pre-commits to its own all the same"


async def test_results_that_are_withheld_are_demanded(tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as session:
        pair = Pair(tmp_path, session, 3)
        pair.peer = replace(pair.peer, root=bytes([9]) * 32)
        await pair.contests.look()
    assert pair.demanded == [(PEER, RESULTS)] and pair.docket.challenges() == []
