"""Whole games on the chain: the honest side, on either side, wins against every liar, and the rules in Python agree."""

from __future__ import annotations

import functools
import os
import random
from collections.abc import Callable

import pytest
from court_stage import Courtroom, Duel, Sides, roots_of
from liars import Lie, LyingEvidence, copied_initial, false_read, flipped_bit, skipped_step
from worlds import Sizes, World, long_world, nodes_of, random_world, wide_world, zoo_world

from orebit.dispute import Phase, Side
from orebit.dispute.moves import Refute
from orebit.program.descriptor import Kind

LONG = os.environ.get("OREBIT_LONG_TESTS") == "1"
SIDES = pytest.mark.parametrize("liar", list(Side), ids=["false-challenger", "false-defender"])


@functools.cache
def small() -> World:
    return zoo_world(steps=5, interval=2)


def whole_game(courtroom: Courtroom, sides: Sides, at: int | None = None) -> Duel:
    """To the end, which is the honest side's."""
    accused = courtroom.accuse(sides.world, sides.claimed)
    duel = courtroom.open_game_by(accused, None if at is None else accused.open_at(at))
    honest, liar = sides.players(accused)
    assert duel.between(honest, liar) is sides.liar.other
    return duel


def felt(world: World, lies: Callable[[int], Lie]) -> Lie:
    """The first of these lies that changes what is claimed."""
    true = roots_of(world.truth)
    return next(lie for lie in map(lies, range(1000)) if LyingEvidence(world, lie).roots != true)


@SIDES
@pytest.mark.parametrize("lie", [copied_initial(), skipped_step(3)], ids=["copied", "skipped"])
def test_lazy_runs_lose(courtroom: Courtroom, liar: Side, lie: Lie) -> None:
    whole_game(courtroom, Sides(small(), lie, liar))


@SIDES
@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.INPUT])
def test_a_wrong_bit_of_a_node_of_any_kind(courtroom: Courtroom, liar: Side, kind: Kind) -> None:
    world = small()
    node = nodes_of(world.program, kind)[0]
    lie = felt(world, lambda n: flipped_bit(3, node, n, (30, 45)[n % 2]))
    duel = whole_game(courtroom, Sides(world, lie, liar))
    assert duel.state.tensor.node == node and duel.state.phase in (Phase.LEAF, Phase.ELEMENT, Phase.READS)


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.INPUT])
def test_a_false_read_is_refuted(courtroom: Courtroom, kind: Kind) -> None:
    world = small()
    node = nodes_of(world.program, kind)[0]
    descriptor = world.program.descriptor(node)
    operand = len(descriptor.operands) - 1
    raw = 0x41 << 8 * descriptor.operands[operand].dtype.size - 8
    for element in range(descriptor.size):
        position = min(5, world.truth.trace(3).element(node, element).positions - 1)
        lie = false_read(world, 3, node, element, operand, position, raw)
        if lie is not None and LyingEvidence(world, lie).roots != roots_of(world.truth):
            break
    else:
        raise AssertionError("no such lie")
    assert isinstance(whole_game(courtroom, Sides(world, lie, Side.DEFENDER)).moves[-1], Refute)


@SIDES
@pytest.mark.parametrize(("terms", "rounds"), [(2_000, 1), (600_000, 2)])
def test_long_reductions(courtroom: Courtroom, liar: Side, terms: int, rounds: int) -> None:
    world = long_world(Kind.SUM, terms)
    node = nodes_of(world.program, Kind.SUM)[-1]
    lie = false_read(world, 0, node, 1, 0, terms * 2 // 3, 3) or false_read(world, 0, node, 1, 0, terms * 2 // 3, 4)
    assert lie is not None
    assert whole_game(courtroom, Sides(world, lie, liar)).state.value.rounds == rounds


@SIDES
@pytest.mark.parametrize("elements", [1, 256, 257, 128 * 256 + 1])
def test_tensors_of_one_leaf_and_of_trees_of_every_height(courtroom: Courtroom, liar: Side, elements: int) -> None:
    world = wide_world(elements)
    lie = flipped_bit(1, len(world.program.nodes) - 1, elements - 1, 0)
    phases = whole_game(courtroom, Sides(world, lie, liar)).phases
    assert phases.count(Phase.TENSOR) == {1: 0, 256: 0, 257: 1}.get(elements, 2)


@SIDES
def test_long_traces_and_wide_states(courtroom: Courtroom, liar: Side) -> None:
    world = zoo_world(Sizes(width=3, terms=4, padding=150, states=40), steps=2, interval=2)
    for node in (world.program.header.inputs + 100, world.program.new_state[-1], world.program.new_state[0]):
        whole_game(courtroom, Sides(world, flipped_bit(1, node, 0, 0), liar))


@SIDES
@pytest.mark.parametrize(("steps", "interval"), [(1, 1), (33, 33), (300, 300), (129, 1), (260, 2)])
def test_any_number_of_steps_and_checkpoints(courtroom: Courtroom, liar: Side, steps: int, interval: int) -> None:
    world = wide_world(3, steps=steps, interval=interval)
    for step in {0, steps // 3, steps - 1}:
        whole_game(courtroom, Sides(world, flipped_bit(step, len(world.program.nodes) - 1, 0, 0), liar))


@SIDES
@pytest.mark.parametrize("step", [1, 21, 49])
def test_a_game_may_open_at_an_interval(courtroom: Courtroom, liar: Side, step: int) -> None:
    world = wide_world(3, steps=50, interval=4)
    lie = flipped_bit(step, len(world.program.nodes) - 1, 1, 2)
    assert Phase.RESULT not in whole_game(courtroom, Sides(world, lie, liar), at=step // 4).phases


@SIDES
@pytest.mark.parametrize("seed", range(400 if LONG else 3))
def test_the_honest_side_wins_random_games(courtroom: Courtroom, liar: Side, seed: int) -> None:
    """A random program, a random lie, a liar that posts garbage every now and then."""
    rng = random.Random(seed)
    world = random_world(seed, rng.choice((2, 5, 9)))
    step, node = rng.randrange(world.steps), rng.choice(world.program.operations)
    lie = rng.choice([copied_initial(), skipped_step(step)] + 4 * [flipped_bit(step, node, seed, rng.randrange(64))])
    if LyingEvidence(world, lie).roots == roots_of(world.truth):
        return  # nothing of the state depends on what was made up
    whole_game(courtroom, Sides(world, lie, liar, seed, rng.choice((0.0, 0.3, 0.9))))
