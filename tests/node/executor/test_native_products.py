"""The native exact products give numpy's integers, bit for bit, on every instruction set that this machine has."""

from __future__ import annotations

import ctypes
import platform

import numpy as np
import pytest
from native_operands import (
    Packed,
    build_emulated,
    digits_of,
    expected_float_product,
    exponents_of,
    float_product,
    integer_product,
    largest_digit,
    pack,
    unpack,
)
from numpy.typing import NDArray

from orebit.errors import ExecutionError
from orebit.executor.native.kernels import Digits, Instructions, Kernels
from orebit.executor.native.library import Library, Step, status
from orebit.executor.native.packing import TILE_COLUMNS, TILE_ROWS, Exponents, MeasureExponents, measure_norms
from orebit.executor.native.products import Output, Product, Rescale, proven_pairs

NAN_BITS = 0x7FC00000


EMULATED = [Instructions.AVX512_VNNI, Instructions.AMX]


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Library:
    if platform.machine() != "x86_64":
        pytest.skip("the kernels with emulated instructions are compiled on x86-64 only")
    library = build_emulated(tmp_path_factory.mktemp("emulated"))
    if library is None:
        pytest.skip("there is no C compiler to build the emulated instructions with")
    return library


@pytest.fixture(
    scope="module",
    params=[*Instructions, *(f"emulated {name}" for name in EMULATED)],
)
def kernels(request: pytest.FixtureRequest) -> Kernels:
    if request.param.startswith("emulated"):
        return Kernels(request.getfixturevalue("emulated"), Instructions(request.param.split()[1]))
    loaded = status()
    if loaded.library is None:
        pytest.skip(loaded.reason)
    try:
        return Kernels(loaded.library, Instructions(request.param))
    except ExecutionError as error:
        pytest.skip(str(error))


def same_bits(left: NDArray[np.float32], right: NDArray[np.float32]) -> bool:
    return bool(np.array_equal(left.view(np.int32), right.view(np.int32)))


def digits(rng: np.random.Generator, shape: tuple[int, ...], bits: int, dtype: str = "int16") -> NDArray[np.generic]:
    limit = largest_digit(bits)
    return rng.integers(-limit, limit, shape, endpoint=True).astype(dtype)


def exact(a: NDArray[np.generic], b: NDArray[np.generic]) -> NDArray[np.int64]:
    return a.astype(np.int64) @ b.astype(np.int64).transpose(0, 2, 1)


@pytest.mark.parametrize("bits", [2, 8, 9, 12, 13, 14, 15, 16])
def test_random_digits_of_every_width(kernels: Kernels, bits: int) -> None:
    rng = np.random.default_rng(bits)
    a, b = digits(rng, (1, 19, 301), bits), digits(rng, (1, 53, 301), bits)
    limit = largest_digit(bits)
    for norms in [True, False]:
        assert np.array_equal(integer_product(kernels, a, b, (limit, limit), 2, norms), exact(a, b))


def test_every_remainder_of_k(kernels: Kernels) -> None:
    rng = np.random.default_rng(0)
    for k in [*range(1, 70), 127, 128, 129, 255, 257, 511]:
        a, b = digits(rng, (1, 5, k), 15), digits(rng, (1, 17, k), 15)
        assert np.array_equal(integer_product(kernels, a, b, (16383, 16383)), exact(a, b)), k


def test_every_remainder_of_rows_and_columns(kernels: Kernels) -> None:
    rng = np.random.default_rng(1)
    for size in range(1, 36):
        a, b = digits(rng, (1, size, 21), 15), digits(rng, (1, 36 - size, 21), 15)
        assert np.array_equal(integer_product(kernels, a, b, (16383, 16383), 2), exact(a, b)), size


