from __future__ import annotations

import random
from itertools import product

import numpy as np
import pytest
import torch

from orebit.errors import ProgramError
from orebit.executor.views import plan_reader
from orebit.numerics.types import DType
from orebit.program import index_map as maps
from orebit.program.descriptor import Operand
from orebit.program.index_map import AxisMap, IndexMap


def read(source: np.ndarray, index_map: IndexMap, space: tuple[int, ...], fill: int = -1) -> np.ndarray:
    """By the definition, point by point."""
    out = np.empty(space, source.dtype)
    for point in product(*map(range, space)):
        coordinates = index_map.locate(point, source.shape)
        out[point] = fill if coordinates is None else source[coordinates]
    return out


SOURCE = np.arange(24).reshape(4, 6)


def test_identity_transpose_and_broadcast_are_numpy_s() -> None:
    assert np.array_equal(read(SOURCE, maps.identity(2), (4, 6)), SOURCE)
    assert np.array_equal(read(SOURCE, maps.transpose([1, 0]), (6, 4)), SOURCE.T)
    cube = np.arange(24).reshape(2, 3, 4)
    assert np.array_equal(read(cube, maps.transpose([2, 0, 1]), (4, 2, 3)), cube.transpose(2, 0, 1))
    row = np.arange(6).reshape(1, 6)
    assert np.array_equal(read(row, maps.broadcast((1, 6), (3, 4, 6)), (3, 4, 6)), np.broadcast_to(row, (3, 4, 6)))


def test_slices_pads_and_dilations() -> None:
    assert np.array_equal(read(SOURCE, maps.slices([1, 5], [2, -2]), (2, 3)), SOURCE[1::2, 5::-2])
    padded = np.pad(SOURCE, ((1, 2), (0, 1)), constant_values=-1)
    assert np.array_equal(read(SOURCE, maps.pad([1, 0]), (7, 7)), padded)
    dilated = np.full((9, 6), -1)
    dilated[1:9:2] = SOURCE[:4]
    assert np.array_equal(read(SOURCE, maps.dilate([1, 0], [2, 1]), (9, 6)), dilated)


def test_windows_are_im2col() -> None:
    line = np.arange(10)
    index_map = maps.window(2, [None], [(0, 1)], stride=2, dilation=3, padding=2)
    wanted = [[line[o * 2 + k * 3 - 2] if 0 <= o * 2 + k * 3 - 2 < 10 else -1 for k in range(3)] for o in range(4)]
    assert read(line, index_map, (4, 3)).tolist() == wanted


def test_shapes_that_do_not_broadcast_are_refused() -> None:
    with pytest.raises(ProgramError, match="does not broadcast"):
        maps.broadcast((3, 2), (3, 4))


def test_bounds_are_those_of_all_points() -> None:
    rng = random.Random(1)
    for _ in range(300):
        space = tuple(rng.randint(1, 4) for _ in range(rng.randint(0, 3)))
        axis = AxisMap(rng.randint(-9, 9), tuple(rng.randint(-5, 5) for _ in space), rng.randint(1, 3))
        values = [
            axis.offset + sum(c * i for c, i in zip(axis.coefficients, point, strict=True))
            for point in product(*map(range, space))
        ]
        assert axis.bounds(space) == (min(values), max(values))
        index_map = IndexMap((axis,))
        everywhere = all(index_map.locate(point, (7,)) is not None for point in product(*map(range, space)))
        if index_map.in_range(space, (7,)):
            assert everywhere
        elif axis.divisor == 1:
            assert not everywhere


def test_arithmetic_beyond_62_bits_is_refused() -> None:
    space = (1 << 20, 3)
    IndexMap((AxisMap(0, ((1 << 41), 0)),)).check(space)
    for axis in (
        AxisMap(0, (1 << 42, 1 << 60)),
        AxisMap(1 << 62, (0, 0)),
        AxisMap(-(1 << 62), (0, 0)),
        AxisMap(0, (-(1 << 43), 0)),
    ):
        with pytest.raises(ProgramError, match="62 bits"):
            IndexMap((axis,)).check(space)
    with pytest.raises(ProgramError, match="divisor 0"):
        IndexMap((AxisMap(0, (0, 0), 0),)).check(space)
    with pytest.raises(ProgramError, match="1 coefficients for 2"):
        IndexMap((AxisMap(0, (0,)),)).check(space)


def test_planned_readers_read_what_the_definition_says() -> None:
    rng = random.Random(2)
    for _ in range(400):
        shape = tuple(rng.randint(1, 5) for _ in range(rng.randint(0, 3)))
        space = tuple(rng.randint(1, 5) for _ in range(rng.randint(0, 3)))
        axes = tuple(
            AxisMap(rng.randint(-3, 6), tuple(rng.randint(-2, 2) for _ in space), rng.choice((1, 1, 1, 2, 3)))
            for _ in shape
        )
        source = np.arange(int(np.prod(shape))).reshape(shape)
        operand = Operand(DType.I64, shape, IndexMap(axes), -7)
        got = plan_reader(operand, space)(torch.from_numpy(source)).expand(space).numpy()
        assert np.array_equal(got, read(source, IndexMap(axes), space, -7)), (shape, space, axes)


def test_far_away_maps_do_not_allocate_what_they_span() -> None:
    source = torch.arange(8)
    operand = Operand(DType.I64, (8,), IndexMap((AxisMap(-(1 << 50), (1 << 50,)),)), 9)
    assert plan_reader(operand, (3,))(source).tolist() == [9, 0, 9]
