"""A GPU that is this machine's processor: generated kernels compiled by its C++ compiler (emulated_cuda.h)."""

from __future__ import annotations

import ctypes
import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

import pytest
import torch

from orebit.executor.conformance import Factory
from orebit.executor.cuda import plan
from orebit.executor.cuda.capability import Capability
from orebit.executor.cuda.device import Call
from orebit.executor.cuda.executor import CudaExecutor
from orebit.executor.cuda.kernel import Kernel
from orebit.executor.cuda.plan import Planner
from orebit.executor.cuda.source import source_of
from orebit.program.graph import Program

HEADER = Path(__file__).with_name("emulated_cuda.h")
COMPILER = shutil.which("g++")
# No contraction: x86 has fused multiply-adds too. Arithmetic that C leaves open is an error in what is generated, and
# traps. Warnings are not: kernels have names that not all of them use.
OPTIONS = ["-std=c++17", "-O1", "-shared", "-fPIC", "-w", "-ffp-contract=off", "-fno-math-errno"]
CHECKS = [
    "-fsanitize=signed-integer-overflow,shift-exponent,bounds,integer-divide-by-zero",
    "-fsanitize-undefined-trap-on-error",
]

HOPPER, VOLTA = Capability(9, 0), Capability(7, 0)

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no g++ to compile the kernels with")


class EmulatedGpu:
    """orebit.executor.cuda.device.Device, on the host."""

    def __init__(self, capability: Capability = HOPPER, backwards: bool = False) -> None:
        self.place = torch.device("cpu")
        self.capability = capability
        self.identity = f"emulated {capability.number} {HEADER.stat().st_mtime_ns} {OPTIONS}{CHECKS}"
        self.backwards = backwards
        self.fetched = self.captures = 0
        self._prepared: bytes | None = None

    def free_bytes(self) -> int:
        return 8 << 30

    def prepare(self, programs: Iterable[Program]) -> None:
        """Compiles what these programs need at once, which takes far less than one by one."""
        kernels = [kernel for program in programs for kernel in kernels_of(program, self.capability)]
        self._prepared = self._compiled(source_of(kernels))

    def compile(self, source: str) -> bytes:
        return self._compiled(source) if self._prepared is None else self._prepared

    def _compiled(self, source: str) -> bytes:
        assert COMPILER is not None
        kernels = re.findall(r'^extern "C" __global__ void .*?(k[0-9a-f]{20})\(', source, re.MULTILINE)
        entries = [
            f'extern "C" void launch_{name}(const uint64_t *pointers, const unsigned *grid, unsigned threads, '
            f"bool together, bool backwards) {{ ob_call({name}, pointers, grid, threads, together, backwards); }}"
            for name in kernels
        ]
        plain = source.replace('extern "C" __global__', "__global__")
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            text, made = folder / "kernels.cpp", folder / "kernels.so"
            text.write_text("\n".join([f'#include "{HEADER}"', plain, *entries]))
            command = [COMPILER, *OPTIONS, *CHECKS, "-o", str(made), str(text)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr[:4000]
            return made.read_bytes()

    def load(self, image: bytes, kernels: Sequence[Kernel]) -> EmulatedCode:
        return EmulatedCode(image, self.backwards)

    def working(self) -> AbstractContextManager[object]:
        return nullcontext()

    def recorded(self) -> Call:
        return lambda: None

    def captured(self, work: Call) -> Call | None:
        self.captures += 1
        return work

    def fetch(self, block: torch.Tensor, ready: Call) -> torch.Tensor:
        ready()
        self.fetched += 1
        return block.clone()


class EmulatedCode:
    """Kernels as functions of a library."""

    def __init__(self, image: bytes, backwards: bool) -> None:
        self._backwards = backwards
        with tempfile.NamedTemporaryFile(suffix=hashlib.sha256(image).hexdigest()[:8] + ".so") as file:
            file.write(image)
            file.flush()
            self._library = ctypes.CDLL(file.name)

    def launch(self, kernel: Kernel, pointers: Sequence[int]) -> None:
        function = getattr(self._library, f"launch_{kernel.name}")
        words = (ctypes.c_uint64 * max(1, len(pointers)))(*pointers)
        grid = (ctypes.c_uint * 3)(*kernel.grid)
        function(words, grid, kernel.block, ctypes.c_bool(kernel.together), ctypes.c_bool(self._backwards))


def kernels_of(program: Program, capability: Capability) -> list[Kernel]:
    """Every kernel that a program takes."""
    return plan.kernels_of(Planner(program, capability).stages())


def emulated(capability: Capability = HOPPER, backwards: bool = False) -> Factory:
    """An executor on such a GPU."""
    return partial(CudaExecutor, device=EmulatedGpu(capability, backwards))
