"""A node that alters one bit of every shard's final state before it commits: a script, in place of the daemon."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from orebit.cli.node import app
from orebit.commitment import state_root
from orebit.daemon import work
from orebit.executor.run import Checkpoint, ShardRun, run_shard, state_heads


def altered(checkpoint: Checkpoint) -> Checkpoint:
    """The same, but for the lowest bit of the first element of the first tensor."""
    first = np.array(checkpoint.state[0])
    first.reshape(-1).view(np.uint8)[0] ^= 1
    state = (first, *checkpoint.state[1:])
    heads = state_heads(state)
    root = state_root([head.root for head in heads])
    return Checkpoint(checkpoint.step, state, heads, (*checkpoint.roots[:-1], root))


def run_shard_wrongly(*inputs: Any, on_checkpoint: Callable[[Checkpoint], None], **options: Any) -> ShardRun:
    """`run_shard`, lying about the last checkpoint."""
    steps = inputs[4]
    last: list[Checkpoint] = []

    def reached(checkpoint: Checkpoint) -> None:
        if checkpoint.step == steps:
            checkpoint = altered(checkpoint)
            last.append(checkpoint)
        on_checkpoint(checkpoint)

    run_shard(*inputs, on_checkpoint=reached, **options)
    return ShardRun(last[0].roots, last[0].state, last[0].heads)


if __name__ == "__main__":
    work.run_shard = run_shard_wrongly  # type: ignore[assignment]  # it lies in the same shape
    app(["run"])
