"""Shards to dispute: a program with its inputs, its true run, and its place in a lease and a plan."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from random_programs import RandomProgram, as_array

from orebit.commitment import ListKind, Shard, ShardResult, list_root, merkle
from orebit.dispute import Case, Evidence, Inputs, Means, Opening
from orebit.executor.hashing import tensor_head
from orebit.numerics.types import DType
from orebit.program import index_map as maps
from orebit.program.builder import Builder, Value
from orebit.program.descriptor import Kind, Source
from orebit.program.expression import ExpressionBuilder
from orebit.program.graph import Program
from orebit.program.index_map import AxisMap, IndexMap

Array = np.ndarray[tuple[int, ...], np.dtype[np.generic]]
LEASE = 7 << 40 | 1 << 32 | 3


@dataclass(frozen=True)
class World:
    """One shard among others, and its true run."""

    inputs: Inputs
    steps: int
    interval: int
    seed: int = 0

    @property
    def program(self) -> Program:
        return self.inputs.program

    @cached_property
    def shard(self) -> Shard:
        def root(kind: ListKind, arrays: Sequence[Array]) -> bytes:
            return list_root(kind, [tensor_head(array).root for array in arrays])

        return Shard(
            self.program.root,
            root(ListKind.CONSTANTS, self.inputs.constants),
            root(ListKind.STATE, self.inputs.state),
            self.steps,
            self.interval,
            root(ListKind.PARAMETERS, self.inputs.parameters),
        )

    @cached_property
    def place(self) -> Place:
        return Place.drawn(self)

    @cached_property
    def truth(self) -> Evidence:
        """The truth, shared by games about this world."""
        return self.evidence()

    def evidence(self, means: Means | None = None, checkpoints: Sequence[bytes] | None = None) -> Evidence:
        """The truth, computed anew."""
        return Evidence(self.shard, self.inputs, means, checkpoints)


@dataclass(frozen=True)
class Place:
    """Where the shard stands: its position in the lease, the lease's in the plan, and the others' hashes."""

    world: World
    position: int
    first: int
    results: tuple[bytes, ...]
    plan: tuple[bytes, ...]
    replica: bool

    @classmethod
    def drawn(cls, world: World) -> Place:
        rng = random.Random(world.seed)
        shards = rng.choice((1, 2, 5))
        first = rng.choice((0, 3))
        plan = [rng.randbytes(32) for _ in range(first + shards + rng.choice((0, 4)))]
        position = rng.randrange(shards)
        plan[first + position] = world.shard.id
        results = tuple(rng.randbytes(32) for _ in range(shards))
        return cls(world, position, first, results, tuple(plan), rng.random() < 0.3)

    @property
    def log2(self) -> int:
        return merkle.height(len(self.results))

    def _results(self, checkpoints: bytes) -> list[bytes]:
        """The lease's results with the shard's in its place, given the raw root of its checkpoints' list address."""
        results = list(self.results)
        results[self.position] = ShardResult(self.world.shard.id, checkpoints).hash
        return results

    def case(self, checkpoints: Sequence[bytes]) -> Case:
        """The lease whose root binds these checkpoints."""
        results = self._results(list_root(ListKind.CHECKPOINTS, checkpoints))
        root = merkle.subtree_root(results, 0, self.log2) if self.replica else list_root(ListKind.RESULTS, results)
        return Case(
            lease=LEASE,
            root=root,
            shards=len(results),
            plan_root=list_root(ListKind.PLAN, self.plan),
            plan_count=len(self.plan),
            first_shard=self.first,
            block_log2=self.log2 if self.replica else None,
        )

    def result_path(self, checkpoints: Sequence[bytes]) -> tuple[bytes, ...]:
        results = self._results(list_root(ListKind.CHECKPOINTS, checkpoints))
        return tuple(merkle.path(merkle.tree(results), self.position))

    def opening(self) -> Opening:
        path = tuple(merkle.path(merkle.tree(self.plan), self.first + self.position))
        return Opening(LEASE, self.position, self.world.shard, path)


def random_world(seed: int, count: int = 5, steps: int | None = None, interval: int | None = None) -> World:
    """A random program of `count` nodes over small tensors full of special values."""
    made = RandomProgram(seed, count)
    program, values = made.program, made.inputs()
    arrays = {
        source: [as_array(value, spec) for value, spec in zip(values[source], program.specs(source), strict=True)]
        for source in Source
    }
    rng = random.Random(seed)
    steps = rng.choice((1, 2, 3, 9, 40)) if steps is None else steps
    interval = rng.randint(1, steps) if interval is None else interval
    inputs = Inputs(program, arrays[Source.CONSTANT], arrays[Source.STATE], arrays[Source.PARAMETER])
    return World(inputs, steps, interval, seed)


