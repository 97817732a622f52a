"""Checks that are easy to forget: each alone would let a liar win."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from court_stage import Courtroom, Duel, Sides, scene
from eth_utils import keccak
from evm import reverts
from liars import Adversary, Lie, LyingEvidence, false_read, flipped_bit
from worlds import Sizes, World, wide_world, zoo_world

from orebit.commitment import EMPTY, merkle
from orebit.dispute import Evidence, Inputs, Phase, Player, Side
from orebit.dispute.books import show_element, show_position
from orebit.dispute.moves import Descend, Justify, Move, Name, Naming, PostTensor, PostTrace, Refute
from orebit.dispute.postings import path_in, top
from orebit.dispute.validity import opening
from orebit.numerics.types import DType
from orebit.program.builder import Builder
from orebit.program.expression import ExpressionBuilder
from orebit.program.graph import Program, node_leaf

X = b"x" * 32
QUIET_NAN, RAW_NAN = 0x7FC00000, 0xFFC00001


def last_node(world: World, step: int, element: int = 0) -> Lie:
    return flipped_bit(step, len(world.program.nodes) - 1, element, 0)


def to_the_reads(courtroom: Courtroom, sides: Sides) -> tuple[Duel, Refute]:
    """A game up to a false read, and the honest refutation of it."""
    duel, honest, _ = scene(courtroom, sides, Phase.READS)
    move = honest.move()
    assert isinstance(move, Refute)
    return duel, move


# Operands


def chained(world: World) -> int:
    """A node of the last group of a long trace which reads its neighbour there."""
    program = world.program
    (number,) = (n for n in program.operations if n == program.header.inputs + 141)
    assert program.nodes[number].operands == (number - 1,)
    return number


def test_an_operand_is_opened_under_the_deepest_posting_that_covers_it(courtroom: Courtroom) -> None:
    """The postings above are not agreed where the walk went down: their entry there is the other side's."""
    world = zoo_world(Sizes(width=3, terms=4, padding=180), steps=2, interval=2)
    number = chained(world)
    lie = next(filter(None, (false_read(world, 1, number, 0, 0, 0, raw) for raw in range(5, 50))))
    duel, move = to_the_reads(courtroom, Sides(world, lie, Side.DEFENDER))
    assert len(duel.state.stack) == 2 and duel.state.stack[1].covers(140)
    upper = duel.state.stack[0]
    liars = LyingEvidence(world, lie).trace(1).nodes
    entries = [liars[upper.level][at : at + 32] for at in range(0, len(liars[upper.level]), 32)]
    assert merkle.lift(entries, upper.depth) == upper.root
    whole = tuple(merkle.path(liars, 140)[: upper.level]) + path_in(entries, upper.depth, 140 >> upper.level)
    assert merkle.fold(liars[0][140 * 32 : 141 * 32], 140, whole) == upper.root
    with reverts("WrongPathLength", len(whole), duel.state.stack[1].level + duel.state.stack[1].depth):
        duel.call(replace(move, source=replace(move.source, path=whole)))
    duel.play(move)
    assert duel.winner is Side.CHALLENGER


def with_operands(world: World, number: int, operands: tuple[int, ...]) -> World:
    """The same world, but that the program's tree says that the node reads others."""
    source = world.program
    program = Program(source.header, source.descriptors, source.nodes)
    leaves = list(source.leaves)
    leaves[number] = node_leaf(program.descriptor(number).hash, operands)
    program.__dict__["leaves"] = leaves
    return World(replace(world.inputs, program=program), world.steps, world.interval, world.seed)


@pytest.mark.parametrize("later", [0, 1])
def test_an_operand_stands_before_its_node(courtroom: Courtroom, later: int) -> None:
    """Neither the node itself nor any after it can be opened as what it reads."""
    base = zoo_world(Sizes(width=3, terms=4, padding=20), steps=2, interval=2)
    number = base.program.header.inputs + 18
    (before,) = base.program.nodes[number].operands
    claimed = (number + later,)
    world = with_operands(base, number, claimed)
    lie = next(filter(None, (false_read(base, 1, number, 0, 0, 0, raw) for raw in range(5, 50))))
    sides = Sides(world, lie, Side.DEFENDER)
    accused = courtroom.accuse(world, sides.claimed)
    duel = courtroom.open_game_by(accused)
    honest, lying = sides.players(accused)
    lying.__dict__["_violation"] = None  # it does not notice
    while duel.state.phase is not Phase.READS:
        for player in (honest, lying):
            player.see(duel.rules.state, duel.posted)
        player = honest if duel.state.turn is Side.CHALLENGER else lying
        duel.play(reading(player.move(), claimed))
    honest.see(duel.rules.state, duel.posted)
    with reverts("OperandNotBefore", claimed[0], number):
        duel.call(reading(honest.move(), claimed))
    assert before == number - 1


