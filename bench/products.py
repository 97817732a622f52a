"""Exact integer products against torch's float32 `A @ B.T`, quantising and packing included, interleaved in one run.

    .venv/bin/python bench/products.py [--threads 1 2] [--bits 15 8] [--seconds 20]

Prints a table of medians and writes build/bench/products.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from orebit.executor.native.kernels import Digits, Kernels
from orebit.executor.native.library import Step, require
from orebit.executor.native.packing import TILE_COLUMNS, TILE_ROWS, Exponents, Pack, Panels, Source
from orebit.executor.native.products import Output, Product, Rescale, proven_pairs

OUT = Path(__file__).resolve().parent.parent / "build" / "bench" / "products.json"
# Batch, rows, columns, length of the contraction.
SHAPES = {
    "2048 cube": (1, 2048, 2048, 2048),
    "256 x 2048 x 784": (1, 256, 2048, 784),
    "2048 x 2048 x 256": (1, 2048, 2048, 256),
    "4096 x 64 x 576": (1, 4096, 64, 576),
    "64 x 576 x 4096": (1, 64, 576, 4096),
    "attention 128 x (128, 128, 32)": (128, 128, 128, 32),
    "attention 128 x (128, 32, 128)": (128, 128, 32, 128),
}


@dataclass
class Operand:
    """One side: its floats, and the memory that its packed form takes."""

    values: torch.Tensor
    panels: Panels
    data: torch.Tensor
    norms: torch.Tensor
    exponents: torch.Tensor

    def pack(self, bits: int) -> Pack:
        batch, rows, k = self.values.shape
        return Pack(
            source=self.values.data_ptr(),
            target=self.data.data_ptr(),
            source_type=Source.FLOAT,
            panels=self.panels,
            row_stride=k,
            k_stride=1,
            batch=batch,
            batch_stride=rows * k,
            norms=self.norms.data_ptr() if self.panels.digits is Digits.INT16 else 0,
            bits=bits,
            exponents=Exponents(address=self.exponents.data_ptr(), batch=rows),
            measure=True,
        )


def operand(values: torch.Tensor, tile: int, digits: Digits) -> Operand:
    batch, rows, k = values.shape
    panels = Panels(rows, k, tile, digits)
    norms = torch.empty(batch * panels.norm_bytes, dtype=torch.uint8)
    # torch aligns its memory to 64 bytes, which is what the kernels want.
    data = torch.empty(batch * panels.nbytes, dtype=torch.uint8)
    return Operand(values, panels, data, norms, torch.empty(batch, rows, dtype=torch.int16))


def exact_step(kernels: Kernels, a: torch.Tensor, b: torch.Tensor, bits: int) -> tuple[Step, list[object]]:
    """The whole product from floats to floats, and what must live as long as it."""
    digits = Digits.DOUBLE if bits > 16 else Digits.INT16
    left, right = operand(a, TILE_ROWS, digits), operand(b, TILE_COLUMNS, digits)
    batch, rows, columns = a.shape[0], a.shape[1], b.shape[1]
    out = torch.empty(batch, rows, columns)
    largest = (1 << (bits - 1)) - 1
    product = Product(
        a=left.data.data_ptr(),
        b=right.data.data_ptr(),
        a_panels=left.panels,
        b_panels=right.panels,
        out=Output(address=out.data_ptr(), row=columns, batch=rows * columns),
        proven=proven_pairs(largest, largest, digits),
        batch=batch,
        a_norms=left.norms.data_ptr() if digits is Digits.INT16 else 0,
        b_norms=right.norms.data_ptr() if digits is Digits.INT16 else 0,
        rescale=Rescale(
            shift=2 * (bits - 1),
            rows=Exponents(address=left.exponents.data_ptr(), batch=rows),
            columns=Exponents(address=right.exponents.data_ptr(), batch=columns),
        ),
    )
    work = [left.pack(bits).work(kernels), right.pack(bits).work(kernels), product.work(kernels)]
    step = Step(kernels.library, work)
    step.run(1)
    error = ((out - a @ b.transpose(1, 2)).norm() / (a @ b.transpose(1, 2)).norm()).item()
    assert error < 4 * 2.0 ** (1 - bits) * np.sqrt(a.shape[2]), f"{bits} bits are off by {error}"
    return step, [left, right, out]


def medians(calls: dict[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """Each call's median time, all of them in turn."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[next(iter(times))]) < 5:
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def measure(kernels: Kernels, shape: str, threads: int, widths: list[int], seconds: float) -> list[dict[str, object]]:
    batch, rows, columns, k = SHAPES[shape]
    torch.set_num_threads(threads)
    a, b = torch.randn(batch, rows, k), torch.randn(batch, columns, k)
    left, right = (a, b) if batch > 1 else (a[0], b[0])
    steps = {bits: exact_step(kernels, a, b, bits) for bits in widths}
    calls: dict[str, Callable[[], object]] = {"float32": lambda: left @ right.transpose(-1, -2)}
    for bits, (step, _) in steps.items():
        calls[str(bits)] = lambda step=step: step.run(threads)
    times = medians(calls, seconds)
    work = batch * rows * columns * k
    return [
        {
            "shape": shape,
            "threads": threads,
            "bits": bits,
            "ratio": times[str(bits)] / times["float32"],
            "gmac_per_second": work / times[str(bits)] / 1e9,
            "float32_gmac_per_second": work / times["float32"] / 1e9,
        }
        for bits in widths
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--bits", type=int, nargs="+", default=[15, 8])
    parser.add_argument("--seconds", type=float, default=20.0, help="for each shape and number of threads")
    options = parser.parse_args()
    kernels = Kernels.best(require())
    print(
        f"{platform.processor() or platform.machine()}, kernels for {kernels.instructions}, torch {torch.__version__}"
    )
    rows = []
    for threads in options.threads:
        for shape in SHAPES:
            for row in measure(kernels, shape, threads, options.bits, options.seconds):
                rows.append(row)
                print(
                    f"{threads} threads  {shape:32} {row['bits']:3} bits  {row['ratio']:.2f} of float32"
                    f"  ({row['gmac_per_second']:.0f} against {row['float32_gmac_per_second']:.0f} GMAC/s)",
                    flush=True,
                )
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps({"instructions": kernels.instructions, "products": rows}, indent=1))


if __name__ == "__main__":
    main()
