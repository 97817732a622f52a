"""Small random programs of every kind, with maps that leave their range, and inputs full of special values."""

from __future__ import annotations

import random
from collections.abc import Sequence
from math import prod

import numpy as np
import torch

from orebit.numerics.types import DType
from orebit.program.builder import Builder, Value, View
from orebit.program.descriptor import Kind, Source
from orebit.program.expression import ExpressionBuilder, Scalar
from orebit.program.graph import Program, TensorSpec
from orebit.program.index_map import AxisMap, IndexMap
from orebit.program.opcodes import LEAVES, SIGNATURES, Op

F32_SPECIALS = [
    0x00000000, 0x80000000, 0x00000001, 0x80000001, 0x007FFFFF, 0x00800000, 0x3F800000, 0xBF800000, 0x3F000000,
    0x3FC00000, 0x40200000, 0x4B000000, 0x4B7FFFFF, 0x5F000000, 0xDF000000, 0x5EFFFFFF, 0x7F7FFFFF, 0xFF7FFFFF,
    0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC00001, 0x7F800001, 0x7FFFFFFF,
]  # fmt: skip
I64_SPECIALS = [
    0, 1, -1, 2, 31, 32, 33, 63, 64, 65, 127, 128, 255, 256, 1 << 24, (1 << 24) + 1, (1 << 31) - 1, 1 << 31, 1 << 32,
    (1 << 53) + 1, (1 << 62) + 1, (1 << 63) - 1, -(1 << 63), -(1 << 63) + 1, 0x7F800001, 0xFFC00000,
]  # fmt: skip


def random_bits(rng: random.Random) -> int:
    choice = rng.random()
    if choice < 0.3:
        return rng.choice(F32_SPECIALS)
    if choice < 0.7:
        return rng.randrange(0x3D000000, 0x43000000) | rng.getrandbits(1) << 31
    return rng.getrandbits(32)


def random_integer(rng: random.Random, dtype: DType = DType.I64) -> int:
    choice = rng.random()
    if choice < 0.4:
        return dtype.wrap(rng.choice(I64_SPECIALS))
    return dtype.wrap(rng.randrange(-40, 40) if choice < 0.7 else rng.getrandbits(64))


def random_tensor(rng: random.Random, spec: TensorSpec) -> list[int]:
    if spec.dtype.is_float:
        return [random_bits(rng) for _ in range(prod(spec.shape))]
    return [random_integer(rng, spec.dtype) for _ in range(prod(spec.shape))]


def as_array(values: Sequence[int], spec: TensorSpec) -> np.ndarray:
    if spec.dtype.is_float:
        return np.array(values, dtype=np.uint32).view(np.float32).reshape(spec.shape)
    return np.array(values, dtype=spec.dtype.numpy).reshape(spec.shape)


def as_list(tensor: torch.Tensor, dtype: DType) -> list[int]:
    if dtype.is_float:
        return (tensor.contiguous().view(torch.int32).to(torch.int64) & 0xFFFFFFFF).flatten().tolist()
    return tensor.to(torch.int64).flatten().tolist()


def random_axis(rng: random.Random, space: Sequence[int], extent: int, free: Sequence[int]) -> AxisMap:
    coefficients = [0] * len(space)
    if rng.random() < 0.5:  # a map in range, with stride
        offset = rng.randrange(extent)
        for k in rng.sample(list(free), min(len(free), 1)):
            if offset + space[k] - 1 < extent:
                coefficients[k] = 1
            elif offset - space[k] + 1 >= 0:
                coefficients[k] = -1
        return AxisMap(offset, tuple(coefficients))
    for k in free:
        if rng.random() < 0.6:
            coefficients[k] = rng.randint(-2, 2)
    return AxisMap(rng.randint(-2, extent), tuple(coefficients), rng.choice((1, 1, 2, 3)))


