"""Convictions: who is paid, and in which order."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import pytest
from court_stage import GWEI, Accused, Courtroom, Duel, Sides, roots_of
from eth_utils import keccak
from evm import reverts
from liars import flipped_bit
from market_steps import State, person
from worlds import World, wide_world

from orebit.commitment import EMPTY, ListKind, list_root, merkle
from orebit.dispute import Phase, Precommitment, Side

X = b"x" * 32
NONE = EMPTY
NODES = 7
"""Storage slot of the mapping of nodes."""


@functools.cache
def world() -> World:
    return wide_world(3, steps=50, interval=4)


@functools.cache
def sides() -> Sides:
    return Sides(world(), flipped_bit(21, len(world().program.nodes) - 1, 0, 0), Side.DEFENDER)


@pytest.fixture
def accused(courtroom: Courtroom) -> Accused:
    return courtroom.accuse(world(), sides().claimed, moveTime=50, challengeSeconds=3000)


def truth() -> list[bytes]:
    return roots_of(world().truth)


def challenge(
    courtroom: Courtroom, accused: Accused, name: str, own: Sequence[bytes] | None = None, committed: bool = True
) -> Duel:
    """A game by somebody who had pre-committed to its checkpoints (the truth unless given)."""
    challenger = courtroom.rich(person(name))
    given = courtroom.precommit(accused, own or truth(), challenger) if committed else None
    return courtroom.open_game_by(accused, accused.open(given), challenger)


def advance(duel: Duel, until: Phase | None = None) -> None:
    """Plays honestly against the lying defender, to the end or until that was posted by the challenger."""
    honest, lying = sides().players(duel.accused)
    while duel.winner is None:
        if duel.state.phase is until and duel.state.turn is Side.DEFENDER:
            return
        if not duel.step(honest, lying, price=GWEI):
            duel.concede()


def win(duel: Duel) -> None:
    advance(duel)
    assert duel.winner is Side.CHALLENGER


def claim(duel: Duel, own: Sequence[bytes] | None = None, hint: bytes = NONE) -> None:
    state = duel.state
    path = merkle.path(merkle.tree(list(own or truth())), state.checkpoint)
    duel.stage.court.claim(duel.id, duel.values, path, hint, sender=duel.stage.stranger)


def pass_claims(courtroom: Courtroom, accused: Accused) -> None:
    conviction = courtroom.court.convictionOf(accused.lease.id)
    courtroom.pass_moment(conviction.blockNumber + 32, conviction.time + conviction.moveTime)


def settle(courtroom: Courtroom, accused: Accused, most: int = 100) -> str | None:
    """Who got the bounty."""
    pass_claims(courtroom, accused)
    receipt = courtroom.court.settle(accused.lease.id, most, sender=courtroom.stranger)
    paid = receipt.named("BountyPaid")
    return paid[0].fields["to"] if paid else None


def leave(courtroom: Courtroom, accused: Accused, amount: int) -> None:
    """Takes a node's deposit away by hand, but for so much."""
    node, court = accused.lease.node.id, courtroom.court
    key = keccak(node.to_bytes(32, "big") + NODES.to_bytes(32, "big")).hex().removeprefix("0x")
    word = int(courtroom.chain.rpc("eth_getStorageAt", court.address, "0x" + key, "latest"), 16)
    taken = court.nodeOf(node).deposit - amount
    courtroom.chain.rpc("anvil_setStorageAt", court.address, "0x" + key, f"0x{word - taken:064x}")
    courtroom.chain.rpc("anvil_setBalance", court.address, hex(courtroom.balance_of(court) - taken))
    assert court.nodeOf(node).deposit == amount


def bounty(accused: Accused) -> int:
    return accused.lease.stake // 4


def test_a_conviction(courtroom: Courtroom, accused: Accused) -> None:
    duel = challenge(courtroom, accused, "alone")
    bond, deposit = duel.book.bond, courtroom.court.nodeOf(accused.lease.node.id).deposit
    advance(duel, Phase.LEAF)
    costs, left = duel.state.costs, duel.book.bond
    assert costs > bond - left > 0
    before = courtroom.balance_of(duel.challenger)
    honest, lying = sides().players(accused)
    while duel.winner is None:
        if not duel.step(honest, lying):
            duel.concede()
    told = courtroom.court.convictionOf(accused.lease.id)
    assert (told.prover, told.proof) == (duel.challenger, int.from_bytes(duel.id[-12:], "big"))
    assert (told.bounty, told.games, told.moveTime) == (bounty(accused), 0, 50)
    assert courtroom.state(accused.lease) is State.SLASHED
    assert courtroom.balance_of(duel.challenger) == before + left + duel.state.costs
    node = courtroom.court.nodeOf(accused.lease.node.id)
    assert (node.deposit, node.games) == (deposit - duel.state.costs, 0)
    assert courtroom.token.balanceOf(courtroom.court.address) == bounty(accused)
    with reverts("NothingToWithdraw", duel.challenger):
        courtroom.court.returnBond(duel.id, duel.values, sender=courtroom.stranger)


