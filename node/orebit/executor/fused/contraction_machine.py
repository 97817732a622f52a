"""The exact products that this machine's native library has, as the planner asks for them: one dot node at a time."""

from __future__ import annotations

from collections.abc import Callable

from orebit.executor.fused.contraction import Surroundings, plan
from orebit.executor.fused.contraction_kernels import Arithmetic
from orebit.executor.fused.contraction_schedule import Format
from orebit.executor.fused.contraction_tasks import Prepared, prepare
from orebit.executor.native.kernels import Digits, Kernels
from orebit.executor.native.library import Library
from orebit.executor.native.packing import PAIR_UNIT, TILE_COLUMNS, TILE_ROWS

DIGITS = {
    Arithmetic.INT8: Digits.INT8,
    Arithmetic.INT16: Digits.INT16,
    Arithmetic.FLOAT64: Digits.DOUBLE,
}
UNIT = 2 * PAIR_UNIT

Contract = Callable[[Surroundings, int], Prepared | None]


def formats(kernels: Kernels) -> dict[Arithmetic, Format]:
    """The packed form for each arithmetic that these kernels have. Where bytes are multiplied no faster than 16-bit
    digits, there is no kernel for them, and they are packed as such."""
    made = {
        arithmetic: Format(kernels.product(f"orebit_product{digits}"), arithmetic, TILE_ROWS, TILE_COLUMNS, UNIT)
        for arithmetic, digits in DIGITS.items()
        if digits in kernels.digits
    }
    return {Arithmetic.INT8: made[Arithmetic.INT16], **made}


def contractor(library: Library, kernels: Kernels | None = None) -> Contract:
    """What plans a program's dots; it gives None for those that generated loops must compute.

    Args:
        kernels: of the library; the fastest that this machine can run, unless given.
    """
    known = formats(Kernels.best(library) if kernels is None else kernels)

    def contract(around: Surroundings, number: int) -> Prepared | None:
        contraction = plan(around, number)
        return None if contraction is None else prepare(contraction, known[contraction.kernel.arithmetic])

    return contract