@dataclass(frozen=True)
class Sizes:
    """How large the parts of a zoo are."""

    width: int = 12
    """Elements of vectors; a matrix has width x width."""
    terms: int = 20
    """Length of reductions."""
    padding: int = 0
    """Nodes that only make the trace longer."""
    states: int = 0
    """State tensors beside."""


def zoo(sizes: Sizes = Sizes()) -> Program:  # noqa: B008
    """Every kind of node, over state, constants and parameters, each with reads inside and outside its operands. A
    digest in the state takes in every bit of all of them, so that no lie heals."""
    builder, n, terms = Builder(), sizes.width, sizes.terms
    counter = builder.state(DType.I64, ())
    w = builder.state(DType.F32, (n, n))
    digest = builder.state(DType.I64, (n, n))
    more = [builder.state(DType.I16, (3,)) for _ in range(sizes.states)]
    table = builder.constant(DType.I8, (n, terms))
    floats = builder.constant(DType.F32, (terms,))
    rate = builder.parameter(DType.F32, ())

    scope = ExpressionBuilder([DType.F32], 2)
    q = builder.map(scope.finish((scope.operand(0) * 64.0).to_i64().max(-127).min(127)), [w], dtype=DType.I8)
    a = table.view(IndexMap((AxisMap(0, (1, 0, 0)), AxisMap(-2, (0, 0, 1)))), fill=3)  # two terms are fills
    b = table.view(maps.select_axes(3, [1, 2]))
    dot = builder.dot(a, b, (n, n), (terms,))
    cells = builder.dot(q.view(maps.select_axes(3, [0, 2])), q.view(maps.select_axes(3, [2, 1])), (n, n), (n,))
    shifted = table.view(IndexMap((AxisMap(0, (1, 0)), AxisMap(1, (0, 1)))), fill=-5)
    total = builder.sum(shifted, (n,), (terms,))
    best = builder.max(floats.view(IndexMap((AxisMap(-1, (1, 1)),)), fill=0.25), (n,), (terms,))
    scope = ExpressionBuilder([DType.I64, DType.I64], 1)
    mixed = (scope.operand(0) + scope.operand(1) * scope.operand(1) + scope.index(0)).rem(n + 2)
    index = builder.map(scope.finish(mixed), [counter, total])
    row = builder.gather(index.view(maps.select_axes(2, [0])), w.view(maps.select_axes(2, [1]), fill=1.5), (n, n))
    reduced = maps.select_axes(2, [1])
    added = builder.scatter_sum(index.view(reduced), total.view(reduced, fill=9), (n,), (n,))
    placed = builder.scatter_max(
        index.view(reduced), best.view(IndexMap((AxisMap(-1, (0, 1)),)), fill=-2.0), (n,), (n,)
    )
    scope = ExpressionBuilder([DType.F32] * 3, 2)
    old, taken, speed = scope.operands
    renewed = builder.map(scope.finish(old * 0.75 + taken * speed), [w, row, rate])
    scope = ExpressionBuilder([DType.I64])
    once = scope.finish(scope.operand(0) + 1)
    later = counter
    for _ in range(sizes.padding + 1):
        later = builder.map(once, [later])
    others = [_shifted(builder, value, number) for number, value in enumerate(more)]
    taken_in = _digested(builder, [digest, dot, cells, row, index, added, placed], n)
    return builder.finish([later, renewed, taken_in, *others])


def _digested(builder: Builder, values: Sequence[Value], n: int) -> Value:
    """One to one in each of the values."""
    scope = ExpressionBuilder([value.dtype for value in values], 2)
    made = scope.i64(0)
    for operand in scope.operands:
        made = made * 6364136223846793005 + (operand.bits() if operand.dtype.is_float else operand)
    column = maps.select_axes(2, [0])
    views = [value.view(column if value.shape == (n,) else maps.identity(2)) for value in values]
    return builder.map(scope.finish(made), views, (n, n))


def _shifted(builder: Builder, value: Value, number: int) -> Value:
    scope = ExpressionBuilder([DType.I16], 1)
    return builder.map(scope.finish(scope.operand(0) * 3 + number), [value], dtype=DType.I16)


