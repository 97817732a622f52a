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
    `peer`: the pair's other side as the chain has it, None without one.
    """

    info: LeaseInfo
    terms: Terms
    clock: Clock
    computed: bool
    draw: Draw = Draw.OPEN
    confirmations: int = 0
    peer: LeaseInfo | None = None


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
    return _paired_replica(situation) if situation.info.replica else _paired_primary(situation)


def _paired_replica(situation: Situation) -> Decision:
    info = situation.info
    if passed(info, situation.terms, situation.clock):
        return Decision(Action.EXPIRE, "the time to commit the replica is over")
    if not situation.computed:
        return Decision(Action.COMPUTE, "re-executing the drawn block", until=info.deadline)
    return Decision(Action.COMMIT, "re-executed", until=info.deadline)


def _paired_primary(situation: Situation) -> Decision:
    info = situation.info
    if not _peer_is_late(situation):
        return Decision(Action.WAIT, "a replica is re-executing the drawn block", until=info.deadline)
    return _reveal_deserted(situation, "its replica did not commit")


def _both(situation: Situation) -> Decision:
    info = situation.info
    if info.replica:
        if passed(info, situation.terms, situation.clock):
            return Decision(Action.EXPIRE, "the time to reveal the replica is over")
        if not situation.computed:
            return Decision(Action.COMPUTE, "re-executing again what was committed", until=info.deadline)
        return Decision(Action.REVEAL, "both have committed", until=info.deadline)
    if _peer_is_late(situation):
        return _reveal_deserted(situation, "its replica did not reveal")
    return Decision(Action.WAIT, "waiting for the replica's reveal", until=info.deadline)


def _reveal_deserted(situation: Situation, why: str) -> Decision:
    info = situation.info
    if passed(info, situation.terms, situation.clock) and info.peer == 0:
        return Decision(Action.EXPIRE, f"{why}, and the time to reveal alone is over")
    if not situation.computed:
        return Decision(Action.COMPUTE, "computing again what was committed", until=info.deadline)
    return Decision(Action.REVEAL, why, until=info.deadline)


def _peer_is_late(situation: Situation) -> bool:
    peer = situation.peer
    return peer is None or passed(peer, situation.terms, situation.clock)


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
