"""The program that measures a model on held-out rows, a batch a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from orebit.numerics.types import DType
from orebit.program.builder import Builder
from orebit.program.graph import Program
from orebit.program.lowering.batches import positions, rows_of, unpacked
from orebit.program.lowering.captured import Bindings
from orebit.program.lowering.context import Lowering
from orebit.program.lowering.tensor import Tensor
from orebit.program.tracing import capture, model_tensors, scalar_loss
from orebit.program.tracing_data import Dataset, warn_spare_rows
from orebit.program.tracing_hyperparameters import Place

Array = NDArray[Any]
LARGEST_BATCH = 512
SMALLEST_BATCH = 32


class EvaluationStep:
    """A forward pass in evaluation mode: the loss of a batch, and for a classifier how many rows it gets right."""

    training: bool | None = False
    optimizers: Mapping[str, torch.optim.Optimizer] = {}

    def __init__(self, model: torch.nn.Module, loss: Callable[..., torch.Tensor], source: str) -> None:
        self.model = model
        self.loss = loss
        self.source = source
        self.classifies = False

    @property
    def outputs(self) -> tuple[str, ...]:
        return ("loss", "correct") if self.classifies else ("loss",)

    def run(self, batch: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
        return self._run_user_step(batch)

    def _run_user_step(self, batch: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
        with torch.no_grad():
            output = self.model(batch[0])
            results = [scalar_loss(self.loss(output, *batch[1:]), self.source).reshape(())]
            self.classifies = _classifies(output, batch)
            if self.classifies:
                results.append((output.argmax(1) == batch[1]).sum())
            return results

    def tensors(self) -> dict[str, torch.Tensor]:
        return model_tensors(self.model)

    def places(self) -> list[Place]:
        return []


def _classifies(output: object, batch: tuple[torch.Tensor, ...]) -> bool:
    return (
        isinstance(output, torch.Tensor)
        and output.dim() == 2
        and len(batch) == 2
        and batch[1].shape == output.shape[:1]
        and not batch[1].is_floating_point()
    )


@dataclass(frozen=True)
class Evaluation:
    """Everything to run an evaluation. Constants are the model's tensors named `model`, then `data`.

    State tensors are `step` (i64), `loss` (f32, the mean over the rows so far), `total` (f32, the sum of the batches'
    losses) and, for a classifier, `correct` (i64) and `accuracy` (f32, of the rows so far).
    """

    program: Program
    steps: int
    state_names: tuple[str, ...]
    initial: list[Array]
    model: tuple[str, ...]
    data: list[Array]

    def constants(self, tensors: dict[str, Any]) -> list[Any]:
        """The program's constants for a model given by name, as arrays or heads."""
        return [tensors[name] for name in self.model] + list(self.data)


def trace_evaluation(
    model: torch.nn.Module, loss: Callable[..., torch.Tensor], held_out: Dataset, *, bits: int, source: str
) -> Evaluation:
    """Traces the evaluation of `model` on all of `held_out`, but a rest that fills no batch.

    Raises:
        TraceError: as for a training step.
    """
    batch = batch_for(held_out.rows)
    warn_spare_rows(held_out.rows, batch, "the held-out data", f"they fill no batch of {batch}")
    step = EvaluationStep(model, loss, source)
    captured = capture(step, (held_out.batch(0, batch), held_out.batch(batch, batch)))
    builder = Builder()
    lowering = Lowering(builder, bits)
    names = ("step", "loss", "total", *(("correct", "accuracy") if step.classifies else ()))
    types = (DType.I64, DType.F32, DType.F32, DType.I64, DType.F32)
    state = [Tensor.of(builder.state(dtype, (), name)) for name, dtype in zip(names, types, strict=False)]
    tensors = [_declared(builder, item.initial, item.name) for item in captured.state]
    places = positions(lowering, state[0], held_out.rows, batch)
    tables = [_declared(builder, column.stored, f"data.{k}") for k, column in enumerate(held_out.columns)]
    columns = [
        unpacked(lowering, rows_of(lowering, table, places), column.scale, column.original_dtype)
        for table, column in zip(tables, held_out.columns, strict=True)
    ]
    bindings = Bindings(lowering, captured)
    results = bindings.lower([*tensors, *columns])[len(tensors) :]
    new_state = _new_state(lowering, state, results, batch)
    program = builder.finish([lowering.value(tensor, ()) for tensor in new_state])
    initial: list[Array] = [np.zeros((), dtype.numpy) for _, dtype in zip(names, types, strict=False)]
    data = [column.stored for column in held_out.columns] + bindings.constants
    return Evaluation(
        program, held_out.rows // batch, names, initial, tuple(item.name for item in captured.state), data
    )


def batch_for(rows: int) -> int:
    """The batch of 32 to 512 rows that leaves the fewest rows over; of equally good ones the largest."""
    sizes = range(min(rows, SMALLEST_BATCH), min(rows, LARGEST_BATCH) + 1)
    return min(sizes, key=lambda size: (rows % size, -size))


def _declared(builder: Builder, tensor: torch.Tensor | Array, name: str) -> Tensor:
    array = tensor.numpy() if isinstance(tensor, torch.Tensor) else tensor
    return Tensor.of(builder.constant(DType.from_numpy(array.dtype), array.shape, name))


def _new_state(lowering: Lowering, state: Sequence[Tensor], results: Sequence[Tensor], batch: int) -> list[Tensor]:
    step = lowering.map(lambda s: s + 1, state[0])
    total = lowering.map(lambda t, x: t + x, state[2], results[0])
    new_state = [step, lowering.map(lambda t, s: t / s.to_f32(), total, step), total]
    if len(results) > 1:
        correct = lowering.map(lambda c, n: c + n, state[3], results[1])
        accuracy = lowering.map(lambda c, s: c.to_f32() / (s * batch).to_f32(), correct, step)
        new_state += [correct, accuracy]
    return new_state
