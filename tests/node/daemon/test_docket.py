"""The docket: what events tell is undone with their blocks, what this node intends stays."""

from __future__ import annotations

from pathlib import Path

from orebit.chain.types import RESULTS, DemandItem, LeaseId
from orebit.daemon.court.docket import OPENED, WANTED, Case, Docket, Played
from orebit.daemon.journal import Journal

LEASE = LeaseId.of(7, 1, 2)
GAME = b"g" * 32
PLAN = b"p" * 32
MOVE = Played(block=11, log=3, state=b"state", deadline=100, posted=b"posted")


def docket(folder: Path) -> Docket:
    return Docket(Journal(folder / "journal.sqlite"))


def played(folder: Path) -> Docket:
    made = docket(folder)
    made.open_game(10, Case(GAME, LEASE, "0xc", 5, None))
    made.add_move(GAME, MOVE)
    made.add_move(GAME, Played(12, 0, b"next", 130, b""))
    return made


def test_a_game_is_found_again_as_it_stands(tmp_path: Path) -> None:
    played(tmp_path)
    again = docket(tmp_path)
    assert again.open_cases() == [Case(GAME, LEASE, "0xc", 5, None)]
    assert [move.block for move in again.moves(GAME)] == [11, 12]
    assert again.moves(GAME)[0] == MOVE


def test_an_event_told_twice_counts_once(tmp_path: Path) -> None:
    made = played(tmp_path)
    made.add_move(GAME, MOVE)
    assert len(made.moves(GAME)) == 2


def test_a_reorg_takes_back_moves_and_verdicts(tmp_path: Path) -> None:
    made = played(tmp_path)
    made.convict(LEASE, 13, GAME)
    assert made.open_cases() == [] and made.is_convicted(LEASE)
    made.roll_back(11)
    assert [move.block for move in made.moves(GAME)] == [11]
    assert made.open_cases() and not made.is_convicted(LEASE)
    made.roll_back(9)
    assert made.case(GAME) is None


def test_a_conviction_ends_every_game_on_the_lease(tmp_path: Path) -> None:
    made = played(tmp_path)
    made.open_game(10, Case(b"o" * 32, LEASE, "0xd", 6, None))
    made.convict(LEASE, 13, GAME)
    assert {case.game: case.outcome for case in made.cases_on(LEASE)} == {GAME: "proven", b"o" * 32: "overtaken"}
    made.add_claim(b"o" * 32, 14, LEASE, 6)
    made.add_claim(GAME, 15, LEASE, 5)
    assert made.claims(LEASE) == [(5, GAME), (6, b"o" * 32)]


def test_a_challenge_keeps_its_first_salt(tmp_path: Path) -> None:
    made = docket(tmp_path)
    own, claimed = (b"a" * 32, b"b" * 32), (b"a" * 32, b"c" * 32)
    made.want(LEASE, 3, PLAN, 4, "wrong", own=own, claimed=claimed, checkpoint=1)
    (first,) = made.challenges(WANTED)
    made.want(LEASE, 3, PLAN, 4, "again")
    assert made.challenges() == [first]
    assert (first.own, first.claimed, first.checkpoint, first.first_shard) == (own, claimed, 1, 4)
    made.move_challenge(first, OPENED)
    assert made.challenges(WANTED) == [] and docket(tmp_path).challenge(LEASE, 3) is not None


def test_an_own_demand_outlives_a_reorg_and_a_stranger_s_does_not(tmp_path: Path) -> None:
    made = docket(tmp_path)
    item, other = DemandItem(LEASE, RESULTS, 0, 0), DemandItem(LEASE, RESULTS, 0, 1)
    made.demand(b"1" * 32, item, own=True)
    made.demand(b"1" * 32, item, block=20, deadline=50)
    made.demand(b"2" * 32, other, block=20, deadline=50)
    own = next(summons for summons in made.demands() if summons.own)
    assert (own.block, own.deadline, own.item) == (20, 50, item)
    made.end_demand(b"1" * 32, 21, (b"e" * 32,))
    assert [summons.entries for summons in made.demands(pending=False) if summons.own] == [(b"e" * 32,)]
    made.roll_back(19)
    assert [summons.demand for summons in made.demands()] == [b"1" * 32]
