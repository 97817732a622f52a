"""Which maps are recognised around a dot, and that the matrix product planned for it is the dot."""

from __future__ import annotations

import numpy as np
import pytest
from contraction_programs import (
    Convolution,
    convolution_program,
    digits,
    finished,
    floats,
    matrix_program,
    one_map,
)

from orebit.executor.fused import contraction_macros as macros
from orebit.executor.fused.contraction import Contraction, Scale, Side, Surroundings, plan
from orebit.executor.fused.contraction_kernels import Arithmetic, choose
from orebit.executor.fused.contraction_reads import Read, positions
from orebit.executor.reference import ReferenceExecutor
from orebit.numerics import functions_quantised as quantised
from orebit.numerics.types import DType
from orebit.program.builder import Builder
from orebit.program.descriptor import Kind, Source
from orebit.program.graph import Program
from orebit.program.index_map import AxisMap, IndexMap, select_axes

CONVOLUTIONS = [
    Convolution(2, 3, 6, 5, 4, 3, 3, padding=1),
    Convolution(2, 3, 9, 8, 5, 3, 2, stride=2, padding=1),
    Convolution(1, 4, 10, 10, 4, 3, 3, stride=1, padding=2, dilation=2),
    Convolution(3, 2, 5, 5, 3, 1, 1, stride=2),
]


def constants(program: Program, seed: int, special: bool = False) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [floats(rng, spec.shape, special) for spec in program.specs(Source.CONSTANT)]


def only_dot(program: Program) -> int:
    return next(number for number in program.operations if program.descriptor(number).kind is Kind.DOT)


def planned(program: Program) -> Contraction:
    contraction = plan(Surroundings(program), only_dot(program))
    assert contraction is not None
    return contraction


def quantised_by(side: Side, read: np.ndarray, e: np.ndarray) -> np.ndarray:
    assert side.quantise is not None
    macro = side.quantise.macro
    with np.errstate(all="ignore"):
        factor = ((macro.bits - 1 - e.astype(np.int64) + 127) << 23).astype(np.uint32).view(np.float32)
        scaled = np.nan_to_num(np.rint(read * factor), nan=0.0, posinf=1e9, neginf=-1e9)
    return np.where(e == 129, 0, np.clip(scaled, -macro.limit, macro.limit)).astype(np.int64)


def buffer(side: Side, values: list[np.ndarray]) -> np.ndarray:
    """What the side's strided read runs over, flat."""
    source = values[side.node].reshape(side.read.source)
    if not side.read.embedded:
        return source.reshape(-1)
    if side.quantise is not None:
        axes = tuple(range(source.ndim))
        source = quantised_by(side, source.reshape(-1), exponents(side.quantise.scale, axes, source.shape, values))
        source = source.reshape(side.read.source)
    return embedded(source, side.read).reshape(-1)


def embedded(source: np.ndarray, read: Read) -> np.ndarray:
    target = np.full(read.extents, read.fill, dtype=source.dtype)
    inner = tuple(slice(a.start, a.start + a.step * max(a.count - 1, 0) + (a.count > 0), a.step) for a in read.axes)
    target[inner] = source[tuple(slice(a.first, a.first + a.count) for a in read.axes)]
    return target


def exponents(scale: Scale, product_axes: tuple[int, ...], space: tuple[int, ...], values: list[np.ndarray]):
    return values[scale.node].reshape(-1)[
        scale.base + positions([scale.strides[k] for k in product_axes], [space[k] for k in product_axes])
    ]


def matrix(contraction: Contraction, side: Side, lanes: tuple[int, ...], values: list[np.ndarray]) -> np.ndarray:
    """The integers [batch, lane, depth] that a side multiplies."""
    product = contraction.product
    axes = product.batch + lanes + product.depth
    extents = [product.space[k] for k in axes]
    read = buffer(side, values)[side.read.base + positions([side.read.strides[k] for k in axes], extents)]
    if side.quantise is not None and not side.read.embedded:
        read = quantised_by(side, read, exponents(side.quantise.scale, axes, product.space, values))
    batch, depth = product.count(product.batch), product.count(product.depth)
    return read.astype(np.int64).reshape(batch, -1, depth)


def emulate(contraction: Contraction, values: list[np.ndarray]) -> np.ndarray:
    """The dot, computed as the plan says, in the order of its output."""
    product = contraction.product
    left = matrix(contraction, contraction.left, product.rows, values)
    right = matrix(contraction, contraction.right, product.columns, values)
    assert np.abs(left).max(initial=0) <= contraction.left.reach
    assert np.abs(right).max(initial=0) <= contraction.right.reach
    out = np.zeros(product.count(tuple(range(product.rank))), dtype=np.int64)
    out[product.output(product.batch + product.rows + product.columns)] = (left @ right.transpose(0, 2, 1)).reshape(-1)
    return out


