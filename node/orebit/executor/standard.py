"""Two small programs by which machines and executors are compared: one of exact products, one of elementwise maps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from orebit.numerics import functions
from orebit.numerics.types import DType
from orebit.program.builder import Builder
from orebit.program.graph import Program
from orebit.program.lowering import Lowering, Tensor
from orebit.program.lowering.exact import product

Array = np.ndarray[tuple[int, ...], np.dtype[np.generic]]

WIDTH, ROWS = 512, 256
ELEMENTS = 1 << 18


def standard_programs() -> Iterator[tuple[str, Program, list[Array]]]:
    """Name, program without constants and parameters, and initial state."""
    noise = np.random.default_rng(0)
    yield "products", _products(), [_drawn(noise, (ROWS, WIDTH)), _drawn(noise, (WIDTH, WIDTH))]
    yield "elementwise", _elementwise(), [_drawn(noise, (ELEMENTS,)) for _ in range(3)]


def compared_programs() -> Iterator[tuple[str, Program, list[Array]]]:
    """The standard programs, and products of other precisions, which other kernels compute."""
    yield from standard_programs()
    noise = np.random.default_rng(1)
    for bits in (8, 22):
        yield f"products of {bits} bits", _products(bits), [_drawn(noise, (ROWS, WIDTH)), _drawn(noise, (WIDTH, WIDTH))]


def _drawn(noise: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return noise.standard_normal(shape, dtype=np.float32)


def _products(bits: int = 15) -> Program:
    """Two layers of 256 x 512 x 512, with ReLU and a scale that keeps the state in range."""
    builder = Builder()
    lowering = Lowering(builder, bits)
    x, w = (Tensor.of(builder.state(DType.F32, shape)) for shape in ((ROWS, WIDTH), (WIDTH, WIDTH)))
    hidden = lowering.map(lambda v: v.max(0.0), product(lowering, x, w))
    made = product(lowering, hidden, w.permute([1, 0]))
    scaled = lowering.map(lambda v: v * (1.0 / WIDTH), made)
    return builder.finish([scaled.value, builder.identity(w.value)])


def _elementwise() -> Program:
    """An update of Adam's kind over 2^18 elements, with a tanh."""
    builder = Builder()
    lowering = Lowering(builder)
    x, mean, square = (Tensor.of(builder.state(DType.F32, (ELEMENTS,))) for _ in range(3))
    gradient = lowering.map(functions.tanh, x)
    mean = lowering.map(lambda m, g: m * 0.875 + g * 0.125, mean, gradient)
    square = lowering.map(lambda v, g: v.abs() * 0.75 + g * g * 0.25, square, gradient)
    moved = lowering.map(lambda v, m, s: v - m / (s.sqrt() + 1.0) * 0.5, x, mean, square)
    return builder.finish([moved.value, mean.value, square.value])
