"""The court in place of the witnesses' judge: leases of real runs, games against them, and both sides' players.

The players, the runs and the liars are those of `orebit.dispute` and its tests; its rules run beside the contract, and
after every move both must have the same state.
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import rlp
from eth_abi import encode
from eth_utils import keccak, to_checksum_address
from evm import Chain, Contract, Receipt
from market_steps import OPEN, Batch, Lease, Node, Stage, Task, person

sys.path += [str(Path(__file__).parents[1] / "node" / part) for part in ("dispute", "executor")]

from liars import Adversary, Lie, LyingEvidence  # noqa: E402  # found by the path above
from worlds import World  # noqa: E402  # the same

from orebit.commitment import ListKind, ShardResult, list_root, merkle  # noqa: E402  # sorted with the above
from orebit.dispute import (  # noqa: E402
    Evidence,
    Game,
    GameState,
    Phase,
    Player,
    Precommitment,
    Side,
    open_interval,
    pack_state,
    parse_state,
)
from orebit.dispute.moves import Move, Open, Opener, Opening, arguments  # noqa: E402
from orebit.dispute.rules import Case  # noqa: E402

GWEI = 10**9
CAP = 20 * GWEI
RICH = 10**24
# The libraries that are linked into each contract, before it.
LINKED = {
    "TaskMarket": ["Exits"],
    "DisputeCourt": ["Openings", "Walk", "Element", "Defences", "Claims", "Demands"],
}
Artifact = Callable[[str], tuple[list[dict[str, Any]], str]]
"""ABI and creation code of a contract by its name, unlinked."""


def deploy_court(chain: Chain, artifact: Artifact) -> dict[str, Contract]:
    """Everything with the court as judge; each contract is told the others' addresses before they exist."""
    deployer = person("deployer of the court")
    nonce = int(chain.rpc("eth_getTransactionCount", deployer, "latest"), 16)
    names = ["NodeEvaluator", "ProgramValidity", "TokenAI", *LINKED["TaskMarket"], *LINKED["DisputeCourt"]]
    names += ["NodeRegistry", "TaskMarket", "DisputeCourt"]
    at = {name: created(deployer, nonce + place) for place, name in enumerate(names)}
    court, market, registry, token = (at[n] for n in ("DisputeCourt", "TaskMarket", "NodeRegistry", "TokenAI"))
    given: dict[str, tuple[list[str], list[Any]]] = {
        "TokenAI": (["address"], [deployer]),
        "NodeRegistry": (["address", "address", "address", "uint40"], [token, market, court, 10]),
        "TaskMarket": (
            ["address", "address", "address", "address", "(uint24,uint24,bool,bool)"],
            [token, registry, court, deployer, (1, 86_400, False, False)],
        ),
        "DisputeCourt": (
            ["address"] * 5 + ["uint96"],
            [token, registry, market, at["NodeEvaluator"], at["ProgramValidity"], CAP],
        ),
    }
    contracts = {}
    for name in names:
        abi, code = artifact(name)
        for marker in set(re.findall("_{1,}[^_]*_{1,}", code)):
            code = code.replace(marker, at[marker.strip("_")][2:].lower())
        receipt = chain.send(deployer, None, bytes.fromhex(code) + encode(*given.get(name, ([], []))), 30_000_000)
        assert receipt["status"] == "0x1" and to_checksum_address(receipt["contractAddress"]) == at[name], name
        contracts[name] = Contract(chain, at[name], abi)
    return contracts


def created(sender: str, nonce: int) -> str:
    """The address of what the sender creates at that nonce."""
    return str(to_checksum_address(keccak(rlp.encode([bytes.fromhex(sender[2:]), nonce]))[-20:]))


