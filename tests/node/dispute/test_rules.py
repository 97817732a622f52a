"""What the rules refuse: every move of whole games, changed in every way that must not pass."""

from __future__ import annotations

import contextlib
import copy
import functools
import random
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
from liars import Adversary, Lie, evidence_of, flipped_bit, skipped_step
from playing import roots_of
from worlds import Sizes, World, long_world, nodes_of, wide_world, zoo_world

from orebit.commitment import EMPTY
from orebit.dispute import Case, Game, Move, Phase, Precommitment, Side, open_interval
from orebit.dispute.evaluator import evaluate
from orebit.dispute.moves import Answer, Justify, Open, Opener, Pick, PickPartial, Refute
from orebit.errors import CommitmentError, IllegalMove
from orebit.program.descriptor import Descriptor, Kind

# What a side says of its own, and may say falsely: everything else is shown under what binds it.
CLAIMS = {"entries", "node_half", "state_half", "posting", "data"}
NUMBERS = {"y", "operand", "position"}


@functools.cache
def scenes(liar: Side) -> list[list[tuple[Game, Move]]]:
    """Games that come through every phase, position by position."""
    return [list(positions(world, lie, liar)) for world, lie in worlds()]


@functools.cache
def worlds() -> list[tuple[World, Lie]]:
    deep = wide_world(129 * 256, steps=300, interval=2)
    many = zoo_world(Sizes(width=3, terms=4, padding=150, states=40), steps=33, interval=33)
    long = long_world(Kind.DOT, 2_000)
    return [
        (deep, flipped_bit(150, len(deep.program.nodes) - 1, 129 * 256 - 1, 3)),
        (many, flipped_bit(20, many.program.header.inputs + 100, 0, 0)),
        (many, flipped_bit(20, many.program.new_state[-1], 0, 0)),
        (long, flipped_bit(0, nodes_of(long.program, Kind.DOT)[0], 1, 0)),
        (zoo_world(steps=3, interval=1), skipped_step(1)),
    ]


def positions(world: World, lie: Lie, liar: Side) -> Iterator[tuple[Game, Move]]:
    """Every position of a game, with the move made there."""
    lying = evidence_of(world, lie)
    evidence = {liar: lying, liar.other: world.truth}
    claimed = roots_of(evidence[Side.DEFENDER])
    path = world.place.result_path(claimed)
    game = Game(world.place.case(claimed), Open(world.place.opening()))
    players = {side: Adversary(side, evidence[side], random.Random(1), 0.0, path) for side in Side}
    while game.winner is None:
        for player in players.values():
            player.see(game.state, game.posted)
        turn = game.state.turn
        move = players[turn].tries(game)
        if move is None:
            return
        yield copy.copy(game), move
        game.play(move)


def refused(game: Game, move: Move) -> bool:
    trial = copy.copy(game)
    trial.moves = dict(game.moves)
    try:
        trial.play(move)
    except IllegalMove:
        assert (trial.state, trial.winner) == (game.state, game.winner)
        return True
    return False


