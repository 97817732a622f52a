"""States and moves have the fields of the contract's structs and functions, in their order."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args

import pytest
from worlds import zoo_world

from orebit.commitment import Shard
from orebit.dispute import Game, Phase, Side, arguments, game, moves, pack_state, packing, parse_state
from orebit.dispute.moves import NO_SHARD_FIELDS, Move, Open, Opener, Source, plain
from orebit.errors import ProgramError

INTERFACE = (Path(__file__).parents[3] / "contracts" / "interfaces" / "IDisputeCourt.sol").read_text()
STRUCTS = {
    "Game": game.GameState,
    "Posting": game.Posting,
    "Tensor": game.DisputedTensor,
    "Value": game.DisputedValue,
    "Shard": Shard,
    "Opening": moves.Opening,
    "Precommitment": moves.Precommitment,
    "Interval": moves.Interval,
    "Pick": moves.Pick,
    "NodeOpening": moves.NodeOpening,
    "Naming": moves.Naming,
    "Segment": moves.Segment,
    "Source": moves.Source,
    "Evidence": moves.InvalidityEvidence,
}
# `from` is a word of Python's.
OTHER_NAMES = {"from": "start", "to": "stop"}


def snake(name: str) -> str:
    name = OTHER_NAMES.get(name, name)
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda found: "_" + found[1].lower(), name)


def without_comments(text: str) -> str:
    return re.sub(r"//[^\n]*", "", text)


@pytest.mark.parametrize("name", STRUCTS)
def test_structs(name: str) -> None:
    found = re.search(rf"^struct {name} {{(.*?)^}}", without_comments(INTERFACE), re.S | re.M)
    assert found is not None
    declared = [snake(line.split()[-1]) for line in found[1].split(";") if line.split()]
    assert declared == [each.name for each in fields(STRUCTS[name])]


@pytest.mark.parametrize("move", [*get_args(Move), *get_args(Opener)])
def test_moves(move: Any) -> None:
    found = re.search(rf"function {move.call}\((.*?)\)", without_comments(INTERFACE), re.S)
    assert found is not None
    declared = [snake(part.split()[-1]) for part in found[1].split(",")]
    if move not in get_args(Opener):
        assert declared[:2] == ["id", "game"]
        declared = declared[2:]
    assert declared == [each.name for each in fields(move)]


@pytest.mark.parametrize(("name", "own"), [("Phase", Phase), ("Side", Side)])
def test_enumerations(name: str, own: Any) -> None:
    found = re.search(rf"^enum {name} {{(.*?)}}", without_comments(INTERFACE), re.S | re.M)
    assert found is not None
    declared = [snake(part.strip()).lower() for part in found[1].split(",")]
    assert [part.replace("_", "") for part in declared] == [each.name.lower().replace("_", "") for each in own]


def test_a_state_goes_to_bytes_and_back() -> None:
    world = zoo_world()
    entries = [bytes([1] * 32)] * world.shard.checkpoints
    state = Game(world.place.case(entries), Open(world.place.opening()), challenger="0x" + "11" * 20).state
    assert parse_state(pack_state(state)) == state
    posting = game.Posting(bytes([2] * 32), 128, 3, 7)
    assert parse_state(pack_state(replace(state, stack=(posting, posting)))).stack == (posting, posting)
    with pytest.raises(ProgramError):
        parse_state(pack_state(state)[:-1])


def test_a_state_s_bytes_are_its_fields_in_their_widths() -> None:
    def widths(name: str) -> list[int]:
        found = re.search(rf"^struct {name} {{(.*?)^}}", without_comments(INTERFACE), re.S | re.M)
        assert found is not None
        made: list[int] = []
        for type_ in (line.split()[0] for line in found[1].split(";") if line.split()):
            number = re.fullmatch(r"(uint|bytes)(\d+)", type_)
            if number is not None:
                made.append(int(number[2]) // (8 if number[1] == "uint" else 1))
            elif type_ in ("Posting", "Tensor", "Value", "Posting[]"):
                made += widths(type_.removesuffix("[]"))
            else:
                made.append({"LeaseId": 9, "address": 20, "Phase": 1, "Side": 1}[type_])
        return made

    world = zoo_world()
    entries = [bytes([1] * 32)] * world.shard.checkpoints
    state = Game(world.place.case(entries), Open(world.place.opening()), challenger="0x" + "11" * 20).state
    formats = f"{packing._HEAD} {packing._POSTING}".split()
    assert [int(each[1:]) for each in formats] == widths("Game")
    assert len(pack_state(replace(state, stack=(game.Posting(),)))) == sum(widths("Game"))


def test_a_source_without_a_shard_passes_an_empty_one() -> None:
    assert plain(Source())[-1] == NO_SHARD_FIELDS and len(NO_SHARD_FIELDS) == len(fields(Shard))
    (opening, _) = arguments(Open(zoo_world().place.opening()))
    assert isinstance(opening, tuple) and isinstance(opening[2], tuple) and isinstance(opening[3], list)
