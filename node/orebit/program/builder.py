"""Builds programs: typed handles, common subexpressions made once, dead nodes dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from orebit.errors import ProgramError
from orebit.numerics.types import DType
from orebit.program import expression as expressions
from orebit.program import index_map as maps
from orebit.program.check import refuse_invalid, refuse_invalid_descriptor
from orebit.program.descriptor import Descriptor, Kind, Operand, Source
from orebit.program.expression import Expression, f32_bits
from orebit.program.graph import Header, Node, Program
from orebit.program.index_map import IndexMap


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """A node's output under construction. `number` is the builder's own, not the program's."""

    number: int
    dtype: DType
    shape: tuple[int, ...]

    def view(self, index_map: IndexMap, shape: Sequence[int] | None = None, fill: int | float = 0) -> View:
        """This value, reshaped to `shape` if given, read through `index_map`; out of range reads `fill` (a number)."""
        return View(self, tuple(self.shape if shape is None else shape), index_map, fill)


@dataclass(frozen=True, slots=True)
class View:
    """An operand: a value, the shape it is taken as, its index map and its fill (a number of the value's type)."""

    value: Value
    shape: tuple[int, ...]
    map: IndexMap
    fill: int | float = 0

    def operand(self) -> Operand:
        fill = f32_bits(float(self.fill)) if self.value.dtype.is_float else int(self.fill)
        return Operand(self.value.dtype, self.shape, self.map, fill)


class Builder:
    """Collects a step's nodes. Inputs may be declared at any time; `finish` puts them first.

    Every method that adds a node returns its Value, the same one for the same descriptor and operands, and raises
    ProgramError naming the clause when the node would not be valid. Bare Values as operands of `map` broadcast to the
    output by numpy's rule; elsewhere they are read axis by axis.
    """

    def __init__(self) -> None:
        self._nodes: list[tuple[Descriptor, tuple[int, ...]]] = []
        self._values: list[Value] = []
        self._known: dict[tuple[Descriptor, tuple[int, ...]], Value] = {}
        self._descriptors: dict[Descriptor, Descriptor] = {}
        self._inputs: dict[Source, list[Value]] = {source: [] for source in Source}
        self.names: dict[Source, list[str]] = {source: [] for source in Source}

    def state(self, dtype: DType, shape: Sequence[int], name: str = "") -> Value:
        """Declares the next state tensor; `finish` wants its successor at the same position."""
        return self._input(Source.STATE, dtype, shape, name)

    def constant(self, dtype: DType, shape: Sequence[int], name: str = "") -> Value:
        """Declares the next constant tensor."""
        return self._input(Source.CONSTANT, dtype, shape, name)

    def parameter(self, dtype: DType, shape: Sequence[int], name: str = "") -> Value:
        """Declares the next parameter: a constant of at most 1,024 bytes, carried in the plan."""
        return self._input(Source.PARAMETER, dtype, shape, name)

    def _input(self, source: Source, dtype: DType, shape: Sequence[int], name: str) -> Value:
        index = len(self._inputs[source])
        value = self._add(Descriptor(Kind.INPUT, dtype, tuple(shape), source=source, index=index), ())
        self._inputs[source].append(value)
        self.names[source].append(name or f"{source.name.lower()}.{index}")
        return value

    def map(
        self,
        expression: Expression,
        operands: Sequence[Value | View],
        shape: Sequence[int] | None = None,
        dtype: DType | None = None,
    ) -> Value:
        """One expression an element. `shape` defaults to the first operand's broadcast with the others (bare Values
        only), `dtype` to the expression's result."""
        if shape is None:
            shape = _broadcast_shape(operands)
        views = [_broadcast(operand, shape) for operand in operands]
        dtype = expression.result if dtype is None else dtype
        return self._node(Kind.MAP, dtype, shape, (), views, expression)

    def dot(self, a: Value | View, b: Value | View, shape: Sequence[int], reduction: Sequence[int]) -> Value:
        """Exact integer dot modulo 2^64 over the reduction axes; i64."""
        return self._node(Kind.DOT, DType.I64, shape, reduction, [a, b])

    def sum(self, source: Value | View, shape: Sequence[int], reduction: Sequence[int]) -> Value:
        """Exact integer sum modulo 2^64; i64."""
        return self._node(Kind.SUM, DType.I64, shape, reduction, [source])

    def max(self, source: Value | View, shape: Sequence[int], reduction: Sequence[int]) -> Value:
        """Maximum over the reduction axes, fills included; the source's type."""
        return self._node(Kind.MAX, _dtype(source), shape, reduction, [source])

    def gather(self, index: Value | View, source: Value | View, shape: Sequence[int]) -> Value:
        """`source[index[o], map(o)]`: the source view's axis 0 is the index, its map gives the other axes."""
        if isinstance(source, Value):
            raise ProgramError("gather needs a view of its source, whose map gives the axes after the first")
        return self._node(Kind.GATHER, source.value.dtype, shape, (), [index, source])

    def scatter_sum(
        self, index: Value | View, source: Value | View, shape: Sequence[int], reduction: Sequence[int]
    ) -> Value:
        """Exact integer sum of the source where the index equals output coordinate 0; i64."""
        return self._node(Kind.SCATTER_SUM, DType.I64, shape, reduction, [index, source])

    def scatter_max(
        self, index: Value | View, source: Value | View, shape: Sequence[int], reduction: Sequence[int]
    ) -> Value:
        """Maximum of the source's fill and of the source where the index equals output coordinate 0."""
        return self._node(Kind.SCATTER_MAX, _dtype(source), shape, reduction, [index, source])

    def identity(self, value: Value) -> Value:
        """A node that copies `value`."""
        rank = len(value.shape)
        return self.map(expressions.identity(value.dtype, rank), [value], value.shape, value.dtype)

    def _node(
        self,
        kind: Kind,
        dtype: DType,
        shape: Sequence[int],
        reduction: Sequence[int],
        operands: Sequence[Value | View],
        expression: Expression | None = None,
    ) -> Value:
        space = len(shape) + len(reduction)
        views = [_plain(operand, space) for operand in operands]
        descriptor = Descriptor(
            kind, dtype, tuple(shape), tuple(reduction), tuple(view.operand() for view in views), expression
        )
        return self._add(descriptor, tuple(self._own(view.value) for view in views))

    def _own(self, value: Value) -> int:
        if value.number >= len(self._values) or self._values[value.number] is not value:
            raise ProgramError("a value of another builder was used here; build one program with one builder")
        return value.number

    def _add(self, descriptor: Descriptor, operands: tuple[int, ...]) -> Value:
        valid = self._descriptors.get(descriptor)
        if valid is None:
            refuse_invalid_descriptor(descriptor)
            valid = self._descriptors[descriptor] = descriptor
        descriptor = valid  # equal ones are one, whose bytes and hash are computed once
        known = self._known.get((descriptor, operands))
        if known is None:
            for producer, operand in zip(operands, descriptor.operands, strict=True):
                if self._nodes[producer][0].size != operand.size:
                    raise ProgramError(
                        f"a value of shape {self._values[producer].shape} cannot be viewed as {operand.shape}"
                    )
            known = Value(len(self._values), descriptor.dtype, descriptor.shape)
            self._values.append(known)
            self._nodes.append((descriptor, operands))
            self._known[descriptor, operands] = known
        return known

    def finish(self, new_state: Sequence[Value]) -> Program:
        """The program whose step turns the declared state into `new_state`, in the order of declaration.

        Raises:
            ProgramError: when counts, types or shapes differ from the declared state.
        """
        states = self._inputs[Source.STATE]
        if len(new_state) != len(states):
            raise ProgramError(f"{len(states)} state tensors were declared and {len(new_state)} returned")
        results = [self._own(value) for value in new_state]
        alive = self._reachable(results)
        read = {operand for number in alive for operand in self._nodes[number][1]}
        read |= {number for number, times in Counter(results).items() if times > 1}
        inputs = [value.number for source in Source for value in self._inputs[source]]
        last: list[tuple[Descriptor, tuple[int, ...]]] = []
        moved: set[int] = set()
        for number in results:
            if number in read or number in inputs:
                last.append((self._copy_of(number), (number,)))
            else:
                last.append(self._nodes[number])
                moved.add(number)
        skipped = moved | set(inputs)
        body = [number for number in sorted(alive) if number not in skipped]
        return _assemble(self._nodes, self._inputs, inputs + body, last)

    def _copy_of(self, number: int) -> Descriptor:
        value = self._values[number]
        rank = len(value.shape)
        operand = value.view(maps.identity(rank)).operand()
        copy = expressions.identity(value.dtype, rank)
        return Descriptor(Kind.MAP, value.dtype, value.shape, (), (operand,), copy)

    def _reachable(self, results: Sequence[int]) -> set[int]:
        alive: set[int] = set()
        stack = list(results)
        while stack:
            number = stack.pop()
            if number not in alive:
                alive.add(number)
                stack += self._nodes[number][1]
        return alive


