"""What work and exchanges cost, roughly, in nanoseconds. Bits never depend on it."""

from __future__ import annotations

from math import prod

from orebit.program.descriptor import Descriptor, Kind

# A product's position, a map's element and each of its instructions, any other position; a byte exchanged; an exchange.
PRODUCT = 0.05
ELEMENT = 0.25
INSTRUCTION = 0.05
POSITION = 0.25
BYTE = 0.7
EXCHANGE = 200_000.0


def work(descriptor: Descriptor) -> float:
    """Nanoseconds that a node takes, about."""
    positions = prod(descriptor.space)
    match descriptor.kind:
        case Kind.INPUT:
            return 0.0
        case Kind.DOT:
            return positions * PRODUCT
        case Kind.MAP:
            assert descriptor.expression is not None
            return positions * (ELEMENT + INSTRUCTION * len(descriptor.expression.instructions))
        case Kind.SCATTER_SUM | Kind.SCATTER_MAX:
            return (positions // descriptor.shape[0] + prod(descriptor.shape)) * POSITION
        case _:
            return positions * POSITION


def output_bytes(descriptor: Descriptor) -> int:
    return descriptor.dtype.size * prod(descriptor.shape)
