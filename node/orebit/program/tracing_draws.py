"""A step as torch runs it, but with the random numbers that the program draws: for comparing the two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils._python_dispatch import TorchDispatchMode

from orebit.errors import TraceError
from orebit.numerics.types import DType
from orebit.program.builder import Builder
from orebit.program.graph import Program
from orebit.program.lowering.context import Lowering, Randomness
from orebit.program.lowering.registry import LOWERINGS
from orebit.program.lowering.tensor import Tensor
from orebit.program.tracing_randomness import Sites

Array = NDArray[Any]
Run = Callable[[Program, list[Array], list[Array]], torch.Tensor]
"""Executes a program of one step over constants and parameters, and returns its only state tensor."""

aten = torch.ops.aten
IN_PLACE = {
    aten.bernoulli_.float: aten.bernoulli.p,
    aten.bernoulli_.Tensor: aten.bernoulli.Tensor,
    aten.uniform_.default: aten.uniform.default,
    aten.normal_.default: aten.normal_functional.default,
    aten.exponential_.default: aten.exponential.default,
    aten.geometric_.default: aten.geometric.default,
    aten.log_normal_.default: aten.log_normal.default,
    aten.cauchy_.default: aten.cauchy.default,
    aten.random_.default: aten.random.default,
    aten.random_.to: aten.random.to,
}
RANDOM_FROM = getattr(aten.random_, "from")


class ProgramDraws(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Replaces what random operations draw in one step.

    Args:
        key: seed, worker and step.
        run: executes the program of a single draw.
    """

    def __init__(self, key: tuple[int, int, int], run: Run) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._key = key
        self._run = run
        self.sites = Sites()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        site = self.sites.number(func, args, named)
        # Torch draws too, so that the generator's states tell sites apart as they did while tracing.
        made = func(*args, **named)
        if site is None or not isinstance(made, torch.Tensor):
            return made
        if func is RANDOM_FROM:
            drawn = self._draw(
                aten.randint.low, (args[1], args[2], list(made.shape)), {"dtype": made.dtype}, made, site
            )
        else:
            drawn = self._draw(IN_PLACE.get(func, func), args, named, made, site)
        return made.copy_(drawn)

    def _draw(
        self, operation: Any, args: Sequence[Any], named: dict[str, Any], made: torch.Tensor, site: int
    ) -> torch.Tensor:
        function = LOWERINGS.get(operation)
        if function is None:
            raise TraceError(f"{operation} draws random numbers and has no lowering")
        builder = Builder()
        seed, worker, step = (Tensor.of(builder.parameter(DType.I64, (), name)) for name in ("seed", "worker", "step"))
        lowering = Lowering(builder)
        lowering.randomness, lowering.site = Randomness(seed, worker, step), site
        lowering.result_type, lowering.result_is_mask = DType.from_torch(made.dtype), made.dtype is torch.bool
        constants: list[Array] = []

        def bound(argument: Any) -> Any:
            if not isinstance(argument, torch.Tensor):
                return None if isinstance(argument, torch.Generator) else argument
            array = argument.detach().contiguous().numpy()
            array = array.astype(np.uint8) if array.dtype == np.bool_ else array
            constants.append(array)
            return Tensor.of(builder.constant(DType.from_numpy(array.dtype), array.shape))

        result = function(lowering, *map(bound, args), **{key: bound(value) for key, value in named.items()})
        value = lowering.value(result, result.shape)
        builder.state(value.dtype, value.shape)
        program = builder.finish([value])
        return self._run(program, constants, [np.array(number, np.int64) for number in self._key]).reshape(made.shape)
