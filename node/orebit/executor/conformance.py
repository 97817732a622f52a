"""Whether this machine computes the reference bits: the vectors that ship with the package, run through an executor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Protocol

import numpy as np
import torch

from orebit.errors import ConformanceError
from orebit.executor.conformance_vectors import PATH, operations
from orebit.executor.reference import ReferenceExecutor
from orebit.executor.standard import compared_programs
from orebit.executor.storage import Given
from orebit.numerics.types import DType
from orebit.program.builder import Builder
from orebit.program.descriptor import Source
from orebit.program.expression import ExpressionBuilder
from orebit.program.graph import Program
from orebit.program.opcodes import SIGNATURES, Op

Array = np.ndarray[tuple[int, ...], np.dtype[np.generic]]

# Vectors are run as they are, and repeated to a length at which kernels use their vectorised and threaded paths.
REPEATS = 160


class Executor(Protocol):
    """What the vectors need of an executor: one step."""

    def step(self, state: Sequence[Given]) -> Sequence[torch.Tensor]: ...


Factory = Callable[[Program, Sequence[Given], Sequence[Given]], Executor]
Check = Callable[[Factory], None]


def run_conformance(factory: Factory = ReferenceExecutor) -> None:
    """Runs every vector; takes about a second.

    Args:
        factory: makes an executor of a program, its constants and its parameters.

    Raises:
        ConformanceError: at the first result that differs in a bit, naming the operation and its inputs.
    """
    for _, check in cases():
        check(factory)


def cases() -> Iterator[tuple[str, Check]]:
    """Every scalar operation by name, a program for every kind of node, and the standard programs, which are large
    enough for the kernels of products. Checks raise as `run_conformance` does."""
    with np.load(PATH) as vectors:
        for op in operations():
            yield op.name, partial(_check_operation, op=op, table=vectors[f"op/{op.name}"])
        for name in (key for key in vectors.files if key.startswith("program/") and key.count("/") == 1):
            yield name, partial(_check_program, name=name, vectors=vectors)
    for name, program, state in compared_programs():
        yield f"standard/{name}", partial(_check_standard, name=name, program=program, state=state)


def run_programs(factory: Factory) -> None:
    """Every kind of node; raises as `run_conformance` does."""
    for name, check in cases():
        if name.startswith("program/"):
            check(factory)


def to_array(numbers: Array, dtype: DType) -> Array:
    """Numbers of the vectors (an f32 as its bits) as a tensor of `dtype`."""
    if dtype.is_float:
        return numbers.astype(np.uint32).view(np.float32)
    return numbers.astype(dtype.numpy)


def to_numbers(tensor: torch.Tensor) -> Array:
    """The converse of `to_array`, flat."""
    array = np.ascontiguousarray(tensor.numpy()).reshape(-1)
    return (array.view(np.uint32) if array.dtype == np.float32 else array).astype(np.int64)


def _check_operation(factory: Factory, op: Op, table: Array) -> None:
    _check_rows(factory, op, table)
    _check_rows(factory, op, np.tile(table, (REPEATS, 1)))


def _check_rows(factory: Factory, op: Op, table: Array) -> None:
    given, result = SIGNATURES[op]
    builder = Builder()
    scope = ExpressionBuilder(given, 1)
    operands = [builder.state(dtype, (len(table),)) for dtype in given]
    output = builder.map(scope.finish(scope.emit(op, *scope.operands)), operands)
    builder.state(result, (len(table),))
    program = builder.finish([*operands, output])
    columns = [to_array(table[:, position], dtype) for position, dtype in enumerate([*given, result])]
    computed = to_numbers(factory(program, [], []).step(columns)[-1])
    _compare(op.name, computed, table[:, -1], table[:, :-1])


def _check_program(factory: Factory, name: str, vectors: Mapping[str, Array]) -> None:
    program = Program.decode(vectors[name].tobytes())
    specs = program.specs(Source.CONSTANT)
    constants = [
        to_array(vectors[f"{name}/{position}"], spec.dtype).reshape(spec.shape) for position, spec in enumerate(specs)
    ]
    old = program.specs(Source.STATE)[0]
    state = np.zeros(old.shape, old.dtype.numpy)
    computed = to_numbers(factory(program, constants, []).step([state])[-1])
    _compare(name, computed, vectors[f"{name}/result"], None)


def _check_standard(factory: Factory, name: str, program: Program, state: Sequence[Array]) -> None:
    """Against the reference executor, whose own bits the vectors have shown."""
    if factory is ReferenceExecutor:
        return
    wanted = ReferenceExecutor(program, [], []).step(state)
    for computed, tensor in zip(factory(program, [], []).step(state), wanted, strict=True):
        _compare(f"standard/{name}", to_numbers(computed), to_numbers(tensor), None)


def _compare(name: str, computed: Array, wanted: Array, arguments: Array | None) -> None:
    wrong = np.flatnonzero(computed != wanted)
    if not len(wrong):
        return
    first = int(wrong[0])
    inputs = "" if arguments is None else " on " + ", ".join(f"{int(number):#x}" for number in arguments[first])
    raise ConformanceError(
        f"this machine computes {name}{inputs} as {int(computed[first]):#x} where the reference has "
        f"{int(wanted[first]):#x} (element {first}, {len(wrong)} of {len(wanted)} differ); it cannot earn with these "
        "bits: check for overclocking or faulty memory, update torch, or report the processor and torch's version"
    )
