"""From a user's own training step to a functional graph of aten operations (docs/requesters.md).

The step (zero_grad, loss, backward, optimizer step) is captured over the very tensors that model and optimizer hold,
twice, from other values, other data and other seeds; what differs between the two graphs is not a program and is
refused by name. A second pass makes the graph functional. Lowering then turns it into nodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import fx

from orebit.errors import TraceError
from orebit.program.tracing_hyperparameters import hyperparameters
from orebit.program.tracing_optimizers import plain_variants, refuse_unsuitable
from orebit.program.tracing_scalars import ScalarTable
from orebit.program.tracing_snapshot import restored
from orebit.program.tracing_start import find_start, refuse_host_randomness
from orebit.program.tracing_steps import (
    Batch,
    Traceable,
    TrainingStep,
    WrittenStep,
    model_tensors,
    scalar_loss,
    state_dict_names,
)
from orebit.program.tracing_trial import Trial, functional, location, refuse_counted, refuse_difference
from orebit.program.tracing_watch import counters, moved, put_back

__all__ = [
    "CapturedStep",
    "StateTensor",
    "Traceable",
    "TrainingStep",
    "WrittenStep",
    "capture",
    "location",
    "model_tensors",
    "scalar_loss",
    "state_dict_names",
]


@dataclass(frozen=True)
class StateTensor:
    """One tensor that a step reads and replaces: its name and its value before the first step."""

    name: str
    initial: torch.Tensor


@dataclass(frozen=True)
class CapturedStep:
    """A step as a functional graph.

    The graph's placeholders are the state tensors, then the batch's tensors; its outputs are the new state, then
    `outputs`, then the values that Python read. `scalars` says which formula a number in the graph is;
    `hyperparameters` are the values of formulas' settings.
    """

    graph: fx.GraphModule
    state: tuple[StateTensor, ...]
    outputs: tuple[str, ...]
    scalars: ScalarTable
    hyperparameters: dict[str, float]


def capture(
    step: Traceable, batches: tuple[Batch, Batch], scheduled: Mapping[str, float] | None = None
) -> CapturedStep:
    """Traces a step.

    Args:
        step: model, loss and optimizer; all restored afterwards.
        batches: two batches of equal shapes and different data.
        scheduled: hyper-parameters that change from step to step, with a value, not zero, that they have in some step.

    Raises:
        TraceError: naming the operation and the line when the step is not the same program for all data and seeds.
    """
    _check_tensors(step)
    refuse_unsuitable(step.optimizers)
    scheduled = dict(scheduled or {})
    counting = counters(getattr(step, "function", None), step.optimizers.values())
    with restored(step.model, step.optimizers), put_back(counting), plain_variants(step.optimizers):
        if step.training is not None:
            step.model.train(step.training)
        settings = hyperparameters(step.places()) | scheduled
        start = find_start(step, batches[0])
        trial = Trial(step, start, settings, scheduled)
        first, second = trial.trace(batches[0], (0, 0, 0), 0), trial.trace(batches[1], (1, 1, 1), 1)
        refuse_difference(trial, batches, first, second)
        refuse_host_randomness(step.source, start.drawn)
        if moved(counting):
            refuse_counted(trial, batches[1], second, moved(counting))
        first.sites.refuse_shared(second.sites, step.source)
        graph = functional(first, second)
        state = [StateTensor(name, value) for name, value in start.initial.items()]
        own = model_tensors(step.model)
        kept = without_counts(graph, state, [item.name not in own for item in state])
        return CapturedStep(graph, tuple(kept), step.outputs, first.scalars, settings)


def without_counts(graph: fx.GraphModule, state: list[StateTensor], optional: list[bool]) -> list[StateTensor]:
    """Takes out of the graph what an optimizer only counts: tensors of one element that nothing else depends on.

    Returns the state that is left.
    """
    *_, output = graph.graph.nodes
    placeholders = [node for node in graph.graph.nodes if node.op == "placeholder"]
    results = list(output.args[0])
    spare = [
        place
        for place, item in enumerate(state)
        if optional[place] and item.initial.numel() == 1 and _feeds_only(placeholders[place], output, results, place)
    ]
    output.args = ([result for place, result in enumerate(results) if place not in spare],)
    graph.graph.eliminate_dead_code()
    for place in spare:
        graph.graph.erase_node(placeholders[place])
    graph.recompile()
    return [item for place, item in enumerate(state) if place not in spare]


def _feeds_only(source: fx.Node, output: fx.Node, results: list[fx.Node], place: int) -> bool:
    reached, pending = set(), [source]
    while pending:
        for user in pending.pop().users:
            if user is not output and user not in reached:
                reached.add(user)
                pending.append(user)
    return not any(result in reached or result is source for number, result in enumerate(results) if number != place)


def _check_tensors(step: Traceable) -> None:
    for name, tensor in model_tensors(step.model).items():
        if tensor.dtype in (torch.float64, torch.float16, torch.bfloat16) or tensor.is_complex():
            raise TraceError(
                f"'{name}' of the model is {tensor.dtype}; programs compute in float32: call model.float() first"
            )
        if tensor.device.type != "cpu":
            raise TraceError(f"'{name}' of the model is on {tensor.device}; call model.cpu() before it is traced")
    own = {id(tensor) for tensor in model_tensors(step.model).values()}
    groups = [group for optimizer in step.optimizers.values() for group in optimizer.param_groups]
    if any(id(parameter) not in own for group in groups for parameter in group["params"]):
        raise TraceError(
            "the optimizer holds parameters that are not the model's; build it from model.parameters(), after the"
            " model's last change, and name all models that the step trains"
        )
