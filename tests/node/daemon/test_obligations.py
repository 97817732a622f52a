"""From a lease as the chain has it to the calls it asks for: commit, reveal, opening, exits, and when to halt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from test_decision import BLOCK, IN_TIME, LATE, TERMS
from test_decision import lease as lease_info

from orebit.chain import commitments
from orebit.chain.deployment import Deployment
from orebit.chain.market import Market
from orebit.chain.types import FLAG_OPEN, BatchInfo, LeaseId, LeaseInfo, LeaseState, TaskInfo, Terms
from orebit.commitment import ListKind, list_root, merkle
from orebit.daemon.config import NodeConfig
from orebit.daemon.decision import Clock, Draw
from orebit.daemon.inputs import Inputs
from orebit.daemon.journal import Intent, Journal, TaskHint
from orebit.daemon.obligations import NO_SALT, Obligations, opening
from orebit.daemon.view import View
from orebit.daemon.work import Job, Key, Purpose, Worker

KEY = b"\x11" * 32
LEASE, PEER = LeaseId.of(1, 0, 1), LeaseId.of(7, 0, 1)
HASHES = [bytes([number]) * 32 for number in range(1, 6)]
ROOT = list_root(ListKind.RESULTS, HASHES)
DEPLOYMENT = Deployment(
    chain_id=31337,
    genesis_hash="0x" + "ab" * 32,
    block=1,
    token="0x" + "01" * 20,
    registry="0x" + "02" * 20,
    market="0x" + "03" * 20,
    arbiter="0x" + "04" * 20,
)
CONNECTION = SimpleNamespace(deployment=DEPLOYMENT)
MARKET = Market(cast("object", CONNECTION))  # type: ignore[arg-type]  # encodes only: no chain is asked
SALT = commitments.salt(KEY, DEPLOYMENT, LEASE)


class World:
    """One lease of five shards on a chain whose every answer a test sets."""

    def __init__(self, journal: Journal, info: LeaseInfo, terms: Terms = TERMS) -> None:
        self.journal = journal
        self.info = replace(info, shards=5, grains=5)
        self.terms = terms
        self.drawn = Draw.OPEN
        self.finished: dict[Key, bytes] = {}
        self.jobs: list[Job] = []
        self.dropped: list[LeaseId] = []
        self.connection = CONNECTION
        self.market = self
        config = NodeConfig(rpc=("http://x",), public_url="http://y", reveal_confirmations=0)
        parts = cast(View, self), cast(Inputs, self), cast(Worker, self)
        self.obligations = Obligations(config, journal, *parts, 1, KEY)
        self.encode_commit = MARKET.encode_commit
        self.encode_reveal = MARKET.encode_reveal
        self.encode_reveal_paired = MARKET.encode_reveal_paired
        self.encode_finalise = MARKET.encode_finalise
        self.encode_expire = MARKET.encode_expire
        self.encode_resolve = MARKET.encode_resolve

    async def slot_of(self, node: int, slot: int) -> tuple[int, bool]:
        return 1, False

    async def lease_of(self, lease: LeaseId) -> LeaseInfo:
        return self.info

    async def leases(self, leases: Iterator[LeaseId]) -> dict[LeaseId, LeaseInfo]:
        return {lease: self.info for lease in leases}

    async def batch_of(self, batch: int) -> BatchInfo:
        return BatchInfo(3, 5, 1, 0, 5, 0, 1, bytes(32))

    async def task(self, task: int) -> TaskInfo:
        return TaskInfo("0xRequester", 0, self.terms)

    async def draw(self, lease: LeaseId, info: LeaseInfo, terms: Terms, clock: Clock) -> Draw:
        return self.drawn

    def estimate(self, plan_root: bytes, first: int, count: int) -> float:
        return 1.0

    def submit(self, job: Job) -> None:
        self.jobs.append(job)

    def drop(self, lease: LeaseId) -> None:
        self.dropped.append(lease)

    async def acts(self, clock: Clock = IN_TIME) -> list[tuple[str, bytes]]:
        return [(act.kind, act.calldata) for act in await self.obligations.acts(clock)]

    def compute(self, root: bytes = ROOT) -> None:
        self.finished[LEASE, Purpose.LEASE] = root
        for number, result in enumerate(HASHES):
            self.journal.shard_done(LEASE, number, result)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path / "journal.sqlite")
    opened.see_task(1, TaskHint(3, "0xRequester", "http://requester"))
    yield opened
    opened.close()


async def world(journal: Journal, state: LeaseState, terms: Terms = TERMS, **facts: bool) -> World:
    made = World(journal, lease_info(state, **facts), terms)
    journal.intend([Intent(0, 1, 0, 5)])
    await made.obligations.adopt([0])
    return made


async def test_a_lease_found_on_the_chain_is_taken_up(journal: Journal) -> None:
    made = await world(journal, LeaseState.LEASED)
    (record,) = journal.leases()
    assert (record.lease, record.task, record.shards, record.requester) == (LEASE, 3, 5, "0xRequester")
    assert journal.intents() == []
    assert await made.acts() == []
    (job,) = made.jobs
    assert (job.purpose, job.count, job.sources) == (Purpose.LEASE, 5, ("http://requester",))


async def test_an_intent_that_came_to_nothing_is_forgotten(journal: Journal) -> None:
    await world(journal, LeaseState.FREE)
    assert journal.leases() == [] and journal.intents() == []


async def test_the_commit_hides_the_root_under_the_leases_own_salt(journal: Journal) -> None:
    made = await world(journal, LeaseState.LEASED)
    made.compute()
    commitment = commitments.commitment(DEPLOYMENT, LEASE, ROOT, SALT)
    assert await made.acts() == [("commit", MARKET.encode_commit(LEASE, commitment))]


async def test_after_a_crash_the_same_commit_and_reveal_come_out(journal: Journal) -> None:
    before = await world(journal, LeaseState.LEASED)
    before.compute()
    committed = await before.acts()
    after = World(journal, before.info)
    assert await after.acts() == committed
    after.info = replace(after.info, state=LeaseState.COMMITTED)
    after.drawn = Draw.MISSED
    assert await after.acts(Clock(BLOCK + 3, 900)) == [("reveal", MARKET.encode_reveal(LEASE, ROOT, SALT))]


async def test_a_second_result_that_differs_halts_and_changes_nothing(journal: Journal) -> None:
    made = await world(journal, LeaseState.LEASED)
    made.compute()
    first = await made.acts()
    made.finished[LEASE, Purpose.LEASE] = b"\x99" * 32
    assert await made.acts() == first
    assert journal.halted is not None and "computed" in journal.halted


async def test_an_open_task_needs_no_salt(journal: Journal) -> None:
    made = await world(journal, LeaseState.LEASED, replace(TERMS, flags=FLAG_OPEN))
    made.compute()
    assert await made.acts() == [("reveal", MARKET.encode_reveal(LEASE, ROOT, NO_SALT))]


@pytest.mark.parametrize(("log2", "block"), [(0, 0), (0, 4), (1, 2), (2, 1), (3, 0)])
async def test_the_primary_opens_the_drawn_block(journal: Journal, log2: int, block: int) -> None:
    made = await world(journal, LeaseState.HALF_REVEALED, replace(TERMS, block_log2=log2), paired=True)
    made.compute()
    made.info = replace(made.info, drawn_block=block)
    node, path = opening(HASHES, block, log2)
    assert merkle.fold(node, block, path) == merkle.root(HASHES)
    assert node == merkle.subtree_root(HASHES, block, log2)
    calldata = MARKET.encode_reveal_paired(LEASE, ROOT, SALT, node, path)
    assert await made.acts() == [("reveal", calldata)]


@pytest.mark.parametrize("state", [LeaseState.REVEALED, LeaseState.CONTESTED, LeaseState.SLASHED])
async def test_results_are_public_once_revealed(journal: Journal, state: LeaseState) -> None:
    made = await world(journal, LeaseState.COMMITTED)
    journal.own_blobs(LEASE, [ROOT])
    made.compute()
    await made.acts()
    assert not journal.is_public(ROOT)
    made.info = replace(made.info, state=state)
    await made.acts()
    assert journal.is_public(ROOT)


async def test_exits_name_the_right_side(journal: Journal) -> None:
    made = await world(journal, LeaseState.REVEALED, replica=True, paired=True)
    made.compute()
    assert await made.acts(LATE) == [("finalise", MARKET.encode_finalise([PEER]))]
    made.info = replace(made.info, state=LeaseState.CONTESTED)
    assert await made.acts(LATE) == [("resolve", MARKET.encode_resolve([PEER]))]
    made.info = replace(made.info, state=LeaseState.LEASED, peer=LeaseId(0))
    assert await made.acts(LATE) == [("expire", MARKET.encode_expire([LEASE]))]


async def test_a_slash_ends_leasing_until_the_owner_looks(journal: Journal) -> None:
    made = await world(journal, LeaseState.REVEALED)
    made.info = replace(made.info, state=LeaseState.SLASHED)
    assert await made.acts() == []
    assert journal.leases() == [] and made.dropped == [LEASE]
    assert journal.halted is not None and "proven wrong" in journal.halted


async def test_a_contest_has_everything_executed_again(journal: Journal) -> None:
    made = await world(journal, LeaseState.CONTESTED, paired=True)
    made.compute()
    await made.acts()
    assert [job.purpose for job in made.jobs] == [Purpose.CHECK]
    made.finished[LEASE, Purpose.CHECK] = ROOT
    await made.acts()
    assert journal.halted is None
    made.finished[LEASE, Purpose.CHECK] = b"\x99" * 32
    await made.acts()
    assert journal.halted is not None and "re-executed" in journal.halted


async def test_a_contest_stops_leasing_only_while_it_lasts(journal: Journal) -> None:
    made = await world(journal, LeaseState.CONTESTED, paired=True)
    made.compute()
    await made.acts()
    assert made.obligations.contested and journal.halted is None
    made.info = replace(made.info, state=LeaseState.REVEALED)
    await made.acts()
    assert not made.obligations.contested


async def test_a_lease_that_is_gone_is_closed_with_what_it_brought(journal: Journal) -> None:
    made = await world(journal, LeaseState.REVEALED)
    journal.earn(50, 0, "paid", LEASE, 5)
    made.info = replace(made.info, state=LeaseState.FREE)
    await made.acts()
    (closed,) = journal.leases(closed=True)
    assert closed.closed == "paid"
