"""Recognises the elementwise halves of exact contractions by their whole expressions (docs/numerics.md).

A descriptor is a macro only if its instructions are exactly those that `orebit.numerics.functions_quantised` makes for
some number of bits and some order of the operands. What a program calls a node, or for what it uses it, counts nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import permutations
from typing import TypeVar

from orebit.numerics import functions_quantised as quantised
from orebit.numerics.types import DType
from orebit.program.descriptor import Descriptor, Kind
from orebit.program.expression import ExpressionBuilder, Instruction, Scalar

BITS = range(4, 23)
# Descriptors whose answers are remembered: those of a few programs.
MOST = 1 << 14

Instructions = tuple[Instruction, ...]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Quantise:
    """`clamp(round(x * 2^(bits-1-e)))`, 0 where e = 129; the numbers are the operands' positions."""

    bits: int
    source: int
    exponent: int

    @property
    def limit(self) -> int:
        """The greatest magnitude of a result."""
        return (1 << (self.bits - 1)) - 1


@dataclass(frozen=True, slots=True)
class Rescale:
    """`f32(total) * 2^(ea + eb - 2 (bits - 1))`, NaN where an exponent is 129; operand positions."""

    bits: int
    total: int
    exponents: tuple[int, int]


@lru_cache(MOST)
def quantise_of(descriptor: Descriptor) -> Quantise | None:
    """What a quantise map is; None for anything else, or where a result would wrap in the map's own type."""
    found = _look_up(descriptor, _quantisers())
    if found is None or descriptor.dtype.is_float or not found.limit <= descriptor.dtype.range[1]:
        return None
    return found if descriptor.dtype.is_signed and _narrow(descriptor, (found.exponent,)) else None


@lru_cache(MOST)
def rescale_of(descriptor: Descriptor) -> Rescale | None:
    """What a rescale map of an i64 total and two i16 exponents is; None for anything else."""
    found = _look_up(descriptor, _rescalers())
    if found is None or descriptor.operands[found.total].dtype is not DType.I64:
        return None
    return found if _narrow(descriptor, found.exponents) else None


@lru_cache(MOST)
def exponent_of(descriptor: Descriptor) -> int | None:
    """The bits of a map from a group's greatest magnitude to its exponent; None for anything else."""
    return _look_up(descriptor, _exponents())


@lru_cache(MOST)
def is_magnitude(descriptor: Descriptor) -> bool:
    """Whether this map takes the bits of |x| of an f32, held in a type that cannot wrap."""
    fits = descriptor.dtype in (DType.I32, DType.I64)
    return fits and _look_up(descriptor, _magnitudes()) is not None


def _narrow(descriptor: Descriptor, exponents: Sequence[int]) -> bool:
    # Sums of i16 exponents cannot leave 32 bits, in which kernels compute them.
    return all(descriptor.operands[position].dtype is DType.I16 for position in exponents)


def _look_up(descriptor: Descriptor, table: dict[tuple[tuple[DType, ...], Instructions], T]) -> T | None:
    expression = descriptor.expression
    if descriptor.kind is not Kind.MAP or expression is None:
        return None
    scalars = tuple(dtype.scalar for dtype in expression.operands)
    return table.get((scalars, expression.instructions))


def _instructions(
    types: Sequence[DType], order: Sequence[int], function: Callable[..., Scalar]
) -> tuple[tuple[DType, ...], Instructions]:
    """The key of `function` over arguments of `types`, argument k being operand `order[k]`."""
    placed = [types[list(order).index(position)] for position in range(len(types))]
    scope = ExpressionBuilder(placed)
    result = function(*(scope.operand(position) for position in order))
    return tuple(placed), scope.finish(result).instructions


@cache
def _quantisers() -> dict[tuple[tuple[DType, ...], Instructions], Quantise]:
    types = (DType.F32, DType.I64)
    return {
        _instructions(types, order, lambda x, e, bits=bits: quantised.quantise(x, e, bits)): Quantise(bits, *order)
        for bits in BITS
        for order in permutations(range(2))
    }


@cache
def _rescalers() -> dict[tuple[tuple[DType, ...], Instructions], Rescale]:
    types = (DType.I64, DType.I64, DType.I64)
    table = {}
    for bits in BITS:
        for order in permutations(range(3)):
            key = _instructions(types, order, lambda s, a, b, bits=bits: quantised.rescale(s, a, b, bits))
            table[key] = Rescale(bits, order[0], (order[1], order[2]))
    return table


@cache
def _exponents() -> dict[tuple[tuple[DType, ...], Instructions], int]:
    return {_instructions((DType.I64,), (0,), lambda m, bits=bits: quantised.exponent(m, bits)): bits for bits in BITS}


@cache
def _magnitudes() -> dict[tuple[tuple[DType, ...], Instructions], bool]:
    return {_instructions((DType.F32,), (0,), quantised.magnitude): True}
