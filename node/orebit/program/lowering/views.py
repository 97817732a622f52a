"""Views and copies: index maps, no nodes, unless a reshape needs one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from math import prod
from typing import Any

import torch

from orebit.errors import TraceError
from orebit.numerics.types import DType
from orebit.program.expression import Scalar
from orebit.program.index_map import AxisMap
from orebit.program.lowering.context import Lowering, axis
from orebit.program.lowering.registry import lowers
from orebit.program.lowering.tensor import Tensor

aten = torch.ops.aten


@lowers(
    aten.clone.default,
    aten.detach.default,
    aten.detach_copy.default,
    aten.alias.default,
    aten.alias_copy.default,
    aten.lift_fresh_copy.default,
    aten.lift_fresh.default,
    aten.contiguous.default,
)
def same(lowering: Lowering, a: Tensor, **_: Any) -> Tensor:
    return a


@lowers(aten.copy.default)
def copy(lowering: Lowering, a: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    return lowering.convert(source, a.dtype).expand(a.shape)


@lowers(aten._to_copy.default)
def to_copy(lowering: Lowering, a: Tensor, dtype: torch.dtype | None = None, **_: Any) -> Tensor:
    if dtype is None:
        return a
    if dtype is torch.bool:
        return lowering.map(lambda x: x.eq(0) ^ 1, a, dtype=DType.U8)
    return lowering.convert(a, program_type(dtype))


def program_type(dtype: torch.dtype) -> DType:
    """The program's type for a torch one.

    Raises:
        TraceError: for float64, float16, bfloat16 and complex types.
    """
    try:
        return DType.from_torch(dtype)
    except KeyError:
        raise TraceError(
            f"{dtype} does not exist in programs; use torch.float32 for numbers and int64, int32 or uint8 for integers"
        ) from None


@lowers(
    aten.view.default,
    aten.view_copy.default,
    aten._unsafe_view.default,
    aten.reshape.default,
    aten._reshape_alias.default,
    aten._reshape_alias_copy.default,
)
def view(lowering: Lowering, a: Tensor, shape: Sequence[int], *_: Any) -> Tensor:
    size = prod(a.shape)
    known = prod(extent for extent in shape if extent != -1)
    return lowering.reshape(a, [size // known if extent == -1 else extent for extent in shape])


@lowers(aten.t.default, aten.t_copy.default)
def t(lowering: Lowering, a: Tensor) -> Tensor:
    return a.permute([1, 0]) if len(a.shape) == 2 else a


@lowers(aten.transpose.int, aten.transpose_copy.int)
def transpose(lowering: Lowering, a: Tensor, first: int, second: int) -> Tensor:
    order = list(range(len(a.shape)))
    first, second = axis(first, len(order)), axis(second, len(order))
    order[first], order[second] = order[second], order[first]
    return a.permute(order)


@lowers(aten.permute.default, aten.permute_copy.default)
def permute(lowering: Lowering, a: Tensor, dims: Sequence[int]) -> Tensor:
    return a.permute([axis(dim, len(a.shape)) for dim in dims])


@lowers(aten.expand.default, aten.expand_copy.default)
def expand(lowering: Lowering, a: Tensor, shape: Sequence[int], implicit: bool = False) -> Tensor:
    return a.expand(shape)


@lowers(aten.repeat.default)
def repeat(lowering: Lowering, a: Tensor, repeats: Sequence[int]) -> Tensor:
    for _ in range(len(repeats) - len(a.shape)):
        a = a.with_axis(0)
    for dim, count in enumerate(repeats):
        if count != 1:
            shape = a.shape
            spread = a.with_axis(dim).expand([*shape[:dim], count, *shape[dim:]])
            a = lowering.reshape(spread, [*shape[:dim], count * shape[dim], *shape[dim + 1 :]])
    return a


@lowers(aten.unsqueeze.default, aten.unsqueeze_copy.default)
def unsqueeze(lowering: Lowering, a: Tensor, dim: int) -> Tensor:
    return a.with_axis(dim % (len(a.shape) + 1))


@lowers(aten.squeeze.default, aten.squeeze_copy.default)
def squeeze(lowering: Lowering, a: Tensor) -> Tensor:
    return a.squeezed()


@lowers(aten.squeeze.dim, aten.squeeze_copy.dim)
def squeeze_dim(lowering: Lowering, a: Tensor, dim: int) -> Tensor:
    return squeeze_dims(lowering, a, [dim])


@lowers(aten.squeeze.dims, aten.squeeze_copy.dims)
def squeeze_dims(lowering: Lowering, a: Tensor, dims: Sequence[int]) -> Tensor:
    for dim in sorted({axis(dim, len(a.shape)) for dim in dims}, reverse=True):
        if a.shape[dim] == 1:
            a = a.without_axis(dim)
    return a


@lowers(aten.slice.Tensor, aten.slice_copy.Tensor)
def slice_(
    lowering: Lowering, a: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    dim = axis(dim, len(a.shape))
    chosen = range(a.shape[dim])[slice(start, end, step)]
    if not chosen:
        raise TraceError("a slice of no elements cannot stand in a program; leave it out")
    return a.narrow(dim, chosen.start, step, len(chosen))


@lowers(aten.select.int, aten.select_copy.int)
def select(lowering: Lowering, a: Tensor, dim: int, index: int) -> Tensor:
    dim = axis(dim, len(a.shape))
    return a.narrow(dim, index % a.shape[dim], 1, 1).without_axis(dim)


@lowers(aten.slice_backward.default)
def slice_backward(
    lowering: Lowering, grad: Tensor, shape: Sequence[int], dim: int, start: int, end: int, step: int
) -> Tensor:
    dim = axis(dim, len(shape))
    return _placed(lowering, grad, shape, dim, range(shape[dim])[slice(start, end, step)].start, step)


@lowers(aten.select_backward.default)
def select_backward(lowering: Lowering, grad: Tensor, shape: Sequence[int], dim: int, index: int) -> Tensor:
    dim = axis(dim, len(shape))
    return _placed(lowering, grad.with_axis(dim), shape, dim, index % shape[dim], 1)


def _placed(lowering: Lowering, part: Tensor, shape: Sequence[int], dim: int, start: int, step: int) -> Tensor:
    """Zeros of `shape` but for `part` at start, start + step, ... along `dim`: fill around an index map."""
    base = Tensor.of(lowering.materialise(part).value, part.shape)
    axes = list(base.axes)
    axes[dim] = AxisMap(-start, tuple(int(k == dim) for k in range(len(shape))), step)
    return Tensor(base.value, base.source, tuple(axes), tuple(shape))


@lowers(aten.full.default)
def full(lowering: Lowering, shape: Sequence[int], number: Any, dtype: torch.dtype | None = None, **_: Any) -> Tensor:
    if isinstance(number, Tensor):
        return number.expand(shape)
    return lowering.full(shape, number, _constant_type(number, dtype))


def _constant_type(number: float | int, dtype: torch.dtype | None) -> DType:
    if dtype is not None:
        return program_type(dtype)
    return DType.F32 if isinstance(number, float) else DType.I64


@lowers(aten.scalar_tensor.default)
def scalar_tensor(lowering: Lowering, number: Any, dtype: torch.dtype | None = None, **_: Any) -> Tensor:
    return full(lowering, (), number, torch.float32 if dtype is None else dtype)


@lowers(aten.full_like.default)
def full_like(lowering: Lowering, a: Tensor, number: Any, dtype: torch.dtype | None = None, **_: Any) -> Tensor:
    if isinstance(number, Tensor):
        return number.expand(a.shape)
    return lowering.full(a.shape, number, a.dtype if dtype is None else program_type(dtype))


@lowers(aten.fill.Scalar, aten.fill.Tensor)
def fill(lowering: Lowering, a: Tensor, number: Any) -> Tensor:
    return full_like(lowering, a, number)


@lowers(aten.ones_like.default)
def ones_like(lowering: Lowering, a: Tensor, dtype: torch.dtype | None = None, **_: Any) -> Tensor:
    return full_like(lowering, a, 1, dtype)


# What is empty is overwritten before it is read, or else it is zeros here.
@lowers(aten.zeros_like.default, aten.empty_like.default, aten.zero.default)
def zeros_like(lowering: Lowering, a: Tensor, dtype: torch.dtype | None = None, **_: Any) -> Tensor:
    return full_like(lowering, a, 0, dtype)


@lowers(aten.ones.default)
def ones(lowering: Lowering, shape: Sequence[int], dtype: torch.dtype | None = None, **_: Any) -> Tensor:
    return full(lowering, shape, 1, torch.float32 if dtype is None else dtype)


@lowers(aten.zeros.default, aten.empty.memory_format)
def zeros(lowering: Lowering, shape: Sequence[int], dtype: torch.dtype | None = None, **_: Any) -> Tensor:
    return full(lowering, shape, 0, torch.float32 if dtype is None else dtype)


@lowers(aten.new_zeros.default, aten.new_empty.default)
def new_zeros(
    lowering: Lowering, a: Tensor, shape: Sequence[int], dtype: torch.dtype | None = None, **_: Any
) -> Tensor:
    return lowering.full(shape, 0, a.dtype if dtype is None else program_type(dtype))


@lowers(aten.new_empty_strided.default)
def new_empty_strided(lowering: Lowering, a: Tensor, shape: Sequence[int], stride: Sequence[int], **_: Any) -> Tensor:
    return lowering.full(shape, 0, a.dtype)


# Operands of one map that concatenates; more parts are put together in several layers.
PARTS = 16


@lowers(aten.cat.default)
def cat(lowering: Lowering, parts: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Concatenation by select on the own index: padding would quantise nothing but add signed zeros."""
    parts = [part for part in parts if part.shape != (0,)]
    dim = axis(dim, len(parts[0].shape))
    while len(parts) > 1:
        parts = [_join(lowering, parts[k : k + PARTS], dim) for k in range(0, len(parts), PARTS)]
    return parts[0]


