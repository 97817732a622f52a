"""Tensors of no elements, which programs do not have: what they are part of is lowered without them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from orebit.errors import TraceError
from orebit.numerics.types import DType
from orebit.program.lowering.context import Lowering
from orebit.program.lowering.registry import LOWERINGS

aten = torch.ops.aten


@dataclass(frozen=True)
class Empty:
    """A tensor without elements."""

    shape: tuple[int, ...]
    dtype: DType


def mentions_empty(arguments: Iterable[Any]) -> bool:
    """Whether an argument, or a list among them, holds a tensor without elements."""
    return any(
        mentions_empty(argument) if isinstance(argument, list) else isinstance(argument, Empty)
        for argument in arguments
    )


def lower_without(
    lowering: Lowering, target: Any, arguments: Sequence[Any], named: dict[str, Any], shape: tuple[int, ...]
) -> Any:
    """A result of `shape`, with elements, of an operation some of whose arguments have none.

    Raises:
        TraceError: where that is no sum, no joining and no writing.
    """
    if target is aten.cat.default:
        dim = arguments[1] if len(arguments) > 1 else named.get("dim", 0)
        return LOWERINGS[target](lowering, [part for part in arguments[0] if not isinstance(part, Empty)], dim)
    if target in UNCHANGED and not isinstance(arguments[0], Empty) and not named:
        return arguments[0].expand(shape)
    dtype = DType.F32 if lowering.result_type is None else lowering.result_type
    if target in ZERO:
        return lowering.full(shape, 0.0 if dtype.is_float else 0, dtype)
    if target is aten.constant_pad_nd.default:
        number = arguments[2] if len(arguments) > 2 else 0
        return lowering.full(shape, float(number) if dtype.is_float else int(number), dtype)
    raise TraceError("it takes a tensor of no elements, which cannot stand in a program; leave it out")


ZERO: set[Callable[..., Any]] = {
    aten.sum.default,
    aten.sum.dim_IntList,
    aten.slice_backward.default,
    aten.select_backward.default,
    aten.mm.default,
    aten.bmm.default,
    aten.embedding_dense_backward.default,
    aten.linalg_vector_norm.default,
}
# Nothing is written.
UNCHANGED: set[Callable[..., Any]] = {
    aten.slice_scatter.default,
    aten.index_put.default,
    aten._unsafe_index_put.default,
    aten.index_add.default,
    aten.index_copy.default,
    aten.scatter.src,
    aten.scatter.value,
    aten.scatter_add.default,
    aten.addmm.default,
}
