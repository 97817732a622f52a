"""From a user's own training step to a functional graph of aten operations (docs/requesters.md).

The step (zero_grad, loss, backward, optimizer step) is captured over the very tensors that model and optimizer hold,
twice, from other values, other data and other seeds; what differs between the two graphs is not a program and is
refused by name. A second pass makes the graph functional. Lowering then turns it into nodes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.fx.traceback as fx_traceback
from torch import fx
from torch.func import functionalize
from torch.fx.experimental.proxy_tensor import make_fx

from orebit.errors import OrebitError, TraceError
from orebit.program.tracing_decompositions import composite_operations, hidden_mutations, plain_kernels
from orebit.program.tracing_hyperparameters import ScalarTable, hyperparameters, install
from orebit.program.tracing_location import META, LocationMode, failing_line
from orebit.program.tracing_randomness import Sites
from orebit.program.tracing_snapshot import copy_into, restored, seed_everything

Batch = tuple[torch.Tensor, ...]
Forward = Callable[..., torch.Tensor]


@dataclass(frozen=True)
class StateTensor:
    """One tensor that a step reads and replaces: its name and its value before the first step."""

    name: str
    initial: torch.Tensor


@dataclass(frozen=True)
class CapturedStep:
    """A step as a functional graph.

    The graph's placeholders are the state tensors, then the batch's tensors; its outputs are the new state, then what
    the step returned. `scalars` says which expression of hyper-parameters a number in the graph is.
    """

    graph: fx.GraphModule
    state: tuple[StateTensor, ...]
    scalars: ScalarTable
    hyperparameters: dict[str, float]


class Traceable(Protocol):
    """Something that runs over a model's own tensors and can be captured."""

    model: torch.nn.Module
    optimizer: torch.optim.Optimizer | None
    source: str
    training: bool

    def run(self, batch: Batch) -> list[torch.Tensor]:
        """Runs once, eagerly; what it returns are outputs."""

    def tensors(self) -> dict[str, torch.Tensor]:
        """The tensors that it reads and replaces, by name."""


class TrainingStep:
    """The user's step over the tensors that model and optimizer hold; its output is the loss before it.

    Args:
        model: as the user built it; put into training mode while traced.
        loss: takes what the model returns and the batch's other tensors.
        optimizer: holds the model's parameters.
        source: where the user's code is, for operations that stand in no line of it.
    """

    training = True

    def __init__(self, model: torch.nn.Module, loss: Forward, optimizer: torch.optim.Optimizer, source: str) -> None:
        self.model = model
        self.loss = loss
        self.optimizer: torch.optim.Optimizer | None = optimizer
        self.source = source

    def run(self, batch: Batch) -> list[torch.Tensor]:
        return [self._run_user_step(batch)]

    def _run_user_step(self, batch: Batch) -> torch.Tensor:
        assert self.optimizer is not None
        self.optimizer.zero_grad(set_to_none=True)
        loss = scalar_loss(self.loss(self.model(batch[0]), *batch[1:]), self.source)
        torch.autograd.backward(loss)
        self.optimizer.step()
        return loss.detach().reshape(())

    def tensors(self) -> dict[str, torch.Tensor]:
        """Parameters and buffers by state_dict name, once each, then the optimizer's tensors by parameter name."""
        assert self.optimizer is not None
        found = model_tensors(self.model)
        for name, parameter in self.model.named_parameters():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                if isinstance(value, torch.Tensor):
                    found[f"{name}.{key}"] = value
                elif isinstance(value, int | float) and not isinstance(value, bool):
                    raise TraceError(
                        f"the optimizer keeps '{key}' of {name} as a Python number, which a program cannot carry;"
                        " use torch.optim.SGD, or an optimizer that keeps its state in tensors"
                    )
        return found


def scalar_loss(loss: object, source: str) -> torch.Tensor:
    """Raises:
    TraceError: unless `loss` is a tensor of one number.
    """
    if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
        raise TraceError(f"the loss at {source} is not a tensor of one number; reduce it with .mean() or .sum()")
    return loss


