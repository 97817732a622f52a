"""A program cut into stages, in order: each writes some nodes' buffers by kernels that run one after another."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from orebit.executor.fused.blocks import region_code
from orebit.executor.fused.build import RegionBuilder
from orebit.executor.fused.compiler import machine
from orebit.executor.fused.contraction import Surroundings
from orebit.executor.fused.contraction_tasks import Prepared
from orebit.executor.fused.grouping import Group, can_group, is_cheap
from orebit.executor.fused.nest import Kernel, RegionCode
from orebit.executor.fused.places import Places
from orebit.executor.fused.scatter import ScatterCode
from orebit.executor.memory import independent_of_state
from orebit.executor.native.library import Library, Work
from orebit.executor.views import row_major
from orebit.program.descriptor import Descriptor
from orebit.program.graph import Program

# Vector instructions that make up one part of a kernel's range, at least.
PART = 20_000

Symbols = Callable[[str], int]
Contract = Callable[[Surroundings, int], Prepared | None]


class Addresses(Protocol):
    """The address of a node's buffer, or of a place some bytes further in it."""

    def __call__(self, node: int, further: int = 0) -> int: ...


@dataclass(frozen=True)
class Stage:
    """Tasks that belong together.

    Attributes:
        outputs, operands: nodes whose buffers are written and read; no buffer is both.
        workspace: bytes of memory of its own, aligned to 64, while it runs.
        kernel: the generated kernel; None for an exact product of the native library.
        slots: its words: nodes, and bytes from the beginnings of their buffers.
        contraction: that product.
    """

    outputs: tuple[int, ...]
    operands: tuple[int, ...]
    workspace: int = 0
    kernel: Kernel | None = None
    slots: tuple[tuple[int, int], ...] = ()
    contraction: Prepared | None = None

    def bind(
        self, library: Library, symbols: Symbols, address: Addresses, workspace: int
    ) -> tuple[list[Work], list[object]]:
        """The tasks in order, and what must be kept alive as long as they run."""
        if self.contraction is not None:
            return self.contraction.bind(library, address, workspace)
        assert self.kernel is not None
        words = tuple(address(node, further) for node, further in self.slots)
        grain = max(1, PART // self.kernel.unit_cost)
        return [Work(symbols(self.kernel.name), words, self.kernel.units, grain)], []


class Planner:
    """Plans one program; equal regions share one kernel.

    Args:
        contract: what computes a dot node, by its number, as an exact product; None for generated loops.
    """

    def __init__(self, program: Program, contract: Contract) -> None:
        self.program = program
        self._contract = contract
        self.around = Surroundings(program)
        self._kernels: dict[object, Kernel] = {}
        # Stages by what their kernels depend on: a recurrence has the same ones in every step.
        self._forms: dict[Hashable, tuple[Stage, tuple[tuple[int, int], ...]]] = {}
        self._contractions: dict[int, Prepared] = {}
        self._absorbed: set[int] = set()

    def stages(self) -> list[Stage]:
        """In order: each reads only what earlier ones write."""
        self._find_contractions()
        return self._in_order()

    def _find_contractions(self) -> None:
        for number in self.program.operations:
            prepared = self._contract(self.around, number)
            if prepared is not None:
                self._contractions[prepared.contraction.output] = prepared
                self._absorbed.update(prepared.contraction.absorbed)

    def _in_order(self) -> list[Stage]:
        program, places = self.program, Places[Stage](self.fixed)
        wanted = set(program.new_state)
        for number in program.operations:
            descriptor, nodes = program.descriptor(number), program.nodes[number].operands
            if number in self._contractions:
                made = self._product(self._contractions[number], number)
            elif number in self._absorbed:
                continue
            elif can_group(descriptor):
                adding = places.add_cheap if self._is_cheap(number) else places.add
                adding(number, nodes, descriptor, order_axes(descriptor))
                continue
            else:
                made = self._alone(number)
            wanted.update(made.operands)
            places.write(made.operands)
            places.append(made, (number,))
        for entry in places.entries:
            if isinstance(entry, Group):
                wanted.update(
                    node for n in entry.members for node in program.nodes[n].operands if node not in entry.members
                )
        stages = []
        for place, entry in enumerate(places.entries):
            if isinstance(entry, Group):
                entry = self._together(entry, [n for n in entry.members if n in wanted and places.home(n) == place])
            stages.append(entry)
        return [stage for stage in stages if stage.outputs]

    def _product(self, prepared: Prepared, number: int) -> Stage:
        return Stage((number,), prepared.contraction.operands, prepared.workspace, contraction=prepared)

    def _is_cheap(self, number: int) -> bool:
        return number not in self.around.kept and is_cheap(self.program.descriptor(number))

    def _together(self, group: Group, stored: Sequence[int]) -> Stage:
        """One kernel for a group, which writes some of its members."""
        form, nodes = self._form(group, stored)
        known = self._forms.get(form)
        if known is None:
            stage = self._made_together(group, stored)
            places = {node: place for place, node in enumerate(nodes)}
            slots = tuple((places[node], further) for node, further in stage.slots)
            self._forms[form] = stage, slots
            return stage
        like, slots = known
        read = tuple(nodes[place] for place, _ in slots if nodes[place] not in stored)
        return Stage(tuple(stored), read, kernel=like.kernel, slots=tuple((nodes[place], n) for place, n in slots))

    def _form(self, group: Group, stored: Sequence[int]) -> tuple[Hashable, list[int]]:
        """What tells a group's kernel from every other, and the nodes in it, as the form numbers them."""
        numbers: dict[int, int] = {}
        members = []
        for number, member in sorted(group.members.items()):
            node = self.program.nodes[number]
            reads = tuple([numbers.setdefault(operand, len(numbers)) for operand in node.operands])
            members.append((node.descriptor, member.axes, reads, numbers.setdefault(number, len(numbers))))
        nodes = list(numbers)
        known = tuple([self.around.ranges[node] for node in nodes if node not in group.members])
        written = tuple([(numbers[node], node in self.around.kept) for node in stored])
        return (group.extents, group.reduced, tuple(members), known, written), nodes

    def _made_together(self, group: Group, stored: Sequence[int]) -> Stage:
        builder = RegionBuilder(group.extents, group.reduced, self.around.ranges)
        for number, member in sorted(group.members.items()):
            builder.add(number, member.descriptor, self.program.nodes[number].operands, member.axes)
        for number in stored:
            member = group.members[number]
            rank = len(member.descriptor.shape)
            builder.store(number, member.descriptor, member.axes[:rank], number in self.around.kept)
        return self._stage(builder, stored)

    def _stage(self, builder: RegionBuilder, stored: Sequence[int]) -> Stage:
        region = builder.shifted().collapsed()
        kernel = self._once(region, lambda: region_code(region, machine().width))
        read = tuple(node for node in builder.slots if node not in stored)
        slots = tuple(zip(builder.slots, builder.further, strict=True))
        return Stage(tuple(stored), read, kernel=kernel, slots=slots)

    @property
    def kernels(self) -> dict[str, Kernel]:
        """Generated kernels of the stages so far, by name."""
        return {kernel.name: kernel for kernel in self._kernels.values()}

    @cached_property
    def fixed(self) -> list[bool]:
        """Whether each node is computed once: it depends on constants and parameters only and is no new state."""
        return [
            fixed and number not in self.around.kept for number, fixed in enumerate(independent_of_state(self.program))
        ]

    def _alone(self, number: int) -> Stage:
        node, descriptor = self.program.nodes[number], self.program.descriptor(number)
        if descriptor.kind.scatters:
            reads = self.around.reads(number)
            kernel = self._once((descriptor, tuple(reads)), lambda: ScatterCode(descriptor, reads, machine().width))
            return Stage(
                (number,),
                _distinct(node.operands),
                kernel=kernel,
                slots=tuple((n, 0) for n in (*node.operands, number)),
            )
        axes = order_axes(descriptor)
        space = [(axes.index(k),) for k in range(len(axes))]
        rank = len(descriptor.shape)
        extents = tuple(descriptor.space[k] for k in axes)
        builder = RegionBuilder(extents, tuple(k >= rank for k in axes), self.around.ranges)
        builder.add(number, descriptor, node.operands, space)
        builder.store(number, descriptor, space[:rank], number in self.around.kept)
        return self._stage(builder, (number,))

    def _once(self, key: object, code: Callable[[], RegionCode]) -> Kernel:
        if key not in self._kernels:
            self._kernels[key] = code().kernel()
        return self._kernels[key]


def _distinct(nodes: Sequence[int]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(nodes))


def order_axes(descriptor: Descriptor) -> list[int]:
    """A node's space in the order of its loops: as its operands lie in memory, an output axis innermost in a tie."""
    space, rank = descriptor.space, len(descriptor.shape)
    if not descriptor.reduction:
        return list(range(rank))
    steps = []
    for k in range(len(space)):
        strides = [
            abs(sum(a.coefficients[k] * s for a, s in zip(operand.map.axes, row_major(operand.shape), strict=True)))
            for operand in descriptor.operands
        ]
        steps.append(min((stride for stride in strides if stride), default=1 << 62))
    return sorted(range(len(space)), key=lambda k: (-steps[k], k < rank, k))
