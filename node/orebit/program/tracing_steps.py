"""The steps that can be captured: a model with its loss and optimizer, or a function that a user wrote."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch

from orebit.errors import TraceError
from orebit.program.tracing_hyperparameters import Place, function_places, group_places
from orebit.program.tracing_optimizers import Pins, held_tensors
from orebit.program.tracing_scalars import TracedFloat

Batch = tuple[torch.Tensor, ...]
Forward = Callable[..., torch.Tensor]
LOSS = "loss"


class Traceable(Protocol):
    """Something that runs over a model's own tensors and can be captured."""

    model: torch.nn.Module
    source: str
    training: bool | None
    """The mode that the model is put into; None leaves each module's as it is."""

    @property
    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """By name; a single one is nameless."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what `run` returns, once it has run."""

    def run(self, batch: Batch) -> list[torch.Tensor]:
        """Runs once, eagerly; what it returns are outputs."""

    def tensors(self) -> dict[str, torch.Tensor]:
        """The tensors that it reads and replaces, by name."""

    def places(self) -> list[Place]:
        """Where its hyper-parameters are."""


class TrainingStep:
    """The usual step over the tensors that model and optimizer hold; its output is the loss before it.

    Args:
        model: as the user built it; put into training mode while traced.
        loss: takes what the model returns and the batch's other tensors.
        optimizer: holds the model's parameters.
        source: where the user's code is, for operations that stand in no line of it.
    """

    training: bool | None = True
    outputs: tuple[str, ...] = (LOSS,)

    def __init__(self, model: torch.nn.Module, loss: Forward, optimizer: torch.optim.Optimizer, source: str) -> None:
        self.model = model
        self.loss = loss
        self.optimizers: Mapping[str, torch.optim.Optimizer] = {"": optimizer}
        self.source = source
        self._pins = Pins()

    def run(self, batch: Batch) -> list[torch.Tensor]:
        outputs = [self._run_user_step(batch)]
        self._pins.hold(self.optimizers)
        return outputs

    def _run_user_step(self, batch: Batch) -> torch.Tensor:
        (optimizer,) = self.optimizers.values()
        optimizer.zero_grad(set_to_none=True)
        loss = scalar_loss(self.loss(self.model(batch[0]), *batch[1:]), self.source)
        torch.autograd.backward(loss)
        optimizer.step()
        return loss.detach().reshape(())

    def tensors(self) -> dict[str, torch.Tensor]:
        return all_tensors(self.model, self.optimizers)

    def places(self) -> list[Place]:
        return list(group_places(self.optimizers))


class WrittenStep:
    """A step that the user wrote; it takes a batch's tensors, trains, and returns the loss, or losses by name.

    Args:
        function: `function(*batch)`; floats that it takes by keyword with a default, closes over, or reads from its
            module are hyper-parameters.
        model: all that it trains or updates.
        optimizers: all that it steps, by name; a single one may be nameless.
        source: where the user's code is.
    """

    training: bool | None = None

    def __init__(
        self,
        function: Callable[..., Any],
        model: torch.nn.Module,
        optimizers: Mapping[str, torch.optim.Optimizer],
        source: str,
    ) -> None:
        self.function = function
        self.model = model
        self.optimizers = optimizers
        self.source = source
        self._pins = Pins()
        self.outputs: tuple[str, ...] = (LOSS,)
        self.keywords = {
            name: parameter.default
            for name, parameter in inspect.signature(function).parameters.items()
            if parameter.kind is parameter.KEYWORD_ONLY and type(parameter.default) is float
        }

    def run(self, batch: Batch) -> list[torch.Tensor]:
        outputs = self._run_user_step(batch)
        self._pins.hold(self.optimizers)
        return outputs

    def _run_user_step(self, batch: Batch) -> list[torch.Tensor]:
        named = self._named(self.function(*batch, **self.keywords))
        main = LOSS if LOSS in named else next(iter(named))
        # The main loss is last, under its usual name.
        self.outputs = (*(name for name in named if name != main), LOSS)
        ordered = [value for name, value in named.items() if name != main] + [named[main]]
        return [value.detach().reshape(()).float() for value in ordered]

    def _named(self, result: Any) -> dict[str, torch.Tensor]:
        given = result if isinstance(result, Mapping) else {LOSS: result}
        named = {str(name): number_as_tensor(value) for name, value in given.items()}
        if not named or not all(isinstance(value, torch.Tensor) and value.numel() == 1 for value in named.values()):
            raise TraceError(
                f"the step at {self.source} returns {type(result).__name__}; let it return the loss, a tensor of one"
                " number, or a dictionary of such tensors by name"
            )
        return named

    def tensors(self) -> dict[str, torch.Tensor]:
        return all_tensors(self.model, self.optimizers)

    def places(self) -> list[Place]:
        return [*group_places(self.optimizers), *function_places(self.function, self.keywords)]


