"""One rank's part of a step: between two exchanges a program of its own, which any executor runs.

Its state inputs are what earlier levels made or exchanges brought, its new state is what later levels, exchanges or the
next step need. Unlike in a whole program these are different tensors, so it is never encoded or sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orebit.errors import ExecutionError
from orebit.executor.ranks.placement import Placement, Read
from orebit.executor.ranks.schedule import Schedule
from orebit.numerics.types import DType
from orebit.program import expression as expressions
from orebit.program import index_map as maps
from orebit.program.descriptor import Descriptor, Kind, Operand, Source
from orebit.program.graph import Header, Node, Program

# How many times as large as the program all parts may be that are made of it.
_MADE_ANEW = 16


@dataclass(frozen=True, slots=True)
class Key:
    """A value that a rank holds: what it computed of a node, or the whole that an exchange gave."""

    node: int
    exchanged: bool = False


@dataclass(frozen=True)
class Segment:
    """A program between two exchanges, and where its inputs come from and its outputs go."""

    program: Program
    imports: tuple[Key, ...]
    constants: tuple[int, ...]
    parameters: tuple[int, ...]
    outputs: tuple[Key, ...]


@dataclass(frozen=True)
class Level:
    """A segment (None where this rank has nothing to do), the nodes that are exchanged after it, and what nobody needs
    any more then."""

    segment: Segment | None
    transfers: tuple[int, ...]
    dropped: tuple[Key, ...]


def levels_of(schedule: Schedule, rank: int) -> list[Level]:
    """A rank's step, level by level.

    Raises:
        ExecutionError: when too much would have to be made anew on every level.
    """
    placement = schedule.placement
    transfers = schedule.transfers()
    own: list[list[int]] = [[] for _ in range(schedule.last + 1)]
    for number in placement.program.operations:
        if _stands(schedule, rank, number):
            own[schedule.levels[number]].append(number)
    drafts: list[_Draft] = []
    left = _MADE_ANEW * len(placement.program.nodes)
    for numbers in own:
        drafts.append(_Draft(schedule, numbers))
        left -= len(drafts[-1].nodes)
        if left < 0:
            raise ExecutionError(
                "the parts of this program between exchanges would together be many times as large as the program; "
                "run it with ranks = 1"
            )
    last_use: dict[Key, int] = {}
    for level, draft in enumerate(drafts):
        last_use.update((key, level) for key in draft.imports)
    wanted = set(last_use) | {Key(number) for numbers in transfers.values() for number in numbers}
    for state in placement.program.inputs(Source.STATE):
        renewed = placement.renewed(state)
        wanted.add(Key(renewed.producer, renewed.exchanged))
        last_use[Key(renewed.producer, renewed.exchanged)] = len(drafts)
    levels = []
    for level, draft in enumerate(drafts):
        segment = draft.finish(rank, wanted)
        exchanged = tuple(transfers.get(level, ()))
        made = {Key(number, True) for number in exchanged} | set(segment.outputs if segment else ())
        ended = {key for key, last in last_use.items() if last == level} | {key for key in made if key not in last_use}
        levels.append(Level(segment, exchanged, tuple(sorted(ended, key=lambda key: (key.node, key.exchanged)))))
    return levels


def _stands(schedule: Schedule, rank: int, number: int) -> bool:
    """Whether a rank makes a node on the node's own level, rather than wherever it is read."""
    placement = schedule.placement
    if not placement.runs(number, rank) or number in schedule.near:
        return False
    return not placement.fixed[number] or number in placement.program.new_state


