"""Which leases an auditor looks at, how often, and what it makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import pytest
from shards import W, X, program, put_plan, rate

from orebit.chain.types import LeaseId, LeaseInfo, LeaseState
from orebit.commitment import ListKind, ShardResult
from orebit.daemon.config import AuditSettings, Limits
from orebit.daemon.court import audit
from orebit.daemon.court.audit import NOT_PICKED, PICKED, Auditor
from orebit.daemon.court.docket import Docket
from orebit.daemon.court.proofs import Proofs
from orebit.daemon.inputs import Inputs
from orebit.daemon.journal import BatchHint, Journal, Phase
from orebit.errors import BlobMissing
from orebit.executor.run import run_shard
from orebit.store import BlobClient, LocalStore

SELF, ACCUSED, OTHER = 3, 7, 8
PRIMARY, REPLICA = LeaseId.of(ACCUSED, 1, 1), LeaseId.of(OTHER, 1, 1)
NOTHING = cast(Any, None)


def told(state: LeaseState, **parts: Any) -> LeaseInfo:
    """A primary lease of four shards, the plan's second to fifth."""
    common = LeaseInfo(
        state, False, 1, 0, 4, 1, 4, 10, 100, 0, LeaseId(0), 0, bytes(32), 0, 60, bytes(32)
    )  # fmt: skip
    return replace(common, **parts)


class View:
    """What the chain says of leases."""

    def __init__(self) -> None:
        self.leases: dict[LeaseId, LeaseInfo] = {}
        self.reads = 0
        self.registry = self.market = self

    async def lease(self, lease: LeaseId) -> LeaseInfo:
        self.reads += 1
        return self.leases[lease]

    async def node_of(self, node: int) -> Any:
        return SimpleNamespace(url="http://127.0.0.1:1")

    async def batch_of(self, batch: int) -> Any:
        return SimpleNamespace(task=1, size=1)

    async def task(self, task: int) -> Any:
        return SimpleNamespace(terms=SimpleNamespace(block_log2=1))


class Noting(Auditor):
    """Notes what it would check, and finds what it is told to find."""

    verdict: str | None = "right"

    async def _check(self, lease: LeaseId, info: LeaseInfo, *, whole: bool) -> str | None:
        self.seen = [*getattr(self, "seen", []), (lease, whole)]
        return self.verdict


class Chances:
    """Numbers in place of chance."""

    def __init__(self, *numbers: float) -> None:
        self._numbers = list(numbers)

    def random(self) -> float:
        return self._numbers.pop(0)


@pytest.fixture
def noting(tmp_path: Path) -> Noting:
    journal = Journal(tmp_path / "journal.sqlite")
    docket = Docket(journal)
    journal.see_batch(5, BatchHint(1, 1, bytes(32)))
    made = Noting(
        AuditSettings(share=0.5), journal, docket, cast(Any, View()), NOTHING, NOTHING, NOTHING, NOTHING, SELF
    )
    made.seen = []
    return made


def see(auditor: Noting, phase: Phase, state: LeaseState, **parts: Any) -> None:
    """A stranger's primary in that phase; the chain says the state."""
    auditor.journal.see_stranger(5, PRIMARY, 1)
    auditor.journal.move_stranger(PRIMARY, phase, 6)
    cast(Any, auditor.view).leases[PRIMARY] = told(state, **parts)


def chances(auditor: Auditor, *numbers: float) -> None:
    auditor._chance = cast(Any, Chances(*numbers))


async def test_without_a_share_nothing_is_looked_at(noting: Noting) -> None:
    see(noting, Phase.CONTESTED, LeaseState.CONTESTED)
    noting.settings = AuditSettings(share=0)
    await noting.look()
    assert noting.seen == [] and cast(Any, noting.view).reads == 0


async def test_chance_is_asked_once_of_each_lease(noting: Noting) -> None:
    """An audit that has to wait for an answer stays picked, or withholding would end most audits."""
    see(noting, Phase.REVEALED, LeaseState.REVEALED)
    chances(noting, 0.4)
    noting.verdict = None
    for _ in range(5):
        await noting.look()
    assert noting.seen == [(PRIMARY, False)] * 5 and noting.docket.audited(PRIMARY) == PICKED
    noting.verdict = "right"
    await noting.look()
    await noting.look()
    assert len(noting.seen) == 6 and noting.docket.audited(PRIMARY) == "right"


async def test_what_chance_does_not_pick_is_left_alone_without_a_read(noting: Noting) -> None:
    see(noting, Phase.REVEALED, LeaseState.REVEALED)
    chances(noting, 0.6)
    for _ in range(3):
        await noting.look()
    assert noting.seen == [] and noting.docket.audited(PRIMARY) == NOT_PICKED
    assert cast(Any, noting.view).reads == 0


async def test_both_of_a_contested_pair_are_looked_at_whatever_chance_said(noting: Noting) -> None:
    see(noting, Phase.CONTESTED, LeaseState.CONTESTED, peer=REPLICA)
    cast(Any, noting.view).leases[REPLICA] = told(LeaseState.CONTESTED, replica=True, peer=PRIMARY)
    noting.journal.see_replica(6, PRIMARY, REPLICA)
    noting.docket.set_audited(REPLICA, NOT_PICKED)
    for _ in range(2):
        await noting.look()
    assert noting.seen == [(PRIMARY, True), (REPLICA, True)]


