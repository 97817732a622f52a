"""Runs single contractions natively over the values that the reference executor computed."""

from __future__ import annotations

import numpy as np

from orebit.executor.fused.contraction import Surroundings
from orebit.executor.fused.contraction_machine import contractor
from orebit.executor.fused.contraction_tasks import Prepared
from orebit.executor.native.kernels import Kernels
from orebit.executor.native.library import Library, Step
from orebit.executor.reference import ReferenceExecutor
from orebit.program.descriptor import Kind, Source
from orebit.program.graph import Program

Array = np.ndarray


def only_dot(program: Program) -> int:
    return next(number for number in program.operations if program.descriptor(number).kind is Kind.DOT)


def traced(program: Program, constants: list[Array]) -> list[Array]:
    """Every node's output by the reference executor, the state being zeros."""
    executor = ReferenceExecutor(program, constants, [])
    state = [np.zeros(spec.shape, spec.dtype.numpy) for spec in program.specs(Source.STATE)]
    return [np.ascontiguousarray(tensor.numpy()) for tensor in executor.trace(state)]


def aligned(size: int) -> tuple[Array, int]:
    """Memory of `size` bytes at a multiple of 64, full of bytes that nothing should depend on."""
    memory = np.full(size + 64, 0xA5, dtype=np.uint8)
    return memory, -memory.ctypes.data % 64 + memory.ctypes.data


def run(library: Library, prepared: Prepared, values: list[Array], threads: int = 1) -> Array:
    """The output node's tensor, from the other nodes' values."""
    contraction = prepared.contraction
    out = np.full_like(values[contraction.output], 77)
    memory, place = aligned(prepared.workspace)

    def address(node: int) -> int:
        return out.ctypes.data if node == contraction.output else values[node].ctypes.data

    work, kept = prepared.bind(library, address, place)
    Step(library, work).run(threads)
    del memory, kept
    return out


def same_bits(first: Array, second: Array) -> bool:
    """Whether two tensors are the same, NaN being canonical in both."""
    if first.dtype == np.float32:
        second = np.where(np.isnan(second), np.array(0x7FC00000, np.uint32).view(np.float32), second)
        return np.array_equal(first.view(np.uint32), second.view(np.uint32))
    return np.array_equal(first, second)


def check(kernels: Kernels, program: Program, constants: list[Array], threads: int = 1) -> Prepared:
    """Runs a program's only dot natively and compares its output with the reference executor's."""
    values = traced(program, constants)
    prepared = contractor(kernels.library, kernels)(Surroundings(program), only_dot(program))
    assert prepared is not None
    out = run(kernels.library, prepared, values, threads)
    assert same_bits(out, values[prepared.contraction.output])
    return prepared
