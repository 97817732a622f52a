"""The exact products that this machine's native library has, as the planner asks for them: one dot node at a time."""

from __future__ import annotations

from collections.abc import Callable

from orebit.executor.fused.contraction import Surroundings, plan
from orebit.executor.fused.contraction_kernels import Arithmetic
from orebit.executor.fused.contraction_schedule import Format
from orebit.executor.fused.contraction_tasks import Prepared, prepare
from orebit.executor.native.kernels import Kernels
from orebit.executor.native.library import Library
from orebit.executor.native.packing import TILE_COLUMNS, TILE_ROWS, Panels

Contract = Callable[[Surroundings, int], Prepared | None]


def formats(kernels: Kernels) -> dict[Arithmetic, Format]:
    """The packed form for each arithmetic that these kernels have. Eight-bit digits are multiplied as sixteen."""
    unit = 2 * Panels(rows=1, k=1, tile=TILE_ROWS).pairs
    name = f"orebit_product16_{kernels.instructions}"
    sixteen = Format(name, Arithmetic.INT16, TILE_ROWS, TILE_COLUMNS, unit)
    return {Arithmetic.INT8: sixteen, Arithmetic.INT16: sixteen}


def contractor(library: Library, kernels: Kernels | None = None) -> Contract:
    """What plans a program's dots; it gives None for those that generated loops must compute.

    Args:
        kernels: of the library; the fastest that this machine can run, unless given.
    """
    known = formats(Kernels.best(library) if kernels is None else kernels)

    def contract(around: Surroundings, number: int) -> Prepared | None:
        contraction = plan(around, number)
        if contraction is None or contraction.kernel.arithmetic not in known:
            return None
        return prepare(contraction, known[contraction.kernel.arithmetic])

    return contract
