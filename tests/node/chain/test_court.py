"""The court's bindings: names, states as bytes, and books of its ETH."""

from __future__ import annotations

from typing import Any, cast

import pytest
from eth_utils.crypto import keccak

from orebit.chain import abi, court_events
from orebit.chain.connection import Connection
from orebit.chain.court import Court
from orebit.chain.court_ledger import CourtLedger
from orebit.chain.deployment import Deployment
from orebit.chain.event import Place
from orebit.chain.types import DemandItem, LeaseId
from orebit.dispute import pack_state, parse_state
from orebit.dispute.game import GameState, Phase, Posting, Side
from orebit.dispute.moves import Descend, Pick, arguments

CHALLENGER = "0x" + "11" * 20
LEASE = LeaseId.of(3, 1, 9)
GAME = b"g" * 32
PLACE = Place(5, 0, b"b" * 32, b"t" * 32, "0x" + "04" * 20)


class Offline:
    """A connection that nobody asks."""

    deployment = Deployment.model_validate(
        {
            "chain_id": 31337,
            "genesis_hash": "0x" + "00" * 32,
            "block": 1,
            "token": "0x" + "01" * 20,
            "registry": "0x" + "02" * 20,
            "market": "0x" + "03" * 20,
            "arbiter": "0x" + "04" * 20,
        }
    )


@pytest.fixture
def court() -> Court:
    return Court(cast(Connection, Offline()))


def state() -> GameState:
    return GameState(
        lease=int(LEASE), position=2, challenger=CHALLENGER, opened=7, move_time=60, phase=Phase.NODES,
        turn=Side.CHALLENGER, shard=b"s" * 32, steps=100, interval=10, stack=(Posting(b"r" * 32, 0, 4, 7),),
    )  # fmt: skip


def test_every_event_and_function_of_the_players_is_the_contract_s(court: Court) -> None:
    known = {cls.__name__ for cls in court_events.CourtEvent.__subclasses__()}
    assert known == {entry.name for entry in abi.load("DisputeCourt").events.values()}
    assert {move.call for move in (Descend,)} <= set(court.abi.functions)


def test_a_move_carries_the_state_that_it_answers(court: Court) -> None:
    raw = pack_state(state())
    move = Descend(Pick(1, b"e" * 32, (b"p" * 32,)), (b"x" * 32,))
    calldata = court.encode_move(move.call, GAME, raw, arguments(move))
    decoded = abi.decode_parameters(court.abi.functions["descend"].inputs, calldata[4:], "descend")
    assert decoded[0] == GAME and parse_state(decoded[1]) == state()
    assert decoded[2][0] == 1 and list(decoded[3]) == [b"x" * 32]


def test_names_bind_chain_court_and_party(court: Court) -> None:
    game = court.game_id(LEASE, b"r" * 32, 2, CHALLENGER)
    assert game != court.game_id(LEASE, b"r" * 32, 3, CHALLENGER)
    assert game != court.game_id(LEASE, b"r" * 32, 2, "0x" + "12" * 20)
    hash_ = court.precommitment(LEASE, b"r" * 32, 2, b"o" * 32, CHALLENGER, b"salt" * 8)
    words = [31337, int("04" * 20, 16), int(LEASE), int.from_bytes(b"r" * 32), 2, int.from_bytes(b"o" * 32)]
    words += [int("11" * 20, 16), int.from_bytes(b"salt" * 8)]
    assert hash_ == keccak(b"".join(word.to_bytes(32) for word in words))
    assert court.demand_id(DemandItem(LEASE, 0, 0, 0)) != court.demand_id(DemandItem(LEASE, 0, 0, 1))


def test_a_revert_of_the_court_has_words() -> None:
    from orebit.chain.revert import decode_revert

    entry = next(entry for entry in abi.load("DisputeCourt").errors.values() if entry.name == "TooLate")
    assert decode_revert(entry.selector + (9).to_bytes(32)) == ("TooLate", {"deadline": 9})


def books(*told: Any) -> CourtLedger:
    ledger = CourtLedger()
    for event in told:
        ledger.apply(event)
    return ledger


OPENED = court_events.Opened(PLACE, GAME, LEASE, CHALLENGER, 100, 2)


def test_a_dismissed_game_leaves_nothing_of_its_bond() -> None:
    ledger = books(
        OPENED,
        court_events.Refunded(PLACE, GAME, "0xnode", 30),
        court_events.Dismissed(PLACE, GAME, LEASE, 70),
    )
    assert ledger.held == 0 and ledger.games[GAME].outcome == "dismissed"
    assert sum(ledger.flows.values()) == 100


def test_a_conviction_makes_the_prover_whole_from_the_deposit() -> None:
    ledger = books(
        court_events.DepositAdded(PLACE, 3, "0xowner", 500, 500),
        OPENED,
        court_events.Opened(PLACE, b"h" * 32, LEASE, "0xother", 100, 3),
        court_events.Refunded(PLACE, GAME, "0xnode", 40),
        court_events.Convicted(PLACE, LEASE, GAME, 1_000, 60),
        court_events.BondReturned(PLACE, GAME, CHALLENGER, 60),
        court_events.BondReturned(PLACE, b"h" * 32, "0xother", 100),
        court_events.BountyPaid(PLACE, LEASE, CHALLENGER, 1_000),
        court_events.Compensated(PLACE, LEASE, "0xother", 15),
        court_events.Credited(PLACE, CHALLENGER, 7),
    )
    assert ledger.deposits[3] == 500 - 60 - 15
    assert ledger.held == 425 + 7 and ledger.bounties[LEASE] == 0
    assert {game.outcome for game in ledger.games.values()} == {"proven", "overtaken"}
