"""What a dot and the maps around it become: one exact product that quantises while packing and rescales while storing.

`Surroundings` is what is known of a program: proven ranges and who reads what. `plan` says, for one dot node, which
nodes its kernels compute, which buffers they read, and how. Everything follows from descriptors and proven ranges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from orebit.executor.fused.contraction_axes import Product, classify
from orebit.executor.fused.contraction_groups import own_exponents
from orebit.executor.fused.contraction_kernels import Kernel, kernel_of
from orebit.executor.fused.contraction_macros import Quantise, is_magnitude, quantise_of, rescale_of
from orebit.executor.fused.contraction_reads import Read, plan_read
from orebit.executor.ranges import Range, output_range
from orebit.executor.views import row_major
from orebit.numerics.functions_quantised import EXPONENT_FLOOR, NOT_FINITE
from orebit.numerics.types import CANONICAL_NAN, DType
from orebit.program.descriptor import Descriptor, Kind, Operand
from orebit.program.graph import Program

Placed = tuple[int, tuple[int, ...]]


class Surroundings:
    """A program's proven ranges and readers, computed once."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.kept = frozenset(program.new_state)
        self._products: dict[int, tuple[Product, Kernel] | None] = {}
        self._quantised: dict[int, bool] = {}

    @cached_property
    def ranges(self) -> list[Range]:
        """The proven range of every node's output, in node order."""
        ranges: list[Range] = []
        for node in self.program.nodes:
            descriptor, reads = (
                self.program.descriptors[node.descriptor],
                [ranges[operand] for operand in node.operands],
            )
            # A NaN that is loaded is canonical: no magnitude lies above its bits.
            known = (0, CANONICAL_NAN) if is_magnitude(descriptor) else output_range(descriptor, reads)
            ranges.append(known)
        return ranges

    @cached_property
    def _readers(self) -> list[list[int]]:
        readers: list[list[int]] = [[] for _ in self.program.nodes]
        for number, node in enumerate(self.program.nodes):
            for operand in set(node.operands):
                readers[operand].append(number)
        return readers

    def readers(self, number: int) -> list[int]:
        """Nodes that read a node, each once; the new state is read by nobody here (see `kept`)."""
        return self._readers[number]

    def product(self, number: int) -> tuple[Product, Kernel] | None:
        """A dot as a matrix product with its kernel; None where there is none or an operand has too many elements for
        the 32-bit offsets of packing."""
        if number not in self._products:
            descriptor = self.program.descriptor(number)
            product, kernel = classify(descriptor), kernel_of(descriptor, self.reads(number))
            small = product is not None and all(2 * read.size < 1 << 31 for read in product.reads)
            self._products[number] = (product, kernel) if product is not None and kernel is not None and small else None
        return self._products[number]

    def quantised_by_readers(self, node: int, found: Quantise) -> bool:
        """Whether a quantise map is never stored: all that read it are products that quantise on their way. Asked once
        a node: the weight of a recurrence has a reader a step."""
        if node not in self._quantised:
            self._quantised[node] = _quantised_by_readers(self, node, found)
        return self._quantised[node]

    def reads(self, number: int) -> list[Range]:
        """The proven ranges of a node's operands."""
        return [self.ranges[operand] for operand in self.program.nodes[number].operands]


@dataclass(frozen=True)
class Scale:
    """Exponents read beside a product: a node of i16, and where its element lies over the dot's space."""

    node: int
    base: int
    strides: tuple[int, ...]


@dataclass(frozen=True)
class Quantised:
    """A quantise map computed beside a product.

    Attributes:
        node: the map.
        macro: what it is.
        dtype: of the integers, were they stored.
        scale: the exponents, over the dot's space; over the axes of the source where that is embedded, since it is
            then quantised on its way into the buffer.
        tame: whether the exponents are proven to be those of the elements' own groups.
    """

    node: int
    macro: Quantise
    dtype: DType
    scale: Scale
    tame: bool = False


