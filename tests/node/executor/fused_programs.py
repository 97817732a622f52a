"""Random programs that one kernel can compute: elementwise chains over one shape, its reductions, what reads them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from math import prod

from random_programs import RandomProgram

from orebit.numerics.types import DType
from orebit.program.builder import Value, View
from orebit.program.expression import ExpressionBuilder
from orebit.program.index_map import select_axes

SHAPES = ((7,), (64,), (3, 5), (4, 17), (40, 33), (2, 3, 8), (5, 16, 19), (2, 3, 4, 5), (1, 9, 1, 16), (4100,), (3, 1))


class RegionProgram(RandomProgram):
    """Nodes read each other in place: at the same point, under another shape of the same size, with axes permuted, or
    repeated along axes that a reduction has taken away."""

    def __init__(self, seed: int, count: int = 12) -> None:
        self.full = random.Random(seed).choice(SHAPES)
        rank = len(self.full)
        self.dims = tuple(k for k in range(rank) if random.Random(seed + 1).random() < 0.5) or (rank - 1,)
        # Each value of the region, with the axes of the whole shape on which it stands.
        self.placed: list[tuple[Value, tuple[int, ...]]] = []
        super().__init__(seed, count)

    def node(self, more: Sequence[Value] = ()) -> Value:
        if not self.placed:
            whole = tuple(range(len(self.full)))
            for dtype in (DType.F32, DType.F32, DType.I16, DType.I64):
                self.placed.append((self.builder.constant(dtype, self.full), whole))
        choice = self.rng.random()
        if choice < 0.25:
            return self._reduction()
        if choice < 0.35:
            return super().node(more)
        return self._map()

    def _map(self) -> Value:
        on_kept = [(value, axes) for value, axes in self.placed if len(axes) < len(self.full)]
        whole = not on_kept or self.rng.random() < 0.7
        axes = tuple(range(len(self.full))) if whole else self.kept
        choices = self.placed if whole else on_kept
        views = [self._view(*self.rng.choice(choices), axes) for _ in range(self.rng.randint(1, 3))]
        shape = tuple(self.full[k] for k in axes)
        if self.rng.random() < 0.2:  # the same elements under another shape
            shape = (prod(shape),)
            views = [view for view in views if prod(view.value.shape) == prod(shape)]
            views = [view.value.view(select_axes(1, [0]), shape, 0) for view in views]
        scope = ExpressionBuilder([view.value.dtype for view in views], len(shape))
        result = self.expression(scope, list(scope.operands), shape)
        dtype = DType.F32 if result.dtype.is_float else self.rng.choice(list(DType)[1:])
        made = self.builder.map(scope.finish(result), views, shape, dtype)
        self.placed.append((made, axes))
        return made

    @property
    def kept(self) -> tuple[int, ...]:
        return tuple(k for k in range(len(self.full)) if k not in self.dims)

    def _view(self, value: Value, own: tuple[int, ...], space: tuple[int, ...]) -> View:
        """`value`, which stands on the axes `own`, read from the axes `space`."""
        shape = tuple(self.full[k] for k in own)
        axes = [space.index(k) for k in own]
        return value.view(select_axes(len(space), axes), shape, 0)

    def _reduction(self) -> Value:
        values = [v for v, axes in self.placed if len(axes) == len(self.full)]
        summing = self.rng.random() < 0.5
        value = self.rng.choice([v for v in values if not (summing and v.dtype.is_float)])
        dims = self.dims if self.rng.random() < 0.8 else (self.rng.randrange(len(self.full)),)
        kept = tuple(k for k in range(len(self.full)) if k not in dims)
        order = [*kept, *dims]
        view = value.view(select_axes(len(order), [order.index(k) for k in range(len(order))]), self.full, 0)
        shape, reduction = tuple(self.full[k] for k in kept), tuple(self.full[k] for k in dims)
        make = self.builder.sum if summing else self.builder.max
        made = make(view, shape, reduction)
        if dims == self.dims:
            self.placed.append((made, kept))
        return made
