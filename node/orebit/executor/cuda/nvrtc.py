"""NVIDIA's run-time compiler through ctypes: CUDA C to machine code, without a toolkit on the rig.

torch's wheels for CUDA bring the library. Its interface has been the same since CUDA 7; torch's own helpers around it
are private and change.
"""

from __future__ import annotations

import ctypes.util
import importlib.util
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from orebit.errors import ExecutionError, TooMuchCode
from orebit.executor.cuda import compiling
from orebit.executor.cuda.capability import Capability
from orebit.executor.cuda.compiling import Compiler, Refused

# Every float operation rounds on its own and keeps subnormals; sources also name each rounding, so that these options
# decide nothing but what stands elsewhere.
OPTIONS = ("--fmad=false", "--prec-div=true", "--prec-sqrt=true", "--ftz=false", "--std=c++17")
_PACKAGES = ("nvidia.cuda_nvrtc", "nvidia.cu13", "nvidia.cu12", "torch")
_PATTERN = "libnvrtc.so.[0-9]*"


# Longer sources are compiled in another process, which is ended if it takes too long: strangers' bytes made them.
SMALL_SOURCE = 1 << 16
COMPILE_SECONDS = 120.0


class Nvrtc:
    """A loaded library.

    Args:
        path: of the library.

    Raises:
        ExecutionError: when it cannot be loaded.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            self._compiler = Compiler(path)
        except (OSError, Refused) as error:
            raise ExecutionError(f"NVIDIA's run-time compiler {path} cannot be used: {error}") from error
        self.version = self._compiler.version

    def cubin(self, source: str, capability: Capability, seconds: float = COMPILE_SECONDS) -> bytes:
        """Machine code for exactly this capability.

        Raises:
            TooMuchCode: when that takes longer, or more memory than a compiler should.
            ExecutionError: with the compiler's log, when it refuses a short source.
        """
        options = [f"--gpu-architecture=sm_{capability.number}", *OPTIONS]
        if len(source) > SMALL_SOURCE:
            return self._apart(source, ["CUBIN", *options], seconds)
        return self._here(source, "CUBIN", options)

    def ptx(self, source: str, capability: Capability, options: Sequence[str] = OPTIONS) -> str:
        """Assembly text, for people and tests; raises as `cubin` does for a short source."""
        arguments = [f"--gpu-architecture=compute_{capability.number}", *options]
        return self._here(source, "PTX", arguments).rstrip(b"\0").decode()

    def _here(self, source: str, kind: str, options: Sequence[str]) -> bytes:
        try:
            return self._compiler.compiled(source.encode(), kind, options)
        except Refused as error:
            raise ExecutionError(f"NVIDIA's run-time compiler refuses a kernel: {error}") from error

    def _apart(self, source: str, arguments: Sequence[str], seconds: float) -> bytes:
        command = [sys.executable, "-I", compiling.__file__, self._path, *arguments]
        try:
            done = subprocess.run(command, input=source.encode(), capture_output=True, timeout=seconds, check=False)
        except subprocess.TimeoutExpired:
            raise TooMuchCode(f"the program's kernels take more than {seconds:.0f} s to compile; split it") from None
        if done.returncode:
            complaint = done.stderr.decode(errors="replace").strip() or f"it ends with status {done.returncode}"
            raise TooMuchCode(f"the program's kernels cannot be compiled: {complaint[-1000:]}")
        return done.stdout


@cache
def nvrtc() -> Nvrtc:
    """The library that torch brings, else the system's.

    Raises:
        ExecutionError: when there is none, saying what to install.
    """
    for path in _candidates():
        return Nvrtc(path)
    raise ExecutionError(
        "there is no libnvrtc, NVIDIA's run-time compiler; install torch for CUDA, which brings it, "
        "or the package nvidia-cuda-nvrtc"
    )


def _candidates() -> Iterator[str]:
    for package in _PACKAGES:
        for folder in _folders(package):
            # The longest name last: builtins and alternatives have names of their own and do not match.
            for path in sorted([*folder.glob(f"lib/{_PATTERN}"), *folder.glob(f"lib64/{_PATTERN}")], reverse=True):
                yield str(path)
    found = ctypes.util.find_library("nvrtc")
    if found is not None:
        yield found


def _folders(package: str) -> list[Path]:
    try:
        spec = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        return []
    return [] if spec is None else [Path(place) for place in spec.submodule_search_locations or []]