def changed(value: Any, rng: random.Random, name: str = "") -> Iterator[tuple[str, Any]]:
    """The same with one part another: a hash, a number, a byte, a length; and the name of the part."""
    if is_dataclass(value):
        for each in fields(value):
            for part, other in changed(getattr(value, each.name), rng, each.name):
                with contextlib.suppress(CommitmentError):  # no shard is such
                    yield part, replace(value, **{each.name: other})
    elif isinstance(value, tuple):
        yield name, (*value, rng.randbytes(32))
        if value:
            yield name, value[:-1]
            for place in {0, len(value) // 2, len(value) - 1}:
                for other in (rng.randbytes(32), EMPTY):
                    yield name, (*value[:place], other, *value[place + 1 :])
    elif isinstance(value, bytes):
        yield name, value + b"\x01"
        if value:
            place = rng.randrange(len(value))
            yield name, value[:place] + bytes([value[place] ^ 1 << rng.randrange(8)]) + value[place + 1 :]
            yield name, value[:-1]
    elif isinstance(value, int):
        yield name, value + 1
        yield name, value ^ 1 << 40


@pytest.mark.parametrize("liar", list(Side))
def test_whatever_is_shown_must_be_what_is_bound(liar: Side) -> None:
    rng, tried = random.Random(0), set()
    for scene in scenes(liar):
        for game, move in scene:
            assert not refused(game, move)
            for name, other in changed(move, rng):
                tried.add((type(move).__name__, name))
                if other == move or (name in NUMBERS and not isinstance(move, Refute)):
                    continue
                if _unread(game, move, name) or (_claimed(move, name) and not _misshapen(move, other, name)):
                    continue  # what nobody reads; or garbage, which is a posting like any other
                if (isinstance(move, Refute) and name in ("operand", "position")) or _neighbour(move, other, name):
                    continue  # may well be false too
                if name == "reads" and _gives_the_same(game, move, other):
                    continue  # another move calls them false
                assert refused(game, other), (type(move).__name__, name, game.state.phase)
            assert refused(replace_turn(game), move) or not isinstance(move, Answer | Justify | Refute)
    assert {name for name, _ in tried} >= {"Answer", "Descend", "PostTrace", "PostTensor", "PostLeaf"}


def _unread(game: Game, move: Move, name: str) -> bool:
    """Whether the rules take no notice of a part of this move."""
    phase = game.state.phase
    state_picked = phase is Phase.STATES or (phase is Phase.CHECKPOINTS and game.state.last.level == 0)
    if name in ("before", "before_path"):
        return not state_picked
    if phase is Phase.PICKED:
        return name in {each.name for each in fields(Pick)}
    return phase is Phase.ELEMENT and name in ("element", "word", "path")


def _gives_the_same(game: Game, move: Any, other: Any) -> bool:
    """Whether other reads, as many, give what is claimed too: a factor of zero hides them."""
    value, descriptor = game.state.value, Descriptor.decode(move.descriptor)
    if len(other.reads) != len(move.reads) or game.state.phase is not Phase.ELEMENT or value.stop == 0:
        return False
    return evaluate(descriptor, value.element, value.start, value.stop, other.reads) == value.y


def _neighbour(move: Any, other: Any, name: str) -> bool:
    """Whether another element of the same word is named, or a partial result of the same segment."""
    if name == "element":
        return abs(move.naming.element - other.naming.element) < 32
    return name == "index" and isinstance(move, PickPartial) and abs(move.index - other.index) < 32


def _claimed(move: Move, name: str) -> bool:
    """Whether a part is what the move posts."""
    return name in CLAIMS and hasattr(move, name)


def _misshapen(move: Move, other: Move, name: str) -> bool:
    before, after = getattr(move, name), getattr(other, name)
    return len(before) != len(after) or (isinstance(after, tuple) and EMPTY in after)


def replace_turn(game: Game) -> Game:
    """The same position with the other side to move."""
    other = copy.copy(game)
    other.state = replace(game.state, turn=game.state.turn.other)
    return other


@pytest.mark.parametrize("liar", list(Side))
def test_moves_answer_only_what_they_answer(liar: Side) -> None:
    for scene in scenes(liar):
        for game, _ in scene:
            for other, move in scene:
                if other.state != game.state:
                    assert refused(game, move), (game.state.phase, type(move).__name__)


def opener(world: World, **changes: Any) -> tuple[Case, Opener]:
    claimed = roots_of(world.truth)
    return replace(world.place.case(claimed), **changes), Open(world.place.opening())


def test_a_shard_is_opened_at_its_place_in_the_plan() -> None:
    world = zoo_world(seed=3)
    case, opening = opener(world)
    Game(case, opening)
    shard = opening.opening.shard
    for other in (replace(shard, steps=shard.steps + 1), replace(shard, constants=bytes(32))):
        with pytest.raises(IllegalMove, match="another shard"):
            Game(case, Open(replace(opening.opening, shard=other)))
    for position in (case.shards, opening.opening.position ^ 1):
        with pytest.raises(IllegalMove):
            Game(case, Open(replace(opening.opening, position=position)))
    with pytest.raises(IllegalMove):
        Game(replace(case, first_shard=case.first_shard + 1), opening)
    with pytest.raises(IllegalMove, match="hashes"):
        Game(case, Open(replace(opening.opening, plan_path=opening.opening.plan_path[:-1])))


def test_an_interval_is_opened_under_the_lease_s_root() -> None:
    world = wide_world(3, steps=50, interval=4)
    claimed = roots_of(world.truth)
    path, case = world.place.result_path(claimed), world.place.case(claimed)
    for checkpoint in (0, 5, 12):
        at = open_interval(world.place.opening(), Precommitment(), claimed, checkpoint, path)
        game = Game(case, at)
        assert game.state.phase is Phase.PICKED and game.state.turn is Side.CHALLENGER
        last = min(checkpoint * 4 + 4, 50)
        assert (game.state.first_step, game.state.last_step) == (checkpoint * 4, last)
        assert game.state.pred == (claimed[checkpoint - 1] if checkpoint else world.shard.state)
        rng = random.Random(0)
        for name, other in changed(at.interval, rng):
            if other == at.interval or (checkpoint == 0 and name in ("before", "before_path")):
                continue
            with pytest.raises(IllegalMove):
                Game(case, replace(at, interval=other))
