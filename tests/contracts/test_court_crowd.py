"""A crowd of false challengers: an honest node whose moves queue on one machine is late for none of them, keeps its
stake, and is paid for its moves. OREBIT_LONG_TESTS=1: a thousand games."""

from __future__ import annotations

import functools
import os
from collections import deque
from dataclasses import dataclass, field

from court_stage import GWEI, Accused, Courtroom, Duel, Sides
from liars import Adversary, flipped_bit
from market_steps import person
from worlds import World, wide_world

from orebit.dispute import Phase, Player, Side

LONG = os.environ.get("OREBIT_LONG_TESTS") == "1"
MOVE_TIME = 400
COST = MOVE_TIME // 4
"""Seconds that a move which executes again keeps the machine busy: no node leases where it would take longer."""
GAMES, AT_ONCE = (1_000, 128) if LONG else (40, 40)
"""The last of so many at once has a bond of 14.4 ETH, after seven doublings."""


@functools.cache
def world() -> World:
    return wide_world(3, steps=50, interval=4)


@functools.cache
def sides() -> Sides:
    return Sides(world(), flipped_bit(21, len(world().program.nodes) - 1, 0, 0), Side.CHALLENGER)


def executes(duel: Duel) -> bool:
    """Whether the defender's next move takes the machine: its checkpoints it has kept."""
    return duel.state.phase is not Phase.RESULT


@dataclass
class Crowd:
    """Games against one lease. Challengers move at once; the defender in turn, as its machine gets through."""

    courtroom: Courtroom
    accused: Accused
    opened: int = 0
    bonds: list[int] = field(default_factory=list)
    queue: deque[tuple[Duel, Player, Adversary]] = field(default_factory=deque)
    """Where the defender must execute again, in the order in which it was asked. The machine is at the first."""
    silent: deque[Duel] = field(default_factory=deque)
    longest: int = 0
    """Games that waited at once for the machine."""
    done_at: int = 0
    """When the machine is through with the first of the queue."""

    @property
    def open(self) -> int:
        return len(self.queue) + len(self.silent)

    def enter(self) -> None:
        """One more game, up to where the defender must execute something again."""
        challenger = person(f"challenger {self.opened}")
        bond = self.courtroom.bond(self.accused, challenger)
        assert bond == self.courtroom.court.gamePrice() << self.open // 16
        duel = self.courtroom.open_game_by(self.accused, challenger=challenger)
        self.bonds.append(bond)
        self.opened += 1
        self._go_on(duel, *sides().players(self.accused))

    def _go_on(self, duel: Duel, honest: Player, liar: Adversary) -> None:
        """Moves that take no time, until the machine is needed or the challenger says nothing more."""
        while duel.state.turn is Side.CHALLENGER or not executes(duel):
            if not duel.step(honest, liar, price=GWEI):
                self.silent.append(duel)
                return
        if not self.queue:
            self.done_at = self.courtroom.chain.time + COST
        self.queue.append((duel, honest, liar))
        self.longest = max(self.longest, len(self.queue))

    def execute(self) -> None:
        """What the machine is through with is sent, or as soon after as a block comes; late, it would revert."""
        duel, honest, liar = self.queue.popleft()
        self.courtroom.chain.next_time(max(self.done_at, self.courtroom.chain.time + 1))
        assert duel.step(honest, liar, price=GWEI)
        self.done_at += COST
        self._go_on(duel, honest, liar)

    @property
    def is_busy(self) -> bool:
        """Whether the machine takes longer than one more game takes to come to it."""
        return not self.queue or self.courtroom.chain.time + 8 < self.done_at

    def end_silence(self) -> None:
        """Those who have let their time pass have lost; the node says so itself."""
        chain = self.courtroom.chain
        while self.silent and (not self.queue or self.silent[0].deadline < chain.time):
            duel = self.silent.popleft()
            book = self.courtroom.court.gameOf(duel.id)
            chain.mine_to(max(chain.block, book.blockNumber + 32))
            chain.next_time(max(chain.time, book.deadline) + 1)
            receipt = duel.timeout(sender=duel.node.operator, price=GWEI)
            assert receipt.one("Dismissed").game == duel.id


def test_a_queue_of_games_neither_stops_nor_slashes_an_honest_node(courtroom: Courtroom) -> None:
    accused = courtroom.accuse(world(), sides().claimed, challengeSeconds=10**6, moveTime=MOVE_TIME)
    node, crowd = accused.lease.node, Crowd(courtroom, accused)
    stake, before = courtroom.registry.nodeOf(node.id).stake, courtroom.balance_of(node.operator)
    while crowd.opened < GAMES or crowd.open:
        while crowd.opened < GAMES and crowd.open < AT_ONCE and crowd.is_busy:
            crowd.enter()
        if crowd.queue:
            crowd.execute()
        crowd.end_silence()
    assert len(courtroom.logged("Dismissed")) == len(courtroom.logged("Opened")) == GAMES
    assert not courtroom.logged("Convicted") and crowd.longest > AT_ONCE // 2
    assert max(crowd.bonds) == min(crowd.bonds) << (AT_ONCE - 1) // 16
    assert courtroom.balance_of(node.operator) > before
    assert courtroom.registry.nodeOf(node.id).stake == stake
    courtroom.pass_deadline(accused.lease)
    assert courtroom.finalise(accused.lease).one("Finalised").paid == accused.lease.pay
