"""Hyper-parameters as functions of the step: learning-rate schedulers, played through before anything is traced."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from orebit.errors import ConfigError, TraceError
from orebit.program.tracing_hyperparameters import group_places, variables
from orebit.program.tracing_optimizers import Optimizers, undampened

Values = dict[str, list[float]]
"""A hyper-parameter's value in each step; the last one stays."""


def values_at(schedule: Values, step: int) -> dict[str, float]:
    """The scheduled hyper-parameters of step `step`."""
    return {name: values[min(step, len(values) - 1)] for name, values in schedule.items()}


def nominal(schedule: Values) -> dict[str, float]:
    """A value other than zero of each scheduled hyper-parameter, for the trace."""
    return {name: next((value for value in values if value), 1.0) for name, values in schedule.items()}


def play(scheduler: Any, optimizers: Optimizers, steps: int, source: str) -> Values:
    """What changes from step to step.

    Args:
        scheduler: torch schedulers (one or several), stepped once after every step; a function from the step's number,
            from 0, to hyper-parameters by name; or None.
        optimizers: theirs; left as they are.
        steps: how many to play.
        source: where the user's code is.

    Raises:
        TraceError: for a scheduler that is driven by a metric.
        ConfigError: for a name that the optimizers lack.
    """
    schedulers = list(scheduler) if isinstance(scheduler, list | tuple) else [scheduler]
    found: Values = {}
    if all(isinstance(one, LRScheduler) for one in schedulers):
        found = _played(schedulers, optimizers, steps, source)
    elif scheduler is not None:
        found = _tabulated(scheduler, optimizers, steps, source)
    return found | _first_dampening(optimizers)


def _played(schedulers: Sequence[LRScheduler], optimizers: Optimizers, steps: int, source: str) -> Values:
    if any(isinstance(one, ReduceLROnPlateau) for one in schedulers):
        raise TraceError(
            f"ReduceLROnPlateau at {source} is driven by a validation metric, which a program has not; let `schedule`"
            " change the learning rate from round to round"
        )
    groups = [group for optimizer in optimizers.values() for group in optimizer.param_groups]
    if not all(group in groups for one in schedulers for group in one.optimizer.param_groups):
        raise TraceError(f"a scheduler at {source} belongs to an optimizer that the training does not have")
    saved = [one.state_dict() for one in schedulers], [dict(group) for group in groups]
    history = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the optimizer itself is not stepped meanwhile
            for _ in range(steps):
                history.append(_numbers(optimizers))
                for one in schedulers:
                    one.step()
    finally:
        for one, state in zip(schedulers, saved[0], strict=True):
            one.load_state_dict(state)
        for group, settings in zip(groups, saved[1], strict=True):
            group.update(settings)
    names = [name for name in history[0] if any(numbers[name] != history[0][name] for numbers in history)]
    return {name: [numbers[name] for numbers in history] for name in names}


def _numbers(optimizers: Optimizers) -> dict[str, float]:
    """All numbers of the groups, zeros included."""
    found: dict[str, float] = {}
    for place in group_places(optimizers):
        held = place.read()
        for part, value in enumerate(held) if isinstance(held, tuple | list) else [(None, held)]:
            if isinstance(value, float | int | torch.Tensor) and not isinstance(value, bool):
                found[place.name if part is None else f"{place.name}.{part}"] = float(value)
    return found


def _tabulated(function: Any, optimizers: Optimizers, steps: int, source: str) -> Values:
    if not callable(function):
        raise ConfigError(f"the scheduler at {source} is neither a torch scheduler nor a function of the step")
    rows: list[Mapping[str, float]] = [function(step) for step in range(steps)]
    known = _numbers(optimizers)
    for row in rows:
        if row.keys() != rows[0].keys() or row.keys() - known.keys():
            raise ConfigError(
                f"the scheduler at {source} sets {', '.join(sorted(row))}; let it set the same names in every step, of"
                f" {', '.join(sorted(known))}"
            )
    return {name: [float(row[name]) for row in rows] for name in rows[0]}


def _first_dampening(optimizers: Optimizers) -> Values:
    """SGD dampens nothing in its first step."""
    found = {}
    for (name, number), group in undampened(optimizers).items():
        prefix = (f"{name}." if name else "") + (f"group{number}." if number else "")
        found[f"{prefix}dampening"] = [0.0, float(group["dampening"])]
    return found


def schedulers_of(function: Callable[..., Any]) -> list[LRScheduler]:
    """The schedulers that a user's step can reach."""
    values = [read() for _, read, _ in variables(function)]
    listed = [one for value in values for one in (value if isinstance(value, list | tuple) else [value])]
    found: list[LRScheduler] = []
    for one in listed:
        if isinstance(one, LRScheduler) and one not in found:
            found.append(one)
    return found


@contextmanager
def held_back(optimizers: Optimizers, source: str) -> Iterator[list[Any]]:
    """Schedulers do not step meanwhile; yields those that were told to, in order.

    Raises:
        TraceError: when one is told to before its optimizer has stepped.
    """
    stepped: list[Any] = []
    done: set[int] = set()
    hooks = [
        optimizer.register_step_post_hook(lambda which, args, kwargs: done.add(id(which)))
        for optimizer in optimizers.values()
    ]

    def step(scheduler: Any, *_: Any, **__: Any) -> None:
        if id(scheduler.optimizer) not in done:
            raise TraceError(f"a scheduler steps before its optimizer in the step at {source}; let it step after")
        stepped.append(scheduler)

    try:
        with patch.object(LRScheduler, "step", step), patch.object(ReduceLROnPlateau, "step", step):
            yield stepped
    finally:
        for hook in hooks:
            hook.remove()
