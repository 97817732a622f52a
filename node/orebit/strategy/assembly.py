"""From a captured step and the shape of its data to a training program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orebit.numerics.types import DType
from orebit.program.builder import Builder
from orebit.program.graph import Program
from orebit.program.lowering.batches import positions, rows_of, shuffled, unpacked
from orebit.program.lowering.captured import Bindings
from orebit.program.lowering.context import Lowering, Randomness
from orebit.program.lowering.tensor import Tensor
from orebit.program.tracing import CapturedStep
from orebit.program.tracing_data import Column
from orebit.program.tracing_scalars import Moment
from orebit.program.tracing_schedules import Values, values_at

Array = NDArray[Any]
STEP = "step"


@dataclass(frozen=True)
class Batches:
    """How a worker's `rows` become batches of `size`; `steps` is how many steps scalars are tabulated for."""

    rows: int
    size: int
    shuffle: bool
    steps: int


@dataclass(frozen=True)
class Assembled:
    """A training program, its state before the first step, and the values of its other inputs.

    State tensors are `step` (i64), the captured state, and the step's outputs (f32). Parameters are `seed` and `worker`
    (i64), then the scalars that are the same in every step (f32). Constants are the data's columns, the table of the
    scalars that are not, if any, and what the step itself holds.
    """

    program: Program
    state_names: tuple[str, ...]
    initial_state: list[Array]
    bindings: Bindings
    schedule: Values

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return ("seed", "worker", *self.bindings.formulas)

    def parameters(self, seed: int, worker: int, settings: Mapping[str, float]) -> list[Array]:
        """The parameters for these hyper-parameters."""
        head: list[Array] = [np.array(seed, np.int64), np.array(worker, np.int64)]
        return head + self.bindings.scalar_values(dict(settings))

    def constants(self, data: Sequence[Array], settings: Sequence[Mapping[str, float]]) -> list[Array]:
        """The constants for a worker's data and for the hyper-parameters of every step."""
        moments = (Moment(dict(one) | values_at(self.schedule, step), step) for step, one in enumerate(settings))
        return [*data, *self.bindings.table(moments), *self.bindings.constants]


def assemble(
    captured: CapturedStep, columns: Sequence[Column], batches: Batches, bits: int, schedule: Values
) -> Assembled:
    """Lowers a step between the gather of its batch and its new state.

    Raises:
        TraceError: for an operation without a lowering.
    """
    builder = Builder()
    lowering = Lowering(builder, bits)
    names = (STEP, *(item.name for item in captured.state), *captured.outputs)
    initial = _initial_state(captured)
    state = [
        Tensor.of(builder.state(DType.from_numpy(array.dtype), array.shape, name))
        for name, array in zip(names, initial, strict=True)
    ]
    tables = [
        Tensor.of(builder.constant(column.dtype, (batches.rows, *column.stored.shape[1:]), f"data.{number}"))
        for number, column in enumerate(columns)
    ]
    seed, worker = (Tensor.of(builder.parameter(DType.I64, (), name)) for name in ("seed", "worker"))
    places = positions(lowering, state[0], batches.rows, batches.size)
    if batches.shuffle:
        places = shuffled(lowering, places, state[0], seed, worker, batches.rows, batches.size)
    batch = [
        unpacked(lowering, rows_of(lowering, table, places), column.scale, column.original_dtype)
        for table, column in zip(tables, columns, strict=True)
    ]
    bindings = Bindings(lowering, captured)
    inputs = [*state[1 : 1 + len(captured.state)], *batch]
    made = bindings.lower(inputs, Randomness(seed, worker, state[0]), state[0], batches.steps)
    results = [lowering.map(lambda s: s + 1, state[0]), *made]
    new_state = [lowering.value(new, old.shape) for new, old in zip(results, state, strict=True)]
    return Assembled(builder.finish(new_state), names, initial, bindings, schedule)


def _initial_state(captured: CapturedStep) -> list[Array]:
    tensors = [item.initial.detach().contiguous().numpy() for item in captured.state]
    arrays = [array.astype(np.uint8) if array.dtype == np.bool_ else array for array in tensors]
    return [np.zeros((), np.int64), *arrays, *(np.zeros((), np.float32) for _ in captured.outputs)]