def test_the_only_prover_gets_the_bounty_with_or_without_a_precommit(courtroom: Courtroom, accused: Accused) -> None:
    duel = challenge(courtroom, accused, "alone", committed=False)
    win(duel)
    with reverts("NotYet", ...):
        courtroom.court.settle(accused.lease.id, 1, sender=courtroom.stranger)
    with reverts("NothingToClaim", duel.id):
        claim(duel)
    assert settle(courtroom, accused) == duel.challenger
    assert courtroom.token.balanceOf(duel.challenger) == bounty(accused)
    assert settle(courtroom, accused) is None


def test_the_bounty_goes_to_the_earliest_precommit_with_the_prover_s_root(
    courtroom: Courtroom, accused: Accused
) -> None:
    early = challenge(courtroom, accused, "early")
    late = challenge(courtroom, accused, "late")
    advance(early, Phase.STATES)
    win(late)
    claim(late)
    claim(early)
    assert settle(courtroom, accused) == early.challenger
    assert courtroom.token.balanceOf(late.challenger) == 0


def test_who_only_copies_moves_gets_none(courtroom: Courtroom, accused: Accused) -> None:
    """It proves first, with moves that it read off another's game, but it had committed to nothing."""
    owner = challenge(courtroom, accused, "owner")
    advance(owner, Phase.STATES)
    copier = challenge(courtroom, accused, "copier", committed=False)
    win(copier)
    claim(owner)
    assert settle(courtroom, accused) == owner.challenger


@pytest.mark.parametrize("salt", [b"s" * 32, b"t" * 32])
def test_a_precommit_is_nobody_else_s(courtroom: Courtroom, accused: Accused, salt: bytes) -> None:
    given = courtroom.precommit(accused, truth(), person("owner"))
    thief = courtroom.rich(person("thief"))
    with reverts("UnknownPrecommitment", ...):
        courtroom.open_game_by(accused, accused.open(Precommitment(given.checkpoints, salt)), thief)


def test_a_precommit_precedes_the_opening_by_a_block(courtroom: Courtroom, accused: Accused) -> None:
    """In one block, whoever sees an opening could commit before it."""
    challenger = courtroom.rich(person("owner"))
    with reverts("PrecommittedTooLate", ...):
        courtroom.precommit_and_open(accused, truth(), challenger)


def test_a_precommit_keeps_its_first_rank(courtroom: Courtroom, accused: Accused) -> None:
    given = courtroom.precommit(accused, truth(), person("owner"))
    digest = courtroom.precommit_hash(accused, given.checkpoints, person("owner"), given.salt)
    rank, block = courtroom.court.precommitOf(digest)
    assert rank == 2 and block == courtroom.chain.block
    courtroom.precommit(accused, truth(), person("another"))
    courtroom.court.precommit(digest, sender=courtroom.stranger)
    assert courtroom.court.precommitOf(digest) == (rank, block)
    assert courtroom.open_game_by(accused, accused.open(given), person("owner")).book.order == 2


def test_garbage_is_no_root_of_the_prover_s(courtroom: Courtroom, accused: Accused) -> None:
    """A cheat's other name committed first, to something else: it is passed over."""
    garbage = [X, *truth()[1:]]
    alias = challenge(courtroom, accused, "alias", garbage)
    honest = challenge(courtroom, accused, "honest")
    advance(alias, Phase.STATES)
    win(honest)
    claim(alias, garbage)
    claim(honest, hint=alias.id)
    assert settle(courtroom, accused) == honest.challenger


def test_a_claim_shows_the_posted_entry_under_its_own_root(courtroom: Courtroom, accused: Accused) -> None:
    other = [*truth()[:5], X, *truth()[6:]]
    duel = challenge(courtroom, accused, "alias", other)
    win(duel)
    assert duel.state.checkpoint == 5
    with reverts("WrongOpening", ..., ...):
        claim(duel, other)
    with reverts("WrongPathLength", 0, 4):
        courtroom.court.claim(duel.id, duel.values, [], NONE, sender=courtroom.stranger)
    assert settle(courtroom, accused) == duel.challenger  # as one who had committed to nothing


