"""What becomes of a training: it trains as eager torch does, or is refused, and the table that says so."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Iterator
from itertools import groupby

import torch
from model_cases import BATCH, ROWS, Case, cases

from orebit.errors import OrebitError
from orebit.executor.reference import ReferenceExecutor
from orebit.program.lowering import LOWERINGS
from orebit.strategy.training import Training, trace_training

BITS = 22
STEPS = ROWS // BATCH
TRAINS = "trains"
HEADING = """# What is supported

Written by the tests (`make docs`), which fail when it is out of date. *Trains* means: traced from the torch code as it
stands, and two steps by the reference executor at 22 bits leave the parameters and buffers that eager float32 leaves.
What is refused says why, and what to write instead where there is a way.
"""


def outcome(case: Case) -> str:
    """TRAINS, or the reason of a refusal.

    Raises:
        AssertionError: when it trains otherwise than eager torch does.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, about lazy modules and prototypes
        torch.manual_seed(0)
        model, (x, y) = case.model(), case.data()
        model.eval()(x)  # lazy layers take their shapes
        model.train()
        rival = copy.deepcopy(model)
        given = {"model": model, "loss": case.loss, "optimizer": case.optimizer, "data": (x, y)}
        try:
            traced = trace_training(Training(**given, steps=STEPS, batch_size=BATCH, shuffle=False, bits=BITS))  # type: ignore[arg-type]  # fields of different types
        except OrebitError as error:
            return str(error)
        executor = ReferenceExecutor(traced.program, traced.constants_for(0), traced.parameters(0, 0))
        state = traced.initial_state
        for _ in range(STEPS):
            state = executor.step(state)
        compare(case, traced.state_dict(state), eager(case, rival, x, y))
    return TRAINS


def eager(case: Case, model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
    """The state_dict after the same steps in torch."""
    optimizer = case.optimizer(model.parameters())
    for step in range(STEPS):
        rows = slice(step * BATCH, (step + 1) * BATCH)
        optimizer.zero_grad()
        case.loss(model(x[rows]), y[rows]).backward()
        optimizer.step()
    return model.state_dict()


def compare(case: Case, made: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert made.keys() == wanted.keys(), case.name
    for name, tensor in wanted.items():
        if not torch.allclose(made[name].double(), tensor.double(), rtol=2e-3, atol=2e-4):
            away = float((made[name].double() - tensor.double()).abs().max())
            raise AssertionError(f"{case.group}, {case.name}: {name} is up to {away:.2g} from eager torch's")


def operations() -> Iterator[str]:
    """Rows of the table of operations: where they are lowered, and their names."""
    named = sorted((function.__module__.rpartition(".")[2], str(op)) for op, function in LOWERINGS.items())
    for module, group in groupby(named, key=lambda pair: pair[0]):
        names = sorted({name.removeprefix("aten.") for _, name in group})
        yield f"| {module} | {' '.join(f'`{name}`' for name in names)} |"


def row(case: Case, reason: str) -> str:
    """A case's line: places in these tests are left out of reasons."""
    said = re.sub(r" at (the backward pass of )?/\S+:\d+", "", " ".join(reason.split()))
    said = re.sub(r",? (module|parameter) '[^']*'( \(\w+\))?", "", said).replace("|", "/")
    return f"| {case.name} | {TRAINS if reason == TRAINS else f'refused: {said}'} |"


def trainings(outcomes: dict[Case, str]) -> Iterator[str]:
    """Tables of the cases, a group each."""
    for group, members in groupby(outcomes, key=lambda case: case.group):
        yield f"\n## {group.capitalize()}\n\n| | |\n|---|---|"
        yield from (row(case, outcomes[case]) for case in members)


def document(outcomes: dict[Case, str]) -> str:
    """docs/supported.md."""
    head = "\n## Operations\n\n| lowered in | |\n|---|---|"
    return "\n".join([HEADING.rstrip(), *trainings(outcomes), head, *operations(), ""])


def all_outcomes() -> dict[Case, str]:
    return {case: outcome(case) for case in cases()}
