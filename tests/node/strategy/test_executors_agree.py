"""Every executor of this machine takes the same steps, bit for bit, of every family of training.

OREBIT_LONG_TESTS=1 tries every training instead of a part of them.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from model_cases import BATCH, Case, cases

from orebit.errors import TraceError
from orebit.executor.hardware import EXECUTORS
from orebit.executor.reference import ReferenceExecutor
from orebit.executor.selection import REFERENCE, Unavailable, load
from orebit.strategy.training import TracedTraining, Training, trace_training

LONG = os.environ.get("OREBIT_LONG_TESTS") == "1"
CASES = list(cases())
OTHERS = [name for name in EXECUTORS if name != REFERENCE]
BITS = (15, 8, 22, 4)
STEPS = 3
# Where an element of the state may be replaced by one of these, executors still agree.
SPECIALS = np.array([0x7FC00000, 0xFF800000, 0x7F800000, 0x80000000, 1, 0x007FFFFF, 0x7F7FFFFF], np.uint32)


def traced(case: Case, bits: int) -> TracedTraining:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, about lazy modules and prototypes
        torch.manual_seed(0)
        model, data = case.model(), case.data()
        model.eval()(data[0])
        model.train()
        given = {"model": model, "loss": case.loss, "optimizer": case.optimizer, "data": data, "bits": bits}
        try:
            return trace_training(Training(**given, steps=STEPS, batch_size=BATCH))  # type: ignore[arg-type]  # fields of different types
        except TraceError as error:
            pytest.skip(str(error))


def peppered(state: Sequence[Any], seed: int) -> list[Any]:
    """The state with special values in place of some f32 elements of some tensors."""
    rng = np.random.default_rng(seed)
    changed = []
    for tensor in state:
        array = np.array(tensor)
        if array.dtype == np.float32 and rng.random() < 0.5:
            places = rng.random(array.shape) < 0.05
            array[places] = rng.choice(SPECIALS, int(places.sum())).view(np.float32)
        changed.append(array)
    return changed


def bits_of(state: Sequence[torch.Tensor]) -> list[bytes]:
    return [tensor.contiguous().numpy().tobytes() for tensor in state]


@pytest.mark.parametrize("executor", OTHERS)
@pytest.mark.parametrize("number", range(0, len(CASES), 1 if LONG else 25), ids=lambda n: CASES[n].name)
def test_steps_are_the_reference_executor_s(executor: str, number: int) -> None:
    try:
        factory = load(executor)
    except Unavailable as reason:
        pytest.skip(str(reason))
    training = traced(CASES[number], BITS[number % len(BITS)])
    inputs = training.program, training.constants_for(0), training.parameters(0, 0)
    reference, other = ReferenceExecutor(*inputs), factory(*inputs)
    for start in (training.initial_state, peppered(training.initial_state, number)):
        ours: Sequence[Any] = start
        theirs: Sequence[Any] = start
        for step in range(STEPS):
            ours, theirs = reference.step(ours), other.step(theirs)
            wrong = [
                name for name, a, b in zip(training.state_names, bits_of(ours), bits_of(theirs), strict=True) if a != b
            ]
            assert not wrong, f"after step {step}"
