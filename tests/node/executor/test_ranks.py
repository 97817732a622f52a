from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from emulated_cuda import COMPILER, emulated
from random_programs import RandomProgram, as_array
from rank_threads import ThreadGroup, in_ranks, random_cut, random_owners
from rig_executors import factory_of

from orebit.errors import ExecutionError
from orebit.executor.conformance import Factory
from orebit.executor.hardware import Split
from orebit.executor.memory import independent_of_state
from orebit.executor.ranks import RanksExecutor
from orebit.executor.ranks.cuts import Cuts
from orebit.executor.ranks.executor import PLACERS
from orebit.executor.ranks.placement import Placement
from orebit.executor.ranks.schedule import Schedule
from orebit.executor.ranks.segments import levels_of
from orebit.executor.reference import ReferenceExecutor
from orebit.executor.storage import Given
from orebit.numerics.types import DType
from orebit.program import index_map as maps
from orebit.program.builder import Builder
from orebit.program.descriptor import Kind, Source
from orebit.program.expression import ExpressionBuilder
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


def reduction(kind: Kind) -> Program:
    """A row's maximum or sum as new state."""
    dtype = DType.F32 if kind is Kind.MAX else DType.I64
    builder = Builder()
    rows, _ = builder.state(dtype, (6, 4)), builder.state(dtype, (6,))
    view = rows.view(maps.identity(2))
    reduced = builder.max(view, (6,), (4,)) if kind is Kind.MAX else builder.sum(view, (6,), (4,))
    return builder.finish([rows, reduced])


@pytest.mark.parametrize("ranks", [2, 3, 4])
@pytest.mark.parametrize("kind", [Kind.MAX, Kind.SUM])
def test_partial_results_are_completed_in_the_order_and_the_range_of_their_type(kind: Kind, ranks: int) -> None:
    """Zeros of both signs, negative numbers only, infinities, NaN; sums that wrap."""
    program = reduction(kind)
    nan, infinity, least, greatest = float("nan"), float("inf"), -(1 << 63), (1 << 63) - 1
    values = {
        Kind.MAX: np.array(
            [[-0.0, 0, -0.0, -0.0], [-1, -2, -3, -4], [-4, -3, -2, -1e-45], [nan, 1, 2, infinity], [-infinity] * 4]
            + [[1, -5, 3, 2]],
            np.float32,
        ),
        Kind.SUM: np.array(
            [[greatest] * 4, [least] * 4, [greatest, 1, 0, 0], [least, -1, 5, 0], [0] * 4, [1, 2, 3, 4]]
        ),
    }[kind]
    inputs = {Source.STATE: [values, values[:, 0].copy()], Source.CONSTANT: [], Source.PARAMETER: []}
    axes: list[int | None] = [1 if program.descriptor(n).kind is kind else None for n in range(len(program.nodes))]
    assert axes.count(1) == 1
    placement = Placement(program, ranks, Cuts(4, ranks), axes, [None] * len(axes))
    assert together(program, inputs, placement) == [alone(program, inputs)] * ranks


def test_ranks_that_were_given_other_things_refuse_to_start() -> None:
    made = RandomProgram(1, 8)
    inputs = given(made)

    def start(group: ThreadGroup) -> None:
        parameters = inputs[Source.PARAMETER] if group.rank else [np.float32(3.5).reshape(())]
        RanksExecutor(made.program, inputs[Source.CONSTANT], parameters, split=Split.STAGE, group=group)

    with pytest.raises(ExecutionError, match="start all of them alike"):
        in_ranks(2, start)
    with pytest.raises(ExecutionError, match="placement is for 3 ranks, but there are 2"):
        in_ranks(
            2, lambda group: RanksExecutor(made.program, [], [], split=random_owners(made.program, 3, 0), group=group)
        )


def chains(count: int) -> Program:
    """States of which each renews the one before it, on a counter that all read: nothing that a layer could be."""
    builder = Builder()
    states = [builder.state(DType.I64, (4,)) for _ in range(count)]
    scope = ExpressionBuilder([DType.I64, DType.I64], 1)
    mixed = scope.finish(scope.operand(0) + scope.operand(1))
    return builder.finish(
        [builder.map(mixed, [old, following]) for old, following in zip(states, (*states[1:], states[0]), strict=True)]
    )


@pytest.mark.parametrize("split", list(Split))
def test_dividing_any_program_takes_time_in_proportion(split: Split) -> None:
    def seconds(count: int) -> float:
        program = chains(count)
        began = time.process_time()
        levels_of(Schedule(PLACERS[split](program, 2)), 0)
        return time.process_time() - began

    assert seconds(2400) < 16 * seconds(300) + 0.5


def test_parts_that_would_be_many_times_the_program_are_refused() -> None:
    """A long constant chain that every one of many exchanges needs anew."""
    builder = Builder()
    state = builder.state(DType.F32, (4,))
    scope = ExpressionBuilder([DType.F32], 1)
    more = scope.finish(scope.operand(0) * 1.5)
    fixed = builder.constant(DType.F32, (4,))
    for _ in range(200):
        fixed = builder.map(more, [fixed])
    scope = ExpressionBuilder([DType.F32, DType.F32], 1)
    both = scope.finish(scope.operand(0) + scope.operand(1))
    made = state
    for _ in range(200):
        made = builder.map(both, [made, fixed])
    program = builder.finish([made])
    owners: list[int | None] = [None] * len(program.nodes)
    for place, number in enumerate(
        number for number in program.operations if not independent_of_state(program)[number]
    ):
        owners[number] = place % 2
    owners[0] = owners[program.new_state[0]]
    placement = Placement(program, 2, None, [None] * len(owners), owners)
    with pytest.raises(ExecutionError, match="run it with ranks = 1"):
        levels_of(Schedule(placement), 0)