def test_a_sampling_auditor_commits_to_the_defender_s_list_with_its_own_entry(
    courtroom: Courtroom, accused: Accused
) -> None:
    own = [*accused.checkpoints[:5], truth()[5], *accused.checkpoints[6:]]
    challenger = courtroom.rich(person("auditor"))
    given = courtroom.precommit(accused, own, challenger)
    duel = courtroom.open_game_by(accused, accused.open_at(5, given), challenger)
    win(duel)
    claim(duel, own)
    assert settle(courtroom, accused) == challenger


def test_whoever_let_its_time_pass_blocks_nobody(courtroom: Courtroom, accused: Accused) -> None:
    idle = challenge(courtroom, accused, "idle")
    advance(idle, Phase.STATES)
    honest, lying = sides().players(accused)
    assert idle.step(honest, lying) and idle.state.turn is Side.CHALLENGER
    active = challenge(courtroom, accused, "active")
    courtroom.pass_move(idle)
    courtroom.chain.mine()
    fresh = challenge(courtroom, accused, "fresh")
    win(fresh)
    with reverts("NothingToClaim", idle.id):
        claim(idle)
    with reverts("NothingToClaim", active.id):
        claim(active)  # its defender was late, but it has posted nothing that proves its root
    claim(fresh)
    assert settle(courtroom, accused) == fresh.challenger
    courtroom.court.returnBond(idle.id, idle.values, sender=courtroom.stranger)


def test_the_first_proof_ends_every_other_game(courtroom: Courtroom, accused: Accused) -> None:
    first, second, third = (challenge(courtroom, accused, name) for name in ("first", "second", "third"))
    advance(second, Phase.STATES)
    win(first)
    honest, lying = sides().players(accused)
    for player in (honest, lying):
        player.see(second.state, second.posted)
    with reverts("AlreadyConvicted", accused.lease.id):
        second.call(lying.move())
    with reverts("AlreadyConvicted", accused.lease.id):
        third.timeout()
    with reverts("WrongState", accused.lease.id, State.SLASHED):
        challenge(courtroom, accused, "fourth")
    for duel in (second, third):
        left, before = duel.book.bond, courtroom.balance_of(duel.challenger)
        returned = courtroom.court.returnBond(duel.id, duel.values, sender=courtroom.stranger).one("BondReturned")
        assert (returned.to, returned.amount) == (duel.challenger, left)
        assert courtroom.balance_of(duel.challenger) == before + left
        with reverts("NothingToWithdraw", duel.challenger):
            courtroom.court.returnBond(duel.id, duel.values, sender=courtroom.stranger)
    claim(second)  # its bond has gone home, its claim is the same


def test_no_bond_returns_before_a_conviction(courtroom: Courtroom, accused: Accused) -> None:
    duel = challenge(courtroom, accused, "first")
    with reverts("NotConvicted", accused.lease.id):
        courtroom.court.returnBond(duel.id, duel.values, sender=duel.challenger)
    with reverts("NotConvicted", accused.lease.id):
        claim(duel)
    with reverts("NotConvicted", accused.lease.id):
        courtroom.court.settle(accused.lease.id, 1, sender=duel.challenger)


def test_claims_are_made_in_time(courtroom: Courtroom, accused: Accused) -> None:
    duel = challenge(courtroom, accused, "first")
    win(duel)
    conviction = courtroom.court.convictionOf(accused.lease.id)
    for moment in (
        (conviction.blockNumber + 33, conviction.time + 50),
        (conviction.blockNumber + 32, conviction.time + 51),
    ):
        with courtroom.chain.undone():
            courtroom.next_at(*moment)
            claim(duel)
    pass_claims(courtroom, accused)
    with reverts("TooLate", conviction.time + 50):
        claim(duel)


