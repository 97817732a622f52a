"""Bonds and refunds: each move of the defender is paid out of its challenger's bond, and what is left of a lost bond is
burnt; a crowd of games is dear."""

from __future__ import annotations

import functools

import pytest
from court_stage import CAP, GWEI, Courtroom, Duel, Sides, scene
from eth_utils import keccak
from evm import reverts
from liars import flipped_bit
from market_steps import State, person
from worlds import World, wide_world

from orebit.dispute import Phase, Side

NOBODY = "0x" + "00" * 20
GAMES = 5
"""Storage slot of the mapping of games."""


@functools.cache
def world() -> World:
    return wide_world(3, steps=50, interval=4)


@functools.cache
def sides(liar: Side) -> Sides:
    return Sides(world(), flipped_bit(21, len(world().program.nodes) - 1, 0, 0), liar)


def opened(courtroom: Courtroom) -> tuple[Duel, int]:
    """A game that the defender may answer, and its bond."""
    accused = courtroom.accuse(world(), sides(Side.DEFENDER).claimed)
    return courtroom.open_game_by(accused), courtroom.bond(accused)


def answer(courtroom: Courtroom, duel: Duel, **transaction: int) -> int:
    """The defender answers. Wei that it was paid."""
    honest, lying = sides(Side.DEFENDER).players(duel.accused)
    lying.see(duel.state, duel.posted)
    sender = duel.mover
    before = courtroom.balance_of(sender)
    receipt = duel.play(lying.move(), **transaction)
    paid = receipt.one("Refunded")
    assert (paid.game, paid.to) == (duel.id, sender)
    price = transaction.get("price", 0)
    assert courtroom.balance_of(sender) == before - receipt.gas * price + paid.amount
    return int(paid.amount)


def test_the_bond_is_exact_and_what_is_paid_beyond_is_credited(courtroom: Courtroom) -> None:
    accused = courtroom.accuse(world())
    bond = courtroom.bond(accused)
    assert bond == 2 * 2_250_000 * CAP * 5 // 4
    with reverts("BondShort", bond, bond - 1):
        courtroom.open_game_by(accused, value=bond - 1)
    duel = courtroom.open_game_by(accused, value=bond + 7)
    assert duel.book.bond == bond
    credited = duel.opened.one("Credited")
    assert (credited.to, credited.amount) == (courtroom.challenger, 7)
    before = courtroom.balance_of(courtroom.stranger)
    courtroom.court.withdrawCredit(courtroom.stranger, sender=courtroom.challenger)
    assert courtroom.balance_of(courtroom.stranger) == before + 7
    with reverts("NothingToWithdraw", courtroom.challenger):
        courtroom.court.withdrawCredit(courtroom.stranger, sender=courtroom.challenger)


def test_a_defender_is_paid_a_quarter_above_its_gas(courtroom: Courtroom) -> None:
    duel, bond = opened(courtroom)
    paid = answer(courtroom, duel, price=GWEI)
    assert paid > duel.receipt.gas * GWEI * 5 // 4
    assert duel.book.bond == bond - paid and duel.state.costs == paid


@pytest.mark.parametrize(
    ("base_fee", "price", "refunded"),
    [(0, 1, 1), (0, 50, 2), (7, 9, 9), (7, 8, 8), (7, 30, 9), (18, 20, 20), (19, 40, 20), (30, 40, 20)],
)
def test_the_price_is_the_lowest_of_three(courtroom: Courtroom, base_fee: int, price: int, refunded: int) -> None:
    """Gas price, base fee + 2 gwei, cap."""
    duel, _ = opened(courtroom)
    with courtroom.chain.undone():
        at_one = answer(courtroom, duel, price=GWEI)
    duel, _ = opened(courtroom)
    courtroom.chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(base_fee * GWEI))
    try:
        assert answer(courtroom, duel, price=price * GWEI) == at_one * refunded
    finally:
        courtroom.chain.rpc("anvil_setNextBlockBaseFeePerGas", "0x0")


def test_a_challenger_s_own_moves_are_its_costs(courtroom: Courtroom) -> None:
    duel, honest, lying = scene(courtroom, sides(Side.DEFENDER), Phase.CHECKPOINTS)
    assert duel.state.costs == 0  # the gas was free
    bond = duel.book.bond
    assert duel.step(honest, lying, price=GWEI)
    assert duel.book.bond == bond and duel.state.costs > duel.receipt.gas * GWEI * 5 // 4
    assert not duel.receipt.named("Refunded")


