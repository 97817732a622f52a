"""Whether the exponents that a quantise map reads are those of the groups that its elements are in.

Then its digits lie within the limit without a clamp, and only a group that is not finite gives other digits than
rounding does (docs/numerics.md). A program may declare any integers as exponents, so this is proven from descriptors.
"""

from __future__ import annotations

from collections.abc import Sequence

from orebit.executor.fused.contraction_macros import Quantise, exponent_of, is_magnitude
from orebit.executor.fused.contraction_reads import plan_read
from orebit.executor.views import row_major
from orebit.program.descriptor import Descriptor, Kind
from orebit.program.graph import Program

# Extent, stride over the tensor that is quantised, and stride over its groups' exponents.
_Line = tuple[int, int, int]


def own_exponents(program: Program, node: int, found: Quantise) -> bool:
    """Whether quantise map `node` reads, for each element, the exponent of a group that holds this element."""
    made, operands = program.descriptor(node), program.nodes[node].operands
    exponents, source = operands[found.exponent], operands[found.source]
    if exponent_of(program.descriptor(exponents)) != found.bits or not _in_place(program.descriptor(exponents)):
        return False
    (largest,) = program.nodes[exponents].operands
    if program.descriptor(largest).kind is not Kind.MAX or program.descriptor(exponents).operands[0].shape != (
        program.descriptor(largest).shape
    ):
        return False
    (magnitudes,) = program.nodes[largest].operands
    if not is_magnitude(program.descriptor(magnitudes)) or not _in_place(program.descriptor(magnitudes)):
        return False
    if program.nodes[magnitudes].operands != (source,):
        return False
    read = _groups_read(made, found)
    return read is not None and read == _groups_measured(program.descriptor(largest))


def _in_place(descriptor: Descriptor) -> bool:
    """Whether a map of one tensor computes element by element, in row-major order."""
    (operand,) = descriptor.operands
    read = plan_read(operand, descriptor.shape)
    if read is None or read.embedded or read.base or operand.size != descriptor.size:
        return False
    steps = row_major(descriptor.shape)
    return all(s == t for s, t, extent in zip(read.strides, steps, descriptor.shape, strict=True) if extent > 1)


def _groups_read(made: Descriptor, found: Quantise) -> list[_Line] | None:
    """Which exponent each element of the map's output reads."""
    read = plan_read(made.operands[found.exponent], made.shape)
    if read is None or read.embedded or read.base:
        return None
    return _lines(made.shape, row_major(made.shape), read.strides)


def _groups_measured(largest: Descriptor) -> list[_Line] | None:
    """Which result each element that a maximum reads is in; None unless it reads each element once."""
    (operand,) = largest.operands
    read = plan_read(operand, largest.space)
    if read is None or read.embedded or read.base:
        return None
    groups = [*row_major(largest.shape), *(0 for _ in largest.reduction)]
    return _lines(largest.space, read.strides, groups)


def _lines(extents: Sequence[int], strides: Sequence[int], groups: Sequence[int]) -> list[_Line] | None:
    """The fewest axes that walk the whole tensor in order; None where they do not walk each element once."""
    lines: list[_Line] = []
    for extent, stride, group in sorted(zip(extents, strides, groups, strict=True), key=lambda line: -line[1]):
        if extent == 1:
            continue
        if lines and (lines[-1][1], lines[-1][2]) == (stride * extent, group * extent):
            lines[-1] = lines[-1][0] * extent, stride, group
        elif lines and lines[-1][1] != stride * extent:
            return None
        else:
            lines.append((extent, stride, group))
    return lines if not lines or lines[-1][1] == 1 else None
