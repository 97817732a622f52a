"""Games are opened only where this node can pay for them and keep their clocks; what must wait, waits its turn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from shards import W, X, program, put_plan, rate

from orebit.chain.types import LeaseId, LeaseInfo, LeaseState
from orebit.commitment import ListKind, ShardResult
from orebit.daemon.config import AuditSettings, Limits
from orebit.daemon.court import opening
from orebit.daemon.court.docket import OPENED, OVER, WANTED, Case, Docket
from orebit.daemon.court.opening import GAS_RESERVE, Opening
from orebit.daemon.court.proofs import Proofs
from orebit.daemon.decision import Clock
from orebit.daemon.inputs import Inputs
from orebit.daemon.journal import Journal, LeaseRecord
from orebit.errors import TransactionReverted
from orebit.executor.run import run_shard
from orebit.store import LocalStore

SELF, ACCUSED = 3, 7
LEASE, OTHER = LeaseId.of(ACCUSED, 1, 1), LeaseId.of(ACCUSED, 2, 1)
OWN = LeaseId.of(SELF, 1, 1)
BOND, BASE_FEE = 10**17, 10**9
NEEDED = BOND + GAS_RESERVE * (2 * BASE_FEE + 1)
NOTHING = cast(Any, None)


class Chain:
    """Court, market, view and sender in one."""

    address = "0xself"

    def __init__(self, plan_root: bytes, root: bytes) -> None:
        self.info = LeaseInfo(
            LeaseState.REVEALED, False, 1, 0, 1, 0, 3, 10, 1_000, 0, LeaseId(0), 0, root, 0, 60, plan_root
        )  # fmt: skip
        self.now = Clock(20, 900)
        self.held, self.bond = NEEDED, BOND
        self.ranks: dict[bytes, tuple[int, int]] = {}
        self.sent: list[tuple[str, int]] = []
        self.refusing: set[LeaseId] = set()
        self.market = self.connection = self

    # View and market

    async def clock(self) -> Clock:
        return self.now

    async def lease(self, lease: LeaseId) -> LeaseInfo:
        return self.info

    async def batch_of(self, batch: int) -> Any:
        return SimpleNamespace(task=1, size=3)

    async def task(self, task: int) -> Any:
        return SimpleNamespace(terms=SimpleNamespace(block_log2=1, move_time=60))

    async def head(self) -> Any:
        return SimpleNamespace(base_fee=BASE_FEE)

    async def ether_of(self, address: str) -> int:
        return self.held

    # Court

    def game_id(self, lease: LeaseId, root: bytes, position: int, challenger: str) -> bytes:
        return int(lease).to_bytes(31, "big") + bytes([position])

    def precommitment(
        self, lease: LeaseId, root: bytes, position: int, own: bytes, challenger: str, salt: bytes
    ) -> bytes:
        return salt

    async def precommit_of(self, hash_: bytes) -> tuple[int, int]:
        return self.ranks.get(hash_, (0, 0))

    async def bond_of(self, lease: LeaseId, challenger: str) -> int:
        return self.bond

    def encode_precommit(self, hash_: bytes) -> bytes:
        return b"precommit"

    def encode_opening(self, call: str, arguments: Any) -> bytes:
        self.arguments = arguments
        return call.encode()

    # Sender

    async def send(self, to: str, calldata: bytes, *, label: str, key: str, value: int = 0) -> None:
        if any(str(lease) in label for lease in self.refusing):
            raise TransactionReverted(label, "BondShort", ())
        self.sent.append((calldata.decode(), value))
        if calldata == b"precommit":
            self.ranks[bytes.fromhex(key.removeprefix("precommit "))] = (5, self.now.block)


class Sensible:
    """Whether this machine keeps the clock."""

    why: str | None = None

    async def objection(self, plan_root: bytes, first: int, count: int, terms: Any) -> str | None:
        return self.why


class Office:
    """An opening over a real journal and store, and the chain that it sees."""

    def __init__(self, folder: Path) -> None:
        self.journal, self.store = Journal(folder / "journal.sqlite"), LocalStore(folder / "store")
        self.plan = put_plan(self.store)
        self.docket = Docket(self.journal)
        self.roots = [self.true_roots(number) for number in range(3)]
        self.results = [self.put_result(number, self.roots[number]) for number in range(3)]
        self.chain = Chain(self.plan.root, self.store.put_list(ListKind.RESULTS, self.results))
        self.prudence = Sensible()
        inputs = Inputs(self.store, NOTHING, self.journal, Limits())
        chain = cast(Any, self.chain)
        proofs = Proofs(self.journal, self.store, inputs, 1)
        settings = AuditSettings(games=2)
        self.opening = Opening(
            self.docket, self.journal, chain, proofs, inputs, self.store, chain, chain, settings,
            cast(Any, self.prudence), SELF,
        )  # fmt: skip

    def true_roots(self, number: int) -> tuple[bytes, ...]:
        entry = self.plan.shards[number]
        return run_shard(program(), [X], [W], [rate(number)], entry.steps, entry.interval).roots

    def put_result(self, number: int, roots: tuple[bytes, ...]) -> bytes:
        checkpoints = self.store.put_list(ListKind.CHECKPOINTS, list(roots))
        return self.store.put_preimage(ShardResult(self.plan.shards[number].shard.id, checkpoints).encode())

    def want(self, lease: LeaseId = LEASE, **given: Any) -> None:
        self.docket.want(lease, 1, self.plan.root, 0, "a test", **given)

    def want_with_proof(self) -> None:
        """With its own checkpoints, of which the defender's third is another."""
        own = self.roots[1]
        self.want(own=own, claimed=(*own[:2], bytes([1]) * 32, *own[3:]), checkpoint=2)

    def play(self, lease: LeaseId) -> None:
        """A game of this node's is open."""
        self.docket.open_game(12, Case(bytes([lease.slot]) * 32, lease, self.chain.address, 0, None))

    @property
    def stages(self) -> list[str]:
        return [challenge.stage for challenge in self.docket.challenges()]


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


