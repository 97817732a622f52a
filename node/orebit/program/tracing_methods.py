"""Methods of torch's modules that branch on a count of calls, without the branch; and what is off while a step runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import Any
from unittest.mock import patch

import torch
from torch.amp.autocast_mode import autocast
from torch.amp.grad_scaler import GradScaler
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel, get_swa_avg_fn


@contextmanager
def single_precision() -> Iterator[None]:
    """Without autocast and without scaled losses: programs compute in f32, where neither is needed."""
    never = property(lambda scaler: False, lambda scaler, value: None)
    with ExitStack() as patches:
        patches.enter_context(patch.object(autocast, "__enter__", lambda self: self))
        patches.enter_context(patch.object(autocast, "__exit__", lambda self, *_: None))
        patches.enter_context(patch.object(GradScaler, "_enabled", never, create=True))
        yield


@contextmanager
def written_methods() -> Iterator[None]:
    """Averages of models, and of batch statistics over all batches, by selection and division in tensors."""
    forward = _BatchNorm.forward

    def normalised(self: Any, x: torch.Tensor) -> torch.Tensor:
        cumulative = self.momentum is None and self.training and self.track_running_stats
        return _cumulative_batch_norm(self, x) if cumulative else forward(self, x)

    with ExitStack() as patches:
        patches.enter_context(patch.object(torch.jit, "is_tracing", _asked_by_a_model))
        patches.enter_context(patch.object(AveragedModel, "update_parameters", _update_parameters))
        patches.enter_context(patch.object(_BatchNorm, "forward", normalised))
        yield


def _asked_by_a_model() -> bool:
    """Published models ask torch.jit.is_tracing() whether values may be looked at; torch asks it of its own trace."""
    return not str(sys._getframe(1).f_globals.get("__name__", "")).startswith("torch.")


def _update_parameters(self: Any, model: torch.nn.Module) -> None:
    """torch.optim.swa_utils.AveragedModel's: the first model is copied, those after it are averaged in."""
    own = chain(self.module.parameters(), self.module.buffers()) if self.use_buffers else self.parameters()
    given = chain(model.parameters(), model.buffers()) if self.use_buffers else model.parameters()
    averages, latest = [tensor.detach() for tensor in own], [tensor.detach() for tensor in given]
    if self.multi_avg_fn is not None:
        made = [tensor.clone() for tensor in averages]
        self.multi_avg_fn(made, latest, self.n_averaged)
    else:
        function = self.avg_fn or get_swa_avg_fn()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        made = [function(old, new, self.n_averaged) for old, new in zip(averages, latest, strict=True)]
    for old, average, new in zip(averages, made, latest, strict=True):
        old.copy_(torch.where(self.n_averaged == 0, new, average.to(old.dtype)))
    if not self.use_buffers:
        for kept, buffer in zip(self.module.buffers(), model.buffers(), strict=True):
            kept.detach().copy_(buffer.detach())
    self.n_averaged += 1


def _cumulative_batch_norm(self: Any, x: torch.Tensor) -> torch.Tensor:
    """Batch normalisation with momentum=None: running statistics are means over all batches so far."""
    self._check_input_dim(x)
    self.num_batches_tracked.add_(1)
    mean, variance = self.running_mean.clone(), self.running_var.clone()
    # With a momentum of 1 they become this batch's own.
    made = functional.batch_norm(x, mean, variance, self.weight, self.bias, True, 1.0, self.eps)
    part = 1.0 / self.num_batches_tracked.float()
    self.running_mean.copy_(self.running_mean * (1 - part) + mean * part)
    self.running_var.copy_(self.running_var * (1 - part) + variance * part)
    return made
