"""Small trainings of every family, loss, activation and optimizer, written as people write them in torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Make = Callable[[], nn.Module]
Loss = Callable[[Tensor, Tensor], Tensor]
Optimizer = Callable[[Any], torch.optim.Optimizer]
ROWS, BATCH = 8, 4


@dataclass(frozen=True)
class Case:
    """One training: `group` and `name` are its row of the table in docs/supported.md."""

    group: str
    name: str
    model: Make
    loss: Loss
    optimizer: Optimizer
    data: Callable[[], tuple[Tensor, Tensor]]


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.05)


def numbers(*shape: int) -> Callable[[], tuple[Tensor, Tensor]]:
    """Random inputs, and two numbers to be predicted from each."""
    return lambda: (torch.randn(ROWS, *shape), torch.randn(ROWS, 2))


def classes(*shape: int, count: int = 3) -> Callable[[], tuple[Tensor, Tensor]]:
    return lambda: (torch.randn(ROWS, *shape), torch.randint(count, (ROWS,)))


def words(length: int = 5, vocabulary: int = 11) -> Callable[[], tuple[Tensor, Tensor]]:
    return lambda: (torch.randint(vocabulary, (ROWS, length)), torch.randn(ROWS, 2))


class Head(nn.Module):
    """A body, whatever it makes flattened, and a linear layer to two numbers."""

    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body, self.head = nn.Sequential(*body), nn.LazyLinear(2)

    def forward(self, x: Tensor) -> Tensor:
        made = self.body(x)
        return self.head(made[0].flatten(1) if isinstance(made, tuple) else made.flatten(1))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.inner(x))


class Attend(nn.Module):
    """Self-attention, by hand or by torch's function."""

    def __init__(self, by_hand: bool, causal: bool) -> None:
        super().__init__()
        self.by_hand, self.causal, self.qkv = by_hand, causal, nn.Linear(8, 24)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        if not self.by_hand:
            return functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        scores = q @ k.transpose(-2, -1) / 8**0.5
        if self.causal:
            hidden = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
            scores = scores.masked_fill(hidden, float("-inf"))
        return scores.softmax(-1) @ v


