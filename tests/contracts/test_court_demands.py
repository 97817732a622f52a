"""Demands: hashes that a node must show of what it revealed."""

from __future__ import annotations

import functools
import random

import pytest
from court_stage import CAP, GWEI, Accused, Courtroom, Sides, roots_of
from evm import Receipt, reverts
from liars import flipped_bit
from market_steps import OPEN, State
from worlds import World, wide_world

from orebit.commitment import merkle
from orebit.dispute import Side
from orebit.dispute.moves import plain

RESULTS, CHECKPOINTS = 0, 1
PRICE = 330_000 * CAP * 5 // 4
X = b"x" * 32
Item = tuple[int, int, int, int]


@functools.cache
def world() -> World:
    return wide_world(3, steps=300, interval=1)


def demand(courtroom: Courtroom, accused: Accused, item: Item, value: int = PRICE, **transaction: int) -> Receipt:
    sender = courtroom.rich(courtroom.stranger)
    return courtroom.court.demand(item, plain(accused.opening), sender=sender, value=value, **transaction)


def results_item(accused: Accused, part: int = 0) -> Item:
    return (accused.lease.id, RESULTS, 0, part)


def checkpoints_item(accused: Accused, part: int = 0) -> Item:
    return (accused.lease.id, CHECKPOINTS, accused.position, part)


def answer_of(accused: Accused, item: Item) -> tuple[list[bytes], list[bytes], tuple[bytes, ...]]:
    """Entries, path, result path."""
    listed = accused.results if item[1] == RESULTS else accused.checkpoints
    part = item[3]
    path = merkle.path(merkle.tree(listed), 128 * part)[7:]
    return listed[128 * part : 128 * part + 128], path, () if item[1] == RESULTS else accused.result_path


def answer(courtroom: Courtroom, accused: Accused, item: Item, **transaction: int) -> Receipt:
    sender = accused.lease.node.operator
    return courtroom.court.answerDemand(item, *answer_of(accused, item), sender=sender, **transaction)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_checkpoints_are_answered_under_the_lease_s_root(courtroom: Courtroom, part: int) -> None:
    accused = courtroom.accuse(world())
    item = checkpoints_item(accused, part)
    demanded = demand(courtroom, accused, item).one("Demanded")
    assert (demanded.lease, demanded.deadline) == (accused.lease.id, courtroom.chain.time + 50)
    assert courtroom.info(accused.lease).games == 1
    told = answer(courtroom, accused, item).one("DemandAnswered")
    assert list(told.entries) == roots_of(world().truth)[128 * part : 128 * part + 128]
    assert told.resultHash == accused.lease.results[accused.position]
    assert courtroom.info(accused.lease).games == 0
    with reverts("DemandExists", demanded.demand):
        demand(courtroom, accused, item)
    with reverts("NoDemand", demanded.demand):
        answer(courtroom, accused, item)
    with reverts("NoDemand", demanded.demand):
        courtroom.court.timeoutDemand(item, sender=courtroom.stranger)


@pytest.mark.parametrize("log2", [0, 1, 255])
def test_results_are_answered_by_both_of_a_pair(courtroom: Courtroom, log2: int) -> None:
    small = wide_world(3, steps=5, interval=1)
    lie = Sides(small, flipped_bit(1, len(small.program.nodes) - 1, 0, 0), Side.DEFENDER).claimed
    for accused in courtroom.accuse_pair(small, lie, "primary", blockLog2=log2).values():
        item = results_item(accused)
        demand(courtroom, accused, item)
        assert list(answer(courtroom, accused, item).one("DemandAnswered").entries) == accused.results


WRONG_ANSWERS = {
    "one entry too few": (lambda e, p, r: (e[:-1], p, r), "WrongCount"),
    "one entry too many": (lambda e, p, r: ([*e, X], p, r), "WrongCount"),
    "a zero": (lambda e, p, r: ([bytes(32), *e[1:]], p, r), "ZeroEntry"),
    "another entry": (lambda e, p, r: ([X, *e[1:]], p, r), "WrongOpening"),
    "a shorter path": (lambda e, p, r: (e, p[:-1], r), "WrongPathLength"),
    "another path": (lambda e, p, r: (e, [X, *p[1:]], r), "WrongOpening"),
    "a shorter result path": (lambda e, p, r: (e, p, r[:-1]), "WrongPathLength"),
    "another result path": (lambda e, p, r: (e, p, (X, *r[1:])), "WrongOpening"),
}


@pytest.mark.parametrize("wrong", WRONG_ANSWERS)
def test_a_wrong_answer_is_refused(courtroom: Courtroom, wrong: str) -> None:
    accused = courtroom.accuse(world())
    item = checkpoints_item(accused, 1)
    demand(courtroom, accused, item)
    change, error = WRONG_ANSWERS[wrong]
    given = change(*answer_of(accused, item))
    with reverts(error, *([...] * (1 if error == "ZeroEntry" else 2))):
        courtroom.court.answerDemand(item, *given, sender=accused.lease.node.operator)
    with reverts("NotOperator", accused.lease.node.id, courtroom.stranger):
        courtroom.court.answerDemand(item, *answer_of(accused, item), sender=courtroom.stranger)


@pytest.mark.parametrize("item", [(CHECKPOINTS, 0, 3), (RESULTS, 1, 0), (RESULTS, 0, 1), (CHECKPOINTS, 2, 0)])
def test_only_what_there_is_can_be_demanded(courtroom: Courtroom, item: tuple[int, int, int]) -> None:
    accused = courtroom.accuse(world())
    kind, position, part = item
    position = accused.position if kind == CHECKPOINTS and position == 0 else position
    with reverts("OutsideCount", ..., ...):
        demand(courtroom, accused, (accused.lease.id, kind, position, part))


