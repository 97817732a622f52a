"""The deployed contracts and their people, and what tests do with them in one line each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from brownie.exceptions import VirtualMachineError, decode_typed_error
from eth_abi import encode
from eth_utils import keccak

ORE = 10**18
WINDOW_BLOCKS = 32

FREE, LEASED, COMMITTED, CALLED, PAIRED, BOTH, HALF_REVEALED, REVEALED, CONTESTED, SLASHED = range(10)
FLAG_OPEN, FLAG_GATED, FLAG_KEEP_RESULTS = 1, 2, 4
EVERY = 2**256 - 1
ZERO = "0x" + "00" * 20

TERMS = {
    "price": ORE,
    "computeSeconds": 20,
    "revealSeconds": 20,
    "challengeSeconds": 60,
    "stakeFactor": 200,
    "lateBp": 1000,
    "drawBp": 0,
    "feePercent": 100,
    "drawDelay": 1,
    "lotteryBlocks": 16,
    "blockLog2": 0,
    "watcher": ZERO,
    "moveTime": 10,
    "maxGrains": 128,
    "flags": 0,
    "revealDepth": 0,
}


def bytes32(seed: object) -> bytes:
    """A well-mixed word that depends on nothing but `seed`."""
    return keccak(text=repr(seed))


def ceil_log2(n: int) -> int:
    return (n - 1).bit_length()


@dataclass(frozen=True)
class Lease:
    """An identifier of a lease, taken apart."""

    node: int
    slot: int
    generation: int

    @classmethod
    def parse(cls, number: int) -> Lease:
        return cls(number >> 40, number >> 32 & 0xFF, number & 0xFFFFFFFF)

    @property
    def id(self) -> int:
        return self.node << 40 | self.slot << 32 | self.generation

    @property
    def key(self) -> int:
        return self.node << 8 | self.slot


@dataclass
class ResultTree:
    """The tree of a lease's result hashes (tag 3, kind 2), written again here from its definition."""

    results: list[bytes]
    levels: list[list[bytes]] = field(init=False)

    def __post_init__(self) -> None:
        height = ceil_log2(len(self.results))
        self.levels = [self.results + [bytes(32)] * ((1 << height) - len(self.results))]
        for _ in range(height):
            below = self.levels[-1]
            self.levels.append([self._node(below[i], below[i + 1]) for i in range(0, len(below), 2)])

    @staticmethod
    def _node(left: bytes, right: bytes) -> bytes:
        if left == bytes(32) and right == bytes(32):
            return bytes(32)
        return hashlib.sha256(b"\x01" + left + right).digest()

    @property
    def root(self) -> bytes:
        count = len(self.results).to_bytes(8, "little")
        return hashlib.sha256(b"\x03\x02" + count + self.levels[-1][0]).digest()

    def block(self, index: int, log2: int) -> bytes:
        """The raw subtree node over the aligned block of 2^log2 results."""
        return self.levels[log2][index]

    def path(self, index: int, log2: int) -> list[bytes]:
        """Siblings from that node up to the raw root."""
        return [level[(index >> i) ^ 1] for i, level in enumerate(self.levels[log2:-1])]


def results(lease: Lease | int, count: int = 1, tag: object = "true") -> ResultTree:
    """The results that a lease's node finds; another `tag` finds others."""
    return ResultTree([bytes32((tag, i)) for i in range(count)])