class Apply(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Tied(nn.Module):
    """An embedding that is also the output layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(11, 6), nn.Linear(6, 11, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.embedding(tokens).mean(1))[:, :2]


class Frozen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fixed, self.head = nn.Linear(6, 6), nn.Linear(6, 2)
        self.fixed.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.fixed(x)))


class Cell(nn.Module):
    """A recurrence written as a loop over a cell."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRUCell(6, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        hidden = x.new_zeros(len(x), 5)
        for step in range(x.shape[1]):
            hidden = self.cell(x[:, step], hidden)
        return self.head(hidden)


IMAGE = (4, 8, 8)
MODELS: dict[str, tuple[Make, Callable[[], tuple[Tensor, Tensor]]]] = {
    "linear layers": (lambda: Head(nn.Linear(6, 5), nn.ReLU()), numbers(6)),
    "convolution": (lambda: Head(nn.Conv2d(4, 6, 3)), numbers(*IMAGE)),
    "convolution, stride and padding": (lambda: Head(nn.Conv2d(4, 6, 3, stride=2, padding=1)), numbers(*IMAGE)),
    "convolution, dilation": (lambda: Head(nn.Conv2d(4, 6, 3, dilation=2)), numbers(*IMAGE)),
    "convolution, groups": (lambda: Head(nn.Conv2d(4, 6, 3, groups=2)), numbers(*IMAGE)),
    "convolution, depthwise": (lambda: Head(nn.Conv2d(4, 4, 3, groups=4)), numbers(*IMAGE)),
    "convolution, transposed": (lambda: Head(nn.ConvTranspose2d(4, 3, 3, stride=2)), numbers(*IMAGE)),
    "convolution, one axis": (lambda: Head(nn.Conv1d(4, 6, 3)), numbers(4, 9)),
    "convolution, three axes": (lambda: Head(nn.Conv3d(2, 3, 2)), numbers(2, 4, 4, 4)),
    "batch norm": (lambda: Head(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)), numbers(*IMAGE)),
    "layer norm": (lambda: Head(nn.Linear(6, 6), nn.LayerNorm(6)), numbers(6)),
    "group norm": (lambda: Head(nn.GroupNorm(2, 4)), numbers(*IMAGE)),
    "instance norm": (lambda: Head(nn.InstanceNorm2d(4, affine=True)), numbers(*IMAGE)),
    "RMS norm": (lambda: Head(nn.Linear(6, 6), nn.RMSNorm(6)), numbers(6)),
    "max pooling": (lambda: Head(nn.Conv2d(4, 4, 3), nn.MaxPool2d(2)), numbers(*IMAGE)),
    "average pooling": (lambda: Head(nn.Conv2d(4, 4, 3), nn.AvgPool2d(2)), numbers(*IMAGE)),
    "adaptive average pooling": (lambda: Head(nn.Conv2d(4, 4, 3), nn.AdaptiveAvgPool2d(2)), numbers(*IMAGE)),
    "adaptive max pooling": (lambda: Head(nn.Conv2d(4, 4, 3), nn.AdaptiveMaxPool2d(2)), numbers(*IMAGE)),
    "residual block": (lambda: Head(Residual()), numbers(*IMAGE)),
    "embedding": (lambda: Head(nn.Embedding(11, 6)), words()),
    "embedding, padding_idx": (lambda: Head(nn.Embedding(11, 6, padding_idx=0)), words()),
    "embedding, max_norm": (lambda: Head(nn.Embedding(11, 6, max_norm=1.0)), words()),
    "EmbeddingBag": (lambda: Head(nn.EmbeddingBag(11, 6)), words()),
    "RNN": (lambda: Head(nn.RNN(6, 5, batch_first=True)), numbers(3, 6)),
    "LSTM": (lambda: Head(nn.LSTM(6, 5, batch_first=True)), numbers(3, 6)),
    "LSTM, two layers, both directions": (
        lambda: Head(nn.LSTM(6, 4, num_layers=2, bidirectional=True, batch_first=True)),
        numbers(3, 6),
    ),
    "GRU": (lambda: Head(nn.GRU(6, 5, batch_first=True)), numbers(3, 6)),
    "cell in a loop": (Cell, numbers(3, 6)),
    "attention by hand": (lambda: Head(Attend(True, False)), numbers(5, 8)),
    "attention by hand, causal": (lambda: Head(Attend(True, True)), numbers(5, 8)),
    "scaled_dot_product_attention": (lambda: Head(Attend(False, False)), numbers(5, 8)),
    "scaled_dot_product_attention, causal": (lambda: Head(Attend(False, True)), numbers(5, 8)),
    "TransformerEncoderLayer": (
        lambda: Head(nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)),
        numbers(5, 8),
    ),
    "upsampling, nearest": (lambda: Head(nn.Conv2d(4, 2, 3), nn.Upsample(scale_factor=2)), numbers(*IMAGE)),
    "upsampling, bilinear": (
        lambda: Head(nn.Conv2d(4, 2, 3), nn.Upsample(scale_factor=2, mode="bilinear")),
        numbers(*IMAGE),
    ),
    "upsampling, bicubic": (
        lambda: Head(nn.Conv2d(4, 2, 3), nn.Upsample(size=9, mode="bicubic", align_corners=True)),
        numbers(*IMAGE),
    ),
    "pixel shuffle": (lambda: Head(nn.Conv2d(4, 4, 3), nn.PixelShuffle(2)), numbers(*IMAGE)),
    "padding, reflection": (lambda: Head(nn.ReflectionPad2d(1), nn.Conv2d(4, 2, 3)), numbers(*IMAGE)),
    "padding, replication": (lambda: Head(nn.ReplicationPad2d(1), nn.Conv2d(4, 2, 3)), numbers(*IMAGE)),
    "padding, circular": (lambda: Head(nn.Conv2d(4, 2, 3, padding=1, padding_mode="circular")), numbers(*IMAGE)),
    "tied weights": (Tied, words()),
    "frozen parameters": (Frozen, numbers(6)),
    "weight norm": (lambda: Head(nn.utils.parametrizations.weight_norm(nn.Linear(6, 5))), numbers(6)),
    "spectral norm": (lambda: Head(nn.utils.parametrizations.spectral_norm(nn.Linear(6, 5))), numbers(6)),
    "einsum": (lambda: Head(nn.Linear(6, 6), Apply(lambda x: torch.einsum("bi,bj->bij", x, x))), numbers(6)),
    "cumsum": (lambda: Head(nn.Linear(6, 6), Apply(lambda x: x.cumsum(1))), numbers(6)),
    "flip and roll": (lambda: Head(nn.Linear(6, 6), Apply(lambda x: x.flip(1).roll(2, 1))), numbers(6)),
    "sort": (lambda: Head(nn.Linear(6, 6), Apply(lambda x: x.sort(1).values)), numbers(6)),
    "topk": (lambda: Head(nn.Linear(6, 6), Apply(lambda x: x.topk(3, 1).values)), numbers(6)),
    "linear solver": (lambda: Head(Apply(lambda x: torch.linalg.solve(x + 9 * torch.eye(4), x))), numbers(4, 4)),
    "FFT": (lambda: Head(Apply(lambda x: torch.fft.rfft(x).real)), numbers(6)),
}
ACTIVATIONS: tuple[nn.Module, ...] = (
    nn.ReLU(),
    nn.LeakyReLU(),
    nn.PReLU(),
    nn.ReLU6(),
    nn.ELU(),
    nn.CELU(),
    nn.SELU(),
    nn.GELU(),
    nn.GELU("tanh"),
    nn.SiLU(),
    nn.Mish(),
    nn.Tanh(),
    nn.Sigmoid(),
    nn.Softplus(),
    nn.Softsign(),
    nn.Hardtanh(),
    nn.Hardswish(),
    nn.Hardsigmoid(),
    nn.LogSigmoid(),
    nn.Tanhshrink(),
    nn.Softmax(-1),
    nn.LogSoftmax(-1),
    nn.GLU(),
)
LOSSES: dict[str, tuple[Loss, Callable[[], tuple[Tensor, Tensor]]]] = {
    "cross entropy": (functional.cross_entropy, classes(6, count=2)),
    "cross entropy, label smoothing": (partial(functional.cross_entropy, label_smoothing=0.1), classes(6, count=2)),
    "cross entropy, ignore_index": (partial(functional.cross_entropy, ignore_index=1), classes(6, count=2)),
    "NLL": (lambda out, y: functional.nll_loss(out.log_softmax(1), y), classes(6, count=2)),
    "MSE": (functional.mse_loss, numbers(6)),
    "L1": (functional.l1_loss, numbers(6)),
    "smooth L1": (functional.smooth_l1_loss, numbers(6)),
    "Huber": (functional.huber_loss, numbers(6)),
    "BCE": (lambda out, y: functional.binary_cross_entropy(out.sigmoid(), y.sigmoid()), numbers(6)),
    "BCE with logits": (lambda out, y: functional.binary_cross_entropy_with_logits(out, y.sigmoid()), numbers(6)),
    "KL divergence": (
        lambda out, y: functional.kl_div(out.log_softmax(1), y.softmax(1), reduction="batchmean"),
        numbers(6),
    ),
}
optim = torch.optim
OPTIMIZERS: dict[str, Optimizer] = {
    "SGD": sgd,
    "SGD, momentum": lambda p: optim.SGD(p, lr=0.05, momentum=0.9),
    "SGD, Nesterov": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "SGD, weight decay": lambda p: optim.SGD(p, lr=0.05, weight_decay=0.01),
    "Adam": lambda p: optim.Adam(p, lr=0.01),
    "Adam, amsgrad": lambda p: optim.Adam(p, lr=0.01, amsgrad=True),
    "AdamW": lambda p: optim.AdamW(p, lr=0.01),
    "RMSprop": lambda p: optim.RMSprop(p, lr=0.01),
    "Adagrad": lambda p: optim.Adagrad(p, lr=0.01),
    "Adadelta": lambda p: optim.Adadelta(p),
    "Adamax": lambda p: optim.Adamax(p, lr=0.01),
    "NAdam": lambda p: optim.NAdam(p, lr=0.01),
    "RAdam": lambda p: optim.RAdam(p, lr=0.01),
    "Adafactor": lambda p: optim.Adafactor(p, lr=0.01),
    "Rprop": lambda p: optim.Rprop(p, lr=0.01),
    "ASGD": lambda p: optim.ASGD(p, lr=0.01),
    "L-BFGS": lambda p: optim.LBFGS(p),
}


def cases() -> Iterator[Case]:
    """Every case, group after group."""
    mse = functional.mse_loss
    for name, (model, data) in MODELS.items():
        yield Case("models", name, model, mse, sgd, data)
    for activation in ACTIVATIONS:
        yield Case("activations", str(activation), partial(_activated, activation), mse, sgd, numbers(6))
    for name, (loss, data) in LOSSES.items():
        yield Case("losses", name, _plain, loss, sgd, data)
    for name, optimizer in OPTIMIZERS.items():
        yield Case("optimizers", name, _plain, mse, optimizer, numbers(6))


def _activated(activation: nn.Module) -> nn.Module:
    return Head(nn.Linear(6, 6), activation)


def _plain() -> nn.Module:
    return Head(nn.Linear(6, 4), nn.Tanh())
