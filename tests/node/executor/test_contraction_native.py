"""Native contractions give the reference executor's bits: on every way of packing, and at the ends of all ranges."""

from __future__ import annotations

import os

import numpy as np
import pytest
from contraction_programs import (
    SPECIALS,
    Convolution,
    convolution_program,
    digits,
    finished,
    floats,
    matrix_program,
    one_map,
    rescaled,
)
from contraction_running import aligned, check, run, same_bits, traced

from orebit.executor.fused.contraction import Surroundings
from orebit.executor.fused.contraction_machine import contractor
from orebit.executor.native import library as native
from orebit.executor.native.kernels import Kernels, available
from orebit.executor.native.library import Library
from orebit.numerics import functions_quantised as quantised
from orebit.numerics.types import DType
from orebit.program.builder import Builder
from orebit.program.descriptor import Source
from orebit.program.graph import Program
from orebit.program.index_map import AxisMap, IndexMap, select_axes

pytestmark = pytest.mark.skipif(native.load() is None, reason=native.status().reason or "no native library")
ROUNDS = 600 if os.environ.get("OREBIT_LONG_TESTS") else 60


@pytest.fixture(params=["portable", "fastest"])
def kernels(request: pytest.FixtureRequest) -> Kernels:
    library = native.require()
    return Kernels(library, available(library)[0 if request.param == "portable" else -1])


def drawn(rng: np.random.Generator, program: Program, special: bool) -> list[np.ndarray]:
    return [floats(rng, spec.shape, special) for spec in program.specs(Source.CONSTANT)]


def random_matrices(rng: np.random.Generator) -> Program:
    batch = ((), (3,), (2, 5), (9,))[rng.integers(4)]
    m, n, k = (int(v) for v in rng.integers(1, 70, 3))
    flips = tuple(bool(v) for v in rng.integers(0, 2, 2))
    return matrix_program(batch, m, n, k, int(rng.choice([4, 8, 14, 15, 16, 22])), flips)


def random_convolution(rng: np.random.Generator) -> Program:
    groups = int(rng.choice([1, 1, 2]))
    n, c, o, k, kernel_width, stride, dilation = (int(rng.integers(1, most)) for most in (4, 5, 7, 4, 4, 4, 3))
    h, w, padding = int(rng.integers(7, 20)), int(rng.integers(7, 36)), int(rng.integers(0, 3))
    conv = Convolution(n, groups * c, h, w, groups * o, k, kernel_width, stride, padding, dilation, groups)
    kind = "forward" if groups > 1 else str(rng.choice(["forward", "input", "weight"]))
    return convolution_program(conv, int(rng.choice([8, 14, 15, 16, 22])), kind)


