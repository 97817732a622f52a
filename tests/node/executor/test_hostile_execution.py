"""Valid programs may still be hostile: what is executed is the specified bits, what is too large is refused first."""

from __future__ import annotations

import os
import random
import sys
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch
from random_programs import as_array, as_list, random_tensor
from rig_executors import every_executor, factory_of

from orebit.errors import ExecutionError, ProgramError
from orebit.executor import interpreter
from orebit.executor.conformance import Factory
from orebit.executor.memory import peak_bytes
from orebit.executor.reference import ReferenceExecutor
from orebit.numerics.scalar import canonical
from orebit.numerics.types import DType
from orebit.program.builder import Builder, Value
from orebit.program.descriptor import Kind, Source
from orebit.program.expression import ExpressionBuilder
from orebit.program.graph import Program
from orebit.program.index_map import AxisMap, IndexMap, select_axes

sys.path.append(str(Path(__file__).parents[1] / "program"))
from hostile import mutant, seeds  # noqa: E402  # tests of the format stand beside those of executors

LONG = os.environ.get("OREBIT_LONG_TESTS") == "1"
MUTANTS = 20_000 if LONG else 1_000
MOST_POSITIONS = 4_000
MEBIBYTE = 1 << 20


def positions(program: Program) -> int:
    """Elements of all tensors and iteration spaces, together."""
    return sum(prod(program.descriptor(number).space) for number in range(len(program.nodes)))


def accepted(count: int) -> list[Program]:
    """The mutants that are valid programs."""
    rng, files, programs = random.Random(7), seeds(), []
    for _ in range(count):
        try:
            programs.append(Program.decode(mutant(rng, files)))
        except ProgramError:
            continue  # what test_hostile_programs.py is about
    return programs


def agrees(factory: Factory, program: Program, seed: int) -> bool:
    rng = random.Random(seed)
    inputs = {source: [random_tensor(rng, spec) for spec in program.specs(source)] for source in Source}
    given = {
        source: [as_array(v, spec) for v, spec in zip(inputs[source], program.specs(source), strict=True)]
        for source in Source
    }
    new_state = factory(program, given[Source.CONSTANT], given[Source.PARAMETER]).step(given[Source.STATE])
    outputs = interpreter.step(program, inputs[Source.STATE], inputs[Source.CONSTANT], inputs[Source.PARAMETER])
    for number, tensor in zip(program.new_state, new_state, strict=True):
        dtype, values = program.descriptor(number).dtype, outputs[number]
        if as_list(tensor, dtype) != ([canonical(v) for v in values] if dtype.is_float else values):
            return False
    return True


@every_executor
def test_mutants_that_are_valid_have_the_specified_bits(executor: str) -> None:
    factory = factory_of(executor)
    small = [program for program in accepted(MUTANTS) if positions(program) < MOST_POSITIONS]
    assert len(small) > MUTANTS / 50
    wrong = [number for number, program in enumerate(small) if not agrees(factory, program, number)]
    assert not wrong


SIDE = 1 << 20


def vast(kind: Kind) -> Program:
    """A program of a few bytes, one of whose nodes makes 2^40 elements."""
    builder = Builder()
    state = builder.state(DType.I64, (SIDE,))
    row, column = (state.view(select_axes(2, [axis])) for axis in (0, 1))
    match kind:
        case Kind.DOT:
            inner = [state.view(select_axes(3, [axis])) for axis in (0, 1)]
            made = builder.dot(inner[0], inner[1], (SIDE, SIDE), (1,))
        case Kind.GATHER:
            made = builder.gather(row, state.view(IndexMap(()), (SIDE,)), (SIDE, SIDE))
        case Kind.SCATTER_SUM:
            index, source = (state.view(select_axes(2, [1])) for _ in range(2))
            made = builder.scatter_sum(index, source, (1 << 40,), (SIDE,))
        case _:
            scope = ExpressionBuilder([DType.I64, DType.I64], 2)
            made = builder.map(scope.finish(scope.operand(0) * scope.operand(1)), [row, column], (SIDE, SIDE))
    largest = builder.max(made.view(select_axes(2, [1]), (1 << 40,)), (SIDE,), (SIDE,))
    return builder.finish([largest])


@every_executor
@pytest.mark.parametrize("kind", [Kind.MAP, Kind.DOT, Kind.GATHER, Kind.SCATTER_SUM])
def test_what_does_not_fit_in_memory_is_refused_before_anything_is_allocated(executor: str, kind: Kind) -> None:
    factory = factory_of(executor)
    with pytest.raises(ExecutionError, match="GiB"):
        factory(vast(kind), [], [])


def copies(builder: Builder, source: Value, count: int) -> list[Value]:
    """Distinct nodes of the source's size, made of it alone."""
    rank = len(source.shape)
    made = []
    for number in range(count):
        scope = ExpressionBuilder([DType.I64], rank)
        made.append(builder.map(scope.finish(scope.operand(0) + number), [source]))
    return made


def test_what_is_kept_between_steps_counts_as_long_as_it_is_kept() -> None:
    """Forty tensors made of a constant, each read once by a step: all of them stay."""
    builder = Builder()
    state = builder.state(DType.I64, (MEBIBYTE,))
    total = state
    for value in copies(builder, builder.constant(DType.I64, (MEBIBYTE,)), 40):
        scope = ExpressionBuilder([DType.I64, DType.I64], 1)
        total = builder.map(scope.finish(scope.operand(0) ^ scope.operand(1)), [total, value])
    program = builder.finish([total])
    assert peak_bytes(program) > 40 * 8 * MEBIBYTE


def test_what_only_leads_to_what_is_kept_is_released() -> None:
    """A chain of forty tensors made of a constant alone, as an average over workers is."""
    builder = Builder()
    builder.state(DType.I64, (MEBIBYTE,))
    value = builder.constant(DType.I64, (MEBIBYTE,))
    for number in range(40):
        scope = ExpressionBuilder([DType.I64], 1)
        value = builder.map(scope.finish(scope.operand(0) + number), [value])
    program = builder.finish([value])
    assert peak_bytes(program) < 8 * 8 * MEBIBYTE
    executor = ReferenceExecutor(program, [torch.zeros(MEBIBYTE, dtype=torch.int64)], [])
    held = [tensor for tensor in executor._outputs if tensor is not None]
    assert len(held) == 1


def test_positions_kept_for_each_of_many_views_count() -> None:
    builder = Builder()
    state = builder.state(DType.I64, (1 << 18,))
    value = state
    for number in range(50):
        scope = ExpressionBuilder([DType.I64], 1)
        view = value.view(IndexMap((AxisMap(-3 * number, (3,), 2),)))
        value = builder.map(scope.finish(scope.operand(0) + 1), [view], (1 << 18,))
    assert peak_bytes(builder.finish([value])) > 50 * 9 * (1 << 18)


SHAPES = [np.zeros(3, np.float32), np.zeros((2, 2), np.float32), np.zeros(4, np.float64), np.zeros(4, ">f4")]
OTHERS = [np.zeros(4, np.complex64), np.zeros(4, object), np.array(["a"] * 4), np.zeros(4, "M8[s]")]


@every_executor
@pytest.mark.parametrize("given", SHAPES + OTHERS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_state_that_does_not_match_is_refused(executor: str, given: np.ndarray) -> None:
    builder = Builder()
    state = builder.state(DType.F32, (4,))
    made = factory_of(executor)(builder.finish([builder.identity(state)]), [], [])
    with pytest.raises(ExecutionError, match="state tensor 0 .*declares"):
        made.step([given])
    with pytest.raises(ExecutionError, match="takes 1 state tensors"):
        made.step([])
