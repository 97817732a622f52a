"""Whole games: an honest side against a liar, either way round."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from liars import Adversary, Lie, evidence_of
from worlds import World

from orebit.commitment import merkle
from orebit.dispute import Evidence, Game, Phase, Player, Precommitment, Side, describe, open_interval
from orebit.dispute.moves import Move, Open

MOST_MOVES = 8
MOST_MOVES_TWO_ROUNDS = 9


@dataclass
class Played:
    """How a game went: its phases, its moves, and whose they were."""

    game: Game
    phases: list[Phase] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    garbled: list[Phase] = field(default_factory=list)


def play(game: Game, honest: Player, liar: Adversary) -> Played:
    """To the end: the liar makes any move that the rules allow and has lost when it finds none; an honest move that
    the rules refuse, or that the honest side does not find, fails the test."""
    played = Played(game)
    while game.winner is None:
        for player in (honest, liar):
            player.see(game.state, game.posted)
        played.phases.append(game.state.phase)
        played.words.append(describe(game.state, honest.evidence.program))
        if game.state.turn is honest.side:
            move: Move | None = honest.move()
        else:
            move = liar.tries(game)
        if move is None:
            game.concede()
            continue
        game.play(move)
        played.moves.append(move)
    played.garbled = liar.garbled
    assert game.winner is honest.side, f"the liar won after {played.phases}"
    most = MOST_MOVES_TWO_ROUNDS if game.state.value.rounds == 2 else MOST_MOVES
    assert max(game.moves.values()) <= most, game.moves
    return played


def roots_of(evidence: Evidence) -> list[bytes]:
    return merkle.unpack(evidence.checkpoints[0])


def against_defender(
    world: World,
    lie: Lie,
    rng: random.Random,
    wildness: float = 0.0,
    at: int | None = None,
    honest: Evidence | None = None,
    wild_in: Phase | None = None,
) -> Played:
    """The defender lied; the challenger opens from the result, or at the interval before checkpoint `at`."""
    lying = evidence_of(world, lie)
    claimed = lying.roots
    path = world.place.result_path(claimed)
    if at is None:
        opener = Open(world.place.opening())
    else:
        opener = open_interval(world.place.opening(), Precommitment(), claimed, at, path)
    game = Game(world.place.case(claimed), opener)
    liar = Adversary(Side.DEFENDER, lying, rng, wildness, path)
    liar.wild_in = wild_in
    return play(game, Player(Side.CHALLENGER, honest or world.truth), liar)


def against_challenger(
    world: World,
    lie: Lie,
    rng: random.Random,
    wildness: float = 0.0,
    at: int | None = None,
    wild_in: Phase | None = None,
) -> Played:
    """The defender computed the truth; the challenger claims something else."""
    claimed = roots_of(world.truth)
    path = world.place.result_path(claimed)
    if at is None:
        opener = Open(world.place.opening())
    else:
        opener = open_interval(world.place.opening(), Precommitment(), claimed, at, path)
    game = Game(world.place.case(claimed), opener)
    liar = Adversary(Side.CHALLENGER, evidence_of(world, lie), rng, wildness)
    liar.wild_in = wild_in
    return play(game, Player(Side.DEFENDER, world.truth, path), liar)


def first_wrong(true: Sequence[bytes], claimed: Sequence[bytes]) -> int | None:
    return next((i for i, (a, b) in enumerate(zip(true, claimed, strict=True)) if a != b), None)
