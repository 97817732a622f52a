"""Runs the native products on numpy arrays, and says what they should give in numpy's integers and floats."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orebit.executor.native import library
from orebit.executor.native.kernels import Digits, Kernels
from orebit.executor.native.library import Library, Step, Work
from orebit.executor.native.packing import TILE_COLUMNS, TILE_ROWS, Exponents, Pack, Panels, Source
from orebit.executor.native.products import Output, Product, Rescale, proven_pairs

CSRC = Path(library.__file__).parent / "csrc"
# Of the library, what products take.
PRODUCT_SOURCES = ["product16.c", "tile16_*.c", "stripe*.c", "tile64.c", "pack16.c", "agreement.c", "cpu.c", "runner.c"]
SOURCES = {"float32": Source.FLOAT, "int32": Source.INT32, "int16": Source.INT16, "int8": Source.INT8}


def build_emulated(folder: Path) -> Library | None:
    """The products with AVX-512 and AMX instructions emulated in C; None without a C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    out = folder / "emulated.so"
    sources = [str(path) for pattern in PRODUCT_SOURCES for path in sorted(CSRC.glob(pattern))]
    header = Path(__file__).with_name("emulated_avx512.h")
    flags = ["-O2", "-std=c11", "-ffp-contract=off", "-fPIC", "-pthread", "-shared", "-w"]
    subprocess.run([compiler, *flags, f'-DOREBIT_EMULATION="{header}"', *sources, "-o", str(out)], check=True)
    return Library(out)


def aligned(nbytes: int) -> NDArray[np.uint8]:
    """Bytes on a 64-byte border, filled with a pattern that no kernel may rely on."""
    whole = np.full(nbytes + 64, 0xA5, dtype=np.uint8)
    return whole[-whole.ctypes.data % 64 :][:nbytes]


@dataclass
class Packed:
    """One operand [batch, rows, k], packed."""

    work: Work
    panels: Panels
    data: NDArray[np.uint8]
    norms: NDArray[np.uint8]
    exponents: NDArray[np.int16]
    values: NDArray[np.generic]


