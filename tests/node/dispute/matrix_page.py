"""docs/court-matrix.md: what the games of the matrix gave."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fraud_matrix import Cell, Level
from frauds import FRAUDS

from orebit.dispute import Side

DOCUMENT = Path(__file__).parents[3] / "docs" / "court-matrix.md"
OUT_OF_DATE = f"{DOCUMENT.name} is out of date: run with OREBIT_DOCS=write, or `make docs`"
NONE = "–"
LEVELS: list[Level | None] = [None, *Level]
TITLES = {Side.DEFENDER: "A false defender", Side.CHALLENGER: "A false challenger"}
_HEAD = """# Fraud, level by level

Written by the tests (`make docs`), which fail when it is out of date. Every cell is a game by the rules of
[court.md](court.md) between an honest player and a liar, and the honest side has won all of them. It says how many
moves the game took, the opening among them, and where it ended: with a false read *refuted*; with the program shown to
be *invalid*; or with what was posted last, to which the liar found no answer that the rules allow until its time ran
out.

- **Kind** (column): what the liar ran instead of the shard. It posts what its own run gave, so what it says fits
  together.
- **Level** (row): where it departs from that. There it posts something that contradicts its own posting above;
  below, it goes on with its own run, and with garbage where that leaves it nothing to say. *Nowhere*: it never
  departs.
- *Inconsistent postings*: nothing but contradictions from that level on. *Silence*: no move there. Until then both
  tell a wrong bit.
- *Program called invalid*: a false defender says so there of a valid program, which is refused. Against a false
  challenger the program is not valid, and the honest defender shows it at that level, not at once.
- *Below*: further down in a tree that has more levels than one posting. *Within*: states of a section that is one
  of more than 32; *partial results of one* likewise. At *element*, *partial results* and *reads* a false challenger
  names an element, picks a partial result or refutes, falsely.

`OREBIT_LONG_TESTS=1 pytest tests/contracts/test_court_matrix.py` plays the same games on the contract; without it,
one of each row.
"""


def document(cell: Callable[[Cell], str]) -> str:
    """The page."""
    parts = [_HEAD, *[_table(side, cell) for side in (Side.DEFENDER, Side.CHALLENGER)], _reasons()]
    return "\n".join(parts)


def _table(liar: Side, cell: Callable[[Cell], str]) -> str:
    lines = [f"## {TITLES[liar]}", "", f"| | {' | '.join(fraud.name for fraud in FRAUDS)} |"]
    lines.append("|---|" + "---:|" * len(FRAUDS))
    for level in LEVELS:
        cells = [cell(Cell(fraud, level, liar)) for fraud in FRAUDS]
        lines.append(f"| {level or 'nowhere'} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _reasons() -> str:
    """Why some cells are empty."""
    cells = [Cell(fraud, level, liar) for liar in TITLES for level in LEVELS for fraud in FRAUDS]
    reasons = dict.fromkeys(cell.reason for cell in cells if cell.reason)
    return "\n".join([f"{NONE}: there is no such game.", "", *[f"- {reason}" for reason in reasons], ""])


def written() -> dict[Cell, str]:
    """The cells of the page as it stands."""
    found: dict[Cell, str] = {}
    liar: Side | None = None
    labels = {level or "nowhere": level for level in LEVELS}
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        liar = next((side for side, title in TITLES.items() if line == f"## {title}"), liar)
        label, *cells = [part.strip() for part in line.strip("|").split("|")]
        if liar is not None and label in labels:
            level = labels[label]
            found |= {Cell(fraud, level, liar): cell for fraud, cell in zip(FRAUDS, cells, strict=True)}
    return found
