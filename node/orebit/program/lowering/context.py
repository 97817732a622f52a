"""What a lowering works with: the builder, maps over views, and the traced scalars."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orebit.errors import TraceError
from orebit.numerics.types import DType
from orebit.program.builder import Builder, Value
from orebit.program.expression import Expression, ExpressionBuilder, Scalar
from orebit.program.lowering.expression_cache import remembered
from orebit.program.lowering.tensor import Tensor

DEFAULT_BITS = 15


@dataclass(frozen=True)
class Randomness:
    """What random numbers of a step are functions of, beside the site of the draw and the element: i64, rank 0."""

    seed: Tensor
    worker: Tensor
    step: Tensor


class Lowering:
    """Adds nodes to a builder, one map an operation.

    Args:
        builder: receives the nodes.
        bits: of the exact products, 4 to 22.
    """

    def __init__(self, builder: Builder, bits: int = DEFAULT_BITS) -> None:
        self.builder = builder
        self.bits = bits
        # What torch made of the operation at hand, while a graph is lowered.
        self.result_type: DType | None = None
        self.result_is_mask = False
        self.site: int | None = None
        # None where a program draws nothing.
        self.randomness: Randomness | None = None

    def map(
        self,
        function: Callable[..., Scalar],
        *operands: Tensor | float | int,
        dtype: DType | None = None,
        shape: Sequence[int] | None = None,
    ) -> Tensor:
        """One elementwise map. `function` takes a Scalar for every tensor and the number itself for a number.

        Args:
            dtype: of the output; the expression's own result by default.
            shape: of the output; the operands' broadcast by default.
        """
        tensors = [operand for operand in operands if isinstance(operand, Tensor)]
        out = broadcast_shape(*(tensor.shape for tensor in tensors)) if shape is None else tuple(shape)
        given = [operand.dtype if isinstance(operand, Tensor) else operand for operand in operands]
        expression = remembered(function, given, len(out), lambda: _expression(function, given, len(out)))
        views = [tensor.broadcast(out) for tensor in tensors]
        return Tensor.of(self.builder.map(expression, views, out, dtype))

    def expression_settings(self) -> tuple[object, ...]:
        """All that an expression may be made from, beside its operands."""
        return self.bits, self.result_type, self.result_is_mask, self.site

    def generate(
        self, function: Callable[[ExpressionBuilder], Scalar], shape: Sequence[int], dtype: DType | None = None
    ) -> Tensor:
        """A map without operands: constants and the output's own index."""

        def make() -> Expression:
            expressions = ExpressionBuilder([], len(shape))
            return expressions.finish(function(expressions))

        return Tensor.of(self.builder.map(remembered(function, (), len(shape), make), [], shape, dtype))

    def full(self, shape: Sequence[int], number: float | int, dtype: DType) -> Tensor:
        """One number everywhere: a node of one element, expanded."""
        single = self.generate(lambda e: e.f32(number) if dtype.is_float else e.i64(int(number)), (), dtype)
        return single.expand(shape)

    def materialise(self, tensor: Tensor) -> Tensor:
        """The same elements as a whole value, copied unless they already are."""
        if tensor.is_whole:
            return tensor
        return self.map(lambda x: x, tensor, dtype=tensor.dtype)

    def reshape(self, tensor: Tensor, shape: Sequence[int]) -> Tensor:
        """As torch.reshape, without -1."""
        view = tensor.reshaped(shape)
        return Tensor.of(self.materialise(tensor).value, shape) if view is None else view

    def value(self, tensor: Tensor, shape: Sequence[int]) -> Value:
        """A node whose output is exactly this tensor, of this shape."""
        whole = self.materialise(tensor)
        if whole.value.shape == tuple(shape):
            return whole.value
        copy = self.map(lambda x: x, Tensor.of(whole.value, shape), dtype=tensor.dtype)
        return copy.value

    def convert(self, tensor: Tensor, dtype: DType) -> Tensor:
        """As torch's `to`: floats truncate towards zero when they become integers."""
        if tensor.dtype is dtype:
            return tensor
        if dtype.is_float:
            return self.map(lambda x: x.to_f32(), tensor)
        if tensor.dtype.is_float:
            return self.map(truncated, tensor, dtype=dtype)
        return self.map(lambda x: x, tensor, dtype=dtype)


def _expression(function: Callable[..., Scalar], given: Sequence[DType | float | int], rank: int) -> Expression:
    """`function` of operands of these types and of numbers, in an output of `rank` axes."""
    types = [operand for operand in given if isinstance(operand, DType)]
    expressions = ExpressionBuilder(types, rank)
    scalars = iter(expressions.operands)
    result = function(*(next(scalars) if isinstance(operand, DType) else operand for operand in given))
    if result.number < len(types) and result.number != len(types) - 1:
        raise TraceError("an operation returned an operand that is not its last; this is a bug in Orebit")
    return expressions.finish(result)


def truncated(x: Scalar) -> Scalar:
    """An f32 as i64, towards zero."""
    nearest = x.abs().to_i64()
    magnitude = nearest - x.abs().lt(nearest.to_f32())
    return x.lt(0.0).select(-magnitude, magnitude)


def broadcast_shape(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """numpy's rule."""
    rank = max((len(shape) for shape in shapes), default=0)
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return tuple(next((e for e in extents if e != 1), 1) for extents in zip(*padded, strict=True))


def axis(dim: int, rank: int) -> int:
    """A torch dimension, perhaps negative, as an axis number."""
    return dim % rank if rank else 0
