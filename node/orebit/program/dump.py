"""A program as people read it: one line a node, expressions in one instruction a line below."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orebit.program.descriptor import Descriptor, Kind, Operand, Source
from orebit.program.expression import Expression
from orebit.program.graph import Program
from orebit.program.index_map import AxisMap
from orebit.program.opcodes import Op


def dump(program: Program, names: dict[Source, Sequence[str]] | None = None) -> str:
    """All nodes, in order. `names` are those of `Builder.names`, which the program itself does not hold."""
    return "\n".join(_lines(program, names or {}))


def _lines(program: Program, names: dict[Source, Sequence[str]]) -> Iterator[str]:
    yield f"program {program.root.hex()}"
    for number, node in enumerate(program.nodes):
        descriptor = program.descriptors[node.descriptor]
        head = f"%{number} = {descriptor.dtype.label}{list(descriptor.shape)} {descriptor.kind.name.lower()}"
        if descriptor.kind is Kind.INPUT:
            given = names.get(descriptor.source, ())
            name = given[descriptor.index] if descriptor.index < len(given) else str(descriptor.index)
            yield f"{head} {descriptor.source.name.lower()} {name}"
            continue
        over = f" over {list(descriptor.reduction)}" if descriptor.reduction else ""
        mark = "  -> new state" if number in program.new_state else ""
        yield f"{head}{over}{mark}"
        for producer, operand in zip(node.operands, descriptor.operands, strict=True):
            yield f"    reads %{producer}{_view(operand)}"
        yield from _expression(descriptor)


def _view(operand: Operand) -> str:
    axes = ", ".join(_axis(axis) for axis in operand.map.axes)
    fill = f", fill {operand.fill:#x}" if operand.fill else ""
    return f" as {operand.dtype.label}{list(operand.shape)} at [{axes}]{fill}"


def _axis(axis: AxisMap) -> str:
    terms = [str(axis.offset)] if axis.offset else []
    terms += [f"{'' if c == 1 else f'{c}*'}i{k}" for k, c in enumerate(axis.coefficients) if c]
    total = " + ".join(terms) or "0"
    return total if axis.divisor == 1 else f"({total}) / {axis.divisor}"


def _expression(descriptor: Descriptor) -> Iterator[str]:
    expression = descriptor.expression
    if expression is None:
        return
    base = len(expression.operands)
    for position, instruction in enumerate(expression.instructions):
        number = base + position
        args = " ".join(f"v{arg}" for arg in instruction.args)
        yield f"    v{number} = {instruction.op.name.lower()} {args or _immediate(expression, position)}".rstrip()


def _immediate(expression: Expression, position: int) -> str:
    instruction = expression.instructions[position]
    if instruction.op is Op.CONST_F32:
        return f"{instruction.immediate:#010x}"
    if instruction.op is Op.FLAT:
        return ""
    return str(instruction.immediate)
