"""One operation traced with its gradients, executed, and compared with eager float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from orebit.executor.reference import ReferenceExecutor
from orebit.numerics.types import DType
from orebit.program.builder import Builder
from orebit.program.graph import Program
from orebit.program.lowering import Lowering, Tensor
from orebit.program.lowering.captured import Bindings
from orebit.program.tracing import Batch, capture

Operation = Callable[..., torch.Tensor]


class Differentiated:
    """A step that returns an operation's value and the gradient of each tensor it takes."""

    training: bool | None = True
    source = "spatial.py:1"

    def __init__(self, operation: Operation, given: Sequence[torch.Tensor]) -> None:
        self.operation = operation
        self.model: nn.Module = nn.ParameterList([nn.Parameter(tensor.clone()) for tensor in given])
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.outputs = ("value", *(f"gradient.{number}" for number in range(len(given))))

    def run(self, batch: Batch) -> list[torch.Tensor]:
        return differentiate(self.operation, list(self.model.parameters()))

    def tensors(self) -> dict[str, torch.Tensor]:
        return dict(self.model.named_parameters())

    def places(self) -> list[Any]:
        return []


def differentiate(operation: Operation, given: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The value, then the gradients of a sum in which every element of the value has its own weight."""
    value = operation(*given)
    weights = torch.tensor([math.cos(k) for k in range(value.numel())], dtype=value.dtype)
    gradients = torch.autograd.grad((value.reshape(-1) * weights).sum(), list(given))
    return [value.detach(), *gradients]


def execute(operation: Operation, given: Sequence[torch.Tensor], bits: int = 22) -> tuple[Program, list[np.ndarray]]:
    """The operation's program, and what one step of it makes: value and gradients."""
    step: Any = Differentiated(operation, given)
    captured = capture(step, ((torch.zeros(1),), (torch.ones(1),)))
    builder = Builder()
    lowering = Lowering(builder, bits)
    inputs = [Tensor.of(builder.constant(DType.F32, tensor.shape)) for tensor in given]
    bindings = Bindings(lowering, captured)
    batch = Tensor.of(builder.constant(DType.F32, (1,)))
    made = bindings.lower([*inputs, batch])[len(given) :]
    for tensor in made:
        builder.state(tensor.dtype, tensor.shape)
    program = builder.finish([lowering.value(tensor, tensor.shape) for tensor in made])
    constants = [tensor.numpy() for tensor in given] + [np.zeros(1, np.float32), *bindings.constants]
    executor = ReferenceExecutor(program, constants, bindings.scalar_values({}))
    state = [np.zeros(tensor.shape, tensor.dtype.numpy) for tensor in made]
    return program, [tensor.numpy() for tensor in executor.step(state)]


def agrees(operation: Operation, *shapes: Sequence[int], bits: int = 22, tolerance: float = 3e-6) -> Program:
    """Fails unless value and gradients lie within `tolerance` of float64's, relative to the largest of each."""
    generator = torch.Generator().manual_seed(len(shapes))
    given = [torch.randn(tuple(shape), generator=generator) for shape in shapes]
    return agrees_on(operation, given, bits=bits, tolerance=tolerance)


def agrees_on(
    operation: Operation, given: Sequence[torch.Tensor], *, bits: int = 22, tolerance: float = 3e-6
) -> Program:
    """As `agrees`, for given tensors."""
    program, made = execute(operation, given, bits)
    wanted = differentiate(operation, [tensor.double().requires_grad_() for tensor in given])
    for number, (array, tensor) in enumerate(zip(made, wanted, strict=True)):
        expected = tensor.numpy()
        assert array.shape == expected.shape
        error, scale = np.abs(array - expected).max(), np.abs(expected).max()
        assert error <= tolerance * max(scale, 1.0), f"result {number}: {error} of {scale}"
    return program