async def test_a_game_is_opened_with_its_bond(office: Office) -> None:
    office.want()
    await office.opening.look()
    assert office.chain.sent == [("open", BOND)] and office.stages == [WANTED]
    office.play(LEASE)
    game = office.chain.game_id(LEASE, b"", 1, "")
    office.docket.open_game(20, Case(game, LEASE, office.chain.address, 0, None))
    await office.opening.look()
    assert office.stages == [OPENED] and len(office.chain.sent) == 1


async def test_who_knows_better_commits_first_and_opens_a_block_later_at_the_interval(office: Office) -> None:
    office.want_with_proof()
    await office.opening.look()
    await office.opening.look()
    assert office.chain.sent == [("precommit", 0)], "not in the block of the pre-commit"
    office.chain.now = replace(office.chain.now, block=21)
    await office.opening.look()
    assert office.chain.sent == [("precommit", 0), ("openAt", BOND)]


@pytest.mark.parametrize("missing", [0, 1])
async def test_bond_and_gas_of_the_whole_game_must_be_there(office: Office, missing: int) -> None:
    office.want()
    office.chain.held -= missing
    await office.opening.look()
    assert office.chain.sent == ([] if missing else [("open", BOND)])


async def test_a_bond_above_the_owner_s_limit_is_not_paid(office: Office) -> None:
    office.want()
    office.chain.bond = office.opening.settings.bond + 1
    office.chain.held = 10**20
    await office.opening.look()
    assert office.chain.sent == [] and office.stages == [WANTED]
    office.chain.bond -= 1
    await office.opening.look()
    assert office.chain.sent == [("open", office.chain.bond)]


async def test_a_clock_that_this_machine_cannot_keep_is_not_started(office: Office) -> None:
    office.want()
    office.prudence.why = "four times a move does not fit"
    await office.opening.look()
    assert office.chain.sent == [] and office.stages == [WANTED]
    office.prudence.why = None
    await office.opening.look()
    assert office.chain.sent == [("open", BOND)]


async def test_games_wait_their_turn(office: Office) -> None:
    """Two may be open at once; those against this node's own leases do not count."""
    office.want()
    for lease in (OTHER, LeaseId.of(ACCUSED, 3, 1), LeaseId.of(SELF, 9, 1)):
        office.play(lease)
    await office.opening.look()
    assert office.chain.sent == [] and office.stages == [WANTED]
    office.docket.end_game(bytes([OTHER.slot]) * 32, 15, "dismissed")
    await office.opening.look()
    assert office.chain.sent == [("open", BOND)]


async def test_no_more_are_opened_in_one_round_than_may_be_open(office: Office) -> None:
    """Events tell of a game later than its receipt."""
    for slot in range(4):
        office.want(LeaseId.of(ACCUSED, slot, 1))
    for _ in range(2):
        await office.opening.look()
    assert office.chain.sent == [("open", BOND)] * 2


async def test_the_other_of_a_pair_is_challenged_whatever_else_is_open(office: Office) -> None:
    """Its own commit is its rank, and its stake hangs on it: neither the limits nor a pre-commit hold it up."""
    for lease in (OTHER, LeaseId.of(ACCUSED, 3, 1)):
        office.play(lease)
    office.journal.adopt(LeaseRecord(OWN, False, 1, 1, 0, 3, office.plan.root, "0xr", 1, 0.0), OWN.slot)
    for number, result in enumerate(office.results):
        office.journal.shard_done(OWN, number, result)
    office.chain.info = replace(office.chain.info, state=LeaseState.CONTESTED, peer=OWN)
    office.chain.bond, office.chain.held = 10**19, 10**20
    office.want_with_proof()
    await office.opening.look()
    assert office.chain.sent == [("openAt", 10**19)]
    _, precommitment, *_ = office.chain.arguments
    assert precommitment[2] is True and precommitment[0] != bytes(32)


@pytest.mark.parametrize("state", [LeaseState.FREE, LeaseState.SLASHED, LeaseState.REVEALED])
async def test_too_late_is_too_late(office: Office, state: LeaseState) -> None:
    office.want()
    late = Clock(10 + 33, 1_001) if state is LeaseState.REVEALED else office.chain.now
    office.chain.info, office.chain.now = replace(office.chain.info, state=state), late
    await office.opening.look()
    assert office.stages == [OVER] and office.chain.sent == []


async def test_one_that_is_refused_holds_up_no_other(office: Office) -> None:
    office.want(LEASE)
    office.want(OTHER)
    office.chain.refusing = {LEASE}
    await office.opening.look()
    assert office.chain.sent == [("open", BOND)] and office.stages == [WANTED, WANTED]


async def test_why_a_game_waits_is_told_once(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(opening.log, "warning", lambda event, **parts: told.append(parts["reason"]))
    office.want()
    office.chain.held = 0
    for _ in range(3):
        await office.opening.look()
    assert len(told) == 1 and "ETH" in told[0]
