"""Generated kernels through NVIDIA's own compiler, which needs no GPU: it takes them, and contracts nothing.

Skipped where there is no libnvrtc: the package nvidia-cuda-nvrtc has it, and nvidia-cuda-nvrtc-cu12 knows 7.0 as well.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache

import pytest
from cuda_cases import larger, library_cases, product_cases, region
from emulated_cuda import kernels_of

from orebit.errors import ExecutionError, TooMuchCode
from orebit.executor.cuda import digits, library
from orebit.executor.cuda.capability import Capability
from orebit.executor.cuda.library import Arithmetic
from orebit.executor.cuda.nvrtc import SMALL_SOURCE, Nvrtc, nvrtc
from orebit.executor.cuda.source import source_of
from orebit.executor.standard import standard_programs
from orebit.program.graph import Program

CAPABILITIES = [Capability(7, 0), Capability(8, 0), Capability(9, 0)]
FLOAT_OPERATION = re.compile(
    r"^\s*(?:@%p\d+ )?((?:fma|mad|add|sub|mul|div|sqrt|rcp|ex2|lg2)\.[\w.]*f32)\b", re.MULTILINE
)


def compiler_for(capability: Capability) -> Nvrtc:
    try:
        found = nvrtc()
    except ExecutionError as reason:
        pytest.skip(str(reason))
    if found.version >= (13, 0) and capability < Capability(7, 5):
        pytest.skip(f"NVRTC {found.version[0]} no longer knows capability {capability.number / 10}")
    return found


@cache
def programs() -> list[Program]:
    made = [make(seed).program for make in (larger, region) for seed in range(80_000, 80_004)]
    products = [*standard_programs(), *product_cases(False), *(c for kind in Arithmetic for c in library_cases(kind))]
    return [*made, *(program for _, program, _ in products)]


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_kernels_compile_and_every_float_operation_rounds_on_its_own(
    capability: Capability, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = compiler_for(capability)
    monkeypatch.setattr(digits, "LEAST_TERMS", 0)
    monkeypatch.setattr(library, "LEAST_TERMS", 0)
    source = source_of(kernel for program in programs() for kernel in kernels_of(program, capability))
    assert compiler.cubin(source, capability).startswith(b"\x7fELF")
    text = compiler.ptx(source, capability)
    operations = Counter(FLOAT_OPERATION.findall(text))
    assert set(operations) <= {"add.rn.f32", "sub.rn.f32", "mul.rn.f32", "div.rn.f32", "sqrt.rn.f32"}, operations
    assert operations["mul.rn.f32"] and operations["add.rn.f32"] and operations["div.rn.f32"]
    assert ".ftz" not in text and ".approx" not in text
    assert not re.search(r"(?:fma|add|sub|mul|div)[.\w]*f64", text)
    assert ("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32" in text) == capability.tensor_bytes


def test_options_are_not_what_keeps_floats_apart() -> None:
    """The same text with contraction allowed: roundings are named in the source."""
    capability = Capability(8, 0)
    compiler = compiler_for(capability)
    (_, elementwise, _) = list(standard_programs())[1]
    source = source_of(kernels_of(elementwise, capability))
    text = compiler.ptx(source, capability, ["--fmad=true", "--std=c++17"])
    assert "mul.rn.f32" in text and "fma.rn" not in text


def test_a_source_that_takes_too_long_is_given_up() -> None:
    capability = Capability(8, 0)
    compiler = compiler_for(capability)
    source = source_of(kernels_of(list(standard_programs())[0][1], capability)) + "//" + "x" * SMALL_SOURCE
    with pytest.raises(TooMuchCode, match="take more than"):
        compiler.cubin(source, capability, seconds=0.01)
    with pytest.raises(TooMuchCode, match="undefined_name"):
        compiler.cubin("__global__ void k() { undefined_name(); }\n//" + "x" * SMALL_SOURCE, capability)


def test_what_the_compiler_refuses_is_an_error_with_its_words() -> None:
    compiler = compiler_for(Capability(8, 0))
    with pytest.raises(ExecutionError, match="undefined_name"):
        compiler.cubin("__global__ void k() { undefined_name(); }", Capability(8, 0))