@pytest.mark.parametrize("bits", [8, 14, 15, 16])
@pytest.mark.parametrize("signs", [(1, 1), (1, -1), (-1, -1)])
def test_the_largest_digits_everywhere(kernels: Kernels, bits: int, signs: tuple[int, int]) -> None:
    limit = largest_digit(bits)
    a = np.full((1, 6, 5000), signs[0] * limit, dtype=np.int16)
    b = np.full((1, 20, 5000), signs[1] * limit, dtype=np.int16)
    for norms in [True, False]:
        assert np.array_equal(integer_product(kernels, a, b, (limit, limit), 1, norms), exact(a, b))


def test_small_digits_with_a_few_large_ones_cross_every_chunk_length(kernels: Kernels) -> None:
    rng = np.random.default_rng(2)
    for share in [0.0, 0.01, 0.05, 0.2, 0.5, 0.9]:
        a, b = digits(rng, (1, 37, 1000), 6), digits(rng, (1, 70, 1000), 6)
        for operand in (a, b):
            operand[rng.random(operand.shape) < share] = 16383
        assert np.array_equal(integer_product(kernels, a, b, (16383, 16383), 2), exact(a, b)), share


def test_sums_beyond_one_carry_save_accumulation(kernels: Kernels) -> None:
    """At 15 bits without norms a chunk is 8 values, and 65,536 chunks are as many as two words hold."""
    if "emulated" in kernels.library.path.name:
        pytest.skip("half a million values a sum take the emulated instructions too long")
    k = 8 * 65536 + 24
    a = np.full((1, 2, k), 16383, dtype=np.int16)
    b = np.full((1, 3, k), -16383, dtype=np.int16)
    b[0, 1, ::3] = 5
    assert np.array_equal(integer_product(kernels, a, b, (16383, 16383), 2, norms=False), exact(a, b))


@pytest.mark.parametrize("dtype", ["int8", "int16"])
@pytest.mark.parametrize("order", ["along", "across", "neither"])
def test_packing_digits_of_any_strides(kernels: Kernels, dtype: str, order: str) -> None:
    rng = np.random.default_rng(3)
    for tile in [TILE_ROWS, TILE_COLUMNS]:
        for rows, k in [(1, 1), (3, 17), (16, 16), (67, 33), (130, 90)]:
            packed = pack(kernels, strided(digits(rng, (2, rows, k), 8, dtype), order), tile)
            Step(kernels.library, [packed.work]).run(2)
            check_panels(packed, packed.values.astype(np.int64))


@pytest.mark.parametrize("bits", [4, 8, 14, 15, 16])
@pytest.mark.parametrize("order", ["along", "across", "neither"])
def test_packing_floats_quantises_them(kernels: Kernels, bits: int, order: str) -> None:
    rng = np.random.default_rng(4)
    for tile in [TILE_ROWS, TILE_COLUMNS]:
        for rows, k in [(1, 1), (5, 40), (67, 33), (130, 50)]:
            packed = pack(kernels, strided(hard_floats(rng, (2, rows, k)), order), tile, bits)
            Step(kernels.library, [packed.work]).run(2)
            values = np.ascontiguousarray(packed.values).view(np.float32)
            exponents = exponents_of(values, bits)
            assert np.array_equal(packed.exponents, exponents)
            check_panels(packed, digits_of(values, exponents, bits))


