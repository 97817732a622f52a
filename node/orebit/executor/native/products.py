"""Exact products of packed operands, raw or rescaled to float32 (csrc/product16.h, docs/numerics.md)."""

from __future__ import annotations

from dataclasses import dataclass

from orebit.errors import ExecutionError
from orebit.executor.native.kernels import Digits, Kernels
from orebit.executor.native.library import Work
from orebit.executor.native.packing import TILE_COLUMNS, TILE_ROWS, Exponents, Panels

# In 32 bits, beside 16 bits that the chunk before left behind.
LARGEST_SUM = {Digits.INT8: (1 << 31) - (1 << 16), Digits.INT16: (1 << 31) - (1 << 16), Digits.DOUBLE: 1 << 53}
LARGEST_DIGIT = {Digits.INT8: 127, Digits.INT16: 32767, Digits.DOUBLE: 1 << 31}
# Of A, so that it stays in the second-level cache while all of B passes by.
BLOCK_BYTES = 256 << 10
# Products in a block: some ten microseconds, well above what handing it to a thread costs.
BLOCK_PRODUCTS = 1 << 20
# At most this part of the whole, so that several threads end at about the same time.
LEAST_BLOCKS = 32


def proven_pairs(largest_a: int, largest_b: int, digits: Digits = Digits.INT16) -> int:
    """Pairs whose sum of products is surely exact in an int32 (int16 panels) or in a double, for operands with |a| and
    |b| up to these.

    Raises:
        ExecutionError: when not even one pair's is.
    """
    pairs = LARGEST_SUM[digits] // max(1, 2 * largest_a * largest_b)
    if pairs == 0 or max(largest_a, largest_b) > LARGEST_DIGIT[digits]:
        raise ExecutionError(
            f"digits up to {largest_a} and {largest_b} are too large for the product of {digits.name} panels"
        )
    return pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Where a product goes: `address[batch * b + group * g + row_in_group * r + ...]`, the same for columns.

    Strides count elements. Columns side by side (`column` 1) are fast: where rows are instead, exchange the operands.
    """

    address: int
    row: int
    column: int = 1
    batch: int = 0
    row_group: int = 0
    column_group: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescale:
    """Sums become f32(S) * 2^h * 2^(E - h), E = ea + eb - shift, h = E >> 1; NaN where an exponent is 129.

    Attributes:
        shift: 2 (bits - 1), or (bits_a - 1) + (bits_b - 1).
        rows, columns: the operands' exponents.
        bias: address of float32 values to add (one more rounding), or 0, with strides by row and column.
    """

    shift: int
    rows: Exponents
    columns: Exponents
    bias: int = 0
    bias_row: int = 0
    bias_column: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """out[batch, row, column] = sum over k of A[batch, row, k] * B[batch, column, k], exactly.

    Attributes:
        a, b: addresses of panels, 64-byte aligned.
        a_panels, b_panels: their layouts: tiles TILE_ROWS and TILE_COLUMNS, one k, the same kind of digits.
        out: int64 sums, or float32 where `rescale` is given.
        proven: `proven_pairs` of the range that the program proves.
        a_norms, b_norms: addresses of int16 panels' norms, or 0: with both, sums run longer before they are widened.
        a_stride, b_stride: bytes from one batch's panels to the next; 0 shares one operand; dense unless given.
        row_group, column_group: rows and columns in a group of `out`'s and the exponents' addressing; all unless given.
    """

    a: int
    b: int
    a_panels: Panels
    b_panels: Panels
    out: Output
    proven: int
    rescale: Rescale | None = None
    batch: int = 1
    a_stride: int | None = None
    b_stride: int | None = None
    a_norms: int = 0
    b_norms: int = 0
    row_group: int | None = None
    column_group: int | None = None

    def blocks(self) -> tuple[int, int]:
        """Panels of A and of B in one block of the range."""
        a, b = self.a_panels, self.b_panels
        tile = TILE_ROWS * TILE_COLUMNS * 2 * a.pairs
        whole = self.batch * a.count * b.count
        tiles = max(1, min(BLOCK_PRODUCTS // tile, -(-whole // LEAST_BLOCKS)))
        rows = max(1, min(a.count, BLOCK_BYTES * a.count // a.nbytes, tiles))
        # Blocks of equal size: the last one is not a sliver.
        rows = -(-a.count // -(-a.count // rows))
        return rows, max(1, min(b.count, tiles // rows))

    def work(self, kernels: Kernels) -> Work:
        """The product as a task over batch * blocks of rows * blocks of columns."""
        a, b, out, rescale = self.a_panels, self.b_panels, self.out, self.rescale
        nothing = Exponents(address=0)
        rows = rescale.rows if rescale else nothing
        columns = rescale.columns if rescale else nothing
        row_block, column_block = self.blocks()
        a_stride = a.nbytes if self.a_stride is None else self.a_stride
        b_stride = b.nbytes if self.b_stride is None else self.b_stride
        args = (
            *(self.a, self.b, out.address, a.rows, b.rows, a.pairs, a_stride, b_stride),
            *(out.batch, a.rows if self.row_group is None else self.row_group),
            *(b.rows if self.column_group is None else self.column_group,),
            *(out.row_group, out.row, out.column_group, out.column, row_block, column_block, self.proven),
            *(self.a_norms, self.b_norms, int(rescale is not None), rescale.shift if rescale else 0),
            *(rows.address, rows.batch, rows.group, rows.row),
            *(columns.address, columns.batch, columns.group, columns.row),
            *((rescale.bias, rescale.bias_row, rescale.bias_column) if rescale else (0, 0, 0)),
        )
        count = self.batch * -(-a.count // row_block) * -(-b.count // column_block)
        return Work(kernels.product(f"orebit_product{a.digits}"), args, count)
