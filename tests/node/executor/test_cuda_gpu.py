"""The CUDA executor on a real GPU, against the reference executor. Skipped where there is none.

The tests of every executor (vectors, the oracle's scalars and programs, products, trainings) run on it besides.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from cuda_cases import difference, inputs_of, larger, library_cases, product_cases, region, small

from orebit.executor.conformance import run_conformance
from orebit.executor.cuda import CudaExecutor, digits, library
from orebit.executor.cuda.capability import Capability
from orebit.executor.reference import ReferenceExecutor
from orebit.executor.run import run_shard, state_heads
from orebit.executor.standard import standard_programs
from orebit.program.descriptor import Source

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no NVIDIA GPU here")
LONG = os.environ.get("OREBIT_LONG_TESTS") == "1"
COUNT = 300 if LONG else 10


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OREBIT_CACHE", str(tmp_path))


def test_the_vectors_that_ship_pass() -> None:
    run_conformance(CudaExecutor)


@pytest.mark.parametrize("make", [small, larger, region])
def test_random_programs_have_the_reference_bits(make: object) -> None:
    for seed in range(90_000, 90_000 + COUNT):
        made = make(seed)  # type: ignore[operator]  # one of the three above
        assert difference(CudaExecutor, made.program, inputs_of(made)) is None, f"seed {seed}"


@pytest.mark.parametrize("tensor_cores", [True, False])
def test_products_have_the_reference_bits(tensor_cores: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "LEAST_TERMS", 0)
    if not tensor_cores:
        monkeypatch.setattr(Capability, "tensor_bytes", property(lambda self: False))
    for name, program, given in product_cases(LONG):
        assert difference(CudaExecutor, program, given) is None, name


@pytest.mark.parametrize("kind", library.Arithmetic)
def test_products_by_torch_have_the_reference_bits(kind: library.Arithmetic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "LEAST_TERMS", 0)
    monkeypatch.setattr(library, "LEAST_TERMS", 0)
    monkeypatch.setattr(Capability, "fast_doubles", property(lambda self: True))
    for name, program, given in library_cases(kind):
        assert difference(CudaExecutor, program, given) is None, name


@pytest.mark.parametrize("number", [0, 1])
def test_two_hundred_steps_end_in_the_reference_state(number: int) -> None:
    """Graphs are replayed from the third step on."""
    _, program, state = list(standard_programs())[number]
    reference, executor = ReferenceExecutor(program, [], []), CudaExecutor(program, [], [])
    ours, theirs = list(state), list(state)
    for _ in range(200):
        ours, theirs = reference.step(ours), executor.step(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.numpy().tobytes() == b.numpy().tobytes()


def test_checkpoints_hash_what_each_step_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies are made beside the next steps, and are not of these."""
    _, program, state = list(standard_programs())[1]
    monkeypatch.setattr("orebit.executor.run.choose_executor", lambda *_, **__: CudaExecutor)
    run = run_shard(program, [], state, [], 12, 3)
    monkeypatch.setattr("orebit.executor.run.choose_executor", lambda *_, **__: ReferenceExecutor)
    assert run.roots == run_shard(program, [], state, [], 12, 3).roots


@pytest.mark.skipif(not LONG, reason="takes minutes; set OREBIT_LONG_TESTS=1")
@pytest.mark.parametrize("workload", ["mlp", "resnet8", "transformer-lm", "embedding-lm"])
def test_the_benchmark_s_trainings_have_the_reference_bits(workload: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[3] / "bench")
    import programs
    import workloads

    traced = programs.trace(workloads.make(workload), 15)
    given = {
        Source.CONSTANT: traced.constants_for(0),
        Source.PARAMETER: traced.parameters(0, 0),
        Source.STATE: traced.initial_state,
    }
    assert difference(partial(CudaExecutor), traced.program, given) is None


def test_a_state_on_the_gpu_has_the_heads_of_its_bytes() -> None:
    _, program, state = list(standard_programs())[1]
    after = CudaExecutor(program, [], []).step(state)
    wanted = ReferenceExecutor(program, [], []).step(state)
    assert state_heads([np.asarray(t) for t in after]) == state_heads([np.asarray(t) for t in wanted])
