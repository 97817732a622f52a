"""After a conviction: deposits come free and everybody is paid, whoever proved it; nothing is settled too early."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from orebit.chain.court import Court
from orebit.chain.sender import Sender
from orebit.chain.types import DEADLINE_BLOCKS, Conviction, LeaseId
from orebit.daemon.court.aftermath import Aftermath
from orebit.daemon.court.docket import Docket
from orebit.daemon.decision import Clock
from orebit.daemon.journal import Journal
from orebit.daemon.view import View

NODE, OTHER = 7, 8
MISSED_DEMAND = b"\0" * 32
NOBODY = "0x" + "0" * 40


class Chain:
    """Court, sender and clock in one; a settlement pays claims until none is left."""

    address = "0xcourt"

    def __init__(self, settlements: int = 1) -> None:
        self.conviction = Conviction(100, 10, 5, 0, 0, False, NOBODY, 0)
        self.now = Clock(10 + DEADLINE_BLOCKS + 1, 106)
        self.sent: list[str] = []
        self._left = settlements

    async def clock(self) -> Clock:
        return self.now

    async def conviction_of(self, lease: LeaseId) -> Conviction:
        return self.conviction

    async def credit_of(self, who: str) -> int:
        return 0

    def encode_settle(self, lease: LeaseId, most: int) -> bytes:
        return b"settle"

    async def send(self, to: str, calldata: bytes, *, label: str, key: str | None) -> Any:
        self.sent.append(calldata.decode())
        self._left -= 1
        self.conviction = replace(self.conviction, settled=self._left == 0)


def convicted(folder: Path, chain: Chain, node: int) -> Aftermath:
    docket = Docket(Journal(folder / "journal.sqlite"))
    docket.convict(LeaseId.of(node, 1, 2), 10, MISSED_DEMAND)
    return Aftermath(docket, cast(Court, chain), cast(Sender, chain), cast(View, chain), NODE)


async def test_the_deposit_of_a_node_that_missed_a_demand_comes_free(tmp_path: Path) -> None:
    chain = Chain()
    aftermath = convicted(tmp_path, chain, NODE)
    await aftermath.look()
    assert chain.sent == ["settle"]
    await aftermath.look()
    assert chain.sent == ["settle"] and aftermath.docket.convictions() == []


async def test_more_claims_than_one_settlement_pays_are_paid_by_the_next(tmp_path: Path) -> None:
    chain = Chain(settlements=3)
    aftermath = convicted(tmp_path, chain, NODE)
    for _ in range(5):
        await aftermath.look()
    assert chain.sent == ["settle"] * 3 and aftermath.docket.convictions() == []


async def test_nothing_is_settled_while_others_may_claim(tmp_path: Path) -> None:
    chain = Chain()
    chain.now = Clock(10 + DEADLINE_BLOCKS, 106)
    aftermath = convicted(tmp_path, chain, NODE)
    await aftermath.look()
    assert chain.sent == [] and aftermath.docket.convictions()


async def test_a_lease_of_which_nothing_is_due_to_this_node_is_left_to_others(tmp_path: Path) -> None:
    chain = Chain()
    aftermath = convicted(tmp_path, chain, OTHER)
    await aftermath.look()
    assert chain.sent == [] and aftermath.docket.convictions() == []
