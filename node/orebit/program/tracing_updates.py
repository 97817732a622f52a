"""Updates of torch's optimizers that branch on values or counts, written without branches; and one in f32."""

from __future__ import annotations

from typing import Any

import torch

from orebit.program.tracing_scalars import OPERATORS, Formula, TracedFloat, formula_of


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


def radam(
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


def orthogonalised(grad: torch.Tensor, coefficients: tuple[Any, ...], steps: int, eps: Any) -> torch.Tensor:
    """torch.optim.Muon's Newton-Schulz iteration, in f32 where torch takes bfloat16."""
    a, b, c = coefficients
    result = grad.T if grad.size(0) > grad.size(1) else grad
    result = result / result.norm().clamp(min=eps)
    for _ in range(steps):
        gram = result @ result.T
        update = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        result = torch.addmm(result, update, result, beta=a)
    return result.T if grad.size(0) > grad.size(1) else result


def asgd(
    params: list[torch.Tensor],
    grads: list[torch.Tensor],
    axs: list[torch.Tensor],
    mus: list[torch.Tensor],
    etas: list[torch.Tensor],
    state_steps: list[torch.Tensor],
    *,
    lambd: Any,
    lr: Any,
    t0: Any,
    alpha: Any,
    weight_decay: Any,
    maximize: bool,
    **_: Any,
) -> None:
    """torch.optim.asgd, which copies instead of averaging where the weight of the newest is 1."""
    for param, given, average, mu, eta, count in zip(params, grads, axs, mus, etas, state_steps, strict=True):
        grad = -given if maximize else given
        count += 1
        step: Any = count.item()
        if weight_decay != 0:
            grad = grad.add(param, alpha=weight_decay)
        param.mul_(1 - lambd * eta)
        param.sub_(grad * eta)
        average.copy_(torch.where(mu == 1, param, average + (param - average) * mu))
        eta.fill_(lr / ((1 + lambd * lr * step) ** alpha))
        mu.fill_(1 / max(1, step - t0))


def rprop(
    params: list[torch.Tensor],
    grads: list[torch.Tensor],
    prevs: list[torch.Tensor],
    step_sizes: list[torch.Tensor],
    state_steps: list[torch.Tensor],
    *,
    step_size_min: Any,
    step_size_max: Any,
    etaminus: Any,
    etaplus: Any,
    maximize: bool,
    **_: Any,
) -> None:
    """torch.optim.rprop, with selections instead of assignments by mask."""
    for param, given, before, size, count in zip(params, grads, prevs, step_sizes, state_steps, strict=True):
        grad = -given if maximize else given
        count += 1
        product = grad * before
        turned = product < 0
        factor = torch.where(product > 0, size * etaplus, torch.where(turned, size * etaminus, size))
        size.copy_(factor.clamp(step_size_min, step_size_max))
        grad = torch.where(turned, torch.zeros_like(grad), grad)
        param.sub_(grad.sign() * size)
        before.copy_(grad)
