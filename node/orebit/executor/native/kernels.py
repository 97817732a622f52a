"""Which instruction sets this machine has, and the addresses of the kernels written for them."""

from __future__ import annotations

import ctypes
import enum
from dataclasses import dataclass

from orebit.errors import ExecutionError
from orebit.executor.native.library import Library


class Instructions(enum.StrEnum):
    """Instruction sets that have kernels of their own, slowest first; values are the kernels' suffixes."""

    PORTABLE = "portable"
    AVX2 = "avx2"
    AVX512_VNNI = "avx512vnni"


FEATURES = {Instructions.AVX2: 1, Instructions.AVX512_VNNI: 2}
# Packing is bound by memory: wider vectors would not speed it up.
PACKING = {Instructions.AVX512_VNNI: Instructions.AVX2}


def available(library: Library) -> tuple[Instructions, ...]:
    """The instruction sets that this machine can run, slowest first."""
    features = library.call("orebit_cpu_features", ctypes.c_int)
    return (Instructions.PORTABLE, *(name for name, bit in FEATURES.items() if features & bit))


@dataclass(frozen=True, slots=True)
class Kernels:
    """The kernels of one instruction set. All sets give the same bits and share the packed layouts."""

    library: Library
    instructions: Instructions

    @staticmethod
    def best(library: Library) -> Kernels:
        """The fastest that this machine can run."""
        return Kernels(library, available(library)[-1])

    def __post_init__(self) -> None:
        if self.instructions not in available(self.library):
            raise ExecutionError(f"this machine has no {self.instructions}; use one of {available(self.library)}")

    def product(self, name: str) -> int:
        """The address of a product's kernel, by its name without suffix."""
        return self.library.address(f"{name}_{self.instructions}")

    def packing(self, name: str) -> int:
        """The address of a kernel that packs or measures operands, by its name without suffix."""
        return self.library.address(f"{name}_{PACKING.get(self.instructions, self.instructions)}")
