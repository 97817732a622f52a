"""A rank's part of any node, by the interpreter: the elements of the whole, or partial results that give them."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from itertools import product
from math import prod

import numpy as np
import pytest
from random_programs import random_axis

from orebit.executor.interpreter import evaluate_node
from orebit.executor.ranks.cuts import Cuts, period_of
from orebit.executor.ranks.localise import adds, can_cut, is_partial, localise, own_axis
from orebit.numerics.scalar import to_i64
from orebit.numerics.types import DType
from orebit.program.descriptor import ARITY, Descriptor, Kind, Operand
from orebit.program.expression import ExpressionBuilder
from orebit.program.index_map import AxisMap, IndexMap

LONG = os.environ.get("OREBIT_LONG_TESTS") == "1"
KINDS = [kind for kind in Kind if kind is not Kind.INPUT]
EXTENTS = (1, 2, 3, 4, 6, 12)


class RandomPart:
    """A random node, cut along a random axis, whose operands are mostly read along it."""

    def __init__(self, seed: int, kind: Kind) -> None:
        self.rng = random.Random(seed)
        self.kind = kind
        self.ranks = self.rng.choice((2, 3))
        self.cuts = Cuts(self.rng.choice((self.ranks, 2 * self.ranks, 5)), self.ranks)
        self.shape = tuple(self.extent() for _ in range(self.rng.randint(1, 3)))
        reduces = range(self.rng.randint(1, 2) if kind.reduces else 0)
        self.reduction = tuple(self.extent() for _ in reduces)
        self.space = self.shape + self.reduction
        self.axis = self.rng.randrange(len(self.space))
        self.places: list[int] = []
        operands = tuple(self.operand(position) for position in range(ARITY.get(kind, 2)))
        self.descriptor = Descriptor(kind, DType.I64, self.shape, self.reduction, operands, self.expression())

    def extent(self) -> int:
        return self.rng.choice((self.cuts.extent, *EXTENTS)) if self.rng.random() < 0.7 else self.cuts.extent

    def expression(self) -> None | object:
        if self.kind is not Kind.MAP:
            return None
        scope = ExpressionBuilder([DType.I64] * 2, len(self.shape))
        total = scope.operand(0) * 3 + scope.operand(1) * 5 + scope.flat() * 1000
        for axis in range(len(self.shape)):
            total = total + scope.index(axis) * (axis + 7)
        return scope.finish(total)

    def operand(self, position: int) -> Operand:
        """Of up to three axes, one of which (noted in `places`) is cut and mostly read along the node's cut axis."""
        rng, indexes = self.rng, self.kind in (Kind.GATHER, Kind.SCATTER_SUM, Kind.SCATTER_MAX)
        gathered = self.kind is Kind.GATHER and position == 1
        free = list(range(len(self.space)))
        if self.kind.scatters:
            free = free[len(self.shape) :] if position == 0 else free[1:]
        shape = [rng.choice((2, 3, 4)) for _ in range(rng.randint(1 + gathered, 3))]
        axes = [random_axis(rng, self.space, extent, free) for extent in shape[gathered:]]
        place = rng.randrange(len(shape))
        step, divisor = rng.choice((1, 1, 2, 3)), rng.choice((1, 1, 2))
        if (
            self.axis in free
            and place >= gathered
            and rng.random() < 0.9
            and not step * self.space[self.axis] % divisor
        ):
            shape[place] = step * self.space[self.axis] // divisor
            coefficients = [
                rng.choice((0, 0, 1, -1)) if k in free and rng.random() < 0.3 else 0 for k in range(len(self.space))
            ]
            coefficients[self.axis] = step
            axes[place - gathered] = AxisMap(rng.choice((0, 0, 0, 1, -1)), tuple(coefficients), divisor)
        self.places.append(place)
        return Operand(DType.I64, tuple(shape), IndexMap(tuple(axes)), rng.choice((0, -1, 2) if indexes else (0, 77)))

    def tensors(self) -> list[np.ndarray]:
        low, high = (-1, 4) if self.kind in (Kind.GATHER, Kind.SCATTER_SUM, Kind.SCATTER_MAX) else (-99, 99)
        rng = np.random.default_rng(self.rng.getrandbits(32))
        return [
            rng.integers(low if position == 0 else -99, high if position == 0 else 99, operand.shape)
            for position, operand in enumerate(self.descriptor.operands)
        ]

    def own(self) -> list[int | None]:
        """For each operand the axis along which it is cut, if the part needs no more."""
        return [
            own_axis(self.descriptor, position, period_of(operand.shape, place), self.axis, self.cuts)
            for position, (operand, place) in enumerate(zip(self.descriptor.operands, self.places, strict=True))
        ]


