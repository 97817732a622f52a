"""One rank's part of a node: the same descriptor over a part of one axis of its iteration space.

A part of an output axis gives that part of the output. A part of a reduction axis gives a partial result, which the
other ranks' complete: integer sums modulo 2^64 and maxima have no order, so the bits are those of the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from orebit.executor.ranks.cuts import Cuts
from orebit.program.descriptor import Descriptor, Kind, Operand
from orebit.program.expression import Expression, Instruction
from orebit.program.index_map import AxisMap, IndexMap
from orebit.program.opcodes import Op


def can_cut(descriptor: Descriptor, axis: int, cuts: Cuts) -> bool:
    """Whether a node can be computed in parts along an axis of its iteration space."""
    if descriptor.kind.scatters and axis == 0:
        return False  # an index is compared with the coordinate on this axis
    return cuts.fits(descriptor.space[axis])


def own_axis(descriptor: Descriptor, position: int, period: int, axis: int, cuts: Cuts) -> int | None:
    """The axis of an operand's view along which it is cut, if a part of the node along `axis` reads nothing of the
    operand but the same rank's part; else None.

    That is so where the view's axis is read at `(c * i + rest) / divisor`, 0 <= rest < c, from end to end.
    """
    operand = descriptor.operands[position]
    cut = cuts.axis(operand.shape, period)
    if cut is None:
        return None
    place = cut - (len(operand.shape) - len(operand.map.axes))
    if place < 0:
        return None  # a gather's index finds it
    read = operand.map.axes[place]
    step = read.coefficients[axis]
    if step <= 0 or operand.shape[cut] * read.divisor != step * descriptor.space[axis]:
        return None
    others = [0 if k == axis else coefficient for k, coefficient in enumerate(read.coefficients)]
    low, high = AxisMap(read.offset, tuple(others)).bounds(descriptor.space)
    return cut if 0 <= low and high < step else None


def localise(descriptor: Descriptor, axis: int, own: Sequence[int | None], cuts: Cuts, rank: int) -> Descriptor:
    """A rank's part of a node along an axis of its iteration space.

    Args:
        own: for each operand the axis along which it is cut, as `own_axis` says; None: the whole of it is at hand.
    """
    low, high = cuts.bounds(descriptor.space[axis], rank)
    space = [high - low if k == axis else extent for k, extent in enumerate(descriptor.space)]
    rank_of_output = len(descriptor.shape)
    expression = descriptor.expression
    return replace(
        descriptor,
        shape=tuple(space[:rank_of_output]),
        reduction=tuple(space[rank_of_output:]),
        operands=tuple(
            _operand(operand, axis, low, cut, cuts, rank) for operand, cut in zip(descriptor.operands, own, strict=True)
        ),
        expression=None if expression is None else _expression(expression, descriptor.shape, axis, low),
    )


def _operand(operand: Operand, axis: int, low: int, cut: int | None, cuts: Cuts, rank: int) -> Operand:
    """Read from `low` on; along its own cut axis, that is from its part's beginning on."""
    before = len(operand.shape) - len(operand.map.axes)
    axes = [
        read
        if before + place == cut
        else AxisMap(read.offset + read.coefficients[axis] * low, read.coefficients, read.divisor)
        for place, read in enumerate(operand.map.axes)
    ]
    return replace(operand, shape=cuts.local(operand.shape, cut, rank), map=IndexMap(tuple(axes)))


def _expression(expression: Expression, shape: Sequence[int], axis: int, low: int) -> Expression:
    """With the output's own index as it is in the whole output: random numbers depend on it."""
    if not any(instruction.op in (Op.INDEX, Op.FLAT) for instruction in expression.instructions):
        return expression
    base = len(expression.operands)
    values, made = list(range(base)), list[Instruction]()

    def emit(op: Op, args: Sequence[int] = (), immediate: int = 0) -> int:
        made.append(Instruction(op, tuple(args), immediate))
        return base + len(made) - 1

    def plus(value: int, constant: int) -> int:
        return emit(Op.IADD, (value, emit(Op.CONST_I64, (), constant))) if constant else value

    def flat() -> int:
        start = low * prod(shape[axis + 1 :])
        if prod(shape[:axis]) == 1:
            return plus(emit(Op.FLAT), start)
        total = plus(emit(Op.INDEX, (), len(shape) - 1), start)
        for k in range(len(shape) - 1):
            step = emit(Op.CONST_I64, (), prod(shape[k + 1 :]))
            total = emit(Op.IADD, (total, emit(Op.IMUL, (emit(Op.INDEX, (), k), step))))
        return total

    for instruction in expression.instructions:
        if instruction.op is Op.FLAT:
            values.append(flat())
        elif instruction.op is Op.INDEX:
            shifted = low if instruction.immediate == axis else 0
            values.append(plus(emit(Op.INDEX, (), instruction.immediate), shifted))
        else:
            args = [values[arg] for arg in instruction.args]
            values.append(emit(instruction.op, args, instruction.immediate))
    return Expression(expression.operands, expression.rank, tuple(made))


def is_partial(descriptor: Descriptor, axis: int | None) -> bool:
    """Whether a part along this axis of the space is a partial result."""
    return axis is not None and axis >= len(descriptor.shape)


def adds(kind: Kind) -> bool:
    """Whether partial results of this kind are added up; those of other kinds are compared."""
    return kind in (Kind.DOT, Kind.SUM, Kind.SCATTER_SUM)
