"""Openings: what a game is bound to, and that nothing but the shard at its place in the plan can be accused."""

from __future__ import annotations

import functools
from dataclasses import replace

import pytest
from court_stage import Accused, Courtroom, Duel, Sides, roots_of
from eth_abi import encode
from eth_utils import keccak
from evm import reverts
from liars import flipped_bit
from market_steps import State, person
from worlds import World, wide_world

from orebit.commitment import EMPTY, ListKind, ShardResult, list_head
from orebit.dispute import Phase, Player, Side, pack_state
from orebit.dispute.moves import Answer, OpenAt, Opening, arguments

X = b"x" * 32


@functools.cache
def world() -> World:
    return wide_world(3, steps=50, interval=4)


def name_of(courtroom: Courtroom, accused: Accused, challenger: str) -> bytes:
    types = ["uint256", "address", "uint72", "bytes32", "uint16", "address"]
    lease = accused.lease
    values = [courtroom.chain_id, courtroom.court.address, lease.id, lease.root, accused.position, challenger]
    return keccak(encode(types, values))


def test_open(courtroom: Courtroom) -> None:
    accused = courtroom.accuse(world())
    duel = courtroom.open_game_by(accused)
    opened = duel.opened.one("Opened")
    assert duel.id == name_of(courtroom, accused, courtroom.challenger)
    assert (opened.lease, opened.challenger, opened.order) == (accused.lease.id, courtroom.challenger, 0)
    assert opened.bond == courtroom.bond(accused) == courtroom.balance_of(courtroom.court) - deposits(courtroom)
    state, shard = duel.state, world().shard
    assert (state.phase, state.turn, state.shard) == (Phase.RESULT, Side.DEFENDER, shard.id)
    assert (state.steps, state.interval, state.pred, state.program) == (50, 4, shard.state, shard.program)
    assert (state.opened, state.move_time, state.own, state.costs) == (duel.opened.block, 50, EMPTY, 0)
    book = duel.book
    assert book.state == keccak(duel.values)
    assert (book.bond, book.order, book.blockNumber) == (opened.bond, 0, duel.opened.block)
    assert book.deadline == duel.deadline == courtroom.chain.time + 50
    assert courtroom.info(accused.lease).games == 1
    assert courtroom.court.nodeOf(accused.lease.node.id).games == 1


def deposits(courtroom: Courtroom) -> int:
    nodes = range(1, courtroom.registry.nodeCount() + 1)
    return sum(node.deposit for node in courtroom.court.nodeOf.each(nodes))


def test_open_at_an_interval(courtroom: Courtroom) -> None:
    claimed = [*roots_of(world().truth)[:7], X, *roots_of(world().truth)[8:]]
    accused = courtroom.accuse(world(), claimed)
    state = courtroom.open_game_by(accused, accused.open_at(7)).state
    assert (state.phase, state.turn, state.checkpoint) == (Phase.PICKED, Side.CHALLENGER, 7)
    assert (state.last.root, state.pred, state.first_step, state.last_step) == (X, claimed[6], 28, 32)


def test_the_last_interval_is_the_rest_and_the_first_starts_from_the_shard_s_state(courtroom: Courtroom) -> None:
    accused = courtroom.accuse(world())
    last = courtroom.open_game_by(accused, accused.open_at(12)).state
    assert (last.first_step, last.last_step) == (48, 50)
    first = courtroom.open_game_by(accused, accused.open_at(0), challenger=person("another")).state
    assert (first.first_step, first.last_step, first.pred) == (0, 4, world().shard.state)


