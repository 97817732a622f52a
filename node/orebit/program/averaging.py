"""The program that averages the final states of workers, in one step."""

from __future__ import annotations

from collections.abc import Sequence

from orebit.errors import ProgramError
from orebit.program.builder import Builder, Value
from orebit.program.expression import MAX_OPERANDS, Scalar
from orebit.program.graph import Program, TensorSpec
from orebit.program.lowering.context import Lowering
from orebit.program.lowering.tensor import Tensor


def average_program(specs: Sequence[TensorSpec], workers: int, names: Sequence[str] = ()) -> Program:
    """One step whose new state is the mean of `workers` states.

    Its constants are the tensors of worker 0 in state order, then those of worker 1, and so on; its own state is
    overwritten. f32 tensors become ((s0 + s1) + ...) / workers, each operation rounded alone; integers (step counters)
    are worker 0's. Up to 32 workers are one map a tensor, more are a chain of maps.

    Raises:
        ProgramError: for no workers.
    """
    if workers < 1:
        raise ProgramError("an average needs at least one worker")
    builder = Builder()
    lowering = Lowering(builder)
    labels = list(names) or [f"state.{number}" for number in range(len(specs))]
    for spec, label in zip(specs, labels, strict=True):
        builder.state(spec.dtype, spec.shape, label)
    states = [
        [
            builder.constant(spec.dtype, spec.shape, f"worker{w}.{label}")
            for spec, label in zip(specs, labels, strict=True)
        ]
        for w in range(workers)
    ]
    columns = zip(*states, strict=True)
    return builder.finish([_mean(lowering, [Tensor.of(value) for value in column]) for column in columns])


def _mean(lowering: Lowering, tensors: list[Tensor]) -> Value:
    if not tensors[0].dtype.is_float:
        return lowering.builder.identity(tensors[0].value)
    count = float(len(tensors))
    while len(tensors) > MAX_OPERANDS:
        tensors = [lowering.map(_added, *tensors[:MAX_OPERANDS]), *tensors[MAX_OPERANDS:]]
    return lowering.map(lambda *values: _added(*values) / count, *tensors).value


def _added(*values: Scalar) -> Scalar:
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total