@pytest.mark.parametrize("order", ["along", "across", "neither"])
def test_exponents_of_groups(kernels: Kernels, order: str) -> None:
    """Groups of [outer, inner, k] values a row, as a channel's are over samples and positions."""
    rng = np.random.default_rng(5)
    values = strided(hard_floats(rng, (3, 70, 45)), order)
    strides = [stride // 4 for stride in values.strides]
    out = np.zeros(70, dtype=np.int16)
    measure = MeasureExponents(
        source=values.ctypes.data,
        out=out.ctypes.data,
        rows=70,
        k=9,
        row_stride=strides[1],
        k_stride=strides[2],
        bits=15,
        outer=3,
        inner=5,
        outer_stride=strides[0],
        inner_stride=9 * strides[2],
    )
    Step(kernels.library, [measure.work(kernels)]).run(2)
    assert np.array_equal(out, exponents_of(np.ascontiguousarray(values), 15).max(axis=0))


def test_norms_bound_every_block_and_are_tight(kernels: Kernels) -> None:
    rng = np.random.default_rng(6)
    # Two squares of -32768 are 2^31, one more than a signed 32-bit sum of them can hold.
    lowest = np.full((1, 23, 300), -32768, dtype=np.int16)
    for tile, values in [(t, v) for t in (TILE_ROWS, TILE_COLUMNS) for v in (digits(rng, (1, 23, 300), 16), lowest)]:
        packed = pack(kernels, values, tile)
        again = np.zeros((packed.panels.count, 4), dtype=np.float32)
        task = measure_norms(kernels, packed.data.ctypes.data, packed.panels, again.ctypes.data)
        Step(kernels.library, [packed.work, task]).run(1)
        norms = packed.norms.view(np.float32).reshape(-1, 4)
        assert np.array_equal(norms, again)
        squares = unpack(packed)[0].astype(np.int64).reshape(packed.panels.count, tile, -1) ** 2
        for column, pairs in enumerate([8, 16, 32, packed.panels.pairs]):
            starts = np.arange(0, squares.shape[-1], 2 * pairs)
            largest = np.add.reduceat(squares, starts, axis=-1).max(axis=(1, 2))
            assert (norms[:, column] >= largest).all()
            assert (norms[:, column] <= largest * 1.02).all()


@pytest.mark.parametrize("bits", [4, 8, 9, 13, 14, 15, 16])
@pytest.mark.parametrize("threads", [1, 3])
def test_float_products_have_the_specified_bits(kernels: Kernels, bits: int, threads: int) -> None:
    rng = np.random.default_rng(7)
    for batch, m, n, k in [(1, 1, 1, 1), (1, 70, 45, 200), (3, 9, 33, 40), (1, 8, 16, 1200)]:
        a = rng.standard_normal((batch, m, k)).astype(np.float32)
        b = rng.standard_normal((batch, n, k)).astype(np.float32)
        expected = expected_float_product(a, b, bits)
        assert same_bits(float_product(kernels, a, b, bits, threads), expected)
        assert same_bits(np.ascontiguousarray(float_product(kernels, a, b, bits, threads, transposed=True)), expected)


def test_special_values_make_nan_of_exactly_their_rows_and_columns(kernels: Kernels) -> None:
    rng = np.random.default_rng(8)
    for k in [20, 700]:
        a, b = hard_floats(rng, (1, 40, k)), hard_floats(rng, (1, 50, k))
        out = float_product(kernels, a, b, 15)
        assert same_bits(out, expected_float_product(a, b, 15))
        nan = np.isnan(out)
        assert 0 < nan.sum() < out.size
        assert (out.view(np.uint32)[nan] == NAN_BITS).all()


def test_uniform_magnitudes_at_full_scale_round_once(kernels: Kernels) -> None:
    """Sums of more than 24 bits, many of them halfway between two floats after a detour through a wrong double."""
    rng = np.random.default_rng(9)
    a = rng.uniform(0.5, 1.0, (1, 64, 3000)).astype(np.float32)
    b = rng.uniform(0.5, 1.0, (1, 64, 3000)).astype(np.float32)
    assert same_bits(float_product(kernels, a, b, 15), expected_float_product(a, b, 15))


@pytest.mark.parametrize("magnitude", [16383, 9400, 8190, 6680, 5800, 5780, 4720, 4090, 3340, 2890, 2050])
def test_sums_as_large_as_the_norms_allow_are_exact(kernels: Kernels, magnitude: int) -> None:
    """Equal digits make each chunk's sum its bound, whatever chunk the norms choose."""
    signs = np.where(np.arange(1000) % 300 < 150, 1, -1)
    a = np.full((1, 5, 1000), magnitude, dtype=np.int16)
    b = (np.arange(1, 20)[None, :, None] % 2 * 2 - 1) * magnitude * signs
    assert np.array_equal(integer_product(kernels, a, b.astype(np.int16), (16383, 16383)), exact(a, b))


def test_a_bias_is_added_with_a_rounding_of_its_own(kernels: Kernels) -> None:
    rng = np.random.default_rng(10)
    a, b = hard_floats(rng, (1, 21, 64)), rng.standard_normal((1, 37, 64)).astype(np.float32)
    bias = rng.standard_normal(37).astype(np.float32)
    bias[3], bias[4] = np.inf, np.uint32(0xFFC12345).view(np.float32)
    expected = expected_float_product(a, b, 15) + bias
    expected[np.isnan(expected)] = np.uint32(NAN_BITS).view(np.float32)
    assert same_bits(float_product(kernels, a, b, 15, bias=bias), expected)


@pytest.mark.parametrize("positions", [7, 16, 24, 64])
def test_groups_of_columns_have_exponents_and_places_of_their_own(kernels: Kernels, positions: int) -> None:
    """A convolution's output: channels are rows, and the positions of several samples are the columns."""
    rng = np.random.default_rng(positions)
    samples, channels, k = 5, 9, 50
    weights = rng.standard_normal((1, channels, k)).astype(np.float32)
    images = rng.standard_normal((samples, positions, k)).astype(np.float32)
    images *= np.exp2(np.arange(samples))[:, None, None]
    exponents = exponents_of(images.reshape(samples, -1), 15)
    columns = digits_of(images, np.repeat(exponents[:, None], positions, 1), 15).reshape(1, -1, k).astype(np.int16)
    left, right = pack(kernels, weights, TILE_ROWS, 15), pack(kernels, columns, TILE_COLUMNS)
    sample_exponents = exponents.astype(np.int16)
    out = np.zeros((samples, channels, positions), dtype=np.float32)
    product = Product(
        a=left.data.ctypes.data,
        b=right.data.ctypes.data,
        a_panels=left.panels,
        b_panels=right.panels,
        out=Output(address=out.ctypes.data, row=positions, column=1, column_group=channels * positions),
        proven=proven_pairs(16383, 16383),
        a_norms=left.norms.ctypes.data,
        b_norms=right.norms.ctypes.data,
        column_group=positions,
        rescale=Rescale(
            shift=28,
            rows=Exponents(address=left.exponents.ctypes.data),
            columns=Exponents(address=sample_exponents.ctypes.data, group=1, row=0),
        ),
    )
    Step(kernels.library, [left.work, right.work, product.work(kernels)]).run(2)
    weight_exponents = exponents_of(weights[0], 15)
    sums = digits_of(weights[0], weight_exponents, 15) @ columns[0].T.astype(np.int64)
    scale = weight_exponents[:, None] + np.repeat(exponents, positions)[None] - 28
    expected = (sums.astype(np.float32) * np.exp2((scale >> 1).astype(np.float32))) * np.exp2(
        (scale - (scale >> 1)).astype(np.float32)
    )
    expected = expected.reshape(channels, samples, positions).transpose(1, 0, 2)
    assert same_bits(out, np.ascontiguousarray(expected))


@pytest.mark.parametrize("bits", [8, 15, 17, 20, 22])
def test_products_of_doubles_up_to_22_bits(kernels: Kernels, bits: int) -> None:
    """5,000 products of 22 bits pass 2^53, so that several chunks are added up as integers."""
    rng = np.random.default_rng(11)
    limit = largest_digit(bits)
    dtype = "int8" if bits <= 8 else "int16" if bits <= 16 else "int32"
    for m, n, k in [(1, 1, 1), (19, 53, 301), (6, 20, 5000)]:
        a, b = digits(rng, (2, m, k), bits, dtype), digits(rng, (2, n, k), bits, dtype)
        a[0], b[0] = limit, -limit
        assert np.array_equal(integer_product(kernels, a, b, (limit, limit), 2, kind=Digits.DOUBLE), exact(a, b))


@pytest.mark.parametrize("bits", [15, 17, 22])
@pytest.mark.parametrize("order", ["along", "across", "neither"])
def test_float_products_of_doubles_have_the_specified_bits(kernels: Kernels, bits: int, order: str) -> None:
    rng = np.random.default_rng(12)
    a, b = hard_floats(rng, (2, 40, 300)), hard_floats(rng, (2, 33, 300))
    out = float_product(kernels, strided(a, order), strided(b, order), bits, 2, kind=Digits.DOUBLE)
    assert same_bits(out, expected_float_product(a, b, bits))


@pytest.mark.parametrize("bits", [4, 8])
def test_products_of_bytes(kernels: Kernels, bits: int) -> None:
    if Digits.INT8 not in kernels.digits:
        pytest.skip(f"{kernels.instructions} has no product of bytes")
    rng = np.random.default_rng(13)
    limit = largest_digit(bits)
    for m, n, k in [(1, 1, 1), (4, 16, 16), (19, 53, 301), (37, 70, 128), (6, 33, 140_000)]:
        a, b = digits(rng, (2, m, k), bits, "int8"), digits(rng, (2, n, k), bits, "int8")
        a[0], b[0] = limit, -limit
        assert np.array_equal(integer_product(kernels, a, b, (limit, limit), 2, kind=Digits.INT8), exact(a, b))
    x, y = hard_floats(rng, (2, 40, 300)), hard_floats(rng, (2, 33, 300))
    assert same_bits(float_product(kernels, x, y, bits, 2, kind=Digits.INT8), expected_float_product(x, y, bits))


def test_a_kernel_with_other_bits_is_not_trusted(kernels: Kernels) -> None:
    """The trial that every instruction set passes before it is used refuses kernels that read the panels otherwise."""
    library = kernels.library
    agrees = ctypes.CDLL(str(library.path)).orebit_agrees
    agrees.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int]
    for digits, width in [("8", 1), ("16", 2), ("64", 8)]:
        own = library.address(f"orebit_product{digits}_portable")
        other = library.address(f"orebit_product{'8' if digits == '16' else '16'}_portable")
        assert agrees(own, own, width) == 1
        assert agrees(other, own, width) == 0


