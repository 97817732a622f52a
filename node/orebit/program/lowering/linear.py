"""Fixed linear operators along one axis: out[a] = sum over h of weight(a, h) * x[h], the weights known beforehand.

Each output reads a run of sources that moves on regularly; a short run is summed as floats in order, a long one is an
exact product with the matrix of weights. The weights are an expression of the two positions, computed once by a node.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import gcd

from orebit.program.expression import Scalar
from orebit.program.lowering.context import Lowering
from orebit.program.lowering.contraction import Factor, Space, contract
from orebit.program.lowering.tensor import Tensor
from orebit.program.lowering.windows import TAPS, Read, laid_out, reread

# Taps of a run that is summed in order: two operands each, in four maps at most.
IN_ORDER = 2 * TAPS
Weight = Callable[[Scalar, Scalar], Scalar]


@dataclass(frozen=True)
class Operator:
    """Along an axis of `source` positions: `runs[a]` are first and last source of output a, `weight(a, h)` is an f32
    from two i64, 0 outside of the runs."""

    source: int
    runs: tuple[tuple[int, int], ...]
    weight: Weight

    @property
    def outputs(self) -> int:
        return len(self.runs)

    def transposed(self) -> Operator:
        """The operator of the gradient: every source reads the outputs that read it. Runs do not step back."""
        runs = []
        for h in range(self.source):
            readers = [a for a, (low, high) in enumerate(self.runs) if low <= h <= high]
            runs.append((min(readers), max(readers)) if readers else (0, 0))
        return Operator(self.outputs, tuple(runs), lambda h, a: self.weight(a, h))


@dataclass(frozen=True)
class Band:
    """Output block * m + r reads source stride * m + start + t, 0 <= t < taps."""

    block: int
    stride: int
    start: int
    taps: int

    @classmethod
    def around(cls, operator: Operator) -> Band:
        """The narrowest band of the sizes' own ratio that covers every run."""
        common = gcd(operator.source, operator.outputs)
        block, stride = operator.outputs // common, operator.source // common
        low = min(first - a // block * stride for a, (first, _) in enumerate(operator.runs))
        high = max(last - a // block * stride for a, (_, last) in enumerate(operator.runs))
        return cls(block, stride, low, high - low + 1)


def apply(lowering: Lowering, x: Tensor, dim: int, operator: Operator) -> Tensor:
    """`operator` along axis `dim`."""
    x, band = laid_out(lowering, x), Band.around(operator)
    if min(band.taps, operator.source) > IN_ORDER:
        return _exact(lowering, x, dim, operator)
    blocks = operator.outputs // band.block
    split = (blocks,) if band.block == 1 else (blocks, band.block)
    weights = _weights(lowering, operator, band)
    trailing = len(x.shape) - dim - 1
    made: Tensor | None = None
    for start in range(0, band.taps, TAPS // 2):
        chunk = range(start, min(start + TAPS // 2, band.taps))
        taps = [reread(x, {dim: Read(split, (band.stride, 0)[: len(split)], band.start + t)}) for t in chunk]
        factors = [_spread(lowering.reshape(weights.narrow(1, t, 1, 1), split), trailing) for t in chunk]
        carried = [] if made is None else [made]

        def total(*given: Scalar) -> Scalar:
            count = len(given) // 2
            products = [a * w for a, w in zip(given[:count], given[count : 2 * count], strict=True)]
            terms = [*given[2 * count :], *products]
            return sum(terms[1:], start=terms[0])

        made = lowering.map(total, *taps, *factors, *carried)
    assert made is not None
    return Tensor.of(made.value, (*x.shape[:dim], operator.outputs, *x.shape[dim + 1 :]))


def _weights(lowering: Lowering, operator: Operator, band: Band) -> Tensor:
    """f32[outputs, taps]."""
    return lowering.generate(
        lambda build: operator.weight(
            build.index(0), build.index(0).div(band.block) * band.stride + (build.index(1) + band.start)
        ),
        (operator.outputs, band.taps),
    )


def _spread(tensor: Tensor, trailing: int) -> Tensor:
    for _ in range(trailing):
        tensor = tensor.with_axis(len(tensor.shape))
    return tensor


def _exact(lowering: Lowering, x: Tensor, dim: int, operator: Operator) -> Tensor:
    shape: Sequence[int] = (*x.shape[:dim], operator.outputs, *x.shape[dim + 1 :])
    matrix = lowering.generate(
        lambda build: operator.weight(build.index(0), build.index(1)), (operator.outputs, operator.source)
    )
    space = Space({f"d{k}": extent for k, extent in enumerate(shape)}, {"h": operator.source})
    axes = [space.axis(**{"h" if k == dim else f"d{k}": 1}) for k in range(len(shape))]
    rows = (space.axis(**{f"d{dim}": 1}), space.axis(h=1))
    return contract(lowering, space, Factor(x, tuple(axes), (dim,)), Factor(matrix, rows, (1,)))
