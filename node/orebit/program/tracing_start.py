"""What a step starts from: the state of model and optimizers before the first step, found by running it eagerly."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from orebit.errors import OrebitError, TraceError
from orebit.program.tracing_decompositions import plain_kernels
from orebit.program.tracing_location import failing_line
from orebit.program.tracing_optimizers import beginnings, first_step, held_numbers, undampened
from orebit.program.tracing_randomness import GeneratorKeeper
from orebit.program.tracing_scalars import Clock
from orebit.program.tracing_snapshot import copy_into, quiet, seed_everything
from orebit.program.tracing_steps import Batch, Traceable, model_tensors
from orebit.program.tracing_watch import changed_tensors, kept, refuse_counters


@dataclass(frozen=True)
class NumberClock:
    """A count of steps that an optimizer keeps as a Python number."""

    entry: dict[str, Any]
    key: str
    clock: Clock


@dataclass(frozen=True)
class Start:
    """The state before the first step, by name, and what in it counts steps: tensors by identity, and numbers.

    `drawn` is the source of the host's random numbers that the step draws from; empty if none.
    """

    initial: dict[str, torch.Tensor]
    clocks: Mapping[int, Clock]
    numbers: list[NumberClock]
    drawn: str


def fresh(batch: Batch) -> Batch:
    """The same rows in tensors that no other run has touched."""
    return tuple(tensor.detach().clone() for tensor in batch)


def find_start(step: Traceable, batch: Batch) -> Start:
    """Runs the step three times: from nothing, on from there, and from the state that the first is held to start from.

    Raises:
        TraceError: when the step fails, replaces a tensor of the model, trains nothing, or does not depend on its
            state, data and seeds alone.
    """
    before = {name: tensor.detach().clone() for name, tensor in step.tensors().items()}
    held = {name: id(tensor) for name, tensor in model_tensors(step.model).items()}
    function = getattr(step, "function", None)
    python = [kept(step.model, function)]
    undamped = undampened(step.optimizers)
    with beginnings(step.optimizers) as begun, _stepped_with(step) as stepped:
        drawn = run_eagerly(step, batch)
    _refuse_replaced(step, held)
    _refuse_untrained(step, before, stepped)
    python.append(kept(step.model, function))
    refuse_counters(python[0], python[1], step.source)
    tensors = step.tensors()
    initial = {
        name: before[name] if name in before else begun.of(tensor, before.values()) for name, tensor in tensors.items()
    }
    first = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    numbers = [(entry, key, entry[key]) for entry, key in held_numbers(step.optimizers)]
    drawn = run_eagerly(step, batch) or drawn
    python.append(kept(step.model, function))
    refuse_counters(python[1], python[2], step.source)
    clocks = _clocks(step, initial, first)
    number_clocks = [_number_clock(entry, key, value) for entry, key, value in numbers if entry[key] != value]
    _reset(step, tensors, initial, number_clocks)
    with first_step(undamped.values()):
        _run_again(step, batch, tensors, first, changed_tensors(python[0], python[2]))
    _reset(step, tensors, initial, number_clocks)
    step.model.zero_grad(set_to_none=True)
    return Start(initial, clocks, number_clocks, drawn)


def run_eagerly(step: Traceable, batch: Batch) -> str:
    """One step as torch does it.

    Returns:
        The source of the host's random numbers that the step has drawn from; empty if none.

    Raises:
        TraceError: when the user's code fails.
    """
    seed_everything(0, 0, 0)
    host = random.getstate(), np.random.get_state()
    generators = GeneratorKeeper()
    try:
        with quiet(), generators, plain_kernels():
            step.run(fresh(batch))
    except OrebitError:
        raise
    except Exception as error:  # whatever the user's own code raises
        shapes = ", ".join(f"{tensor.dtype}{list(tensor.shape)}" for tensor in batch)
        raise TraceError(
            f"the job at {step.source} fails on a batch of its own data ({shapes}), in {failing_line(error)}:"
            f" {type(error).__name__}: {error}"
        ) from error
    finally:
        generators.sites.restore_generators()
    if random.getstate() != host[0]:
        return "Python's random"
    return "" if _same_state(np.random.get_state(), host[1]) else "numpy.random"


def refuse_host_randomness(source: str, drawn: str) -> None:
    """What is drawn may decide something that two traces rarely show, such as a layer that is left out.

    Raises:
        TraceError: when the step at `source` has drawn.
    """
    if drawn:
        raise TraceError(
            f"the step at {source} draws from {drawn}, and a program has only torch's random numbers: draw with"
            " torch.rand and choose with torch.where, or draw before and give it as data"
        )


def _same_state(now: Any, before: Any) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(now, before, strict=True))


def _refuse_replaced(step: Traceable, held: Mapping[str, int]) -> None:
    now = {name: id(tensor) for name, tensor in model_tensors(step.model).items()}
    for name in held.keys() | now.keys():
        if held.get(name) != now.get(name):
            raise TraceError(f"'{name}' of the model is replaced by another tensor in a step; update it with copy_()")


@contextmanager
def _stepped_with(step: Traceable) -> Iterator[set[int]]:
    """Yields the parameters, by identity, that had a gradient when an optimizer stepped."""
    found: set[int] = set()

    def note(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        parameters = (parameter for group in optimizer.param_groups for parameter in group["params"])
        found.update(id(parameter) for parameter in parameters if parameter.grad is not None)

    hooks = [optimizer.register_step_pre_hook(note) for optimizer in step.optimizers.values()]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _refuse_untrained(step: Traceable, before: Mapping[str, torch.Tensor], stepped: set[int]) -> None:
    """A parameter to be trained must have a gradient, or be changed."""
    trained = {
        id(parameter)
        for optimizer in step.optimizers.values()
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    for name, tensor in model_tensors(step.model).items():
        if id(tensor) not in trained - stepped or not tensor.requires_grad:
            continue
        if tensor.grad is None and torch.equal(tensor, before[name]):
            raise TraceError(
                f"'{name}' is trainable but the loss does not depend on it; use it, remove it, or call"
                " requires_grad_(False) on it"
            )


def _clocks(
    step: Traceable, initial: Mapping[str, torch.Tensor], first: Mapping[str, torch.Tensor]
) -> dict[int, Clock]:
    """The optimizers' tensors of one element that grow by the same whole number in every step."""
    own = model_tensors(step.model)
    found = {}
    for name, tensor in step.tensors().items():
        if name not in own and tensor.numel() == 1:
            values = [float(value.reshape(())) for value in (initial[name], first[name], tensor.detach())]
            stride = values[1] - values[0]
            if stride and stride.is_integer() and values[2] - values[1] == stride:
                found[id(tensor)] = Clock(values[0], stride)
    return found