@dataclass(frozen=True)
class Side:
    """One operand of a product.

    Attributes:
        node: whose output is read: integers, or the f32 source of a quantise map that is computed here.
        dtype: its type.
        read: where its elements lie over the dot's space.
        reach: the greatest proven magnitude of the integers multiplied.
        quantise: the map computed while embedding or packing; None for integers.
    """

    node: int
    dtype: DType
    read: Read
    reach: int
    quantise: Quantised | None = None


@dataclass(frozen=True)
class Contraction:
    """One dot node with what its kernels compute beside it.

    Attributes:
        dot: the node; its i64 output is made only when `rescale` is None.
        rescale: the rescale map computed while storing: f32.
        bits: of the rescale map.
        left, right: rows and columns of `product`.
        scales: exponents of the rows and of the columns; empty without a rescale map.
    """

    dot: int
    product: Product
    kernel: Kernel
    left: Side
    right: Side
    rescale: int | None = None
    bits: int = 0
    scales: tuple[Scale, ...] = ()

    @property
    def output(self) -> int:
        """The node whose buffer is written."""
        return self.dot if self.rescale is None else self.rescale

    @property
    def absorbed(self) -> tuple[int, ...]:
        """Nodes computed here and never stored, beside the output: quantise maps and the dot under a rescale map."""
        quantised = [side.quantise.node for side in (self.left, self.right) if side.quantise is not None]
        return tuple(dict.fromkeys(quantised + ([] if self.rescale is None else [self.dot])))

    @property
    def operands(self) -> tuple[int, ...]:
        """Nodes whose buffers are read, each once."""
        read = []
        for side in (self.left, self.right):
            read.append(side.node)
            if side.quantise is not None:
                read.append(side.quantise.scale.node)
        return tuple(dict.fromkeys(read + [scale.node for scale in self.scales]))


def plan(around: Surroundings, number: int) -> Contraction | None:
    """The contraction of dot node `number`; None where generic loops must compute it."""
    program = around.program
    descriptor = program.descriptor(number)
    if descriptor.kind is not Kind.DOT:
        return None
    chosen = around.product(number)
    if chosen is None:
        return None
    product, kernel = chosen
    sides = [_side(around, number, position, product) for position in range(2)]
    left, right = sides[product.left], sides[product.right]
    rescale = _absorbed_rescale(around, number, product)
    if rescale is None:
        return Contraction(number, product, kernel, left, right)
    node, bits, scales = rescale
    return Contraction(number, product, kernel, left, right, node, bits, scales)


def _side(around: Surroundings, dot: int, position: int, product: Product) -> Side:
    program = around.program
    node = program.nodes[dot].operands[position]
    read = product.reads[position]
    low, high = around.ranges[node]
    plain = Side(node, program.descriptor(node).dtype, read, max(abs(low), abs(high), abs(read.fill)))
    made = program.descriptor(node)
    found = quantise_of(made)
    if found is None or not around.quantised_by_readers(node, found):
        return plain
    placed = _placed(around, node, found, dot, position)
    assert placed is not None
    source, exponent = (program.nodes[node].operands[k] for k in (found.source, found.exponent))
    quantised = Quantised(node, found, made.dtype, Scale(exponent, *placed), own_exponents(program, node, found))
    return Side(source, DType.F32, read, plain.reach, quantised)


def _quantised_by_readers(around: Surroundings, node: int, found: Quantise) -> bool:
    program = around.program
    if node in around.kept or not _reads_whole(program.descriptor(node), found.source):
        return False
    for reader in around.readers(node):
        if program.descriptor(reader).kind is not Kind.DOT or around.product(reader) is None:
            return False
        for position, operand in enumerate(program.nodes[reader].operands):
            if operand == node and _placed(around, node, found, reader, position) is None:
                return False
    return True


