"""Where a gradient is nothing but rounding, a step that is traced rightly is not refused."""

from __future__ import annotations

import pytest
import torch
from model_cases import Attend, Head
from torch import nn

from orebit.errors import TraceError
from orebit.strategy.training import Training, trace_training


def training(model: nn.Module, x: torch.Tensor) -> Training:
    return Training(
        model=model,
        loss=lambda made, wanted: nn.functional.mse_loss(made, wanted) * 0.01,
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=1e-2),
        data=(x, torch.randn(len(x), 2)),
        steps=2,
        batch_size=4,
    )


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_adam_on_the_bias_of_attention_s_keys() -> None:
    """Its gradient is zero but for rounding, which Adam makes a step of full size."""
    torch.manual_seed(0)
    model, x = Head(Attend(by_hand=True, causal=False)), torch.randn(16, 12, 8)
    model(x)
    traced = trace_training(training(model, x))
    assert any(name.endswith("qkv.bias") for name in traced.state_names)


class Forgetful(nn.Module):
    """Counts its calls in Python, and trains otherwise in every step."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.calls = nn.Linear(6, 2), 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.layer(x) * (1.0 if self.calls % 2 else 3.0)


def test_a_step_that_differs_from_call_to_call_is_still_refused() -> None:
    with pytest.raises(TraceError):
        trace_training(training(Forgetful(), torch.randn(16, 6)))
