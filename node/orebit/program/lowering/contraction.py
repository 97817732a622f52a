"""Contractions through index maps: two tensors read at affine places of one iteration space (docs/numerics.md).

The sum over the reduction axes is a map in fixed order where it has few terms, else an exact dot. Nothing is copied:
what a convolution would unfold is an index map of one quantised tensor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

from orebit.errors import TraceError
from orebit.numerics import functions_quantised as quantised
from orebit.program.builder import View
from orebit.program.expression import Scalar
from orebit.program.index_map import AxisMap, IndexMap
from orebit.program.lowering import exact
from orebit.program.lowering.context import Lowering
from orebit.program.lowering.tensor import Tensor
from orebit.program.lowering.windows import laid_out

# As a map, a contraction reads two operands a term; a depthwise kernel of 3 x 3 is one.
MAP_TERMS = 9


class Space:
    """Named axes of an iteration space: those of the output, then those that are contracted."""

    def __init__(self, output: Mapping[str, int], reduction: Mapping[str, int]) -> None:
        self.output = tuple(output.values())
        self.reduction = tuple(reduction.values())
        self._names = [*output, *reduction]

    def axis(self, offset: int = 0, divisor: int = 1, **coefficients: int) -> AxisMap:
        """A source axis that reads (offset + sum of coefficient * named axis) / divisor. Names that the space lacks
        stand for axes of extent 1."""
        return AxisMap(offset, tuple(coefficients.get(name, 0) for name in self._names), divisor)


@dataclass(frozen=True)
class Factor:
    """One side of a contraction: a tensor, where each of its axes is read, and the axes that share an exponent."""

    tensor: Tensor
    axes: tuple[AxisMap, ...]
    grouped: tuple[int, ...]


def contract(lowering: Lowering, space: Space, left: Factor, right: Factor) -> Tensor:
    """The sum over the reduction axes of left * right, of the space's output shape.

    Raises:
        TraceError: when one row of the first reduction axis alone could overflow 64 bits.
    """
    if prod(space.reduction) <= MAP_TERMS:
        return _in_fixed_order(lowering, space, left, right)
    a = exact.quantise(lowering, left.tensor, left.grouped)
    b = exact.quantise(lowering, right.tensor, right.grouped)
    ea, eb = _exponents(a, left, space), _exponents(b, right, space)
    total: Tensor | None = None
    for start, length in _parts(lowering, space):
        reduction = (length, *space.reduction[1:])
        x, y = (
            _view(digits, [_moved(axis, len(space.output), start) for axis in factor.axes])
            for digits, factor in ((a.digits, left), (b.digits, right))
        )
        part = lowering.map(
            lambda s, i, j: quantised.rescale(s, i, j, lowering.bits),
            Tensor.of(lowering.builder.dot(x, y, space.output, reduction)),
            ea,
            eb,
        )
        total = part if total is None else lowering.map(lambda i, j: i + j, total, part)
    assert total is not None
    return total


def _parts(lowering: Lowering, space: Space) -> Iterator[tuple[int, int]]:
    """Runs of the first reduction axis whose sums stay below 2^63: all of it, but for the largest contractions."""
    rows, row = space.reduction[0], prod(space.reduction[1:])
    fitting = (1 << (65 - 2 * lowering.bits)) // row
    if not fitting:
        raise TraceError(
            f"a sum of {row} products of {lowering.bits}-bit numbers can overflow; take fewer bits or a smaller input"
        )
    for start in range(0, rows, fitting):
        yield start, min(fitting, rows - start)


def _moved(axis: AxisMap, position: int, start: int) -> AxisMap:
    """The same read with iteration axis `position` counted from `start`."""
    return AxisMap(axis.offset + axis.coefficients[position] * start, axis.coefficients, axis.divisor)


def _view(tensor: Tensor, axes: Sequence[AxisMap]) -> View:
    """A tensor that is a permutation of its source, its own axis k read at axes[k]."""
    order = tensor.order
    assert order is not None
    return tensor.value.view(IndexMap(tuple(axes[own] for own in order)), tensor.source)


def _exponents(given: exact.Quantised, factor: Factor, space: Space) -> Tensor:
    """The groups' exponents, spread over the output."""
    rank = len(space.output)
    kept = [axis for k, axis in enumerate(factor.axes) if k not in factor.grouped]
    axes = tuple(AxisMap(axis.offset, axis.coefficients[:rank], axis.divisor) for axis in kept)
    return Tensor(given.exponents.value, given.exponents.source, axes, space.output)


def _in_fixed_order(lowering: Lowering, space: Space, left: Factor, right: Factor) -> Tensor:
    points = list(product(*(range(extent) for extent in space.reduction)))
    operands = [
        _at_point(laid_out(lowering, factor.tensor), factor.axes, point, space)
        for factor in (left, right)
        for point in points
    ]

    def total(*values: Scalar) -> Scalar:
        terms = [x * y for x, y in zip(values[: len(points)], values[len(points) :], strict=True)]
        return sum(terms[1:], start=terms[0])

    return lowering.map(total, *operands, shape=space.output)


def _at_point(tensor: Tensor, axes: Sequence[AxisMap], point: Sequence[int], space: Space) -> Tensor:
    """The tensor over the output axes, the reduction axes held at `point`."""
    rank = len(space.output)
    fixed = [
        AxisMap(
            axis.offset + sum(c * i for c, i in zip(axis.coefficients[rank:], point, strict=True)),
            axis.coefficients[:rank],
            axis.divisor,
        )
        for axis in axes
    ]
    view = _view(tensor, fixed)
    return Tensor(view.value, view.shape, view.map.axes, space.output)
