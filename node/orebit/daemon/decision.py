"""What to do about one lease, decided from what is known and nothing else: the table of MARKET.md ("States") as code.

No clock, no network and no journal in here: a situation goes in, one decision comes out, and the same situation always
gives the same decision, so that a node killed at any moment takes up exactly where it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from orebit.chain.commitments import draw_block
from orebit.chain.types import DEADLINE_BLOCKS, LeaseInfo, LeaseState, Terms


class Action(Enum):
    """The next step for a lease of this node."""

    COMPUTE = "compute"
    COMMIT = "commit"
    REVEAL = "reveal"
    REVEAL_PAIRED = "reveal the drawn block"
    FINALISE = "finalise"
    EXPIRE = "expire"
    RESOLVE = "resolve"
    WAIT = "wait"
    CLOSE = "close"
    HALT = "halt"


class Draw(Enum):
    """The chain's draw of a commit. OPEN: its block is not there yet."""

    OPEN = "open"
    MISSED = "not drawn"
    HIT = "drawn"


@dataclass(frozen=True)
class Clock:
    """The latest block's number and Unix time."""

    block: int
    timestamp: int


@dataclass(frozen=True)
class Situation:
    """All that a decision about one lease may depend on.

    `computed`: the root to be committed is known. `confirmations`: how deep the draw's block must lie before a reveal.
    """

    info: LeaseInfo
    terms: Terms
    clock: Clock
    computed: bool
    draw: Draw = Draw.OPEN
    confirmations: int = 0


@dataclass(frozen=True)
class Decision:
    """`on_peer`: the act names the pair's other lease. `until`: Unix time of the deadline over it."""

    action: Action
    reason: str
    on_peer: bool = False
    until: int | None = None


def passed(info: LeaseInfo, terms: Terms, clock: Clock) -> bool:
    """Whether the lease's deadline has passed: by time and by 32 blocks, for a lone commit after the draw's window."""
    block = info.block_number
    if info.state in (LeaseState.COMMITTED, LeaseState.CALLED):
        block = draw_block(block, terms) + terms.lottery_blocks
    return clock.timestamp > info.deadline and clock.block > block + DEADLINE_BLOCKS


def decide(situation: Situation) -> Decision:
    """The next step for one of this node's own leases."""
    return _BY_STATE[situation.info.state](situation)


def _free(situation: Situation) -> Decision:
    return Decision(Action.CLOSE, "the lease is over")


def _slashed(situation: Situation) -> Decision:
    return Decision(Action.HALT, "the result was proven wrong and the stake is lost")


def _leased(situation: Situation) -> Decision:
    info = situation.info
    if info.replica:
        return Decision(Action.EXPIRE, "the replica was not committed in time")
    if passed(info, situation.terms, situation.clock):
        return Decision(Action.EXPIRE, "the time to commit is over")
    if not situation.computed:
        return Decision(Action.COMPUTE, "computing", until=info.deadline)
    if situation.terms.is_open:
        return Decision(Action.REVEAL, "computed, an open task", until=info.deadline)
    return Decision(Action.COMMIT, "computed", until=info.deadline)


def _committed(situation: Situation) -> Decision:
    info, terms, block = situation.info, situation.terms, situation.clock.block
    draw = draw_block(info.block_number, terms)
    if passed(info, terms, situation.clock):
        return Decision(Action.EXPIRE, "the time to reveal is over")
    if not situation.computed:
        return Decision(Action.COMPUTE, "computing again what was committed", until=info.deadline)
    if block > draw + terms.lottery_blocks:
        return Decision(Action.REVEAL, "nobody took the replica", until=info.deadline)
    if situation.draw is Draw.OPEN or block <= draw:
        return Decision(Action.WAIT, f"waiting for the draw at block {draw}", until=info.deadline)
    if info.state is LeaseState.CALLED or situation.draw is Draw.HIT:
        return Decision(
            Action.WAIT, f"drawn: a replica may take it until block {draw + terms.lottery_blocks}", until=info.deadline
        )
    if block < draw + situation.confirmations:
        return Decision(
            Action.WAIT, f"not drawn: revealing at block {draw + situation.confirmations}", until=info.deadline
        )
    return Decision(Action.REVEAL, "not drawn", until=info.deadline)


def _paired(situation: Situation) -> Decision:
    if not situation.info.replica:
        return _primarys_turn(situation, "a replica is re-executing the drawn block", "its replica did not commit")
    if passed(situation.info, situation.terms, situation.clock):
        return Decision(Action.EXPIRE, "the time to commit the replica is over")
    if not situation.computed:
        return Decision(Action.COMPUTE, "re-executing the drawn block", until=situation.info.deadline)
    return Decision(Action.COMMIT, "re-executed", until=situation.info.deadline)