def model_tensors(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers by name; those that share a tensor stand once, under the first name."""
    found: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if id(tensor) not in seen:
            seen.add(id(tensor))
            found[name] = tensor
    return found


def state_dict_names(model: torch.nn.Module) -> dict[str, str]:
    """Every name of the model's state_dict, and the name in `model_tensors` that holds it; tied weights share one."""
    tensors = {id(tensor): name for name, tensor in model_tensors(model).items()}
    return {name: tensors[id(tensor)] for name, tensor in model.state_dict(keep_vars=True).items()}


def capture(step: Traceable, batches: tuple[Batch, Batch]) -> CapturedStep:
    """Traces a step.

    Args:
        step: model, loss and optimizer; all restored afterwards.
        batches: two batches of equal shapes and different data.

    Raises:
        TraceError: naming the operation and the line when the step is not the same program for all data and seeds.
    """
    _check_tensors(step)
    with restored(step.model, step.optimizer):
        _plain_settings(step.optimizer)
        step.model.train(step.training)
        settings = hyperparameters(step.optimizer)
        initial = _make_state(step, batches[0])
        trial = _Trial(step, initial)
        first, second = trial.trace(batches[0], (0, 0, 0), 0), trial.trace(batches[1], (1, 1, 1), 1)
        _refuse_difference(trial, batches, first, second)
        first.sites.refuse_shared(second.sites, step.source)
        state = tuple(StateTensor(name, value) for name, value in initial.items())
        return CapturedStep(first.graph, state, first.scalars, settings)


def _check_tensors(step: Traceable) -> None:
    for name, tensor in [*step.model.named_parameters(), *step.model.named_buffers()]:
        if tensor.dtype in (torch.float64, torch.float16, torch.bfloat16) or tensor.is_complex():
            raise TraceError(
                f"'{name}' of the model is {tensor.dtype}; programs compute in float32: call model.float() first"
            )
        if tensor.device.type != "cpu":
            raise TraceError(f"'{name}' of the model is on {tensor.device}; call model.cpu() before it is traced")
    if step.optimizer is None:
        return
    own = {id(parameter) for parameter in step.model.parameters()}
    held = {id(parameter) for group in step.optimizer.param_groups for parameter in group["params"]}
    if held - own:
        raise TraceError(
            "the optimizer holds parameters that are not the model's; build it from model.parameters(), after the"
            " model's last change"
        )


def _plain_settings(optimizer: torch.optim.Optimizer | None) -> None:
    """Vendor and grouped variants off, so that a program does not depend on the machine that traced it."""
    if optimizer is None:
        return
    for settings in [optimizer.defaults, *optimizer.param_groups]:
        for key in ("foreach", "fused"):
            if key in settings:
                settings[key] = False


def _make_state(step: Traceable, batch: Batch) -> dict[str, torch.Tensor]:
    """The state before the first step, by name: one eager step makes the optimizer's tensors, which start at zero.

    From zero momentum a first step is torch's own, but for SGD's dampening, which torch leaves out of the first step.
    """
    before = {name: tensor.detach().clone() for name, tensor in step.tensors().items()}
    trained = {} if step.optimizer is None else _trained(step)
    held = [id(tensor) for tensor in model_tensors(step.model).values()]
    _run_eagerly(step, batch)
    for (name, tensor), identity in zip(model_tensors(step.model).items(), held, strict=True):
        if id(tensor) != identity:
            raise TraceError(f"'{name}' of the model is replaced by another tensor in a step; update it with copy_()")
    for name, parameter in trained.items():
        if parameter.grad is None:
            raise TraceError(
                f"'{name}' is trainable but the loss does not depend on it; use it, remove it, or call"
                " requires_grad_(False) on it"
            )
    tensors = step.tensors()
    initial = {name: before[name] if name in before else torch.zeros_like(tensor) for name, tensor in tensors.items()}
    copy_into(list(tensors.values()), list(initial.values()))
    step.model.zero_grad(set_to_none=True)
    return initial


def _run_eagerly(step: Traceable, batch: Batch) -> None:
    mode = LocationMode(step.model, step.source)
    try:
        with mode, plain_kernels():
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
        mode.sites.restore_generators()


def fresh(batch: Batch) -> Batch:
    """The same rows in tensors that no other run has touched."""
    return tuple(tensor.detach().clone() for tensor in batch)


def _trained(step: Traceable) -> dict[str, torch.nn.Parameter]:
    return {name: parameter for name, parameter in step.model.named_parameters() if parameter.requires_grad}


@dataclass(frozen=True)
class _Trace:
    graph: fx.GraphModule
    scalars: ScalarTable
    sites: Sites


class _Trial:
    """Traces the step again and again from one initial state."""

    def __init__(self, step: Traceable, initial: dict[str, torch.Tensor]) -> None:
        self.step = step
        self.initial = initial

    def trace(self, batch: Batch, seeds: tuple[int, int, int], variant: int) -> _Trace:
        """One capture; another `variant` starts from slightly other parameters and hyper-parameters."""
        step, tensors = self.step, list(self.step.tensors().values())
        nudged = [value * (1 + variant * 2.0**-10) if value.is_floating_point() else value for value in self._values()]
        copy_into(tensors, nudged)
        groups = [] if step.optimizer is None else step.optimizer.param_groups
        settings = [dict(group) for group in groups]
        scalars = install(step.optimizer, variant)
        mode = LocationMode(step.model, step.source)
        seed_everything(*seeds)

        def run(held: list[torch.Tensor], given: Batch) -> list[torch.Tensor]:
            with mode:
                return step.run(given)

        try:
            with fx_traceback.preserve_node_meta(), plain_kernels(), _quiet():
                graph = make_fx(run, decomposition_table=hidden_mutations(), tracing_mode="real")(tensors, fresh(batch))
        except OrebitError:
            raise
        except Exception as error:  # torch's refusals have no common type
            raise TraceError(f"the step cannot be traced at {mode.latest}: {type(error).__name__}: {error}") from error
        finally:
            for group, setting in zip(groups, settings, strict=True):
                group.update(setting)
            step.model.zero_grad(set_to_none=True)
            copy_into(tensors, self._values())
        functional = _functional(graph, [*self._values(), *batch], len(tensors))
        mode.sites.restore_generators()
        return _Trace(functional, scalars, mode.sites)

    def _values(self) -> list[torch.Tensor]:
        return list(self.initial.values())


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _refuse_difference(trial: _Trial, batches: tuple[Batch, Batch], first: _Trace, second: _Trace) -> None:
    difference = _difference(first, second)
    if difference is None:
        return
    named = _named_sources(trial, batches[0], first)
    raise TraceError(
        f"the step is not the same when it is traced again: {difference}. The difference comes from"
        f" {' and '.join(named)}. A program has no such source: make it a tensor of the data or of the model."
    )


def _named_sources(trial: _Trial, batch: Batch, first: _Trace) -> list[str]:
    """Which sources make a difference on their own, tried one by one."""

    def differs(*seeds: int) -> bool:
        return _difference(first, trial.trace(batch, (seeds[0], seeds[1], seeds[2]), 0)) is not None

    if differs(0, 0, 0):
        return ["something that changes from one call to the next (a counter, a clock)"]
    sources = {"Python's random": (1, 0, 0), "numpy.random": (0, 1, 0), "torch's random generator": (0, 0, 1)}
    named = [name for name, seeds in sources.items() if differs(*seeds)]
    return named or ["values of tensors read by Python (numpy(), tolist(), a setting that is computed from data)"]


def _difference(first: _Trace, second: _Trace) -> str | None:
    """What differs between two traces and where, or None."""
    left, right = _described(first), _described(second)
    for (what, place), (other, _) in zip(left, right, strict=False):
        if what != other:
            return f"'{what}' became '{other}' at {place}"
    if len(left) != len(right):
        return f"{len(left)} operations became {len(right)}, ending at {max(left, right, key=len)[-2][1]}"
    return None


def _described(trace: _Trace) -> list[tuple[str, str]]:
    numbers = {node: position for position, node in enumerate(trace.graph.graph.nodes)}
    return [(_describe(node, numbers, trace), location(node)) for node in trace.graph.graph.nodes]


def _describe(node: fx.Node, numbers: dict[fx.Node, int], trace: _Trace) -> str:
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
        return trace.scalars.formula(argument) or repr(argument)

    inner = [text(argument) for argument in node.args] + [f"{key}={text(a)}" for key, a in node.kwargs.items()]
    return f"{node.target}({', '.join(inner)})"


def location(node: fx.Node) -> str:
    """file:line of the user's code, as noted while tracing."""
    return str(node.meta.get("custom", {}).get(META, "the step itself"))


def _functional(graph: fx.GraphModule, inputs: Sequence[torch.Tensor], state: int) -> fx.GraphModule:
    """The same step without mutation: outputs are the first `state` inputs as they end, then what the step returned."""

    def run(*arguments: torch.Tensor) -> list[torch.Tensor]:
        results = fx.Interpreter(graph).run(*arguments, enable_io_processing=False)
        return [*arguments[:state], *results]

    copies = [tensor.detach().clone() for tensor in inputs]
    with fx_traceback.preserve_node_meta(), torch.no_grad(), _quiet():
        functional = make_fx(
            functionalize(run, remove="mutations_and_views"),
            decomposition_table=composite_operations(),
            tracing_mode="real",
        )(*copies)
    functional.graph.eliminate_dead_code()
    return functional