def pack(
    kernels: Kernels, values: NDArray[np.generic], tile: int, bits: int = 0, digits: Digits = Digits.INT16
) -> Packed:
    """The task that packs an operand of any strides; floats are measured and quantised."""
    batch, rows, k = values.shape
    panels = Panels(rows, k, tile, digits)
    data, norms = aligned(batch * panels.nbytes), aligned(batch * panels.norm_bytes)
    exponents = np.full((batch, rows), 999, dtype=np.int16)
    strides = [stride // values.itemsize for stride in values.strides]
    work = Pack(
        source=values.ctypes.data,
        target=data.ctypes.data,
        source_type=SOURCES[values.dtype.name],
        panels=panels,
        row_stride=strides[1],
        k_stride=strides[2],
        batch=batch,
        batch_stride=strides[0],
        norms=norms.ctypes.data if digits is Digits.INT16 else 0,
        bits=bits,
        exponents=Exponents(address=exponents.ctypes.data, batch=rows),
        measure=True,
    ).work(kernels)
    return Packed(work, panels, data, norms, exponents, values)


def unpack(packed: Packed) -> NDArray[np.int16]:
    """The panels of every batch as [batch, padded rows, padded k]."""
    panels = packed.panels
    data = packed.data.view(np.int16).reshape(-1, panels.count, panels.pairs, panels.tile, 2)
    return data.transpose(0, 1, 3, 2, 4).reshape(-1, panels.count * panels.tile, 2 * panels.pairs)


def integer_product(
    kernels: Kernels,
    a: NDArray[np.generic],
    b: NDArray[np.generic],
    largest: tuple[int, int],
    threads: int = 1,
    norms: bool = True,
    kind: Digits = Digits.INT16,
) -> NDArray[np.int64]:
    """a [batch, m, k] times b [batch, n, k], in int64."""
    left, right = pack(kernels, a, TILE_ROWS, digits=kind), pack(kernels, b, TILE_COLUMNS, digits=kind)
    norms = norms and kind is Digits.INT16
    batch, rows, columns = a.shape[0], a.shape[1], b.shape[1]
    out = np.full((batch, rows, columns), -7, dtype=np.int64)
    product = Product(
        a=left.data.ctypes.data,
        b=right.data.ctypes.data,
        a_panels=left.panels,
        b_panels=right.panels,
        out=Output(address=out.ctypes.data, row=columns, batch=rows * columns),
        proven=proven_pairs(*largest, kind),
        batch=batch,
        a_norms=left.norms.ctypes.data if norms else 0,
        b_norms=right.norms.ctypes.data if norms else 0,
    )
    Step(kernels.library, [left.work, right.work, product.work(kernels)]).run(threads)
    return out


def float_product(
    kernels: Kernels,
    a: NDArray[np.float32],
    b: NDArray[np.float32],
    bits: int,
    threads: int = 1,
    bias: NDArray[np.float32] | None = None,
    transposed: bool = False,
    kind: Digits = Digits.INT16,
) -> NDArray[np.float32]:
    """The quantised product of two floats, rescaled; `transposed` stores it with rows side by side."""
    left, right = pack(kernels, a, TILE_ROWS, bits, kind), pack(kernels, b, TILE_COLUMNS, bits, kind)
    norms = kind is Digits.INT16
    batch, rows, columns = a.shape[0], a.shape[1], b.shape[1]
    out = np.full((batch, columns, rows) if transposed else (batch, rows, columns), 7, dtype=np.float32)
    product = Product(
        a=left.data.ctypes.data,
        b=right.data.ctypes.data,
        a_panels=left.panels,
        b_panels=right.panels,
        out=Output(
            address=out.ctypes.data,
            row=1 if transposed else columns,
            column=rows if transposed else 1,
            batch=rows * columns,
        ),
        proven=proven_pairs(largest_digit(bits), largest_digit(bits), kind),
        batch=batch,
        a_norms=left.norms.ctypes.data if norms else 0,
        b_norms=right.norms.ctypes.data if norms else 0,
        rescale=Rescale(
            shift=2 * (bits - 1),
            rows=Exponents(address=left.exponents.ctypes.data, batch=rows),
            columns=Exponents(address=right.exponents.ctypes.data, batch=columns),
            bias=0 if bias is None else bias.ctypes.data,
        ),
    )
    Step(kernels.library, [left.work, right.work, product.work(kernels)]).run(threads)
    return out.transpose(0, 2, 1) if transposed else out


def largest_digit(bits: int) -> int:
    """The largest magnitude of a digit."""
    return (1 << (bits - 1)) - 1


def exponents_of(x: NDArray[np.float32], bits: int) -> NDArray[np.int64]:
    """docs/numerics.md, step 1, for groups along the last axis."""
    magnitudes = np.minimum(x.view(np.int32) & 0x7FFFFFFF, 0x7FC00000).astype(np.int64).max(axis=-1)
    return np.maximum(((magnitudes + (1 << (24 - bits))) >> 23) - 126, -100)


def digits_of(x: NDArray[np.float32], exponents: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """docs/numerics.md, step 2: float64 holds every scaled float32, and rint rounds halves to even."""
    finite = exponents[..., None] != 129
    scaled = np.where(finite, x, 0).astype(np.float64) * np.exp2((bits - 1 - exponents[..., None]).astype(np.float64))
    return np.rint(scaled).astype(np.int64)


def expected_float_product(x: NDArray[np.float32], y: NDArray[np.float32], bits: int) -> NDArray[np.float32]:
    """docs/numerics.md, steps 1 to 4."""
    ea, eb = exponents_of(x, bits), exponents_of(y, bits)
    sums = digits_of(x, ea, bits) @ digits_of(y, eb, bits).transpose(0, 2, 1)
    scale = ea[:, :, None] + eb[:, None, :] - 2 * (bits - 1)
    half = scale >> 1
    with np.errstate(over="ignore", under="ignore"):
        out = sums.astype(np.float32) * np.exp2(half.astype(np.float32)) * np.exp2((scale - half).astype(np.float32))
    out[(ea[:, :, None] == 129) | (eb[:, None, :] == 129)] = np.nan
    return out
