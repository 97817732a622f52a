"""The seven element types of a program, with their codes on the wire and their sizes."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch as torch_

CANONICAL_NAN = 0x7FC00000
MASK32 = (1 << 32) - 1
MASK64 = (1 << 64) - 1
INT64_MIN = -(1 << 63)
INT64_MAX = (1 << 63) - 1


class DType(IntEnum):
    """An element type; the value is its code in heads and descriptors."""

    F32 = 0
    I8 = 1
    U8 = 2
    I16 = 3
    U16 = 4
    I32 = 5
    I64 = 6

    @property
    def size(self) -> int:
        """Bytes of one element."""
        return _SIZES[self]

    @property
    def is_float(self) -> bool:
        return self is DType.F32

    @property
    def is_signed(self) -> bool:
        return self not in (DType.U8, DType.U16)

    @property
    def numpy(self) -> np.dtype[np.generic]:
        """The little-endian numpy type of stored bytes."""
        return _NUMPY[self]

    @property
    def torch(self) -> torch_.dtype:
        """The torch type. Imports torch, which the store and most commands do without."""
        import torch

        dtype: torch_.dtype = getattr(torch, _TORCH[self])
        return dtype

    @property
    def label(self) -> str:
        """The name people read: f32, i8, ..."""
        return self.name.lower()

    @property
    def scalar(self) -> DType:
        """The type that an expression computes with after a load: F32 or I64."""
        return DType.F32 if self is DType.F32 else DType.I64

    @property
    def range(self) -> tuple[int, int]:
        """Least and greatest value of an integer type.

        Raises:
            ValueError: for F32.
        """
        if self.is_float:
            raise ValueError("f32 has no integer range")
        bits = 8 * self.size
        return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if self.is_signed else (0, (1 << bits) - 1)

    def wrap(self, value: int) -> int:
        """The integer `value` as this integer type stores it."""
        bits = 8 * self.size
        value &= (1 << bits) - 1
        return value - (1 << bits) if self.is_signed and value >> (bits - 1) else value

    @classmethod
    def from_numpy(cls, dtype: np.dtype[np.generic]) -> DType:
        """The type of a numpy array (bool counts as u8).

        Raises:
            KeyError: for a type that programs do not have.
        """
        return _FROM_NUMPY[np.dtype(dtype).newbyteorder("=")]

    @classmethod
    def from_torch(cls, dtype: torch_.dtype) -> DType:
        """The type of a torch tensor (bool counts as u8).

        Raises:
            KeyError: for a type that programs do not have.
        """
        return _FROM_TORCH[str(dtype).removeprefix("torch.")]


_SIZES = {
    DType.F32: 4,
    DType.I8: 1,
    DType.U8: 1,
    DType.I16: 2,
    DType.U16: 2,
    DType.I32: 4,
    DType.I64: 8,
}
_NUMPY: dict[DType, np.dtype[np.generic]] = {
    DType.F32: np.dtype("<f4"),
    DType.I8: np.dtype("i1"),
    DType.U8: np.dtype("u1"),
    DType.I16: np.dtype("<i2"),
    DType.U16: np.dtype("<u2"),
    DType.I32: np.dtype("<i4"),
    DType.I64: np.dtype("<i8"),
}
_TORCH = {
    DType.F32: "float32",
    DType.I8: "int8",
    DType.U8: "uint8",
    DType.I16: "int16",
    DType.U16: "uint16",
    DType.I32: "int32",
    DType.I64: "int64",
}
_FROM_NUMPY = {dtype.newbyteorder("="): code for code, dtype in _NUMPY.items()} | {np.dtype(bool): DType.U8}
_FROM_TORCH = {name: code for code, name in _TORCH.items()} | {"bool": DType.U8}
