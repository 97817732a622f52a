"""Products of any integers, modulo 2^64, for what no packed product can hold (csrc/product_any.h)."""

from __future__ import annotations

from dataclasses import dataclass

from orebit.errors import ExecutionError
from orebit.executor.native.library import Library, Work
from orebit.numerics.types import DType

BLOCK_ROWS = 16


@dataclass(frozen=True, slots=True)
class Matrix:
    """A strided [batch, rows, k] view of integers; strides in elements.

    Attributes:
        address: of its first element.
        dtype: an integer type.
    """

    address: int
    dtype: DType
    row: int
    k: int
    batch: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyProduct:
    """out[batch, row, column] = sum over k of A[batch, row, k] * B[batch, column, k], modulo 2^64, in int64.

    Attributes:
        a, b: the operands; B's rows are the columns of the output.
        out: its address, with strides by row, column and batch in elements.
    """

    a: Matrix
    b: Matrix
    out: int
    out_row: int
    rows: int
    columns: int
    k: int
    out_column: int = 1
    out_batch: int = 0
    batch: int = 1

    def work(self, library: Library) -> Work:
        """The product as a task over batch * blocks of 16 rows.

        Raises:
            ExecutionError: when an operand holds floats.
        """
        a, b = self.a, self.b
        if DType.F32 in (a.dtype, b.dtype):
            raise ExecutionError("an exact product takes integers; quantise its float operands first")
        args = (
            *(a.address, b.address, self.out, int(a.dtype), int(b.dtype), self.rows, self.columns, self.k),
            *(a.batch, a.row, a.k, b.batch, b.row, b.k, self.out_batch, self.out_row, self.out_column),
        )
        return Work(library.address("orebit_product_any"), args, self.batch * -(-self.rows // BLOCK_ROWS))