def _placed(around: Surroundings, node: int, found: Quantise, dot: int, position: int) -> Placed | None:
    """Base and strides of a quantise map's exponents where the dot reads it."""
    chosen = around.product(dot)
    assert chosen is not None
    product = chosen[0]
    made, operand, read = (
        around.program.descriptor(node),
        around.program.descriptor(dot).operands[position],
        product.reads[position],
    )
    if read.embedded:
        return _source_scale(made, found, operand)
    return _lane_scale(made, found, operand, read, product)


def _source_scale(made: Descriptor, found: Quantise, operand: Operand) -> Placed | None:
    """Base and strides of the exponents over the source's axes, the same along each of its rows."""
    exponents = plan_read(made.operands[found.exponent], made.shape)
    if exponents is None or exponents.embedded or operand.shape != made.shape or not made.shape:
        return None
    return None if exponents.strides[-1] else (exponents.base, exponents.strides)


def _lane_scale(made: Descriptor, found: Quantise, operand: Operand, read: Read, product: Product) -> Placed | None:
    """Base and strides of the exponents over the dot's space, the same along the depth."""
    points = 1
    for k, extent in enumerate(product.space):
        points *= extent if read.strides[k] else 1
    # A window reads an element many times: it is quantised once, before.
    if points > read.size:
        return None
    exponents = plan_read(made.operands[found.exponent], made.shape)
    if exponents is None or exponents.embedded or operand.shape != made.shape:
        return None
    base, strides = exponents.base, [0] * len(product.space)
    for step, axis in zip(exponents.strides, operand.map.axes, strict=True):
        base += step * axis.offset
        for k, coefficient in enumerate(axis.coefficients):
            strides[k] += step * coefficient if product.space[k] > 1 else 0
    return None if any(strides[k] for k in product.depth) else (base, tuple(strides))


def _reads_whole(descriptor: Descriptor, position: int) -> bool:
    """Whether an operand is read element by element, in the row-major order of the output."""
    read = plan_read(descriptor.operands[position], descriptor.shape)
    if read is None or read.embedded or read.base:
        return False
    steps = row_major(descriptor.shape)
    return all(
        stride == step for stride, step, extent in zip(read.strides, steps, descriptor.shape, strict=True) if extent > 1
    )


def _absorbed_rescale(around: Surroundings, dot: int, product: Product) -> tuple[int, int, tuple[Scale, ...]] | None:
    """Node, bits and exponents of the rescale map that alone reads this dot, if rows and columns have one each."""
    program = around.program
    readers = around.readers(dot)
    if len(readers) != 1 or dot in around.kept:
        return None
    (node,) = readers
    descriptor = program.descriptor(node)
    found = rescale_of(descriptor)
    if found is None or descriptor.shape != program.descriptor(dot).shape:
        return None
    if program.nodes[node].operands.count(dot) != 1 or not _reads_whole(descriptor, found.total):
        return None
    scales = [_scale(program, node, position) for position in found.exponents]
    if not all(_is_exponent(around, scale) for scale in scales):
        return None
    for first, second in (scales, scales[::-1]):
        if first is not None and second is not None:
            if not _moves(first, product.columns) and not _moves(second, product.rows):
                return node, found.bits, (first, second)
    return None


def _scale(program: Program, node: int, position: int) -> Scale | None:
    descriptor = program.descriptor(node)
    read = plan_read(descriptor.operands[position], descriptor.shape)
    if read is None or read.embedded:
        return None
    return Scale(program.nodes[node].operands[position], read.base, read.strides)


def _is_exponent(around: Surroundings, scale: Scale | None) -> bool:
    """Whether an operand surely holds exponents of groups: the product kernels rescale by nothing else."""
    if scale is None:
        return False
    low, high = around.ranges[scale.node]
    return low >= EXPONENT_FLOOR and high <= NOT_FINITE


def _moves(scale: Scale, axes: Sequence[int]) -> bool:
    return any(scale.strides[k] for k in axes)