def zoo_world(sizes: Sizes = Sizes(), steps: int = 4, interval: int = 2, seed: int = 0) -> World:  # noqa: B008
    program = zoo(sizes)
    rng = np.random.default_rng(seed)
    n, terms = sizes.width, sizes.terms
    state: list[Array] = [np.array(seed % 5), rng.standard_normal((n, n), dtype=np.float32), np.zeros((n, n), np.int64)]
    state += [rng.integers(-100, 100, 3).astype(np.int16) for _ in range(sizes.states)]
    floats = rng.standard_normal(terms, dtype=np.float32)
    floats.view(np.uint32)[0] = 0xFFC00001  # a NaN that is not canonical: raw bytes are what is agreed
    constants: list[Array] = [rng.integers(-100, 100, (n, terms)).astype(np.int8), floats]
    inputs = Inputs(program, constants, state, [np.array(0.125, np.float32)])
    return World(inputs, steps, interval, seed)


def nodes_of(program: Program, kind: Kind) -> list[int]:
    return [number for number in program.operations if program.descriptor(number).kind is kind]


def long_world(kind: Kind, terms: int) -> World:
    """Two elements of one long reduction of this kind over constants."""
    builder, rng = Builder(), np.random.default_rng(terms)
    state = builder.state(DType.F32 if kind is Kind.MAX else DType.I64, (2,))
    source = builder.constant(DType.F32 if kind is Kind.MAX else DType.I8, (terms,))
    index = builder.constant(DType.I8, (terms,))
    along = maps.select_axes(2, [1])
    shifted = IndexMap((AxisMap(1, (0, 1)),))  # the last term is a fill
    match kind:
        case Kind.DOT:
            made = builder.dot(index.view(along), source.view(shifted, fill=-7), (2,), (terms,))
        case Kind.SUM:
            made = builder.sum(source.view(shifted, fill=5), (2,), (terms,))
        case Kind.MAX:
            made = builder.max(source.view(shifted, fill=-1.0), (2,), (terms,))
        case Kind.SCATTER_SUM:
            made = builder.scatter_sum(index.view(along), source.view(along), (2,), (terms,))
        case _:
            made = builder.scatter_max(index.view(along), source.view(along, fill=-50), (2,), (terms,))
    scope = ExpressionBuilder([state.dtype, made.dtype], 1)
    program = builder.finish([builder.map(scope.finish(scope.operand(0) + scope.operand(1)), [state, made])])
    indices = rng.integers(0, 3, terms).astype(np.int8)
    values = rng.integers(-100, 100, terms)
    given: Array = values.astype(np.float32) if kind is Kind.MAX else values.astype(np.int8)
    constants: list[Array] = [given, indices]
    return World(Inputs(program, constants, [np.zeros(2, state.dtype.numpy)], []), 1, 1, terms)


def wide_world(elements: int, steps: int = 2, interval: int = 2) -> World:
    """One state tensor of so many elements, of which each step makes another."""
    builder = Builder()
    state = builder.state(DType.I32, (elements,))
    scope = ExpressionBuilder([DType.I32], 1)
    renewed = scope.finish(scope.operand(0) * 1664525 + 1013904223)  # one to one: no lie ever heals
    program = builder.finish([builder.map(renewed, [state], dtype=DType.I32)])
    initial = np.random.default_rng(elements).integers(-(1 << 31), 1 << 31, elements).astype(np.int32)
    return World(Inputs(program, [], [initial], []), steps, min(interval, steps), elements)


def tall_world(steps: int, interval: int, nodes: int, elements: int, terms: int) -> World:
    """As many steps, nodes, elements and terms as one likes, of which next to nothing is computed: each element is the
    same sum over a constant, the first is added to a counter in every step; so any state is known at once."""
    builder = Builder()
    counters = [builder.state(DType.I64, ()) for _ in range(2)]
    table = builder.constant(DType.I8, (terms,))
    total = builder.sum(table.view(maps.select_axes(2, [1])), (elements,), (terms,))
    scope = ExpressionBuilder([DType.I64, DType.I64])
    added = scope.finish(scope.operand(0) + scope.operand(1))
    renewed = builder.map(added, [counters[0].view(IndexMap(())), total.view(IndexMap((AxisMap(0, ()),)))], ())
    scope = ExpressionBuilder([DType.I64])
    once, later = scope.finish(scope.operand(0) + 1), counters[1]
    for _ in range(nodes - 2):
        later = builder.map(once, [later])
    program = builder.finish([renewed, later])
    constants: list[Array] = [np.random.default_rng(terms).integers(1, 100, terms).astype(np.int8)]
    return World(Inputs(program, constants, list(tall_state(constants[0], nodes, 0)), []), steps, interval, terms)


def tall_state(table: Array, nodes: int, step: int, more: int = 0) -> tuple[Array, ...]:
    """The state of a tall world after so many steps; `more` is what a lie added to it."""
    total = int(table.sum(dtype=np.int64))
    return np.array(total * step + more), np.array((nodes - 2) * step)
