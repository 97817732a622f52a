"""One random program by an executor and by the interpreter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from random_programs import RandomProgram, as_array, as_list

from orebit.executor import interpreter
from orebit.executor.conformance import Factory
from orebit.executor.reference import ReferenceExecutor
from orebit.numerics.scalar import canonical
from orebit.program.descriptor import Source

STEPS = 2


def disagreement(factory: Factory, seed: int) -> str | None:
    """The first new state, of two steps of the program of this seed, that is not the interpreter's; None if all are."""
    made = RandomProgram(seed, count=3 + seed % 6)
    program, inputs = made.program, made.inputs()
    state, constants, parameters = (inputs[source] for source in Source)
    given = {
        source: [as_array(v, spec) for v, spec in zip(inputs[source], program.specs(source), strict=True)]
        for source in Source
    }
    executor = factory(program, given[Source.CONSTANT], given[Source.PARAMETER])
    held = given[Source.STATE]
    for step in range(STEPS):
        held = executor.step(held)
        outputs = interpreter.step(program, state, constants, parameters)
        state = []
        for number, tensor in zip(program.new_state, held, strict=True):
            descriptor = program.descriptor(number)
            values = outputs[number]
            state.append([canonical(element) for element in values] if descriptor.dtype.is_float else values)
            if as_list(tensor, descriptor.dtype) != state[-1]:
                return f"seed {seed}, step {step}, node {number}: {descriptor}"
    return None


def difference(factory: Factory, seed: int) -> str | None:
    """As `disagreement`, with tensors long enough for vector loops, their tails and several threads, and the reference
    executor in the interpreter's place."""
    made = RandomProgram(seed, count=8, extents=(1, 2, 3, 5, 8, 17, 33))
    program, inputs = made.program, made.inputs()
    given = {
        source: [as_array(v, spec) for v, spec in zip(inputs[source], program.specs(source), strict=True)]
        for source in Source
    }
    constants, parameters = given[Source.CONSTANT], given[Source.PARAMETER]
    reference, other = ReferenceExecutor(program, constants, parameters), factory(program, constants, parameters)
    ours: Sequence[Any] = given[Source.STATE]
    theirs: Sequence[Any] = ours
    for step in range(STEPS):
        ours, theirs = reference.step(ours), other.step(theirs)
        for number, a, b in zip(program.new_state, ours, theirs, strict=True):
            if a.contiguous().numpy().tobytes() != b.contiguous().numpy().tobytes():
                return f"seed {seed}, step {step}, node {number}: {program.descriptor(number)}"
    return None
