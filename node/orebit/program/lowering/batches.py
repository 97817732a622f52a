"""Batches out of a dataset held as constants: the step's positions, an epoch's shuffle, the gather of rows."""

from __future__ import annotations

from orebit.numerics.functions_random import MASK32, SHUFFLE_ROUNDS, swap_or_not, threefry2x32
from orebit.numerics.types import DType
from orebit.program import index_map as maps
from orebit.program.expression import ExpressionBuilder, Scalar
from orebit.program.lowering.context import Lowering
from orebit.program.lowering.tensor import Tensor

# Sets the shuffle's keys apart from any other use of the seed.
SHUFFLE_SITE = 0x5FF1E


def positions(lowering: Lowering, step: Tensor, rows: int, batch: int) -> Tensor:
    """i64[batch]: where step `step` (i64, rank 0) stands in its epoch. Rows that fill no batch are skipped."""
    per_epoch = rows // batch
    return lowering.map(lambda s: s.rem(per_epoch) * batch + s.builder.index(0), step, shape=(batch,))


def shuffled(
    lowering: Lowering, places: Tensor, step: Tensor, seed: Tensor, worker: Tensor, rows: int, batch: int
) -> Tensor:
    """`places` under the permutation of this epoch, seed and worker, by swap-or-not over all `rows`."""
    keys, offsets = _round_keys(lowering, step, seed, worker, rows, batch)
    for number in range(SHUFFLE_ROUNDS):
        places = lowering.map(
            lambda x, offset, k0, k1: swap_or_not(x, offset, (k0, k1), rows),
            places,
            _element(offsets, number),
            _element(keys, number, 2),
            _element(keys, number, 3),
        )
    return places


def _round_keys(
    lowering: Lowering, step: Tensor, seed: Tensor, worker: Tensor, rows: int, batch: int
) -> tuple[Tensor, Tensor]:
    """i64[24, 4] of random words, and i64[24] of offsets below `rows`, made from the first two words of each round."""
    per_epoch = rows // batch

    def stream(s: Scalar, w: Scalar) -> Scalar:
        words = threefry2x32((s & MASK32, s.shr(32)), (w & MASK32, w.builder.i64(SHUFFLE_SITE)))
        return _by_index(s.builder, 0, words)

    def words(s: Scalar, k0: Scalar, k1: Scalar) -> Scalar:
        build = s.builder
        counter = build.index(0) * 2 + (build.index(1) >> 1)
        pair = threefry2x32((k0, k1), (s.div(per_epoch) & MASK32, counter))
        return (build.index(1) & 1).select(pair[1], pair[0])

    def offset(low: Scalar, high: Scalar) -> Scalar:
        return (((high << 32) | low) & ((1 << 63) - 1)).rem(rows)

    key = lowering.map(stream, seed, worker, shape=(2,))
    keys = lowering.map(words, step, _element(key, 0), _element(key, 1), shape=(SHUFFLE_ROUNDS, 4))
    low, high = (keys.narrow(1, column, 1, 1).without_axis(1) for column in (0, 1))
    return keys, lowering.map(offset, low, high)


def _by_index(build: ExpressionBuilder, axis: int, pair: tuple[Scalar, Scalar]) -> Scalar:
    return build.index(axis).select(pair[1], pair[0])


def _element(tensor: Tensor, *place: int) -> Tensor:
    """One element, as rank 0."""
    for position in place:
        tensor = tensor.narrow(0, position, 1, 1).without_axis(0)
    return tensor


def rows_of(lowering: Lowering, table: Tensor, places: Tensor) -> Tensor:
    """table[places]: one gather."""
    shape = (*places.shape, *table.shape[1:])
    rank = len(shape)
    source = table.value.view(maps.IndexMap(maps.select_axes(rank, range(1, rank)).axes), table.shape)
    return Tensor.of(lowering.builder.gather(places.placed([0], rank), source, shape))


def unpacked(lowering: Lowering, batch: Tensor, scale: int, dtype: DType) -> Tensor:
    """u8 as the f32 that it stands for, x / scale; with a `scale` of 0 integers as the type that they have in torch,
    whose negative numbers and size operations count on."""
    if not scale:
        return lowering.convert(batch, dtype)
    if scale == 1:
        return lowering.convert(batch, DType.F32)
    return lowering.map(lambda x: x.to_f32() / float(scale), batch)
