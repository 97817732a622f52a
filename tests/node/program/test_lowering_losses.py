"""Losses against eager float64, values and gradients, with every reduction."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from test_lowering import TARGET, check, classify, weighted
from torch.nn import functional as F

REDUCTIONS = ("mean", "sum", "none")
# What torch warns against a mean for.
BATCHMEAN = {"mean": "batchmean"}
Loss = Callable[..., torch.Tensor]


def reduced(loss: Loss, *arguments: torch.Tensor, reduction: str, **settings: object) -> torch.Tensor:
    """A scalar of the loss: itself, or unequal weights on its elements."""
    made = loss(*arguments, reduction=reduction, **settings)
    return weighted(made) if reduction == "none" else made


def positive(x: torch.Tensor) -> torch.Tensor:
    return torch.sigmoid(x)


CLASSES: dict[str, Loss] = {
    "smoothed": lambda out, y, reduction: reduced(F.cross_entropy, out, y, reduction=reduction, label_smoothing=0.1),
    "weighted": lambda out, y, reduction: reduced(
        F.cross_entropy, out, y, reduction=reduction, weight=torch.linspace(0.5, 2, 5).to(out.dtype)
    ),
    "weighted_smoothed": lambda out, y, reduction: reduced(
        F.cross_entropy,
        out,
        y,
        reduction=reduction,
        weight=torch.linspace(0.5, 2, 5).to(out.dtype),
        label_smoothing=0.2,
        ignore_index=1,
    ),
    "probabilities": lambda out, y, reduction: reduced(
        F.cross_entropy, out, F.one_hot(y, 5).to(out.dtype) * 0.7 + 0.06, reduction=reduction
    ),
    "nll": lambda out, y, reduction: reduced(
        F.nll_loss, torch.log_softmax(out, 1), y, reduction=reduction, ignore_index=4
    ),
    "soft_margin": lambda out, y, reduction: reduced(F.soft_margin_loss, out, y[:, None] - 1.5, reduction=reduction),
}


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", CLASSES)
def test_loss_of_classes(name: str, reduction: str) -> None:
    classify(lambda out, y: CLASSES[name](out, y, reduction=reduction), TARGET, tolerance=1e-5)


def test_cross_entropy_over_places() -> None:
    """Class scores [N, C, H, W] with a class for every place, some ignored."""
    target = torch.tensor([[[0, 2], [1, 1]], [[2, 9], [0, 1]]])
    check(lambda w, x: F.cross_entropy((w * x).reshape(2, 3, 2, 2), target, ignore_index=9), shape=(6, 4))


def test_cross_entropy_of_one_row() -> None:
    check(lambda w, x: F.cross_entropy((w * x)[0], torch.tensor(3)))


REGRESSION: dict[str, Loss] = {
    "mse": F.mse_loss,
    "l1": F.l1_loss,
    "huber": lambda a, b, reduction: F.huber_loss(a, b, reduction=reduction, delta=0.7),
    "smooth_l1": lambda a, b, reduction: F.smooth_l1_loss(a, b, reduction=reduction, beta=0.5),
    "bce": lambda a, b, reduction: F.binary_cross_entropy(positive(a), positive(b), reduction=reduction),
    "bce_weighted": lambda a, b, reduction: F.binary_cross_entropy(
        positive(a), positive(b), weight=b.abs(), reduction=reduction
    ),
    "bce_with_logits": lambda a, b, reduction: F.binary_cross_entropy_with_logits(
        a, positive(b), reduction=reduction, pos_weight=torch.full((5,), 1.7).to(a.dtype)
    ),
    "kl_div": lambda a, b, reduction: F.kl_div(
        torch.log_softmax(a, 1), torch.softmax(b, 1), reduction=BATCHMEAN.get(reduction, reduction)
    ),
    "kl_div_log": lambda a, b, reduction: F.kl_div(
        torch.log_softmax(a, 1),
        torch.log_softmax(b, 1),
        reduction=BATCHMEAN.get(reduction, reduction),
        log_target=True,
    ),
    "cosine_embedding": lambda a, b, reduction: F.cosine_embedding_loss(
        a, b, torch.tensor([1, -1, 1, 1, -1, 1]), margin=0.1, reduction=reduction
    ),
    "hinge_embedding": lambda a, b, reduction: F.hinge_embedding_loss(a, torch.sign(b), reduction=reduction),
    "margin_ranking": lambda a, b, reduction: F.margin_ranking_loss(
        a, b, torch.sign(a.detach() + b), 0.1, reduction=reduction
    ),
    "triplet": lambda a, b, reduction: F.triplet_margin_loss(a, b, b.flip(0), reduction=reduction),
    "gaussian_nll": lambda a, b, reduction: F.gaussian_nll_loss(a, b, a * a + 0.5, reduction=reduction),
    "poisson_nll": lambda a, b, reduction: F.poisson_nll_loss(a, b.abs(), reduction=reduction),
}


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", REGRESSION)
def test_loss_of_numbers(name: str, reduction: str) -> None:
    check(lambda w, x: reduced(REGRESSION[name], w * 2, x, reduction=reduction), tolerance=5e-6)
