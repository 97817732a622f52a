"""A digest over random programs and one large one, to be computed in processes of different settings."""

from __future__ import annotations

import hashlib

import numpy as np
from random_programs import RandomProgram, as_array, as_list

from orebit.executor.reference import ReferenceExecutor
from orebit.numerics.types import DType
from orebit.program.builder import Builder
from orebit.program.descriptor import Source
from orebit.program.expression import ExpressionBuilder
from orebit.program.graph import Program
from orebit.program.index_map import select_axes


def large_program() -> Program:
    """A product of 15-bit integers and float arithmetic over more elements than one chunk or one thread takes."""
    builder = Builder()
    x = builder.state(DType.F32, (300, 500))
    scope = ExpressionBuilder([DType.F32], 2)
    limit = (1 << 14) - 1
    quantised = scope.finish((scope.operand(0) * 4096.0).to_i64().max(-limit).min(limit))
    q = builder.map(quantised, [x], dtype=DType.I16)
    product = builder.dot(q.view(select_axes(3, [0, 2])), q.view(select_axes(3, [1, 2])), (300, 300), (500,))
    grouped = builder.sum(product.view(select_axes(2, [0, 1])), (300,), (300,))
    scope = ExpressionBuilder([DType.F32, DType.I64], 2)
    old, total = scope.operands
    scaled = total.to_f32() / 3.0e9
    new = old.abs().sqrt() / (scaled.abs() + 1.0)
    renewed = builder.map(
        scope.finish(new * (scope.flat() & 7).to_f32() - old),
        [x.view(select_axes(2, [0, 1])), grouped.view(select_axes(2, [0]))],
        (300, 500),
    )
    return builder.finish([renewed])


def digest() -> str:
    sha = hashlib.sha256()
    state = [np.random.default_rng(5).standard_normal((300, 500)).astype(np.float32)]
    executor = ReferenceExecutor(large_program(), [], [])
    current = executor.step(state)
    for _ in range(4):
        current = executor.step(current)
    sha.update(current[0].numpy().tobytes())
    for seed in range(1000, 1060):
        made = RandomProgram(seed)
        program, inputs = made.program, made.inputs()
        given = {
            source: [as_array(v, spec) for v, spec in zip(inputs[source], program.specs(source), strict=True)]
            for source in Source
        }
        executor = ReferenceExecutor(program, given[Source.CONSTANT], given[Source.PARAMETER])
        for number, tensor in zip(program.new_state, executor.step(given[Source.STATE]), strict=True):
            sha.update(repr(as_list(tensor, program.descriptor(number).dtype)).encode())
    return sha.hexdigest()
