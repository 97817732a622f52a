"""Recurrent nets from unmodified torch code: gradients against eager float64, and what is shared over time."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from test_lowering import step_program, weighted
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from orebit.program.descriptor import Kind
from orebit.program.graph import Program

BATCH, STEPS, WIDTH, HIDDEN = 3, 5, 4, 6


class Recurrent(nn.Module):
    """A recurrent layer and what becomes of its last state."""

    def __init__(self, kind: str, **settings: Any) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layers = getattr(nn, kind)(WIDTH, HIDDEN, batch_first=True, **settings)
        self.out = nn.Linear(HIDDEN * (2 if settings.get("bidirectional") else 1), 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states, last = self.layers(x)
        hidden = last[0] if isinstance(last, tuple) else last
        return torch.cat([self.out(states).reshape(-1), hidden.reshape(-1)])


class Cells(nn.Module):
    """A recurrence that the user writes, over an embedding."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.steps = steps
        self.table = nn.Embedding(7, WIDTH)
        self.cell = nn.GRUCell(WIDTH, HIDDEN)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        words, state = self.table((x[:, : self.steps, 0] * 3).long().abs() % 7), x.new_zeros(len(x), HIDDEN)
        for step in range(self.steps):
            state = self.cell(words[:, step], state)
        return state


class Packed(Recurrent):
    """Sequences of unequal, constant lengths."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        packed = pack_padded_sequence(x, torch.tensor([5, 3, 2]), batch_first=True)
        states, _ = pad_packed_sequence(self.layers(packed)[0], batch_first=True)
        return self.out(states)


def compare(model: nn.Module, steps: int = STEPS, tolerance: float = 5e-6) -> Program:
    """One SGD step of the program and of eager float64."""
    generator = torch.Generator().manual_seed(5)
    batches = tuple((torch.randn(BATCH, steps, WIDTH, generator=generator), torch.zeros(1)) for _ in range(2))
    exact = copy.deepcopy(model).double()
    program, made, _ = step_program(model, lambda out, _: weighted(out), batches, 22)
    loss = weighted(exact(batches[0][0].double()))
    loss.backward()
    assert abs(float(made[-1]) - float(loss.detach())) <= tolerance * max(1.0, abs(float(loss.detach())))
    for parameter, old, new in zip(exact.parameters(), model.parameters(), made, strict=False):
        assert parameter.grad is not None
        gradient = old.detach().numpy() - new
        np.testing.assert_allclose(gradient, parameter.grad.numpy(), atol=tolerance * 4, rtol=tolerance)
    return program


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_recurrent_layer(kind: str) -> None:
    compare(Recurrent(kind))


def test_layers_in_both_directions() -> None:
    compare(Recurrent("LSTM", num_layers=2, bidirectional=True))


def test_a_recurrence_that_the_user_writes() -> None:
    compare(Cells(STEPS))


def test_packed_sequences_of_constant_lengths() -> None:
    compare(Packed("GRU"))


def counts(program: Program) -> Counter[Kind]:
    return Counter(program.descriptor(number).kind for number in program.operations)


def test_a_weight_shared_over_time_gets_one_product() -> None:
    """A step more adds the forward product and the gradient of the state: two products, and none for a weight."""
    short, long = (counts(compare(Recurrent("LSTM"), steps)) for steps in (4, 7))
    assert long[Kind.DOT] - short[Kind.DOT] == 3 * 2


def test_descriptors_are_shared_over_time() -> None:
    """A step of the sequence is read at a place of its own: no more than three descriptors a step are."""
    short, long = (compare(Cells(steps), 9) for steps in (6, 9))
    assert len(long.nodes) > len(short.nodes) + 100
    assert len(long.descriptors) <= len(short.descriptors) + 3 * 3


def test_a_sequence_taken_apart_step_by_step_is_put_together_once() -> None:
    """The gradients of x[:, 0], x[:, 1], ... are concatenated, not added as tensors that are mostly zeros."""
    short, long = (counts(compare(Cells(steps), 9)) for steps in (6, 9))
    assert long[Kind.SCATTER_SUM] == short[Kind.SCATTER_SUM] == 1
