"""Lowering: aten operations to the eight kinds of node, one small function each."""

from __future__ import annotations

from orebit.program.lowering import (
    activations,
    arithmetic,
    construction,
    convolution,
    elementary,
    elementwise,
    embedding_bags,
    gathering,
    losses,
    matrix,
    moving,
    normalisation,
    ordering,
    padding,
    pooling,
    pooling_average,
    randomness,
    reductions,
    resampling,
    scans,
    scattering,
    statistics,
    views,
)
from orebit.program.lowering.context import DEFAULT_BITS, Lowering
from orebit.program.lowering.graph import lower_graph
from orebit.program.lowering.registry import LOWERINGS, lowers, supported
from orebit.program.lowering.tensor import Tensor

__all__ = [
    "DEFAULT_BITS",
    "LOWERINGS",
    "Lowering",
    "Tensor",
    "activations",
    "arithmetic",
    "construction",
    "convolution",
    "elementary",
    "elementwise",
    "embedding_bags",
    "gathering",
    "losses",
    "lower_graph",
    "lowers",
    "matrix",
    "moving",
    "normalisation",
    "ordering",
    "padding",
    "pooling",
    "pooling_average",
    "randomness",
    "reductions",
    "resampling",
    "scans",
    "scattering",
    "statistics",
    "supported",
    "views",
]
