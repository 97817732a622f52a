"""Binding a captured step's scalars and constants to a program's inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from orebit.errors import TraceError
from orebit.numerics.types import DType
from orebit.program.lowering.context import Lowering, Randomness
from orebit.program.lowering.graph import lower_graph
from orebit.program.lowering.tensor import Tensor
from orebit.program.tracing import CapturedStep, location

Array = NDArray[Any]


class Bindings:
    """Lowers one captured step, declaring what it needs beside its state and batch.

    `formulas` are the traced scalars that became f32 parameters, in order; `constants` the tensors that the step holds,
    in order. Both are declared after whatever the builder already has.
    """

    def __init__(self, lowering: Lowering, step: CapturedStep) -> None:
        self._lowering = lowering
        self._step = step
        self._scalars: dict[str, Tensor] = {}
        self.constants: list[Array] = []

    @property
    def formulas(self) -> list[str]:
        return list(self._scalars)

    def lower(self, inputs: Sequence[Tensor], randomness: Randomness | None = None) -> list[Tensor]:
        """The graph's outputs for these placeholders; `randomness` where random numbers may be drawn.

        Raises:
            TraceError: for an operation without a lowering.
        """
        self._lowering.randomness = randomness
        return lower_graph(
            self._lowering,
            self._step.graph,
            inputs,
            constant=self._constant,
            scalar=self._scalar,
            location=location,
        )

    def scalar_values(self, settings: dict[str, float]) -> list[Array]:
        """The parameters for these hyper-parameters: computed in float64, rounded once."""
        computes = self._step.scalars.computes
        return [np.array(computes[formula](settings), np.float32) for formula in self._scalars]

    def _scalar(self, number: float) -> Tensor | None:
        formula = self._step.scalars.formula(number)
        if formula is None:
            return None
        if formula not in self._scalars:
            self._scalars[formula] = Tensor.of(self._lowering.builder.parameter(DType.F32, (), formula))
        return self._scalars[formula]

    def _constant(self, tensor: torch.Tensor) -> Tensor:
        if tensor.dtype is torch.float64:
            raise TraceError("the step holds a float64 tensor; make it float32")
        array = tensor.contiguous().numpy()
        array = array.astype(np.uint8) if array.dtype == np.bool_ else array
        name = f"constant.{len(self.constants)}"
        self.constants.append(array)
        value = self._lowering.builder.constant(DType.from_numpy(array.dtype), array.shape, name)
        return Tensor.of(value)
