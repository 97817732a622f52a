"""Shards of every shape that a game can narrow down through, so that either side comes to post at every level."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
from liars import Lie, LyingEvidence
from worlds import Array, World

from orebit.dispute import Inputs
from orebit.numerics.types import DType
from orebit.program import index_map as maps
from orebit.program.builder import Builder, Value
from orebit.program.expression import Expression, ExpressionBuilder
from orebit.program.graph import Program
from orebit.program.index_map import IndexMap

WEIGHTS = 0
"""Number of the state tensor in which a weight is wrong."""


@dataclass(frozen=True)
class Arena:
    """How large the parts of a shard are, and what the data meet first.

    Attributes:
        steps: of the shard.
        interval: steps between checkpoints.
        elements: of each tensor of weights.
        terms: of the reductions; 0: there are none, and each datum meets its weight.
        padding: nodes beside, that only make the trace longer.
        states: small state tensors beside.
        inner: whether anything but new state depends on the inputs, apart from the counter.
    """

    steps: int = 2
    interval: int = 2
    elements: int = 3
    terms: int = 0
    padding: int = 0
    states: int = 0
    inner: bool = True

    @functools.cached_property
    def world(self) -> World:
        """The shard and its true run."""
        program = _reducing(self) if self.terms else _mapping(self)
        rng = np.random.default_rng(self.elements + self.terms)
        count = self.terms or self.elements
        data = rng.integers(-100, 100, count).astype(np.int8)
        data[0] += (int(data.sum(dtype=np.int64)) + 1) % 2  # an odd sum: a reduction of it is one to one in its factor
        weights: Array = rng.integers(1 << 20, 1 << 30, self.elements).astype(np.int64 if self.terms else np.int32)
        state = [weights, weights + 1, *[np.array(number, np.int64) for number in range(self.states)]]
        state += [np.array(number, np.int64) for number in (40, 50)]
        inputs = Inputs(program, [data], state, [np.array(3, np.int64)])
        return World(inputs, self.steps, self.interval, self.steps + self.padding)

    @property
    def inner_node(self) -> int:
        """The first node that depends on weights, data and rate: an inner one, where there is one."""
        return self.world.program.header.inputs if self.inner else self.weights_node

    @property
    def weights_node(self) -> int:
        """The node that makes the new weights."""
        return self.world.program.new_state[WEIGHTS]

    @property
    def data_operand(self) -> int:
        """Which operand of that node are the data."""
        return 0 if self.terms else 1

    @property
    def read_first(self) -> int:
        """The tensor of weights that is read by what comes first in the trace."""
        return 1 if self.terms else 0

    @functools.cached_property
    def undefended(self) -> World:
        """The same shard of a program that is not valid: a node of the new state reads another one. It can be run."""
        valid = self.world.program
        last = len(valid.nodes) - 1
        node = replace(valid.nodes[last], operands=(last - 1,))
        program = Program(valid.header, valid.descriptors, (*valid.nodes[:last], node))
        world = World(replace(self.world.inputs, program=program), self.steps, self.interval, self.world.seed)
        world.__dict__["truth"] = LyingEvidence(world, Lie())  # by the reference executor, which runs it as it stands
        return world


def _counted(builder: Builder, arena: Arena, counter: Value) -> Value:
    """The counter, after so many nodes as are asked for."""
    scope = ExpressionBuilder([DType.I64])
    once = scope.finish(scope.operand(0) + 1)
    for _ in range(arena.padding + 1):
        counter = builder.map(once, [counter])
    return counter


def _finished(builder: Builder, arena: Arena, renewed: list[Value], counters: list[Value]) -> Program:
    """The last two of the new state are counters, which nothing but themselves depends on."""
    scope = ExpressionBuilder([DType.I64])
    once = scope.finish(scope.operand(0) + 1)
    later = [builder.map(once, [counter]) for counter in counters[:-2]]
    later += [_counted(builder, arena, counters[-2]), builder.map(once, [counters[-1]])]
    return builder.finish([*renewed, *later])


def _renewal(times: int) -> Expression:
    """One to one in the weight, the datum and the rate: no lie ever heals."""
    scope = ExpressionBuilder([DType.I32, DType.I8, DType.I64], 1)
    weight, datum, rate = scope.operands
    return scope.finish(weight * times + datum * 3 + rate * 5 + 12345)


def _mapping(arena: Arena) -> Program:
    """The weights, each with its datum and the rate; through a node between, if it is asked for."""
    builder, shape = Builder(), (arena.elements,)
    weights, more = (builder.state(DType.I32, shape) for _ in range(2))
    counters = [builder.state(DType.I64, ()) for _ in range(arena.states + 2)]
    data, rate = builder.constant(DType.I8, shape), builder.parameter(DType.I64, ())
    given = [data, rate.view(IndexMap(()))]
    made = builder.map(_renewal(1664525), [weights, *given], shape, dtype=DType.I32) if arena.inner else weights
    renewed = builder.map(_renewal(69069), [made, *given], shape, dtype=DType.I32)
    other = builder.map(_renewal(1103515245), [more, *given], shape, dtype=DType.I32)
    return _finished(builder, arena, [renewed, other], counters)


def _reducing(arena: Arena) -> Program:
    """Dot products of the data: with the rate, as an inner node; with a weight, as new state."""
    builder, shape, terms = Builder(), (arena.elements,), (arena.terms,)
    weights, more = (builder.state(DType.I64, shape) for _ in range(2))
    counters = [builder.state(DType.I64, ()) for _ in range(arena.states + 2)]
    data, rate = builder.constant(DType.I8, terms), builder.parameter(DType.I64, ())
    along, every = data.view(maps.select_axes(2, [1])), rate.view(IndexMap(()))
    inner = builder.dot(along, every, shape, terms) if arena.inner else every
    renewed = builder.dot(along, more.view(maps.select_axes(2, [0])), shape, terms)
    scope = ExpressionBuilder([DType.I64, DType.I64], 1)
    mixed = scope.finish(scope.operand(0) * 1664525 + scope.operand(1))
    return _finished(builder, arena, [renewed, builder.map(mixed, [weights, inner], shape)], counters)