@dataclass
class World:
    """Everybody and everything on the chain. Node i (from 1) is owned and operated by `owners[i]`."""

    project: Any
    web3: Any
    accounts: Any
    token: Any
    registry: Any
    market: Any
    arbiter: Any
    owners: dict[int, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.deployer, self.requester, self.watcher, self.stranger = self.accounts[:4]

    # People

    def register(self, owner: Any = None, stake: int = 1_000 * ORE) -> int:
        """Registers a node with an account of its own (or `owner`). Returns its number."""
        owner = owner or self.accounts[4 + len(self.owners)]
        self.fund(owner, stake, self.registry)
        node = self.registry.register(owner, "http://node", "{}", stake, {"from": owner}).return_value
        node = node or self.registry.nodeCount()
        self.owners[node] = owner
        return node

    def fund(self, account: Any, amount: int, spender: Any) -> None:
        """Gives tokens to an account, and an endless allowance to a contract."""
        self.token.transfer(account, amount, {"from": self.deployer})
        self.token.approve(spender, EVERY, {"from": account})

    def create_task(self, escrow: int = 100_000 * ORE, url: str = "http://requester", **terms: Any) -> int:
        """A task by the requester; `terms` are over TERMS."""
        self.fund(self.requester, escrow, self.market)
        self.market.create(self.terms(**terms), url, escrow, {"from": self.requester})
        return self.market.taskCount()

    @staticmethod
    def terms(**changes: Any) -> tuple[Any, ...]:
        assert changes.keys() <= TERMS.keys(), changes
        return tuple((TERMS | changes).values())

    def post(self, task: int, grains: int = 64, size: int = 1) -> int:
        self.market.post(task, bytes32(("plan", task)), grains, size, {"from": self.requester})
        return self.market.batchCount()

    # Chain

    @property
    def block(self) -> int:
        return self.web3.eth.block_number

    @property
    def now(self) -> int:
        return self.web3.eth.get_block("latest").timestamp

    def mine(self, blocks: int = 1) -> None:
        """Mines blocks one second apart."""
        self.rpc("anvil_mine", hex(blocks), "0x1")

    def mine_to(self, block: int) -> None:
        """Mines until the *next* transaction is in `block`."""
        missing = block - 1 - self.block
        assert missing >= 0, f"block {block} is past: the next is {self.block + 1}"
        if missing:
            self.mine(missing)

    def warp(self, seconds: int) -> None:
        """Mines one block that many seconds later."""
        self.rpc("evm_setNextBlockTimestamp", self.now + seconds)
        self.mine()

    def pass_deadline(self, seconds: int, blocks: int = WINDOW_BLOCKS) -> None:
        """Lets `seconds` and `blocks` go by, and a little more of both."""
        self.mine(blocks + 1)
        self.warp(seconds + 1)

    def rpc(self, method: str, *arguments: Any) -> Any:
        answer = self.web3.provider.make_request(method, list(arguments))
        assert "error" not in answer, answer
        return answer.get("result")

    # Nodes

    def lease(self, batch: int, node: int, first: int = 0, grains: int = 1, slot: int = 0) -> Lease:
        self.market.lease(batch, first, grains, node, slot, {"from": self.owners[node]})
        return self.live(node, slot)

    def live(self, node: int, slot: int) -> Lease:
        """The latest life of a slot."""
        return Lease(node, slot, self.market.slotOf(node, slot)[0])

    def commitment(self, lease: Lease, root: bytes, salt: bytes | None = None) -> bytes:
        return keccak(
            encode(
                ["uint256", "address", "uint40", "uint32", "bytes32", "bytes32"],
                [
                    self.web3.eth.chain_id,
                    self.market.address,
                    lease.key,
                    lease.generation,
                    root,
                    self.salt(lease) if salt is None else salt,
                ],
            )
        )

    @staticmethod
    def salt(lease: Lease) -> bytes:
        return bytes32(("salt", lease.id))

    def commit(self, lease: Lease, root: bytes) -> Any:
        return self.market.commit(lease.id, self.commitment(lease, root), {"from": self.owners[lease.node]})

    def reveal(self, lease: Lease, root: bytes) -> Any:
        return self.market.reveal(lease.id, root, self.salt(lease), {"from": self.owners[lease.node]})

    def reveal_paired(self, lease: Lease, tree: ResultTree, log2: int = 0) -> Any:
        """The primary opens the drawn block of its tree, of 2^log2 shards."""
        drawn = self.market.leaseOf(lease.id)["drawnBlock"]
        return self.market.revealPaired(
            lease.id,
            tree.root,
            self.salt(lease),
            tree.block(drawn, log2),
            tree.path(drawn, log2),
            {"from": self.owners[lease.node]},
        )

    def finalise(self, *leases: Lease) -> Any:
        return self.market.finalise([lease.id for lease in leases], {"from": self.stranger})

    def expire(self, *leases: Lease) -> Any:
        return self.market.expire([lease.id for lease in leases], {"from": self.stranger})

    def resolve(self, *leases: Lease) -> Any:
        return self.market.resolve([lease.id for lease in leases], {"from": self.stranger})

    def state(self, lease: Lease) -> int:
        return self.market.leaseOf(lease.id)["state"]

    def seed(self, lease: Lease, commitment: bytes, draw_block: int) -> bytes:
        """The draw's hash."""
        block_hash = bytes(self.web3.eth.get_block(draw_block).hash)
        types = ["bytes32", "uint40", "uint32", "bytes32"]
        return keccak(encode(types, [block_hash, lease.key, lease.generation, commitment]))

    def wins(self, seed: bytes, node: int, attempt: int, lottery_blocks: int) -> bool:
        ticket = int.from_bytes(keccak(encode(["bytes32", "uint32", "uint256"], [seed, node, attempt])), "big") >> 128
        stake = self.registry.nodeOf(node)["stake"]
        return ticket * self.registry.totalStake() * lottery_blocks < 8 * stake << 128

    def take(self, primary: Lease, node: int, slot: int = 0, attempt: int = 0) -> Lease:
        self.market.take(primary.id, node, slot, attempt, {"from": self.owners[node]})
        return self.live(node, slot)

    def take_late(self, primary: Lease, node: int, slot: int = 0) -> Lease:
        """Takes once the lottery's first half is over, where nobody needs to win."""
        info = self.market.leaseOf(primary.id)
        terms = self.market.taskOf(self.market.batchOf(info["batch"])["task"])["terms"]
        last = info["blockNumber"] + terms["drawDelay"] + terms["lotteryBlocks"] // 2
        if self.block <= last:
            self.mine_to(last + 1)
        return self.take(primary, node, slot)

    # Stories

    def revealed(self, batch: int, node: int, first: int = 0, grains: int = 1, slot: int = 0, size: int = 1) -> Lease:
        """A lease that nobody drew, honestly computed and revealed."""
        lease = self.lease(batch, node, first, grains, slot)
        tree = results(lease, grains * size)
        self.commit(lease, tree.root)
        self.mine(1)
        self.reveal(lease, tree.root)
        return lease

    def both(
        self,
        batch: int,
        primary: int,
        replica: int,
        first: int = 0,
        grains: int = 1,
        slot: int = 0,
        size: int = 1,
        wrong: str = "",
    ) -> tuple[Lease, Lease, ResultTree, bytes]:
        """A called lease, taken, both committed. `wrong` may be "primary" or "replica". Block log2 must be 0."""
        lease = self.lease(batch, primary, first, grains, slot)
        tree = results(lease, grains * size, "false" if wrong == "primary" else "true")
        self.commit(lease, tree.root)
        self.market.call(lease.id, {"from": self.requester})
        peer = self.take_late(lease, replica, slot)
        truth = results(lease, grains * size, "false" if wrong == "replica" else "true")
        node = truth.block(self.market.leaseOf(lease.id)["drawnBlock"], 0)
        self.commit(peer, node)
        return lease, peer, tree, node

    def pair(self, *arguments: Any, **options: Any) -> tuple[Lease, Lease]:
        """Both revealed: equal, or contested when one is `wrong`."""
        lease, peer, tree, node = self.both(*arguments, **options)
        self.reveal(peer, node)
        self.reveal_paired(lease, tree)
        return lease, peer

    # Books

    def held(self) -> int:
        """What the market owes by its storage: escrow, reserves, balances, fees set aside for unlinked replicas."""
        market = self.market
        total = sum(market.taskOf(task)["escrow"] for task in range(1, market.taskCount() + 1))
        total += sum(self.reserve(batch) for batch in range(1, market.batchCount() + 1))
        total += sum(market.balanceOf(node) for node in range(1, self.registry.nodeCount() + 1))
        return total + sum(market.feeOf(info["batch"]) for info in self.replicas_owed())

    def reserve(self, batch: int) -> int:
        info = self.market.batchOf(batch)
        price = self.market.taskOf(info["task"])["terms"]["price"]
        fees = info["grains"] - info["replicasPaid"]
        return info["unsettled"] * info["size"] * price + fees * self.market.feeOf(batch)

    def replicas_owed(self, slots: int = 8) -> list[Any]:
        """Replicas whose result stands without their primary: their fee has left the reserve and is not yet paid."""
        found = []
        for node in range(1, self.registry.nodeCount() + 1):
            for slot in range(slots):
                info = self.market.leaseOf(self.live(node, slot).id)
                if info["state"] == REVEALED and info["replica"] and info["peer"] == 0:
                    found.append(info)
        return found

    def assert_conserved(self) -> None:
        """To the wei, there being no gifts: the market holds what it owes, the registry its stakes."""
        assert self.token.balanceOf(self.market) == self.held()
        nodes = [self.registry.nodeOf(node) for node in range(1, self.registry.nodeCount() + 1)]
        assert self.token.balanceOf(self.registry) == sum(node["stake"] + node["unbonding"] for node in nodes)
        assert self.registry.totalStake() == sum(node["stake"] for node in nodes)

    # Errors

    @contextmanager
    def reverts(self, name: str, *values: Any, by: Any = None) -> Iterator[None]:
        """Expects a custom error of the market (or of `by`), with exactly these values if any are given."""
        abi = next(item for item in (by or self.market).abi if item["type"] == "error" and item["name"] == name)
        types = [item["type"] for item in abi["inputs"]]
        selector = keccak(text=f"{name}({','.join(types)})")[:4]
        try:
            yield
        except VirtualMachineError as error:
            message = str(error.revert_msg)
            if values or not types:
                expected = decode_typed_error("0x" + (selector + encode(types, values)).hex())
                assert message == expected, f"wanted {expected}, got {message}"
            assert message.partition(":")[0] == name, f"wanted {name}, got {message}"
        else:
            raise AssertionError(f"did not revert with {name}{values}")
