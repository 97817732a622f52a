"""Anybody does anything, in any order: whatever happens, every token and all ETH is somebody's, and counts hold.

OREBIT_TRANSITIONS=100000 is the long run: acts that are tried, in stories of sixty. Then the books are compared after
every tenth act, since that takes nine tenths of the time; what is missing once stays missing.
"""

from __future__ import annotations

import functools
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from court_stage import GWEI, Accused, Courtroom, Duel, Sides, roots_of
from evm import Reverted
from liars import Adversary, Lie, flipped_bit
from market_steps import Node, person
from worlds import World, wide_world

from orebit.commitment import merkle
from orebit.dispute import Player, Side
from orebit.dispute.moves import plain

LONG = os.environ.get("OREBIT_LONG_TESTS") == "1"
ACTS = 60
TRANSITIONS = int(os.environ.get("OREBIT_TRANSITIONS", 60 * ACTS if LONG else 3 * ACTS))
COMPARED = 10 if "OREBIT_TRANSITIONS" in os.environ else 1
"""Acts between two comparisons of the books."""
FAULTS = ("Panic", "Error", "Unknown")
"""Reverts that no contract means."""


@functools.cache
def world() -> World:
    return wide_world(3, steps=40, interval=4)


@functools.cache
def sides(liar: Side) -> Sides:
    return Sides(world(), LIE, liar)


LIE: Lie = flipped_bit(21, len(world().program.nodes) - 1, 0, 0)


@dataclass
class Machine:
    """Leases of honest nodes and of liars, games about them, and everybody's acts."""

    courtroom: Courtroom
    rng: random.Random
    leases: list[tuple[Accused, Side]] = field(default_factory=list)
    games: list[tuple[Duel, Player, Adversary]] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    refused: int = 0

    def act(self) -> None:
        acts: list[Callable[[], None]] = [
            self.lease,
            *[self.open] * 3,
            *[self.move] * 8,
            self.wait,
            *[self.time_out] * 2,
            self.claim,
            self.settle,
            self.return_bond,
            self.demand,
            self.answer,
            self.miss,
            self.pay_in,
            self.pay_out,
            self.finalise,
            self.fetch,
        ]
        act = self.rng.choice(acts)
        try:
            act()
            self.done.append(act.__name__)
        except IndexError:
            self.refused += 1  # there is no lease or no game yet
        except Reverted as refusal:
            assert refusal.name not in FAULTS, refusal
            self.refused += 1  # not now: as everybody may try anything

    @property
    def price(self) -> int:
        return self.rng.choice((0, 1, 2, 30)) * GWEI

    def node(self) -> Node:
        known = self.courtroom.nodes_known
        return self.rng.choice([known["alice"], known["bob"]])

    def lease(self) -> None:
        liar = self.rng.choice(list(Side))
        accused = self.courtroom.accuse(world(), sides(liar).claimed, node=self.node(), challengeSeconds=900)
        self.leases.append((accused, liar))

    def open(self) -> None:
        accused, liar = self.rng.choice(self.leases)
        challenger = person(f"challenger {self.rng.randrange(4)}")
        given = None
        if self.rng.random() < 0.7:
            own = sides(liar).claimed if self.rng.random() < 0.2 else roots_of(world().truth)
            given = self.courtroom.precommit(accused, own, challenger)
        value = self.courtroom.bond(accused, challenger) + self.rng.choice((0, 0, 5))
        at = self.rng.choice((None, 5))
        opener = accused.open(given) if at is None else accused.open_at(at, given)
        duel = self.courtroom.open_game_by(accused, opener, challenger, value=value, price=self.price)
        self.games.append((duel, *sides(liar).players(accused)))

    def move(self) -> None:
        duel, honest, liar = self.rng.choice(self.games)
        if duel.winner is None:
            duel.step(honest, liar, price=self.price)

    def wait(self) -> None:
        duel, _, _ = self.rng.choice(self.games)
        if duel.winner is None:
            self.courtroom.pass_move(duel)
            self.courtroom.chain.mine()

    def time_out(self) -> None:
        duel, _, _ = self.rng.choice(self.games)
        duel.timeout(price=0)
        duel.winner = duel.state.turn.other

    def claim(self) -> None:
        duel, _, _ = self.rng.choice(self.games)
        path = merkle.path(merkle.tree(roots_of(world().truth)), duel.state.checkpoint)
        hint = self.rng.choice([bytes(32), *[other.id for other, _, _ in self.games]])
        self.courtroom.court.claim(duel.id, duel.values, path, hint, sender=duel.challenger)

    def settle(self) -> None:
        accused, _ = self.rng.choice(self.leases)
        self.courtroom.court.settle(accused.lease.id, self.rng.randrange(3), sender=self.courtroom.stranger)

    def return_bond(self) -> None:
        duel, _, _ = self.rng.choice(self.games)
        self.courtroom.court.returnBond(duel.id, duel.values, sender=self.courtroom.stranger)

    def item(self) -> tuple[Accused, tuple[int, int, int, int]]:
        accused, _ = self.rng.choice(self.leases)
        kind = self.rng.randrange(2)
        return accused, (accused.lease.id, kind, accused.position * kind, 0)

    def demand(self) -> None:
        accused, item = self.item()
        sender = self.courtroom.rich(self.courtroom.stranger)
        value = self.courtroom.court.demandPriceOf(accused.lease.node.id) + self.rng.randrange(3)
        self.courtroom.court.demand(item, plain(accused.opening), sender=sender, value=value)

    def answer(self) -> None:
        accused, item = self.item()
        given = (accused.checkpoints, [], accused.result_path) if item[1] else (accused.results, [], ())
        self.courtroom.court.answerDemand(item, *given, sender=accused.lease.node.operator, price=self.price)

    def miss(self) -> None:
        _, item = self.item()
        self.courtroom.court.timeoutDemand(item, sender=self.courtroom.stranger)

    def pay_in(self) -> None:
        node = self.node()
        self.courtroom.court.deposit(node.id, sender=node.owner, value=self.courtroom.court.gamePrice())

    def pay_out(self) -> None:
        node = self.node()
        amount = self.courtroom.court.nodeOf(node.id).deposit // self.rng.choice((1, 5))
        self.courtroom.court.withdrawDeposit(node.id, amount, sender=node.operator)

    def finalise(self) -> None:
        accused, _ = self.rng.choice(self.leases)
        self.courtroom.finalise(accused.lease)

    def fetch(self) -> None:
        self.courtroom.court.withdrawCredit(self.courtroom.stranger, sender=self.courtroom.stranger)


@pytest.mark.parametrize("seed", range(-(-TRANSITIONS // ACTS)))
def test_all_money_is_somebody_s(courtroom: Courtroom, seed: int) -> None:
    machine = Machine(courtroom, random.Random(seed))
    courtroom.nodes("alice", "bob")
    machine.lease()
    for number in range(1, ACTS + 1):
        machine.act()
        if number % COMPARED == 0:
            courtroom.audit()
    print(f"acts done: {len(machine.done)}, refused: {machine.refused}")
    assert len(machine.done) > 3  # where time runs away first, nothing but new leases is left
