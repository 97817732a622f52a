"""Interpolation with antialias, written out: products with constant matrices, one axis after the other.

As torch has it: a triangle or a cubic (of parameter -0.5) as wide as a source step or an output step, whichever is
wider, normalised over the sources that there are. The weights are computed in float64 and rounded once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

CUBIC = -0.5


def _triangle(x: float) -> float:
    return max(0.0, 1.0 - abs(x))


def _cubic(x: float) -> float:
    x = abs(x)
    if x < 1:
        return ((CUBIC + 2) * x - (CUBIC + 3)) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * CUBIC if x < 2 else 0.0


def _matrix(
    source: int, outputs: int, aligned: bool, factor: float | None, shape: Callable[[float], float], reach: float
) -> torch.Tensor:
    """f32[outputs, source]."""
    if aligned:
        ratio = (source - 1) / (outputs - 1) if outputs > 1 else 0.0
    else:
        ratio = 1.0 / factor if factor else source / outputs
    width = max(ratio, 1.0)
    matrix = np.zeros((outputs, source))
    for place in range(outputs):
        centre = ratio * (place + 0.5)
        low = max(int(centre - reach * width + 0.5), 0)
        high = min(int(centre + reach * width + 0.5), source)
        weights = np.array([shape((h - centre + 0.5) / width) for h in range(low, high)])
        matrix[place, low:high] = weights / weights.sum()
    return torch.from_numpy(matrix.astype(np.float32))


def _matrices(
    source: Sequence[int], outputs: Sequence[int], aligned: bool, factors: Sequence[float | None], cubic: bool
) -> list[torch.Tensor]:
    shape, reach = (_cubic, 2.0) if cubic else (_triangle, 1.0)
    padded = [*factors, *[None] * (len(outputs) - len(factors))]
    return [
        _matrix(size, count, aligned, factor, shape, reach)
        for size, count, factor in zip(source[-len(outputs) :], outputs, padded, strict=True)
    ]


def _applied(x: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    return rows @ x @ columns.T


def bilinear(x: torch.Tensor, outputs: Sequence[int], aligned: bool, *factors: float | None) -> torch.Tensor:
    return _applied(x, *_matrices(x.shape, outputs, aligned, factors, False))


def bicubic(x: torch.Tensor, outputs: Sequence[int], aligned: bool, *factors: float | None) -> torch.Tensor:
    return _applied(x, *_matrices(x.shape, outputs, aligned, factors, True))


def bilinear_backward(
    grad: torch.Tensor, outputs: Sequence[int], source: Sequence[int], aligned: bool, *factors: float | None
) -> torch.Tensor:
    return _applied(grad, *(matrix.T for matrix in _matrices(source, outputs, aligned, factors, False)))


def bicubic_backward(
    grad: torch.Tensor, outputs: Sequence[int], source: Sequence[int], aligned: bool, *factors: float | None
) -> torch.Tensor:
    return _applied(grad, *(matrix.T for matrix in _matrices(source, outputs, aligned, factors, True)))
