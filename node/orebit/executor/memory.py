"""How much memory one step takes at most in the reference executor, before any of it is allocated."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from math import prod

from orebit.executor import views
from orebit.executor.elementwise import CHUNK
from orebit.executor.storage import held_type
from orebit.numerics.types import DType
from orebit.program.descriptor import Descriptor, Kind, Operand, Source
from orebit.program.graph import Program
from orebit.program.opcodes import Op

_POSITION_BYTES = 32
_WIDE = 8


def physical_memory() -> int:
    """Bytes of memory that this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def tensor_bytes(dtype: DType, shape: Sequence[int]) -> int:
    """Bytes of a tensor as the executor holds it."""
    return held_type(dtype).itemsize * prod(shape)


def peak_bytes(program: Program) -> int:
    """An upper bound of what a program holds at once: state, live outputs, what is kept from step to step, and one
    kernel's working memory.

    What depends on constants and parameters only is made first, and kept where a step needs it. Constants are not
    counted: they may be maps of files larger than memory.
    """
    fixed = independent_of_state(program)
    kept = needed_by_steps(program, fixed)
    working = [working_bytes(descriptor) for descriptor in program.descriptors]
    resident = sum(kept_bytes(descriptor) for descriptor in program.descriptors)
    before, resident = _walk(program, [n for n in program.operations if fixed[n]], resident, kept, working)
    resident += sum(_output_bytes(program, number) for number in program.inputs(Source.STATE))
    during, _ = _walk(program, [n for n in program.operations if not fixed[n]], resident, kept, working)
    return max(before, during)


def outputs_bytes(program: Program) -> int:
    """Bytes of every node's output at once, each held and as it is returned, with one kernel's working memory."""
    working = max((working_bytes(descriptor) for descriptor in program.descriptors), default=0)
    return 2 * sum(_output_bytes(program, number) for number in program.operations) + working


def _walk(
    program: Program, numbers: Sequence[int], resident: int, kept: set[int], working: Sequence[int]
) -> tuple[int, int]:
    """The most that is held while these nodes run one after the other, and what is held in the end."""
    freed_after = last_reads(program, numbers, kept)
    live = peak = resident
    for number in numbers:
        live += _output_bytes(program, number)
        peak = max(peak, live + working[program.nodes[number].descriptor])
        live -= sum(_output_bytes(program, dead) for dead in freed_after.get(number, ()))
    return peak, live


def _output_bytes(program: Program, number: int) -> int:
    descriptor = program.descriptor(number)
    return tensor_bytes(descriptor.dtype, descriptor.shape)


def independent_of_state(program: Program) -> list[bool]:
    """Of every node, whether constants and parameters alone determine it."""
    fixed: list[bool] = []
    for node in program.nodes:
        descriptor = program.descriptors[node.descriptor]
        if descriptor.kind is Kind.INPUT:
            fixed.append(descriptor.source is not Source.STATE)
        else:
            fixed.append(all(fixed[operand] for operand in node.operands))
    return fixed


def needed_by_steps(program: Program, fixed: Sequence[bool]) -> set[int]:
    """The fixed nodes that a step reads or returns."""
    read = {operand for number in program.operations if not fixed[number] for operand in program.nodes[number].operands}
    return {number for number in read | set(program.new_state) if fixed[number]}


def ancestors(program: Program, numbers: Iterable[int]) -> list[bool]:
    """Of every node, whether it is one of these or read on the way to one."""
    needed = [False] * len(program.nodes)
    for number in numbers:
        needed[number] = True
    for number in range(len(program.nodes) - 1, -1, -1):
        if needed[number]:
            for operand in program.nodes[number].operands:
                needed[operand] = True
    return needed


def last_reads(program: Program, numbers: Sequence[int], kept: set[int]) -> dict[int, list[int]]:
    """By node, the outputs made among `numbers` that nobody reads after it, but for those that are kept."""
    made, last = set(numbers), {}
    for number in numbers:
        for operand in program.nodes[number].operands:
            last[operand] = number
    freed: dict[int, list[int]] = {}
    for operand, reader in last.items():
        if operand in made and operand not in kept:
            freed.setdefault(reader, []).append(operand)
    return freed


def kept_bytes(descriptor: Descriptor) -> int:
    """What a node's kernel keeps from step to step, at most: positions of its views, and indices along its axes."""
    if descriptor.kind is Kind.INPUT:
        return 0
    positions = sum(views.kept_bytes(operand, descriptor.space) for operand in descriptor.operands)
    expression = descriptor.expression
    indexed = expression is not None and any(i.op in (Op.INDEX, Op.FLAT) for i in expression.instructions)
    return positions + indexed * sum(descriptor.shape) * _WIDE


def working_bytes(descriptor: Descriptor) -> int:
    """An upper bound of a kernel's temporary memory, beyond its operands and its output."""
    if descriptor.kind is Kind.INPUT:
        return 0
    read = sum(_view_bytes(operand, descriptor.space) for operand in descriptor.operands)
    return read + sum(_kernel_parts(descriptor))


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
