"""How much memory one step takes at most in the reference executor, before any of it is allocated."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from math import prod

from orebit.executor.elementwise import CHUNK
from orebit.executor.storage import held_type
from orebit.numerics.types import DType
from orebit.program.descriptor import Descriptor, Kind, Operand, Source
from orebit.program.graph import Program

_POSITION_BYTES = 32
_WIDE = 8


def physical_memory() -> int:
    """Bytes of memory that this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def tensor_bytes(dtype: DType, shape: Sequence[int]) -> int:
    """Bytes of a tensor as the executor holds it."""
    return held_type(dtype).itemsize * prod(shape)


def peak_bytes(program: Program) -> int:
    """An upper bound of what a step holds at once: state, live outputs, and one kernel's working memory.

    Constants are not counted: they may be maps of files larger than memory.
    """
    last = _last_use(program)
    live = peak = 0
    for number, node in enumerate(program.nodes):
        descriptor = program.descriptors[node.descriptor]
        if descriptor.kind is not Kind.INPUT or descriptor.source is Source.STATE:
            live += tensor_bytes(descriptor.dtype, descriptor.shape)
        peak = max(peak, live + working_bytes(descriptor))
        for operand in set(node.operands):
            made = program.descriptor(operand)
            if last[operand] == number and made.kind is not Kind.INPUT:
                live -= tensor_bytes(made.dtype, made.shape)
    return peak


def _last_use(program: Program) -> list[int]:
    last = list(range(len(program.nodes)))
    for number, node in enumerate(program.nodes):
        for operand in node.operands:
            last[operand] = number
    return last


def working_bytes(descriptor: Descriptor) -> int:
    """An upper bound of a kernel's temporary memory, beyond its operands and its output."""
    if descriptor.kind is Kind.INPUT:
        return 0
    views = sum(_view_bytes(operand, descriptor.space) for operand in descriptor.operands)
    return views + sum(_kernel_parts(descriptor))


def _extents(operand: Operand, space: Sequence[int]) -> list[int]:
    """Extents of what a view's reader returns: 1 where the map does not depend on an axis."""
    axes = operand.map.axes
    return [extent if any(axis.coefficients[k] for axis in axes) else 1 for k, extent in enumerate(space)]


def _view_bytes(operand: Operand, space: Sequence[int]) -> int:
    read = prod(_extents(operand, space))
    if operand.map.axes and len(operand.map.axes) == len(operand.shape) and operand.map.in_range(space, operand.shape):
        return read * operand.dtype.size  # a flip copies; strides do not
    return read * (_POSITION_BYTES + operand.dtype.size) + operand.size * operand.dtype.size


def _kernel_parts(descriptor: Descriptor) -> Iterator[int]:
    size, reduction, rank = descriptor.size, prod(descriptor.reduction), len(descriptor.shape)
    if descriptor.kind is Kind.MAP:
        assert descriptor.expression is not None
        first = next((extent for extent in descriptor.shape if extent > 1), 1)
        at_once = size if size <= CHUNK else max(CHUNK, size // first)
        yield min(len(descriptor.expression.types), 64) * _WIDE * at_once + sum(descriptor.shape) * _WIDE
    elif descriptor.kind is Kind.DOT:
        for operand in descriptor.operands:
            yield 2 * _WIDE * prod(_extents(operand, descriptor.space)[:rank]) * reduction
        yield 2 * _WIDE * size
    elif descriptor.kind.scatters:
        yield 3 * _WIDE * prod(descriptor.shape[1:]) * reduction + 2 * _WIDE * (size + prod(descriptor.shape[1:]))
    elif descriptor.kind is Kind.GATHER:
        yield _POSITION_BYTES * size
    else:
        yield 2 * _WIDE * prod(_extents(descriptor.operands[0], descriptor.space)) + 2 * _WIDE * size
