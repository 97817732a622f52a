"""The stage of `make demo-fraud`: one network, its requester, a task for every cheat, and each move told in words."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from local_network import ORE, LocalNetwork
from orebit.chain import court_events, events
from orebit.chain.connection import Connection
from orebit.chain.court import Court
from orebit.chain.market import Market
from orebit.chain.reader import EventReader
from orebit.chain.sender import Sender
from orebit.chain.token import Token, format_amount
from orebit.chain.types import FLAG_GATED, LeaseId, Terms
from orebit.dispute import Phase, Side, describe, parse_state
from orebit.program.graph import Program
from orebit.store import LocalStore, Plan

HONEST = "ada"
ACCUSER = "false-accuser"
PATIENCE = 150.0

TERMS = Terms(
    price=ORE,
    compute_seconds=40,
    reveal_seconds=20,
    challenge_seconds=20,
    stake_factor=600,
    late_bp=500,
    draw_bp=0,
    fee_percent=0,
    draw_delay=1,
    lottery_blocks=1,
    block_log2=0,
    watcher="0x0000000000000000000000000000000000000000",
    move_time=2,
    max_grains=1,
    flags=FLAG_GATED,
    reveal_depth=0,
)
_SPOKEN = {
    Phase.RESULT: "challenges the result:",
    Phase.PICKED: "challenges an interval:",
    Phase.CHECKPOINTS: "shows checkpoints of",
    Phase.STATES: "shows its states in",
    Phase.TRACE: "shows every value's hash of",
    Phase.NODES: "shows hashes of",
    Phase.NEW_STATE: "shows hashes of",
    Phase.TENSOR: "shows a tensor's hashes:",
    Phase.LEAF: "shows the bytes of",
    Phase.ELEMENT: "names a number as false:",
    Phase.PARTIALS: "splits the sum of",
    Phase.READS: "shows what was read for",
}

console = Console()


@dataclass
class Trial:
    """One kind of cheat: its task, and what came of it."""

    kind: str
    began: float
    task: int
    batch: int
    node: int = 0
    game: bytes = b""
    phase: Phase | None = None
    leases: set[LeaseId] = field(default_factory=set)
    transactions: set[bytes] = field(default_factory=set)
    moves: int = 0
    slashed: bool = False
    dismissed: bool = False
    paid: bool = False
    settled: bool = False
    right: bool = False
    unbarred: bool = False
    seconds: float = 0.0

    def judge(self, *, slashed: bool) -> None:
        self.slashed |= slashed
        self.dismissed |= not slashed
        self.seconds = self.seconds or time.monotonic() - self.began

    @property
    def judged(self) -> bool:
        return self.dismissed if self.kind == ACCUSER else self.slashed

    @property
    def over(self) -> bool:
        """Nothing more is to come: work done rightly, prover paid."""
        return self.judged and self.settled and (self.paid or self.kind in ("withheld", ACCUSER))


@dataclass
class Stage:
    """The network, the requester in this process, and the trials so far."""

    network: LocalNetwork
    connection: Connection
    sender: Sender
    store: LocalStore
    url: str
    plan: Plan
    program: Program
    expected: bytes
    nodes: dict[str, int] = field(default_factory=dict)
    trials: list[Trial] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.market, self.token, self.court = Market(self.connection), Token(self.connection), Court(self.connection)
        self._reader = EventReader(self.connection, self.network.folder / "events.sqlite", name="demo")
        for member in self.network.members.values():
            self.names[member.address] = member.name

    # The requester

    async def offer(self, kind: str) -> Trial:
        """A task of one shard, which only the cheat may lease; in the accuser's trial only the honest node."""
        amount = 10 * ORE
        await self._send(self.token.address, self.token.encode_approve(self.market.address, amount), "approve")
        receipt = await self._send(self.market.address, self.market.encode_create(TERMS, self.url, amount), "create")
        task = next(event.task for event in receipt.events if isinstance(event, events.TaskCreated))
        barred = [node for name, node in self.nodes.items() if name != (HONEST if kind == ACCUSER else kind)]
        calls = [self.market.encode_bar(task, node, True) for node in barred]
        calls.append(self.market.encode_post(task, self.plan.root, 1, 1))
        receipt = await self.sender.multicall(calls, must=(1 << len(calls)) - 1, label="bar and post")
        batch = next(event.batch for event in receipt.events if isinstance(event, events.BatchPosted))
        trial = Trial(kind, time.monotonic(), task, batch)
        self.trials.append(trial)
        return trial

    async def _send(self, to: str, calldata: bytes, label: str) -> Any:
        return await self.sender.send(to, calldata, label=label)

    # Watching

    async def follow(self, until: Callable[[], bool]) -> None:
        """Tells events until the condition holds. Raises RuntimeError when it does not in time."""
        deadline = time.monotonic() + PATIENCE
        while not until():
            if time.monotonic() > deadline:
                waiting = [trial.kind for trial in self.trials if not trial.over]
                raise RuntimeError(f"Nothing came of {', '.join(waiting)} in {PATIENCE:.0f} seconds.")
            delivery = await self._reader.poll()
            if delivery is None:
                await asyncio.sleep(0.1)
                continue
            for event in delivery.events:
                await self._take(event)
            self._reader.acknowledge(delivery)

    async def _take(self, event: events.Event) -> None:
        trial = self._trial_of(event)
        if trial is None:
            return
        if isinstance(event, court_events.CourtEvent):
            trial.transactions.add(event.place.transaction)
        if isinstance(event, court_events.Moved):
            self._tell_move(trial, event)
        elif isinstance(event, court_events.Convicted):
            trial.judge(slashed=True)
            trial.moves += trial.phase is Phase.READS  # the refutation posts nothing
            self._say(trial, "the court", "convicts: the stake is slashed")
        elif isinstance(event, court_events.Dismissed):
            trial.judge(slashed=False)
            self._say(trial, "the court", f"dismisses: {format_amount(event.burnt)} ETH of the bond are burnt")
        elif isinstance(event, court_events.BountyPaid):
            trial.paid = True
            self._say(trial, self._name(event.to), f"is paid {format_amount(event.amount)} TokenAI for the proof")
        elif isinstance(event, court_events.Demanded):
            self._say(trial, "an auditor", "demands the commitments on the chain")
        elif isinstance(event, court_events.DemandMissed):
            self._say(trial, "the node", "has not shown them")
        elif isinstance(event, events.Leased):
            trial.leases.add(event.lease)
        elif isinstance(event, events.Finalised):
            trial.right = event.root == self.expected
            self._say(trial, "the market", f"pays for the shard: the result is {'right' if trial.right else 'WRONG'}")
        elif isinstance(event, events.BatchSettled):
            trial.settled = True
        await self._give_to_honest(trial)

    async def _give_to_honest(self, trial: Trial) -> None:
        """After a slash the shard is free again, and the honest node may have it."""
        if trial.slashed and not trial.unbarred:
            trial.unbarred = True
            await self._send(
                self.market.address, self.market.encode_bar(trial.task, self.nodes[HONEST], False), "unbar"
            )

    def _trial_of(self, event: events.Event) -> Trial | None:
        lease = getattr(event, "lease", None)
        for trial in self.trials:
            if getattr(event, "batch", None) == trial.batch:
                return trial
            if lease in trial.leases or (trial.game and getattr(event, "game", None) == trial.game):
                if isinstance(event, court_events.Opened):
                    trial.game = event.game
                return trial
        if isinstance(event, court_events.DemandAnswered | court_events.DemandMissed):
            return next((trial for trial in self.trials if trial.kind == "withheld"), None)
        return None

    def _tell_move(self, trial: Trial, event: court_events.Moved) -> None:
        trial.moves += 1
        state = parse_state(event.state)
        trial.phase = state.phase
        accuser = state.turn is Side.DEFENDER or state.phase is Phase.PICKED
        mover = "the accuser" if accuser else "the node"
        self._say(trial, mover, f"{_SPOKEN[state.phase]:28} {describe(state, self.program)}")

    def _say(self, trial: Trial, who: str, what: str) -> None:
        console.print(
            f"{trial.kind:18} {time.monotonic() - trial.began:5.1f} s  {who:14} {what}", highlight=False, soft_wrap=True
        )

    def _name(self, address: str) -> str:
        return self.names.get(address, address)