def check(program: Program, seed: int) -> Contraction:
    executor = ReferenceExecutor(program, constants(program, seed, special=seed % 2 == 1), [])
    state = [np.zeros(spec.shape, spec.dtype.numpy) for spec in program.specs(Source.STATE)]
    values = [tensor.numpy() for tensor in executor.trace(state)]
    contraction = planned(program)
    assert np.array_equal(emulate(contraction, values), values[contraction.dot].reshape(-1))
    return contraction


@pytest.mark.parametrize("bits", [4, 8, 14, 15, 16, 22])
def test_macros_are_found_by_their_expressions_alone(bits: int) -> None:
    program = matrix_program((), 3, 4, 5, bits)
    found = [macros.quantise_of(d) for d in program.descriptors]
    assert [q.bits for q in found if q is not None] == [bits] * 2
    rescales = [macros.rescale_of(d) for d in program.descriptors]
    assert [r.bits for r in rescales if r is not None] == [bits]
    assert {macros.exponent_of(d) for d in program.descriptors} == {None, bits}
    assert sum(macros.is_magnitude(d) for d in program.descriptors) >= 1


def test_a_macro_with_one_constant_changed_is_none() -> None:
    builder = Builder()
    x = builder.constant(DType.F32, (4,))
    e = builder.constant(DType.I16, (4,))
    wrong = one_map(builder, lambda v, s: quantised.quantise(v, s, 15).min(5), [x, e], (4,), DType.I16)
    narrow = one_map(builder, lambda v, s: quantised.quantise(v, s, 15), [x, e], (4,), DType.I8)
    right = one_map(builder, lambda v, s: quantised.quantise(v, s, 15), [x, e], (4,), DType.I16)
    program = finished(builder, wrong, narrow, right)
    found = [macros.quantise_of(program.descriptor(number)) for number in program.new_state]
    assert found == [None, None, macros.Quantise(15, 0, 1)]


