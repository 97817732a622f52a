from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import pytest
import torch
from fused_programs import RegionProgram
from random_programs import RandomProgram, as_array, as_list

from orebit.errors import ConformanceError, ExecutionError, TooMuchCode
from orebit.executor import selection
from orebit.executor.conformance import Factory, run_programs
from orebit.executor.fused import FusedExecutor, cache
from orebit.executor.fused.assembler import target_machine
from orebit.executor.fused.compiler import compile_object, machine
from orebit.executor.native import library
from orebit.executor.reference import ReferenceExecutor
from orebit.executor.run import run_shard
from orebit.executor.storage import Given
from orebit.numerics import functions
from orebit.numerics.types import DType
from orebit.program.builder import Builder
from orebit.program.descriptor import Source
from orebit.program.expression import ExpressionBuilder
from orebit.program.graph import Program
from orebit.program.lowering import Lowering, Tensor
from orebit.program.lowering.exact import maximum, sum_over

needs_library = pytest.mark.skipif(library.load() is None, reason=library.status().reason)
pytestmark = needs_library
LONG = os.environ.get("OREBIT_LONG_TESTS") == "1"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OREBIT_CACHE", str(tmp_path))


def arrays(made: RandomProgram) -> dict[Source, list[np.ndarray]]:
    inputs, program = made.inputs(), made.program
    return {
        source: [as_array(v, spec) for v, spec in zip(inputs[source], program.specs(source), strict=True)]
        for source in Source
    }


def bits(program: Program, state: Sequence[torch.Tensor]) -> list[list[int]]:
    return [as_list(tensor, spec.dtype) for tensor, spec in zip(state, program.specs(Source.STATE), strict=True)]


def check(made: RandomProgram, threads: int) -> None:
    """Two steps of a program, against the reference executor."""
    given, program = arrays(made), made.program
    fused = FusedExecutor(program, given[Source.CONSTANT], given[Source.PARAMETER], threads=threads)
    reference = ReferenceExecutor(program, given[Source.CONSTANT], given[Source.PARAMETER])
    state: Sequence[Given] = given[Source.STATE]
    for _ in range(2):
        computed, wanted = fused.step(state), reference.step(state)
        assert bits(program, computed) == bits(program, wanted)
        state = computed


@pytest.mark.parametrize("block", range(40 if LONG else 4))
def test_any_program_has_the_reference_bits(block: int) -> None:
    for seed in range(block * 25, block * 25 + (25 if LONG else 10)):
        check(RandomProgram(seed, 8), threads=1 + seed % 2)


@pytest.mark.parametrize("block", range(40 if LONG else 4))
def test_nodes_that_share_a_kernel_have_the_reference_bits(block: int) -> None:
    for seed in range(block * 25, block * 25 + (25 if LONG else 8)):
        check(RegionProgram(seed), threads=1 + seed % 2)


def row_program(rows: int, columns: int, dim: int) -> Program:
    """Exponentials of rows or columns less their maximum, over their exact sum, and what is left of an i64 sum."""
    builder = Builder()
    x = builder.state(DType.F32, (rows, columns))
    counts = builder.state(DType.I64, (rows, columns))
    lowering = Lowering(builder)
    value = Tensor.of(x)
    largest = maximum(lowering, value, [dim]).with_axis(dim)
    powers = lowering.map(lambda v, m: functions.exp(v - m), value, largest)
    total = sum_over(lowering, powers, [dim]).with_axis(dim)
    shares = lowering.map(lambda p, t: p / t, powers, total)
    whole = sum_over(lowering, Tensor.of(counts), [dim]).with_axis(dim)
    left = lowering.map(lambda n, t: t.rem(n) + n * n, Tensor.of(counts), whole)
    return builder.finish([shares.value, left.value])


@pytest.mark.parametrize("columns", [1, 2, 7, 8, 9, 16, 31, 100])
@pytest.mark.parametrize("dim", [0, 1])
def test_whole_vectors_and_remainders_are_alike(columns: int, dim: int) -> None:
    program = row_program(70, columns, dim)
    noise = np.random.default_rng(columns)
    x = (noise.standard_normal((70, columns)) * 30).astype(np.float32)
    x.flat[::37] = np.float32("inf")
    x.flat[5::41] = np.float32("nan")
    counts = noise.integers(-(1 << 62), 1 << 62, (70, columns))
    wanted = bits(program, ReferenceExecutor(program, [], []).step([x, counts]))
    for threads in (1, 2):
        assert bits(program, FusedExecutor(program, [], [], threads=threads).step([x, counts])) == wanted


def test_the_vectors_that_ship_pass() -> None:
    run_programs(FusedExecutor)


def test_what_is_passed_in_or_returned_is_never_written_to() -> None:
    made = RandomProgram(3)
    given, program = arrays(made), made.program
    for source in given.values():
        for array in source:
            array.flags.writeable = False
    executor = FusedExecutor(program, given[Source.CONSTANT], given[Source.PARAMETER])
    kept = executor.step(given[Source.STATE])
    before = bits(program, kept)
    state: Sequence[Given] = kept
    for _ in range(3):
        state = executor.step(state)
    assert bits(program, kept) == before


def decay(size: int) -> Program:
    builder = Builder()
    x = builder.state(DType.F32, (size,))
    scope = ExpressionBuilder([DType.F32], 1)
    return builder.finish([builder.map(scope.finish(scope.operand(0) * 0.5 + 1.0), [x])])