def _both(situation: Situation) -> Decision:
    info = situation.info
    if not info.replica:
        return _primarys_turn(situation, "waiting for the replica's reveal", "its replica did not reveal")
    if info.peer == 0 or passed(info, situation.terms, situation.clock):
        return Decision(Action.EXPIRE, "the time to reveal the replica is over")
    if not situation.computed:
        return Decision(Action.COMPUTE, "re-executing again what was committed", until=info.deadline)
    return Decision(Action.REVEAL, "both have committed", until=info.deadline)


def _primarys_turn(situation: Situation, waiting: str, deserted: str) -> Decision:
    """A primary waits for its replica; deserted, it has another reveal time to reveal alone."""
    info, terms = situation.info, situation.terms
    if not passed(info, terms, situation.clock):
        return Decision(Action.WAIT, waiting, until=info.deadline)
    turn = info.deadline + terms.reveal_seconds
    if situation.clock.timestamp > turn and situation.clock.block > info.block_number + 2 * DEADLINE_BLOCKS:
        return Decision(Action.EXPIRE, f"{deserted}, and the time to reveal alone is over")
    if not situation.computed:
        return Decision(Action.COMPUTE, "computing again what was committed", until=turn)
    return Decision(Action.REVEAL, deserted, until=turn)


def _half_revealed(situation: Situation) -> Decision:
    info = situation.info
    over = passed(info, situation.terms, situation.clock)
    if info.replica:
        if over:
            return Decision(Action.EXPIRE, "the primary did not open its block", on_peer=True)
        return Decision(Action.WAIT, "waiting for the primary to open its block", until=info.deadline)
    if over:
        return Decision(Action.EXPIRE, "the time to open the drawn block is over")
    if not situation.computed:
        return Decision(Action.COMPUTE, "computing again what was committed", until=info.deadline)
    return Decision(Action.REVEAL_PAIRED, "the replica has revealed", until=info.deadline)


def _revealed(situation: Situation) -> Decision:
    info = situation.info
    if info.games:
        return Decision(Action.WAIT, "a challenge is being played", until=info.deadline)
    if not passed(info, situation.terms, situation.clock):
        return Decision(Action.WAIT, "in the challenge window", until=info.deadline)
    return Decision(Action.FINALISE, "unchallenged", on_peer=info.replica and info.peer != 0)


def _contested(situation: Situation) -> Decision:
    info = situation.info
    if info.games:
        return Decision(Action.WAIT, "a challenge of the contested pair is being played", until=info.deadline)
    if not passed(info, situation.terms, situation.clock):
        return Decision(Action.WAIT, "contested: the two results differ", until=info.deadline)
    return Decision(Action.RESOLVE, "contested without proof", on_peer=info.replica)


_BY_STATE = {
    LeaseState.FREE: _free,
    LeaseState.LEASED: _leased,
    LeaseState.COMMITTED: _committed,
    LeaseState.CALLED: _committed,
    LeaseState.PAIRED: _paired,
    LeaseState.BOTH: _both,
    LeaseState.HALF_REVEALED: _half_revealed,
    LeaseState.REVEALED: _revealed,
    LeaseState.CONTESTED: _contested,
    LeaseState.SLASHED: _slashed,
}


@dataclass(frozen=True)
class Overdue:
    """An exit that anyone may take of somebody's lease (`on_peer`: of its replica)."""

    resolve: bool = False
    on_peer: bool = False


def overdue(info: LeaseInfo, terms: Terms, clock: Clock, grace: int) -> Overdue | None:
    """The exit from a stranger's lease that is due for `grace` seconds; None where its sides may still act.

    A linked replica is its primary's matter; one on its own that has not revealed has missed its turn.
    """
    then = Clock(clock.block, clock.timestamp - grace)
    state = info.state
    if info.replica:
        alone = info.peer == 0 and state in (LeaseState.LEASED, LeaseState.BOTH)
        return Overdue() if alone else None
    if state is LeaseState.CONTESTED:
        return Overdue(resolve=True) if passed(info, terms, then) and not info.games else None
    if state in (LeaseState.PAIRED, LeaseState.BOTH):
        if not passed(info, terms, then):
            return None
        turn = Clock(clock.block - DEADLINE_BLOCKS, then.timestamp - terms.reveal_seconds)
        return Overdue(on_peer=not passed(info, terms, turn))
    if state in (LeaseState.LEASED, LeaseState.COMMITTED, LeaseState.CALLED, LeaseState.HALF_REVEALED):
        return Overdue() if passed(info, terms, then) else None
    return None
