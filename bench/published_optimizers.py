"""Published optimizers, each over a small perceptron."""

# Configurations stand in a line each.
# ruff: noqa: E501
from __future__ import annotations

from typing import Any

import torch
from published_cases import Fields, numbers, published, supervised
from torch import nn
from torch.nn import functional

OF_PYTORCH_OPTIMIZER = (
    "AdaBelief", "AdaBound", "AdaFactor", "Adai", "ADOPT", "AdamP", "AdaMod", "Adan", "AdEMAMix", "AggMo", "AMOS",
    "CAME", "DAdaptAdam", "DiffGrad", "FAdam", "Fromage", "FTRL", "Grams", "Lamb", "LaProp", "LARS", "Lion", "MADGRAD",
    "MARS", "Nero", "NovoGrad", "PAdam", "PID", "Prodigy", "QHAdam", "QHM", "RAdam", "Ranger21", "ScheduleFreeAdamW",
    "SGDP", "SGDW", "Shampoo", "SignSGD", "SM3", "SOAP", "SophiaH", "StableAdamW", "SWATS", "Tiger", "Yogi", "Muon",
    "Kate", "Lookahead",
)  # fmt: skip
OF_TORCH_OPTIMIZER = (
    "AccSGD",
    "Adahessian",
    "Apollo",
    "DiffGrad",
    "Lamb",
    "NovoGrad",
    "QHAdam",
    "SGDP",
    "Shampoo",
    "Yogi",
)


def _small(make: Any) -> Fields:
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    return supervised(model, numbers(6), numbers(3), functional.mse_loss, make)


def _of(package: str, module: str, name: str) -> None:
    @published(package, name)
    def make() -> Fields:
        import importlib

        found = importlib.import_module(module)
        if name == "Lookahead":
            return _small(lambda p: found.Lookahead(torch.optim.SGD(p, lr=0.1), k=5, alpha=0.5))
        return _small(lambda p: getattr(found, name)(p))


for _name in OF_PYTORCH_OPTIMIZER:
    _of("pytorch-optimizer", "pytorch_optimizer", _name)
for _name in OF_TORCH_OPTIMIZER:
    _of("torch-optimizer", "torch_optimizer", _name)
_of("lion-pytorch", "lion_pytorch", "Lion")
_of("adabelief-pytorch", "adabelief_pytorch", "AdaBelief")
_of("prodigyopt", "prodigyopt", "Prodigy")
_of("schedulefree", "schedulefree", "AdamWScheduleFree")
_of("transformers", "transformers", "Adafactor")
for _name in ("Adan", "AdamWLegacy", "Lamb", "Lion", "LaProp", "NAdamW", "NvNovoGrad", "MADGRAD"):
    _of("timm", "timm.optim", _name)
