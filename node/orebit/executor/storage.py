"""How an executor holds tensors: torch's own types, but u16, for which torch lacks most operations, as i32."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence

import numpy as np
import torch

from orebit.errors import ExecutionError
from orebit.numerics.types import CANONICAL_NAN, DType
from orebit.program.graph import TensorSpec

# The interpreter's warning filters are global; two shards that start at once must not mix them up.
_FILTERS = threading.Lock()


class Deferred(Sequence[torch.Tensor]):
    """A state that is elsewhere, and comes here when somebody looks at it: at any time, in any thread."""


Given = np.ndarray[tuple[int, ...], np.dtype[np.generic]] | torch.Tensor


def held_type(dtype: DType) -> torch.dtype:
    """The torch type in which this executor holds `dtype`."""
    return torch.int32 if dtype is DType.U16 else dtype.torch


def accept(given: Given, spec: TensorSpec, name: str) -> torch.Tensor:
    """A stranger's tensor, dense, of exactly the declared type, without a copy where possible.

    Raises:
        ExecutionError: when type or shape are not what the program declares.
    """
    tensor = given if isinstance(given, torch.Tensor) else _from_numpy(given)
    if tensor is not None and tensor.dtype == torch.bool:
        tensor = tensor.view(torch.uint8)
    if tensor is None or tensor.dtype != spec.dtype.torch or tuple(tensor.shape) != spec.shape:
        raise ExecutionError(
            f"{name} is {given.dtype}{list(given.shape)}, but the program declares "
            f"{spec.dtype.label}{list(spec.shape)}; pass the tensor that the shard names"
        )
    return tensor.detach().contiguous()


def hold(given: Given, spec: TensorSpec, name: str) -> torch.Tensor:
    """A stranger's tensor as the reference executor holds it; raises as `accept` does."""
    tensor = accept(given, spec, name)
    return tensor.to(torch.int32) if spec.dtype is DType.U16 else tensor


def _from_numpy(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> torch.Tensor | None:
    """The same memory; None for what torch cannot hold, such as objects or another byte order."""
    if not array.dtype.isnative or array.dtype.kind not in "biufc":
        return None
    with _FILTERS, warnings.catch_warnings():
        # Constants are often read-only maps of files; nothing here writes to what it was given.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.ascontiguousarray(array).reshape(array.shape))


def canonicalise(tensor: torch.Tensor) -> torch.Tensor:
    """An f32 tensor with every NaN as 0x7fc00000; the same tensor when it holds none."""
    nan = torch.isnan(tensor)
    if not bool(nan.any()):
        return tensor
    bits = torch.where(nan, torch.tensor(CANONICAL_NAN, dtype=torch.int32), tensor.view(torch.int32))
    return bits.view(torch.float32)


def release(tensor: torch.Tensor, dtype: DType) -> torch.Tensor:
    """A held tensor as others may see it: canonical, of torch's type for `dtype`."""
    if dtype is DType.F32:
        return canonicalise(tensor)
    return tensor.to(torch.uint16) if dtype is DType.U16 else tensor


def fill_scalar(fill: int, dtype: DType) -> torch.Tensor:
    """A fill (an f32's bits, or an integer) as a tensor of no axes."""
    if dtype is DType.F32:
        return torch.tensor(DType.I32.wrap(fill), dtype=torch.int32).view(torch.float32)
    return torch.tensor(fill, dtype=held_type(dtype))
