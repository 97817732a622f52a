"""LLVM: from the text of kernels to addresses.

Multiplications and additions are never contracted: LLVM does so only for instructions that allow it, and none does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache

import llvmlite
import llvmlite.binding as llvm

from orebit.errors import ExecutionError
from orebit.executor.fused.nest import Kernel

GENERATOR = 1


class Machine:
    """This processor as LLVM sees it.

    Attributes:
        width: lanes of 32 bits in its vectors.
        identity: whatever compiled code depends on beside its text.
    """

    def __init__(self) -> None:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
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

    def target(self) -> llvm.TargetMachine:
        return llvm.Target.from_triple(self.triple).create_target_machine(
            cpu=self.cpu, features=self.features, opt=2, reloc="pic", codemodel="small"
        )


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


def compile_object(text: str) -> bytes:
    """Machine code, as an object file."""
    module = llvm.parse_assembly(text)
    target = machine().target()
    module.triple, module.data_layout = machine().triple, str(target.target_data)
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = options.slp_vectorization = False
    options.loop_unrolling = options.loop_interleaving = False
    builder = llvm.create_pass_builder(target, options)
    builder.getModulePassManager().run(module, builder)
    return bytes(target.emit_object(module))


class Code:
    """Loaded machine code; what it gives stays valid as long as it lives."""

    def __init__(self, image: bytes, names: Iterable[str]) -> None:
        self._jit = llvm.create_lljit_compiler(machine().target())
        library = llvm.JITLibraryBuilder().add_object_img(image).add_current_process()
        for name in names:
            library.export_symbol(name)
        self._library = library.link(self._jit, "kernels")

    def address(self, name: str) -> int:
        return int(self._library[name])