@dataclass
class Accused:
    """One shard of a revealed lease: what its plan binds, and what its node claims of it."""

    world: World
    lease: Lease
    plan: list[bytes]
    position: int
    checkpoints: list[bytes]
    log2: int | None = None
    """Of a replica: levels of its block's tree."""

    @property
    def first(self) -> int:
        """The lease's first shard in its batch's plan."""
        skipped = 0 if self.lease.block is None else self.lease.block << self.lease.log2
        return self.lease.first * self.lease.batch.size + skipped

    @property
    def results(self) -> list[bytes]:
        """The results under the lease's own root."""
        if self.log2 is None:
            return self.lease.results
        assert self.lease.block is not None
        start = self.lease.block << self.log2
        return self.lease.results[start : start + (1 << self.log2)]

    @property
    def result_path(self) -> tuple[bytes, ...]:
        """From the shard's result hash up to the lease's root."""
        path = merkle.path(merkle.tree(self.results), self.position)
        return tuple(path + [merkle.EMPTY] * ((self.log2 or 0) - len(path)))

    @property
    def opening(self) -> Opening:
        path = tuple(merkle.path(merkle.tree(self.plan), self.first + self.position))
        return Opening(self.lease.id, self.position, self.world.shard, path)

    @property
    def case(self) -> Case:
        return Case(
            lease=self.lease.id,
            root=self.lease.root,
            shards=len(self.results),
            plan_root=list_root(ListKind.PLAN, self.plan),
            plan_count=len(self.plan),
            first_shard=self.first,
            move_time=self.lease.batch.terms.moveTime,
            block_log2=self.log2,
        )

    def open(self, precommitment: Precommitment | None = None) -> Open:
        return Open(self.opening, precommitment or Precommitment())

    def open_at(self, checkpoint: int, precommitment: Precommitment | None = None) -> Opener:
        given = precommitment or Precommitment()
        return open_interval(self.opening, given, self.checkpoints, checkpoint, self.result_path)