class _Draft:
    """The nodes of one level on one rank, before it is known which of them are needed elsewhere."""

    def __init__(self, schedule: Schedule, own: Sequence[int]) -> None:
        self._schedule = schedule
        self._placement: Placement = schedule.placement
        self._program = schedule.program
        self._own = set(own)
        self.nodes: set[int] = set()
        self.imports: dict[Key, None] = {}
        self._inputs: set[int] = set()
        for number in own:
            self._take(number)

    def _take(self, first: int) -> None:
        waiting = [first]
        while waiting:
            number = waiting.pop()
            if number not in self.nodes:
                self.nodes.add(number)
                waiting += [read.producer for read in self._placement.reads[number] if self._makes(read)]

    def _makes(self, read: Read) -> bool:
        """Whether this segment makes what is read; else it is noted as an input."""
        producer = read.producer
        made_anew = self._placement.fixed[producer] or producer in self._schedule.near
        is_input = producer < self._program.header.inputs
        if not is_input and not read.exchanged and (producer in self._own or made_anew):
            return True
        if is_input and producer not in self._program.inputs(Source.STATE):
            self._inputs.add(producer)
        else:
            self.imports[Key(producer, read.exchanged)] = None
        return False

    def finish(self, rank: int, wanted: set[Key]) -> Segment | None:
        """The segment, whose outputs are those of its values that are wanted; None if none is."""
        outputs = [number for number in sorted(self._own) if Key(number) in wanted]
        if not outputs:
            return None
        return _assemble(self._placement, rank, self.nodes, tuple(self.imports), sorted(self._inputs), outputs)


def _assemble(
    placement: Placement,
    rank: int,
    nodes: set[int],
    imports: tuple[Key, ...],
    inputs: Sequence[int],
    outputs: Sequence[int],
) -> Segment:
    program = placement.program
    constants = [number for number in inputs if number in program.inputs(Source.CONSTANT)]
    parameters = [number for number in inputs if number in program.inputs(Source.PARAMETER)]
    numbers: dict[Key, int] = {}
    made: list[tuple[Descriptor, tuple[int, ...]]] = []
    for key in imports:
        shape = placement.shape(key.node, key.exchanged, rank)
        numbers[key] = _input(made, program.descriptor(key.node).dtype, shape, Source.STATE, len(numbers))
    for source, given in ((Source.CONSTANT, constants), (Source.PARAMETER, parameters)):
        for index, number in enumerate(given):
            descriptor = program.descriptor(number)
            numbers[Key(number)] = _input(made, descriptor.dtype, descriptor.shape, source, index)
    first = len(made)
    read_here = {read.producer for number in nodes for read in placement.reads[number] if not read.exchanged}
    last = {number for number in outputs if number not in read_here}
    for number in [*sorted(nodes - last), *outputs]:
        descriptor = placement.local(number, rank)
        if Key(number) in numbers:  # an output that is read here too: nobody may read new state, so it is copied
            made.append((_copy(descriptor.dtype, descriptor.shape), (numbers[Key(number)],)))
            continue
        operands = tuple(numbers[Key(read.producer, read.exchanged)] for read in placement.reads[number])
        made.append((descriptor, operands))
        numbers[Key(number)] = len(made) - 1
    header = Header(len(imports), len(constants), len(parameters), len(made) - first, len(outputs))
    at = [program.descriptor(number).index for number in (*constants, *parameters)]
    return Segment(
        _program(header, made),
        imports,
        tuple(at[: len(constants)]),
        tuple(at[len(constants) :]),
        tuple(Key(number) for number in outputs),
    )


def _input(
    made: list[tuple[Descriptor, tuple[int, ...]]], dtype: DType, shape: tuple[int, ...], source: Source, index: int
) -> int:
    made.append((Descriptor(Kind.INPUT, dtype, shape, source=source, index=index), ()))
    return len(made) - 1


def _copy(dtype: DType, shape: tuple[int, ...]) -> Descriptor:
    rank = len(shape)
    operand = Operand(dtype, shape, maps.identity(rank))
    return Descriptor(Kind.MAP, dtype, shape, (), (operand,), expressions.identity(dtype, rank))


def _program(header: Header, made: Sequence[tuple[Descriptor, tuple[int, ...]]]) -> Program:
    table: dict[Descriptor, int] = {}
    nodes = [Node(table.setdefault(descriptor, len(table)), operands) for descriptor, operands in made]
    return Program(header, tuple(table), tuple(nodes))
