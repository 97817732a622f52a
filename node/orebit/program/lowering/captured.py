"""Binding a captured step's scalars and constants to a program's inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from orebit.errors import TraceError
from orebit.numerics import functions
from orebit.numerics.types import DType
from orebit.program.expression import Scalar
from orebit.program.lowering.batches import rows_of
from orebit.program.lowering.context import Lowering, Randomness
from orebit.program.lowering.elementary import power
from orebit.program.lowering.empty import Empty
from orebit.program.lowering.graph import lower_graph
from orebit.program.lowering.tensor import Tensor
from orebit.program.lowering.views import program_type
from orebit.program.tracing import CapturedStep, location
from orebit.program.tracing_scalars import Formula, Guard, Moment

Array = NDArray[Any]
TABLE = "table"


class Bindings:
    """Lowers one captured step, declaring what it needs beside its state and batch.

    Declared after whatever the builder already has, in this order: `formulas`, the traced scalars that became f32
    parameters; with formulas of the step, one constant f32[rows, formulas] named `table`, a row a step; then
    `constants`, the tensors that the step holds.
    """

    def __init__(self, lowering: Lowering, step: CapturedStep) -> None:
        self._lowering = lowering
        self._step = step
        self._fixed: dict[str, Formula] = {}
        self._changing: dict[str, Formula] = {}
        self._scalars: dict[str, Tensor] = {}
        self.constants: list[Array] = []

    @property
    def formulas(self) -> list[str]:
        return list(self._fixed)

    def lower(
        self,
        inputs: Sequence[Tensor],
        randomness: Randomness | None = None,
        step: Tensor | None = None,
        rows: int = 1,
    ) -> list[Tensor]:
        """The graph's outputs for these placeholders.

        Args:
            inputs: state, then batch.
            randomness: where random numbers may be drawn.
            step: the step's number from 0, i64 of rank 0, where scalars may depend on it.
            rows: of the table of such scalars; the last is used from then on.

        Raises:
            TraceError: for an operation without a lowering.
        """
        self._lowering.randomness = randomness
        self._find_scalars()
        for text in self._fixed:
            self._scalars[text] = Tensor.of(self._lowering.builder.parameter(DType.F32, (), text))
        if self._changing:
            self._bind_table(step, rows)
        return lower_graph(
            self._lowering,
            self._step.graph,
            inputs,
            constant=self._constant,
            scalar=self._scalar,
            location=location,
            results=len(self._step.state) + len(self._step.outputs),
        )

    def scalar_values(self, settings: dict[str, float]) -> list[Array]:
        """The parameters for these hyper-parameters: computed in float64, rounded once.

        Raises:
            ConfigError: when the step would have been traced otherwise with them.
        """
        moment = Moment(settings, 0)
        for guard in self._guards(changes=False):
            guard.refuse_other(moment)
        return [np.array(formula.evaluate(moment), np.float32) for formula in self._fixed.values()]

    def table(self, moments: Iterable[Moment]) -> list[Array]:
        """The table for these steps, if there is one: computed in float64, rounded once.

        Raises:
            ConfigError: when the step would have been traced otherwise with their hyper-parameters.
        """
        if not self._changing:
            return []
        rows = []
        for moment in moments:
            for guard in self._guards(changes=True):
                guard.refuse_other(moment)
            rows.append([formula.evaluate(moment) for formula in self._changing.values()])
        return [np.array(rows, np.float64).astype(np.float32)]

    def _guards(self, changes: bool) -> list[Guard]:
        return [guard for guard in self._step.scalars.guards if guard.changes is changes]

    def _find_scalars(self) -> None:
        for node in self._step.graph.graph.nodes:
            for number in _floats([*node.args, *node.kwargs.values()]):
                formula = self._step.scalars.formula(number)
                for part in () if formula is None else _bound(formula):
                    (self._changing if part.changes else self._fixed).setdefault(part.text, part)

    def _bind_table(self, step: Tensor | None, rows: int) -> None:
        if step is None:
            raise TraceError(
                f"a number of the step depends on its count ({next(iter(self._changing))}), and there is none"
            )
        builder = self._lowering.builder
        table = Tensor.of(builder.constant(DType.F32, (rows, len(self._changing)), TABLE))
        place = self._lowering.map(lambda s: s.min(rows - 1), step, shape=(1,))
        row = rows_of(self._lowering, table, place).without_axis(0)
        for column, text in enumerate(self._changing):
            self._scalars[text] = row.narrow(0, column, 1, 1).without_axis(0)

    def _scalar(self, number: float, read: Callable[[int], Tensor]) -> Tensor | None:
        formula = self._step.scalars.formula(number)
        if formula is None:
            return None
        value = self._computed(formula, read)
        assert isinstance(value, Tensor)
        return value

    def _computed(self, formula: Formula, read: Callable[[int], Tensor]) -> Tensor | float:
        """A formula as a tensor of rank 0; what reads tensors is computed in the graph, in f32."""
        if not formula.reads:
            return formula.leaf if isinstance(formula.leaf, float | int) else self._scalars[formula.text]
        if not formula.operands:
            return read(formula.leaf.number)  # type: ignore[union-attr]  # a leaf that reads is a Read
        operands = [self._computed(operand, read) for operand in formula.operands]
        if formula.symbol == "**":
            return power(self._lowering, operands[0], operands[1])
        if formula.symbol not in _GRAPH_OPERATORS:
            raise TraceError(f"{formula.text} of a value that Python reads has no lowering; compute it with tensors")
        return self._lowering.map(_GRAPH_OPERATORS[formula.symbol], *operands)

    def _constant(self, tensor: torch.Tensor) -> Tensor | Empty:
        if not tensor.numel():
            return Empty(tuple(tensor.shape), program_type(tensor.dtype))
        if tensor.dtype is torch.float64:
            raise TraceError("the step holds a float64 tensor; make it float32")
        array = tensor.contiguous().numpy()
        array = array.astype(np.uint8) if array.dtype == np.bool_ else array
        name = f"constant.{len(self.constants)}"
        self.constants.append(array)
        value = self._lowering.builder.constant(DType.from_numpy(array.dtype), array.shape, name)
        return Tensor.of(value)


def _greater(a: Scalar | float, b: Scalar | float, largest: bool) -> Scalar:
    """Python's max and min: the first unless the second is beyond it."""
    first, second = (b, a) if not isinstance(a, Scalar) else (a, b)
    assert isinstance(first, Scalar)
    return first.max(second) if largest else first.min(second)


_GRAPH_OPERATORS: dict[str, Callable[..., Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "negative": lambda a: -a,
    "max": lambda a, b: _greater(a, b, largest=True),
    "min": lambda a, b: _greater(a, b, largest=False),
    "sqrt": lambda a: a.sqrt(),
    "exp": functions.exp,
    "log": functions.log,
    "tanh": functions.tanh,
}


def _floats(arguments: Sequence[Any]) -> Iterator[float]:
    for argument in arguments:
        if isinstance(argument, list | tuple):
            yield from _floats(argument)
        elif isinstance(argument, float):
            yield argument


def _bound(formula: Formula) -> Iterator[Formula]:
    """The parts of a formula that are inputs of the program: the largest that read no tensor and are no literals."""
    if not formula.reads:
        if not isinstance(formula.leaf, float | int):
            yield formula
        return
    for operand in formula.operands:
        yield from _bound(operand)
