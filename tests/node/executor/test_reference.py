from __future__ import annotations

import pytest
from random_programs import RandomProgram, as_array, as_list

from orebit.executor import interpreter
from orebit.executor.reference import ReferenceExecutor
from orebit.numerics.scalar import canonical
from orebit.program.descriptor import Source
from orebit.program.graph import Program


@pytest.mark.parametrize("block", range(20))
def test_executor_agrees_with_the_oracle_on_random_programs(block: int) -> None:
    for seed in range(block * 30, block * 30 + 30):
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
