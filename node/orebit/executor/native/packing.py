"""Operands of exact products: their packed layouts, and the kernels that pack and measure them (csrc/product16.h)."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from orebit.executor.native.kernels import Digits, Kernels
from orebit.executor.native.library import Work

TILE_ROWS = 4
TILE_COLUMNS = 16
PAIR_UNIT = 8
NORMS = 4
ALIGNMENT = 64
# A part of a pack should take longer than handing it to a thread.
LEAST_ELEMENTS = 1 << 15
STRIP = 64


class Source(enum.StrEnum):
    """What an operand is packed from; values are the kernels' infixes."""

    FLOAT = "f32"
    INT32 = "i32"
    INT16 = "i16"
    INT8 = "i8"


# Bytes of one digit.
WIDTH = {Digits.INT8: 1, Digits.INT16: 2, Digits.DOUBLE: 8}


@dataclass(frozen=True, slots=True)
class Panels:
    """The packed form of a [rows, k] operand, zero padded: `[panel][pair][row in panel][2]` int16,
    `[panel][four][row in panel][4]` int8, or `[panel][k][row in panel]` float64.

    Attributes:
        rows: rows of A, or columns of B: what is not contracted.
        k: length of the contraction.
        tile: TILE_ROWS for the left operand, TILE_COLUMNS for the right one.
        digits: what the panels hold.
    """

    rows: int
    k: int
    tile: int
    digits: Digits = Digits.INT16

    @property
    def pairs(self) -> int:
        """Pairs along k, padded."""
        return -(-self.k // (2 * PAIR_UNIT)) * PAIR_UNIT

    @property
    def count(self) -> int:
        """How many panels there are."""
        return -(-self.rows // self.tile)

    @property
    def nbytes(self) -> int:
        """Bytes of one batch, a multiple of 64."""
        return self.count * self.pairs * self.tile * 2 * WIDTH[self.digits]

    @property
    def norm_bytes(self) -> int:
        """Bytes of one batch's norms: `[panel][4]` float32."""
        return self.count * NORMS * 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Exponents:
    """Where the int16 exponents of an operand's rows lie: `address[batch * b + group * g + row_in_group * r]`.

    Attributes:
        address: of int16 values.
        batch, group, row: strides in elements; a row stride of 0 gives a group one exponent.
    """

    address: int
    batch: int = 0
    group: int = 0
    row: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """Packs a strided [batch, rows, k] view into panels; floats are quantised on the way.

    Attributes:
        source, target: addresses; the target is 64-byte aligned.
        source_type: values are digits that the panels can hold (|q| <= 32767 in int16, 127 in int8), or floats.
        panels: the packed form of one batch.
        row_stride, k_stride, batch_stride: of the source, in elements. One of the first two being 1 is fast.
        batch: how many.
        target_stride: bytes from one batch's panels to the next; densely packed unless given.
        norms: address of [batch][panel][4] float32 to fill, or 0; int16 panels only.
        bits, exponents: for floats. The exponents must be those of the values' groups, as docs/numerics.md has them.
        group: rows in a group of the exponents' addressing; all rows unless given.
        measure: compute each row's exponent (a row is a group) and write it to `exponents` instead of reading it.
    """

    source: int
    target: int
    source_type: Source
    panels: Panels
    row_stride: int
    k_stride: int
    batch: int = 1
    batch_stride: int = 0
    target_stride: int | None = None
    norms: int = 0
    bits: int = 0
    exponents: Exponents | None = None
    group: int | None = None
    measure: bool = False

    def work(self, kernels: Kernels) -> Work:
        """The pack as a task over batch * panels."""
        panels, exponents = self.panels, self.exponents or Exponents(address=0)
        target_stride = panels.nbytes if self.target_stride is None else self.target_stride
        args = (
            *(self.source, self.target, panels.rows, panels.k),
            *(self.batch_stride, self.row_stride, self.k_stride, target_stride, panels.tile, self.norms),
            *(self.bits, exponents.address, exponents.batch, exponents.group, exponents.row),
            *(panels.rows if self.group is None else self.group, int(self.measure)),
        )
        strip = (STRIP if self.row_stride == 1 else 16) // panels.tile
        least = -(-LEAST_ELEMENTS // (panels.tile * panels.k))
        grain = max(1, -(-least // strip)) * strip
        name = f"orebit_pack{panels.digits}_{self.source_type}"
        return Work(kernels.packing(name), args, self.batch * panels.count, grain)


def measure_norms(kernels: Kernels, packed: int, panels: Panels, norms: int, batch: int = 1) -> Work:
    """The norms of densely packed panels that another kernel wrote, as a task over panels."""
    args = (packed, panels.pairs, panels.tile, norms)
    grain = max(1, LEAST_ELEMENTS // (panels.pairs * panels.tile))
    return Work(kernels.packing("orebit_norms16"), args, batch * panels.count, grain)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureExponents:
    """The exponent of each group of a strided [rows, outer, inner, k] view of floats, one group a row.

    Attributes:
        source, out: addresses of float32 and of int16 values.
        rows, outer, inner, k: extents; strides in elements. A row stride or k stride of 1 is fast.
    """

    source: int
    out: int
    rows: int
    k: int
    row_stride: int
    k_stride: int
    bits: int
    outer: int = 1
    inner: int = 1
    outer_stride: int = 0
    inner_stride: int = 0
    out_stride: int = 1

    def work(self, kernels: Kernels) -> Work:
        """The measurement as a task over rows."""
        args = (
            *(self.source, self.out, self.rows, self.outer, self.inner, self.k),
            *(self.row_stride, self.outer_stride, self.inner_stride, self.k_stride, self.out_stride, self.bits),
        )
        least = -(-LEAST_ELEMENTS // (self.outer * self.inner * self.k))
        grain = max(1, -(-least // STRIP)) * STRIP if self.row_stride == 1 else least
        return Work(kernels.packing("orebit_exponents_f32"), args, self.rows, grain)
