"""One capture of a step after the other, from one state, and what differs between two of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.fx.traceback as fx_traceback
from torch import fx
from torch._ops import OpOverload
from torch.func import functionalize
from torch.fx.experimental.proxy_tensor import make_fx

from orebit.errors import OrebitError, TraceError
from orebit.program.tracing_decompositions import composite_operations, hidden_mutations, plain_kernels
from orebit.program.tracing_hyperparameters import installed
from orebit.program.tracing_location import META, LocationMode
from orebit.program.tracing_randomness import Sites, site_of
from orebit.program.tracing_reading import Reader
from orebit.program.tracing_recording import recording, replay
from orebit.program.tracing_scalars import ScalarTable, is_short
from orebit.program.tracing_snapshot import copy_into, quiet, seed_everything
from orebit.program.tracing_start import Start, fresh
from orebit.program.tracing_steps import Batch, Traceable
from orebit.program.tracing_watch import PROBES, Counter


@dataclass(frozen=True)
class Trace:
    """A step as it was recorded over state and batch, mutations and all; outputs are its own, then what Python read."""

    graph: fx.GraphModule
    inputs: list[torch.Tensor]
    state: int
    scalars: ScalarTable
    sites: Sites


class Trial:
    """Traces a step again and again from one initial state.

    Args:
        step: what to trace.
        start: what it starts from.
        settings: the hyper-parameters' true values.
        scheduled: those that change from step to step, with a value that is not zero.
    """

    def __init__(
        self, step: Traceable, start: Start, settings: Mapping[str, float], scheduled: Mapping[str, float]
    ) -> None:
        self.step = step
        self.start = start
        self.settings = settings
        self.scheduled = scheduled

    def trace(self, batch: Batch, seeds: tuple[int, int, int], variant: int) -> Trace:
        """One capture; another `variant` starts from slightly other parameters and hyper-parameters.

        Raises:
            TraceError: for what cannot be traced, with its place in the user's code.
        """
        step, tensors = self.step, list(self.step.tensors().values())
        values = list(self.start.initial.values())
        copy_into(tensors, [_nudged(value, variant) for value in values])
        table = ScalarTable(self.settings)
        reader = Reader(table, variant, self.start.clocks)
        mode = LocationMode(step.model, step.source, reader.origins)
        seed_everything(*seeds)

        def run(held: list[torch.Tensor], given: Batch) -> list[torch.Tensor]:
            with mode:
                return [*step.run(given), *table.reads]

        try:
            with self._prepared(table, reader, variant), recording(), fx_traceback.preserve_node_meta():
                recorded: Any = make_fx(run, decomposition_table=hidden_mutations(), tracing_mode="real")
                graph = recorded(tensors, fresh(batch))
        except OrebitError:
            raise
        except Exception as error:  # torch's refusals have no common type
            raise TraceError(f"the step cannot be traced at {mode.latest}: {type(error).__name__}: {error}") from error
        finally:
            step.model.zero_grad(set_to_none=True)
            copy_into(tensors, values)
            mode.sites.restore_generators()
        graph.graph.eliminate_dead_code()
        return Trace(graph, [*values, *batch], len(values), table, mode.sites)

    @contextmanager
    def _prepared(self, table: ScalarTable, reader: Reader, variant: int) -> Iterator[None]:
        counts = self.start.numbers
        try:
            with plain_kernels(), quiet(), reader.installed():
                with installed(self.step.places(), table, self.scheduled, variant):
                    for count in counts:
                        count.entry[count.key] = reader.clock(count.clock)
                    yield
        finally:
            for count in counts:
                count.entry[count.key] = 0


def _nudged(value: torch.Tensor, variant: int) -> torch.Tensor:
    # Tensors of one element stay: some count steps.
    return value * (1 + variant * 2.0**-10) if value.is_floating_point() and value.numel() > 1 else value


def refuse_difference(trial: Trial, batches: tuple[Batch, Batch], first: Trace, second: Trace) -> None:
    """Raises:
    TraceError: when two traces are not of one program; names what differs, where, and what it comes from.
    """
    found = difference(first, second)
    if found is None:
        return
    named = _named_sources(trial, batches[0], first)
    raise TraceError(
        f"the step is not the same when it is traced again: {found}. The difference comes from"
        f" {' and '.join(named)}. A program has no such source: make it a tensor of the data or of the model."
    )


def refuse_counted(trial: Trial, batch: Batch, usual: Trace, moving: Sequence[Counter]) -> None:
    """Traces again with other values in numbers that objects count with, as they may have after many steps.

    Raises:
        TraceError: when that is another program.
    """
    for number, probe in enumerate(PROBES):
        for one in moving:
            one.holder[one.key] = type(one.value)(probe)
        found = difference(usual, trial.trace(batch, (1, 1, 1), 2 + number))
        if found is not None:
            raise TraceError(
                f"{', '.join(one.name for one in moving)} counts while the step runs, and after many steps the step is"
                f" another: {found}. A program is the same in every step: make it a buffer, or leave out of the step"
                " what is not done every time"
            )


def _named_sources(trial: Trial, batch: Batch, first: Trace) -> list[str]:
    """Which sources make a difference on their own, tried one by one."""

    def differs(*seeds: int) -> bool:
        return difference(first, trial.trace(batch, (seeds[0], seeds[1], seeds[2]), 0)) is not None

    if differs(0, 0, 0):
        return ["something that changes from one call to the next (a counter, a clock, a tensor kept from before)"]
    sources = {"Python's random": (1, 0, 0), "numpy.random": (0, 1, 0), "torch's random generator": (0, 0, 1)}
    named = [name for name, seeds in sources.items() if differs(*seeds)]
    return named or [
        "values of tensors read by Python (numpy(), tolist(), a setting that is computed from data), or"
        " hyper-parameters put into tensors or through functions of Python's"
    ]


def difference(first: Trace, second: Trace) -> str | None:
    """What differs between two traces and where, or None."""
    left, right = _described(first), _described(second)
    for (what, place), (other, _) in zip(left, right, strict=False):
        if what != other:
            return f"'{what}' became '{other}' at {place}"
    if len(left) != len(right):
        return f"{len(left)} operations became {len(right)}, ending at {max(left, right, key=len)[-2][1]}"
    return None


def _described(trace: Trace) -> list[tuple[str, str]]:
    numbers = {node: position for position, node in enumerate(trace.graph.graph.nodes)}
    return [(_describe(node, numbers, trace), location(node)) for node in trace.graph.graph.nodes]


def _describe(node: fx.Node, numbers: dict[fx.Node, int], trace: Trace) -> str:
    if node.op == "get_attr":
        held = getattr(trace.graph, str(node.target))
        if not isinstance(held, torch.Tensor):
            return "a generator"
        tensor = held.detach()
        return f"constant {tensor.dtype}{list(tensor.shape)} {hash(tensor.numpy().tobytes())}"

    def text(argument: Any) -> str:
        if isinstance(argument, fx.Node):
            return f"%{numbers[argument]}"
        if isinstance(argument, list | tuple):
            return "[" + ", ".join(text(element) for element in argument) + "]"
        formula = trace.scalars.formula(argument)
        return repr(argument) if formula is None else formula.text

    inner = [text(argument) for argument in node.args] + [f"{key}={text(a)}" for key, a in node.kwargs.items()]
    site = site_of(node)
    return f"{node.target}({', '.join(inner)})" + ("" if site is None else f" draw {site}")


def location(node: fx.Node) -> str:
    """file:line of the user's code, as noted while tracing."""
    return str(node.meta.get("custom", {}).get(META, "the step itself"))


