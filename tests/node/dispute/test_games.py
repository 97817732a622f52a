"""The honest side wins, on either side, against whoever lies about anything."""

from __future__ import annotations

import functools
import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from liars import (
    Adversary,
    KnownEvidence,
    Lie,
    copied_initial,
    evidence_of,
    false_read,
    flipped_bit,
    outside_positions,
    skipped_step,
)
from playing import Played, against_challenger, against_defender, first_wrong, play, roots_of
from worlds import Sizes, World, long_world, nodes_of, random_world, tall_world, wide_world, zoo_world

from orebit.dispute import Game, Means, Phase, Player, Side
from orebit.dispute.moves import Justify, Open, PostPartials, Refute
from orebit.dispute.states import State
from orebit.program.descriptor import Kind, Source

LONG = os.environ.get("OREBIT_LONG_TESTS") == "1"
ONLY_LONG = pytest.mark.skipif(not LONG, reason="steps of twelve thousand nodes are traced four times")
BOTH = pytest.mark.parametrize("game", [against_defender, against_challenger])
Play = Callable[..., Played]
REDUCTIONS = [kind for kind in Kind if kind.reduces]


@functools.cache
def small() -> World:
    return zoo_world(steps=5, interval=2)


def other(world: World, source: Source, index: int, bit: int = 0) -> Lie:
    """One bit of one input is another."""
    name = ("state", "constants", "parameters")[source]
    arrays = [array.copy() for array in getattr(world.inputs, name)]
    flat = arrays[index].reshape(-1).view(np.uint8)
    flat[len(flat) // 2] ^= 1 << bit
    return Lie(inputs=replace(world.inputs, **{name: arrays}))


RUNS = {
    "copied initial state": lambda world: copied_initial(),
    "first step skipped": lambda world: skipped_step(0),
    "a step skipped": lambda world: skipped_step(3),
    "one wrong bit in a weight": lambda world: other(world, Source.STATE, 1, 7),
    "wrong data": lambda world: other(world, Source.CONSTANT, 0),
    "another learning rate": lambda world: other(world, Source.PARAMETER, 0, 5),
}


@BOTH
@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("wildness", [0.0, 0.4])
def test_whoever_ran_something_else_loses(game: Play, run: str, wildness: float) -> None:
    for seed in range(2):
        game(small(), RUNS[run](small()), random.Random(seed), wildness)


@BOTH
def test_a_wrong_bit_in_the_output_of_any_node_is_found_there(game: Play) -> None:
    world = small()
    for node in world.program.operations:
        descriptor = world.program.descriptor(node)
        lies = (flipped_bit(3, node, element, bit) for bit in (1, 30, 45, 62) for element in range(descriptor.size))
        lie = next(lie for lie in lies if evidence_of(world, lie).roots != roots_of(world.truth))
        played = game(world, lie, random.Random(0))
        state = played.game.state
        assert state.tensor.node == node and (state.first_step, state.last_step) == (3, 4)
        assert played.words[-1].startswith(f"step 4, node {node}: {descriptor.kind.name.lower()}")
    assert {world.program.descriptor(node).kind for node in world.program.operations} == set(Kind) - {Kind.INPUT}


def refuted(played: Played) -> Refute:
    move = played.moves[-1]
    assert isinstance(move, Refute) and played.phases[-1] is Phase.READS
    return move


def test_a_false_read_of_any_operand_of_any_node_is_refuted_from_what_binds_it() -> None:
    world, sources = small(), Counter[str]()
    for node in world.program.operations:
        descriptor = world.program.descriptor(node)
        for operand, producer in enumerate(world.program.nodes[node].operands):
            lie = next(filter(None, (_falsely(world, node, e, operand) for e in range(descriptor.size))), None)
            if lie is None:
                continue  # nothing that this operand is could change the node
            move = refuted(against_defender(world, lie, random.Random(0)))
            assert (move.operand, move.source.shard is not None) == (operand, 3 <= producer < 6) or not move.source.head
            sources[_source(world, producer) if move.source.head else "fill"] += 1
    assert set(sources) == {"state", "constant", "parameter", "node", "fill"}


def _source(world: World, number: int) -> str:
    descriptor = world.program.descriptor(number)
    return descriptor.source.name.lower() if descriptor.kind is Kind.INPUT else "node"


def _falsely(world: World, node: int, element: int, operand: int, position: int | None = None) -> Lie | None:
    """The element computed from another value of the operand, at the first position where that changes it."""
    descriptor = world.program.descriptor(node)
    size = descriptor.operands[operand].dtype.size
    true = world.truth.trace(3).element(node, element)
    for at in range(true.positions) if position is None else [position]:
        row, offset = true.reads(at, at + 1), sum(each.dtype.size for each in descriptor.operands[:operand])
        raw = int.from_bytes(row[offset : offset + size], "little")
        greatest = 0x7F7FFFFF if size == 4 else (1 << 8 * size - 1) - 1
        for told in (raw ^ 1, greatest):
            lie = false_read(world, 3, node, element, operand, at, told)
            if lie is not None:
                return lie
    return None


@pytest.mark.parametrize("kind", [Kind.DOT, Kind.SUM, Kind.MAX, Kind.SCATTER_MAX])
def test_a_false_fill_is_refuted_without_opening_anything(kind: Kind) -> None:
    world = small()
    node = nodes_of(world.program, kind)[0]
    descriptor = world.program.descriptor(node)
    operand = 0 if kind is Kind.DOT else len(descriptor.operands) - 1
    places = (
        (_falsely(world, node, element, operand, position), position)
        for element in range(descriptor.size)
        for position in outside_positions(world, node, element, operand)
    )
    lie, position = next(found for found in places if found[0] is not None)
    assert lie is not None
    move = refuted(against_defender(world, lie, random.Random(0)))
    assert (move.operand, move.position, move.source.head) == (operand, position, b"")


def test_a_false_index_of_a_gather_is_refuted_before_the_value_it_leads_to() -> None:
    world = small()
    (node,) = nodes_of(world.program, Kind.GATHER)
    lie = next(filter(None, (_falsely(world, node, element, 0) for element in range(144))))
    assert refuted(against_defender(world, lie, random.Random(0))).operand == 0


@pytest.mark.parametrize("kind", [Kind.SCATTER_SUM, Kind.SCATTER_MAX])
def test_a_row_left_out_of_a_scatter_is_refuted(kind: Kind) -> None:
    world = small()
    (node,) = nodes_of(world.program, kind)
    trace = world.truth.trace(3)
    indices = trace.tensor(world.program.nodes[node].operands[0]).tolist()
    element, position = next((row, at) for at, row in enumerate(indices) if 0 <= row < 12)
    lie = false_read(world, 3, node, element, 0, position, 1 << 62)
    if lie is None:  # for a maximum it must be the greatest that is left out
        lands = [(row, at) for at, row in enumerate(indices) if 0 <= row < 12]
        lie = next(filter(None, (false_read(world, 3, node, row, 0, at, 1 << 62) for row, at in lands)))
    assert refuted(against_defender(world, lie, random.Random(0))).operand == 0


@BOTH
@pytest.mark.parametrize(("terms", "rounds"), [(200, 0), (2_000, 1), (400_000, 2)])
@pytest.mark.parametrize("kind", REDUCTIONS)
def test_long_reductions_are_justified_in_parts(game: Play, kind: Kind, terms: int, rounds: int) -> None:
    world = long_world(kind, terms)
    node = nodes_of(world.program, kind)[-1]
    operand = len(world.program.descriptor(node).operands) - 1
    told = (0x7F7FFFFF,) if kind is Kind.MAX else (3, 127)
    lies = (false_read(world, 0, node, 1, operand, at, raw) for at in range(terms // 2, terms) for raw in told)
    lie = next(filter(None, lies))
    played = game(world, lie, random.Random(0))
    assert played.game.state.value.rounds == rounds
    if game is against_defender:
        assert refuted(played).operand == operand
    assert sum(isinstance(move, PostPartials) for move in played.moves) == rounds


def test_partial_results_that_are_false_are_picked_and_cannot_be_justified() -> None:
    world = long_world(Kind.SUM, 2_000)
    node = nodes_of(world.program, Kind.SUM)[-1]
    for seed in range(6):
        played = against_defender(world, flipped_bit(0, node, 1, 3), random.Random(seed), wildness=1.0)
        assert not any(isinstance(move, Justify) for move in played.moves) or isinstance(played.moves[-1], Refute)


@BOTH
@pytest.mark.parametrize(("elements", "postings"), [(1, 0), (256, 0), (257, 1), (128 * 256, 1), (129 * 256, 2)])
def test_tensors_of_one_leaf_and_of_trees_of_every_height(game: Play, elements: int, postings: int) -> None:
    world = wide_world(elements)
    for element in {0, elements // 2, elements - 1}:
        played = game(world, flipped_bit(1, len(world.program.nodes) - 1, element, 0), random.Random(0))
        assert played.phases.count(Phase.TENSOR) == postings
        assert played.game.state.value.leaf == element // 256


@BOTH
def test_a_tensor_of_sixteen_mebibytes_takes_three_postings(game: Play) -> None:
    world = wide_world((1 << 22) + 100, steps=1)
    played = game(world, flipped_bit(0, len(world.program.nodes) - 1, 1 << 22, 9), random.Random(0))
    assert played.phases.count(Phase.TENSOR) == 3 and played.game.state.value.leaf == 1 << 14


@BOTH
def test_programs_of_hundreds_of_nodes_and_states_of_dozens_of_tensors(game: Play) -> None:
    world = zoo_world(Sizes(width=3, terms=4, padding=150, states=40), steps=2, interval=2)
    for node in (world.program.header.inputs + 100, *list(world.program.new_state)[-1:]):
        played = game(world, flipped_bit(1, node, 0, 0), random.Random(0))
        assert played.game.state.tensor.node == node
        assert (Phase.NODES in played.phases) != (Phase.NEW_STATE in played.phases)


@BOTH
@pytest.mark.parametrize(("steps", "interval"), [(1, 1), (7, 7), (33, 33), (300, 2), (300, 300), (129, 1), (131, 64)])
def test_any_number_of_steps_and_checkpoints(game: Play, steps: int, interval: int) -> None:
    world = wide_world(3, steps=steps, interval=interval)
    node = len(world.program.nodes) - 1
    for step in {0, steps // 3, steps - 1}:
        for wildness in (0.0, 0.5):
            played = game(world, flipped_bit(step, node, 0, 0), random.Random(step), wildness)
            if wildness == 0.0:
                assert (played.game.state.first_step, played.game.state.last_step) == (step, step + 1)


@pytest.mark.parametrize(
    ("steps", "interval", "nodes", "elements", "terms", "moves"),
    [
        (1_000, 100, 290, 1 << 20, 2_000, (7, 6)),
        pytest.param(1_000_000, 1_000, 12_000, 3 << 21, 2_000, (8, 7), marks=ONLY_LONG),
        pytest.param(1_000_000, 1_000, 12_000, 3 << 21, 400_000, (9, 8), marks=ONLY_LONG),
    ],
)
def test_the_longest_games_take_the_moves_that_were_counted(
    steps: int, interval: int, nodes: int, elements: int, terms: int, moves: tuple[int, int]
) -> None:
    """docs/court.md; whichever side lies."""
    world = tall_world(steps, interval, nodes, elements, terms)
    at = steps * 2 // 3 + 217
    lying, truth = KnownEvidence(world, at), KnownEvidence(world, None)
    for liar in Side:
        evidence = {liar: lying, liar.other: truth}
        claimed = roots_of(evidence[Side.DEFENDER])
        path = world.place.result_path(claimed)
        game = Game(world.place.case(claimed), Open(world.place.opening()))
        adversary = Adversary(liar, evidence[liar], random.Random(0), 0.0, path)
        played = play(game, Player(liar.other, evidence[liar.other], path), adversary)
        assert (played.game.state.first_step, played.game.state.tensor.node) == (at, 3)
        if liar is Side.DEFENDER:
            assert (game.moves[Side.CHALLENGER], game.moves[Side.DEFENDER]) == moves


@functools.cache
def stages() -> list[tuple[World, Lie]]:
    """Shards whose games come through every phase."""
    deep = wide_world(129 * 256, steps=300, interval=2)
    sizes = Sizes(width=3, terms=4, padding=150, states=40)
    many = [(zoo_world(sizes, steps, steps), steps // 2) for steps in (40, 20)]  # states twice, and once
    long = long_world(Kind.DOT, 2_000)
    return [
        (deep, flipped_bit(150, 1, 33_000, 3)),
        *[(world, flipped_bit(step, world.program.header.inputs + 100, 0, 0)) for world, step in many],
        *[(world, flipped_bit(step, world.program.new_state[-1], 0, 0)) for world, step in many],
        (long, flipped_bit(0, nodes_of(long.program, Kind.DOT)[0], 1, 0)),
    ]


@BOTH
def test_garbage_at_any_level_loses(game: Play) -> None:
    """Consistent until then, and after it as far as its own run goes."""
    seen: set[Phase] = set()
    for world, lie in stages():
        for at in (None, first_wrong(roots_of(world.truth), evidence_of(world, lie).roots)):
            phases = game(world, lie, random.Random(0), at=at).phases
            for phase in set(phases) if LONG else set(phases) - seen:
                seen |= set(game(world, lie, random.Random(1), at=at, wild_in=phase).garbled)
    either = {Phase.CHECKPOINTS, Phase.STATES, Phase.TRACE, Phase.NODES, Phase.NEW_STATE, Phase.TENSOR, Phase.LEAF}
    assert seen >= either | ({Phase.ELEMENT} if game is against_defender else {Phase.PARTIALS})


@BOTH
def test_a_game_may_open_at_an_interval(game: Play) -> None:
    world = wide_world(3, steps=50, interval=4)
    for step in (1, 21, 49):
        lie = flipped_bit(step, len(world.program.nodes) - 1, 1, 2)
        wrong = first_wrong(roots_of(world.truth), evidence_of(world, lie).roots)
        played = game(world, lie, random.Random(0), at=wrong)
        assert Phase.RESULT not in played.phases and played.game.state.checkpoint == wrong


@pytest.mark.parametrize("steps", [(21,), (21, 33)])
def test_an_auditor_that_checked_one_interval_wins_from_the_defender_s_own_checkpoint(steps: tuple[int, ...]) -> None:
    """It knows nothing of the steps before: the defender's state there is all that it has, false or not."""
    world = wide_world(3, steps=50, interval=4)

    def jump(at: int, state: State, before: object) -> State:
        return tuple(array + array.dtype.type(at in steps) for array in state)

    lie, checkpoint = Lie(jump=jump), steps[-1] // 4
    claimed = evidence_of(world, lie)
    entries, held = claimed.roots, claimed.state(checkpoint * 4)
    means = Means(kept=lambda step: held if step == checkpoint * 4 else None)
    end = world.evidence(means, entries).section(checkpoint * 4, checkpoint * 4 + 4)[-1]
    assert end != entries[checkpoint]
    auditor = world.evidence(means, [*entries[:checkpoint], end, *entries[checkpoint + 1 :]])
    against_defender(world, lie, random.Random(0), at=checkpoint, honest=auditor)
    assert auditor.spent.steps <= 4 + 4


def random_game(seed: int, side: Side, wildness: float) -> Played | None:
    """A random program, a random lie, a liar that posts garbage as often as `wildness` says."""
    rng = random.Random(seed)
    world = _random_world(seed, rng)
    step, node = rng.randrange(world.steps), rng.choice(world.program.operations)
    lie = rng.choice([copied_initial(), skipped_step(step)] + 4 * [flipped_bit(step, node, seed, rng.randrange(64))])
    wrong = first_wrong(roots_of(world.truth), evidence_of(world, lie).roots)
    if wrong is None:
        return None  # nothing of the state depends on what was made up
    game = against_defender if side is Side.CHALLENGER else against_challenger
    return game(world, lie, rng, wildness, wrong if rng.random() < 0.3 else None)


def _random_world(seed: int, rng: random.Random) -> World:
    what = rng.random()
    if what < 0.3:
        return random_world(seed, rng.choice((2, 5, 9)))
    if what < 0.5:
        return long_world(rng.choice(REDUCTIONS), rng.choice((30, 700, 3_000)))
    steps = rng.choice((1, 2, 5, 34))
    if what < 0.75:
        steps *= rng.choice((1, 9))
        return wide_world(rng.choice((1, 700, 34_000)), steps, rng.choice((1, steps, max(1, steps // 3))))
    sizes = Sizes(rng.choice((3, 12, 17)), rng.choice((3, 20, 400)), rng.choice((0, 0, 130)), rng.choice((0, 0, 35)))
    return zoo_world(sizes, steps, rng.choice((1, steps, max(1, steps // 3))), seed)


@settings(max_examples=2_000 if LONG else 6, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 1 << 32), st.sampled_from(list(Side)), st.sampled_from([0.0, 0.2, 0.9]))
def test_the_honest_side_wins_random_games(seed: int, side: Side, wildness: float) -> None:
    random_game(seed, side, wildness)
