"""What the engine is measured on: ordinary torch models with their losses, optimizers and data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Parameters = Any
LM_VOCABULARY, LM_LENGTH = 256, 128
EMBEDDING_VOCABULARY, EMBEDDING_CONTEXT = 8192, 8


@dataclass(frozen=True)
class Workload:
    """One training: a model, `loss(model(x), y)`, an optimizer of parameters, data, and rows a step."""

    name: str
    model: nn.Module
    loss: Callable[[Tensor, Tensor], Tensor]
    optimizer: Callable[[Parameters], torch.optim.Optimizer]
    data: tuple[Tensor, Tensor]
    batch: int


class Perceptron(nn.Sequential):
    """784-width-width-10 with ReLU."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.Linear(784, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10))


class Block(nn.Module):
    """A basic residual block of two 3x3 convolutions."""

    def __init__(self, given: int, made: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(given, made, 3, stride, 1, bias=False),
            nn.BatchNorm2d(made),
            nn.ReLU(),
            nn.Conv2d(made, made, 3, 1, 1, bias=False),
            nn.BatchNorm2d(made),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or given != made:
            self.shortcut = nn.Sequential(nn.Conv2d(given, made, 1, stride, bias=False), nn.BatchNorm2d(made))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.body(x) + self.shortcut(x))


class ResNet8(nn.Module):
    """Three blocks of `width`, twice and four times as many channels, on 3x32x32."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.blocks = nn.Sequential(Block(width, width, 1), Block(width, 2 * width, 2), Block(2 * width, 4 * width, 2))
        self.head = nn.Linear(4 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


class Attention(nn.Module):
    """Causal self-attention of several heads."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        parts = self.qkv(x).view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(parts[0], parts[1], parts[2], is_causal=True)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width))


class Layer(nn.Module):
    """Attention and a GELU perceptron, each behind its norm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.first, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.second = nn.LayerNorm(width)
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.first(x))
        return x + self.perceptron(self.second(x))


class TransformerLM(nn.Module):
    """A causal language model with learned positions."""

    def __init__(
        self,
        vocabulary: int = LM_VOCABULARY,
        width: int = 256,
        layers: int = 4,
        heads: int = 8,
        length: int = LM_LENGTH,
    ) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(vocabulary, width), nn.Parameter(torch.zeros(length, width))
        self.layers = nn.Sequential(*(Layer(width, heads) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.norm(self.layers(self.token(tokens) + self.place)))


class EmbeddingLM(nn.Module):
    """A word from the eight before it: their embeddings, a hidden layer, a softmax over the vocabulary."""

    def __init__(self, vocabulary: int = EMBEDDING_VOCABULARY, width: int = 128, hidden: int = 512) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.body = nn.Sequential(
            nn.Flatten(), nn.Linear(EMBEDDING_CONTEXT * width, hidden), nn.Tanh(), nn.Linear(hidden, vocabulary)
        )

    def forward(self, words: Tensor) -> Tensor:
        return self.body(self.embedding(words))


def token_loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """Cross entropy of every position."""
    return functional.cross_entropy(logits.flatten(0, 1), wanted.flatten())


def momentum(parameters: Parameters) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.01, momentum=0.9)


def adamw(parameters: Parameters) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=3e-4, weight_decay=0.01)


def perceptron(width: int = 2048, batch: int = 256) -> Workload:
    data = torch.randn(2048, 784), torch.randint(10, (2048,))
    return Workload("mlp", Perceptron(width), functional.cross_entropy, momentum, data, batch)


def resnet(width: int = 16, batch: int = 64) -> Workload:
    data = torch.randn(512, 3, 32, 32), torch.randint(10, (512,))
    return Workload("resnet8", ResNet8(width), functional.cross_entropy, momentum, data, batch)


def transformer(width: int = 256, layers: int = 4, batch: int = 16) -> Workload:
    tokens = torch.randint(LM_VOCABULARY, (128, LM_LENGTH + 1))
    data = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    return Workload("transformer-lm", TransformerLM(width=width, layers=layers), token_loss, adamw, data, batch)


def embedding(batch: int = 256) -> Workload:
    words = torch.randint(EMBEDDING_VOCABULARY, (4096, EMBEDDING_CONTEXT + 1))
    data = words[:, :-1].contiguous(), words[:, -1].contiguous()
    return Workload("embedding-lm", EmbeddingLM(), functional.cross_entropy, adamw, data, batch)


WORKLOADS: dict[str, Callable[[], Workload]] = {
    "mlp": perceptron,
    "resnet8": resnet,
    "transformer-lm": transformer,
    "embedding-lm": embedding,
}
# Growth with model size: an eighth to four times the parameters of two workloads, which are the third and the second.
SIZES = {
    "mlp": ("mlp:512", "mlp:1024", "mlp", "mlp:4096"),
    "transformer-lm": ("transformer-lm:128x2", "transformer-lm", "transformer-lm:384x6", "transformer-lm:512x8"),
}


def maker(name: str) -> Callable[[], Workload]:
    """What makes the workload of this name. A size may follow it: `mlp:512` and `resnet8:8` are of that width,
    `transformer-lm:128x2` of that width and number of layers.

    Raises:
        ValueError: when there is no such workload or size.
    """
    base, _, size = name.partition(":")
    if base not in WORKLOADS:
        raise ValueError(f"there is no workload {base}; there are {', '.join(WORKLOADS)}")
    match base, [int(number) for number in size.split("x") if number]:
        case _, []:
            return WORKLOADS[base]
        case "mlp", [width]:
            return lambda: perceptron(width)
        case "resnet8", [width]:
            return lambda: resnet(width)
        case "transformer-lm", [width, layers]:
            return lambda: transformer(width, layers)
    raise ValueError(f"{base} has no size {size}")


def make(name: str) -> Workload:
    """A workload by name, as `maker` takes it; the same parameters and data every time."""
    torch.manual_seed(0)
    return maker(name)()
