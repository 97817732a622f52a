"""Every kind of fraud at every level by either side loses, and docs/court-matrix.md says after how many moves.

OREBIT_DOCS=write writes the page. Games over thousands of checkpoints take minutes: OREBIT_LONG_TESTS=1 plays them too.
"""

from __future__ import annotations

import os

import pytest
from fraud_matrix import Cell, Level, found
from frauds import FRAUDS
from matrix_page import DOCUMENT, LEVELS, NONE, OUT_OF_DATE, document, written

from orebit.dispute import Side

LONG = os.environ.get("OREBIT_LONG_TESTS") == "1"
WRITING = os.environ.get("OREBIT_DOCS") == "write"
CHECKING = pytest.mark.skipif(WRITING, reason="the page is being written")


def outcome(cell: Cell) -> str:
    """What the cell's game gave; it is there exactly if nothing speaks against it."""
    if cell.level is None and cell.reason:
        return NONE
    made = found(cell)
    assert (made is None) == (cell.reason is not None), f"{cell}: {made}, although {cell.reason}"
    return NONE if made is None else str(made[1])


@pytest.mark.skipif(not WRITING, reason="OREBIT_DOCS=write writes docs/court-matrix.md")
def test_the_page_is_written() -> None:
    DOCUMENT.write_text(document(outcome), encoding="utf-8")


@CHECKING
def test_the_page_has_every_cell() -> None:
    known = written()
    assert document(known.__getitem__) == DOCUMENT.read_text(encoding="utf-8"), OUT_OF_DATE
    assert {cell for cell, given in known.items() if given == NONE} == {cell for cell in known if cell.reason}


@CHECKING
@pytest.mark.parametrize("liar", list(Side), ids=["false-challenger", "false-defender"])
@pytest.mark.parametrize("level", LEVELS)
def test_the_honest_side_wins(level: Level | None, liar: Side) -> None:
    known = written()
    for fraud in FRAUDS:
        cell = Cell(fraud, level, liar)
        if LONG or not cell.is_deep:
            assert outcome(cell) == known[cell], f"{cell}: {OUT_OF_DATE}"