async def test_this_node_s_own_side_of_a_pair_is_not_audited(noting: Noting) -> None:
    see(noting, Phase.CONTESTED, LeaseState.CONTESTED, peer=LeaseId.of(SELF, 1, 1))
    await noting.look()
    assert noting.seen == [(PRIMARY, True)]


async def test_a_replica_is_looked_at_once_its_pair_has_revealed(
    noting: Noting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stakes its own result: the accomplice of a cheat is to be slashed too."""
    see(noting, Phase.PAIRED, LeaseState.BOTH)
    noting.journal.see_replica(6, PRIMARY, REPLICA)
    view = cast(Any, noting.view)
    view.leases[REPLICA] = told(LeaseState.BOTH, replica=True)
    chances(noting, 0.1, 0.9)
    now = [0.0]
    monkeypatch.setattr(audit.time, "monotonic", lambda: now[0])
    for _ in range(4):
        now[0] += audit.PAIR_SECONDS / 2
        await noting.look()
    assert noting.seen == [] and view.reads == 2, "it is not asked for in every round"
    view.leases[REPLICA] = told(LeaseState.REVEALED, replica=True)
    now[0] += audit.PAIR_SECONDS
    await noting.look()
    assert noting.seen == [(REPLICA, False)] and noting.docket.audited(REPLICA) == "right"


async def test_what_ended_before_it_was_looked_at_is_over(noting: Noting) -> None:
    see(noting, Phase.REVEALED, LeaseState.FREE)
    chances(noting, 0.1)
    await noting.look()
    assert noting.seen == [] and noting.docket.audited(PRIMARY) == "over: free"


# What is checked


class Shown:
    """A store that holds all that two leases show of a plan: of one shard, what is claimed may be false."""

    def __init__(self, folder: Path, session: aiohttp.ClientSession) -> None:
        self.journal = Journal(folder / "journal.sqlite")
        self.store = LocalStore(folder / "store")
        self.plan = put_plan(self.store, count=5)
        client = BlobClient(session, self.store)
        inputs = Inputs(self.store, client, self.journal, Limits())
        proofs = Proofs(self.journal, self.store, inputs, 1)
        self.journal.see_batch(5, BatchHint(1, 1, self.plan.root))
        docket, settings = Docket(self.journal), AuditSettings(share=1, intervals=8)
        self.auditor = Auditor(
            settings, self.journal, docket, cast(Any, View()), client, inputs, proofs, cast(Any, self), SELF
        )
        self.demanded: list[tuple[LeaseId, int]] = []

    async def obtain(self, lease: LeaseId, item: int, *_: Any) -> None:
        self.demanded.append((lease, item))

    def results(self, shards: Sequence[int], wrong: int | None = None) -> list[bytes]:
        """Result hashes of these shards with everything below them."""
        hashes = []
        for number in shards:
            entry = self.plan.shards[number]
            run = run_shard(program(), [X], [W], [rate(number + (number == wrong))], entry.steps, entry.interval)
            checkpoints = self.store.put_list(ListKind.CHECKPOINTS, list(run.roots))
            hashes.append(self.store.put_preimage(ShardResult(entry.shard.id, checkpoints).encode()))
        return hashes

    def primary(self, wrong: int | None = None) -> LeaseInfo:
        root = self.store.put_list(ListKind.RESULTS, self.results(range(1, 5), wrong))
        return told(LeaseState.CONTESTED, root=root, plan_root=self.plan.root)

    def replica(self, wrong: int | None = None) -> LeaseInfo:
        """Of the second block of two."""
        root = self.store.put_block(self.results([3, 4], wrong), 1)
        return told(
            LeaseState.CONTESTED, replica=True, first_shard=3, shards=2, root=root, plan_root=self.plan.root
        )  # fmt: skip


@pytest.mark.parametrize("replica", [False, True], ids=["primary", "replica"])
@pytest.mark.parametrize("wrong", [None, 4])
async def test_a_false_result_is_challenged_at_its_place(tmp_path: Path, replica: bool, wrong: int | None) -> None:
    async with aiohttp.ClientSession() as session:
        shown = Shown(tmp_path, session)
        lease = REPLICA if replica else PRIMARY
        info = shown.replica(wrong) if replica else shown.primary(wrong)
        verdict = await shown.auditor._check(lease, info, whole=True)
    challenges = shown.auditor.docket.challenges()
    if wrong is None:
        assert verdict == "right" and challenges == []
        return
    (challenge,) = challenges
    assert verdict is not None and verdict.startswith("wrong")
    assert (challenge.lease, challenge.first_shard + challenge.position) == (lease, wrong)
    assert challenge.checkpoint == 0 and challenge.own is not None and challenge.claimed is not None
    assert challenge.own[0] != challenge.claimed[0]


async def test_results_of_a_replica_that_are_withheld_are_demanded(tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as session:
        shown = Shown(tmp_path, session)
        info = replace(shown.replica(), root=bytes([9]) * 32)
        with pytest.raises(BlobMissing):
            await shown.auditor._check(REPLICA, info, whole=True)
        shown.auditor._tries[REPLICA] = audit.PATIENCE
        assert await shown.auditor._check(REPLICA, info, whole=True) is None
    assert shown.demanded == [(REPLICA, 0)]