def test_a_demand_is_prepaid_and_the_answer_paid_out_of_it(courtroom: Courtroom) -> None:
    accused = courtroom.accuse(world())
    item = checkpoints_item(accused)
    assert courtroom.court.demandPriceOf(accused.lease.node.id) == PRICE
    with reverts("BondShort", PRICE, PRICE - 1):
        demand(courtroom, accused, item, PRICE - 1)
    demand(courtroom, accused, item, PRICE + 3)
    assert courtroom.court.creditOf(courtroom.stranger) == 3
    operator = accused.lease.node.operator
    before = courtroom.balance_of(operator)
    receipt = answer(courtroom, accused, item, price=GWEI)
    gained = courtroom.balance_of(operator) - before
    assert receipt.gas * GWEI // 4 <= gained < receipt.gas * GWEI
    assert courtroom.court.creditOf(courtroom.stranger) == 3 + PRICE - gained - receipt.gas * GWEI


def test_not_answering_costs_the_stake_and_nobody_gets_a_bounty(courtroom: Courtroom) -> None:
    accused = courtroom.accuse(world())
    item = checkpoints_item(accused)
    demanded = demand(courtroom, accused, item).one("Demanded")
    book = courtroom.court.demandOf(demanded.demand)
    for moment in ((book.blockNumber + 33, book.deadline), (book.blockNumber + 32, book.deadline + 1)):
        with courtroom.chain.undone():
            courtroom.next_at(*moment)
            with reverts("NotYet", book.deadline):
                courtroom.court.timeoutDemand(item, sender=courtroom.stranger)
    courtroom.pass_moment(book.blockNumber + 32, book.deadline)
    with courtroom.chain.undone(), reverts("TooLate", book.deadline):
        answer(courtroom, accused, item)
    courtroom.pass_moment(book.blockNumber + 32, book.deadline)
    supply = courtroom.token.totalSupply()
    receipt = courtroom.court.timeoutDemand(item, sender=courtroom.stranger)
    assert receipt.one("DemandMissed").lease == accused.lease.id
    assert courtroom.state(accused.lease) is State.SLASHED
    assert courtroom.token.totalSupply() == supply - accused.lease.stake
    assert courtroom.court.convictionOf(accused.lease.id).bounty == 0
    assert courtroom.court.creditOf(courtroom.stranger) == PRICE
    assert courtroom.court.nodeOf(accused.lease.node.id).demands == 0


def test_finality_waits_for_demands(courtroom: Courtroom) -> None:
    accused = courtroom.accuse(world())
    item = checkpoints_item(accused)
    info = courtroom.info(accused.lease)
    courtroom.next_at(info.blockNumber + 30, info.deadline - 1)
    demand(courtroom, accused, item)
    courtroom.pass_deadline(accused.lease)
    assert not courtroom.finalise(accused.lease).events
    answer(courtroom, accused, item)
    assert courtroom.finalise(accused.lease).one("Finalised").lease == accused.lease.id
    with reverts("OutsideCount", ..., ...):
        demand(courtroom, accused, checkpoints_item(accused, 1))


def test_only_in_the_window(courtroom: Courtroom) -> None:
    accused = courtroom.accuse(world())
    courtroom.pass_deadline(accused.lease)
    with reverts("DeadlinePassed", accused.lease.id, ...):
        demand(courtroom, accused, checkpoints_item(accused))


def test_another_s_proof_ends_demands_too(courtroom: Courtroom) -> None:
    small = wide_world(3, steps=5, interval=1)
    sides = Sides(small, flipped_bit(1, len(small.program.nodes) - 1, 0, 0), Side.DEFENDER)
    accused = courtroom.accuse(small, sides.claimed)
    item = checkpoints_item(accused)
    demand(courtroom, accused, item)
    duel = courtroom.open_game_by(accused)
    assert duel.between(*sides.players(accused)) is Side.CHALLENGER
    with reverts("AlreadyConvicted", accused.lease.id):
        answer(courtroom, accused, item)
    courtroom.court.timeoutDemand(item, sender=courtroom.stranger)
    assert courtroom.court.creditOf(courtroom.stranger) == PRICE
    assert courtroom.court.convictionOf(accused.lease.id).prover == duel.challenger


def test_a_demand_that_was_not_answered_ends_every_game(courtroom: Courtroom) -> None:
    accused = courtroom.accuse(world(), flags=OPEN)
    item = checkpoints_item(accused)
    book = demand(courtroom, accused, item).block
    duel = courtroom.open_game_by(accused)
    courtroom.pass_moment(book + 32, courtroom.chain.time + 50)
    courtroom.court.timeoutDemand(item, sender=courtroom.stranger)
    with reverts("AlreadyConvicted", accused.lease.id):
        duel.timeout()
    courtroom.court.returnBond(duel.id, duel.values, sender=courtroom.stranger)


def test_every_sixteenth_demand_doubles_the_price(courtroom: Courtroom) -> None:
    """So that a flood that no node can answer in time is dear."""
    long, rng = wide_world(3, steps=17 * 128, interval=1), random.Random(0)
    accused = courtroom.accuse(long, [rng.randbytes(32) for _ in range(17 * 128)])
    for part in range(16):
        demand(courtroom, accused, checkpoints_item(accused, part))
    assert courtroom.court.demandPriceOf(accused.lease.node.id) == 2 * PRICE
    with reverts("BondShort", 2 * PRICE, PRICE):
        demand(courtroom, accused, checkpoints_item(accused, 16))
    for part in range(16):
        answer(courtroom, accused, checkpoints_item(accused, part))
    assert courtroom.court.demandPriceOf(accused.lease.node.id) == PRICE
