"""The ETH with the court: filled up before it falls below the floor, and never beyond the owner's limit."""

from __future__ import annotations

from typing import Any, cast

import pytest

from orebit.chain.court import Court
from orebit.chain.sender import Sender
from orebit.chain.types import NodeBook
from orebit.daemon.config import CourtSettings
from orebit.daemon.court.deposit import Deposit
from orebit.errors import AccountError

FLOOR = 1_000
NODE = 3


class Chain:
    """Court and sender in one."""

    address = "0xcourt"

    def __init__(self, deposit: int, enough: bool = True) -> None:
        self.deposit, self.enough = deposit, enough
        self.sent: list[tuple[str, int]] = []

    async def floor_of(self, node: int) -> int:
        return FLOOR

    async def node_of(self, node: int) -> NodeBook:
        return NodeBook(self.deposit, 0, 0, 0, 0, self.enough)

    def encode_deposit(self, node: int) -> bytes:
        return b"deposit"

    def encode_refresh_deposit(self, node: int) -> bytes:
        return b"refresh"

    async def send(self, to: str, calldata: bytes, *, label: str, value: int) -> Any:
        self.sent.append((calldata.decode(), value))
        self.deposit += value


def keeper(chain: Chain, **settings: Any) -> Deposit:
    made = CourtSettings.model_construct(margin=settings.get("margin", 1.5), deposit_most=settings.get("most", 5_000))
    return Deposit(cast(Court, chain), cast(Sender, chain), made, NODE)


@pytest.mark.parametrize(("held", "added"), [(0, 1_500), (999, 501), (1_100, 400), (1_150, 0), (1_500, 0), (9_000, 0)])
async def test_it_is_filled_up_to_the_margin_before_the_floor_is_reached(held: int, added: int) -> None:
    chain = Chain(held)
    assert await keeper(chain).fill() == added
    assert chain.sent == ([("deposit", added)] if added else [])


async def test_the_owner_s_limit_is_kept_where_it_suffices() -> None:
    chain = Chain(0)
    assert await keeper(chain, most=1_200).fill() == 1_200


async def test_a_limit_below_the_floor_is_told_with_the_setting_s_name() -> None:
    chain = Chain(500)
    with pytest.raises(AccountError, match=r"court\.deposit_most"):
        await keeper(chain, most=900).fill()
    assert chain.sent == []


async def test_a_bit_that_was_not_set_again_is_refreshed() -> None:
    chain = Chain(2_000, enough=False)
    assert await keeper(chain).fill() == 0
    assert chain.sent == [("refresh", 0)]


async def test_a_running_node_goes_on_when_it_cannot_fill_up() -> None:
    chain = Chain(0)
    made = keeper(chain, most=1)
    await made.look()
    assert (made.held, made.floor) == (0, FLOOR)