@pytest.mark.parametrize("transposed", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_matrix_products_absorb_quantise_and_rescale(batch: tuple[int, ...], transposed: tuple[bool, bool]) -> None:
    contraction = check(matrix_program(batch, 5, 7, 9, 15, transposed), seed=len(batch))
    assert contraction.rescale is not None and contraction.bits == 15
    assert contraction.left.quantise is not None and contraction.right.quantise is not None
    assert contraction.left.quantise.tame and contraction.right.quantise.tame
    assert len(contraction.absorbed) == 3
    product = contraction.product
    assert sorted(product.shape[1:]) == sorted((5, 7, 9)) and product.shape[0] == int(np.prod(batch))
    assert product.output(product.columns)[1] == 1


@pytest.mark.parametrize("conv", CONVOLUTIONS)
@pytest.mark.parametrize("kind", ["forward", "input", "weight"])
def test_convolutions_are_products_over_embedded_images(conv: Convolution, kind: str) -> None:
    contraction = check(convolution_program(conv, 15, kind), seed=conv.h)
    assert contraction.rescale is not None
    product = contraction.product
    columns = product.output(product.columns)
    assert columns[1] == 1 if product.columns else True


def test_groups_of_a_convolution_are_a_batch() -> None:
    contraction = check(convolution_program(Convolution(2, 6, 5, 5, 4, 3, 3, padding=1, groups=2), 8, "forward"), 1)
    assert contraction.product.shape == (2, 2, 2 * 5 * 5, 3 * 9)
    assert contraction.kernel.arithmetic is Arithmetic.INT8


def test_an_output_axis_that_moves_no_operand_is_left_to_loops() -> None:
    builder = Builder()
    a, b = (builder.constant(DType.I8, (4, 5)) for _ in range(2))
    dot = builder.dot(a.view(select_axes(4, [0, 3])), b.view(select_axes(4, [1, 3])), (4, 4, 3), (5,))
    program = finished(builder, dot)
    assert plan(Surroundings(program), only_dot(program)) is None


def test_a_total_that_others_read_is_written_as_it_is() -> None:
    builder = Builder()
    x = builder.constant(DType.F32, (4, 5))
    q, e = digits(builder, x, [0], 15)
    total = builder.dot(q.view(select_axes(3, [0, 2])), q.view(select_axes(3, [1, 2])), (4, 4), (5,))
    rows, columns = (e.view(select_axes(2, [k])) for k in range(2))
    whole = total.view(select_axes(2, [0, 1]))
    scaled = one_map(builder, lambda s, a, b: quantised.rescale(s, a, b, 15), [whole, rows, columns], (4, 4), DType.F32)
    contraction = check(finished(builder, total, scaled), 0)
    assert contraction.rescale is None and contraction.output == contraction.dot
    assert len(contraction.absorbed) == 1  # both sides quantise the same map


def test_exponents_that_vary_along_the_depth_are_not_absorbed() -> None:
    builder = Builder()
    x, y = (builder.constant(DType.F32, (4, 5)) for _ in range(2))
    q, _ = digits(builder, x, [1], 15)
    p, _ = digits(builder, y, [0], 15)
    total = builder.dot(q.view(select_axes(3, [0, 2])), p.view(select_axes(3, [1, 2])), (4, 4), (5,))
    contraction = check(finished(builder, total), 0)
    sides = {side.read.strides: side.quantise for side in (contraction.left, contraction.right)}
    assert sorted(found is None for found in sides.values()) == [False, True]


@pytest.mark.parametrize("of", ["own", "another tensor", "another axis", "other bits", "half of it"])
def test_digits_are_clamped_unless_exponents_are_their_groups(of: str) -> None:
    """Exponents of anything else may be too small for an element: its digit is what the clamp makes it."""
    builder = Builder()
    x, y = (builder.constant(DType.F32, (6, 6)) for _ in range(2))
    if of == "half of it":
        magnitudes = one_map(builder, quantised.magnitude, [x], (6, 6), DType.I32)
        largest = builder.max(magnitudes.view(select_axes(2, [0, 1])), (6,), (3,))
        e = one_map(builder, lambda m: quantised.exponent(m, 15), [largest], (6,), DType.I16)
    else:
        given, kept, bits = (
            y if of == "another tensor" else x,
            int(of == "another axis"),
            14 if of == "other bits" else 15,
        )
        _, e = digits(builder, given, [kept], bits)
    spread = e.view(select_axes(2, [0]))
    q = one_map(builder, lambda v, e: quantised.quantise(v, e, 15), [x, spread], (6, 6), DType.I16)
    p, _ = digits(builder, y, [0], 15)
    dot = builder.dot(q.view(select_axes(3, [0, 2])), p.view(select_axes(3, [1, 2])), (6, 6), (6,))
    contraction = check(finished(builder, dot), 0)
    tame = {side.node: side.quantise.tame for side in (contraction.left, contraction.right) if side.quantise}
    assert sorted(tame.values()) == sorted([True, of == "own"])


def test_reversed_and_strided_views_of_plain_integers() -> None:
    builder = Builder()
    a, b = builder.constant(DType.I16, (6, 20)), builder.constant(DType.I32, (4, 9))
    one_map(builder, lambda v: v.max(-99).min(99), [b], (4, 9), DType.I32)
    small = one_map(builder, lambda v: v.max(-99).min(99), [b], (4, 9), DType.I32)
    read_a = a.view(IndexMap((AxisMap(5, (-1, 0, 0)), AxisMap(19, (0, 0, -2)))))
    read_b = small.view(IndexMap((AxisMap(0, (0, 1, 0)), AxisMap(0, (0, 0, 1)))))
    program = finished(builder, builder.dot(read_a, read_b, (6, 4), (9,)))
    rng = np.random.default_rng(1)
    given = [rng.integers(-(2**15), 2**15, (6, 20)).astype(np.int16), rng.integers(-200, 200, (4, 9)).astype(np.int32)]
    values = [tensor.numpy() for tensor in ReferenceExecutor(program, given, []).trace([np.zeros((6, 4), np.int64)])]
    contraction = planned(program)
    assert np.array_equal(emulate(contraction, values), values[contraction.dot].reshape(-1))
    assert contraction.left.reach <= 2**15 and contraction.right.reach in (99, 2**15)


@pytest.mark.parametrize(
    ("reach", "depth", "arithmetic", "spill"),
    [
        ((127, 127), 4096, Arithmetic.INT8, 133140),
        ((128, 127), 16, Arithmetic.INT16, 132100),
        ((16383, 16383), 4096, Arithmetic.INT16, 8),
        ((8191, 8191), 4096, Arithmetic.INT16, 32),
        ((32767, 32767), 4096, Arithmetic.INT16, 2),
        ((32768, 32768), 64, Arithmetic.FLOAT64, 1 << 23),  # two such terms overflow 32 bits at once
        (((1 << 21) - 1, (1 << 21) - 1), 1 << 12, Arithmetic.FLOAT64, 2048),
        ((1 << 62, 2), 1, None, 0),
    ],
)
def test_no_kernel_is_chosen_that_could_round_or_wrap(
    reach: tuple[int, int], depth: int, arithmetic: Arithmetic | None, spill: int
) -> None:
    kernel = choose(reach, depth)
    if arithmetic is None:
        assert kernel is None
        return
    assert kernel is not None and kernel.arithmetic is arithmetic and kernel.spill == spill
    limit = 2**53 if arithmetic is Arithmetic.FLOAT64 else 2**31 - 2**16
    assert kernel.spill * reach[0] * reach[1] <= limit