def reading(move: Move, operands: tuple[int, ...]) -> Move:
    """The move with these operand numbers of the disputed node."""
    packed = struct.pack(f"<{len(operands)}I", *operands)
    if isinstance(move, PostTensor):
        return replace(move, node=replace(move.node, operands=packed))
    return replace(move, operands=packed) if isinstance(move, Refute) else move


def test_new_state_is_nobody_s_operand(courtroom: Courtroom) -> None:
    """It stands in the other half of the trace, where nothing is agreed."""
    world = reading_new_state()
    number = len(world.program.nodes) - 1
    lie = next(filter(None, (false_read(world, 0, number, 0, 1, 0, raw) for raw in (5, 6))))
    sides = Sides(world, lie, Side.DEFENDER)
    accused = courtroom.accuse(world, sides.claimed)
    duel = courtroom.open_game_by(accused)
    honest, lying = sides.players(accused)
    lying.__dict__["_violation"] = None
    while duel.state.phase is not Phase.READS:
        assert duel.step(honest, lying)
    numbers = struct.pack("<2I", *world.program.nodes[number].operands)
    reads = duel.posted
    descriptor = world.program.descriptor(number).encoded
    trace = world.truth.trace(0)
    source = (
        [],
        trace.head(number - 1).encode(),
        trace.leaf(number - 1, 0),
        [],
        (EMPTY, EMPTY, EMPTY, 0, 0, EMPTY),
    )
    arguments = (descriptor, numbers, 1, 0, (reads, [keccak(reads)]), source)
    with reverts("OperandNotBefore", number - 1, number):
        courtroom.court.refute(duel.id, duel.values, *arguments, sender=duel.challenger)


def reading_new_state() -> World:
    """Two counters, of which the second adds the first's new value: not valid, but it can be run."""
    builder = Builder()
    a, b = (builder.state(DType.I64, ()) for _ in range(2))
    scope = ExpressionBuilder([DType.I64])
    first = builder.map(scope.finish(scope.operand(0) + 1), [a])
    scope = ExpressionBuilder([DType.I64, DType.I64])
    valid = builder.finish([first, builder.map(scope.finish(scope.operand(0) + scope.operand(1)), [b, a])])
    last = replace(valid.nodes[3], operands=(1, 2))
    program = Program(valid.header, valid.descriptors, (*valid.nodes[:3], last))
    world = World(Inputs(program, [], [np.array(3), np.array(4)], []), 1, 1)
    world.__dict__["truth"] = LyingEvidence(world, Lie())
    return world


# Bits


def nan_world(steps: int) -> World:
    """Copies of a float tensor: of its first element, a NaN that is not canonical, the first makes one that is."""
    builder = Builder()
    state = builder.state(DType.F32, (3,))
    program = builder.finish([builder.identity(state)])
    initial = np.array([RAW_NAN, 0x3F800000, 0x80000000], np.uint32).view(np.float32)
    return World(Inputs(program, [], [initial], []), steps, steps)


def other_nan(duel: Duel, honest: Player, lying: Adversary, raw: int) -> None:
    """Plays until the liar posts the leaf, in which it lies about nothing but the bits of the NaN."""
    while duel.state.phase is not Phase.LEAF:
        for player in (honest, lying):
            player.see(duel.rules.state, duel.posted)
        move = (honest if duel.state.turn is honest.side else lying).move()
        if isinstance(move, PostTensor):
            assert duel.state.turn is lying.side
            true = honest.evidence.trace(duel.state.first_step).leaf(1, 0)
            assert true[:4] == QUIET_NAN.to_bytes(4, "little")
            move = replace(move, posting=raw.to_bytes(4, "little") + true[4:])
        duel.play(move)


@pytest.mark.parametrize("liar", list(Side), ids=["false-challenger", "false-defender"])
@pytest.mark.parametrize("raw", [0xFFC00001, 0x7FC00001, 0xFFC00000])
def test_results_are_compared_as_raw_bytes(courtroom: Courtroom, liar: Side, raw: int) -> None:
    """Another NaN is another value, though any computation would take it for the same."""
    world = nan_world(1 if liar is Side.DEFENDER else 2)
    sides = Sides(world, flipped_bit(world.steps - 1, 1, 1, 0), liar)
    accused = courtroom.accuse(world, sides.claimed)
    duel = courtroom.open_game_by(accused)
    honest, lying = sides.players(accused)
    other_nan(duel, honest, lying, raw)
    honest.see(duel.rules.state, duel.posted)
    duel.play(honest.move())
    assert (duel.state.value.element, duel.state.value.y) == (0, raw if liar is Side.DEFENDER else QUIET_NAN)
    if liar is Side.DEFENDER:
        reads = world.truth.trace(0).element(1, 0).reads(0, 1)
        with reverts("NotJustified", raw, QUIET_NAN):
            duel.call(Justify(Naming(), world.program.descriptor(1).encoded, reads))
    else:
        assert duel.state.phase is Phase.READS


