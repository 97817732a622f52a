"""A dataset as a program's constants: packed without loss, and cut into equal parts."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler, Subset, TensorDataset

from orebit.errors import TraceError
from orebit.numerics.types import DType

Array = NDArray[Any]
# Images are bytes, as they are or divided by 255.
PACKED_SCALES = (255, 1)


@dataclass(frozen=True)
class Column:
    """One tensor of a dataset: `stored` / `scale` is the original in f32; with a scale of 0 it is stored as it is."""

    stored: Array
    scale: int
    original: torch.Tensor

    @property
    def dtype(self) -> DType:
        """As stored."""
        return DType.from_numpy(self.stored.dtype)

    @property
    def original_dtype(self) -> DType:
        """As a step takes it; masks are u8."""
        return DType.U8 if self.original.dtype is torch.bool else DType.from_torch(self.original.dtype)


@dataclass(frozen=True)
class Dataset:
    """Columns of equally many rows: the model's input first, then what the loss takes."""

    columns: tuple[Column, ...]

    @property
    def rows(self) -> int:
        return len(self.columns[0].stored)

    def part(self, number: int, count: int, seed: int | None) -> list[Array]:
        """The stored columns of part `number` of `count` equal ones.

        With a seed rows are dealt out at random, so that neither sorted nor alternating data makes parts unlike each
        other; without one every count-th row is taken, in order.
        """
        rows = np.arange(self.rows) if seed is None else np.random.default_rng(seed).permutation(self.rows)
        chosen = rows[number::count][: self.rows // count]
        return [np.ascontiguousarray(column.stored[chosen]) for column in self.columns]

    def batch(self, start: int, size: int) -> tuple[torch.Tensor, ...]:
        """`size` original rows from `start`, around the end if need be."""
        places = [(start + k) % self.rows for k in range(size)]
        return tuple(column.original[places] for column in self.columns)


@dataclass(frozen=True)
class Loading:
    """What a DataLoader says about batches."""

    batch_size: int | None
    shuffle: bool | None


def read_dataset(data: object, what: str) -> tuple[Dataset, Loading]:
    """A dataset from tensors, a TensorDataset, a Subset of one, or a DataLoader over either.

    Raises:
        TraceError: when it is something else, is empty, or holds types that programs do not have.
    """
    loading = Loading(None, None)
    if isinstance(data, DataLoader):
        loading = _loading(data, what)
        data = data.dataset
    columns = tuple(_pack(tensor, what) for tensor in _tensors(data, what))
    if len({len(column.stored) for column in columns}) != 1 or not len(columns[0].stored):
        raise TraceError(f"the tensors of {what} have no rows, or not equally many")
    return Dataset(columns), loading


def _loading(loader: DataLoader[Any], what: str) -> Loading:
    if not isinstance(loader.sampler, RandomSampler | SequentialSampler) or loader.batch_size is None:
        raise TraceError(f"the DataLoader of {what} has a sampler of its own; give batch_size and shuffle instead")
    return Loading(loader.batch_size, isinstance(loader.sampler, RandomSampler))


def _tensors(data: object, what: str) -> Sequence[torch.Tensor]:
    if isinstance(data, Subset):
        rows = torch.as_tensor(data.indices)
        return [tensor[rows] for tensor in _tensors(data.dataset, what)]
    if isinstance(data, TensorDataset):
        data = data.tensors
    if isinstance(data, tuple | list) and data:
        tensors = [torch.from_numpy(item) if isinstance(item, np.ndarray) else item for item in data]
        if all(isinstance(tensor, torch.Tensor) and tensor.dim() for tensor in tensors):
            return tensors
    raise TraceError(
        f"{what} is a {type(data).__name__}; give tensors (x, y) or a TensorDataset. What reads files runs before:"
        " stack its results into tensors"
    )


def _pack(tensor: torch.Tensor, what: str) -> Column:
    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype is torch.float32:
        return _pack_float(tensor)
    try:
        DType.from_torch(tensor.dtype)
    except KeyError:
        raise TraceError(f"{what} holds {tensor.dtype}; convert it with .float() or to an integer type") from None
    small = tensor.numel() and 0 <= int(tensor.min()) and int(tensor.max()) <= 255
    stored = tensor.to(torch.uint8) if small or tensor.dtype is torch.bool else tensor
    return Column(stored.numpy(), 0, tensor)


def _pack_float(tensor: torch.Tensor) -> Column:
    for scale in PACKED_SCALES:
        scaled = (tensor * scale).round()
        if bool(((scaled >= 0) & (scaled <= 255)).all()):
            packed = scaled.to(torch.uint8)
            if np.array_equal((packed.numpy().astype(np.float32) / np.float32(scale)).view(np.uint32), _bits(tensor)):
                return Column(packed.numpy(), scale, tensor)
    return Column(tensor.numpy(), 0, tensor)


def _bits(tensor: torch.Tensor) -> Array:
    return tensor.numpy().view(np.uint32)


def warn_spare_rows(rows: int, divisor: int, what: str, why: str) -> None:
    """Says that `rows` are not a multiple of `divisor`, so that some are left out."""
    if rows % divisor:
        warnings.warn(f"{rows % divisor} of {rows} rows of {what} are left out: {why}", stacklevel=4)
