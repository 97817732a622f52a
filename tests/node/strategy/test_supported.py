"""docs/supported.md is what the tests find: nothing trains wrongly, and the table is up to date.

OREBIT_DOCS=write writes it; OREBIT_LONG_TESTS=1 tries every training instead of a part of them.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from model_cases import Case, cases
from support import all_outcomes, document, operations, outcome, row

DOCUMENT = Path(__file__).parents[3] / "docs" / "supported.md"
LONG = os.environ.get("OREBIT_LONG_TESTS") == "1"
WRITING = os.environ.get("OREBIT_DOCS") == "write"
CASES = list(cases())
OUT_OF_DATE = f"{DOCUMENT.name} is out of date: run with OREBIT_DOCS=write, or `make docs`"


@pytest.mark.skipif(not WRITING, reason="OREBIT_DOCS=write writes docs/supported.md")
def test_the_table_is_written() -> None:
    DOCUMENT.write_text(document(all_outcomes()), encoding="utf-8")


@pytest.mark.skipif(WRITING, reason="the table is being written")
def test_the_table_of_operations_is_up_to_date() -> None:
    written = DOCUMENT.read_text(encoding="utf-8").splitlines()
    assert [line for line in operations() if line not in written] == [], OUT_OF_DATE


@pytest.mark.skipif(WRITING, reason="the table is being written")
@pytest.mark.parametrize("case", CASES if LONG else CASES[::9], ids=lambda case: f"{case.group}: {case.name}")
def test_a_training_does_what_the_table_says(case: Case) -> None:
    assert row(case, outcome(case)) in DOCUMENT.read_text(encoding="utf-8").splitlines(), OUT_OF_DATE