def _number_clock(entry: dict[str, Any], key: str, first: float) -> NumberClock:
    stride = entry[key] - first
    # A sum of settings would be as regular, and wrong for others.
    if first - stride or not float(stride).is_integer():
        raise TraceError(
            f"the optimizer keeps '{key}' as a Python number, which a program cannot carry unless it counts steps from"
            " 0; keep it in a tensor"
        )
    return NumberClock(entry, key, Clock(0, stride))


def _reset(
    step: Traceable,
    tensors: Mapping[str, torch.Tensor],
    initial: Mapping[str, torch.Tensor],
    numbers: list[NumberClock],
) -> None:
    copy_into(list(tensors.values()), list(initial.values()))
    for number in numbers:
        number.entry[number.key] = 0


def _run_again(
    step: Traceable,
    batch: Batch,
    tensors: Mapping[str, torch.Tensor],
    wanted: Mapping[str, torch.Tensor],
    carried: list[str],
) -> None:
    """From one state, data and seeds a step has one result, whatever gradients are left over from before."""
    for tensor in model_tensors(step.model).values():
        if tensor.grad is not None:
            tensor.grad.fill_(float("nan"))
    run_eagerly(step, batch)
    for name, tensor in tensors.items():
        if _near(tensor, wanted[name]):
            continue
        if bool(torch.isnan(tensor).any()) and not bool(torch.isnan(wanted[name]).any()):
            raise TraceError(
                f"the step at {step.source} adds to gradients that an earlier step left ('{name}' depends on them), and"
                " a program's state has no gradients: call zero_grad() before backward(), and accumulate over parts of"
                " a batch within one step"
            )
        named = f" ({', '.join(carried)})" if carried else ""
        raise TraceError(
            f"the step at {step.source} gives another '{name}' when it runs again from the same state, data and seeds:"
            f" something beside the model's and the optimizer's tensors is carried from step to step{named}. Make it a"
            " buffer that is updated with copy_(), or keep an optimizer's state in tensors that start at zero"
        )


def _near(made: torch.Tensor, wanted: torch.Tensor) -> bool:
    if not made.is_floating_point():
        return torch.equal(made, wanted)
    return torch.allclose(made, wanted, rtol=1e-4, atol=1e-6, equal_nan=True)
