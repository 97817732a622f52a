"""Random numbers inside a step: Threefry of (seed, worker, step, site, element), then one map a distribution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch

from orebit.errors import TraceError
from orebit.numerics import functions as elementary
from orebit.numerics import functions_exponential
from orebit.numerics import functions_random as functions
from orebit.numerics.functions_random import MASK32, SHUFFLE_ROUNDS, swap_or_not, threefry2x32
from orebit.numerics.types import DType
from orebit.program.expression import Scalar
from orebit.program.lowering.context import Lowering, broadcast_shape, truncated
from orebit.program.lowering.elementwise import Argument, Number
from orebit.program.lowering.reductions import argmax
from orebit.program.lowering.registry import lowers
from orebit.program.lowering.tensor import Tensor
from orebit.program.lowering.views import program_type

aten = torch.ops.aten
# Sets the keys of draws apart from any other use of the seed.
DRAW_SITE = 0xD4A35
# A probability between these is met to 16 bits, with four draws out of 64 random bits; another to 32 bits.
COARSE = (2.0**-6, 1 - 2.0**-6)
MOST_WITHOUT_REPLACEMENT = 64


def _packed(pair: tuple[Scalar, Scalar]) -> Scalar:
    return (pair[1] << 32) | pair[0]


def _unpacked(word: Scalar) -> tuple[Scalar, Scalar]:
    return word & MASK32, word.shr(32)


def _key(lowering: Lowering) -> Tensor:
    """i64, rank 0: the 64-bit key of the draw at hand."""
    source, site = lowering.randomness, lowering.site
    if source is None or site is None:
        raise TraceError("this program draws no random numbers; draw while training, not in evaluation mode")

    def of_worker(s: Scalar, w: Scalar) -> Scalar:
        return _packed(threefry2x32(_unpacked(s), (w & MASK32, w.builder.i64(DRAW_SITE))))

    stream = lowering.map(of_worker, source.seed, source.worker)
    moment = lowering.map(lambda k, s: _packed(threefry2x32(_unpacked(k), _unpacked(s))), stream, source.step)
    # The site's own key is a node of one element, so that large nodes of different sites have equal descriptors.
    return lowering.map(lambda k: _packed(threefry2x32(_unpacked(k), (k.builder.i64(site), k.builder.i64(0)))), moment)


def random_words(lowering: Lowering, count: int) -> Tensor:
    """i64[count]: 64 random bits an element."""

    def word(key: Scalar) -> Scalar:
        place = key.builder.index(0)
        return _packed(threefry2x32(_unpacked(key), (place, place.builder.i64(0))))

    return lowering.map(word, _key(lowering), shape=(count,))


def draw(
    lowering: Lowering,
    function: Callable[[Scalar], Scalar],
    shape: Sequence[int],
    dtype: DType | None = DType.F32,
    width: int = 32,
) -> Tensor:
    """An independent draw an element: `function` of an i64 of `width` random bits (64, 32 or 16)."""
    size, each = prod(shape), 64 // width
    words = random_words(lowering, -(-size // each))

    def element(word: Scalar) -> Scalar:
        part = word.shr(word.builder.index(1) * width) & ((1 << width) - 1) if each > 1 else word
        return function(part)

    made = lowering.map(element, words.with_axis(1), shape=(words.shape[0], each), dtype=dtype)
    flat = lowering.reshape(made, [words.shape[0] * each])
    return lowering.reshape(flat if size == flat.shape[0] else flat.narrow(0, 0, 1, size), shape)


def _type(lowering: Lowering) -> DType:
    return lowering.result_type or DType.F32


def _converted(function: Callable[[Scalar], Scalar], dtype: DType) -> Callable[[Scalar], Scalar]:
    return (lambda word: function(word).to_f32()) if dtype.is_float else function


@lowers(aten.rand.default, aten.rand.generator)
def rand(lowering: Lowering, shape: Sequence[int], *_: Any, **__: Any) -> Tensor:
    return draw(lowering, functions.uniform, shape)


@lowers(aten.rand_like.default)
def rand_like(lowering: Lowering, a: Tensor, *_: Any, **__: Any) -> Tensor:
    return draw(lowering, functions.uniform, a.shape)


@lowers(aten.uniform.default)
def uniform(lowering: Lowering, a: Tensor, low: Argument = 0.0, high: Argument = 1.0, **_: Any) -> Tensor:
    made = draw(lowering, functions.uniform, a.shape)
    if low == 0.0 and high == 1.0:
        return made
    return lowering.map(lambda u, x, y: _lifted(u, x) + u * (_lifted(u, y) - _lifted(u, x)), made, low, high)


def _lifted(like: Scalar, number: Scalar | Number) -> Scalar:
    return number if isinstance(number, Scalar) else like.builder.f32(number)


@lowers(aten.randn.default, aten.randn.generator)
def randn(lowering: Lowering, shape: Sequence[int], *_: Any, **__: Any) -> Tensor:
    return draw(lowering, functions.normal, shape)


@lowers(aten.randn_like.default)
def randn_like(lowering: Lowering, a: Tensor, *_: Any, **__: Any) -> Tensor:
    return draw(lowering, functions.normal, a.shape)


@lowers(aten.normal_functional.default)
def normal_functional(lowering: Lowering, a: Tensor, mean: Argument = 0.0, std: Argument = 1.0, **_: Any) -> Tensor:
    return _normal(lowering, mean, std, a.shape)


@lowers(aten.normal.Tensor_float, aten.normal.float_Tensor, aten.normal.Tensor_Tensor)
def normal(lowering: Lowering, mean: Argument, std: Argument = 1.0, **_: Any) -> Tensor:
    shapes = [argument.shape for argument in (mean, std) if isinstance(argument, Tensor)]
    return _normal(lowering, mean, std, broadcast_shape(*shapes))


@lowers(aten.normal.float_float)
def normal_of_numbers(lowering: Lowering, mean: Argument, std: Argument, shape: Sequence[int], **_: Any) -> Tensor:
    return _normal(lowering, mean, std, shape)


def _normal(lowering: Lowering, mean: Argument, std: Argument, shape: Sequence[int]) -> Tensor:
    made = draw(lowering, functions.normal, shape)
    if mean == 0.0 and std == 1.0:
        return made
    return lowering.map(lambda z, m, s: z * s + m, made, mean, std)


@lowers(aten.exponential.default)
def exponential(lowering: Lowering, a: Tensor, rate: Argument = 1.0, **_: Any) -> Tensor:
    made = draw(lowering, functions.exponential, a.shape)
    return made if rate == 1.0 else lowering.map(lambda e, k: e / k, made, rate)


@lowers(aten.geometric.default)
def geometric(lowering: Lowering, a: Tensor, p: Argument, **_: Any) -> Tensor:
    """Trials up to the first success, from 1: whole parts of exponential draws."""
    dtype = _type(lowering)
    made = draw(lowering, functions.exponential, a.shape)

    def trials(e: Scalar, q: Scalar | float) -> Scalar:
        scaled = e / -functions_exponential.log1p(-_lifted(e, q))
        return _converted(lambda x: x, dtype)(truncated(scaled) + 1)

    return lowering.map(trials, made, p, dtype=dtype)


@lowers(aten.log_normal.default)
def log_normal(lowering: Lowering, a: Tensor, mean: Argument = 1.0, std: Argument = 2.0, **_: Any) -> Tensor:
    return lowering.map(elementary.exp, _normal(lowering, mean, std, a.shape))


@lowers(aten.cauchy.default)
def cauchy(lowering: Lowering, a: Tensor, median: Argument = 0.0, sigma: Argument = 1.0, **_: Any) -> Tensor:
    """The ratio of two normal draws."""
    pairs = draw(lowering, functions.normal, (2, *a.shape))
    above, below = (pairs.narrow(0, k, 1, 1).without_axis(0) for k in range(2))
    return lowering.map(lambda y, x, m, s: y / x * s + m, above, below, median, sigma)


@lowers(aten.bernoulli.p)
def bernoulli(lowering: Lowering, a: Tensor, p: Argument = 0.5, **_: Any) -> Tensor:
    if isinstance(p, Tensor):
        return bernoulli_of(lowering, p.expand(a.shape))
    width = 16 if COARSE[0] <= p <= COARSE[1] else 32
    threshold, dtype = round(p * 2.0**width), _type(lowering)
    return draw(lowering, _converted(lambda word: word.lt(threshold), dtype), a.shape, dtype, width)


@lowers(aten.bernoulli.default)
def bernoulli_of(lowering: Lowering, p: Tensor, **_: Any) -> Tensor:
    dtype = _type(lowering)
    made = draw(lowering, functions.uniform, p.shape)
    return lowering.map(lambda u, q: _converted(lambda x: x, dtype)(u.lt(q)), made, p, dtype=dtype)


@lowers(aten.native_dropout.default)
def native_dropout(lowering: Lowering, a: Tensor, p: float, train: bool | None) -> tuple[Tensor, Tensor]:
    if train is False or p == 0:
        return a, lowering.full(a.shape, 1, DType.U8)
    lowering.result_type = DType.U8
    mask = bernoulli(lowering, a, 1.0 - p)
    scale = 1.0 / (1.0 - p) if p < 1 else 0.0
    return lowering.map(lambda x, m: x * m.to_f32() * scale, a, mask), mask


@lowers(aten.native_dropout_backward.default)
def native_dropout_backward(lowering: Lowering, grad: Tensor, mask: Tensor, scale: float) -> Tensor:
    return lowering.map(lambda g, m: g * m.to_f32() * scale, grad, mask)


@lowers(aten.randint.low, aten.randint.low_generator)
def randint_low(
    lowering: Lowering, low: int, high: int, shape: Sequence[int], *_: Any, dtype: torch.dtype | None = None, **__: Any
) -> Tensor:
    """Of 63 random bits the remainder: no value is likelier than another by more than the range over 2^63."""
    made = torch.int64 if dtype is None else dtype

    def integer(word: Scalar) -> Scalar:
        value = word.shr(1).rem(high - low) + low
        return value.to_f32() if program_type(made).is_float else value

    return draw(lowering, integer, shape, program_type(made), width=64)


@lowers(aten.randint.default, aten.randint.generator)
def randint(lowering: Lowering, high: int, shape: Sequence[int], *_: Any, **named: Any) -> Tensor:
    return randint_low(lowering, 0, high, shape, **named)


@lowers(aten.randint_like.default)
def randint_like(lowering: Lowering, a: Tensor, high: int, **_: Any) -> Tensor:
    return randint_like_low(lowering, a, 0, high)


@lowers(aten.randint_like.low_dtype)
def randint_like_low(lowering: Lowering, a: Tensor, low: int, high: int, **_: Any) -> Tensor:
    dtype = _type(lowering)
    return draw(lowering, _converted(lambda w: w.shr(1).rem(high - low) + low, dtype), a.shape, dtype, width=64)


@lowers(aten.random.to)
def random_to(lowering: Lowering, a: Tensor, high: int, **_: Any) -> Tensor:
    return randint_like_low(lowering, a, 0, high)


@lowers(aten.random.default)
def random(lowering: Lowering, a: Tensor, **_: Any) -> Tensor:
    """All values that the type holds exactly: 0 to 2^24 for f32."""
    highest = {DType.F32: 1 << 24, DType.I64: (1 << 63) - 1}
    dtype = _type(lowering)
    return randint_like_low(lowering, a, 0, highest.get(dtype, (1 << (8 * dtype.size - dtype.is_signed)) - 1) + 1)


@lowers(aten.randperm.default, aten.randperm.generator)
def randperm(lowering: Lowering, size: int, *_: Any, dtype: torch.dtype | None = None, **__: Any) -> Tensor:
    """A swap-or-not shuffle of 24 rounds."""
    words = random_words(lowering, 2 * SHUFFLE_ROUNDS)
    offsets = lowering.map(lambda w: w.shr(1).rem(size), words)
    places = lowering.generate(lambda e: e.index(0), (size,))
    for number in range(SHUFFLE_ROUNDS):
        key, offset = (
            part.narrow(0, place, 1, 1).without_axis(0)
            for part, place in ((words, number), (offsets, SHUFFLE_ROUNDS + number))
        )
        places = lowering.map(lambda x, o, k: swap_or_not(x, o, _unpacked(k), size), places, offset, key)
    return lowering.convert(places, program_type(torch.int64 if dtype is None else dtype))


@lowers(aten.multinomial.default)
def multinomial(lowering: Lowering, weights: Tensor, count: int, replacement: bool = False, **_: Any) -> Tensor:
    """The largest of weights over exponential draws: an exponential race, for each sample or for all of them."""
    races = count if replacement else 1
    shape = (*weights.shape[:-1], races, weights.shape[-1])
    spread = weights.with_axis(len(weights.shape) - 1).expand(shape)
    scores = lowering.map(lambda e, w: w / e, draw(lowering, functions.exponential, shape), spread)
    axis = len(shape) - 1
    if replacement or count == 1:
        return argmax(lowering, scores, axis)
    if count > MOST_WITHOUT_REPLACEMENT:
        raise TraceError(
            f"{count} samples without replacement are too many; sample with replacement, at most"
            f" {MOST_WITHOUT_REPLACEMENT}, or take the first of torch.randperm"
        )
    return _in_turn(lowering, scores, axis, count)


def _in_turn(lowering: Lowering, scores: Tensor, axis: int, count: int) -> Tensor:
    """The places of the `count` largest scores along the last axis, largest first."""
    shape = (*scores.shape[:-2], count)
    chosen = lowering.full(shape, 0, DType.I64)
    for turn in range(count):
        best = argmax(lowering, scores, axis, keepdim=True)
        place = best.without_axis(axis)
        chosen = lowering.map(
            lambda b, c: b.builder.index(axis - 1).eq(turn).select(b, c),  # noqa: B023  # called within the same turn
            place,
            chosen,
            shape=shape,
        )
        scores = lowering.map(lambda b, s: b.eq(b.builder.index(axis)).select(-1.0, s), best, scores)
    return chosen
