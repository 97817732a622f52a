"""The reference executor: torch, one operation at a time, planned once a program."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch

from orebit.errors import ExecutionError
from orebit.executor.elementwise import Kernel, plan_map
from orebit.executor.memory import (
    ancestors,
    independent_of_state,
    last_reads,
    needed_by_steps,
    outputs_bytes,
    peak_bytes,
    physical_memory,
)
from orebit.executor.ranges import Range, output_range
from orebit.executor.reductions import dot_fits_float64, plan_dot, plan_gather, plan_max, plan_scatter, plan_sum
from orebit.executor.storage import Given, hold, release
from orebit.program.descriptor import Kind, Source
from orebit.program.graph import Program

PLANNERS = {
    Kind.MAP: plan_map,
    Kind.SUM: plan_sum,
    Kind.MAX: plan_max,
    Kind.GATHER: plan_gather,
    Kind.SCATTER_SUM: plan_scatter,
    Kind.SCATTER_MAX: plan_scatter,
}


@dataclass(slots=True)
class _Operation:
    """One node, planned: its kernel, what it reads, and whose outputs nobody needs after it."""

    number: int
    kernel: Kernel
    operands: tuple[int, ...]
    dead: list[int] = field(default_factory=list)


class ReferenceExecutor:
    """Executes steps of one program over fixed constants and parameters.

    What depends on constants and parameters only is computed once. No tensor that is passed in is ever written to;
    new state may share memory with old state.

    Args:
        program: a valid program.
        constants: tensors or arrays of the declared types and shapes, in program order.
        parameters: likewise.
        memory_limit: bytes that one step may take; all of the machine's memory unless given.

    Raises:
        ExecutionError: when an input's type or shape is not the declared one, or a step would not fit in memory.
    """

    def __init__(
        self,
        program: Program,
        constants: Sequence[Given],
        parameters: Sequence[Given],
        memory_limit: int | None = None,
    ) -> None:
        self._memory_limit = physical_memory() if memory_limit is None else memory_limit
        _refuse_too_large(peak_bytes(program), self._memory_limit)
        torch.set_flush_denormal(False)
        self.program = program
        self._inputs: list[torch.Tensor | None] = [None] * len(program.nodes)
        place_inputs(program, Source.CONSTANT, constants, self._inputs)
        place_inputs(program, Source.PARAMETER, parameters, self._inputs)
        self._every_operation = _plan(program)
        fixed = independent_of_state(program)
        kept = needed_by_steps(program, fixed)
        self._outputs = list(self._inputs)
        once = self._scheduled([number for number in program.operations if fixed[number]], kept)
        with torch.inference_mode():
            self._run(once, self._outputs)
        self._operations = self._scheduled([number for number in program.operations if not fixed[number]], kept)
        for number, is_fixed in enumerate(fixed):
            if is_fixed and number not in kept:
                self._outputs[number] = None

    def _scheduled(self, numbers: Sequence[int], kept: set[int]) -> list[_Operation]:
        """These nodes' operations, each followed by the release of what nobody reads any more."""
        dead = last_reads(self.program, numbers, kept)
        planned = {operation.number: operation for operation in self._every_operation}
        return [replace(planned[number], dead=dead.get(number, [])) for number in numbers]

    def _run(self, operations: Sequence[_Operation], outputs: list[torch.Tensor | None]) -> None:
        try:
            for operation in operations:
                reads = [outputs[operand] for operand in operation.operands]
                outputs[operation.number] = operation.kernel(reads)  # type: ignore[arg-type]  # a kernel takes what its node kind reads
                for number in operation.dead:
                    outputs[number] = None
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "allocate memory" not in str(error):
                raise
            raise ExecutionError(
                "this machine has too little memory for one step of the program; "
                "run fewer slots at once or leave this task to a larger machine"
            ) from error

    def step(self, state: Sequence[Given]) -> list[torch.Tensor]:
        """The state after one step, each tensor of its declared type with every NaN canonical.

        Raises:
            ExecutionError: when a state tensor's type or shape is not the declared one, or memory runs out.
        """
        outputs = list(self._outputs)
        place_inputs(self.program, Source.STATE, state, outputs)
        with torch.inference_mode():
            self._run(self._operations, outputs)
            return [self._released(outputs, number) for number in self.program.new_state]

    def trace(self, state: Sequence[Given]) -> list[torch.Tensor]:
        """Every node's output in one step, inputs included, in node order: what a dispute walks over.

        Raises:
            ExecutionError: as `step` does, or when all outputs at once would not fit in memory.
        """
        _refuse_too_large(outputs_bytes(self.program), self._memory_limit)
        outputs = list(self._inputs)
        place_inputs(self.program, Source.STATE, state, outputs)
        with torch.inference_mode():
            self._run(self._every_operation, outputs)
            return [self._released(outputs, number) for number in range(len(outputs))]

    def visit(
        self, state: Sequence[Given], wanted: Collection[int] | None = None
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """The outputs that `trace` gives, node by node: of every operation, or of these only, and of what they read
        nothing else is computed. What nobody reads any more is let go, so this takes no more memory than a step.

        Raises:
            ExecutionError: as `step` does.
        """
        outputs = list(self._inputs)
        place_inputs(self.program, Source.STATE, state, outputs)
        numbers = list(self.program.operations)
        if wanted is not None:
            needed = ancestors(self.program, wanted)
            numbers = [number for number in numbers if needed[number]]
        for operation in self._scheduled(numbers, set()):
            with torch.inference_mode():
                self._run([operation], outputs)
                made = None
                if wanted is None or operation.number in wanted:
                    made = self._released(outputs, operation.number)
            if made is not None:
                yield operation.number, made

    def _released(self, outputs: list[torch.Tensor | None], number: int) -> torch.Tensor:
        tensor = outputs[number]
        assert tensor is not None
        return release(tensor, self.program.descriptor(number).dtype)


def place_inputs(program: Program, source: Source, given: Sequence[Given], outputs: list[torch.Tensor | None]) -> None:
    """Puts one source's tensors at their nodes' numbers.

    Raises:
        ExecutionError: when there are too few or too many, or one is not as declared.
    """
    numbers, specs = program.inputs(source), program.specs(source)
    if len(given) != len(specs):
        raise ExecutionError(f"the program takes {len(specs)} {source.name.lower()} tensors, not {len(given)}")
    for index, (number, spec, tensor) in enumerate(zip(numbers, specs, given, strict=True)):
        outputs[number] = hold(tensor, spec, f"{source.name.lower()} tensor {index}")


def _refuse_too_large(needed: int, limit: int) -> None:
    if needed > limit:
        raise ExecutionError(
            f"one step of the program takes up to {needed / 2**30:.1f} GiB, more than the {limit / 2**30:.1f} GiB "
            "allowed; run it on a larger machine or use smaller batches"
        )


def _plan(program: Program) -> list[_Operation]:
    """Kernels in node order; equal descriptors that allow the same kernel share it."""
    ranges: list[Range] = []
    kernels: dict[tuple[int, bool], Kernel] = {}
    operations = []
    for number, node in enumerate(program.nodes):
        descriptor = program.descriptors[node.descriptor]
        reads = [ranges[operand] for operand in node.operands]
        ranges.append(output_range(descriptor, reads))
        if descriptor.kind is Kind.INPUT:
            continue
        float64 = descriptor.kind is Kind.DOT and dot_fits_float64(descriptor, reads)
        key = (node.descriptor, float64)
        if key not in kernels:
            if descriptor.kind is Kind.DOT:
                kernels[key] = plan_dot(descriptor, float64)
            else:
                kernels[key] = PLANNERS[descriptor.kind](descriptor)
        operations.append(_Operation(number, kernels[key], node.operands))
    return operations
