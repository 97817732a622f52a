"""Which nodes one kernel computes: maps, gathers and reductions over one space that read each other in place.

A group has a space with axes in the order of its loops, some of them reduced once it has a reduction. A member stands
on the whole space or, behind a reduction, on the axes that are kept. A node joins if all that it reads is made no later
than the group, and if members among it are read at the very point at which they are made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod

from orebit.executor.fused.build import Spread, flat_read
from orebit.executor.fused.region import Integers
from orebit.executor.views import row_major
from orebit.program.descriptor import Descriptor, Kind, Operand

MAX_INSTRUCTIONS = 400
MAX_BUFFERS = 48
# A reduction that leaves fewer units than this is kept apart from large elementwise work, which it would not share out.
LEAST_UNITS = 16
SMALL = 1 << 15
CHEAP = 4
# A strip of columns is walked again by a later pass only if it is no longer than this: it must stay in the cache.
SHORT = 64
_STRIP = 16


@dataclass(frozen=True)
class Member:
    """A node of a group.

    Attributes:
        axes: for each axis of its space, the axes of the group that make it up, in row-major order.
        stage: reductions behind one another before it can be computed.
    """

    descriptor: Descriptor
    axes: tuple[Integers, ...]
    stage: int


@dataclass(frozen=True)
class Group:
    """A group as it grows; joining makes a new one.

    Attributes:
        extents, reduced: its space.
        anchors: strides over the space at which members are written, and at which others are read in place.
    """

    extents: Integers
    reduced: tuple[bool, ...]
    members: dict[int, Member] = field(default_factory=dict)
    anchors: dict[int, Integers] = field(default_factory=dict)
    instructions: int = 0

    @property
    def size(self) -> int:
        return prod(self.extents)

    @property
    def kept(self) -> Integers:
        return tuple(k for k, reduced in enumerate(self.reduced) if not reduced)

    @property
    def kept_size(self) -> int:
        return prod(self.extents[k] for k in self.kept)

    @property
    def columns(self) -> bool:
        """Whether lanes are output elements, so that passes walk strips of columns."""
        return any(self.reduced) and not self.reduced[-1]

    def split(self, axis: int, inner: int) -> Group:
        """The same with one axis cut in two, the second of extent `inner`."""
        outer = self.extents[axis] // inner

        def cut(axes: Integers) -> Integers:
            return tuple(n for k in axes for n in ((k, k + 1) if k == axis else (k + (k > axis),)))

        def spread(strides: Integers) -> Integers:
            return (*strides[:axis], strides[axis] * inner, *strides[axis:])

        members = {n: replace(m, axes=tuple(cut(axes) for axes in m.axes)) for n, m in self.members.items()}
        return replace(
            self,
            extents=(*self.extents[:axis], outer, inner, *self.extents[axis + 1 :]),
            reduced=(*self.reduced[:axis], self.reduced[axis], *self.reduced[axis:]),
            members=members,
            anchors={n: spread(strides) for n, strides in self.anchors.items()},
        )

    def with_member(
        self, number: int, nodes: Sequence[int], descriptor: Descriptor, axes: tuple[Integers, ...]
    ) -> Group:
        stage = max((self._available(node) for node in nodes), default=0)
        rank = len(descriptor.shape)
        strides = Spread(descriptor.shape, axes[:rank], self.extents).over(row_major(descriptor.shape))
        anchors = dict(self.anchors)
        for operand, node in zip(descriptor.operands, nodes, strict=True):
            read = in_place(operand, descriptor)
            if read is not None and node not in anchors:
                anchors[node] = Spread(descriptor.space, axes, self.extents).over(read)
        anchors[number] = strides
        members = {**self.members, number: Member(descriptor, axes, stage)}
        return replace(self, members=members, anchors=anchors, instructions=self.instructions + weight(descriptor))

    def _available(self, node: int) -> int:
        member = self.members.get(node)
        return 0 if member is None else member.stage + (member.descriptor.kind.reduces)


def weight(descriptor: Descriptor) -> int:
    """About how much code a node takes."""
    expression = descriptor.expression
    return 2 + len(descriptor.operands) + (0 if expression is None else len(expression.instructions))


def in_place(operand: Operand, descriptor: Descriptor) -> Integers | None:
    """The strides of a read that starts at the first element and never misses; None for any other."""
    if len(operand.map.axes) != len(operand.shape) or not operand.map.in_range(descriptor.space, operand.shape):
        return None
    base, strides = flat_read(operand, len(descriptor.space))
    return strides if base == 0 else None


def can_group(descriptor: Descriptor) -> bool:
    """Whether a node's kernel can hold others."""
    if descriptor.kind in (Kind.SUM, Kind.MAX):
        return prod(descriptor.reduction) > 1
    return descriptor.kind in (Kind.MAP, Kind.GATHER)


def is_cheap(descriptor: Descriptor) -> bool:
    """Whether a map of one tensor, element by element, costs less to make again than to read."""
    if descriptor.kind is not Kind.MAP or len(descriptor.operands) != 1 or descriptor.expression is None:
        return False
    (operand,) = descriptor.operands
    return (
        len(descriptor.expression.instructions) <= CHEAP
        and operand.size == descriptor.size
        and in_place(operand, descriptor) == tuple(row_major(descriptor.shape))
    )


