"""The native product of any integers wraps modulo 2^64 as numpy's int64 does."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from orebit.errors import ExecutionError
from orebit.executor.native.any_products import AnyProduct, Matrix
from orebit.executor.native.library import Library, Step, status
from orebit.numerics.types import DType

INTEGERS = [DType.I8, DType.U8, DType.I16, DType.U16, DType.I32, DType.I64]


@pytest.fixture(scope="module")
def library() -> Library:
    loaded = status()
    if loaded.library is None:
        pytest.skip(loaded.reason)
    return loaded.library


def matrix(values: NDArray[np.generic], dtype: DType) -> Matrix:
    batch, row, k = (stride // values.itemsize for stride in values.strides)
    return Matrix(values.ctypes.data, dtype, row, k, batch)


def any_integers(rng: np.random.Generator, shape: tuple[int, ...], dtype: DType) -> NDArray[np.generic]:
    values = rng.integers(np.iinfo(dtype.numpy).min, np.iinfo(dtype.numpy).max, shape, dtype=dtype.numpy, endpoint=True)
    values.flat[0], values.flat[-1] = np.iinfo(dtype.numpy).min, np.iinfo(dtype.numpy).max
    return values


@pytest.mark.parametrize("left", INTEGERS)
@pytest.mark.parametrize("right", INTEGERS)
def test_every_pair_of_types_over_their_whole_range(library: Library, left: DType, right: DType) -> None:
    rng = np.random.default_rng(int(left) * 8 + int(right))
    for batch, m, n, k in [(1, 1, 1, 1), (2, 17, 65, 70), (1, 33, 3, 200)]:
        a = any_integers(rng, (batch, m, k), left)
        b = any_integers(rng, (batch, k, n), right).transpose(0, 2, 1)
        out = np.full((batch, m, n), 5, dtype=np.int64)
        product = AnyProduct(
            a=matrix(a, left),
            b=matrix(b, right),
            out=out.ctypes.data,
            out_row=n,
            out_batch=m * n,
            rows=m,
            columns=n,
            k=k,
            batch=batch,
        )
        Step(library, [product.work(library)]).run(2)
        assert np.array_equal(out, a.astype(np.int64) @ b.astype(np.int64).transpose(0, 2, 1))


def test_an_empty_contraction_gives_zeros(library: Library) -> None:
    out = np.full((3, 4), 5, dtype=np.int64)
    nothing = Matrix(0, DType.I64, 0, 0)
    product = AnyProduct(a=nothing, b=nothing, out=out.ctypes.data, out_row=4, rows=3, columns=4, k=0)
    Step(library, [product.work(library)]).run(1)
    assert not out.any()


def test_floats_are_refused(library: Library) -> None:
    product = AnyProduct(
        a=Matrix(0, DType.F32, 1, 1), b=Matrix(0, DType.I8, 1, 1), out=0, out_row=1, rows=1, columns=1, k=1
    )
    with pytest.raises(ExecutionError, match="quantise its float operands"):
        product.work(library)