def number_as_tensor(value: Any) -> Any:
    """A number that a step returns, read out of a tensor or computed from such, as a tensor again."""
    if isinstance(value, TracedFloat):
        return torch.full((), float(value))
    return torch.tensor(value) if isinstance(value, float) else value


class Parts(torch.nn.Module):
    """Several modules and loose tensors as one model."""

    def __init__(self, parts: Mapping[str, torch.nn.Module | torch.Tensor]) -> None:
        super().__init__()
        for name, part in parts.items():
            if isinstance(part, torch.nn.Module):
                self.add_module(name, part)
            elif isinstance(part, torch.nn.Parameter):
                self.register_parameter(name, part)
            else:
                self.register_buffer(name, part)


def as_model(given: Any, source: str) -> torch.nn.Module:
    """A module as it is; a dictionary or a sequence of modules and tensors as one.

    Raises:
        TraceError: when it is something else, or a name is unsuitable.
    """
    if isinstance(given, torch.nn.Module):
        return given
    parts = dict(given) if isinstance(given, Mapping) else {str(k): part for k, part in enumerate(_listed(given))}
    try:
        if parts:
            return Parts(parts)
    except (KeyError, TypeError) as error:
        raise TraceError(f"the models at {source} cannot be named so: {error}; take other names") from error
    raise TraceError(
        f"the model at {source} is a {type(given).__name__}; give a module, or several by name or in a list"
    )


def as_optimizers(given: Any, source: str) -> dict[str, torch.optim.Optimizer]:
    """One optimizer, nameless; several by name or by number.

    Raises:
        TraceError: for anything else.
    """
    if isinstance(given, torch.optim.Optimizer):
        return {"": given}
    named = dict(given) if isinstance(given, Mapping) else {str(k): one for k, one in enumerate(_listed(given))}
    if not named or not all(isinstance(optimizer, torch.optim.Optimizer) for optimizer in named.values()):
        raise TraceError(f"the optimizer at {source} is not a torch.optim.Optimizer, nor several by name or in a list")
    return {str(name): optimizer for name, optimizer in named.items()}


def _listed(given: Any) -> Sequence[Any]:
    return given if isinstance(given, list | tuple) else ()


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


def all_tensors(model: torch.nn.Module, optimizers: Mapping[str, torch.optim.Optimizer]) -> dict[str, torch.Tensor]:
    """Parameters and buffers by state_dict name, once each, then the optimizers' tensors by parameter name.

    Raises:
        TraceError: when two have one name.
    """
    found = model_tensors(model)
    held = held_tensors(optimizers, {id(tensor): name for name, tensor in found.items()})
    twice = found.keys() & held.keys()
    if twice:
        raise TraceError(f"the model and its optimizer both have a '{min(twice)}'; rename the model's")
    return found | held


def state_dict_names(model: torch.nn.Module) -> dict[str, str]:
    """Every name of the model's state_dict, and the name in `model_tensors` that holds it; tied weights share one."""
    tensors = {id(tensor): name for name, tensor in model_tensors(model).items()}
    return {name: tensors[id(tensor)] for name, tensor in model.state_dict(keep_vars=True).items()}