def _join(lowering: Lowering, parts: Sequence[Tensor], dim: int) -> Tensor:
    if len(parts) == 1:
        return parts[0]
    dtype = parts[0].dtype if lowering.result_type is None else lowering.result_type
    ends = list(accumulate(part.shape[dim] for part in parts))
    shape = (*parts[0].shape[:dim], ends[-1], *parts[0].shape[dim + 1 :])

    def chosen(*scalars: Scalar) -> Scalar:
        converted = [scalar.to_f32() if dtype.is_float else scalar for scalar in scalars]
        place, result = scalars[0].builder.index(dim), converted[-1]
        for end, scalar in zip(reversed(ends[:-1]), reversed(converted[:-1]), strict=True):
            result = place.lt(end).select(scalar, result)
        return result

    # Each is read beyond its ends, where the select does not look.
    views = [_stretched(part, dim, part.shape[dim] - end, shape) for part, end in zip(parts, ends, strict=True)]
    return lowering.map(chosen, *views, dtype=dtype, shape=shape)


def _stretched(part: Tensor, dim: int, start: int, shape: tuple[int, ...]) -> Tensor:
    if part.shape[dim] == 1:  # extent 1 repeats instead of reading its fill, which is as good
        return part.without_axis(dim).with_axis(dim).expand(shape)
    view = part.narrow(dim, start, 1, shape[dim])
    return Tensor(view.value, view.source, view.axes, shape)
