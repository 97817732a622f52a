"""Every kind of fraud, at every level at which it can begin, by either side: games, and the page about them."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from arenas import Arena
from frauds import Fraud, Manner, inner_lie, weight_lie
from liars import Adversary, Lie, evidence_of, tampered
from playing import play, roots_of
from worlds import World

from orebit.dispute import Evidence, Game, Phase, Player, Side
from orebit.dispute.moves import Justify, Move, Open, PostPartials, PostTrace, Refute, ShowInvalid
from orebit.dispute.validity import node_path, operand_bytes, show_violation
from orebit.errors import IllegalMove

SEEDS = 8
"""Tries with other random postings until a liar that has no story left comes to a level."""


class Level(StrEnum):
    """What is posted or named there."""

    CHECKPOINTS = "checkpoints"
    CHECKPOINTS_BELOW = "checkpoints, below"
    STATES = "states"
    STATES_WITHIN = "states within a section"
    NODE_HALF = "trace: nodes"
    STATE_HALF = "trace: new state"
    NODES = "nodes, below"
    NEW_STATE = "new state, below"
    TENSOR = "tensor"
    TENSOR_BELOW = "tensor, below"
    LEAF = "leaf"
    ELEMENT = "element"
    PARTIALS = "partial results"
    PARTIALS_WITHIN = "partial results of one"
    READS = "reads"


def levels_of(game: Game, move: Move) -> set[Level]:
    """The levels of what a move posts or names."""
    before = game.state.phase
    if isinstance(move, Refute):
        return {Level.READS}
    after = after_move(game, move).state
    below = before is after.phase
    named = {Level.ELEMENT} if before is Phase.LEAF else set()
    match after.phase:
        case Phase.CHECKPOINTS:
            return {Level.CHECKPOINTS_BELOW if below else Level.CHECKPOINTS}
        case Phase.STATES:
            return {Level.STATES_WITHIN if below else Level.STATES}
        case Phase.TRACE:
            return {Level.STATE_HALF} | ({Level.NODE_HALF} if after.stack else set())
        case Phase.TENSOR:
            return {Level.TENSOR_BELOW if below else Level.TENSOR}
        case Phase.PARTIALS:
            return named | {Level.PARTIALS_WITHIN if after.value.rounds == 2 else Level.PARTIALS}
        case Phase.ELEMENT if before is Phase.PARTIALS:
            return {Level.PARTIALS_WITHIN if after.value.rounds == 2 else Level.PARTIALS}
    return named | {_OTHERS[after.phase]}


_OTHERS = {
    Phase.NODES: Level.NODES,
    Phase.NEW_STATE: Level.NEW_STATE,
    Phase.LEAF: Level.LEAF,
    Phase.ELEMENT: Level.ELEMENT,
    Phase.READS: Level.READS,
}


def after_move(game: Game, move: Move) -> Game:
    """The game as it would be. Raises IllegalMove when the rules do not allow the move."""
    trial = copy.copy(game)
    trial.moves = dict(game.moves)
    trial.play(move)
    return trial


class Departing(Adversary):
    """Keeps to its story, but at one level (or from there on)."""

    def __init__(
        self, side: Side, evidence: Evidence, seed: int, path: Sequence[bytes], manner: Manner, level: Level | None
    ) -> None:
        super().__init__(side, evidence, random.Random(seed), 0.0, path)
        self._manner = manner
        self.level = level
        self.departed = False

    def tries(self, game: Game) -> Move | None:
        move = super().tries(game)
        here = {Level.READS} if game.state.phase is Phase.READS else set() if move is None else levels_of(game, move)
        at_level = self.level in here
        if not at_level and not (self.departed and self._manner is Manner.RAVE):
            return move
        self.departed = True
        if self._manner is Manner.FALL_SILENT:
            return None
        if self._manner is Manner.CALL_INVALID:
            return _legal(game, lambda: false_violation(self.evidence))
        return _legal(game, lambda: self._contradiction(move, self.level if at_level else None), move)

    def _contradiction(self, move: Move | None, level: Level | None) -> Move:
        """Garbage in place of what it would post; of a move with two levels, at the one that is asked for."""
        if isinstance(move, PostTrace) and level is not None:
            half = "node_half" if level is Level.NODE_HALF else "state_half"
            return replace(move, **{half: tampered(getattr(move, half), self._rng)})
        if isinstance(move, PostPartials) and level is not Level.ELEMENT:
            return replace(move, results=shifted(move.results, self._rng))
        if isinstance(move, Justify) and move.naming.path and level is not Level.ELEMENT:
            return self._read_otherwise(move)
        return self._wild()

    def _read_otherwise(self, move: Justify) -> Move:
        """The same claim of the same element, from other reads."""
        state = self._state
        assert state is not None
        claimed = replace(state, value=replace(state.value, element=move.naming.element, y=move.naming.y))
        return replace(move, reads=self._fitted(claimed, move.reads))


def shifted(results: bytes, rng: random.Random) -> bytes:
    """Partial results with the same sum: one is greater, another less."""
    parts = np.frombuffer(results, np.uint64).copy()
    more, less = rng.sample(range(len(parts)), 2)
    amount = np.uint64(rng.randrange(1, 1 << 20))
    parts[more : more + 1] += amount  # as arrays, which wrap without a word
    parts[less : less + 1] -= amount
    return parts.tobytes()


def _legal(game: Game, made: Callable[[], Move], story: Move | None = None) -> Move | None:
    """One of a few tries that the rules allow and that is no part of the story; None where there is none."""
    for _ in range(8):
        try:
            move = made()
            after_move(game, move)
        except (IllegalMove, StopIteration, IndexError):
            continue  # there is nothing of the kind to say
        if move != story:
            return move
    return None


def false_violation(evidence: Evidence) -> ShowInvalid:
    """Says of the last node of a valid program that it reads new state."""
    shown = show_violation(Arena().undefended.program)
    assert shown is not None
    program, number = evidence.program, len(evidence.program.nodes) - 1
    descriptor = program.descriptor(number)
    return ShowInvalid(
        replace(
            shown.evidence,
            header=program.header.encode(),
            nodes=program.tree[-1],
            node=number,
            descriptor=descriptor.encoded,
            head_length=len(descriptor.head),
            operands=operand_bytes(program.nodes[number].operands),
            path=node_path(program, number),
        )
    )


class Patient(Player):
    """An honest defender that shows what makes the program invalid at one level, and not before."""

    def __init__(self, evidence: Evidence, path: Sequence[bytes], level: Level, game: Callable[[], Game]) -> None:
        super().__init__(Side.DEFENDER, evidence, path)
        self._level = level
        self._game = game
        self.departed = False
        self.__dict__["_violation"] = None  # it does not say so at once

    def move(self) -> Move:
        move = super().move()
        if self._level not in levels_of(self._game(), move):
            return move
        self.departed = True
        shown = show_violation(self.evidence.program)
        assert shown is not None
        return shown


def _both(arena: Arena) -> list[Arena]:
    """In one interval and in two: a trace is the defender's, or the challenger's."""
    return [replace(arena, steps=2, interval=interval) for interval in (2, 1)]


_PLAIN = _both(Arena())
_LONG_SUMS = _both(Arena(terms=2_000))
ARENAS: dict[Level | None, list[Arena]] = {
    None: [*_PLAIN, *_LONG_SUMS],
    Level.CHECKPOINTS: [*_PLAIN, *_LONG_SUMS],
    Level.CHECKPOINTS_BELOW: [Arena(150, 1), Arena(150, 1, terms=2_000)],
    Level.STATES: [Arena(2, 2), Arena(300, 2), Arena(2, 2, terms=2_000), Arena(300, 2, terms=2_000)],
    Level.STATES_WITHIN: [
        *[Arena(steps, steps) for steps in (64, 2_048)],
        *[Arena(steps, steps, terms=300) for steps in (64, 2_048)],
    ],
    Level.NODE_HALF: [*_PLAIN, *_LONG_SUMS],
    Level.STATE_HALF: [*_PLAIN, *_LONG_SUMS],
    Level.NODES: [*_both(Arena(padding=150)), *_both(Arena(padding=150, terms=2_000))],
    Level.NEW_STATE: [*_both(Arena(states=33, inner=False)), *_both(Arena(states=33, inner=False, terms=300))],
    Level.TENSOR: [*_both(Arena(elements=600)), *_both(Arena(elements=300, terms=300))],
    Level.TENSOR_BELOW: [*_both(Arena(elements=129 * 256)), *_both(Arena(elements=129 * 128, terms=300))],
    Level.LEAF: [*_PLAIN, *_LONG_SUMS],
    Level.ELEMENT: [*_PLAIN, *_LONG_SUMS],
    Level.PARTIALS: _LONG_SUMS,
    Level.PARTIALS_WITHIN: _both(Arena(terms=600_000)),
    Level.READS: [*_PLAIN, *_LONG_SUMS],
}
DEEP = [Arena(16_500, 1), Arena(16_500, 1, terms=300)]
"""More checkpoints than two postings hold. Each of their runs takes seconds."""


@dataclass(frozen=True)
class Cell:
    """Where a game stands in the matrix."""

    fraud: Fraud
    level: Level | None
    liar: Side

    def __str__(self) -> str:
        return f"{self.fraud.name}, {self.level or 'nowhere'}, false {self.liar.name.lower()}"

    @property
    def mover(self) -> Side:
        """Who departs from its story: who is honest only to say that the program is not valid."""
        return Side.DEFENDER if self.fraud.manner is Manner.CALL_INVALID else self.liar

    @property
    def reason(self) -> str | None:
        """Why there is no such game."""
        if self.level is None and self.fraud.manner is not Manner.CONTRADICT:
            return "who makes no move, raves or calls the program invalid does so at some level"
        if self.level is Level.CHECKPOINTS and self.mover is Side.CHALLENGER:
            return "only the defender shows the top of its checkpoints"
        if self.level is Level.NODES and self.fraud.lie is weight_lie:
            return "a weight is new state: no inner node is disputed"
        if self.level is Level.NEW_STATE and self.fraud.lie is inner_lie:
            return "an inner node is no new state"
        return None

    @property
    def is_deep(self) -> bool:
        """Whether it takes a shard of so many checkpoints."""
        return self.level is Level.CHECKPOINTS_BELOW and self.mover is Side.DEFENDER

    def scenes(self) -> Iterator[Scene]:
        """Games in which it may come to that, or would if it could."""
        seeds = range(1 if self.reason else SEEDS)
        for arena in DEEP if self.is_deep else ARENAS[self.level]:
            lie = self.fraud.told(arena)
            if lie is None:
                continue
            scene = Scene(self, arena, lie)
            if roots_of(scene.world.truth) != evidence_of(scene.world, lie).roots:
                yield from (replace(scene, seed=seed) for seed in seeds)


@dataclass(frozen=True)
class Scene:
    """One game that may end in a cell."""

    cell: Cell
    arena: Arena
    lie: Lie
    seed: int = 0

    @property
    def world(self) -> World:
        """The shard; of a program that is not valid where the honest defender is to say so."""
        honest = self.cell.mover is not self.cell.liar
        return self.arena.undefended if honest else self.arena.world

    @property
    def claimed(self) -> list[bytes]:
        """The checkpoints that the defender committed to."""
        if self.cell.liar is Side.CHALLENGER:
            return roots_of(self.world.truth)
        return evidence_of(self.world, self.lie).roots

    def players(self, path: Sequence[bytes], game: Callable[[], Game]) -> tuple[Player, Departing]:
        """The honest side and the liar, in that game."""
        cell, world = self.cell, self.world
        liar = Departing(cell.liar, evidence_of(world, self.lie), self.seed, path, cell.fraud.manner, cell.level)
        if cell.mover is not cell.liar:
            liar.level = None
            return Patient(world.truth, path, cell.level, game), liar
        return Player(cell.liar.other, world.truth, path), liar

    def play(self) -> Outcome | None:
        """By the rules in Python."""
        world, claimed = self.world, self.claimed
        path = world.place.result_path(claimed)
        game = Game(world.place.case(claimed), Open(world.place.opening()))
        honest, liar = self.players(path, lambda: game)
        moves = play(game, honest, liar).moves
        return self.outcome(game.winner, moves, game.state.phase, honest, liar)

    def outcome(
        self, winner: Side | None, moves: Sequence[Move], phase: Phase, honest: Player, liar: Departing
    ) -> Outcome | None:
        """What came of a game; None where it did not come to the cell's level."""
        assert winner is self.cell.liar.other, str(self.cell)
        departed = honest.departed if isinstance(honest, Patient) else liar.departed or self.cell.level is None
        return Outcome.of(moves, phase) if departed else None


@dataclass(frozen=True)
class Outcome:
    """How a game went that the honest side won: its moves, the opening among them, and its end."""

    moves: int
    end: str

    @classmethod
    def of(cls, moves: Sequence[Move], phase: Phase) -> Outcome:
        """After these moves, which left that posting; the liar had no answer, if the last of them did not end it."""
        last = moves[-1] if moves else None
        if isinstance(last, Refute):
            return cls(1 + len(moves), "refuted")
        if isinstance(last, ShowInvalid):
            return cls(1 + len(moves), "invalid")
        return cls(1 + len(moves), "opening" if phase is Phase.RESULT else phase.name.lower().replace("_", " "))

    def __str__(self) -> str:
        return f"{self.moves} {self.end}"


def found(cell: Cell) -> tuple[Scene, Outcome] | None:
    """The first game that comes to a cell."""
    for scene in cell.scenes():
        outcome = scene.play()
        if outcome is not None:
            return scene, outcome
    return None