def _assemble(
    nodes: list[tuple[Descriptor, tuple[int, ...]]],
    inputs: dict[Source, list[Value]],
    order: list[int],
    last: list[tuple[Descriptor, tuple[int, ...]]],
) -> Program:
    numbers = {old: new for new, old in enumerate(order)}
    table: dict[Descriptor, int] = {}
    final = []
    for descriptor, operands in [nodes[number] for number in order] + last:
        place = table.setdefault(descriptor, len(table))
        final.append(Node(place, tuple(numbers[operand] for operand in operands)))
    state, constants, parameters = (len(inputs[source]) for source in Source)
    count = len(final) - state - constants - parameters
    header = Header(state, constants, parameters, count, len(last))
    program = Program(header, tuple(table), tuple(final))
    refuse_invalid(program)
    return program


def _dtype(operand: Value | View) -> DType:
    return operand.dtype if isinstance(operand, Value) else operand.value.dtype


def _plain(operand: Value | View, space: int) -> View:
    if isinstance(operand, View):
        return operand
    if len(operand.shape) != space:
        raise ProgramError(f"a value of shape {operand.shape} needs a view to be read in {space} iteration axes")
    return operand.view(maps.identity(space))


def _broadcast(operand: Value | View, shape: Sequence[int]) -> View:
    return operand if isinstance(operand, View) else operand.view(maps.broadcast(operand.shape, shape))


def _broadcast_shape(operands: Sequence[Value | View]) -> tuple[int, ...]:
    if any(isinstance(operand, View) for operand in operands):
        raise ProgramError("a map over views needs its output's shape")
    shapes = [operand.shape for operand in operands if isinstance(operand, Value)]
    rank = max((len(shape) for shape in shapes), default=0)
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return tuple(max(extents) for extents in zip(*padded, strict=True))