class Courtroom(Stage):
    """A stage whose judge is the court."""

    def __init__(self, chain: Chain, contracts: dict[str, Contract]) -> None:
        named = {
            "token": contracts["TokenAI"],
            "registry": contracts["NodeRegistry"],
            "market": contracts["TaskMarket"],
            "arbiter": contracts["DisputeCourt"],
        }
        deployer = person("deployer of the court")
        super().__init__(chain, named, treasury=deployer, guardian=deployer)
        self.court = contracts["DisputeCourt"]
        self.challenger = person("challenger")

    def rich(self, who: str) -> str:
        """Gives somebody ETH."""
        self.chain.rpc("anvil_setBalance", who, hex(RICH))
        return who

    def balance_of(self, who: Any) -> int:
        """Wei of ETH."""
        return int(self.chain.rpc("eth_getBalance", getattr(who, "address", who), "latest"), 16)

    def node(self, name: str, stake: int = 10**22, deposit: int | None = None) -> Node:
        node = super().node(name, stake)
        self.rich(node.owner)
        self.rich(node.operator)
        amount = self.court.floorOf(node.id) if deposit is None else deposit
        if amount:
            self.court.deposit(node.id, sender=node.owner, value=amount)
        return node

    # Books

    def audit(self) -> None:
        """Beside the market's tokens: the court holds the bounties that are unpaid, and of ETH exactly what it owes."""
        super().audit()
        court = self.court
        convicted = {event.fields["lease"] for event in self.logged("Convicted")}
        owed = sum(info.bounty for info in court.convictionOf.each(convicted))
        assert self.token.balanceOf(court.address) == owed
        nodes = court.nodeOf.each(range(1, self.registry.nodeCount() + 1))
        held = sum(node.deposit for node in nodes)
        held += sum(book.bond for book in court.gameOf.each({event.fields["game"] for event in self.logged("Opened")}))
        demands = {event.fields["demand"] for event in self.logged("Demanded")}
        held += sum(book.prepaid for book in court.demandOf.each(demands))
        held += sum(court.creditOf.each({event.fields["to"] for event in self.logged("Credited")}))
        assert self.balance_of(court) == held
        assert sum(node.games for node in nodes) == self.open_games()

    def open_games(self) -> int:
        """Games that neither ended nor were ended by a conviction."""
        convicted = {event.fields["lease"] for event in self.logged("Convicted")}
        leases = [[event.fields["lease"] for event in self.logged(name)] for name in ("Opened", "Dismissed")]
        opened, dismissed = ([lease for lease in each if lease not in convicted] for each in leases)
        return len(opened) - len(dismissed)

    def logged(self, name: str) -> list[Any]:
        """The court's events of that name."""
        topics = [topic for topic, entry in self.chain.logs.items() if entry["name"] == name]
        query = {"address": self.court.address, "fromBlock": "0x0", "topics": [topics]}
        return [self.chain.event(log) for log in self.chain.rpc("eth_getLogs", query)]

    # Leases

    def plan_batch(self, plan: Sequence[bytes], size: int, **terms: Any) -> Batch:
        """A batch over these shards' ids."""
        task: Task = self.task(**({"flags": OPEN, "feePercent": 0} | terms))
        root = list_root(ListKind.PLAN, plan)
        self.market.post(task.id, root, len(plan) // size, size, sender=task.requester)
        return Batch(self.market.batchCount(), task, len(plan) // size, size)

    def accuse(
        self,
        world: World,
        checkpoints: Sequence[bytes] | None = None,
        *,
        node: Node | None = None,
        position: int = 1,
        size: int = 3,
        first: int = 1,
        result: bytes | None = None,
        **terms: Any,
    ) -> Accused:
        """A revealed lease of one grain in a batch of three, whose node claims these checkpoints, or that result, of
        one shard. Without the flag of an open task it is committed only."""
        claimed = list(roots_of(world.truth) if checkpoints is None else checkpoints)
        rng = random.Random(repr((world.seed, position)))
        plan = [rng.randbytes(32) for _ in range(3 * size)]
        plan[first * size + position] = world.shard.id
        batch = self.plan_batch(plan, size, **terms)
        node = node or self.nodes_known.get("alice") or self.node("alice")
        slot = next(slot for slot in range(256) if self.market.slotOf(node.id, slot)[1])
        lease = self.lease(batch, node, first, 1, slot)
        lease.results[position] = result_of(world, claimed) if result is None else result
        lease.root = lease.honest_root
        if batch.terms.flags & OPEN:
            self.market.reveal(lease.id, lease.root, bytes(32), sender=lease.node.operator)
        else:
            self.commit(lease)
        return Accused(world, lease, plan, position, claimed)

    def accuse_pair(self, world: World, lie: Sequence[bytes], liar: str, **terms: Any) -> dict[str, Accused]:
        """A contested pair, `primary` and `replica`, over a lease of which every shard is this one; one of them claims
        other checkpoints of all."""
        truth = roots_of(world.truth)
        claims = {name: list(lie if name == liar else truth) for name in ("primary", "replica")}
        plan = [world.shard.id] * 9
        batch = self.plan_batch(plan, 3, **({"flags": 0, "feePercent": 61} | terms))
        alice, bob = self.nodes("alice", "bob")
        primary = self.lease(batch, alice, 1, 1)
        primary.results = [result_of(world, claims["primary"])] * 3
        primary.root = primary.honest_root
        self.commit(primary)
        self.call(primary)
        self.after_lottery(primary)
        replica = self.take(primary, bob)
        replica.results = [result_of(world, claims["replica"])] * 3
        replica.root = replica.honest_root
        self.commit(replica)
        self.reveal(replica)
        self.reveal_paired(primary, replica)
        assert replica.block is not None
        start = replica.block << replica.log2
        return {
            "primary": Accused(world, primary, plan, start, claims["primary"]),
            "replica": Accused(world, replica, plan, 0, claims["replica"], replica.log2),
        }

    # Games

    def bond(self, accused: Accused, challenger: str | None = None) -> int:
        return int(self.court.bondOf(accused.lease.id, challenger or self.challenger))

    def precommit_and_open(self, accused: Accused, checkpoints: Sequence[bytes], challenger: str) -> Receipt:
        """Both in one block. The opening's receipt, or its error."""
        own = list_root(ListKind.CHECKPOINTS, list(checkpoints))
        given = Precommitment(own, b"s" * 32)
        digest = self.precommit_hash(accused, own, challenger, given.salt)
        opening = self.court.open.encode(*arguments(accused.open(given)))
        calls = [(self.court.precommit.encode(digest), 0), (opening, self.bond(accused, challenger))]
        return self.chain.together(challenger, self.court.address, calls)

    def open_game_by(
        self, accused: Accused, opener: Opener | None = None, challenger: str | None = None, **transaction: Any
    ) -> Duel:
        """Opens a game; the bond is paid exactly."""
        challenger = self.rich(challenger or self.challenger)
        opener = opener or accused.open()
        value = transaction.pop("value", None)
        value = self.bond(accused, challenger) if value is None else value
        call = getattr(self.court, opener.call)
        receipt = call(*arguments(opener), sender=challenger, value=value, **transaction)
        return Duel(self, accused, challenger, receipt.one("Opened").game, receipt, opener)

    def precommit(
        self, accused: Accused, checkpoints: Sequence[bytes], challenger: str | None = None, salt: bytes = b"s" * 32
    ) -> Precommitment:
        """Commits the challenger to its own checkpoints."""
        challenger = challenger or self.challenger
        own = list_root(ListKind.CHECKPOINTS, list(checkpoints))
        self.court.precommit(self.precommit_hash(accused, own, challenger, salt), sender=challenger)
        return Precommitment(own, salt)

    def precommit_hash(self, accused: Accused, own: bytes, challenger: str, salt: bytes) -> bytes:
        types = ["uint256", "address", "uint72", "bytes32", "uint16", "bytes32", "address", "bytes32"]
        lease = accused.lease
        values = [self.chain_id, self.court.address, lease.id, lease.root, accused.position, own, challenger, salt]
        return keccak(encode(types, values))

    def pass_move(self, duel: Duel) -> None:
        """The next transaction is at the first moment in which the game's next move is late."""
        book = self.court.gameOf(duel.id)
        self.pass_moment(book.blockNumber + 32, book.deadline)

    def pass_moment(self, block: int, time: int) -> None:
        """The next transaction is the first of which both are past."""
        self.chain.mine_to(max(block, self.chain.block))
        self.chain.next_time(max(time, self.chain.time) + 1)

    def last_moments(self, duel: Duel) -> Iterable[str]:
        """Both last moments in which the next move is in time, each undone afterwards."""
        book = self.court.gameOf(duel.id)
        moments = {
            "clock": (book.blockNumber + 33, book.deadline),
            "blocks": (book.blockNumber + 32, book.deadline + 1),
        }
        for name, moment in moments.items():
            with self.chain.undone():
                self.next_at(*moment)
                yield name


@dataclass
class Duel:
    """One game on the chain, and beside it by the rules in Python."""

    stage: Courtroom
    accused: Accused
    challenger: str
    id: bytes
    opened: Receipt
    opener: Opener
    moves: list[Move] = field(default_factory=list)
    phases: list[Phase] = field(default_factory=list)
    """What was posted when each move was made."""
    winner: Side | None = None

    def __post_init__(self) -> None:
        self.rules = Game(self.accused.case, self.opener, self.challenger, self.opened.block)
        self.receipt = self.opened
        self._take(self.opened)

    def _take(self, receipt: Receipt) -> None:
        moved = receipt.one("Moved")
        assert moved.game == self.id
        self.values: bytes = moved.state
        self.posted: bytes = moved.posted
        self.deadline: int = moved.deadline

    @property
    def state(self) -> GameState:
        return parse_state(self.values)

    @property
    def node(self) -> Node:
        return self.accused.lease.node

    @property
    def book(self) -> Any:
        return self.stage.court.gameOf(self.id)

    @property
    def mover(self) -> str:
        """Who is to move."""
        return self.challenger if self.state.turn is Side.CHALLENGER else self.node.operator

    def call(self, move: Move, sender: str | None = None, **transaction: Any) -> Receipt:
        """The move on the chain alone."""
        function = getattr(self.stage.court, move.call)
        return function(self.id, self.values, *arguments(move), sender=sender or self.mover, **transaction)

    def play(self, move: Move, **transaction: Any) -> Receipt:
        """The move on the chain and by the rules; both must agree on what follows."""
        receipt = self.receipt = self.call(move, **transaction)
        self.phases.append(self.state.phase)
        self.moves.append(move)
        self.rules.play(move)
        self.winner = self.rules.winner
        if self.winner is None:
            self._take(receipt)
            assert replace(self.state, costs=0) == self.rules.state and pack_state(self.state) == self.values
            assert self.posted == self.rules.posted
        return receipt

    def timeout(self, sender: str | None = None, **transaction: Any) -> Receipt:
        return self.stage.court.timeout(self.id, self.values, sender=sender or self.stage.stranger, **transaction)

    # Players

    def between(self, honest: Player, liar: Adversary, **transaction: Any) -> Side:
        """Plays to the end, or until the liar finds no move; then it lets its time pass."""
        while self.winner is None:
            if not self.step(honest, liar, **transaction):
                self.concede()
        return self.winner

    def step(self, honest: Player, liar: Adversary, **transaction: Any) -> bool:
        """One move of whose turn it is; whether there was one."""
        for player in (honest, liar):
            player.see(self.rules.state, self.posted)
        move = honest.move() if self.state.turn is honest.side else liar.tries(self.rules)
        if move is not None:
            self.play(move, **transaction)
        return move is not None

    def concede(self) -> Receipt:
        """Whose turn it is lets its time pass."""
        self.winner = self.state.turn.other
        self.stage.pass_move(self)
        return self.timeout()


@dataclass
class Sides:
    """An honest side and a liar about one world."""

    world: World
    lie: Lie
    liar: Side
    seed: int = 0
    wildness: float = 0.0

    @cached_property
    def lying(self) -> LyingEvidence:
        return LyingEvidence(self.world, self.lie)

    @property
    def claimed(self) -> list[bytes]:
        """The checkpoints that the defender committed to."""
        return self.lying.roots if self.liar is Side.DEFENDER else roots_of(self.world.truth)

    def players(self, accused: Accused) -> tuple[Player, Adversary]:
        """The honest player and the liar, in the game about this lease."""
        honest = Player(self.liar.other, self.world.truth, accused.result_path)
        rng = random.Random(self.seed)
        return honest, Adversary(self.liar, self.lying, rng, self.wildness, accused.result_path)


def roots_of(evidence: Evidence) -> list[bytes]:
    """State roots of all checkpoints."""
    return merkle.unpack(evidence.checkpoints[0])


def result_of(world: World, checkpoints: Sequence[bytes]) -> bytes:
    """The shard's result hash if these are its checkpoints."""
    return ShardResult(world.shard.id, list_root(ListKind.CHECKPOINTS, list(checkpoints))).hash


def scene(
    courtroom: Courtroom, sides: Sides, until: Phase, turn: Side | None = None, at: int | None = None, **terms: Any
) -> tuple[Duel, Player, Adversary]:
    """A game about a new lease, played until that was posted last (and it is that side's turn)."""
    accused = courtroom.accuse(sides.world, sides.claimed, **terms)
    duel = courtroom.open_game_by(accused, None if at is None else accused.open_at(at))
    honest, liar = sides.players(accused)
    while duel.state.phase is not until or (turn is not None and duel.state.turn is not turn):
        assert duel.step(honest, liar) and duel.winner is None, f"the game never comes to {until.name}"
    for player in (honest, liar):
        player.see(duel.rules.state, duel.posted)
    return duel, honest, liar
