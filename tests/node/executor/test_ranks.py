from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from emulated_cuda import COMPILER, emulated
from random_programs import RandomProgram, as_array
from rank_threads import ThreadGroup, in_ranks, random_cut, random_owners
from rig_executors import factory_of

from orebit.executor.conformance import Factory
from orebit.executor.ranks import RanksExecutor
from orebit.executor.ranks.placement import Placement
from orebit.executor.reference import ReferenceExecutor
from orebit.executor.storage import Given
from orebit.program.descriptor import Source
from orebit.program.graph import Program

LONG = os.environ.get("OREBIT_LONG_TESTS") == "1"
STEPS = 2


def given(made: RandomProgram) -> dict[Source, list[Given]]:
    inputs, program = made.inputs(), made.program
    return {
        source: [as_array(v, spec) for v, spec in zip(inputs[source], program.specs(source), strict=True)]
        for source in Source
    }


def raw(state: Sequence[Given]) -> list[bytes]:
    return [tensor.contiguous().numpy().tobytes() for tensor in state]


def alone(program: Program, inputs: dict[Source, list[Given]]) -> list[list[bytes]]:
    executor = ReferenceExecutor(program, inputs[Source.CONSTANT], inputs[Source.PARAMETER])
    state, found = inputs[Source.STATE], []
    for _ in range(STEPS):
        state = executor.step(state)
        found.append(raw(state))
    return found


def together(
    program: Program, inputs: dict[Source, list[Given]], placement: Placement, factory: Factory = ReferenceExecutor
) -> list[list[list[bytes]]]:
    """The states after every step, of every rank; and what the ranks pass on is the state, each tensor once."""
    passed_on: list[int] = []

    def run(group: ThreadGroup) -> list[list[bytes]]:
        executor = RanksExecutor(
            program, inputs[Source.CONSTANT], inputs[Source.PARAMETER], split=placement, group=group, factory=factory
        )
        executor.start(inputs[Source.STATE])
        found = []
        for _ in range(STEPS):
            executor.advance()
            found.append(raw(executor.whole()))
        for number, tensor in executor.kept().items():
            passed_on.append(number)
            assert raw([tensor]) == [found[-1][number]]
        return found

    states = in_ranks(placement.ranks, run)
    assert sorted(passed_on) == list(range(program.header.state))
    return states


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("block", range(30 if LONG else 2))
def test_any_cut_of_any_program_has_the_reference_bits(ranks: int, block: int) -> None:
    checked = 0
    for seed in range(block * 25, block * 25 + (25 if LONG else 12)):
        made = RandomProgram(seed, 8, extents=(1, 2, 3, 4, 6))
        placement = random_cut(made.program, ranks, seed)
        if placement is not None:
            inputs = given(made)
            wanted = alone(made.program, inputs)
            assert together(made.program, inputs, placement) == [wanted] * ranks, seed
            checked += 1
    assert checked


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("block", range(30 if LONG else 2))
def test_nodes_on_any_ranks_have_the_reference_bits(ranks: int, block: int) -> None:
    for seed in range(block * 25, block * 25 + (25 if LONG else 12)):
        made = RandomProgram(seed, 8)
        inputs = given(made)
        placement = random_owners(made.program, ranks, seed)
        assert together(made.program, inputs, placement) == [alone(made.program, inputs)] * ranks, seed


@pytest.mark.parametrize("executor", ["fused", "emulated cuda"])
def test_parts_of_a_program_run_on_other_executors(
    executor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part renews other tensors than it reads, as no whole program does."""
    monkeypatch.setenv("OREBIT_CACHE", str(tmp_path))
    if executor == "emulated cuda" and not (LONG and COMPILER):
        pytest.skip("a compiler emulates the GPU, for minutes; OREBIT_LONG_TESTS=1 runs it where there is one")
    factory = factory_of("fused") if executor == "fused" else emulated()
    for seed in range(100 if LONG and executor == "fused" else 4):
        made = RandomProgram(500 + seed, 8, extents=(1, 2, 4, 6))
        inputs = given(made)
        wanted = alone(made.program, inputs)
        for placement in (random_cut(made.program, 2, seed), random_owners(made.program, 2, seed)):
            if placement is not None:
                assert together(made.program, inputs, placement, factory) == [wanted] * 2, seed
