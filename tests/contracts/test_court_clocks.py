"""Clocks: a late move reverts, a timeout is valid exactly then, and many games give an honest node time."""

from __future__ import annotations

import functools

import pytest
from court_stage import Accused, Courtroom, Duel, Sides, scene
from evm import reverts
from liars import flipped_bit
from market_steps import State, person
from worlds import World, wide_world

from orebit.dispute import Phase, Side

MOVE_TIME = 50
MOST_MOVES = 32


@functools.cache
def world() -> World:
    return wide_world(3, steps=50, interval=4)


@functools.cache
def sides(liar: Side) -> Sides:
    return Sides(world(), flipped_bit(21, len(world().program.nodes) - 1, 0, 0), liar)


def games_of(courtroom: Courtroom, accused: Accused, count: int) -> list[Duel]:
    """Games against one lease, each of a challenger of its own."""
    return [courtroom.open_game_by(accused, challenger=person(f"challenger {n}")) for n in range(count)]


@pytest.mark.parametrize("liar", list(Side), ids=["false-challenger", "false-defender"])
@pytest.mark.parametrize("phase", [Phase.RESULT, Phase.STATES, Phase.TRACE, Phase.LEAF])
def test_a_move_is_in_time_or_late(courtroom: Courtroom, liar: Side, phase: Phase) -> None:
    duel, honest, lying = scene(courtroom, sides(liar), phase)
    player = honest if duel.state.turn is honest.side else lying
    move = player.move() if player is honest else lying.tries(duel.rules)
    assert move is not None
    for _ in courtroom.last_moments(duel):
        with reverts("NotYet", duel.deadline):
            duel.timeout()
    for _ in courtroom.last_moments(duel):
        duel.call(move)
    courtroom.pass_move(duel)
    with courtroom.chain.undone(), reverts("TooLate", duel.deadline):
        duel.call(move)
    courtroom.pass_move(duel)
    duel.timeout()
    lost = duel.state.turn
    assert (courtroom.state(duel.accused.lease) is State.SLASHED) == (lost is Side.DEFENDER)
    with reverts("WrongGame" if lost is Side.CHALLENGER else "AlreadyConvicted", *([...] * (3 - 2 * lost))):
        duel.timeout()


def test_a_challenger_has_the_move_s_time(courtroom: Courtroom) -> None:
    duel, honest, lying = scene(courtroom, sides(Side.DEFENDER), Phase.CHECKPOINTS)
    assert duel.state.turn is Side.CHALLENGER and duel.deadline == courtroom.chain.time + MOVE_TIME
    assert duel.step(honest, lying)
    assert duel.deadline == courtroom.chain.time + MOVE_TIME == courtroom.court.nodeOf(duel.node.id).busyUntil


def test_an_answer_needs_no_execution(courtroom: Courtroom) -> None:
    """Checkpoints are kept: however many games are open, each is answered within one move's time."""
    accused = courtroom.accuse(world())
    for duel in games_of(courtroom, accused, 3):
        assert duel.deadline == duel.opened.one("Moved").deadline == courtroom.court.gameOf(duel.id).deadline
        assert duel.deadline <= courtroom.chain.time + MOVE_TIME
    assert courtroom.court.nodeOf(accused.lease.node.id).busyUntil == 0


def test_moves_that_need_execution_queue(courtroom: Courtroom) -> None:
    accused = courtroom.accuse(world(), sides(Side.CHALLENGER).claimed, challengeSeconds=3000, moveTime=MOVE_TIME)
    duels = games_of(courtroom, accused, 4)
    due = 0
    for duel in duels:
        honest, lying = sides(Side.CHALLENGER).players(accused)
        assert duel.step(honest, lying) and duel.step(honest, lying)  # the answer, then states
        assert duel.state.phase is Phase.STATES and duel.state.turn is Side.DEFENDER
        now = courtroom.chain.time
        due = max(due, now) + MOVE_TIME
        assert duel.deadline == due == courtroom.court.nodeOf(accused.lease.node.id).busyUntil


def test_a_queue_is_never_longer_than_32_moves_of_one_s_own_task(courtroom: Courtroom) -> None:
    """A cheat's own games, about a task of slow moves, delay an honest game by its own task's measure at most."""
    slow = courtroom.accuse(world(), sides(Side.CHALLENGER).claimed, moveTime=50_000, challengeSeconds=10**6)
    first = slow.lease.node
    for duel in games_of(courtroom, slow, 3):
        honest, lying = sides(Side.CHALLENGER).players(slow)
        assert duel.step(honest, lying) and duel.step(honest, lying)
    assert courtroom.court.nodeOf(first.id).busyUntil > courtroom.chain.time + 100_000
    quick = courtroom.accuse(world(), sides(Side.DEFENDER).claimed, node=first)
    duel = courtroom.open_game_by(quick)
    honest, lying = sides(Side.DEFENDER).players(quick)
    assert duel.step(honest, lying) and duel.step(honest, lying)
    assert duel.deadline == courtroom.chain.time + MOST_MOVES * MOVE_TIME
    assert courtroom.court.nodeOf(first.id).busyUntil > duel.deadline


def test_a_lease_under_dispute_delays_no_other(courtroom: Courtroom) -> None:
    duel, _, _ = scene(courtroom, sides(Side.CHALLENGER), Phase.STATES)
    other = courtroom.accuse(world(), node=duel.node)
    courtroom.pass_deadline(other.lease)
    assert courtroom.finalise(other.lease, duel.accused.lease).one("Finalised").lease == other.lease.id
    assert courtroom.state(duel.accused.lease) is State.REVEALED


def test_finality_waits_for_open_games(courtroom: Courtroom) -> None:
    accused = courtroom.accuse(world())
    duel = courtroom.open_game_by(accused, accused.open_at(3))
    courtroom.pass_deadline(accused.lease)
    assert not courtroom.finalise(accused.lease).events
    courtroom.pass_move(duel)
    duel.timeout()
    assert courtroom.finalise(accused.lease).one("Finalised").paid == accused.lease.pay
