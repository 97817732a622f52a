"""Programs around exact products: matrix products, batches of them, convolutions and their gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orebit.numerics import functions_quantised as quantised
from orebit.numerics.types import DType
from orebit.program.builder import Builder, Value, View
from orebit.program.expression import ExpressionBuilder
from orebit.program.graph import Program
from orebit.program.index_map import AxisMap, IndexMap, select_axes
from orebit.program.lowering import Lowering, Tensor
from orebit.program.lowering.exact import product

Array = np.ndarray


def ratio(value: float) -> np.float32:
    return np.float32(value)


def one_map(builder: Builder, function: object, operands: Sequence[Value | View], shape: tuple[int, ...], dtype: DType):
    types = [operand.dtype if isinstance(operand, Value) else operand.value.dtype for operand in operands]
    scope = ExpressionBuilder(types, len(shape))
    return builder.map(scope.finish(function(*scope.operands)), operands, shape, dtype)


def digits(builder: Builder, x: Value, kept: Sequence[int], bits: int) -> tuple[Value, Value]:
    """Quantised `x` and the exponents of its groups, which keep the axes `kept`."""
    others = [k for k in range(len(x.shape)) if k not in kept]
    order = [*kept, *others]
    magnitudes = one_map(builder, quantised.magnitude, [x], x.shape, DType.I32)
    places = [order.index(k) for k in range(len(order))]
    shape, reduction = [x.shape[k] for k in kept], [x.shape[k] for k in others]
    largest = builder.max(magnitudes.view(select_axes(len(order), places)), shape, reduction)
    exponents = one_map(builder, lambda m: quantised.exponent(m, bits), [largest], tuple(shape), DType.I16)
    spread = exponents.view(select_axes(len(x.shape), kept))
    whole = x.view(select_axes(len(x.shape), range(len(x.shape))))
    numbers = one_map(
        builder, lambda e, v: quantised.quantise(v, e, bits), [spread, whole], x.shape, quantised.storage(bits)
    )
    return numbers, exponents


def rescaled(builder: Builder, total: Value, first: View, second: View, bits: int) -> Value:
    whole = total.view(select_axes(len(total.shape), range(len(total.shape))))
    return one_map(
        builder, lambda s, a, b: quantised.rescale(s, a, b, bits), [whole, first, second], total.shape, DType.F32
    )


def unit(rank: int, **places: int) -> tuple[int, ...]:
    coefficients = [0] * rank
    for name, coefficient in places.items():
        coefficients[int(name[1:])] += coefficient
    return tuple(coefficients)


@dataclass(frozen=True)
class Convolution:
    """Shapes of a two-dimensional convolution: x [n, c, h, w], weights [o, c / groups, k, l]."""

    n: int
    c: int
    h: int
    w: int
    o: int
    k: int
    l: int  # noqa: E741  the kernel's second extent, beside k
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1

    @property
    def x(self) -> tuple[int, ...]:
        return self.n, self.c, self.h, self.w

    @property
    def weight(self) -> tuple[int, ...]:
        return self.o, self.c // self.groups, self.k, self.l

    @property
    def y(self) -> tuple[int, ...]:
        return self.n, self.o, self._out(self.h, self.k), self._out(self.w, self.l)

    def _out(self, extent: int, kernel: int) -> int:
        return (extent + 2 * self.padding - self.dilation * (kernel - 1) - 1) // self.stride + 1


def forward(builder: Builder, x: Value, weight: Value, conv: Convolution, bits: int) -> Value:
    """Space: n, g, o in a group, y, x; c in a group, k, l."""
    n, o, height, width = conv.y
    g, inside, out = conv.groups, conv.c // conv.groups, conv.o // conv.groups
    qx, ex = digits(builder, x, [0], bits)
    qw, ew = digits(builder, weight, [0], bits)
    vertical = AxisMap(-conv.padding, unit(8, a3=conv.stride, a6=conv.dilation))
    horizontal = AxisMap(-conv.padding, unit(8, a4=conv.stride, a7=conv.dilation))
    read_x = qx.view(IndexMap((AxisMap(0, unit(8, a0=1)), AxisMap(0, unit(8, a1=inside, a5=1)), vertical, horizontal)))
    read_w = qw.view(
        IndexMap((AxisMap(0, unit(8, a1=out, a2=1)), *(AxisMap(0, unit(8, **{f"a{k}": 1})) for k in (5, 6, 7))))
    )
    total = builder.dot(read_x, read_w, (n, g, out, height, width), (inside, conv.k, conv.l))
    first = ex.view(select_axes(5, [0]))
    second = ew.view(IndexMap((AxisMap(0, unit(5, a1=out, a2=1)),)))
    return rescaled(builder, total, first, second, bits)


def input_gradient(builder: Builder, dy: Value, weight: Value, conv: Convolution, bits: int) -> Value:
    """Space: n, c, y, x; o, k, l, of a convolution in one group."""
    qd, ed = digits(builder, dy, [0], bits)
    qw, ew = digits(builder, weight, [1], bits)
    vertical = AxisMap(conv.padding, unit(7, a2=1, a5=-conv.dilation), conv.stride)
    horizontal = AxisMap(conv.padding, unit(7, a3=1, a6=-conv.dilation), conv.stride)
    read_d = qd.view(IndexMap((AxisMap(0, unit(7, a0=1)), AxisMap(0, unit(7, a4=1)), vertical, horizontal)))
    read_w = qw.view(IndexMap(tuple(AxisMap(0, unit(7, **{f"a{k}": 1})) for k in (4, 1, 5, 6))))
    total = builder.dot(read_d, read_w, conv.x, (conv.o, conv.k, conv.l))
    return rescaled(builder, total, ed.view(select_axes(4, [0])), ew.view(select_axes(4, [1])), bits)


def weight_gradient(builder: Builder, x: Value, dy: Value, conv: Convolution, bits: int) -> Value:
    """Space: o, c, k, l; n, y, x, of a convolution in one group."""
    n, o, height, width = conv.y
    qx, ex = digits(builder, x, [1], bits)
    qd, ed = digits(builder, dy, [1], bits)
    vertical = AxisMap(-conv.padding, unit(7, a5=conv.stride, a2=conv.dilation))
    horizontal = AxisMap(-conv.padding, unit(7, a6=conv.stride, a3=conv.dilation))
    read_x = qx.view(IndexMap((AxisMap(0, unit(7, a4=1)), AxisMap(0, unit(7, a1=1)), vertical, horizontal)))
    read_d = qd.view(IndexMap(tuple(AxisMap(0, unit(7, **{f"a{k}": 1})) for k in (4, 0, 5, 6))))
    total = builder.dot(read_d, read_x, conv.weight, (n, height, width))
    return rescaled(builder, total, ed.view(select_axes(4, [0])), ex.view(select_axes(4, [1])), bits)


def finished(builder: Builder, *results: Value) -> Program:
    for result in results:
        builder.state(result.dtype, result.shape)
    return builder.finish(list(results))


def convolution_program(conv: Convolution, bits: int, kind: str) -> Program:
    """`kind`: forward, input or weight; its two operands are constants."""
    builder = Builder()
    if kind == "forward":
        made = forward(
            builder, builder.constant(DType.F32, conv.x), builder.constant(DType.F32, conv.weight), conv, bits
        )
    elif kind == "input":
        dy, weight = builder.constant(DType.F32, conv.y), builder.constant(DType.F32, conv.weight)
        made = input_gradient(builder, dy, weight, conv, bits)
    else:
        x, dy = builder.constant(DType.F32, conv.x), builder.constant(DType.F32, conv.y)
        made = weight_gradient(builder, x, dy, conv, bits)
    return finished(builder, made)


def matrix_program(
    batch: tuple[int, ...], m: int, n: int, k: int, bits: int, transposed: tuple[bool, bool] = (False, False)
) -> Program:
    """a[..., m, k] times b[..., k, n], either held transposed; as the lowering writes it."""
    builder = Builder()
    lowering = Lowering(builder, bits)
    shapes = [(*batch, k, m) if transposed[0] else (*batch, m, k), (*batch, n, k) if transposed[1] else (*batch, k, n)]
    order = [*range(len(batch)), len(batch) + 1, len(batch)]
    given = [Tensor.of(builder.constant(DType.F32, shape)) for shape in shapes]
    a, b = (x.permute(order) if flip else x for x, flip in zip(given, transposed, strict=True))
    return finished(builder, product(lowering, a, b).value)


def floats(rng: np.random.Generator, shape: Sequence[int], special: bool = False) -> Array:
    """Normal numbers over some powers of two; some special ones, so that a few groups have exponent 129."""
    values = rng.standard_normal(tuple(shape)).astype(np.float32)
    values *= np.exp2(rng.integers(-3, 4, size=tuple(shape))).astype(np.float32)
    if special and values.size:
        flat = values.reshape(-1)
        places = rng.integers(0, flat.size, size=max(flat.size // 97, 1))
        flat[places] = rng.choice(SPECIALS, size=len(places))
    return values


SPECIALS = np.array(
    [0x7F800000, 0xFF800000, 0x7FC00000, 0x7F7FFFFF, 0xFF7FFFFF, 1, 0x80000000, 0x00800000, 0x7F000000], dtype=np.uint32
).view(np.float32)
