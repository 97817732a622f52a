"""Optimizers as they are traced: plain variants, the state they start from, and counts of steps.

What an optimizer derives from its count of steps alone is not computed in the graph: Python reads the count, and what
it computes from it becomes a formula of the step (`tracing_scalars`), tabulated in float64.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch.nn.utils import clip_grad
from torch.optim import _muon, radam

from orebit.errors import TraceError
from orebit.program.tracing_scalars import OPERATORS, Formula, TracedFloat, formula_of

Optimizers = Mapping[str, torch.optim.Optimizer]
VARIANTS = ("foreach", "fused", "capturable")


def refuse_unsuitable(optimizers: Optimizers) -> None:
    """Raises:
    TraceError: for an optimizer that evaluates the loss as often as it likes, or takes sparse gradients.
    """
    for optimizer in optimizers.values():
        if isinstance(optimizer, torch.optim.LBFGS):
            raise TraceError(
                "torch.optim.LBFGS searches along a line, each time as long as it takes, and a program is the same in"
                " every step; use Adam or SGD, or the Sandblaster method, whose line search runs in the driver"
            )
        if isinstance(optimizer, torch.optim.SparseAdam):
            raise TraceError("torch.optim.SparseAdam takes sparse gradients, which programs have not; use Adam")


@contextmanager
def plain_variants(optimizers: Optimizers) -> Iterator[None]:
    """Vendor and grouped variants off, branches on the step written without, and no numbers below f32."""
    for optimizer in optimizers.values():
        for settings in [optimizer.defaults, *optimizer.param_groups]:
            settings.update({key: False for key in VARIANTS if key in settings})
    with ExitStack() as patches:
        patches.enter_context(patch.object(_muon, "_zeropower_via_newtonschulz", _orthogonalised))
        for name in ("_has_foreach_support", "_device_has_foreach_support"):
            patches.enter_context(patch.object(clip_grad, name, lambda *_, **__: False))
        patches.enter_context(patch.object(radam, "_single_tensor_radam", _radam))
        yield


def undampened(optimizers: Optimizers) -> dict[tuple[str, int], dict[str, Any]]:
    """The groups, by optimizer and number, that have no dampening in their first step: torch leaves it out where there
    is no momentum to dampen yet."""
    return {
        (name, number): group
        for name, optimizer in optimizers.items()
        for number, group in enumerate(optimizer.param_groups)
        if isinstance(optimizer, torch.optim.SGD) and group["dampening"] and not optimizer.state
    }


@contextmanager
def first_step(groups: Iterable[dict[str, Any]]) -> Iterator[None]:
    """The settings of these undampened groups in their first step."""
    with ExitStack() as settings:
        for group in groups:
            settings.enter_context(patch.dict(group, dampening=0))
        yield


@dataclass
class Beginnings:
    """The values with which optimizers made their state tensors, by identity; what is not here begins at zero."""

    values: dict[int, torch.Tensor]

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        return self.values.get(id(tensor), torch.zeros_like(tensor)).clone()


@contextmanager
def beginnings(optimizers: Optimizers) -> Iterator[Beginnings]:
    """Watches optimizers as they make their state tensors."""
    found = Beginnings({})

    def watched(optimizer: torch.optim.Optimizer) -> Any:
        original = optimizer._init_group  # type: ignore[attr-defined]  # torch's optimizers have it, the base has not

        def initialise(group: Any, *arguments: Any, **named: Any) -> Any:
            result = original(group, *arguments, **named)
            for parameter in group["params"]:
                for value in optimizer.state.get(parameter, {}).values():
                    if isinstance(value, torch.Tensor) and id(value) not in found.values:
                        found.values[id(value)] = value.detach().clone()
            return result

        return initialise

    with ExitStack() as patches:
        for optimizer in optimizers.values():
            if hasattr(optimizer, "_init_group"):
                patches.enter_context(patch.object(optimizer, "_init_group", watched(optimizer)))
        yield found


def held_tensors(optimizers: Optimizers, names: Mapping[int, str]) -> dict[str, torch.Tensor]:
    """The optimizers' state tensors as `parameter.key`, with the optimizer's name before where two hold one parameter.

    Args:
        optimizers: by name.
        names: of parameters, by identity.
    """
    found: dict[str, torch.Tensor] = {}
    for label, optimizer in optimizers.items():
        for parameter, entry in optimizer.state.items():
            for key, value in entry.items():
                if isinstance(value, torch.Tensor):
                    name = f"{names[id(parameter)]}.{key}"
                    found[f"{label}.{name}" if name in found else name] = value
    return found


def held_numbers(optimizers: Optimizers) -> list[tuple[dict[str, Any], str]]:
    """Where optimizers keep Python numbers in their state: a dictionary and a key each."""
    entries = [entry for optimizer in optimizers.values() for entry in optimizer.state.values()]
    return [(entry, key) for entry in entries for key, value in entry.items() if type(value) in (int, float)]


def _rectification(step: float, beta: float) -> float:
    """RAdam's variance rectification with Adam's second bias correction; 0 while the variance is intractable."""
    longest = 2 / (1 - beta) - 1
    length = longest - 2 * step * beta**step / (1 - beta**step)
    if length <= 5:
        return 0.0
    ratio = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    return float((ratio * (1 - beta**step)) ** 0.5)


OPERATORS["rectification"] = _rectification
OPERATORS["warm-up"] = lambda step, beta: float(_rectification(step, beta) == 0)


def _named(symbol: str, step: Any, beta: Any) -> Any:
    """An operator of our own over traced numbers, or over plain ones."""
    if not isinstance(step, TracedFloat):
        return OPERATORS[symbol](step, beta)
    operands = (formula_of(step), formula_of(beta))
    text = f"{symbol}({operands[0].text}, {operands[1].text})"
    formula = Formula(text, None, symbol, operands, changes=True, counts=True, reads=any(o.reads for o in operands))
    # Any value does, as long as no other number has it.
    value = float(step) * float(beta) / (7.0 if symbol == "warm-up" else 11.0)
    return TracedFloat.make(value, formula, step.table)


def _radam(
    params: list[torch.Tensor],
    grads: list[torch.Tensor],
    exp_avgs: list[torch.Tensor],
    exp_avg_sqs: list[torch.Tensor],
    state_steps: list[torch.Tensor],
    *,
    beta1: Any,
    beta2: Any,
    lr: Any,
    weight_decay: Any,
    eps: Any,
    decoupled_weight_decay: bool,
    maximize: bool,
    **_: Any,
) -> None:
    """torch.optim.radam, with the branch on the step as two factors of which one is zero."""
    for param, given, mean, square, count in zip(params, grads, exp_avgs, exp_avg_sqs, state_steps, strict=True):
        grad = -given if maximize else given
        count += 1
        step: Any = count.item()
        if weight_decay != 0:
            if decoupled_weight_decay:
                param.mul_(1 - lr * weight_decay)
            else:
                grad = grad.add(param, alpha=weight_decay)
        mean.lerp_(grad, 1 - beta1)
        square.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        adaptive = _named("rectification", step, beta2) / square.sqrt().add_(eps)
        update = mean / (1 - beta1**step) * lr * (adaptive + _named("warm-up", step, beta2))
        param.add_(update, alpha=-1.0)


def _orthogonalised(grad: torch.Tensor, coefficients: tuple[Any, ...], steps: int, eps: Any) -> torch.Tensor:
    """torch.optim.Muon's Newton-Schulz iteration, in f32 where torch takes bfloat16."""
    a, b, c = coefficients
    result = grad.T if grad.size(0) > grad.size(1) else grad
    result = result / result.norm().clamp(min=eps)
    for _ in range(steps):
        gram = result @ result.T
        update = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        result = torch.addmm(result, update, result, beta=a)
    return result.T if grad.size(0) > grad.size(1) else result
