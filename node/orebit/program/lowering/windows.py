"""Windows along axes: which source positions an output reads, and which outputs read a source position."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import gcd

from orebit.numerics.types import DType
from orebit.program.builder import View
from orebit.program.expression import ExpressionBuilder, Scalar
from orebit.program.index_map import AxisMap, IndexMap
from orebit.program.lowering.context import Lowering
from orebit.program.lowering.tensor import Tensor

# Operands of one map that are taps; beside each other and a few more they stay below 32.
TAPS = 28


@dataclass(frozen=True)
class Read:
    """What stands for one axis: axes of `extents`, that read (offset + sum of coefficient * index) / divisor of it."""

    extents: tuple[int, ...]
    coefficients: tuple[int, ...]
    offset: int = 0
    divisor: int = 1


def laid_out(lowering: Lowering, tensor: Tensor) -> Tensor:
    """The tensor, copied unless it is a mere permutation of a value: what lies outside of it is then the fill."""
    return tensor if tensor.order is not None else lowering.materialise(tensor)


def reread(tensor: Tensor, reads: Mapping[int, Read]) -> Tensor:
    """A laid-out tensor with some axes replaced; out of range it reads the fill."""
    order = tensor.order
    assert order is not None
    taken = [reads.get(k, Read((extent,), (1,))) for k, extent in enumerate(tensor.shape)]
    shape = tuple(extent for read in taken for extent in read.extents)
    own, start = [], 0
    for read in taken:
        coefficients = [0] * len(shape)
        for k, (extent, coefficient) in enumerate(zip(read.extents, read.coefficients, strict=True)):
            coefficients[start + k] = coefficient if extent > 1 else 0
        own.append(AxisMap(read.offset, tuple(coefficients), read.divisor))
        start += len(read.extents)
    return Tensor(tensor.value, tensor.source, tuple(own[k] for k in order), shape)


def filled(tensor: Tensor, fill: float | int) -> View:
    """The tensor as an operand of a map of its shape, with a fill of its own."""
    return tensor.value.view(IndexMap(tensor.axes), tensor.source, fill)


def map_filled(
    lowering: Lowering,
    function: Callable[..., Scalar],
    operands: Sequence[View],
    shape: Sequence[int],
    dtype: DType | None = None,
) -> Tensor:
    """As Lowering.map, over operands that have their fills."""
    expressions = ExpressionBuilder([view.value.dtype for view in operands], len(shape))
    result = function(*expressions.operands)
    return Tensor.of(lowering.builder.map(expressions.finish(result), operands, shape, dtype))


@dataclass(frozen=True)
class Window:
    """Windows along an axis of `source` positions: output block * m + r reads stride * m + offset + dilation * t for
    0 <= t < taps. Where `block` is above 1 (sizes that do not divide), only for start(r) <= t < end(r)."""

    source: int
    outputs: int
    taps: int
    stride: int
    offset: int = 0
    dilation: int = 1
    block: int = 1

    @classmethod
    def sliding(
        cls, source: int, kernel: int, stride: int, padding: int, dilation: int = 1, ceil_mode: bool = False
    ) -> Window:
        """A pooling window; in `ceil_mode` the last may begin inside the source or its left padding and end outside."""
        reach = source + 2 * padding - dilation * (kernel - 1) - 1
        outputs = (-(-reach // stride) if ceil_mode else reach // stride) + 1
        if ceil_mode and (outputs - 1) * stride >= source + padding:
            outputs -= 1
        return cls(source, outputs, kernel, stride, -padding, dilation)

    @classmethod
    def adaptive(cls, source: int, outputs: int) -> Window:
        """Output a reads from floor(a * source / outputs) to ceil((a + 1) * source / outputs)."""
        common = gcd(source, outputs)
        return cls(source, outputs, source // common, source // common, block=outputs // common)

    @property
    def extents(self) -> tuple[int, ...]:
        """The output axis, split in blocks where there are any."""
        return (self.outputs,) if self.block == 1 else (self.outputs // self.block, self.block)

    @property
    def is_trivial(self) -> bool:
        """Whether this reads one position from one."""
        return self.source == self.outputs == self.taps == 1

    @property
    def in_range(self) -> bool:
        """Whether every tap of every output is inside the source."""
        last = self.stride * (self.outputs // self.block - 1) + self.offset + self.dilation * (self.taps - 1)
        return self.offset >= 0 and last < self.source

    def tap(self, t: int) -> Read:
        """Tap t of every output."""
        return Read(self.extents, (self.stride, 0)[: len(self.extents)], self.offset + self.dilation * t)

    def all_taps(self) -> Read:
        """Outputs, then taps."""
        assert self.block == 1
        return Read((self.outputs, self.taps), (self.stride, self.dilation), self.offset)

    def whole(self) -> Read:
        """The output axis itself, split as `extents` says."""
        return Read(self.extents, (self.block, 1)[-len(self.extents) :])

    def coordinate(self, m: Scalar, t: int) -> Scalar:
        """The source position of tap t."""
        return m * self.stride + (self.offset + self.dilation * t)

    def member(self, axes: Sequence[Scalar], t: int) -> Scalar | None:
        """Whether tap t is inside the window and the source, from the indices on `extents`; None where it always is."""
        if self.block > 1:
            start = (axes[1] * self.stride).div(self.block)
            end = (axes[1] * self.stride + (self.stride + self.block - 1)).div(self.block)
            return start.le(t) & end.gt(t)
        if self.in_range:
            return None
        place = self.coordinate(axes[0], t)
        return place.ge(0) & place.lt(self.source)

    def fixed_size(self, padded: bool) -> int | None:
        """Positions in every window, where that is one number. For windows without dilation; with `padded`, positions
        of the padding count."""
        last = self.stride * (self.outputs - 1) + self.offset + self.taps
        if self.block == 1 and (self.in_range or (padded and last <= self.source - self.offset)):
            return self.taps
        return None

    def size(self, axes: Sequence[Scalar], padded: bool) -> Scalar:
        """Positions in the window with these indices on `extents`."""
        if self.block > 1:
            start = (axes[1] * self.stride).div(self.block)
            return (axes[1] * self.stride + (self.stride + self.block - 1)).div(self.block) - start
        start = axes[0] * self.stride + self.offset
        if padded:
            return (start + self.taps).min(self.source - self.offset) - start
        return (start + self.taps).min(self.source) - start.max(0)

    # The other way round: source position stride * m + u, 0 <= u < stride, is read by outputs block * m + c only, for c
    # in `readers`.

    @property
    def split(self) -> tuple[int, ...]:
        """The source axis, rounded up to whole strides, as strides and positions inside them."""
        blocks = -(-self.source // self.stride)
        return (blocks,) if self.stride == 1 else (blocks, self.stride)

    @property
    def readers(self) -> range:
        if self.block > 1:
            return range(self.block)
        reach = self.dilation * (self.taps - 1)
        return range(-((reach + self.offset) // self.stride), (self.stride - 1 - self.offset) // self.stride + 1)

    def reader(self, c: int) -> Read:
        """Output block * m + c for every source position."""
        return Read(self.split, (self.block, 0)[: len(self.split)], c)

    def reads(self, axes: Sequence[Scalar], c: int) -> Scalar | None:
        """Whether output block * m + c reads the position with these indices on `split`; None where it always does.

        For windows without dilation."""
        if self.block > 1:
            low, high = c * self.stride // self.block, -(-(c + 1) * self.stride // self.block)
        else:
            low = c * self.stride + self.offset
            high = low + self.taps
        if low <= 0 and high >= self.stride:
            return None
        if self.stride == 1:  # the position inside a stride is 0
            raise AssertionError("an output that reads no position is no reader")
        return axes[1].ge(low) & axes[1].lt(high)