def test_costs_are_paid_by_rank_until_the_deposit_is_empty(courtroom: Courtroom, accused: Accused) -> None:
    duels = [challenge(courtroom, accused, name) for name in ("a", "b", "c", "d")]
    for duel in duels[:3]:
        advance(duel, Phase.STATES)
    win(duels[3])
    leave(courtroom, accused, duels[0].state.costs + duels[1].state.costs // 2)
    claim(duels[2])
    claim(duels[3], hint=duels[2].id)
    claim(duels[0])
    claim(duels[1], hint=duels[0].id)
    before = [courtroom.balance_of(duel.challenger) for duel in duels]
    pass_claims(courtroom, accused)
    first = courtroom.court.settle(accused.lease.id, 1, sender=courtroom.stranger)
    assert courtroom.court.nodeOf(accused.lease.node.id).unsettled == 1
    assert [event.fields["to"] for event in first.named("Compensated")] == [duels[0].challenger]
    courtroom.court.settle(accused.lease.id, 100, sender=courtroom.stranger)
    gained = [courtroom.balance_of(duel.challenger) - was for duel, was in zip(duels, before, strict=True)]
    assert gained == [duels[0].state.costs, duels[1].state.costs // 2, 0, 0]
    node = courtroom.court.nodeOf(accused.lease.node.id)
    assert (node.deposit, node.unsettled) == (0, 0)


def test_a_hint_names_the_place_in_the_queue(courtroom: Courtroom, accused: Accused) -> None:
    duels = [challenge(courtroom, accused, name) for name in ("a", "b", "c")]
    for duel in duels[:2]:
        advance(duel, Phase.STATES)
    win(duels[2])
    claim(duels[1])
    for wrong in (duels[0].id, duels[1].id, X):
        with reverts("WrongHint", wrong):
            claim(duels[0], hint=wrong)
    with reverts("WrongHint", NONE):
        claim(duels[2])
    with reverts("ClaimExists", duels[1].id):
        claim(duels[1])
    claim(duels[0])
    with reverts("WrongHint", duels[0].id):
        claim(duels[2], hint=duels[0].id)
    claim(duels[2], hint=duels[1].id)


@pytest.mark.parametrize("liar", ["primary", "replica"])
def test_the_other_of_a_pair_counts_as_precommitted(courtroom: Courtroom, liar: str) -> None:
    """By its commit, before anybody's pre-commit: it opens its own result."""
    pair = courtroom.accuse_pair(world(), sides().claimed, liar, blockLog2=1, challengeSeconds=3000)
    accused = pair.pop(liar)
    (own,) = pair.values()
    early = challenge(courtroom, accused, "early")
    paired = Precommitment(merkle_root(truth()), paired=True, path=own.result_path)
    duel = courtroom.open_game_by(accused, accused.open(paired), own.lease.node.operator)
    assert (early.book.order, duel.book.order) == (2, 1)
    advance(duel, Phase.STATES)
    win(early)
    claim(early)
    claim(duel)
    assert settle(courtroom, accused) == duel.challenger


def merkle_root(entries: Sequence[bytes]) -> bytes:
    return list_root(ListKind.CHECKPOINTS, list(entries))


def test_only_the_other_of_the_pair_is_paired(courtroom: Courtroom, accused: Accused) -> None:
    pair = courtroom.accuse_pair(world(), sides().claimed, "primary", blockLog2=1)
    own = pair["replica"]
    paired = Precommitment(merkle_root(truth()), paired=True, path=own.result_path)
    for stranger in (courtroom.challenger, pair["primary"].lease.node.operator):
        with reverts("NotPaired", pair["primary"].lease.id):
            courtroom.open_game_by(pair["primary"], pair["primary"].open(paired), stranger)
    with reverts("NotPaired", accused.lease.id):
        courtroom.open_game_by(accused, accused.open(paired), own.lease.node.operator)
    other = Precommitment(X, paired=True, path=own.result_path)
    with reverts("WrongOpening", ..., ...):
        courtroom.open_game_by(pair["primary"], pair["primary"].open(other), own.lease.node.operator)


def test_a_payment_that_fails_is_credited(courtroom: Courtroom, accused: Accused) -> None:
    """A challenger that takes no money cannot keep a node from being convicted, nor a node from moving."""
    duel = challenge(courtroom, accused, "contract")
    advance(duel, Phase.STATES)
    # A contract without code for receiving: every call to it reverts.
    courtroom.chain.rpc("anvil_setCode", duel.challenger, "0x5f5ffd")
    win(duel)
    left = courtroom.court.creditOf(duel.challenger)
    assert left > duel.state.costs
    courtroom.chain.rpc("anvil_setCode", duel.challenger, "0x")
    before = courtroom.balance_of(duel.challenger)
    courtroom.court.withdrawCredit(duel.challenger, sender=duel.challenger)
    assert courtroom.balance_of(duel.challenger) == before + left
