"""Every executor of this machine against the oracle of plain integers.

OREBIT_LONG_TESTS=1 tries a million scalar operations and ten thousand programs an executor.
"""

from __future__ import annotations

import os

import pytest
from program_agreement import difference, disagreement
from rig_executors import every_executor, factory_of
from scalar_tables import OPERATIONS, SELECTS, differing, table

from orebit.executor.selection import REFERENCE
from orebit.program.opcodes import Op

LONG = os.environ.get("OREBIT_LONG_TESTS") == "1"
SCALARS = 1_000_000 if LONG else 20_000
# Not every default seed is that of another test file, so that each run sees programs of its own.
PROGRAMS = range(10_000, 20_000) if LONG else range(10_000, 10_100)
LARGER = range(50_000, 50_000 + (1_000 if LONG else 30))
CASES = [(op, arm) for op in OPERATIONS for arm in (SELECTS if op is Op.SELECT else SELECTS[:1])]


@every_executor
def test_scalar_operations_are_the_oracle_s(executor: str) -> None:
    factory = factory_of(executor)
    rows = -(-SCALARS // len(CASES))
    wrong = [text for op, arm in CASES for text in differing(factory, op, arm, table(op, arm, rows))]
    assert not wrong


@every_executor
@pytest.mark.parametrize("block", range(10))
def test_random_programs_give_the_oracle_s_state(executor: str, block: int) -> None:
    factory = factory_of(executor)
    for seed in PROGRAMS[block::10]:
        assert disagreement(factory, seed) is None


@every_executor
def test_larger_random_programs_give_the_reference_executor_s_state(executor: str) -> None:
    if executor == REFERENCE:
        pytest.skip("it is what others are compared with")
    factory = factory_of(executor)
    assert [found for seed in LARGER if (found := difference(factory, seed))] == []
