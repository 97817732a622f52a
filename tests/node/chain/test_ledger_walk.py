"""Random histories on the real contracts: whatever happened, books and storage agree to the wei."""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest
from local_chain import Anvil
from stage import Refused, Stage, open_stage, result_hashes

from orebit.chain.connection import from_hex
from orebit.chain.deployment import Deployment
from orebit.chain.history import replay
from orebit.chain.ledger import Ledger, Outcome
from orebit.chain.reconciliation import Reconciler
from orebit.chain.token import UNIT
from orebit.chain.types import LeaseId, LeaseState
from orebit.commitment import ListKind, list_root

SEEDS = range(int(os.environ.get("OREBIT_WALKS", "1")))
"""More walks find more; a few guard against a slip."""

RIGHT = result_hashes("right", 4)
WRONG = result_hashes("wrong", 4)


class Walk:
    """Nodes that lease, copy, lie, sleep and quit; a requester that closes; a judge that convicts at will."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self.stage = stage
        self.chance = random.Random(seed)
        self.tasks: list[int] = []
        self.batches: list[int] = []
        self.claims: dict[LeaseId, list[bytes]] = {}
        self.replica_of: dict[LeaseId, LeaseId] = {}
        self.gifts = 0
        self._acts: dict[LeaseState, list[Callable[[LeaseId], None]]] = {
            LeaseState.LEASED: [self.commit] * 5 + [self.wait],
            LeaseState.COMMITTED: [self.take] * 4 + [self.reveal, self.wait],
            LeaseState.PAIRED: [self.commit_replica] * 4 + [self.desert, self.wait],
            LeaseState.BOTH: [self.reveal_replica] * 4 + [self.desert, self.wait],
            LeaseState.HALF_REVEALED: [self.reveal_paired] * 5 + [self.wait],
            LeaseState.REVEALED: [self.finalise] * 5 + [self.game, self.convict],
            LeaseState.CONTESTED: [self.convict] * 3 + [self.game, self.resolve],
        }

    def step(self) -> None:
        """An act that the state of some primary invites, or something about the money."""
        try:
            if self.chance.random() < 0.2:
                self.chance.choice([self.post, self.close, self.withdraw, self.refund, self.gift])()
            else:
                self.work()
        except Refused:
            return

    def work(self) -> None:
        recent = list(self.claims)[-8:]
        primaries = [lease for lease in recent if self.state(lease) in self._acts]
        if len(primaries) < 4:
            self.lease()
        else:
            lease = self.chance.choice(primaries)
            self.chance.choice(self._acts[self.state(lease)])(lease)

    def state(self, lease: LeaseId) -> LeaseState:
        market = self.stage.market
        call = {"to": market.address, "data": "0x" + market.abi.encode_call("leaseOf", [lease]).hex()}
        info = market.abi.decode_result("leaseOf", from_hex(self.stage.chain.rpc("eth_call", call, "latest")))[0]
        return LeaseState(info[0])

    # Money

    def post(self) -> None:
        self.batches.append(self.stage.post(self.chance.choice(self.tasks), grains=3, size=4))

    def close(self) -> None:
        self.stage.by_requester(self.stage.market.encode_close(self.chance.choice(self.batches)))

    def withdraw(self) -> None:
        self.stage.by_node(1, self.stage.market.encode_withdraw(self.chance.randint(1, 3)))

    def refund(self) -> None:
        call = self.stage.market.encode_withdraw_escrow(
            self.tasks[0], self.chance.randint(1, UNIT), self.stage.requester
        )
        self.stage.by_requester(call)

    def gift(self) -> None:
        token, market = self.stage.token, self.stage.market
        self.stage.send(self.stage.accounts[0], token.address, token.encode_transfer(market.address, 1))
        self.gifts += 1

    # Leases

    def lease(self) -> None:
        node, slot = self.chance.randint(1, 3), self.chance.randint(0, 9)
        lease = self.stage.lease(self.chance.choice(self.batches), node, self.chance.randint(0, 2), 1, slot)
        self.claims[lease] = self.chance.choice([RIGHT, RIGHT, WRONG])

    def commit(self, lease: LeaseId) -> None:
        self.stage.commit(lease, list_root(ListKind.RESULTS, self.claims[lease]))

    def take(self, lease: LeaseId) -> None:
        self.stage.chain.mine(9)
        taker = self.chance.choice([node for node in (1, 2, 3) if node != lease.node])
        self.replica_of[lease] = self.stage.take(lease, taker, slot=self.chance.randint(10, 19))

    def _block(self, lease: LeaseId) -> bytes:
        """What the replica, which is honest, found."""
        return RIGHT[self.stage.drawn[self.replica_of[lease]]]

    def commit_replica(self, lease: LeaseId) -> None:
        self.stage.commit(self.replica_of[lease], self._block(lease))

    def reveal_replica(self, lease: LeaseId) -> None:
        self.stage.reveal(self.replica_of[lease], self._block(lease))

    def reveal(self, lease: LeaseId) -> None:
        self.stage.chain.mine(20)
        self.stage.reveal(lease, list_root(ListKind.RESULTS, self.claims[lease]))

    def desert(self, lease: LeaseId) -> None:
        """The replica misses its turn, and the primary reveals alone."""
        self.stage.pass_time(15, 40)
        self.stage.reveal(lease, list_root(ListKind.RESULTS, self.claims[lease]))

    def reveal_paired(self, lease: LeaseId) -> None:
        self.stage.reveal_paired(lease, self.claims[lease], self.stage.drawn[self.replica_of[lease]])

    def finalise(self, lease: LeaseId) -> None:
        self.stage.pass_time()
        self.stage.by_node(1, self.stage.market.encode_finalise(self._both(lease)))

    def resolve(self, lease: LeaseId) -> None:
        self.stage.pass_time()
        self.stage.by_node(1, self.stage.market.encode_resolve([lease]))

    def wait(self, lease: LeaseId) -> None:
        """Too long, for everybody."""
        self.stage.pass_time(self.chance.choice([15, 3_600]), self.chance.choice([40, 100]))
        self.stage.by_node(1, self.stage.market.encode_expire(self._both(lease)))

    def _both(self, lease: LeaseId) -> list[LeaseId]:
        both = [lease, self.replica_of.get(lease, lease)]
        return both if self.chance.random() < 0.7 else both[1:]

    # The judge

    def _judge(self, function: str, lease: LeaseId) -> None:
        market, arbiter = self.stage.market, self.stage.deployment.arbiter
        self.stage.send(arbiter, market.address, market.abi.encode_call(function, [lease]))

    def convict(self, lease: LeaseId) -> None:
        self._judge("convict", self.chance.choice(self._both(lease)))

    def game(self, lease: LeaseId) -> None:
        """One is open while the window ends and the other side is paid; then it closes, or convicts."""
        accused = self.chance.choice(self._both(lease))
        self._judge("gameOpened", accused)
        self.finalise(lease)
        self._judge(self.chance.choice(["gameClosed", "convict"]), accused)


async def _reconciled(stage: Stage) -> tuple[Ledger, dict[str, int]]:
    ledger, position = await replay(stage.connection)
    found = await Reconciler(ledger, stage.connection, position).run()
    assert found.differences == ()
    assert all(task.conserved for task in ledger.tasks.values())
    return ledger, found.surplus


@pytest.mark.parametrize("seed", SEEDS)
async def test_books_and_storage_agree_along_a_random_walk(anvil: Anvil, deployed: Deployment, seed: int) -> None:
    stage = await open_stage(anvil, deployed)
    anvil.rpc("anvil_impersonateAccount", deployed.arbiter)
    anvil.rpc("anvil_setBalance", deployed.arbiter, hex(10**20))
    stage.prepare(nodes=3, stake=5_000 * UNIT)
    walk = Walk(stage, seed)
    walk.tasks = [
        stage.create(price=UNIT // 7, draw_bp=10_000, fee_percent=33, late_bp=777, stake_factor=150),
        stage.create(price=11, draw_bp=5_000, fee_percent=3),
    ]
    for _ in range(4):
        walk.post()
    async with stage.connection:
        for _ in range(3):
            for _ in range(45):
                walk.step()
            ledger, surplus = await _reconciled(stage)
    assert surplus["market"] == walk.gifts
    # Which endings came about depends on block hashes too; that some did is certain enough.
    assert any(lease.outcome is not Outcome.LIVE for lease in ledger.leases.values())
