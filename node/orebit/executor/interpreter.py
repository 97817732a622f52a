"""One element at a time, by the scalar oracle: what an executor is compared with, and what a court computes.

Tensors are flat row-major lists of ints: an f32 is its bits, an integer itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from math import prod

from orebit.numerics import scalar
from orebit.numerics.types import DType
from orebit.program.descriptor import Descriptor, Kind, Operand, Source
from orebit.program.expression import Expression
from orebit.program.graph import Program
from orebit.program.opcodes import Op

Tensor = Sequence[int]

SCALAR: dict[Op, Callable[..., int]] = {
    Op.FADD: scalar.f32_add,
    Op.FSUB: scalar.f32_sub,
    Op.FMUL: scalar.f32_mul,
    Op.FDIV: scalar.f32_div,
    Op.FSQRT: scalar.f32_sqrt,
    Op.FNEG: scalar.f32_neg,
    Op.FABS: scalar.f32_abs,
    Op.FMIN: scalar.f32_min,
    Op.FMAX: scalar.f32_max,
    Op.FLT: scalar.f32_lt,
    Op.FLE: scalar.f32_le,
    Op.FEQ: scalar.f32_eq,
    Op.FROUND: scalar.f32_round,
    Op.F_TO_I: scalar.f32_to_i64,
    Op.I_TO_F: scalar.i64_to_f32,
    Op.F_BITS: scalar.f32_to_bits,
    Op.BITS_F: scalar.bits_to_f32,
    Op.IADD: scalar.i64_add,
    Op.ISUB: scalar.i64_sub,
    Op.IMUL: scalar.i64_mul,
    Op.INEG: scalar.i64_neg,
    Op.IABS: scalar.i64_abs,
    Op.IAND: scalar.i64_and,
    Op.IOR: scalar.i64_or,
    Op.IXOR: scalar.i64_xor,
    Op.ISHL: scalar.i64_shl,
    Op.ISHR: scalar.i64_shr,
    Op.ISAR: scalar.i64_sar,
    Op.ROTL32: scalar.i64_rotl32,
    Op.ILT: scalar.i64_lt,
    Op.ILE: scalar.i64_le,
    Op.IEQ: scalar.i64_eq,
    Op.IMIN: scalar.i64_min,
    Op.IMAX: scalar.i64_max,
    Op.IDIV: scalar.i64_div,
    Op.IREM: scalar.i64_rem,
}


def evaluate_expression(expression: Expression, loads: Sequence[int], point: Sequence[int], flat: int) -> int:
    """The expression's result for one output element, given its operands' elements."""
    values = list(loads)
    for instruction in expression.instructions:
        args = [values[arg] for arg in instruction.args]
        match instruction.op:
            case Op.CONST_F32 | Op.CONST_I64:
                values.append(instruction.immediate)
            case Op.INDEX:
                values.append(point[instruction.immediate])
            case Op.FLAT:
                values.append(flat)
            case Op.SELECT:
                values.append(args[1] if args[0] else args[2])
            case op:
                values.append(SCALAR[op](*args))
    return values[-1]


def _flat(coordinates: Sequence[int], shape: Sequence[int]) -> int:
    position = 0
    for coordinate, extent in zip(coordinates, shape, strict=True):
        position = position * extent + coordinate
    return position


def read(operand: Operand, tensor: Tensor, point: Sequence[int]) -> int:
    """What `operand` reads at a point of the iteration space: an element, canonical, or the fill."""
    coordinates = operand.map.locate(point, operand.shape)
    if coordinates is None:
        return operand.fill
    return _load(operand, tensor[_flat(coordinates, operand.shape)])


def _load(operand: Operand, element: int) -> int:
    return scalar.canonical(element) if operand.dtype.is_float else element


def _read_gathered(operand: Operand, tensor: Tensor, row: int, point: Sequence[int]) -> int:
    rest = operand.map.locate(point, operand.shape[1:])
    if rest is None or not 0 <= row < operand.shape[0]:
        return operand.fill
    return _load(operand, tensor[_flat((row, *rest), operand.shape)])


def _greatest(dtype: DType, x: int, y: int) -> int:
    return scalar.f32_max(x, y) if dtype.is_float else max(x, y)


def evaluate_element(descriptor: Descriptor, tensors: Sequence[Tensor], point: Sequence[int]) -> int:
    """One element, at output coordinates `point`, of a node that is not an input."""
    match descriptor.kind:
        case Kind.MAP:
            return _map_element(descriptor, tensors, point)
        case Kind.GATHER:
            index, source = descriptor.operands
            return _read_gathered(source, tensors[1], read(index, tensors[0], point), point)
        case Kind.MAX | Kind.SCATTER_MAX:
            return _max_element(descriptor, tensors, point)
        case _:
            return scalar.to_i64(sum(_terms(descriptor, tensors, point)))


def _map_element(descriptor: Descriptor, tensors: Sequence[Tensor], point: Sequence[int]) -> int:
    assert descriptor.expression is not None
    loads = [read(operand, tensor, point) for operand, tensor in zip(descriptor.operands, tensors, strict=True)]
    value = evaluate_expression(descriptor.expression, loads, point, _flat(point, descriptor.shape))
    return value if descriptor.dtype.is_float else descriptor.dtype.wrap(value)


def _terms(descriptor: Descriptor, tensors: Sequence[Tensor], point: Sequence[int]) -> Iterator[int]:
    """The integers that a dot, sum or scatter_sum adds up."""
    for reduced in product(*map(range, descriptor.reduction)):
        at = (*point, *reduced)
        reads = [read(operand, tensor, at) for operand, tensor in zip(descriptor.operands, tensors, strict=True)]
        if descriptor.kind is Kind.SCATTER_SUM:
            if reads[0] == point[0]:
                yield reads[1]
        else:
            yield prod(reads)


def _max_element(descriptor: Descriptor, tensors: Sequence[Tensor], point: Sequence[int]) -> int:
    source = descriptor.operands[-1]
    best: int | None = source.fill if descriptor.kind is Kind.SCATTER_MAX else None
    for reduced in product(*map(range, descriptor.reduction)):
        at = (*point, *reduced)
        if descriptor.kind is Kind.SCATTER_MAX and read(descriptor.operands[0], tensors[0], at) != point[0]:
            continue
        value = read(source, tensors[-1], at)
        best = value if best is None else _greatest(descriptor.dtype, best, value)
    assert best is not None
    return best


def evaluate_node(descriptor: Descriptor, tensors: Sequence[Tensor]) -> list[int]:
    """A node's whole output, row-major."""
    return [evaluate_element(descriptor, tensors, point) for point in product(*map(range, descriptor.shape))]


def step(
    program: Program, state: Sequence[Tensor], constants: Sequence[Tensor], parameters: Sequence[Tensor]
) -> list[list[int]]:
    """One step of a program: every node's output, inputs included, in node order."""
    outputs: list[list[int]] = []
    given = {Source.STATE: state, Source.CONSTANT: constants, Source.PARAMETER: parameters}
    for node in program.nodes:
        descriptor = program.descriptors[node.descriptor]
        if descriptor.kind is Kind.INPUT:
            outputs.append(list(given[descriptor.source][descriptor.index]))
        else:
            outputs.append(evaluate_node(descriptor, [outputs[operand] for operand in node.operands]))
    return outputs
