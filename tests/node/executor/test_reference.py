from __future__ import annotations

import pytest
from program_agreement import disagreement
from random_programs import RandomProgram, as_array, as_list

from orebit.executor import elementwise, integers, interpreter, views
from orebit.executor.reference import ReferenceExecutor
from orebit.numerics.scalar import canonical
from orebit.program.descriptor import Source
from orebit.program.graph import Program


def check_seed(seed: int) -> None:
    """Every node of one random program, and its new state, against the interpreter."""
    made = RandomProgram(seed)
    program, inputs = made.program, made.inputs()
    given = {
        source: [as_array(v, spec) for v, spec in zip(inputs[source], program.specs(source), strict=True)]
        for source in Source
    }
    executor = ReferenceExecutor(program, given[Source.CONSTANT], given[Source.PARAMETER])
    new_state = executor.step(given[Source.STATE])
    every = executor.trace(given[Source.STATE])
    wanted = interpreter.step(program, inputs[Source.STATE], inputs[Source.CONSTANT], inputs[Source.PARAMETER])
    for number, tensor in [*enumerate(every), *zip(program.new_state, new_state, strict=True)]:
        descriptor = program.descriptor(number)
        values = wanted[number]
        if descriptor.dtype.is_float:
            values = [canonical(element) for element in values]
        assert as_list(tensor, descriptor.dtype) == values, (seed, number, descriptor)
    assert Program.decode(program.encode()) == program


@pytest.mark.parametrize("block", range(20))
def test_executor_agrees_with_the_oracle_on_random_programs(block: int) -> None:
    for seed in range(block * 25, block * 25 + 25):
        check_seed(seed)


def test_rows_gathered_by_a_transposed_index_are_row_major() -> None:
    for seed in (14798, 17661):
        assert disagreement(ReferenceExecutor, seed) is None


def test_chunks_and_recomputed_positions_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elementwise, "CHUNK", 5)
    monkeypatch.setattr(views, "_KEPT_POSITIONS", 0)
    for seed in range(700, 800):
        check_seed(seed)


def test_integers_by_torch_are_those_by_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integers, "SMALL", 0)
    for seed in range(800, 950):
        check_seed(seed)


def test_what_is_passed_in_is_never_written_to() -> None:
    made = RandomProgram(3)
    program, inputs = made.program, made.inputs()
    given = {
        source: [as_array(v, spec) for v, spec in zip(inputs[source], program.specs(source), strict=True)]
        for source in Source
    }
    for arrays in given.values():
        for array in arrays:
            array.flags.writeable = False
    before = {source: [array.tobytes() for array in arrays] for source, arrays in given.items()}
    executor = ReferenceExecutor(program, given[Source.CONSTANT], given[Source.PARAMETER])
    first = executor.step(given[Source.STATE])
    executor.step(first)
    assert {source: [array.tobytes() for array in arrays] for source, arrays in given.items()} == before
