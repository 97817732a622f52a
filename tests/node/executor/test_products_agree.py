"""Exact products of random shapes, layouts and precisions, specials included: every executor has the reference's bits.

OREBIT_LONG_TESTS=1 tries some hundreds instead of a dozen.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from rig_executors import factory_of

from orebit.executor.hardware import EXECUTORS
from orebit.executor.reference import ReferenceExecutor
from orebit.executor.selection import REFERENCE
from orebit.numerics.types import DType
from orebit.program.builder import Builder, Value
from orebit.program.graph import Program
from orebit.program.lowering import Lowering, Tensor
from orebit.program.lowering.exact import product, sum_over

LONG = os.environ.get("OREBIT_LONG_TESTS") == "1"
PROGRAMS = 40 if LONG else 2
PRODUCTS = 6
EXTENTS = (1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 33, 64, 70)
DEPTHS = (1, 2, 3, 7, 8, 9, 31, 64, 65, 129, 513, 1000)
OTHERS = [name for name in EXECUTORS if name != REFERENCE]
SPECIALS = np.array([0x7FC00000, 0x7F800000, 0xFF800000, 0x80000000, 1, 0x807FFFFF, 0x7F7FFFFF, 0x00800000], np.uint32)

Shape = tuple[int, ...]


def operand(rng: random.Random, states: list[Value], builder: Builder, shape: Shape) -> Tensor:
    """A new state tensor seen as `shape`: as it lies, or with its last two axes exchanged."""
    exchanged = rng.random() < 0.5
    held = (*shape[:-2], shape[-1], shape[-2]) if exchanged else shape
    states.append(builder.state(DType.F32, held))
    order = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
    return Tensor.of(states[-1]).permute(order) if exchanged else Tensor.of(states[-1])


def products(seed: int) -> tuple[Program, list[Shape]]:
    """Some products, of which one is also summed, as a program; and the shapes of its state."""
    rng = random.Random(seed)
    builder = Builder()
    states: list[Value] = []
    made: list[Tensor] = []
    for number in range(PRODUCTS):
        lowering = Lowering(builder, bits=rng.choice((4, 7, 8, 12, 13, 14, 15, 15, 16, 17, 22)))
        lead = rng.choice(((), (), (2,), (3, 2)))
        m, n, k = rng.choice(EXTENTS), rng.choice(EXTENTS), rng.choice(DEPTHS)
        a, b = (operand(rng, states, builder, (*lead, *shape)) for shape in ((m, k), (k, n)))
        made.append(product(lowering, a, b))
        if number == 0:
            made.append(sum_over(lowering, made[0], [len(lead)]))
    kept = [builder.identity(state) for state in states]
    states += [builder.state(DType.F32, tensor.shape) for tensor in made]
    program = builder.finish(kept + [lowering.value(tensor, tensor.shape) for tensor in made])
    return program, [state.shape for state in states]


def drawn(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Values over many magnitudes; often a few specials, at times whole lines of nothing."""
    values = (rng.standard_normal(shape) * 2.0 ** rng.integers(-40, 40, shape)).astype(np.float32)
    if rng.random() < 0.5:
        places = rng.random(shape) < 0.02
        values[places] = rng.choice(SPECIALS, int(places.sum())).view(np.float32)
    if rng.random() < 0.3 and values.ndim:
        values[rng.integers(len(values))] = 0
    return values


def bits_of(state: Sequence[torch.Tensor]) -> list[bytes]:
    return [tensor.contiguous().numpy().tobytes() for tensor in state]


@pytest.mark.parametrize("executor", OTHERS)
@pytest.mark.parametrize("seed", range(PROGRAMS))
def test_products_have_the_reference_executor_s_bits(executor: str, seed: int) -> None:
    factory = factory_of(executor)
    program, shapes = products(seed)
    ours, theirs = ReferenceExecutor(program, [], []), factory(program, [], [])
    for draw in range(3):
        rng = np.random.default_rng((seed, draw))
        state = [drawn(rng, shape) for shape in shapes]
        assert bits_of(theirs.step(state)) == bits_of(ours.step(state)), f"draw {draw}"
