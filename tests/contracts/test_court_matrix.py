"""docs/court-matrix.md on the contract: the same games, won by the same side in as many moves."""

from __future__ import annotations

import os

import pytest
from court_stage import Courtroom
from evm import reverts
from fraud_matrix import Cell, Scene, false_violation, found
from frauds import FRAUDS, Manner
from matrix_page import LEVELS, written

from orebit.dispute import Side

LONG = os.environ.get("OREBIT_LONG_TESTS") == "1"


def representatives(liar: Side) -> list[Cell]:
    """One cell of each level, another kind of fraud each."""
    cells = []
    for number, level in enumerate(LEVELS):
        row = [Cell(FRAUDS[(number + place) % len(FRAUDS)], level, liar) for place in range(len(FRAUDS))]
        cells += [cell for cell in row if not cell.reason and not cell.is_deep][:1]
    return cells


def cells() -> list[Cell]:
    if not LONG:
        return [cell for liar in Side for cell in representatives(liar)]
    return [cell for cell in written() if not cell.reason]


def played(courtroom: Courtroom, scene: Scene) -> str:
    """The game on the contract, which has the same state after every move as the rules in Python."""
    cell = scene.cell
    accused = courtroom.accuse(scene.world, scene.claimed)
    duel = courtroom.open_game_by(accused)
    honest, liar = scene.players(accused.result_path, lambda: duel.rules)
    while duel.winner is None:
        if duel.step(honest, liar):
            continue
        if cell.fraud.manner is Manner.CALL_INVALID and cell.liar is Side.DEFENDER:
            with reverts("NotInvalid", ..., ...):
                duel.call(false_violation(liar.evidence))
        duel.concede()
    return str(scene.outcome(duel.winner, duel.moves, duel.state.phase, honest, liar))


@pytest.mark.parametrize("cell", cells(), ids=str)
def test_the_honest_side_wins_on_the_chain(courtroom: Courtroom, cell: Cell) -> None:
    made = found(cell)
    assert made is not None
    assert played(courtroom, made[0]) == str(made[1]) == written()[cell]
