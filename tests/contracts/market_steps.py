"""The market's life in steps: tasks, batches, nodes and leases, brought to any state in a line, and an audit of it all.

What MARKET.md says about money is computed here a second time, in integers, from the terms.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

from eth_abi import encode
from eth_utils import keccak, to_checksum_address
from evm import Chain, Contract, Receipt

from orebit.commitment import merkle
from orebit.commitment.lists import ListKind, list_root

DEADLINE_BLOCKS = 32
WHOLE_LEASE = 255
OPEN, GATED, KEEP = 1, 2, 4
PLAN = keccak(text="plan")
ESCROW = 10**24
STAKE = 10**22


class State(IntEnum):
    """LeaseState of ITaskMarket.sol."""

    FREE = 0
    LEASED = 1
    COMMITTED = 2
    CALLED = 3
    PAIRED = 4
    BOTH = 5
    HALF_REVEALED = 6
    REVEALED = 7
    CONTESTED = 8
    SLASHED = 9


@dataclass(frozen=True)
class Terms:
    """Terms of ITaskMarket.sol, in its order. Replicas come by call alone, and no number divides evenly."""

    price: int = 10**18 + 7
    computeSeconds: int = 100
    revealSeconds: int = 200
    challengeSeconds: int = 300
    stakeFactor: int = 251
    lateBp: int = 1003
    drawBp: int = 0
    feePercent: int = 61
    drawDelay: int = 2
    lotteryBlocks: int = 4
    blockLog2: int = 1
    watcher: str = "0x" + "00" * 20
    moveTime: int = 50
    maxGrains: int = 4
    flags: int = 0
    revealDepth: int = 3

    @property
    def values(self) -> tuple[Any, ...]:
        return tuple(asdict(self).values())

    def block_log2(self, shards: int) -> int:
        """b: log2 of the block that a replica re-executes."""
        return min(self.blockLog2, merkle.height(shards))

    def fee(self, grains: int, size: int) -> int:
        """Replica fee of a batch, over the block of its longest lease."""
        longest = size * min(self.maxGrains, grains)
        return (self.price * self.feePercent << self.block_log2(longest)) // 100

    def penalty(self, stake: int) -> int:
        return stake * self.lateBp // 10_000


@dataclass(frozen=True)
class Task:
    id: int
    terms: Terms
    requester: str


@dataclass(frozen=True)
class Batch:
    id: int
    task: Task
    grains: int
    size: int

    @property
    def terms(self) -> Terms:
        return self.task.terms

    @property
    def fee(self) -> int:
        return self.terms.fee(self.grains, self.size)

    @property
    def reserved(self) -> int:
        return self.grains * (self.size * self.terms.price + self.fee)

    def stake(self, shards: int) -> int:
        """S of a lease, or a replica, over that many shards."""
        return max(self.terms.stakeFactor * self.terms.price * shards // 100, 4 * self.fee)


@dataclass(frozen=True)
class Node:
    id: int
    owner: str
    operator: str


@dataclass
class Lease:
    """One lease as its node knows it: what it computed, and its secret."""

    id: int
    node: Node
    batch: Batch
    first: int
    grains: int
    salt: bytes
    results: list[bytes]
    block: int | None = None
    root: bytes = field(default=b"")

    def __post_init__(self) -> None:
        if not self.root:
            self.root = self.honest_root

    @property
    def key(self) -> int:
        return self.id >> 32

    @property
    def slot(self) -> int:
        return self.key & 0xFF

    @property
    def generation(self) -> int:
        return self.id & 0xFFFFFFFF

    @property
    def replica(self) -> bool:
        return self.block is not None

    @property
    def shards(self) -> int:
        """Shards of the whole lease; a replica's: of its primary."""
        return self.grains * self.batch.size

    @property
    def log2(self) -> int:
        return self.batch.terms.block_log2(self.shards)

    @property
    def stake(self) -> int:
        return self.batch.stake(1 << self.log2 if self.replica else self.shards)

    @property
    def pay(self) -> int:
        return self.batch.fee if self.replica else self.shards * self.batch.terms.price

    @property
    def penalty(self) -> int:
        return self.batch.terms.penalty(self.stake)

    @property
    def honest_root(self) -> bytes:
        """A primary's result root; a replica's raw subtree node."""
        return list_root(ListKind.RESULTS, self.results) if self.block is None else self.block_root(self.block)

    def block_root(self, index: int) -> bytes:
        start = index << self.log2
        return merkle.subtree_root(self.results[start : start + (1 << self.log2)], 0, self.log2)

    def opening(self, index: int) -> tuple[bytes, list[bytes]]:
        """Block number `index` of the results, and its path."""
        return self.block_root(index), merkle.path(merkle.tree(self.results), index << self.log2)[self.log2 :]

    def lie(self, shard: int | None = None) -> Lease:
        """Changes one result (or, without a number, every one) before the commit."""
        for index in range(len(self.results)) if shard is None else [shard]:
            self.results[index] = keccak(b"lie" + self.results[index])
        self.root = self.honest_root
        return self


