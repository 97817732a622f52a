from __future__ import annotations

import time
from collections.abc import Sequence
from math import prod

import numpy as np
import pytest
import torch

from orebit.errors import ConformanceError
from orebit.executor import conformance_vectors
from orebit.executor.conformance import run_conformance, run_programs
from orebit.executor.reference import ReferenceExecutor
from orebit.executor.storage import Given
from orebit.program.descriptor import Kind
from orebit.program.graph import Program


def test_this_machine_conforms_within_two_seconds() -> None:
    started = time.process_time()
    run_conformance()
    assert time.process_time() - started < 4  # two threads


def test_the_shipped_vectors_are_the_oracle_s() -> None:
    with np.load(conformance_vectors.PATH) as shipped:
        generated = conformance_vectors.generate()
        assert sorted(shipped.files) == sorted(generated)
        for name, array in generated.items():
            assert np.array_equal(shipped[name], array), name


class FlippedBit:
    """An executor that is wrong in the lowest bit of one element, of programs whose last node is of one kind."""

    def __init__(self, kind: Kind, program: Program, constants: Sequence[Given], parameters: Sequence[Given]) -> None:
        self.wrong = program.descriptor(program.new_state[-1]).kind is kind
        self.inner = ReferenceExecutor(program, constants, parameters)

    def step(self, state: Sequence[Given]) -> list[torch.Tensor]:
        new = [tensor.clone() for tensor in self.inner.step(state)]
        if self.wrong:
            new[-1].view(torch.uint8).reshape(-1)[0] ^= 1
        return new


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.INPUT])
def test_one_wrong_bit_is_refused(kind: Kind) -> None:
    with pytest.raises(ConformanceError, match="element 0, 1 of"):
        run_programs(lambda *arguments: FlippedBit(kind, *arguments))


class LargeProductsWrong(ReferenceExecutor):
    """Right but for products that are too large for the vectors."""

    def step(self, state: Sequence[Given]) -> list[torch.Tensor]:
        new = super().step(state)
        if any(d.kind is Kind.DOT and prod(d.space) > 1 << 20 for d in self.program.descriptors):
            new[0] = new[0].clone()
            new[0].view(torch.int32)[-1, -1] += 1
        return new


def test_a_wrong_kernel_for_large_products_is_refused() -> None:
    with pytest.raises(ConformanceError, match="standard/products"):
        run_conformance(LargeProductsWrong)


def test_a_difference_names_operation_and_inputs() -> None:
    with pytest.raises(ConformanceError, match=r"computes FADD on 0x[0-9a-f]+, 0x[0-9a-f]+ as"):
        run_conformance(lambda *arguments: FlippedBit(Kind.MAP, *arguments))
