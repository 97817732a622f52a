"""Distances between rows, and bilinear forms, written out so that their gradients have lowerings."""

from __future__ import annotations

import torch

# From so many rows on torch computes Euclidean distances from products.
MANY_ROWS = 25


def cdist(
    x1: torch.Tensor, x2: torch.Tensor, p: float = 2.0, compute_mode: str | None = "use_mm_for_euclid_dist_if_necessary"
) -> torch.Tensor:
    """As torch.cdist: [..., m, n] from [..., m, k] and [..., n, k]. Equal rows have no gradient."""
    many = x1.shape[-2] > MANY_ROWS or x2.shape[-2] > MANY_ROWS
    products = compute_mode == "use_mm_for_euclid_dist" or (many and compute_mode != "donot_use_mm_for_euclid_dist")
    if p == 2.0 and products:
        squares = [x.square().sum(-1) for x in (x1, x2)]
        between = squares[0].unsqueeze(-1) + squares[1].unsqueeze(-2) - 2 * (x1 @ x2.transpose(-1, -2))
        return _root(between)
    return _norm(x1.unsqueeze(-2) - x2.unsqueeze(-3), float(p))


def pdist(x: torch.Tensor, p: float = 2.0) -> torch.Tensor:
    """As torch.pdist: the distances of all pairs of rows, [n (n - 1) / 2]."""
    pairs = [(first, second) for first in range(len(x)) for second in range(first + 1, len(x))]
    places = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)
    return _norm(x[places[:, 0]] - x[places[:, 1]], float(p))


def _norm(difference: torch.Tensor, p: float) -> torch.Tensor:
    if p == 2.0:
        return _root(difference.square().sum(-1))
    size = difference.abs()
    if p == 0.0:
        return (size != 0).to(size.dtype).sum(-1)
    if p == 1.0:
        return size.sum(-1)
    if p == float("inf"):
        return size.amax(-1)
    total = torch.where(
        size > 0, torch.where(size > 0, size, torch.ones_like(size)).pow(p), torch.zeros_like(size)
    ).sum(-1)
    return torch.where(
        total > 0, torch.where(total > 0, total, torch.ones_like(total)).pow(1 / p), torch.zeros_like(total)
    )


def _root(square: torch.Tensor) -> torch.Tensor:
    """The square root, 0 with no gradient where there is nothing to take one of."""
    some = square > 0
    return torch.where(some, torch.where(some, square, torch.ones_like(square)).sqrt(), torch.zeros_like(square))


def bilinear(
    x1: torch.Tensor, x2: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """As torch.nn.functional.bilinear: the products of the two inputs' elements, weighted."""
    pairs = (x1.unsqueeze(-1) * x2.unsqueeze(-2)).flatten(-2)
    return torch.nn.functional.linear(pairs, weight.flatten(1), bias)
