"""A game by the rules that the contract keeps (docs/court.md), without money and clocks: what a move must show, and
what the game knows after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from orebit.commitment import merkle
from orebit.commitment.lists import ListKind
from orebit.commitment.merkle import EMPTY
from orebit.commitment.shard import ShardResult
from orebit.dispute import element_rules, walk_rules
from orebit.dispute.game import GameState, Phase, Posting, Side, interval_steps
from orebit.dispute.moves import (
    Answer,
    Descend,
    Interval,
    Justify,
    Move,
    Name,
    OpenAt,
    Opener,
    PickPartial,
    PostLeaf,
    PostPartials,
    PostTensor,
    PostTrace,
    Refute,
    ShowInvalid,
)
from orebit.dispute.postings import check_fold, rooted, top
from orebit.dispute.validity import check_evidence
from orebit.dispute.walk_rules import Result, list_address, require_phase
from orebit.errors import CommitmentError, IllegalMove


@dataclass(frozen=True, slots=True)
class Case:
    """What the market says of a lease that is challenged."""

    lease: int
    root: bytes
    """The lease's result root; a replica's: the raw node over its block."""
    shards: int
    plan_root: bytes
    plan_count: int
    first_shard: int = 0
    """Of the plan: the lease's first shard, a replica's block's."""
    move_time: int = 3600
    block_log2: int | None = None
    """Of a replica: its block has 2^b places."""


class Game:
    """One game, move by move. `posted` is what the last move posted, as the contract's event has it."""

    def __init__(self, case: Case, opener: Opener, challenger: str = "", block: int = 0) -> None:
        self.case = case
        self.state = _open(case, opener, challenger, block)
        self.posted = b""
        self.winner: Side | None = None
        self.moves = {Side.CHALLENGER: 1, Side.DEFENDER: 0}

    def play(self, move: Move) -> None:
        """The next move of whose turn it is.

        Raises:
            IllegalMove: when the rules do not allow it; nothing has changed.
        """
        if self.winner is not None:
            raise IllegalMove(f"the {self.winner.name.lower()} has won already")
        mover = self.state.turn
        if _mover(move) not in (None, mover):
            raise IllegalMove(f"it is the {mover.name.lower()}'s turn")
        try:
            self._apply(move)
        except CommitmentError as error:
            raise IllegalMove(str(error)) from error
        self.moves[mover] += 1

    def concede(self) -> None:
        """Whose turn it is does not move in time."""
        self.winner = self.state.turn.other

    def _apply(self, move: Move) -> None:
        if isinstance(move, Refute):
            element_rules.refute(self.state, move)
            self.winner = Side.CHALLENGER
        elif isinstance(move, ShowInvalid):
            check_evidence(self.state, move)
            self.winner = Side.DEFENDER
        else:
            made, self.posted = self._result(move)
            self.state = replace(made, turn=self.state.turn.other)

    def _result(self, move: Move) -> Result:
        if isinstance(move, Answer):
            return _answer(self.case, self.state, move)
        return _RULES[type(move)](self.state, move)


_RULES: dict[type[Any], Callable[[GameState, Any], Result]] = {
    Descend: walk_rules.descend,
    PostTrace: walk_rules.post_trace,
    PostTensor: walk_rules.post_tensor,
    PostLeaf: walk_rules.post_leaf,
    Name: element_rules.name,
    PostPartials: element_rules.post_partials,
    PickPartial: element_rules.pick_partial,
    Justify: element_rules.justify,
}


def _mover(move: Move) -> Side | None:
    """Who alone may make a move; None for those of either side."""
    if isinstance(move, Answer | PostPartials | Justify | ShowInvalid):
        return Side.DEFENDER
    return Side.CHALLENGER if isinstance(move, Name | PickPartial | Refute) else None


def _open(case: Case, opener: Opener, challenger: str, block: int) -> GameState:
    opening, shard = opener.opening, opener.opening.shard
    if opening.lease != case.lease or not 0 <= opening.position < case.shards:
        raise IllegalMove(f"the lease has {case.shards} shards")
    plan = merkle.height(case.plan_count)
    if len(opening.plan_path) != plan:
        raise IllegalMove(f"a path of {len(opening.plan_path)} hashes; {plan} lead to the plan's root")
    raw = merkle.fold(shard.id, case.first_shard + opening.position, opening.plan_path)
    if list_address(ListKind.PLAN, case.plan_count, raw) != case.plan_root:
        raise IllegalMove("the plan has another shard there")
    state = GameState(
        lease=opening.lease,
        position=opening.position,
        challenger=challenger,
        opened=block,
        move_time=case.move_time,
        phase=Phase.RESULT,
        turn=Side.DEFENDER,
        shard=shard.id,
        steps=shard.steps,
        interval=shard.interval,
        own=opener.precommitment.checkpoints,
        pred=shard.state,
        program=shard.program,
    )
    return _open_at(case, state, opener.interval) if isinstance(opener, OpenAt) else state


def _open_at(case: Case, state: GameState, at: Interval) -> GameState:
    count = state.checkpoints
    if not 0 <= at.checkpoint < count:
        raise IllegalMove(f"the shard has {count} checkpoints")
    raw = _fold_whole(at.claim, at.checkpoint, count, at.claim_path)
    _check_result(case, state, raw, at.result_path)
    pred = state.pred
    if at.checkpoint:
        pred = at.before
        if _fold_whole(at.before, at.checkpoint - 1, count, at.before_path) != raw:
            raise IllegalMove("the checkpoint shown left of the claim is not there")
    first, last = interval_steps(at.checkpoint, state.steps, state.interval)
    return replace(
        state,
        phase=Phase.PICKED,
        turn=Side.CHALLENGER,
        checkpoint=at.checkpoint,
        pred=pred,
        first_step=first,
        last_step=last,
        last=Posting(at.claim),
    )


def _fold_whole(entry: bytes, index: int, count: int, path: tuple[bytes, ...]) -> bytes:
    if len(path) != merkle.height(count) or entry == EMPTY:
        raise IllegalMove(f"{merkle.height(count)} hashes lead from a checkpoint to the root of {count}")
    return merkle.fold(entry, index, path)


def _check_result(case: Case, state: GameState, checkpoints: bytes, path: tuple[bytes, ...]) -> None:
    """Refuses checkpoints, given by their raw root, that are not those the lease's root binds for the shard."""
    address = list_address(ListKind.CHECKPOINTS, state.checkpoints, checkpoints)
    result = ShardResult(state.shard, address).hash
    if case.block_log2 is not None:
        check_fold(case.root, state.position, result, path, case.block_log2)
        return
    height = merkle.height(case.shards)
    if len(path) != height:
        raise IllegalMove(f"a path of {len(path)} hashes; {height} lead to the lease's root")
    if list_address(ListKind.RESULTS, case.shards, merkle.fold(result, state.position, path)) != case.root:
        raise IllegalMove("the lease's root binds another result for the shard")


def _answer(case: Case, state: GameState, move: Answer) -> Result:
    """The top of the defender's checkpoints."""
    require_phase(state, Phase.RESULT)
    count = state.checkpoints
    made = rooted(top(count), count, move.entries)
    _check_result(case, state, made.root, move.path)
    return replace(state, phase=Phase.CHECKPOINTS, last=made), b"".join(move.entries)