def reshaped(rng: random.Random, shape: tuple[int, ...]) -> tuple[int, ...]:
    size = prod(shape)
    choices = [shape, (size,), (1, size)] + [(size // k, k) for k in (2, 3) if size % k == 0]
    return rng.choice(choices)


class RandomProgram:
    """Builds one program from a seed: a few inputs, `count` random nodes, some of them new state."""

    def __init__(self, seed: int, count: int = 5, extents: Sequence[int] = (1, 2, 3, 4)) -> None:
        self.rng = random.Random(seed)
        self.extents = extents
        self.builder = Builder()
        self.values: list[Value] = []
        for number in range(6):
            dtype = self.rng.choice(list(DType)) if number > 2 else (DType.F32, DType.I64, DType.I16)[number]
            self.values.append(self.builder.constant(dtype, self.shape()))
        self.values.append(self.builder.parameter(DType.F32, ()))
        made = [self.node() for _ in range(count)]
        states = [self.builder.state(value.dtype, value.shape) for value in made]
        made[0] = self.node(states[: self.rng.randint(0, len(states))])
        self.program = self._finish(states, made)

    def _finish(self, states: list[Value], made: list[Value]) -> Program:
        renewed = [
            value if (value.dtype, value.shape) == (state.dtype, state.shape) else state
            for value, state in zip(made, states, strict=True)
        ]
        return self.builder.finish(renewed)

    def node(self, more: Sequence[Value] = ()) -> Value:
        self.values += more
        kinds = [Kind.MAP] * 3 + [kind for kind in Kind if kind is not Kind.INPUT]
        value = getattr(self, f"make_{self.rng.choice(kinds).name.lower()}")()
        self.values.append(value)
        return value

    def shape(self, least: int = 0, most: int = 3) -> tuple[int, ...]:
        return tuple(self.rng.choice(self.extents) for _ in range(self.rng.randint(least, most)))

    def pick(self, *, integer: bool | None = None) -> Value:
        wanted = [v for v in self.values if integer is None or v.dtype.is_float != integer]
        return self.rng.choice(wanted)

    def view(self, value: Value, space: Sequence[int], free: Sequence[int], skip: int = 0) -> View:
        shape = reshaped(self.rng, value.shape)
        axes = tuple(random_axis(self.rng, space, extent, free) for extent in shape[skip:])
        if value.dtype.is_float:
            fill: int | float = self.rng.choice((0.0, -0.0, 1.5, float("-inf"), float("nan")))
        else:
            fill = random_integer(self.rng, value.dtype) if self.rng.random() < 0.5 else 0
        return value.view(IndexMap(axes), shape, fill)

    def make_map(self) -> Value:
        shape = self.shape()
        views = [self.view(self.pick(), shape, range(len(shape))) for _ in range(self.rng.randint(0, 3))]
        scope = ExpressionBuilder([view.value.dtype for view in views], len(shape))
        result = self.expression(scope, list(scope.operands), shape)
        dtype = DType.F32 if result.dtype.is_float else self.rng.choice(list(DType)[1:])
        return self.builder.map(scope.finish(result), views, shape, dtype)

    def expression(self, scope: ExpressionBuilder, scalars: list[Scalar], shape: tuple[int, ...]) -> Scalar:
        rng = self.rng
        scalars += [
            scope.f32_from_bits(self.rng.choice((0x3FC00000, 0, 0x80000000, 0x7F800000))),
            scope.i64(random_integer(rng)),
            scope.flat(),
        ]
        scalars += [scope.index(axis) for axis in range(len(shape))]
        for _ in range(rng.randint(1, 9)):
            op = rng.choice([op for op in Op if op not in LEAVES])
            if op is Op.SELECT:
                condition = rng.choice([s for s in scalars if not s.dtype.is_float])
                arm = rng.choice(scalars)
                other = rng.choice([s for s in scalars if s.dtype is arm.dtype])
                scalars.append(scope.emit(op, condition, arm, other))
                continue
            wanted, _ = SIGNATURES[op]
            scalars.append(scope.emit(op, *(rng.choice([s for s in scalars if s.dtype is t]) for t in wanted)))
        return scalars[-1]

    def spaces(self, least: int = 0) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        shape, reduction = self.shape(least, 2), self.shape(1, 2)
        return shape, reduction, shape + reduction

    def make_dot(self) -> Value:
        shape, reduction, space = self.spaces()
        a, b = (self.view(self.pick(integer=True), space, range(len(space))) for _ in range(2))
        return self.builder.dot(a, b, shape, reduction)

    def make_sum(self) -> Value:
        shape, reduction, space = self.spaces()
        return self.builder.sum(self.view(self.pick(integer=True), space, range(len(space))), shape, reduction)

    def make_max(self) -> Value:
        shape, reduction, space = self.spaces()
        return self.builder.max(self.view(self.pick(), space, range(len(space))), shape, reduction)

    def make_gather(self) -> Value:
        shape = self.shape()
        index = self.view(self.pick(integer=True), shape, range(len(shape)))
        source = self.pick()
        view = self.view(source, shape, range(len(shape)), skip=1)
        if not view.shape:
            view = View(source, (1,), IndexMap(()), view.fill)
        return self.builder.gather(index, view, shape)

    def _scattered(self, integer: bool | None) -> tuple[View, View, tuple[int, ...], tuple[int, ...]]:
        shape, reduction, space = self.spaces(least=1)
        index = self.view(self.pick(integer=True), space, range(len(shape), len(space)))
        source = self.view(self.pick(integer=integer), space, range(1, len(space)))
        return index, source, shape, reduction

    def make_scatter_sum(self) -> Value:
        return self.builder.scatter_sum(*self._scattered(True))

    def make_scatter_max(self) -> Value:
        return self.builder.scatter_max(*self._scattered(None))

    def inputs(self) -> dict[Source, list[list[int]]]:
        return {source: [random_tensor(self.rng, spec) for spec in self.program.specs(source)] for source in Source}