def functional(first: Trace, second: Trace) -> fx.GraphModule:
    """The first trace without mutation: outputs are the state as it ends, then what the trace returned. The second is
    there to tell numbers of the step from numbers that a decomposition has computed from hyper-parameters.

    Raises:
        TraceError: when one has.
    """
    graph = _functional(first)
    recorded = set(_numbers(first.graph))
    derived = (number for number in _numbers(graph) if number not in recorded and not is_short(number))
    if any(first.scalars.formula(number) is None for number in derived):
        found = difference(replace(first, graph=graph), replace(second, graph=_functional(second)))
        if found is not None:
            raise TraceError(f"an operation computes with a hyper-parameter in a way that has no lowering: {found}")
    return graph


def _numbers(graph: fx.GraphModule) -> Iterator[float]:
    for node in graph.graph.nodes:
        yield from (value for value in [*node.args, *node.kwargs.values()] if isinstance(value, float))


def _functional(trace: Trace) -> fx.GraphModule:
    def run(*arguments: torch.Tensor) -> list[torch.Tensor]:
        results = replay(trace.graph, arguments)
        return [*arguments[: trace.state], *results]

    copies = [tensor.detach().clone() for tensor in trace.inputs]
    generators = [held for held in trace.graph.__dict__.values() if isinstance(held, torch.Generator)]
    states = [generator.get_state() for generator in generators]
    with recording(), fx_traceback.preserve_node_meta(), torch.no_grad(), quiet():
        recorded: Any = make_fx(
            functionalize(run, remove="mutations_and_views"),
            decomposition_table=composite_operations(),
            tracing_mode="real",
        )
        try:
            made: fx.GraphModule = recorded(*copies)
        except OrebitError:
            raise
        except Exception as error:  # torch's refusals have no common type
            raise TraceError(_unfunctional(trace, error)) from error
    for generator, state in zip(generators, states, strict=True):
        generator.set_state(state)
    for node in reversed(made.graph.nodes):
        if _is_bookkeeping(node) and not node.users:
            made.graph.erase_node(node)
    made.graph.eliminate_dead_code()
    return made


def _unfunctional(trace: Trace, error: Exception) -> str:
    """Why a recorded step has no form without mutation; names what it updates that is not the model's, if anything."""
    for node in trace.graph.graph.nodes:
        target = node.target
        if isinstance(target, OpOverload) and target._schema.is_mutable:
            held = [source for source in node.all_input_nodes if source.op == "get_attr"]
            if held:
                return (
                    f"{target} at {location(node)} updates a tensor that is neither the model's nor the optimizer's, so"
                    " that no program can carry it on: name it with the models (`model={...}`), make it a buffer, or"
                    " leave it out of the step; a GradScaler is not needed in float32"
                )
    return f"the step has no form without mutation: {type(error).__name__}: {error}"


def _is_bookkeeping(node: fx.Node) -> bool:
    """Profiler ranges, and the copies back into inputs that functionalisation leaves at the end."""
    return "_record_function" in str(node.target) or node.target is torch.ops.aten.copy_.default
