"""The real contracts with a requester and three nodes, each acting by one call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any

from eth_utils.address import to_checksum_address
from local_chain import Anvil

from orebit.chain import commitments
from orebit.chain.arbiter import Arbiter
from orebit.chain.connection import Connection, connect, from_hex
from orebit.chain.deployment import Deployment
from orebit.chain.events import BatchPosted, Decoder, Event, Leased, Taken, TaskCreated
from orebit.chain.market import Market
from orebit.chain.registry import Registry
from orebit.chain.revert import decode_revert
from orebit.chain.token import UNIT, Token
from orebit.chain.types import ZERO_ADDRESS, LeaseId, Terms
from orebit.commitment import ListKind, list_root
from orebit.commitment.merkle import path, tree

TERMS = Terms(
    price=UNIT,
    compute_seconds=10,
    reveal_seconds=10,
    challenge_seconds=20,
    stake_factor=200,
    late_bp=1000,
    draw_bp=5000,
    fee_percent=50,
    draw_delay=1,
    lottery_blocks=16,
    block_log2=0,
    watcher=ZERO_ADDRESS,
    move_time=5,
    max_grains=4,
    flags=0,
    reveal_depth=0,
)


class Refused(Exception):
    """A revert: its name and values."""

    def __init__(self, name: str, values: dict[str, Any]) -> None:
        super().__init__(f"{name} {values}")
        self.name = name
        self.values = values


def result_hashes(tag: str, shards: int) -> list[bytes]:
    return [sha256(f"{tag}:{index}".encode()).digest() for index in range(shards)]


class Stage:
    """Anvil's accounts: 0 deploys, 1 requests, 2 to 4 own nodes 1 to 3, which operate themselves."""

    def __init__(self, chain: Anvil, connection: Connection) -> None:
        self.chain = chain
        self.connection = connection
        self.deployment = connection.deployment
        self.market = Market(connection)
        self.registry = Registry(connection)
        self.token = Token(connection)
        self.arbiter = Arbiter(connection)
        self.accounts = [to_checksum_address(address) for address in chain.rpc("eth_accounts")]
        self.requester = self.accounts[1]
        self.drawn: dict[LeaseId, int] = {}
        """The drawn block of each replica."""
        self._decoder = Decoder(self.deployment)
        self.salt = bytes(31) + b"\x07"

    def owner(self, node: int) -> str:
        return self.accounts[node + 1]

    def send(self, sender: str, to: str, calldata: bytes) -> list[Event]:
        """A transaction in a block of its own. Raises `Refused`."""
        request = {"from": sender, "to": to, "data": "0x" + calldata.hex(), "gas": hex(5_000_000)}
        receipt = self.chain.receipt(self.chain.rpc("eth_sendTransaction", request))
        if receipt["status"] != "0x1":
            raise Refused(*self._why(request, receipt))
        events = [self._decoder.decode(log) for log in receipt["logs"]]
        return [event for event in events if event is not None]

    def _why(self, request: dict[str, str], receipt: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        trace = self.chain.rpc("debug_traceTransaction", receipt["transactionHash"], {"tracer": "callTracer"})
        return decode_revert(from_hex(trace.get("output", "0x")))

    def prepare(self, nodes: int = 3, stake: int = 1_000 * UNIT, url: str = "http://node-{}") -> None:
        """Tokens for everybody, approvals, and registered nodes of equal stake; `url` may use the node's number."""
        for account in self.accounts[1 : nodes + 2]:
            self.send(self.accounts[0], self.token.address, self.token.encode_transfer(account, 10_000 * UNIT))
            for spender in (self.market.address, self.registry.address):
                self.send(account, self.token.address, self.token.encode_approve(spender, 10_000 * UNIT))
        for node in range(1, nodes + 1):
            owner = self.owner(node)
            call = self.registry.encode_register(owner, url.format(node), "cpu", stake)
            self.send(owner, self.registry.address, call)

    def by_requester(self, calldata: bytes) -> list[Event]:
        return self.send(self.requester, self.market.address, calldata)

    def by_node(self, node: int, calldata: bytes) -> list[Event]:
        return self.send(self.owner(node), self.market.address, calldata)

    def create(self, amount: int = 1_000 * UNIT, url: str = "http://requester", **terms: Any) -> int:
        events = self.by_requester(self.market.encode_create(replace(TERMS, **terms), url, amount))
        return next(event.task for event in events if isinstance(event, TaskCreated))

    def post(self, task: int, grains: int = 4, size: int = 1, plan_root: bytes = b"p" * 32) -> int:
        events = self.by_requester(self.market.encode_post(task, plan_root, grains, size))
        return next(event.batch for event in events if isinstance(event, BatchPosted))

    def lease(self, batch: int, node: int, first: int = 0, grains: int = 1, slot: int = 0) -> LeaseId:
        events = self.by_node(node, self.market.encode_lease(batch, first, grains, node, slot))
        return next(event.lease for event in events if isinstance(event, Leased))

    def commitment(self, lease: LeaseId, root: bytes) -> bytes:
        return commitments.commitment(self.deployment, lease, root, self.salt)

    def commit(self, lease: LeaseId, root: bytes) -> int:
        """Returns the commit's block."""
        return self.by_node(lease.node, self.market.encode_commit(lease, self.commitment(lease, root)))[0].place.block

    def take(self, primary: LeaseId, node: int, attempt: int = 0, slot: int = 9) -> LeaseId:
        events = self.by_node(node, self.market.encode_take(primary, node, slot, attempt))
        taken = events[0]
        assert isinstance(taken, Taken)
        self.drawn[taken.replica] = taken.drawn_block
        return taken.replica

    def reveal(self, lease: LeaseId, root: bytes) -> None:
        self.by_node(lease.node, self.market.encode_reveal(lease, root, self.salt))

    def reveal_paired(self, lease: LeaseId, hashes: Sequence[bytes], block: int) -> None:
        """Opens the block of one shard."""
        root = list_root(ListKind.RESULTS, list(hashes))
        siblings = path(tree(list(hashes)), block)
        call = self.market.encode_reveal_paired(lease, root, self.salt, hashes[block], siblings)
        self.by_node(lease.node, call)

    def pass_time(self, seconds: int = 3_600, blocks: int = 60) -> None:
        """Long enough for every deadline."""
        self.chain.rpc("evm_increaseTime", seconds)
        self.chain.mine(blocks)

    def block_hash(self, number: int) -> bytes:
        return from_hex(self.chain.rpc("eth_getBlockByNumber", hex(number), False)["hash"])


async def open_stage(chain: Anvil, deployment: Deployment) -> Stage:
    return Stage(chain, await connect([chain.url], deployment, timeout=10))