def test_digits_that_are_too_large_are_refused() -> None:
    with pytest.raises(ExecutionError, match="too large for the product of INT16 panels"):
        proven_pairs(40000, 1)
    with pytest.raises(ExecutionError, match="too large for the product of DOUBLE panels"):
        proven_pairs(1 << 27, 1 << 27, Digits.DOUBLE)


def strided(values: NDArray[np.generic], order: str) -> NDArray[np.generic]:
    """The same [batch, rows, k] values, contiguous along k, across it, or neither way."""
    if order == "along":
        return np.ascontiguousarray(values)
    if order == "across":
        return np.ascontiguousarray(values.transpose(0, 2, 1)).transpose(0, 2, 1)
    wide = np.zeros((*values.shape[:2], 3 * values.shape[2]), dtype=values.dtype)
    wide[..., ::3] = values
    return wide[..., ::3]


def hard_floats(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Normal values of many scales, some rows with zeros, subnormals, infinities, NaN or the largest float."""
    x = rng.standard_normal(shape).astype(np.float32)
    x *= np.exp2(rng.integers(-30, 30, (*shape[:2], 1))).astype(np.float32)
    rows = x.reshape(-1, shape[-1])
    specials = [0.0, -0.0, 1e-45, np.inf, -np.inf, np.nan, 3.4028235e38, 1.1754944e-38]
    for index, special in enumerate(specials):
        at = index * 7 + 2
        if at < len(rows):
            rows[at, rng.integers(shape[-1])] = special
        if at + 1 < len(rows) and np.isfinite(special) and abs(special) < 1:
            rows[at + 1] = special
    return x


def check_panels(packed: Packed, expected: NDArray[np.int64]) -> None:
    panels = unpack(packed)
    rows, k = expected.shape[1:]
    assert np.array_equal(panels[:, :rows, :k], expected)
    assert not panels[:, rows:].any()
    assert not panels[:, :, k:].any()