@pytest.mark.parametrize("make", [random_matrices, random_convolution])
def test_random_products_have_the_reference_bits(make, kernels: Kernels) -> None:
    rng = np.random.default_rng(5)
    for number in range(ROUNDS // 2):
        program = make(rng)
        check(kernels, program, drawn(rng, program, special=number % 3 == 0), threads=1 + number % 2)


@pytest.mark.parametrize("bits", [8, 15, 16, 22])
@pytest.mark.parametrize(("m", "n", "k"), [(70, 50, 4100), (300, 260, 130), (8, 8, 20000), (1, 1, 5000), (513, 2, 33)])
def test_deep_and_blocked_products_at_the_ends_of_the_range(m: int, n: int, k: int, bits: int) -> None:
    kernels = Kernels.best(native.require())
    program = matrix_program((), m, n, k, bits, (False, True))
    rng = np.random.default_rng(m)
    ends = [np.where(rng.random(spec.shape) < 0.9, 1, -1).astype(np.float32) for spec in program.specs(Source.CONSTANT)]
    check(kernels, program, ends, threads=2)
    check(kernels, program, drawn(rng, program, special=False), threads=2)


def test_the_weight_gradient_of_many_samples_is_cut_along_its_depth() -> None:
    kernels = Kernels.best(native.require())
    program = convolution_program(Convolution(40, 3, 12, 16, 5, 3, 3, padding=1), 15, "weight")
    prepared = check(kernels, program, drawn(np.random.default_rng(2), program, special=True), threads=2)
    assert prepared.schedule.chunks > 1


@pytest.mark.parametrize("channels", [3, 4])
def test_channels_of_an_image_are_paired_and_strided_windows_cut_into_phases(channels: int) -> None:
    kernels = Kernels.best(native.require())
    program = convolution_program(Convolution(3, channels, 20, 36, 5, 3, 3, stride=2, padding=1), 15, "forward")
    prepared = check(kernels, program, drawn(np.random.default_rng(3), program, special=True))
    buffer = prepared.schedule.buffers[1]
    assert buffer is not None and buffer.pair == 1 and buffer.phases == 2
    assert prepared.schedule.depth == 2 * -(-channels // 2) * 9


@pytest.mark.parametrize("dtype", [DType.I8, DType.U8, DType.I16, DType.I32])
def test_plain_integers_at_the_ends_of_their_types(dtype: DType, kernels: Kernels) -> None:
    """Operands that nothing quantised, read backwards and with a fill that is not zero."""
    builder = Builder()
    a, b = builder.constant(dtype, (6, 40)), builder.constant(DType.I8, (5, 40))
    if dtype.size > 1:
        a = one_map(builder, lambda v: v.max(-32767).min(32767), [a], (6, 40), dtype)
    fill = -7 if dtype.is_signed else 7
    read = IndexMap((AxisMap(5, (-1, 0, 0)), AxisMap(-2, (0, 0, 1))))
    dot = builder.dot(a.view(read, fill=fill), b.view(select_axes(3, [1, 2])), (6, 5), (40,))
    program = finished(builder, dot)
    rng = np.random.default_rng(7)
    low, high = dtype.range
    values = rng.choice(np.array([low, low + 1, 0, 1, high], dtype=np.int64), (6, 40)).astype(dtype.numpy)
    check(kernels, program, [values, rng.choice([-128, 127], (5, 40)).astype(np.int8)])


def test_exponents_that_no_group_has_give_the_bits_of_the_expressions(kernels: Kernels) -> None:
    """A hostile program may pass any i16 as an exponent. Quantising by it stays what its expression says; a rescale map
    is not computed with the product."""
    builder = Builder()
    x, y = builder.constant(DType.F32, (9, 21)), builder.constant(DType.F32, (17, 21))
    _, ex = digits(builder, x, [0], 15)
    wrong = builder.constant(DType.I16, (17,))
    other = builder.constant(DType.I16, (17,))
    qx = one_map(
        builder, lambda v, e: quantised.quantise(v, e, 15), [x, ex.view(select_axes(2, [0]))], (9, 21), DType.I16
    )
    qy = one_map(
        builder, lambda v, e: quantised.quantise(v, e, 15), [y, wrong.view(select_axes(2, [0]))], (17, 21), DType.I16
    )
    dot = builder.dot(qx.view(select_axes(3, [0, 2])), qy.view(select_axes(3, [1, 2])), (9, 17), (21,))
    out = rescaled(builder, dot, ex.view(select_axes(2, [0])), other.view(select_axes(2, [1])), 15)
    program = finished(builder, out)
    rng = np.random.default_rng(11)
    exponents = np.array([-32768, -1000, -127, -113, -100, 0, 14, 127, 128, 129, 130, 141, 142, 200, 1000, 32767, 5])
    constants = [
        rng.choice(SPECIALS, (9, 21)),
        np.where(rng.random((17, 21)) < 0.5, rng.choice(SPECIALS, (17, 21)), floats(rng, (17, 21))).astype(np.float32),
        exponents.astype(np.int16),
        rng.permutation(exponents).astype(np.int16),
    ]
    prepared = check(kernels, program, constants)
    assert prepared.contraction.rescale is None and len(prepared.contraction.absorbed) == 2


def test_a_result_does_not_depend_on_how_tasks_are_split() -> None:
    library: Library = native.require()
    program = convolution_program(Convolution(5, 4, 11, 16, 6, 3, 3, padding=1), 15, "forward")
    values = traced(program, drawn(np.random.default_rng(1), program, special=False))
    contract, around = contractor(library), Surroundings(program)
    prepared = next(p for p in (contract(around, number) for number in program.operations) if p is not None)
    node = prepared.contraction.output
    whole = run(library, prepared, values, threads=1)
    assert same_bits(whole, values[node])
    memory, place = aligned(prepared.workspace)
    out = np.zeros_like(values[node])
    work, kept = prepared.bind(library, lambda n: out.ctypes.data if n == node else values[n].ctypes.data, place)
    for task in work:
        kernel = native.KERNEL_FUNCTION(task.kernel)
        words = (native.ctypes.c_int64 * len(task.args))(*task.args)
        for part in reversed(range(task.count)):
            kernel(words, part, part + 1)
    assert np.array_equal(out.view(np.uint32), whole.view(np.uint32)) and kept and memory.size


def test_digits_that_several_products_read_are_quantised_by_each_of_them() -> None:
    library = native.require()
    builder = Builder()
    x, y, z = (builder.constant(DType.F32, shape) for shape in ((9, 21), (17, 21), (4, 21)))
    (qx, _), (qy, _), (qz, _) = (digits(builder, value, [0], 15) for value in (x, y, z))
    rows, columns = select_axes(3, [0, 2]), select_axes(3, [1, 2])
    first = builder.dot(qx.view(rows), qy.view(columns), (9, 17), (21,))
    second = builder.dot(qz.view(rows), qx.view(columns), (4, 9), (21,))
    third = builder.dot(qz.view(rows), qy.view(columns), (4, 17), (21,))
    program = finished(builder, first, second, third, builder.identity(qz))
    values = traced(program, drawn(np.random.default_rng(4), program, special=True))
    contract, around = contractor(library), Surroundings(program)
    made = [p for p in (contract(around, number) for number in program.operations) if p is not None]
    # The digits of z are new state as well: they are stored, and read by both of their products.
    assert [len(prepared.contraction.absorbed) for prepared in made] == [2, 1, 1]
    for prepared in made:
        assert same_bits(run(library, prepared, values), values[prepared.contraction.output])
