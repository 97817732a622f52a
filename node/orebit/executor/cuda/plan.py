"""A program cut into stages, in order, each a few launches of generated kernels.

Grouping, places and ranges are the fused executor's; what a stage becomes is this package's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

from orebit.executor.cuda import library, packing, product, scatter
from orebit.executor.cuda.capability import Capability
from orebit.executor.cuda.cut_regions import RegionWork, region_work
from orebit.executor.cuda.digits import Product, product_of
from orebit.executor.cuda.kernel import Argument, Kernel, Launch, pointwise
from orebit.executor.cuda.regions import region_kernel
from orebit.executor.fused.build import RegionBuilder
from orebit.executor.fused.contraction import Surroundings
from orebit.executor.fused.grouping import Group, can_group, in_place, is_cheap
from orebit.executor.fused.memory import aligned
from orebit.executor.fused.places import Places
from orebit.executor.fused.plan import order_axes
from orebit.executor.fused.region import Integers, Load, Region, Store
from orebit.executor.memory import independent_of_state
from orebit.executor.views import row_major
from orebit.numerics.types import DType
from orebit.program.descriptor import Descriptor, Kind
from orebit.program.graph import Program

Work = Launch | library.Multiplication


@dataclass(frozen=True)
class Stage:
    """Launches that belong together, and products by torch among them.

    Attributes:
        outputs, operands: nodes whose buffers are written and read; no buffer is both.
        launches: in order.
        workspace: bytes of memory of its own while it runs.
    """

    outputs: tuple[int, ...]
    operands: tuple[int, ...]
    launches: tuple[Work, ...]
    workspace: int = 0


@dataclass(frozen=True)
class _Made:
    """A dot as an exact product, and the node that its epilogue writes: itself, or the map that alone reads it."""

    dot: int
    output: int
    product: Product


class Planner:
    """Plans one program for GPUs of a capability; equal regions share one kernel."""

    def __init__(self, program: Program, capability: Capability) -> None:
        self.program = program
        self.around = Surroundings(program)
        self._capability = capability
        self._kernels: dict[object, Kernel] = {}
        self._regions: dict[Region, RegionWork] = {}
        self._products: dict[int, _Made] = {}
        self._absorbed: set[int] = set()

    @cached_property
    def fixed(self) -> list[bool]:
        """Whether each node is computed once: it depends on constants and parameters only and is no new state."""
        return [
            fixed and number not in self.around.kept for number, fixed in enumerate(independent_of_state(self.program))
        ]

    def stages(self) -> list[Stage]:
        """In order: each reads only what earlier ones write."""
        self._find_products()
        places = self._places()
        wanted = self._wanted(places)
        stages = []
        for place, entry in enumerate(places.entries):
            if isinstance(entry, Group):
                entry = self._together(entry, [n for n in entry.members if n in wanted and places.home(n) == place])
            stages.append(entry)
        return [stage for stage in stages if stage.outputs]

    def _places(self) -> Places[Stage]:
        """Groups, and stages of one node each, in order."""
        program, places = self.program, Places[Stage](self.fixed)
        for number in program.operations:
            descriptor, nodes = program.descriptor(number), program.nodes[number].operands
            if number in self._absorbed:
                continue
            if number not in self._products and can_group(descriptor):
                cheap = number not in self.around.kept and is_cheap(descriptor)
                adding = places.add_cheap if cheap else places.add
                adding(number, nodes, descriptor, order_axes(descriptor))
                continue
            made = self._product(self._products[number]) if number in self._products else self._alone(number)
            places.write(made.operands)
            places.append(made, (number,))
        return places

    def _wanted(self, places: Places[Stage]) -> set[int]:
        """Nodes that must be written: new state, and what is read by others than the group that makes it."""
        wanted = set(self.program.new_state)
        for entry in places.entries:
            if isinstance(entry, Group):
                for member in entry.members:
                    wanted.update(node for node in self.program.nodes[member].operands if node not in entry.members)
            else:
                wanted.update(entry.operands)
        return wanted

    # Regions

    def _together(self, group: Group, stored: Sequence[int]) -> Stage:
        """One kernel for a group, which writes some of its members."""
        builder = RegionBuilder(group.extents, group.reduced, self.around.ranges)
        for number, member in sorted(group.members.items()):
            builder.add(number, member.descriptor, self.program.nodes[number].operands, member.axes)
        for number in stored:
            member = group.members[number]
            rank = len(member.descriptor.shape)
            builder.store(number, member.descriptor, member.axes[:rank], number in self.around.kept)
        return self._region_stage(builder, stored)

    def _region_stage(self, builder: RegionBuilder, stored: Sequence[int]) -> Stage:
        region = builder.region().collapsed()
        if region not in self._regions:
            self._regions[region] = region_work(region)
        work = self._regions[region]
        read = tuple(node for node in builder.slots if node not in stored)
        return Stage(tuple(stored), read, work.launches(_nodes(builder.slots)), work.workspace)

    def _alone(self, number: int) -> Stage:
        node, descriptor = self.program.nodes[number], self.program.descriptor(number)
        if descriptor.kind.scatters:
            made = scatter.scatter(descriptor, self.around.reads(number))
            launches = made.launches(node.operands[0], node.operands[1], number)
            return Stage((number,), tuple(dict.fromkeys(node.operands)), tuple(launches), made.workspace)
        order = order_axes(descriptor)
        axes = [(order.index(k),) for k in range(len(order))]
        rank = len(descriptor.shape)
        extents = tuple(descriptor.space[k] for k in order)
        builder = RegionBuilder(extents, tuple(k >= rank for k in order), self.around.ranges)
        builder.add(number, descriptor, node.operands, axes)
        builder.store(number, descriptor, axes[:rank], number in self.around.kept)
        return self._region_stage(builder, (number,))

    def _once(self, key: object, code: Callable[[], Kernel]) -> Kernel:
        if key not in self._kernels:
            self._kernels[key] = code()
        return self._kernels[key]

    # Products

    def _find_products(self) -> None:
        for number in self.program.operations:
            descriptor = self.program.descriptor(number)
            if descriptor.kind is not Kind.DOT:
                continue
            found = product_of(descriptor, self.around.reads(number), self._capability)
            if found is None:
                continue
            output = self._epilogue(number, descriptor)
            self._products[number if output is None else output] = _Made(
                number, number if output is None else output, found
            )
            if output is not None:
                self._absorbed.add(number)

    def _epilogue(self, dot: int, descriptor: Descriptor) -> int | None:
        """The map that alone reads a dot, element by element."""
        readers = self.around.readers(dot)
        if len(readers) != 1 or dot in self.around.kept or self.fixed[dot] != self.fixed[readers[0]]:
            return None
        reader = self.program.descriptor(readers[0])
        if reader.kind is not Kind.MAP or reader.shape != descriptor.shape:
            return None
        whole = row_major(reader.shape)
        for operand, node in zip(reader.operands, self.program.nodes[readers[0]].operands, strict=True):
            if node == dot and not _steps_alike(in_place(operand, reader), whole, reader.shape):
                return None
        return readers[0]

    def _product(self, made: _Made) -> Stage:
        descriptor, reads = self.program.descriptor(made.dot), self.around.reads(made.dot)
        torch_s = library.arithmetic_of(descriptor, reads, made.product, self._capability)
        doubles = torch_s is library.Arithmetic.FLOAT64
        packed_bytes = packing.doubles_bytes if doubles else packing.packed_bytes
        sizes = [aligned(packed_bytes(made.product, side)) for side in range(2)]
        places: list[Argument] = [("workspace", 0), ("workspace", sizes[0])]
        operands = self.program.nodes[made.dot].operands
        packs = [
            Launch(self._pack(made, side, doubles), (("node", operands[made.product.sides[side]]), places[side]))
            for side in range(2)
        ]
        region, slots = self._epilogue_region(made, descriptor)
        read = tuple(dict.fromkeys((*operands, *(node for node in slots if node not in (made.dot, made.output)))))
        if torch_s is not None:
            more, workspace = self._library_product(made, torch_s, region, slots, sizes)
        elif product.is_cut(made.product):
            more, workspace = self._cut_product(made, region, slots, places, sum(sizes))
        else:
            epilogue = product.through(region, slots.index(made.dot), made.product)
            kernel = self._product_kernel(made.product, epilogue)
            more, workspace = [Launch(kernel, (*places, *_others(slots, made.dot)))], sum(sizes)
        return Stage((made.output,), read, (*packs, *more), workspace)

    def _pack(self, made: _Made, side: int, doubles: bool) -> Kernel:
        descriptor, reads = self.program.descriptor(made.dot), self.around.reads(made.dot)
        code = packing.pack_doubles if doubles else packing.pack
        return self._once(
            ("pack", descriptor, side, doubles, tuple(reads), made.product),
            lambda: code(descriptor, made.product, side, reads),
        )

    def _library_product(
        self, made: _Made, arithmetic: library.Arithmetic, region: Region, slots: Sequence[int], sizes: Sequence[int]
    ) -> tuple[list[Work], int]:
        """torch's product, and the epilogue after it; bytes of workspace."""
        batch, rows, columns, depth = made.product.shape
        depth = packing.padded(depth) if arithmetic is library.Arithmetic.BYTES else depth
        start = sum(sizes)
        multiplied = library.Multiplication(arithmetic, (batch, rows, columns, depth), 0, sizes[0], start)
        epilogue = product.through(region, slots.index(made.dot), made.product)
        key = (arithmetic, made.product, epilogue)
        kernel = self._once(key, lambda: library.after_kernel(arithmetic, made.product, epilogue))
        after = Launch(kernel, (("workspace", start), *_others(slots, made.dot)))
        return [multiplied, after], start + aligned(library.sums_bytes(arithmetic, made.product))

    def _cut_product(
        self, made: _Made, region: Region, slots: Sequence[int], places: Sequence[Argument], used: int
    ) -> tuple[list[Work], int]:
        """Parts that add up in memory, and then the epilogue; bytes of workspace."""
        own = made.output == made.dot
        size = prod(self.program.descriptor(made.dot).shape)
        sums: Argument = ("node", made.dot) if own else ("workspace", used)
        zero = pointwise(["u64* __restrict__ sums"], size, "sums[point] = 0;")
        kernel = self._product_kernel(made.product, product.adding(made.product))
        launches: list[Work] = [Launch(zero, (sums,)), Launch(kernel, (*places, sums))]
        if own:
            return launches, used
        merged = region.collapsed()
        after = self._once(merged, lambda: region_kernel(merged))
        arguments = tuple(sums if node == made.dot else ("node", node) for node in slots)
        return [*launches, Launch(after, arguments)], used + aligned(8 * size)

    def _product_kernel(self, found: Product, epilogue: product.Epilogue) -> Kernel:
        key = (found, epilogue)
        return self._once(key, lambda: product.product_kernel(found, epilogue, self._capability.tensor_bytes))

    def _epilogue_region(self, made: _Made, descriptor: Descriptor) -> tuple[Region, list[int]]:
        """From a sum to what is stored, over the dot's output axes one by one; the nodes of its slots."""
        shape = descriptor.shape
        axes: list[Integers] = [(k,) for k in range(len(shape))]
        still = (False,) * len(shape)
        if made.output == made.dot:
            strides = tuple(row_major(shape))
            load = Load(0, DType.I64, 0, strides, self.around.ranges[made.dot])
            # The second slot is the same node, as it is written.
            return Region(shape, still, (load, Store(1, DType.I64, 0, strides, False, (0,))), 2), [made.dot, made.dot]
        builder = RegionBuilder(shape, still, self.around.ranges)
        reader = self.program.descriptor(made.output)
        builder.add(made.output, reader, self.program.nodes[made.output].operands, axes)
        builder.store(made.output, reader, axes, made.output in self.around.kept)
        return Region(shape, still, tuple(builder.steps), len(builder.slots)), builder.slots


def kernels_of(stages: Sequence[Stage]) -> list[Kernel]:
    """The generated kernels of stages."""
    return [work.kernel for stage in stages for work in stage.launches if isinstance(work, Launch)]


def _nodes(numbers: Sequence[int]) -> tuple[Argument, ...]:
    return tuple(("node", number) for number in numbers)


def _others(slots: Sequence[int], dot: int) -> tuple[Argument, ...]:
    """Pointers of an epilogue: of every slot but the one that is the sum."""
    given = slots.index(dot)
    return _nodes([node for place, node in enumerate(slots) if place != given])


def _steps_alike(read: Integers | None, whole: Sequence[int], shape: Sequence[int]) -> bool:
    return read is not None and all(
        mine == step for mine, step, extent in zip(read, whole, shape, strict=True) if extent > 1
    )
