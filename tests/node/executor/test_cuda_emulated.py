"""The CUDA executor with its GPU emulated by this machine's C++ compiler: every line of generated code runs.

Threads of a block run as coroutines, forwards and backwards; tensor cores follow the PTX manual's tables. That a real
compiler takes the code, test_cuda_compiled.py shows; that a real GPU gives the same bits, test_cuda_gpu.py where there
is one. OREBIT_LONG_TESTS=1 tries more programs, and the benchmark's trainings.
"""

from __future__ import annotations

import gc
import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from cuda_cases import difference, inputs_of, integer_product, larger, library_cases, product_cases, region, small
from emulated_cuda import HOPPER, VOLTA, EmulatedGpu, kernels_of, needs_compiler

from orebit.errors import ExecutionError
from orebit.executor.conformance import run_conformance, run_programs
from orebit.executor.cuda import CudaExecutor, cut_regions, digits, library
from orebit.executor.cuda.digits import DEPTH, REACHES, Product, digits_of
from orebit.executor.cuda.plan import Planner
from orebit.executor.reference import ReferenceExecutor
from orebit.numerics.types import DType
from orebit.program.builder import Builder
from orebit.program.descriptor import Kind, Source
from orebit.program.expression import ExpressionBuilder
from orebit.program.graph import Program

pytestmark = needs_compiler
LONG = os.environ.get("OREBIT_LONG_TESTS") == "1"
COUNT = 100 if LONG else 4


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OREBIT_CACHE", str(tmp_path))