def parts(case: RandomPart, own: Sequence[int | None], tensors: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What every rank computes, of no more than its own part of the operands in `own`."""
    found = []
    for rank in range(case.ranks):
        local = localise(case.descriptor, case.axis, own, case.cuts, rank)
        given = []
        for tensor, axis in zip(tensors, own, strict=True):
            bounds = case.cuts.bounds(tensor.shape[axis], rank) if axis is not None else (0, 0)
            given.append(tensor if axis is None else tensor.take(range(*bounds), axis))
        assert [array.shape for array in given] == [operand.shape for operand in local.operands]
        made = evaluate_node(local, [array.reshape(-1).tolist() for array in given])
        found.append(np.array(made, dtype=np.int64).reshape(local.shape))
    return found


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name.lower())
def test_parts_make_up_the_whole(kind: Kind) -> None:
    read_own = 0
    for seed in range(3000 if LONG else 70):
        case = RandomPart(seed, kind)
        if prod(case.space) > 2000 or not can_cut(case.descriptor, case.axis, case.cuts):
            continue
        tensors, own = case.tensors(), case.own()
        whole = evaluate_node(case.descriptor, [array.reshape(-1).tolist() for array in tensors])
        made = parts(case, own, tensors)
        if not is_partial(case.descriptor, case.axis):
            together = np.concatenate(made, axis=case.axis).reshape(-1).tolist()
        elif adds(kind):
            together = [to_i64(sum(each)) for each in zip(*(part.reshape(-1).tolist() for part in made), strict=True)]
        else:
            together = np.max(made, axis=0).reshape(-1).tolist()
        assert together == whole, seed
        read_own += sum(axis is not None for axis in own)
    assert read_own > 10


def test_a_part_that_reads_beyond_its_own_gets_the_whole() -> None:
    """Shifted, reversed, with a gap or not at all: none of these reads only a part of its own."""
    cuts = Cuts(4, 2)
    for axis, extent in (
        (AxisMap(1, (1,)), 4),
        (AxisMap(3, (-1,)), 4),
        (AxisMap(0, (1,)), 8),
        (AxisMap(0, (2,)), 4),
        (AxisMap(0, (0,)), 4),
        (AxisMap(0, (1,), 2), 4),
    ):
        operand = Operand(DType.I64, (extent,), IndexMap((axis,)))
        descriptor = Descriptor(Kind.MAX, DType.I64, (4,), (), (operand,))
        assert own_axis(descriptor, 0, extent, 0, cuts) is None, axis
    for axis, extent in ((AxisMap(0, (1,)), 4), (AxisMap(1, (2,)), 8), (AxisMap(0, (1,), 2), 2)):
        operand = Operand(DType.I64, (extent,), IndexMap((axis,)))
        assert own_axis(Descriptor(Kind.MAX, DType.I64, (4,), (), (operand,)), 0, extent, 0, cuts) == 0, axis


def test_rows_that_are_looked_up_are_needed_whole() -> None:
    index = Operand(DType.I64, (4,), IndexMap((AxisMap(0, (1,)),)))
    rows = Operand(DType.I64, (4, 4), IndexMap((AxisMap(0, (1,)),)))
    descriptor = Descriptor(Kind.GATHER, DType.I64, (4,), (), (index, rows))
    cuts = Cuts(4, 2)
    assert own_axis(descriptor, 1, period_of(rows.shape, 0), 0, cuts) is None
    assert own_axis(descriptor, 1, period_of(rows.shape, 1), 0, cuts) == 1


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_cuts_divide_every_axis_that_they_fit_in_the_same_proportions(ranks: int) -> None:
    for extent in range(ranks, 13):
        cuts = Cuts(extent, ranks)
        for times in (1, 2, 5):
            assert cuts.fits(extent * times)
            bounds = [cuts.bounds(extent * times, rank) for rank in range(ranks)]
            assert bounds[0][0] == 0 and bounds[-1][1] == extent * times
            assert all(high == low for (_, high), (low, _) in zip(bounds, bounds[1:], strict=False))
            assert all(high > low for low, high in bounds)
            assert [high for _, high in bounds] == [times * cuts.bounds(extent, rank)[1] for rank in range(ranks)]


def test_a_reshaped_tensor_is_cut_where_its_period_begins() -> None:
    cuts = Cuts(4, 2)
    shape = (3, 4, 5)
    period = period_of(shape, 1)
    for view, axis in (
        ((3, 4, 5), 1),
        ((3, 20), 1),
        ((3, 2, 2, 5), 1),
        ((3, 1, 4, 5), 2),
        ((60,), None),
        ((12, 5), None),
    ):
        assert cuts.axis(view, period) == axis, view
    whole = np.arange(60).reshape(shape)
    for rank, view in product(range(2), ((3, 20), (3, 2, 2, 5))):
        part = whole.take(range(*cuts.bounds(4, rank)), 1)
        cut = cuts.axis(view, period)
        assert part.reshape(cuts.local(view, cut, rank)).tolist() == (
            whole.reshape(view).take(range(*cuts.bounds(view[1], rank)), 1).tolist()
        )