@dataclass
class Pair:
    """A primary, and its replica where the state has one."""

    primary: Lease
    replica: Lease | None = None


def result_of(batch: Batch, shard: int) -> bytes:
    """What every honest node computes."""
    return keccak(encode(["uint40", "uint256"], [batch.id, shard]))


def person(name: str) -> str:
    """The address of somebody; anvil signs for everyone."""
    return to_checksum_address(keccak(text=f"person {name}")[-20:])


class Stage:
    """The deployed contracts, the people around them, and the steps between states."""

    def __init__(self, chain: Chain, contracts: dict[str, Contract], treasury: str, guardian: str) -> None:
        self.chain = chain
        self.token = contracts["token"]
        self.registry = contracts["registry"]
        self.market = contracts["market"]
        self.arbiter = contracts["arbiter"]
        self.treasury = treasury
        self.guardian = guardian
        self.requester = person("requester")
        self.watcher = person("watcher")
        self.stranger = person("stranger")
        self.first_block = chain.block
        self.clear()

    def clear(self) -> None:
        """Forgets who was on the stage."""
        self.gifts = {"market": 0, "registry": 0}
        self.nodes_known: dict[str, Node] = {}

    # People

    def fund(self, who: str, amount: int, spender: Contract | None = None) -> str:
        """Gives somebody tokens, approved for the market unless told otherwise."""
        spender = spender or self.market
        self.token.transfer(who, amount, sender=self.treasury)
        self.token.approve(spender.address, 2**256 - 1, sender=who)
        return who

    def node(self, name: str, stake: int = STAKE) -> Node:
        """Registers a node of an owner of its own."""
        owner, operator = person(f"owner of {name}"), person(f"operator of {name}")
        self.fund(owner, stake, self.registry)
        arguments = (operator, f"https://{name}.example", "cpu", stake)
        identifier = self.registry.register.simulate(*arguments, sender=owner)
        self.registry.register(*arguments, sender=owner)
        self.nodes_known[name] = Node(identifier, owner, operator)
        return self.nodes_known[name]

    def nodes(self, *names: str) -> list[Node]:
        return [self.node(name) for name in names]

    # Requester

    def task(
        self, terms: Terms | None = None, escrow: int = ESCROW, requester: str | None = None, **changes: Any
    ) -> Task:
        terms = replace(terms or Terms(), **changes)
        requester = self.fund(requester or self.requester, escrow)
        self.market.create(terms.values, "https://requester.example", escrow, sender=requester)
        return Task(self.market.taskCount(), terms, requester)

    def post(self, task: Task, grains: int = 2, size: int = 2) -> Batch:
        self.market.post(task.id, PLAN, grains, size, sender=task.requester)
        return Batch(self.market.batchCount(), task, grains, size)

    def batch(self, grains: int = 2, size: int = 2, **terms: Any) -> Batch:
        """A batch of a new task."""
        return self.post(self.task(**terms), grains, size)

    def call(self, lease: Lease) -> Receipt:
        return self.market.call(lease.id, sender=lease.batch.task.requester)

    def close(self, batch: Batch) -> Receipt:
        return self.market.close(batch.id, sender=batch.task.requester)

    # Nodes

    def lease(self, batch: Batch, node: Node, first: int = 0, grains: int | None = None, slot: int = 0) -> Lease:
        grains = min(batch.grains, batch.terms.maxGrains) if grains is None else grains
        receipt = self.market.lease(batch.id, first, grains, node.id, slot, sender=node.operator)
        identifier = receipt.one("Leased").lease
        shards = range(first * batch.size, (first + grains) * batch.size)
        results = [result_of(batch, shard) for shard in shards]
        return Lease(identifier, node, batch, first, grains, self.salt(identifier), results)

    def salt(self, identifier: int) -> bytes:
        return keccak(encode(["string", "uint72"], ["salt", identifier]))

    def commitment(self, lease: Lease, root: bytes | None = None) -> bytes:
        types = ["uint256", "address", "uint40", "uint32", "bytes32", "bytes32"]
        root = lease.root if root is None else root
        return keccak(
            encode(types, [self.chain_id, self.market.address, lease.key, lease.generation, root, lease.salt])
        )

    @property
    def chain_id(self) -> int:
        return int(self.chain.rpc("eth_chainId"), 16)

    def commit(self, lease: Lease) -> Receipt:
        return self.market.commit(lease.id, self.commitment(lease), sender=lease.node.operator)

    def take(self, primary: Lease, node: Node, slot: int = 0, attempt: int = 0) -> Lease:
        receipt = self.market.take(primary.id, node.id, slot, attempt, sender=node.operator)
        taken = receipt.one("Taken")
        honest = range(primary.first * primary.batch.size, primary.first * primary.batch.size + primary.shards)
        return Lease(
            taken.replica,
            node,
            primary.batch,
            primary.first,
            primary.grains,
            self.salt(taken.replica),
            [result_of(primary.batch, shard) for shard in honest],
            taken.drawnBlock,
        )

    def reveal(self, lease: Lease, sender: str | None = None) -> Receipt:
        """Alone, or as a replica; in an open task, without a salt."""
        return self.market.reveal(lease.id, lease.root, lease.salt, sender=sender or lease.node.operator)

    def reveal_paired(self, primary: Lease, replica: Lease) -> Receipt:
        assert replica.block is not None
        block_root, path = primary.opening(replica.block)
        operator = primary.node.operator
        return self.market.revealPaired(primary.id, primary.root, primary.salt, block_root, path, sender=operator)

    # The judge, impersonated

    def open_game(self, lease: Lease) -> Receipt:
        return self.market.gameOpened(lease.id, sender=self.arbiter)

    def close_game(self, lease: Lease) -> Receipt:
        return self.market.gameClosed(lease.id, sender=self.arbiter)

    def convict(self, lease: Lease) -> Receipt:
        return self.market.convict(lease.id, sender=self.arbiter)

    # Exits, by a stranger

    def finalise(self, *leases: Lease) -> Receipt:
        return self.market.finalise([lease.id for lease in leases], sender=self.stranger)

    def expire(self, *leases: Lease) -> Receipt:
        return self.market.expire([lease.id for lease in leases], sender=self.stranger)

    def resolve(self, *leases: Lease) -> Receipt:
        return self.market.resolve([lease.id for lease in leases], sender=self.stranger)

    # Views

    def info(self, lease: Lease) -> SimpleNamespace:
        return self.market.leaseOf(lease.id)

    def state(self, lease: Lease) -> State:
        return State(self.info(lease).state)

    def escrow(self, task: Task) -> int:
        return int(self.market.taskOf(task.id).escrow)

    def node_info(self, node: Node) -> SimpleNamespace:
        return self.registry.nodeOf(node.id)

    def free(self, batch: Batch) -> int:
        return int(self.market.batchOf(batch.id).free)

    def balance(self, node: Node) -> int:
        return int(self.market.balanceOf(node.id))

    def free_slot(self, lease: Lease) -> bool:
        return bool(self.market.slotOf(lease.node.id, lease.slot)[1])

    # States

    def bring(
        self,
        state: State,
        alone: bool = False,
        names: tuple[str, str] = ("alice", "bob"),
        grains: int = 2,
        size: int = 2,
        **terms: Any,
    ) -> Pair:
        """A new task with one lease over its whole batch in that state, replicated unless `alone`; Free is expired."""
        batch = self.batch(grains, size, **terms)
        alice, bob = self.nodes(*names)
        pair = Pair(self.lease(batch, alice))
        if state >= State.COMMITTED and not batch.terms.flags & OPEN:
            if state is State.CONTESTED:
                pair.primary.lie()
            self.commit(pair.primary)
        if alone or batch.terms.flags & OPEN:
            self.advance_alone(pair, state)
        else:
            self.advance(pair, state, bob)
        if state is State.SLASHED:
            self.convict(pair.primary)
        if state is State.FREE:
            self.pass_deadline(pair.primary)
            self.expire(pair.primary)
        assert self.state(pair.primary) is state
        return pair

    def advance_alone(self, pair: Pair, state: State) -> None:
        if state >= State.REVEALED:
            if not pair.primary.batch.terms.flags & OPEN:
                self.after_draw(pair.primary)
            self.reveal(pair.primary)

    def advance(self, pair: Pair, state: State, bob: Node) -> None:
        if state >= State.CALLED:
            self.call(pair.primary)
        if state >= State.PAIRED:
            self.after_lottery(pair.primary)
            pair.replica = self.take(pair.primary, bob)
        if state >= State.BOTH and pair.replica:
            self.commit(pair.replica)
        if state >= State.HALF_REVEALED and pair.replica:
            self.reveal(pair.replica)
        if state >= State.REVEALED and pair.replica:
            self.reveal_paired(pair.primary, pair.replica)

    # Time. "After" leaves the chain so that the next transaction is in the first block that qualifies.

    def draw_block(self, lease: Lease) -> int:
        return int(self.info(lease).blockNumber) + lease.batch.terms.drawDelay

    def after_draw(self, lease: Lease) -> None:
        self.chain.mine_to(self.draw_block(lease))

    def after_lottery(self, lease: Lease) -> None:
        """Past the half in which a ticket must win: anyone may take."""
        self.chain.mine_to(self.draw_block(lease) + lease.batch.terms.lotteryBlocks // 2)

    def after_drawn(self, lease: Lease) -> None:
        """Past d + L: nobody may take any more."""
        self.chain.mine_to(self.draw_block(lease) + lease.batch.terms.lotteryBlocks)

    def next_at(self, block: int, time: int) -> None:
        """The next transaction is in that block, at that time."""
        self.chain.mine_to(block - 1)
        self.chain.next_time(time)

    def limit(self, lease: Lease, turn: bool = False) -> tuple[int, int]:
        """Block and time that must both be exceeded for the deadline (`turn`: its later turn's) to have passed."""
        info, terms = self.info(lease), lease.batch.terms
        block, time = info.blockNumber + DEADLINE_BLOCKS, info.deadline
        if info.state in (State.COMMITTED, State.CALLED):
            block += terms.drawDelay + terms.lotteryBlocks
        if turn:
            block, time = block + DEADLINE_BLOCKS, time + terms.revealSeconds
        return int(block), int(time)

    def not_passed(self, lease: Lease, turn: bool = False) -> Iterator[str]:
        """Both last moments in which the deadline has not passed, each undone afterwards."""
        block, time = self.limit(lease, turn)
        for name, moment in {"clock": (block + 1, time), "blocks": (block, time + 1)}.items():
            with self.chain.undone():
                self.next_at(*moment)
                yield name

    def pass_deadline(self, lease: Lease, turn: bool = False) -> None:
        """The next transaction is at the first moment in which the deadline has passed."""
        block, time = self.limit(lease, turn)
        self.chain.mine_to(max(block, self.chain.block))
        self.chain.next_time(max(time, self.chain.time) + 1)

    # Money

    def give(self, contract: str, amount: int) -> None:
        """A stranger's gift: tokens that nobody is credited for."""
        self.token.transfer(getattr(self, contract).address, amount, sender=self.treasury)
        self.gifts[contract] += amount

    def known_leases(self) -> list[int]:
        leased = {"Leased": "lease", "Taken": "replica"}
        topics = [topic for topic, entry in self.chain.logs.items() if entry["name"] in leased]
        query = {"address": self.market.address, "fromBlock": hex(self.first_block), "topics": [topics]}
        events = [self.chain.event(log) for log in self.chain.rpc("eth_getLogs", query)]
        return [event.fields[leased[event.name]] for event in events]

    def audit(self) -> None:
        """Every token is somebody's, every locked stake is a lease's, every link has two ends."""
        market, registry = self.market, self.registry
        leases = self.leases()
        nodes = range(1, registry.nodeCount() + 1)
        fees = dict(enumerate(market.feeOf.each(self.batches), start=1))
        held = sum(task.escrow for task in market.taskOf.each(range(1, market.taskCount() + 1)))
        held += sum(market.balanceOf.each(nodes))
        held += sum(self.reserves().values())
        held += sum(fees[info.batch] for info in leases.values() if is_owed(info))
        assert self.token.balanceOf(market.address) == held + self.gifts["market"]

        infos = dict(zip(nodes, registry.nodeOf.each(nodes), strict=True))
        stakes = sum(info.stake for info in infos.values())
        unbonding = sum(info.unbonding for info in infos.values())
        assert registry.totalStake() == stakes
        assert self.token.balanceOf(registry.address) == stakes + unbonding + self.gifts["registry"]
        for node, info in infos.items():
            live = [lease.stake for key, lease in leases.items() if key >> 40 == node and is_live(lease)]
            assert info.locked == sum(live) <= info.stake
        for key, lease in leases.items():
            if lease.peer:
                assert is_live(lease) and is_live(leases[lease.peer]) and leases[lease.peer].peer == key

    @property
    def batches(self) -> range:
        return range(1, self.market.batchCount() + 1)

    def leases(self) -> dict[int, SimpleNamespace]:
        """Every lease that ever was, as it stands."""
        known = self.known_leases()
        return dict(zip(known, self.market.leaseOf.each(known), strict=True))

    def reserve(self, number: int) -> int:
        """What a batch still reserves of the market's tokens."""
        return self.reserves([number])[number]

    def reserves(self, numbers: Sequence[int] | None = None) -> dict[int, int]:
        numbers = numbers or self.batches
        infos = self.market.batchOf.each(numbers)
        tasks = self.market.taskOf.each([info.task for info in infos])
        fees = self.market.feeOf.each(numbers)
        reserves = {}
        for number, info, task, fee in zip(numbers, infos, tasks, fees, strict=True):
            assert info.replicasPaid <= info.grains
            shards = info.unsettled * info.size
            reserves[number] = shards * task.terms.price + (info.grains - info.replicasPaid) * fee
        return reserves

    @contextmanager
    def deltas(self, **expected: int) -> Iterator[None]:
        """The block changes these balances (market, registry, arbiter) and the supply by so much, and no other."""
        before = self.totals()
        yield
        after = self.totals()
        changes = {name: after[name] - before[name] for name in after}
        assert changes == dict.fromkeys(before, 0) | expected

    def totals(self) -> dict[str, int]:
        names = ("market", "registry", "arbiter")
        held = {name: self.token.balanceOf(getattr(self, name).address) for name in names}
        return held | {"supply": self.token.totalSupply()}


def is_live(info: SimpleNamespace) -> bool:
    return info.state not in (State.FREE, State.SLASHED)


def is_owed(info: SimpleNamespace) -> bool:
    """A replica that stands alone and revealed: its fee has left the reserve and is not yet a balance."""
    return info.replica and info.state == State.REVEALED and not info.peer
