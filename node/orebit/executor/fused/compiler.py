"""LLVM: from the text of kernels to addresses.

A stranger's program can be made so that LLVM takes minutes over it, and a compiler cannot be interrupted: what is not
small is compiled in a process of its own, which is ended when its time is over.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterable
from functools import cache

import llvmlite
import llvmlite.binding as llvm

from orebit.errors import ExecutionError, TooMuchCode
from orebit.executor.fused import assembler
from orebit.executor.fused.assembler import initialise, object_file, target_machine
from orebit.executor.fused.nest import Kernel

GENERATOR = 1
COMPILE_SECONDS = 60.0
# Characters of text that never take long.
SMALL_TEXT = 1 << 14


class Machine:
    """This processor as LLVM sees it.

    Attributes:
        width: lanes of 32 bits in its vectors.
        identity: whatever compiled code depends on beside its text.
    """

    def __init__(self) -> None:
        initialise()
        features = llvm.get_host_cpu_features()
        flags = [("+" if on else "-") + name for name, on in sorted(features.items())]
        self.cpu, self.features = llvm.get_host_cpu_name(), ",".join(flags)
        self.triple = llvm.get_process_triple()
        if self.triple.startswith("x86_64"):
            if not features.get("sse4.1"):
                raise ExecutionError("this processor has no SSE 4.1; the reference executor runs on it")
            self.width = 16 if features.get("avx512f") else 8 if features.get("avx2") else 4
        elif self.triple.startswith(("aarch64", "arm64")):
            self.width = 4
        else:
            raise ExecutionError(f"there is no fused executor for {self.triple}; the reference executor runs on it")
        described = "|".join((llvmlite.__version__, self.triple, self.cpu, self.features, str(GENERATOR)))
        self.identity = hashlib.sha256(described.encode()).hexdigest()

    @property
    def names(self) -> tuple[str, str, str]:
        """Triple, processor and features."""
        return self.triple, self.cpu, self.features


@cache
def machine() -> Machine:
    """Raises:
    ExecutionError: when this processor lacks what generated code needs.
    """
    return Machine()


def module_text(kernels: Iterable[Kernel]) -> str:
    """One module with all of these kernels."""
    made = list(kernels)
    declarations = sorted({line for kernel in made for line in kernel.declarations})
    return "\n".join([kernel.text for kernel in made] + declarations) + "\n"


def compile_object(text: str, seconds: float = COMPILE_SECONDS) -> bytes:
    """Machine code, as an object file.

    Raises:
        TooMuchCode: when it takes longer, or more memory than a compiler should.
    """
    if len(text) <= SMALL_TEXT:
        return object_file(text, *machine().names)
    command = [sys.executable, "-I", assembler.__file__, *machine().names]
    try:
        done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise TooMuchCode(f"the program's kernels take more than {seconds:.0f} s to compile; split its maps") from None
    if done.returncode:
        complaint = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or [f"status {done.returncode}"]
        raise TooMuchCode(f"the program's kernels cannot be compiled: {complaint[0]}")
    return done.stdout


class Code:
    """Loaded machine code; what it gives stays valid as long as it lives."""

    def __init__(self, image: bytes, names: Iterable[str]) -> None:
        self._jit = llvm.create_lljit_compiler(target_machine(*machine().names))
        library = llvm.JITLibraryBuilder().add_object_img(image).add_current_process()
        for name in names:
            library.export_symbol(name)
        self._library = library.link(self._jit, "kernels")

    def address(self, name: str) -> int:
        return int(self._library[name])