WRONG = {
    "another position": (lambda o: replace(o, position=0), "WrongOpening"),
    "no such position": (lambda o: replace(o, position=3), "OutsideCount"),
    "another shard": (lambda o: replace(o, shard=replace(o.shard, steps=51)), "WrongOpening"),
    "another program": (lambda o: replace(o, shard=replace(o.shard, program=X)), "WrongOpening"),
    "another path": (lambda o: replace(o, plan_path=(X, *o.plan_path[1:])), "WrongOpening"),
    "a shorter path": (lambda o: replace(o, plan_path=o.plan_path[:-1]), "WrongPathLength"),
    "a longer path": (lambda o: replace(o, plan_path=(*o.plan_path, EMPTY)), "WrongPathLength"),
    "no lease": (lambda o: replace(o, lease=0), "OutsideCount"),
    "another generation": (lambda o: replace(o, lease=o.lease + 1), "OutsideCount"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_only_the_planned_shard_can_be_accused(courtroom: Courtroom, wrong: str) -> None:
    accused = courtroom.accuse(world())
    change, error = WRONG[wrong]
    opening: Opening = change(accused.opening)
    with reverts(error, ..., ...):
        courtroom.open_game_by(accused, replace(accused.open(), opening=opening))


@pytest.mark.parametrize(("steps", "interval"), [(4, 0), (4, 5), (2**32 + 1, 1)])
def test_a_plan_s_entry_must_be_a_shard(courtroom: Courtroom, steps: int, interval: int) -> None:
    accused = courtroom.accuse(world())
    call = list(arguments(accused.open()))
    shard = list(call[0][2])
    shard[3:5] = [steps, interval]
    call[0] = (*call[0][:2], tuple(shard), call[0][3])
    courtroom.rich(courtroom.challenger)
    with reverts("WrongShard", steps, interval):
        courtroom.court.open(*call, sender=courtroom.challenger, value=courtroom.bond(accused))


def interval_of(accused: Accused) -> OpenAt:
    opener = accused.open_at(5)
    assert isinstance(opener, OpenAt)
    return opener


INTERVALS = {
    "another claim": ({"claim": X}, "WrongOpening"),
    "another state before": ({"before": X}, "WrongOpening"),
    "another checkpoint": ({"checkpoint": 4}, "WrongOpening"),
    "no such checkpoint": ({"checkpoint": 13}, "OutsideCount"),
    "a shorter path to the claim": ({"claim_path": ()}, "WrongPathLength"),
    "a shorter path before": ({"before_path": ()}, "WrongPathLength"),
    "a shorter path to the result": ({"result_path": ()}, "WrongPathLength"),
}


@pytest.mark.parametrize("wrong", INTERVALS)
def test_an_interval_is_under_the_lease_s_root(courtroom: Courtroom, wrong: str) -> None:
    accused = courtroom.accuse(world())
    changes, error = INTERVALS[wrong]
    opener = interval_of(accused)
    with reverts(error, ..., ...):
        courtroom.open_game_by(accused, replace(opener, interval=replace(opener.interval, **changes)))


def test_one_game_a_challenger_and_shard(courtroom: Courtroom) -> None:
    accused = courtroom.accuse(world())
    duel = courtroom.open_game_by(accused)
    with reverts("GameExists", duel.id):
        courtroom.open_game_by(accused, accused.open_at(3))
    other = courtroom.open_game_by(accused, challenger=person("another"))
    assert other.id != duel.id and courtroom.info(accused.lease).games == 2


def test_a_lost_game_may_be_opened_again_and_its_states_are_others(courtroom: Courtroom) -> None:
    accused = courtroom.accuse(world(), challengeSeconds=1000)
    duel = courtroom.open_game_by(accused, accused.open_at(3))
    courtroom.pass_move(duel)
    duel.timeout()
    again = courtroom.open_game_by(accused, accused.open_at(3))
    assert again.id == duel.id and again.values != duel.values
    with reverts("WrongGame", duel.id, again.book.state, ...):
        duel.call(honest(again).move())


def honest(duel: Duel) -> Player:
    player = Player(duel.state.turn, world().truth, duel.accused.result_path)
    player.see(duel.state, duel.posted)
    return player


def test_a_move_answers_one_game_only(courtroom: Courtroom) -> None:
    """Of two challengers' equal games, a move of one is none of the other's."""
    accused = courtroom.accuse(world())
    one = courtroom.open_game_by(accused)
    other = courtroom.open_game_by(accused, challenger=person("another"))
    move = honest(one).move()
    court, sender = courtroom.court, one.mover
    with reverts("WrongGame", other.id, other.book.state, one.book.state):
        court.answer(other.id, one.values, *arguments(move), sender=sender)
    with reverts("WrongGame", X, EMPTY, one.book.state):
        court.answer(X, one.values, *arguments(move), sender=sender)
    changed = pack_state(replace(one.state, steps=51))
    for state in (changed, one.values[:-1], one.values + b"\0", one.values + bytes(42), b""):
        with reverts("WrongGame", one.id, one.book.state, ...):
            court.answer(one.id, state, *arguments(move), sender=sender)
    answered = one.values
    one.play(move)
    with reverts("WrongGame", one.id, one.book.state, ...):
        court.answer(one.id, answered, *arguments(move), sender=sender)


def test_only_within_the_window(courtroom: Courtroom) -> None:
    accused = courtroom.accuse(world())
    for _ in courtroom.not_passed(accused.lease):
        courtroom.open_game_by(accused)
    courtroom.pass_deadline(accused.lease)
    with reverts("DeadlinePassed", accused.lease.id, ...):
        courtroom.open_game_by(accused)


def test_only_what_is_revealed(courtroom: Courtroom) -> None:
    """A commit's hash is no root yet: nobody can be accused before it reveals."""
    accused = courtroom.accuse(world(), flags=0)
    assert courtroom.state(accused.lease) is State.COMMITTED
    with reverts("WrongState", accused.lease.id, State.COMMITTED):
        courtroom.open_game_by(accused)


def lie_of(world: World) -> list[bytes]:
    return Sides(world, LIE, Side.DEFENDER).claimed


LIE = flipped_bit(21, len(world().program.nodes) - 1, 0, 0)


@pytest.mark.parametrize("liar", ["primary", "replica"])
@pytest.mark.parametrize("log2", [0, 1, 255])
def test_both_of_a_contested_pair_can_be_accused(courtroom: Courtroom, liar: str, log2: int) -> None:
    """A replica's root is the raw node over its block, which may be short."""
    pair = courtroom.accuse_pair(world(), lie_of(world()), liar, blockLog2=log2)
    wrong = pair.pop(liar)
    (right,) = pair.values()
    assert courtroom.state(wrong.lease) is State.CONTESTED
    duel = courtroom.open_game_by(wrong)
    assert duel.between(*Sides(world(), LIE, Side.DEFENDER).players(wrong)) is Side.CHALLENGER
    assert courtroom.state(wrong.lease) is State.SLASHED
    assert courtroom.state(right.lease) is State.REVEALED


@pytest.mark.parametrize("liar", ["primary", "replica"])
def test_the_honest_one_of_a_contested_pair_is_acquitted(courtroom: Courtroom, liar: str) -> None:
    pair = courtroom.accuse_pair(world(), lie_of(world()), liar, blockLog2=1)
    del pair[liar]
    (right,) = pair.values()
    duel = courtroom.open_game_by(right)
    assert duel.between(*Sides(world(), LIE, Side.CHALLENGER).players(right)) is Side.DEFENDER
    assert courtroom.state(right.lease) is State.CONTESTED
    with reverts("NothingToWithdraw", ...):
        courtroom.court.withdrawCredit(courtroom.challenger, sender=courtroom.challenger)


@pytest.mark.parametrize("path", ["shorter", "longer"])
def test_a_result_stands_at_its_place_in_the_lease(courtroom: Courtroom, path: str) -> None:
    pair = courtroom.accuse_pair(world(), lie_of(world()), "replica", blockLog2=1)
    duel = courtroom.open_game_by(pair["replica"])
    move = honest(duel).move()
    assert isinstance(move, Answer)
    wrong = move.path[:-1] if path == "shorter" else (*move.path, EMPTY)
    with reverts("WrongPathLength", len(wrong), 1):
        duel.call(replace(move, path=wrong))


def test_a_root_of_garbage_cannot_be_answered_for(courtroom: Courtroom) -> None:
    accused = courtroom.accuse(world(), result=X)
    duel = courtroom.open_game_by(accused)
    with reverts("WrongOpening", ..., ...):
        duel.call(honest(duel).move())
    courtroom.pass_move(duel)
    duel.timeout()
    assert courtroom.state(accused.lease) is State.SLASHED


def test_checkpoints_beyond_their_count_cannot_be_answered_for(courtroom: Courtroom) -> None:
    """The root binds the count of 13, the tree under it has a 14th entry: neither 13 nor 14 can be posted."""
    entries = (*roots_of(world().truth), X)
    head = replace(list_head(ListKind.CHECKPOINTS, list(entries)), count=13)
    duel = courtroom.open_game_by(courtroom.accuse(world(), result=ShardResult(world().shard.id, head.root).hash))
    move = honest(duel).move()
    assert isinstance(move, Answer)
    with reverts("WrongOpening", ..., ...):
        duel.call(move)
    with reverts("WrongCount", 14, 13):
        duel.call(replace(move, entries=entries))
