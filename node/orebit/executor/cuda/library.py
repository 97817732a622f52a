"""Exact products by torch's own kernels, where these fit: one digit by int8 tensor cores, three digits by float64.

Both are exact on the ranges that are proven, in whatever order they add: sums of bytes below 2^31 in i32, sums of
integers below 2^53 in float64. Their results lie `[batch][row][column]` in the workspace, from where a kernel takes
each through the product's epilogue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from math import prod

import torch

from orebit.executor.cuda.capability import Capability
from orebit.executor.cuda.digits import Product
from orebit.executor.cuda.kernel import Kernel, blocks, make, point_lines
from orebit.executor.cuda.packing import padded
from orebit.executor.cuda.product import Epilogue
from orebit.executor.fused.contraction_kernels import EXACT_FLOAT64, INT8_LIMIT, INT32_END, reaches
from orebit.executor.ranges import Range
from orebit.program.descriptor import Descriptor

# Below this many terms in all, a product by torch costs more to start than it saves.
LEAST_TERMS = 1 << 22
# What torch._int_mm asks for on CUDA.
LEAST_ROWS, COLUMN_UNIT = 17, 8
# Digits of both operands from which on float64 is ahead, where a GPU has it at full speed.
MANY_DIGITS = 5


class Arithmetic(Enum):
    """Of the packed operands, and of the sums."""

    BYTES = (torch.int8, torch.int32, "i32")
    FLOAT64 = (torch.float64, torch.float64, "double")

    @property
    def operand(self) -> torch.dtype:
        return self.value[0]

    @property
    def result(self) -> torch.dtype:
        return self.value[1]

    @property
    def c_type(self) -> str:
        """Of the sums, in CUDA C."""
        return self.value[2]


@dataclass(frozen=True)
class Multiplication:
    """One product by torch, over `[batch][row][depth]` and `[batch][column][depth]` in a stage's workspace.

    Attributes:
        shape: batch, rows, columns, and the depth as it is packed.
        left, right, sums: offsets in bytes.
    """

    arithmetic: Arithmetic
    shape: tuple[int, int, int, int]
    left: int
    right: int
    sums: int

    def run(self, memory: torch.Tensor, workspace: int) -> None:
        """Appends the product to torch's current stream.

        Args:
            memory: bytes of the device, in which the workspace begins at `workspace`.
        """
        batch, rows, columns, depth = self.shape
        kind = self.arithmetic
        a = _matrices(memory, workspace + self.left, kind.operand, (batch, rows, depth))
        b = _matrices(memory, workspace + self.right, kind.operand, (batch, columns, depth))
        sums = _matrices(memory, workspace + self.sums, kind.result, (batch, rows, columns))
        if kind is Arithmetic.BYTES:
            torch._int_mm(a[0], b[0].t(), out=sums[0])
        else:
            torch.bmm(a, b.transpose(1, 2), out=sums)


def _matrices(memory: torch.Tensor, start: int, dtype: torch.dtype, shape: Sequence[int]) -> torch.Tensor:
    return memory[start : start + dtype.itemsize * prod(shape)].view(dtype).view(*shape)


def arithmetic_of(
    descriptor: Descriptor, reads: Sequence[Range], product: Product, capability: Capability
) -> Arithmetic | None:
    """Which of torch's products computes this one exactly and is likely the fastest; None for our own kernel."""
    batch, rows, columns, depth = product.shape
    if prod(product.shape) < LEAST_TERMS:
        return None
    if product.digits == (1, 1) and capability.tensor_bytes and batch == 1:
        fits = INT8_LIMIT**2 * padded(depth) < INT32_END
        return Arithmetic.BYTES if fits and rows >= LEAST_ROWS and columns % COLUMN_UNIT == 0 else None
    exact = prod(reaches(descriptor, reads)) * depth < EXACT_FLOAT64
    if exact and sum(product.digits) >= MANY_DIGITS and capability.fast_doubles:
        return Arithmetic.FLOAT64
    return None


def sums_bytes(arithmetic: Arithmetic, product: Product) -> int:
    return arithmetic.result.itemsize * prod(product.shape[:3])


def after_kernel(arithmetic: Arithmetic, product: Product, epilogue: Epilogue) -> Kernel:
    """Takes every sum through the epilogue; its pointers are the sums, then the epilogue's."""
    batch, rows, columns, _ = product.shape
    points = batch * rows * columns
    lines = [
        *point_lines(points),
        f"const i32 column = (i32)(point % {columns}), row = (i32)(point / {columns} % {rows});",
        f"const i32 batch = (i32)(point / {columns * rows});",
        "const i64 sum = (i64)sums[point];",
        *epilogue.lines,
    ]
    return make([f"const {arithmetic.c_type}* __restrict__ sums", *epilogue.parameters], lines, (blocks(points), 1, 1))
