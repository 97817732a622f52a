"""An unrolled recurrence is compiled as one step of it: the kernels do not grow with its length.

OREBIT_LONG_TESTS=1 takes recurrences of a thousand steps from torch code to machine code.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from orebit.executor.fused import FusedExecutor
from orebit.executor.fused.contraction_machine import contractor
from orebit.executor.fused.plan import Planner
from orebit.executor.native import library
from orebit.executor.reference import ReferenceExecutor
from orebit.strategy.training import TracedTraining, Training, trace_training

pytestmark = pytest.mark.skipif(library.load() is None, reason=library.status().reason)
LONG = os.environ.get("OREBIT_LONG_TESTS") == "1"
WIDTH, INPUTS, CLASSES = 32, 8, 4


class Written(nn.Module):
    """A recurrence as a person writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.given, self.kept = nn.Linear(INPUTS, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
        h = torch.zeros(len(x), WIDTH)
        for t in range(x.shape[1]):
            h = torch.tanh(self.given(x[:, t]) + self.kept(h))
        return h[:, None], None


class Last(nn.Module):
    """What a recurrence ends with, classified."""

    def __init__(self, recurrence: nn.Module) -> None:
        super().__init__()
        self.recurrence, self.head = recurrence, nn.Linear(WIDTH, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.recurrence(x)[0][:, -1])


RECURRENCES: dict[str, Callable[[], nn.Module]] = {
    "lstm": lambda: nn.LSTM(INPUTS, WIDTH, batch_first=True),
    "gru": lambda: nn.GRU(INPUTS, WIDTH, batch_first=True),
    "rnn": lambda: nn.RNN(INPUTS, WIDTH, batch_first=True),
    "written": Written,
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OREBIT_CACHE", str(tmp_path))


def traced(name: str, length: int, check: int = 0) -> TracedTraining:
    torch.manual_seed(0)
    model = Last(RECURRENCES[name]())
    return trace_training(
        Training(
            model=model,
            loss=nn.functional.cross_entropy,
            optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
            data=(torch.randn(16, length, INPUTS), torch.randint(CLASSES, (16,))),
            steps=10,
            batch_size=8,
            check=check,
        )
    )


@pytest.mark.parametrize("name", RECURRENCES if LONG else ["lstm", "written"])
def test_kernels_do_not_grow_with_the_length(name: str) -> None:
    def kernels(length: int) -> int:
        planner = Planner(traced(name, length).program, contractor(library.require()))
        planner.stages()
        return len(planner.kernels)

    # Sequences are joined and taken apart in trees, which have a level more from time to time.
    assert kernels(16) <= kernels(8) + 6


def test_steps_of_a_recurrence_have_the_reference_bits() -> None:
    made = traced("lstm", 6)
    constants, parameters = made.constants_for(0), made.parameters(0, 0)
    fused = FusedExecutor(made.program, constants, parameters)
    reference = ReferenceExecutor(made.program, constants, parameters)
    left, right = fused.step(made.initial_state), reference.step(made.initial_state)
    left, right = fused.step(left), reference.step(right)
    assert all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


@pytest.mark.skipif(not LONG, reason="takes minutes: OREBIT_LONG_TESTS=1")
@pytest.mark.parametrize("name", RECURRENCES)
def test_a_thousand_steps_are_traced_checked_and_compiled_within_a_minute(name: str) -> None:
    started = time.process_time()
    made = traced(name, 1000, check=2)
    executor = FusedExecutor(made.program, made.constants_for(0), made.parameters(0, 0))
    executor.step(made.initial_state)
    assert time.process_time() - started < 60
