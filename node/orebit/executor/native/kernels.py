"""Which instruction sets this machine has, and the addresses of the kernels written for them."""

from __future__ import annotations

import ctypes
import enum
import functools
from dataclasses import dataclass

from orebit.errors import ExecutionError
from orebit.executor.native.library import Library


class Instructions(enum.StrEnum):
    """Instruction sets that have kernels of their own, slowest first; values are the kernels' suffixes."""

    PORTABLE = "portable"
    AVX2 = "avx2"
    AVX512_VNNI = "avx512vnni"
    AMX = "amx"


class Digits(enum.StrEnum):
    """What panels hold; values are the kernels' infixes.

    INT8 is for up to 8 bits where `Kernels.digits` has it, INT16 for up to 16, DOUBLE for 17 to 22.
    """

    INT8 = "8"
    INT16 = "16"
    DOUBLE = "64"


FEATURES = {Instructions.AVX2: 1, Instructions.AVX512_VNNI: 2, Instructions.AMX: 4}
# Packing is bound by memory: wider vectors would not speed it up.
PACKING = {Instructions.AVX512_VNNI: Instructions.AVX2, Instructions.AMX: Instructions.AVX2}
# Tiles are used for 16-bit digits; bytes and doubles go to the set below.
BESIDE_TILES = {"orebit_product8", "orebit_product64"}


@functools.cache
def available(library: Library) -> tuple[Instructions, ...]:
    """The instruction sets that this machine has and whose products gave the portable kernels' bits in a trial that
    takes some milliseconds, slowest first."""
    features = library.call("orebit_instructions", ctypes.c_int)
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

    @property
    def digits(self) -> tuple[Digits, ...]:
        """The panels that this set has products for. AVX2 multiplies bytes no faster than 16-bit digits."""
        return (Digits.INT16, Digits.DOUBLE) if self.instructions is Instructions.AVX2 else tuple(Digits)

    def product(self, name: str) -> int:
        """The address of a product's kernel, by its name without suffix."""
        besides = self.instructions is Instructions.AMX and name in BESIDE_TILES
        return self.library.address(f"{name}_{Instructions.AVX512_VNNI if besides else self.instructions}")

    def packing(self, name: str) -> int:
        """The address of a kernel that packs or measures operands, by its name without suffix."""
        return self.library.address(f"{name}_{PACKING.get(self.instructions, self.instructions)}")