def start(number: int, nodes: Sequence[int], descriptor: Descriptor, order: Sequence[int]) -> Group:
    """A group of one node, whose loops run over the axes of its space in this order."""
    space, rank = descriptor.space, len(descriptor.shape)
    large = [k for k in order if space[k] > 1]
    axes = tuple((large.index(k),) if space[k] > 1 else () for k in range(len(space)))
    group = Group(tuple(space[k] for k in large), tuple(k >= rank for k in large))
    return group.with_member(number, nodes, descriptor, axes)


def join(group: Group, number: int, nodes: Sequence[int], descriptor: Descriptor) -> Group | None:
    """The group with one node more; None where it does not fit in."""
    if group.instructions + weight(descriptor) > MAX_INSTRUCTIONS or len(group.anchors) > MAX_BUFFERS:
        return None
    if descriptor.kind is Kind.GATHER and nodes[1] in group.members:
        return None
    on_kept = any(group.reduced) and prod(descriptor.space) == group.kept_size and not descriptor.reduction
    if prod(descriptor.space) != group.size and not on_kept:
        return None
    placed = _place(group, nodes, descriptor)
    if placed is None:
        return None
    group, axes = placed
    covered = sorted(k for own in axes for k in own)
    if covered != list(group.kept if on_kept else range(len(group.extents))):
        return None
    if not _reads_members_in_place(group, nodes, descriptor, axes):
        return None
    if descriptor.reduction:
        reducing = _reducing(group, descriptor, axes)
        if reducing is None:
            return None
        group = reducing
    joined = group.with_member(number, nodes, descriptor, axes)
    if joined.columns and not on_kept and joined.members[number].stage > 0:
        if prod(e for e, reduced in zip(joined.extents, joined.reduced, strict=True) if reduced) > SHORT:
            return None
    return joined


def _reducing(group: Group, descriptor: Descriptor, axes: tuple[Integers, ...]) -> Group | None:
    """The group with its reduced axes, which must be this reduction's."""
    walked = {k for own in axes[len(descriptor.shape) :] for k in own}
    reduced = tuple(k in walked for k in range(len(group.extents)))
    if any(group.reduced):
        return group if reduced == group.reduced else None
    made = replace(group, reduced=reduced)
    units = made.kept_size // _STRIP if made.columns else made.kept_size
    return made if units >= LEAST_UNITS or group.size <= SMALL else None


def _reads_members_in_place(
    group: Group, nodes: Sequence[int], descriptor: Descriptor, axes: tuple[Integers, ...]
) -> bool:
    space = Spread(descriptor.space, axes, group.extents)
    for operand, node in zip(descriptor.operands, nodes, strict=True):
        if node in group.members:
            read = in_place(operand, descriptor)
            if read is None or space.over(read) != group.anchors[node]:
                return False
    return True


def _place(group: Group, nodes: Sequence[int], descriptor: Descriptor) -> tuple[Group, tuple[Integers, ...]] | None:
    """Lays a node's space over the group's axes, by the strides at which both read or write the same buffers."""
    space = descriptor.space
    axes: list[Integers | None] = [None if extent > 1 else () for extent in space]
    for operand, node in zip(descriptor.operands, nodes, strict=True):
        read = in_place(operand, descriptor) if node in group.anchors else None
        if read is None:
            continue
        for k, stride in enumerate(read):
            if axes[k] is None and stride:
                found = _find(group, node, stride, space[k])
                if found is None:
                    return None
                cut, group, own = found
                axes = [None if kept is None else cut_axes(kept, cut) for kept in axes]
                axes[k] = own
    if any(own is None for own in axes):
        return None
    return group, tuple(own for own in axes if own is not None)


def cut_axes(axes: Integers, cuts: Sequence[int]) -> Integers:
    """Axes after each axis of `cuts`, in turn, was cut in two."""
    for axis in cuts:
        axes = tuple(n for k in axes for n in ((k, k + 1) if k == axis else (k + (k > axis),)))
    return axes


def _find(group: Group, node: int, stride: int, extent: int) -> tuple[list[int], Group, Integers] | None:
    """The axes that make up one of this stride and extent over a buffer; axes are cut where that takes it.

    Returns:
        The axes that were cut, in turn, the group afterwards, and the axes found, in row-major order.
    """
    cuts: list[int] = []
    found: Integers = ()
    while extent > 1:
        strides = group.anchors[node]
        axis = next((k for k, own in enumerate(strides) if own == stride), None)
        if axis is None:
            axis = next((k for k, s in enumerate(strides) if _inside(s, group.extents[k], stride)), None)
            if axis is None:
                return None
            group = group.split(axis, stride // strides[axis])
            cuts, found = [*cuts, axis], cut_axes(found, [axis])
            continue
        have = group.extents[axis]
        if extent % have:
            if have % extent:
                return None
            group = group.split(axis, extent)
            cuts, found = [*cuts, axis], cut_axes(found, [axis])
            continue
        found = (axis, *found)
        stride *= have
        extent //= have
    return cuts, group, found


def _inside(stride: int, extent: int, wanted: int) -> bool:
    """Whether an axis of this stride and extent can be cut so that its outer part has the stride wanted."""
    return stride > 0 and wanted % stride == 0 and 1 < wanted // stride < extent and extent % (wanted // stride) == 0
