"""Programs that nobody can defend: at any of its turns the defender shows one clause, and has won."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from court_stage import GWEI, Courtroom, Duel, Sides, scene
from evm import Reverted, reverts
from liars import flipped_bit
from market_steps import State
from test_validity import broken, showing, with_node
from worlds import World, zoo_world

from orebit.dispute import Phase, Side
from orebit.dispute.moves import ShowInvalid, arguments
from orebit.dispute.validity import opening, show_violation
from orebit.program.check import Clause
from orebit.program.graph import Header, Node, Program

X = b"x" * 32


def accused_of(courtroom: Courtroom, program: Program) -> Duel:
    """A game about a shard whose program is this one, whatever it is."""
    world = World(replace(zoo_world().inputs, program=program), 4, 2)
    return courtroom.open_game_by(courtroom.accuse(world, [X] * 2))


def spoilt() -> Program:
    """An operand number of a node that does not stand before it."""
    program = zoo_world().program
    number = len(program.nodes) - 1
    node = program.nodes[number]
    return with_node(program, number, replace(node, operands=(number, *node.operands[1:])))


def test_the_defender_wins_at_once(courtroom: Courtroom) -> None:
    duel = accused_of(courtroom, spoilt())
    move = show_violation(spoilt())
    assert move is not None
    bond, before = duel.book.bond, courtroom.balance_of(duel.mover)
    receipt = duel.play(move, price=GWEI)
    told = receipt.one("ProgramInvalid")
    assert (told.clause, told.node) == (move.evidence.clause, move.evidence.node)
    refund = receipt.one("Refunded").amount
    assert refund > receipt.gas * GWEI * 5 // 4
    assert receipt.one("Dismissed").burnt == bond - refund
    assert courtroom.balance_of(duel.node.operator) == before + refund - receipt.gas * GWEI
    assert courtroom.state(duel.accused.lease) is State.REVEALED and courtroom.info(duel.accused.lease).games == 0
    assert duel.winner is Side.DEFENDER and duel.book.state == bytes(32)


def test_every_clause_can_be_shown(courtroom: Courtroom) -> None:
    """One broken program for each clause that breaking one at random meets."""
    rng, seen = random.Random(0), set()
    for program in broken(zoo_world().program, rng):
        move = show_violation(program)
        if move is None or move.evidence.clause in seen:
            continue
        seen.add(move.evidence.clause)
        with courtroom.chain.undone():
            accused_of(courtroom, program).play(move)
        courtroom.nodes_known.clear()
    assert len(seen) >= 8, seen


@pytest.mark.parametrize("phase", [Phase.RESULT, Phase.STATES, Phase.LEAF])
def test_of_a_valid_program_nothing_can_be_shown(courtroom: Courtroom, phase: Phase) -> None:
    world = zoo_world(steps=4, interval=2)
    sides = Sides(world, flipped_bit(3, world.program.new_state[0], 0, 0), Side.CHALLENGER)
    duel, _, _ = scene(courtroom, sides, phase, Side.DEFENDER)
    program = world.program
    sample = show_violation(spoilt())
    assert sample is not None
    rng = random.Random(phase)
    for clause in Clause:
        number = rng.choice(program.new_state if clause == Clause.NEW_STATE_TYPE else range(len(program.nodes)))
        operand = rng.randrange(max(1, len(program.nodes[number].operands)))
        with reverts("NotInvalid", clause, number):
            duel.call(showing(program, sample, clause, number, operand))


def test_what_is_shown_is_the_shard_s_program(courtroom: Courtroom) -> None:
    program = with_node(zoo_world().program, 8, replace(zoo_world().program.nodes[8], operands=(0,) * 2))
    duel = accused_of(courtroom, program)
    move = show_violation(program)
    assert move is not None
    shown = move.evidence
    others = {
        "WrongOpening": [
            replace(shown, header=replace(Header.decode(shown.header), nodes=3).encode()),
            replace(shown, nodes=bytes(32)),
            replace(shown, node=shown.node + 1),
            replace(shown, descriptor=shown.descriptor + b"\x00"),
            replace(shown, operands=shown.operands[4:]),
            replace(shown, head_length=shown.head_length - 1),
        ],
        "WrongPathLength": [replace(shown, path=shown.path[1:])],
        "OutsideCount": [replace(shown, node=len(program.nodes))],
    }
    for error, wrong in others.items():
        for evidence in wrong:
            with reverts(error, ..., ...):
                duel.call(ShowInvalid(evidence))
    duel.play(move)


def test_a_producer_is_opened_too(courtroom: Courtroom) -> None:
    program = zoo_world().program
    number = len(program.nodes) - 1
    node = program.nodes[number]
    for other in range(program.header.inputs):
        wrong = with_node(program, number, Node(node.descriptor, (other, *node.operands[1:])))
        move = show_violation(wrong)
        if move is not None and move.evidence.producer.path:
            break
    else:
        raise AssertionError("no such program")
    duel = accused_of(courtroom, wrong)
    for producer in (opening(wrong, other + 1), replace(move.evidence.producer, body=X)):
        with pytest.raises(Reverted, match="Wrong"):
            duel.call(ShowInvalid(replace(move.evidence, producer=producer)))
    duel.play(move)


def test_only_the_defender_and_only_at_its_turn(courtroom: Courtroom) -> None:
    duel = accused_of(courtroom, spoilt())
    move = show_violation(spoilt())
    assert move is not None
    for stranger in (duel.challenger, courtroom.stranger):
        with reverts("NotYourTurn", duel.id, stranger):
            duel.call(move, sender=stranger)
    picked = courtroom.open_game_by(duel.accused, duel.accused.open_at(1), courtroom.requester)
    with reverts("NotYourTurn", picked.id, picked.node.operator):
        picked.call(move, sender=picked.node.operator)
    with reverts("NotYourTurn", picked.id, picked.challenger):
        picked.call(move)
    assert arguments(move)