def test_what_is_left_of_a_lost_bond_is_burnt(courtroom: Courtroom) -> None:
    accused = courtroom.accuse(world(), sides(Side.CHALLENGER).claimed)
    duel = courtroom.open_game_by(accused)
    honest, lying = sides(Side.CHALLENGER).players(accused)
    assert duel.step(honest, lying, price=GWEI)
    left, before = duel.book.bond, courtroom.balance_of(NOBODY)
    courtroom.pass_move(duel)
    receipt = duel.timeout()
    dismissed = receipt.one("Dismissed")
    assert (dismissed.game, dismissed.lease, dismissed.burnt) == (duel.id, accused.lease.id, left)
    assert courtroom.balance_of(NOBODY) == before + left
    assert (duel.book.state, duel.book.bond, duel.book.order) == (bytes(32), 0, 0)
    assert courtroom.info(accused.lease).games == courtroom.court.nodeOf(accused.lease.node.id).games == 0
    assert courtroom.state(accused.lease) is State.REVEALED


def test_who_tells_that_a_challenger_is_silent_is_paid_out_of_its_bond(courtroom: Courtroom) -> None:
    duel, _ = opened(courtroom)
    answer(courtroom, duel)
    courtroom.pass_move(duel)
    left = duel.book.bond
    receipt = duel.timeout(courtroom.rich(courtroom.stranger), price=GWEI)
    paid = receipt.one("Refunded")
    assert (paid.game, paid.to) == (duel.id, courtroom.stranger)
    assert receipt.gas * GWEI * 5 // 4 < paid.amount < receipt.gas * GWEI * 3 // 2
    assert receipt.one("Dismissed").burnt == left - paid.amount


def test_refunds_end_with_the_bond(courtroom: Courtroom) -> None:
    """A bond outlasts every game at the cap; here it is shortened by hand, and the defender still moves."""
    duel, bond = opened(courtroom)
    few = 1000
    place = int.from_bytes(keccak(duel.id + GAMES.to_bytes(32, "big")), "big") + 1
    word = int(courtroom.chain.rpc("eth_getStorageAt", courtroom.court.address, hex(place), "latest"), 16)
    assert word & (2**96 - 1) == bond
    shortened = word - bond + few
    courtroom.chain.rpc("anvil_setStorageAt", courtroom.court.address, hex(place), f"0x{shortened:064x}")
    held = courtroom.balance_of(courtroom.court) - bond + few
    courtroom.chain.rpc("anvil_setBalance", courtroom.court.address, hex(held))
    assert answer(courtroom, duel, price=GWEI) == few
    assert duel.book.bond == 0 and duel.state.costs == few


def test_every_sixteenth_game_doubles_the_bond(courtroom: Courtroom) -> None:
    """But for the first game on a lease of the requester, and of the other of a pair."""
    pair = courtroom.accuse_pair(world(), sides(Side.DEFENDER).claimed, "primary", blockLog2=1)
    accused, peer = pair["primary"], pair["replica"].lease.node
    base, lease = courtroom.bond(accused), accused.lease
    requester = lease.batch.task.requester
    for n in range(16):
        assert courtroom.bond(accused) == base
        courtroom.open_game_by(accused, challenger=person(f"challenger {n}"))
    assert courtroom.bond(accused) == 2 * base
    for exempt in (requester, peer.operator, peer.owner):
        assert courtroom.bond(accused, exempt) == base
    courtroom.open_game_by(accused, challenger=requester)
    courtroom.open_game_by(accused, challenger=peer.operator)
    for used in (requester, peer.operator, peer.owner):
        assert courtroom.bond(accused, used) == 2 * base
    with reverts("BondShort", 2 * base, base):
        courtroom.open_game_by(accused, challenger=peer.owner, value=base)
    other = courtroom.accuse(world(), node=lease.node)
    assert courtroom.bond(other, other.lease.batch.task.requester) == base
    assert courtroom.bond(other, peer.operator) == 2 * base


def test_a_bond_comes_down_when_games_end(courtroom: Courtroom) -> None:
    accused = courtroom.accuse(world(), challengeSeconds=2000)
    duels = [
        courtroom.open_game_by(accused, accused.open_at(3), challenger=person(f"challenger {n}")) for n in range(16)
    ]
    base = courtroom.bond(accused) // 2
    courtroom.pass_move(duels[-1])
    duels[0].timeout()
    assert courtroom.bond(accused) == base
