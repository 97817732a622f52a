"""Trainings split over ranks, by data and by stage, take the reference executor's steps, bit for bit.

OREBIT_LONG_TESTS=1 tries every family of training instead of a part of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from rank_threads import ThreadGroup, in_ranks
from test_executors_agree import BITS, CASES, bits_of, traced

from orebit.executor.ranks import RanksExecutor
from orebit.executor.ranks.by_data import place_by_extent
from orebit.executor.ranks.by_stage import place_by_stage
from orebit.executor.ranks.placement import Placement
from orebit.executor.reference import ReferenceExecutor
from orebit.program.graph import Program
from orebit.strategy.training import TracedTraining

LONG = os.environ.get("OREBIT_LONG_TESTS") == "1"
STEPS = 2
BATCH = 4

PLACERS: dict[str, Callable[[Program, int], Placement]] = {
    "data": lambda program, ranks: place_by_extent(program, ranks, BATCH),
    "stage": lambda program, ranks: place_by_stage(program, ranks, small=0.0),
}


def states(training: TracedTraining, placement: Placement) -> list[list[list[bytes]]]:
    def run(group: ThreadGroup) -> list[list[bytes]]:
        inputs = training.program, training.constants_for(0), training.parameters(0, 0)
        executor = RanksExecutor(*inputs, split=placement, group=group)
        executor.start(training.initial_state)
        found = []
        for _ in range(STEPS):
            executor.advance()
            found.append(bits_of(executor.whole()))
        return found

    return in_ranks(placement.ranks, run)


@pytest.mark.parametrize("number", range(0, len(CASES), 1 if LONG else 60), ids=lambda n: CASES[n].name)
def test_steps_split_over_ranks_are_the_reference_executor_s(number: int) -> None:
    training = traced(CASES[number], BITS[number % len(BITS)])
    reference = ReferenceExecutor(training.program, training.constants_for(0), training.parameters(0, 0))
    state, wanted = training.initial_state, []
    for _ in range(STEPS):
        state = reference.step(state)
        wanted.append(bits_of(state))
    for split, place in PLACERS.items():
        for ranks in (2, 3):
            placement = place(training.program, ranks)
            assert states(training, placement) == [wanted] * ranks, (split, ranks)