@pytest.mark.parametrize("backwards", [False, True])
def test_random_programs_have_the_reference_bits(backwards: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Backwards, with every walk that can be cut cut into parts."""
    if backwards:
        monkeypatch.setattr(cut_regions, "LEAST_STEPS", 1)
    device = EmulatedGpu(backwards=backwards)
    first = 70_000 + COUNT * backwards
    seeds = [(make, seed) for make in (small, larger, region) for seed in range(first, first + COUNT)]
    programs = [make(seed) for make, seed in seeds]
    device.prepare(made.program for made in programs)
    kernels = [kernel for made in programs for kernel in kernels_of(made.program, HOPPER)]
    assert any(kernel.grid[1] > 1 for kernel in kernels) or not backwards
    for (make, seed), made in zip(seeds, programs, strict=True):
        found = difference(partial(CudaExecutor, device=device), made.program, inputs_of(made))
        assert found is None, f"{make.__name__} {seed}"


def test_the_vectors_that_ship_pass() -> None:
    """Every kind of node; OREBIT_LONG_TESTS=1: and every scalar operation."""
    device, programs = EmulatedGpu(), []

    def noted(program: Program, constants: object, parameters: object) -> ReferenceExecutor:
        programs.append(program)
        return ReferenceExecutor(program, constants, parameters)  # type: ignore[arg-type]  # as it was given

    run = run_conformance if LONG else run_programs
    run(noted)
    device.prepare(programs)
    run(partial(CudaExecutor, device=device))


@pytest.mark.parametrize("capability", [HOPPER, VOLTA])
def test_products_have_the_reference_bits(capability: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """By tensor cores and by `dp4a`, small ones too."""
    monkeypatch.setattr(digits, "LEAST_TERMS", 0)
    device = EmulatedGpu(capability)  # type: ignore[arg-type]  # pytest gives it back as it took it
    cases = list(product_cases(LONG))
    device.prepare(program for _, program, _ in cases)
    for name, program, given in cases:
        taken = [kernel for kernel in kernels_of(program, device.capability) if "ob_product<" in kernel.text]
        assert taken, f"{name} is no product of digits"
        assert difference(partial(CudaExecutor, device=device), program, given) is None, name


@pytest.mark.parametrize("kind", library.Arithmetic)
def test_products_by_torch_have_the_reference_bits(kind: library.Arithmetic, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes and float64, with a rescale behind them and without."""
    monkeypatch.setattr(digits, "LEAST_TERMS", 0)
    monkeypatch.setattr(library, "LEAST_TERMS", 0)
    device = EmulatedGpu()
    cases = list(library_cases(kind))
    device.prepare(program for _, program, _ in cases)
    for name, program, given in cases:
        stages = Planner(program, device.capability).stages()
        taken = [work for stage in stages for work in stage.launches if isinstance(work, library.Multiplication)]
        assert [work.arithmetic for work in taken] == [kind], name
        assert difference(partial(CudaExecutor, device=device), program, given) is None, name


@pytest.mark.parametrize("depth, kind", [(133_120, library.Arithmetic.BYTES), (133_184, None)])
def test_bytes_are_multiplied_by_torch_as_long_as_32_bits_hold_the_sums(
    depth: int, kind: library.Arithmetic | None
) -> None:
    assert (127 * 127 * depth < 1 << 31) == (kind is not None)
    program = integer_product(20, 32, depth, (DType.I8, DType.I8))
    (descriptor,) = (d for d in program.descriptors if d.kind is Kind.DOT)
    product = Product(descriptor.space, 2, (), (0,), (1,), (2,), (0, 1), (1, 1))
    assert library.arithmetic_of(descriptor, [(-127, 127)] * 2, product, HOPPER) is kind


@pytest.mark.parametrize("depth, kind", [(2048, library.Arithmetic.FLOAT64), (2049, None)])
def test_float64_is_used_as_long_as_it_is_exact(depth: int, kind: library.Arithmetic | None) -> None:
    program = integer_product(64, 64, depth, (DType.I32, DType.I32))
    (descriptor,) = (d for d in program.descriptors if d.kind is Kind.DOT)
    product = Product(descriptor.space, 2, (), (0,), (1,), (2,), (0, 1), (3, 3))
    reach = (1 << 21) - 1
    assert (reach * reach * depth < 1 << 53) == (kind is not None)
    assert library.arithmetic_of(descriptor, [(-reach, reach)] * 2, product, HOPPER) is kind


def test_no_accumulator_can_leave_32_bits() -> None:
    for left in range(1, 4):
        for right in range(1, 4):
            pairs = max(sum(i + j == place for i in range(left) for j in range(right)) for place in range(5))
            assert pairs * 128 * 128 * DEPTH < 1 << 31
    assert [digits_of(reach) for reach in (*REACHES, *(reach + 1 for reach in REACHES))] == [1, 2, 3, 2, 3, None]


def decay(size: int) -> Program:
    builder = Builder()
    x = builder.state(DType.F32, (size,))
    scope = ExpressionBuilder([DType.F32], 1)
    return builder.finish([builder.map(scope.finish(scope.operand(0) * 0.5 + 1.0), [x])])


def test_a_state_is_not_written_to_as_long_as_somebody_has_it() -> None:
    executor = CudaExecutor(decay(1000), [], [], device=EmulatedGpu())
    given = np.ones(1000, np.float32)
    given.flags.writeable = False
    first = executor.step([given])
    second = executor.step(first)
    for _ in range(4):
        executor.step(second)
    assert float(first[0][0]) == 1.5 and float(second[0][0]) == 1.75


def test_the_states_of_a_run_share_two_places() -> None:
    executor = CudaExecutor(decay(1000), [], [], device=EmulatedGpu())
    state = executor.step([np.ones(1000, np.float32)])
    places = set()
    for _ in range(10):
        state = executor.step(state)
        places.add(state.block.data_ptr())
    gc.collect()
    assert len(places) == 2


def test_a_state_is_copied_to_the_host_only_when_somebody_looks() -> None:
    device = EmulatedGpu()
    executor = CudaExecutor(decay(1000), [], [], device=device)
    state = executor.step([np.ones(1000, np.float32)])
    for _ in range(3):
        state = executor.step(state)
    assert device.fetched == 0
    assert [len(tensor) for tensor in state] == [1000] and len(state) == 1
    assert device.fetched == 1


def test_a_state_of_another_executor_is_taken() -> None:
    one, other = (CudaExecutor(decay(10), [], [], device=EmulatedGpu()) for _ in range(2))
    state = other.step(one.step([np.ones(10, np.float32)]))
    assert float(state[0][0]) == 1.75


def test_the_second_step_between_two_places_is_captured() -> None:
    device = EmulatedGpu()
    executor = CudaExecutor(decay(10), [], [], device=device)
    state = executor.step([np.ones(10, np.float32)])
    for _ in range(9):
        state = executor.step(state)
    assert device.captures == 2


def test_too_large_a_step_is_refused_before_memory_is_taken() -> None:
    with pytest.raises(ExecutionError, match="more than the"):
        CudaExecutor(decay(1 << 20), [], [], device=EmulatedGpu(), memory_limit=1 << 20)


def test_a_state_of_another_shape_is_refused() -> None:
    executor = CudaExecutor(decay(8), [], [], device=EmulatedGpu())
    with pytest.raises(ExecutionError, match="but the program declares"):
        executor.step([np.zeros(9, np.float32)])


def test_equal_programs_make_equal_kernels() -> None:
    names = [[kernel.name for kernel in kernels_of(small(3).program, HOPPER)] for _ in range(2)]
    assert names[0] == names[1]


@pytest.mark.skipif(not LONG, reason="takes minutes; set OREBIT_LONG_TESTS=1")
@pytest.mark.parametrize("workload", ["perceptron", "resnet", "transformer", "embedding"])
def test_the_benchmark_s_trainings_have_the_reference_bits(workload: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[3] / "bench")
    import programs
    import workloads

    sizes = {"perceptron": (96, 40), "resnet": (4, 4), "transformer": (64, 1, 2), "embedding": (8,)}
    traced = programs.trace(getattr(workloads, workload)(*sizes[workload]), 15)
    given = {
        Source.CONSTANT: traced.constants_for(0),
        Source.PARAMETER: traced.parameters(0, 0),
        Source.STATE: traced.initial_state,
    }
    assert any("ob_product<" in kernel.text for kernel in kernels_of(traced.program, HOPPER))
    assert difference(partial(CudaExecutor, device=EmulatedGpu()), traced.program, given) is None