def test_memory_of_a_state_is_used_again_when_nobody_has_it() -> None:
    executor = FusedExecutor(decay(1000), [], [])
    state: Sequence[Given] = [np.ones(1000, np.float32)]
    places = set()
    for _ in range(10):
        state = executor.step(state)
        places.add(state[0].data_ptr())  # type: ignore[union-attr]  # a step returns tensors
    assert len(places) == 2


def test_no_multiplication_is_contracted_with_an_addition() -> None:
    """(1 + 2^-12)^2 - (1 + 2^-11) is 2^-24 when contracted, and 0 when the product rounds on its own."""
    builder = Builder()
    x = builder.state(DType.F32, (64,))
    scope = ExpressionBuilder([DType.F32], 1)
    (v,) = scope.operands
    program = builder.finish([builder.map(scope.finish(v * v - (1.0 + 2.0**-11)), [x])])
    (result,) = FusedExecutor(program, [], []).step([np.full(64, 1 + 2.0**-12, np.float32)])
    assert not result.any()


def test_a_damaged_cache_is_compiled_anew(tmp_path: Path) -> None:
    program = decay(100)
    state = [np.arange(100, dtype=np.float32)]
    wanted = bits(program, FusedExecutor(program, [], []).step(state))
    (kept,) = (tmp_path / "kernels").iterdir()
    data = bytearray(kept.read_bytes())
    data[len(data) // 2] ^= 1
    kept.write_bytes(data)
    assert bits(program, FusedExecutor(program, [], []).step(state)) == wanted
    assert kept.read_bytes() != bytes(data)


def test_the_cache_spares_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    FusedExecutor(decay(100), [], [])
    monkeypatch.setattr(cache, "compile_object", lambda text: pytest.fail("compiled again"))
    FusedExecutor(decay(100), [], [])


def test_too_large_a_step_is_refused_before_memory_is_taken() -> None:
    with pytest.raises(ExecutionError, match="more than the"):
        FusedExecutor(decay(1 << 20), [], [], memory_limit=1 << 20)


def test_a_state_of_another_shape_is_refused() -> None:
    with pytest.raises(ExecutionError, match="but the program declares"):
        FusedExecutor(decay(8), [], []).step([np.zeros(9, np.float32)])


def test_long_runs_are_fused_and_short_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "conforming", lambda *_, **__: FusedExecutor)
    assert selection.choose_executor(decay(100), 10) is ReferenceExecutor
    assert selection.choose_executor(decay(1 << 20), 1000) is FusedExecutor


def test_an_executor_with_a_wrong_bit_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def wrong(factory: Factory) -> None:
        raise ConformanceError(f"{factory} is wrong")

    monkeypatch.setattr(selection, "run_conformance", wrong)
    selection.examined.cache_clear()
    assert selection.conforming(tmp_path) is ReferenceExecutor
    selection.examined.cache_clear()


def test_machine_code_has_no_fused_multiply_add() -> None:
    text = (
        "define void @k(ptr %a) {\n%x = load <8 x float>, ptr %a\n%m = fmul <8 x float> %x, %x\n"
        "%s = fadd <8 x float> %m, %x\nstore <8 x float> %s, ptr %a\nret void\n}\n"
    )
    assert compile_object(text)
    assert "fmadd" not in target_machine(*machine().names).emit_assembly(llvm.parse_assembly(text))


def test_a_profile_accounts_for_every_stage_and_changes_nothing() -> None:
    program = row_program(70, 31, 1)
    state = [np.ones((70, 31), np.float32), np.ones((70, 31), np.int64)]
    executor = FusedExecutor(program, [], [])
    before = bits(program, executor.step(state))
    profile = executor.profile(state)
    assert [n for stage, _ in profile for n in stage.outputs if n in program.new_state] == list(program.new_state)
    assert all(0 < seconds < 1 for _, seconds in profile)
    assert bits(program, executor.step(state)) == before


def chained(length: int) -> Program:
    """One map of so many divisions, each of the one before."""
    builder = Builder()
    state = builder.state(DType.I64, (64,))
    expression = ExpressionBuilder([DType.I64], 1)
    value = expression.operand(0)
    for _ in range(length):
        value = value.div(expression.operand(0)) + expression.operand(0)
    return builder.finish([builder.map(expression.finish(value), [state])])


def test_an_expression_longer_than_the_stack_is_computed() -> None:
    builder = Builder()
    state = builder.state(DType.I64, (64,))
    expression = ExpressionBuilder([DType.I64], 1)
    value = expression.operand(0)
    for number in range(375):  # nearly as many as one move can justify
        value = value + expression.operand(0) if number % 3 else value ^ expression.operand(0)
    program = builder.finish([builder.map(expression.finish(value), [state])])
    given = [np.arange(64) - 30]
    made, wanted = FusedExecutor(program, [], []).step(given), ReferenceExecutor(program, [], []).step(given)
    assert torch.equal(made[0], wanted[0])


def test_code_that_takes_too_long_to_compile_is_refused_and_run_without(monkeypatch: pytest.MonkeyPatch) -> None:
    program, given = chained(170), [np.arange(64) - 30]
    monkeypatch.setattr(cache, "compile_object", lambda text: compile_object(text, 0.5))
    started = time.monotonic()
    with pytest.raises(TooMuchCode, match="to compile"):
        FusedExecutor(program, [], [])
    assert time.monotonic() - started < 30
    monkeypatch.setattr(selection, "WORTH_COMPILING", 0)
    monkeypatch.setattr(selection, "conforming", lambda *_, **__: FusedExecutor)
    done = run_shard(program, [], given, [], 2, 2)
    reference = ReferenceExecutor(program, [], [])
    assert done.final_state[0].tolist() == reference.step(reference.step(given))[0].tolist()
