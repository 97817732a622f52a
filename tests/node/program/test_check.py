"""Every clause of validity, each broken by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orebit.errors import ProgramError
from orebit.numerics.types import DType
from orebit.program import expression as expressions
from orebit.program.builder import Builder
from orebit.program.check import Clause, check_descriptor, refuse_invalid, violations
from orebit.program.descriptor import Descriptor, Kind, Operand, Source
from orebit.program.expression import Expression, Instruction
from orebit.program.graph import Node, Program
from orebit.program.index_map import AxisMap, IndexMap, identity, select_axes
from orebit.program.opcodes import Op
from orebit.program.price import MOVE_LIMIT, justify_gas, partial_rounds, positions_per_move


def copy_of(dtype: DType = DType.F32, shape: tuple[int, ...] = (4,), fill: int = 0) -> Descriptor:
    operand = Operand(dtype, shape, identity(len(shape)), fill)
    return Descriptor(Kind.MAP, dtype, shape, (), (operand,), expressions.identity(dtype, len(shape)))


def dot_of(reduction: int = 3) -> Descriptor:
    a = Operand(DType.I16, (2, reduction), select_axes(3, [0, 2]))
    b = Operand(DType.I16, (4, reduction), select_axes(3, [1, 2]))
    return Descriptor(Kind.DOT, DType.I64, (2, 4), (reduction,), (a, b))


def scatter_of(kind: Kind = Kind.SCATTER_SUM) -> Descriptor:
    index = Operand(DType.I32, (5,), select_axes(2, [1]))
    source = Operand(DType.I64, (5,), select_axes(2, [1]))
    return Descriptor(kind, DType.I64, (3,), (5,), (index, source))


def with_operand(descriptor: Descriptor, position: int, **changes: object) -> Descriptor:
    operands = list(descriptor.operands)
    operands[position] = replace(operands[position], **changes)  # type: ignore[arg-type]  # changes name fields
    return replace(descriptor, operands=tuple(operands))


def far(offset: int = 0, coefficient: int = 1, divisor: int = 1) -> IndexMap:
    return IndexMap((AxisMap(offset, (coefficient,), divisor),))


LONG = Expression((DType.F32,), 1, tuple(Instruction(Op.FSQRT, (i,)) for i in range(300)))
WIDE = Expression((DType.I64,), 1, tuple(Instruction(Op.IMUL, (i, i)) for i in range(1500)))
FLOAT_INDEX = with_operand(scatter_of(), 0, dtype=DType.F32)
VALID = [copy_of(), dot_of(), scatter_of(), scatter_of(Kind.SCATTER_MAX), dot_of(1 << 20)]

BROKEN: list[tuple[Clause, int | None, Descriptor]] = [
    (Clause.RANK, None, copy_of(shape=(1,) * 9)),
    (Clause.RANK, 0, with_operand(copy_of(), 0, map=IndexMap(()))),
    (Clause.RANK, 0, with_operand(copy_of(), 0, map=IndexMap((AxisMap(0, (1, 0)),)))),
    (Clause.RANK, None, replace(scatter_of(), shape=())),
    (Clause.DIMENSION, None, copy_of(shape=(4, 0))),
    (Clause.DIMENSION, 0, with_operand(copy_of(), 0, shape=(0,))),
    (Clause.ELEMENTS, None, copy_of(shape=(1 << 21, 1 << 20))),
    (Clause.REDUCTION, None, replace(dot_of(), reduction=(1 << 21, 1 << 20))),
    (Clause.REDUCTION, None, replace(dot_of(), reduction=())),
    (Clause.REDUCTION, None, replace(copy_of(), reduction=(2,))),
    (Clause.DIVISOR, 0, with_operand(copy_of(), 0, map=far(divisor=0))),
    (Clause.AFFINE_BOUNDS, 0, with_operand(copy_of(), 0, map=far(offset=1 << 62))),
    (Clause.AFFINE_BOUNDS, 0, with_operand(copy_of(), 0, map=far(coefficient=-(1 << 61)))),
    (Clause.FILL, 0, copy_of(fill=0x7FC00001)),
    (Clause.FILL, 0, copy_of(fill=0xFFFFFFFF)),
    (Clause.FILL, 0, copy_of(DType.I8, fill=128)),
    (Clause.FILL, 0, copy_of(DType.U16, fill=-1)),
    (Clause.EXPRESSION, None, replace(copy_of(), expression=None)),
    (Clause.EXPRESSION, None, replace(dot_of(), expression=expressions.identity(DType.I16, 2))),
    (Clause.EXPRESSION, None, replace(copy_of(), expression=expressions.identity(DType.F32, 3))),
    (Clause.KIND_TYPES, None, replace(copy_of(), dtype=DType.I32)),
    (Clause.KIND_TYPES, None, replace(dot_of(), dtype=DType.I32)),
    (Clause.KIND_TYPES, 1, with_operand(dot_of(), 1, dtype=DType.F32)),
    (Clause.KIND_TYPES, 0, with_operand(scatter_of(), 0, dtype=DType.F32)),
    (Clause.KIND_TYPES, 0, with_operand(scatter_of(Kind.SCATTER_MAX), 0, dtype=DType.F32)),
    (Clause.KIND_TYPES, 0, with_operand(scatter_of(), 0, map=select_axes(2, [0]))),
    (Clause.KIND_TYPES, 1, with_operand(scatter_of(), 1, map=select_axes(2, [0]))),
    (Clause.ARITY, None, replace(dot_of(), operands=dot_of().operands[:1])),
    (Clause.PARAMETER_SIZE, None, Descriptor(Kind.INPUT, DType.F32, (257,), source=Source.PARAMETER)),
    (Clause.PRICE, None, replace(copy_of(), expression=LONG)),
    (Clause.PRICE, None, replace(copy_of(DType.I64), expression=replace(WIDE, instructions=WIDE.instructions[:800]))),
    (Clause.DESCRIPTOR_BYTES, None, replace(copy_of(DType.I64), expression=WIDE)),
    (Clause.GAME_LENGTH, None, dot_of(1 << 30)),
]


@pytest.mark.parametrize("descriptor", VALID, ids=lambda d: f"{d.kind.name}-{d.reduction}")
def test_valid_descriptors_break_nothing(descriptor: Descriptor) -> None:
    assert list(check_descriptor(descriptor)) == []


@pytest.mark.parametrize(("clause", "operand", "descriptor"), BROKEN, ids=lambda p: getattr(p, "name", None))
def test_each_clause_is_named_with_its_operand(clause: Clause, operand: int | None, descriptor: Descriptor) -> None:
    assert (clause, operand) in [(found, place) for found, place, _ in check_descriptor(descriptor)]


def small_program() -> Program:
    """Nodes: 0 state f32[4], 1 constant f32[2,2], 2 a copy, 3 the new state."""
    builder = Builder()
    old = builder.state(DType.F32, (4,))
    constant = builder.constant(DType.F32, (2, 2))
    copied = builder.identity(old)
    scope = expressions.ExpressionBuilder([DType.F32, DType.F32], 1)
    added = scope.finish(scope.operand(0) + scope.operand(1))
    return builder.finish([builder.map(added, [copied, constant.view(identity(1), (4,))], (4,))])


def with_node(program: Program, number: int, node: Node) -> Program:
    nodes = list(program.nodes)
    nodes[number] = node
    return replace(program, nodes=tuple(nodes))


def found(program: Program) -> list[tuple[Clause, int, int | None]]:
    return [(violation.clause, violation.node, violation.operand) for violation in violations(program)]


def test_graph_clauses() -> None:
    program = small_program()
    assert found(program) == []
    two, three = program.nodes[2:]
    assert (Clause.OPERAND_ORDER, 2, 0) in found(with_node(program, 2, Node(two.descriptor, (2,))))
    assert (Clause.OPERAND_ORDER, 2, 0) in found(with_node(program, 2, Node(two.descriptor, (-1,))))
    assert (Clause.ARITY, 3, None) in found(with_node(program, 3, Node(three.descriptor, (2,))))
    assert (Clause.INPUT_ORDER, 0, None) in found(with_node(program, 0, Node(1)))
    assert (Clause.INPUT_ORDER, 2, None) in found(with_node(program, 2, Node(0)))
    header = program.header
    assert (Clause.HEADER_COUNTS, -1, None) in found(replace(program, header=replace(header, new_state=2)))
    assert (Clause.HEADER_COUNTS, -1, None) in found(replace(program, header=replace(header, nodes=1)))
    without = replace(header, state=0, constants=2, new_state=0)
    assert (Clause.HEADER_COUNTS, -1, None) in found(replace(program, header=without))


def test_operand_types_and_sizes() -> None:
    program = small_program()
    first, *others = program.descriptors
    wrong_type = replace(program, descriptors=(replace(first, dtype=DType.I64), *others))
    assert (Clause.OPERAND_TYPE, 2, 0) in found(wrong_type)
    assert (Clause.NEW_STATE_TYPE, 3, None) in found(wrong_type)
    larger = replace(program, descriptors=(replace(first, shape=(5,)), *others))
    assert (Clause.OPERAND_SIZE, 2, 0) in found(larger)


def test_new_state_is_nobody_s_operand() -> None:
    builder = Builder()
    first, second = builder.state(DType.F32, (4,)), builder.state(DType.F32, (4,))
    program = builder.finish([second, first])
    assert found(program) == []
    last = program.nodes[3]
    assert (Clause.NEW_STATE_OPERAND, 3, 0) in found(with_node(program, 3, Node(last.descriptor, (2,))))
    with pytest.raises(ProgramError, match=r"node 3, operand 0 \(new_state_operand\)"):
        refuse_invalid(with_node(program, 3, Node(last.descriptor, (2,))))


def test_prices_grow_with_what_is_posted_and_computed() -> None:
    assert justify_gas(copy_of()) < justify_gas(
        replace(copy_of(), expression=replace(LONG, instructions=LONG.instructions[:9]))
    )
    assert justify_gas(copy_of()) < MOVE_LIMIT
    assert 1 <= positions_per_move(dot_of()) <= 2048 // 4
    assert [partial_rounds(dot_of(n)) for n in (3, 1000, 1 << 20, 1 << 30)] == [0, 1, 2, 3]
