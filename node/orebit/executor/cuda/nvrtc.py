"""NVIDIA's run-time compiler through ctypes: CUDA C to machine code, without a toolkit on the rig.

torch's wheels for CUDA bring the library. Its interface has been the same since CUDA 7; torch's own helpers around it
are private and change.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from orebit.errors import ExecutionError
from orebit.executor.cuda.capability import Capability

# Every float operation rounds on its own and keeps subnormals; sources also name each rounding, so that these options
# decide nothing but what stands elsewhere.
OPTIONS = ("--fmad=false", "--prec-div=true", "--prec-sqrt=true", "--ftz=false", "--std=c++17")
_PACKAGES = ("nvidia.cuda_nvrtc", "nvidia.cu13", "nvidia.cu12", "torch")
_PATTERN = "libnvrtc.so.[0-9]*"


class Nvrtc:
    """A loaded library.

    Args:
        path: of the library.

    Raises:
        ExecutionError: when it cannot be loaded.
    """

    def __init__(self, path: str) -> None:
        try:
            self._library = ctypes.CDLL(path)
        except OSError as error:
            raise ExecutionError(f"NVIDIA's run-time compiler {path} cannot be loaded: {error}") from error
        self._library.nvrtcGetErrorString.restype = ctypes.c_char_p
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._check(self._library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)), "its version")
        self.version = (major.value, minor.value)

    def cubin(self, source: str, capability: Capability, options: Sequence[str] = OPTIONS) -> bytes:
        """Machine code for exactly this capability.

        Raises:
            ExecutionError: with the compiler's log, when it refuses the source.
        """
        return self._compiled(source, [f"--gpu-architecture=sm_{capability.number}", *options], "CUBIN")

    def ptx(self, source: str, capability: Capability, options: Sequence[str] = OPTIONS) -> str:
        """Assembly text, for people and tests; raises as `cubin` does."""
        arguments = [f"--gpu-architecture=compute_{capability.number}", *options]
        return self._compiled(source, arguments, "PTX").rstrip(b"\0").decode()

    def _compiled(self, source: str, arguments: Sequence[str], kind: str) -> bytes:
        library, program = self._library, ctypes.c_void_p()
        made = library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"orebit.cu", 0, None, None)
        self._check(made, "a program")
        try:
            texts = (ctypes.c_char_p * len(arguments))(*(text.encode() for text in arguments))
            if library.nvrtcCompileProgram(program, len(arguments), texts):
                raise ExecutionError(f"NVIDIA's run-time compiler refuses a kernel: {self._log(program)[-2000:]}")
            size = ctypes.c_size_t()
            self._check(getattr(library, f"nvrtcGet{kind}Size")(program, ctypes.byref(size)), "its size")
            image = ctypes.create_string_buffer(size.value)
            self._check(getattr(library, f"nvrtcGet{kind}")(program, image), "its result")
            return image.raw
        finally:
            library.nvrtcDestroyProgram(ctypes.byref(program))

    def _log(self, program: ctypes.c_void_p) -> str:
        size = ctypes.c_size_t()
        self._library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        text = ctypes.create_string_buffer(max(size.value, 1))
        self._library.nvrtcGetProgramLog(program, text)
        return text.value.decode(errors="replace")

    def _check(self, status: int, what: str) -> None:
        if status:
            reason = self._library.nvrtcGetErrorString(status).decode()
            raise ExecutionError(f"NVIDIA's run-time compiler cannot give {what}: {reason}")


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
