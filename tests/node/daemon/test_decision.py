"""MARKET.md's state table, row by row: what a node does about each of its leases."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orebit.chain.types import FLAG_OPEN, LeaseId, LeaseInfo, LeaseState, Terms
from orebit.daemon.decision import Action, Clock, Decision, Draw, Overdue, Situation, decide, overdue

BLOCK, DEADLINE = 100, 1_000
PEER = LeaseId.of(7, 0, 1)
TERMS = Terms(
    price=10**18,
    compute_seconds=20,
    reveal_seconds=20,
    challenge_seconds=28,
    stake_factor=200,
    late_bp=500,
    draw_bp=5_000,
    fee_percent=100,
    draw_delay=2,
    lottery_blocks=16,
    block_log2=0,
    watcher="0x0000000000000000000000000000000000000000",
    move_time=2,
    max_grains=4,
    flags=0,
    reveal_depth=0,
)
OPEN_TERMS = replace(TERMS, flags=FLAG_OPEN)
DRAW_AT = BLOCK + TERMS.draw_delay
LATE = Clock(BLOCK + 1_000, DEADLINE + 1)
IN_TIME = Clock(BLOCK + 1, DEADLINE - 10)


def lease(state: LeaseState, *, replica: bool = False, paired: bool = False, games: int = 0) -> LeaseInfo:
    return LeaseInfo(
        state=state,
        replica=replica,
        batch=1,
        first=0,
        grains=1,
        first_shard=0,
        shards=1,
        block_number=BLOCK,
        deadline=DEADLINE,
        games=games,
        peer=PEER if paired else LeaseId(0),
        drawn_block=0,
        root=bytes(32),
        stake=10**18,
        move_time=2,
        plan_root=bytes(32),
    )


def act(info: LeaseInfo, clock: Clock = IN_TIME, **facts: object) -> Decision:
    situation = Situation(info, TERMS, clock, computed=True)
    return decide(replace(situation, **facts))  # type: ignore[arg-type]  # facts name fields


class TestLeased:
    def test_computes_first(self) -> None:
        assert act(lease(LeaseState.LEASED), computed=False).action is Action.COMPUTE

    def test_commits_what_it_computed(self) -> None:
        decision = act(lease(LeaseState.LEASED))
        assert (decision.action, decision.until) == (Action.COMMIT, DEADLINE)

    def test_an_open_task_is_revealed_at_once(self) -> None:
        assert act(lease(LeaseState.LEASED), terms=OPEN_TERMS).action is Action.REVEAL

    def test_expires_itself_when_late(self) -> None:
        assert act(lease(LeaseState.LEASED), LATE, computed=False).action is Action.EXPIRE

    @pytest.mark.parametrize("clock", [Clock(BLOCK + 1_000, DEADLINE), Clock(BLOCK + 32, DEADLINE + 500)])
    def test_is_late_only_by_time_and_blocks_both(self, clock: Clock) -> None:
        assert act(lease(LeaseState.LEASED), clock).action is Action.COMMIT


class TestCommitted:
    def at(self, block: int, draw: Draw, state: LeaseState = LeaseState.COMMITTED, **facts: object) -> Action:
        return act(lease(state), Clock(block, DEADLINE - 10), draw=draw, **facts).action

    def test_waits_for_the_draw(self) -> None:
        assert self.at(DRAW_AT, Draw.OPEN) is Action.WAIT

    def test_never_reveals_in_the_draw_block_itself(self) -> None:
        assert self.at(DRAW_AT, Draw.MISSED) is Action.WAIT

    def test_reveals_what_was_not_drawn(self) -> None:
        assert self.at(DRAW_AT + 1, Draw.MISSED) is Action.REVEAL

    def test_waits_until_the_draw_is_deep_enough(self) -> None:
        assert self.at(DRAW_AT + 4, Draw.MISSED, confirmations=5) is Action.WAIT
        assert self.at(DRAW_AT + 5, Draw.MISSED, confirmations=5) is Action.REVEAL

    @pytest.mark.parametrize("block", range(DRAW_AT + 1, DRAW_AT + TERMS.lottery_blocks + 1))
    def test_never_reveals_a_drawn_lease_before_the_lottery_is_over(self, block: int) -> None:
        assert self.at(block, Draw.HIT) is Action.WAIT

    def test_a_call_is_a_draw(self) -> None:
        assert self.at(DRAW_AT + 1, Draw.MISSED, LeaseState.CALLED) is Action.WAIT

    @pytest.mark.parametrize("state", [LeaseState.COMMITTED, LeaseState.CALLED])
    def test_reveals_alone_when_nobody_took_it(self, state: LeaseState) -> None:
        assert self.at(DRAW_AT + TERMS.lottery_blocks + 1, Draw.HIT, state) is Action.REVEAL

    def test_computes_again_when_the_root_is_lost(self) -> None:
        assert self.at(DRAW_AT + 1, Draw.MISSED, computed=False) is Action.COMPUTE

    def test_its_deadline_counts_blocks_from_the_lotterys_end(self) -> None:
        last = DRAW_AT + TERMS.lottery_blocks + 32
        late = DEADLINE + 1
        assert act(lease(LeaseState.COMMITTED), Clock(last, late)).action is Action.REVEAL
        assert act(lease(LeaseState.COMMITTED), Clock(last + 1, late)).action is Action.EXPIRE


class TestPair:
    def test_a_replica_computes_and_commits(self) -> None:
        info = lease(LeaseState.PAIRED, replica=True, paired=True)
        assert act(info, computed=False).action is Action.COMPUTE
        assert act(info).action is Action.COMMIT
        assert act(info, LATE).action is Action.EXPIRE

    @pytest.mark.parametrize("state", [LeaseState.PAIRED, LeaseState.BOTH])
    def test_a_primary_waits_for_its_replica(self, state: LeaseState) -> None:
        assert act(lease(state, paired=True)).action is Action.WAIT

    @pytest.mark.parametrize("state", [LeaseState.PAIRED, LeaseState.BOTH])
    def test_a_deserted_primary_reveals_alone_in_its_own_turn(self, state: LeaseState) -> None:
        info = lease(state, paired=True)
        turn = DEADLINE + TERMS.reveal_seconds
        assert act(info, Clock(BLOCK + 33, DEADLINE + 1)).action is Action.REVEAL
        assert act(info, Clock(BLOCK + 33, turn + 1)).action is Action.REVEAL
        assert act(info, Clock(BLOCK + 65, turn)).action is Action.REVEAL
        assert act(info, Clock(BLOCK + 65, turn + 1)).action is Action.EXPIRE

    @pytest.mark.parametrize("state", [LeaseState.LEASED, LeaseState.BOTH])
    def test_a_replica_left_alone_has_missed_its_turn(self, state: LeaseState) -> None:
        assert act(lease(state, replica=True)).action is Action.EXPIRE

    def test_the_replica_reveals_first(self) -> None:
        assert act(lease(LeaseState.BOTH, replica=True, paired=True)).action is Action.REVEAL

    def test_then_the_primary_opens_its_block(self) -> None:
        assert act(lease(LeaseState.HALF_REVEALED, paired=True)).action is Action.REVEAL_PAIRED
        assert act(lease(LeaseState.HALF_REVEALED, replica=True, paired=True)).action is Action.WAIT

    def test_a_replica_ends_a_primary_that_does_not_open(self) -> None:
        decision = act(lease(LeaseState.HALF_REVEALED, replica=True, paired=True), LATE)
        assert (decision.action, decision.on_peer) == (Action.EXPIRE, True)


class TestEnds:
    def test_waits_for_the_window_and_for_games(self) -> None:
        assert act(lease(LeaseState.REVEALED)).action is Action.WAIT
        assert act(lease(LeaseState.REVEALED, games=1), LATE).action is Action.WAIT

    def test_finalises(self) -> None:
        assert act(lease(LeaseState.REVEALED), LATE) == Decision(Action.FINALISE, "unchallenged")

    def test_a_paired_replica_finalises_its_primary(self) -> None:
        decision = act(lease(LeaseState.REVEALED, replica=True, paired=True), LATE)
        assert (decision.action, decision.on_peer) == (Action.FINALISE, True)

    def test_a_contest_is_resolved_only_after_its_window_and_games(self) -> None:
        assert act(lease(LeaseState.CONTESTED, paired=True)).action is Action.WAIT
        assert act(lease(LeaseState.CONTESTED, paired=True, games=1), LATE).action is Action.WAIT
        assert act(lease(LeaseState.CONTESTED, paired=True), LATE).action is Action.RESOLVE
        assert act(lease(LeaseState.CONTESTED, replica=True, paired=True), LATE).on_peer

    def test_a_slash_halts(self) -> None:
        assert act(lease(LeaseState.SLASHED)).action is Action.HALT

    def test_a_freed_lease_is_closed(self) -> None:
        assert act(lease(LeaseState.FREE)).action is Action.CLOSE


def test_every_state_has_a_decision() -> None:
    for state in LeaseState:
        for replica in (False, True):
            for clock in (IN_TIME, LATE):
                assert act(lease(state, replica=replica, paired=True), clock).reason


class TestOverdue:
    """What anyone may end of a stranger's lease, after the grace."""

    GRACE = 30

    def due(self, info: LeaseInfo, timestamp: int, block: int = BLOCK + 1_000) -> Overdue | None:
        return overdue(info, TERMS, Clock(block, timestamp), self.GRACE)

    @pytest.mark.parametrize(
        "state", [LeaseState.LEASED, LeaseState.COMMITTED, LeaseState.CALLED, LeaseState.HALF_REVEALED]
    )
    def test_a_late_side_is_expired_once_the_grace_is_over(self, state: LeaseState) -> None:
        assert self.due(lease(state), DEADLINE + self.GRACE) is None
        assert self.due(lease(state), DEADLINE + self.GRACE + 1) == Overdue()

    @pytest.mark.parametrize("state", [LeaseState.PAIRED, LeaseState.BOTH])
    def test_of_a_pair_first_the_replica_then_both(self, state: LeaseState) -> None:
        info = lease(state, paired=True)
        late = DEADLINE + self.GRACE
        turn = late + TERMS.reveal_seconds
        assert self.due(info, late) is None
        assert self.due(info, late + 1) == Overdue(on_peer=True)
        assert self.due(info, turn) == Overdue(on_peer=True)
        assert self.due(info, turn + 1) == Overdue()
        assert self.due(info, turn + 1, BLOCK + 64) == Overdue(on_peer=True)

    def test_a_contest_is_resolved_unless_a_game_is_open(self) -> None:
        late = DEADLINE + self.GRACE + 1
        assert self.due(lease(LeaseState.CONTESTED, paired=True), late) == Overdue(resolve=True)
        assert self.due(lease(LeaseState.CONTESTED, paired=True, games=1), late) is None

    @pytest.mark.parametrize("state", [LeaseState.LEASED, LeaseState.BOTH])
    def test_a_replica_left_alone_is_expired_and_a_linked_one_is_not(self, state: LeaseState) -> None:
        assert self.due(lease(state, replica=True), DEADLINE) == Overdue()
        assert self.due(lease(LeaseState.REVEALED, replica=True), DEADLINE + 10_000) is None
        linked = lease(LeaseState.PAIRED, replica=True, paired=True)
        assert self.due(linked, DEADLINE + 10_000) is None

    @pytest.mark.parametrize("state", [LeaseState.FREE, LeaseState.REVEALED, LeaseState.SLASHED])
    def test_what_costs_nobody_is_left_to_its_owner(self, state: LeaseState) -> None:
        assert self.due(lease(state), DEADLINE + 10_000) is None
