"""A random market: requesters, honest nodes, copiers, liars, late nodes, a judge, strangers with gifts, pauses, time.

After every act the contracts hold what the books say, to the wei. In the end nobody is stuck: once all deadlines have
passed, any stranger frees every slot, and every token that is not burnt or given away is back with somebody.

Hypothesis chooses and shrinks the seasons of a story; the acts of a season are dice from a seed of its own, or stories
would be too short to get anywhere. OREBIT_LONG_TESTS=1 tells them for minutes instead of seconds.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from books import Books
from evm import Reverted
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from market_steps import GATED, KEEP, OPEN, STAKE, WHOLE_LEASE, Batch, Lease, Node, Stage, State, Task, Terms, person

LONG = os.environ.get("OREBIT_LONG_TESTS") == "1"
PROFILE = settings(
    max_examples=400 if LONG else 20,
    stateful_step_count=12 if LONG else 5,
    deadline=None,
    derandomize=not LONG,
    suppress_health_check=list(HealthCheck),
)
ACTS_A_SEASON = 12
NODES = {"honest": STAKE, "copier": STAKE, "liar": STAKE, "late": STAKE, "poor": 10**19}
# What an act at a random moment may be refused with. Anything else, a panic above all, is a bug.
REFUSALS = {
    "AttemptOutOfRange",
    "BatchNotOpen",
    "DeadlinePassed",
    "DrawnUntil",
    "EscrowShort",
    "GrainsNotFree",
    "LotteryLost",
    "NewWorkPaused",
    "NoGameOpen",
    "NodeIsBarred",
    "NotDrawn",
    "NotGated",
    "NothingToWithdraw",
    "NothingUnbonding",
    "NotRequester",
    "OpenTask",
    "OwnReplica",
    "PeerMayAct",
    "SlotBusy",
    "StakeShort",
    "StakeTooYoung",
    "StillUnbonding",
    "TermOutOfRange",
    "TooEarly",
    "TooLate",
    "WrongState",
}
STALE = {"StaleLease", "WrongReveal", "WrongOpening", "WrongPathLength"}
CHOICES: dict[str, list[Any]] = {
    "price": [1, 7, 10**18 + 7],
    "stakeFactor": [1, 251],
    "lateBp": [100, 1003, 2000],
    "drawBp": [0, 5000, 10_000],
    "feePercent": [0, 61, 100],
    "drawDelay": [1, 3],
    "lotteryBlocks": [1, 6],
    "blockLog2": [0, 1, WHOLE_LEASE],
    "maxGrains": [1, 3],
    "flags": [0, 0, KEEP, GATED, OPEN, OPEN | GATED | KEEP],
}


def some_terms(dice: Random) -> Terms:
    terms = replace(Terms(), **{name: dice.choice(values) for name, values in CHOICES.items()})
    return replace(terms, drawBp=0, feePercent=0) if terms.flags & OPEN else terms


class MarketMachine(RuleBasedStateMachine):
    """One random story. `stage`, on which the nodes already are, is set by the test."""

    stage: Stage

    def __init__(self) -> None:
        super().__init__()
        self.snapshot = self.stage.chain.rpc("evm_snapshot")
        self.stage.gifts = {"market": 0, "registry": 0}
        self.nodes = list(self.stage.nodes_known.values())
        self.books = Books(self.stage)
        for node in self.nodes:
            self.books.on_StakeAdded(node.id, self.stage.node_info(node).stake, 0)
        self.stage.chain.observers.append(self.books.apply)
        self.tasks: list[Task] = []
        self.batches: list[Batch] = []
        self.leases: list[Lease] = []
        self.partner: dict[int, Lease] = {}

    # Seasons

    @rule(seed=st.integers(0, 2**32))
    def busy_season(self, seed: int) -> None:
        self.season(Random(seed), {self.work: 5, self.progress: 6, self.neglect: 1, self.exits: 1, self.aside: 1})

    @rule(seed=st.integers(0, 2**32))
    def careless_season(self, seed: int) -> None:
        self.season(Random(seed), {self.work: 3, self.progress: 3, self.neglect: 4, self.one_exit: 2, self.time: 1})

    @rule(seed=st.integers(0, 2**32))
    def litigious_season(self, seed: int) -> None:
        self.season(Random(seed), {self.work: 3, self.progress: 4, self.judge: 3, self.neglect: 1, self.exits: 2})

    @rule(seed=st.integers(0, 2**32))
    def wild_season(self, seed: int) -> None:
        self.season(Random(seed), {self.work: 2, self.out_of_turn: 3, self.judge: 1, self.aside: 3, self.time: 1})

    def season(self, dice: Random, weights: dict[Callable[[Random], None], int]) -> None:
        for _ in range(ACTS_A_SEASON):
            if not self.batches or dice.random() < 0.06:
                self.new_batch(dice)
            (act,) = dice.choices(list(weights), list(weights.values()))
            act(dice)
            self.books.check()
            self.books.check_reserves()

    # Acts

    def attempt(self, act: Callable[[], Any], allowed: set[str] = REFUSALS) -> Any:
        """The act's result, or None if it was refused for a known reason."""
        try:
            return act()
        except Reverted as refusal:
            assert refusal.name in allowed, refusal
            return None

    def live(self) -> list[Lease]:
        over = (State.FREE, State.SLASHED)
        return [lease for lease in self.leases if self.books.leases[lease.id].state not in over]

    def new_batch(self, dice: Random) -> None:
        if self.tasks and dice.random() < 0.5:
            task = dice.choice(self.tasks)
        else:
            requester = person(f"requester {len(self.tasks) % 2}")
            task = self.attempt(lambda: self.stage.task(some_terms(dice), requester=requester))
            self.tasks += [task] if task else []
        batch = task and self.attempt(lambda: self.stage.post(task, dice.randint(1, 4), dice.randint(1, 3)))
        self.batches += [batch] if batch else []

    def work(self, dice: Random) -> None:
        """A lease of free grains, and its first steps."""
        if not self.batches:
            return
        batch, node = dice.choice(self.batches[-3:]), dice.choice(self.nodes + self.nodes[:3])
        free = sorted(self.books.free[batch.id]) or [0]
        grains = dice.randint(1, 2)
        lease = self.attempt(lambda: self.stage.lease(batch, node, dice.choice(free), grains, dice.randrange(3)))
        if lease is None:
            return
        self.leases.append(self.corrupted(lease))
        steps = dice.randrange(6)
        if steps:
            self.step(lease, dice)
        if dice.random() < 0.6:
            self.attempt(lambda: self.stage.call(lease))
        for _ in range(1, steps):
            self.step(lease, dice)

    def corrupted(self, lease: Lease) -> Lease:
        """The liar lies always, the copier where it has nobody to copy from: in its own leases' first shard."""
        known = self.stage.nodes_known
        if lease.node.id == known["liar"].id:
            return lease.lie()
        return lease.lie(0) if lease.node.id == known["copier"].id and not lease.replica else lease

    def progress(self, dice: Random) -> None:
        for _ in range(dice.randint(1, 3)):
            if self.live():
                self.step(dice.choice(self.live()), dice)

    def step(self, lease: Lease, dice: Random) -> None:
        """The next step of a lease, at a moment when it is possible, unless its deadline has passed."""
        primary = self.partner[lease.id] if lease.replica else lease
        entry = self.books.leases[primary.id]
        replica = self.partner[primary.id] if entry.peer else None
        stage = self.stage
        if entry.state is State.LEASED and primary.batch.terms.flags & OPEN:
            self.attempt(lambda: stage.reveal(primary))
        elif entry.state is State.LEASED:
            self.attempt(lambda: stage.commit(primary))
        elif entry.state in (State.COMMITTED, State.CALLED):
            self.take_or_reveal(primary, dice)
        elif entry.state is State.PAIRED:
            self.attempt(lambda: stage.commit(replica) if replica else stage.reveal(primary))
        elif entry.state is State.BOTH:
            self.attempt(lambda: stage.reveal(replica or primary))
        elif entry.state is State.HALF_REVEALED and replica:
            self.attempt(lambda: stage.reveal_paired(primary, replica))

    def take_or_reveal(self, primary: Lease, dice: Random) -> None:
        """Whichever the draw allows, once anybody may take."""
        node = dice.choice(self.nodes)
        block = self.stage.draw_block(primary) + primary.batch.terms.lotteryBlocks // 2
        if self.stage.chain.block < block:
            self.stage.chain.mine_to(block)
        replica = self.attempt(lambda: self.stage.take(primary, node, dice.randrange(3, 6)))
        if replica:
            self.leases.append(self.corrupted(replica))
            self.partner[primary.id], self.partner[replica.id] = replica, primary
        else:
            self.attempt(lambda: self.stage.reveal(primary))

    def out_of_turn(self, dice: Random) -> None:
        """Anything, at any moment, in any state, to any life of a slot, even one that is over."""
        if not self.leases:
            return
        lease = dice.choice(self.leases)
        act = dice.choice([self.stage.commit, self.stage.reveal, self.stage.call, self.open_any_block])
        self.attempt(lambda: act(lease), REFUSALS | STALE)

    def open_any_block(self, lease: Lease) -> None:
        block_root, path = lease.opening(0)
        arguments = (lease.id, lease.root, lease.salt, block_root, path)
        self.stage.market.revealPaired(*arguments, sender=self.stage.stranger)

    def judge(self, dice: Random) -> None:
        lease = dice.choice(self.live() or self.leases or [None])
        acts = [self.stage.open_game, self.stage.open_game, self.stage.close_game, self.stage.convict]
        if lease:
            self.attempt(lambda: dice.choice(acts)(lease), REFUSALS | STALE)

    def neglect(self, dice: Random) -> None:
        """Nobody acts until one lease's deadline has passed; then a stranger tries the exits."""
        if self.live():
            self.stage.pass_deadline(dice.choice(self.live()), turn=dice.random() < 0.3)
            dice.choice([self.exits, self.one_exit, self.progress])(dice)

    def exits(self, _: Random) -> None:
        for leave in (self.stage.expire, self.stage.resolve, self.stage.finalise):
            leave(*self.leases)

    def one_exit(self, dice: Random) -> None:
        leave = dice.choice([self.stage.expire, self.stage.resolve, self.stage.finalise])
        leave(*dice.sample(self.leases, min(2, len(self.leases))))

    def aside(self, dice: Random) -> None:
        """What else people do."""
        acts = [
            self.close,
            self.withdraw_escrow,
            self.bar,
            self.withdraw,
            self.restake,
            self.restake,
            self.gift,
            self.pause,
        ]
        dice.choice(acts)(dice)

    def close(self, dice: Random) -> None:
        self.attempt(lambda: self.stage.close(dice.choice(self.batches)))

    def withdraw_escrow(self, dice: Random) -> None:
        task, amount = dice.choice(self.tasks), dice.choice([0, 1, 10**18])
        self.attempt(lambda: self.stage.market.withdrawEscrow(task.id, amount, task.requester, sender=task.requester))

    def bar(self, dice: Random) -> None:
        task, node, barred = dice.choice(self.tasks), dice.choice(self.nodes), dice.random() < 0.5
        self.attempt(lambda: self.stage.market.bar(task.id, node.id, barred, sender=task.requester))

    def withdraw(self, dice: Random) -> None:
        node = dice.choice(self.nodes)
        self.attempt(lambda: self.stage.market.withdraw(node.id, sender=self.stage.stranger))

    def restake(self, dice: Random) -> None:
        node, amount, registry = dice.choice(self.nodes), dice.choice([1, 10**18]), self.stage.registry
        self.stage.fund(node.owner, amount, registry)
        acts = [
            lambda: registry.unbond(node.id, amount, sender=node.owner),
            lambda: registry.addStake(node.id, amount, sender=node.owner),
            lambda: registry.cancelUnbond(node.id, sender=node.owner),
            lambda: registry.withdrawStake(node.id, sender=self.stage.stranger),
        ]
        self.attempt(dice.choice(acts))

    def gift(self, dice: Random) -> None:
        self.stage.give(dice.choice(["market", "registry"]), dice.choice([1, 10**18]))

    def pause(self, dice: Random) -> None:
        """For a while, in which nothing new begins."""
        self.stage.market.setPaused(True, sender=self.stage.guardian)
        for act in (self.work, self.progress, self.progress):
            act(dice)
        self.stage.market.setPaused(False, sender=self.stage.guardian)

    def time(self, dice: Random) -> None:
        """Passes by the clock alone, or in blocks alone: neither ends a deadline."""
        if dice.random() < 0.5:
            self.stage.chain.jump(dice.choice([60, 1000]))
        else:
            self.stage.chain.mine(dice.choice([5, 33, 70]))

    # In the end

    def teardown(self) -> None:
        try:
            self.nobody_is_stuck()
        finally:
            self.stage.chain.observers.clear()
            self.stage.chain.revert(self.snapshot)

    def nobody_is_stuck(self) -> None:
        """With the market paused for ever, requesters take their refunds, and strangers use the exits."""
        stage = self.stage
        stage.market.setPaused(True, sender=stage.guardian)
        for batch in self.batches:
            self.attempt(lambda batch=batch: stage.close(batch))
        for lease in self.live():
            for _ in range(stage.info(lease).games):
                stage.close_game(lease)
        for _ in range(2):
            stage.chain.mine(70)
            stage.chain.jump(1_000_000)
            self.exits(Random(0))
        assert not self.live() and all(map(stage.free_slot, self.leases))
        assert {info.unsettled for info in stage.market.batchOf.each(stage.batches)} <= {0}
        assert not any(stage.reserves().values())
        for task in self.tasks:
            stage.market.withdrawEscrow(task.id, stage.escrow(task), task.requester, sender=task.requester)
        for node in self.nodes:
            self.everything_back(node)
        self.books.check()
        assert stage.token.balanceOf(stage.market.address) == stage.gifts["market"]
        assert stage.token.balanceOf(stage.registry.address) == stage.gifts["registry"]

    def everything_back(self, node: Node) -> None:
        stage = self.stage
        self.attempt(lambda: stage.market.withdraw(node.id, sender=stage.stranger))
        stage.registry.unbond(node.id, stage.node_info(node).stake, sender=node.owner)
        stage.chain.jump(stage.registry.unbondingSeconds())
        self.attempt(lambda: stage.registry.withdrawStake(node.id, sender=stage.stranger))
        info = stage.node_info(node)
        assert (info.stake, info.locked, info.unbonding, stage.balance(node)) == (0, 0, 0, 0)


def test_market_machine(stage: Stage) -> None:
    for name, amount in NODES.items():
        stage.node(name, amount)
    MarketMachine.stage = stage
    run_state_machine_as_test(MarketMachine, settings=PROFILE)
    stage.gifts = {"market": 0, "registry": 0}