def test_minus_zero_is_another_value(courtroom: Courtroom) -> None:
    world = nan_world(1)
    sides = Sides(world, flipped_bit(0, 1, 2, 31), Side.DEFENDER)
    accused = courtroom.accuse(world, sides.claimed)
    duel = courtroom.open_game_by(accused)
    assert duel.between(*sides.players(accused)) is Side.CHALLENGER
    assert duel.state.value.element == 2


def test_reads_are_compared_as_raw_bytes(courtroom: Courtroom) -> None:
    """The true read is the NaN as it stands in the state, and not what a computation makes of it."""
    world = nan_world(1)
    duel, honest, lying = scene(courtroom, Sides(world, flipped_bit(0, 1, 1, 0), Side.CHALLENGER), Phase.LEAF)
    assert duel.state.turn is Side.CHALLENGER
    duel.play(Name(show_element(duel.posted, 0, 4, 0)))
    honest.see(duel.rules.state, duel.posted)
    duel.play(honest.move())
    assert duel.posted == RAW_NAN.to_bytes(4, "little")
    source = lying._source(duel.state, 0, 0, 4)
    move = Refute(world.program.descriptor(1).encoded, bytes(4), 0, 0, show_position(duel.posted, 4, 0), source)
    with reverts("ReadIsTrue", RAW_NAN):
        duel.call(move)


# Claims


def test_a_posting_is_not_the_opponent_s(courtroom: Courtroom) -> None:
    """Whoever posts what the other claims has no different version, however it is cut."""
    checked = set()
    for interval, step in ((40, 45), (20, 25)):  # states twice, and once: another side posts the trace
        with courtroom.chain.undone():
            courtroom.clear()
            world = wide_world(129 * 256, steps=2 * interval, interval=interval)
            checked |= same_refused(courtroom, Sides(world, last_node(world, step, 128 * 256), Side.DEFENDER))
    courtroom.clear()
    assert checked == {Descend, PostTrace, PostTensor}


def same_refused(courtroom: Courtroom, sides: Sides) -> set[type]:
    """Which of the challenger's moves were refused with the liar's own version."""
    accused = courtroom.accuse(sides.world, sides.claimed)
    duel = courtroom.open_game_by(accused)
    honest, lying = sides.players(accused)
    checked: set[type] = set()
    while duel.winner is None:
        for player in (honest, lying):
            player.see(duel.rules.state, duel.posted)
        if duel.state.turn is Side.DEFENDER:
            if not duel.step(honest, lying):
                duel.concede()
            continue
        move = honest.move()
        same = as_theirs(duel, move, sides.lying, lying)
        if same is not None:
            checked.add(type(move))
            with reverts("SameClaim", ...):
                duel.call(same)
        duel.play(move)
    return checked


def as_theirs(duel: Duel, move: Move, theirs: Evidence, lying: Any) -> Move | None:
    """The honest move with what the liar has below the same entry."""
    match move:
        case Descend() if duel.state.phase in (Phase.CHECKPOINTS, Phase.STATES):
            return replace(move, entries=(*move.entries[:-1], move.pick.entry))
        case PostTrace():
            state = duel.state
            step = state.first_step + move.pick.index if state.phase is Phase.STATES else state.first_step
            return replace(move, state_half=tuple(merkle.unpack(theirs.trace(step).new_state[0])))
        case PostTensor():
            trace = theirs.trace(duel.state.first_step)
            return replace(move, posting=trace.tree(1)[top(129).level])
    return None


def test_an_entry_of_the_trace_is_opened_at_its_own_node(courtroom: Courtroom) -> None:
    """The descriptor and operands of any other node of the program are refused."""
    world = zoo_world(Sizes(width=3, terms=4), steps=2, interval=2)
    sides = Sides(world, last_node(world, 1), Side.DEFENDER)
    duel, honest, lying = scene(courtroom, sides, Phase.TRACE)
    player = honest if duel.state.turn is honest.side else lying
    move = player.move()
    assert isinstance(move, PostTensor)
    own = opening(world.program, len(world.program.nodes) - 1)
    for number in range(len(world.program.nodes) - 1):
        other = opening(world.program, number)
        with reverts("WrongOpening", ..., ...):
            duel.call(replace(move, node=other))
    assert move.node == own


def test_a_revert_changes_nothing_and_its_mover_loses(courtroom: Courtroom) -> None:
    world = wide_world(3, steps=5, interval=2)
    duel, honest, lying = scene(courtroom, Sides(world, last_node(world, 2), Side.DEFENDER), Phase.LEAF, Side.DEFENDER)
    before, deadline = duel.book.state, duel.book.deadline
    move = lying.move()
    assert isinstance(move, Justify)
    with reverts("NotJustified", ..., ...):
        duel.call(move)
    assert (duel.book.state, duel.book.deadline) == (before, deadline)
    courtroom.pass_move(duel)
    assert duel.timeout().one("Convicted").lease == duel.accused.lease.id
