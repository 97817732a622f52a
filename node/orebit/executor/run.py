"""Executes a shard: steps, a state root at every checkpoint, and a clean stop between any two steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from orebit.commitment.head import TensorHead, tensor_head
from orebit.commitment.lists import ListKind, list_root, state_root
from orebit.errors import ExecutionError, ExecutionStopped
from orebit.executor.selection import choose_executor
from orebit.executor.storage import Given
from orebit.numerics.types import DType
from orebit.program.graph import Program

Array = np.ndarray[tuple[int, ...], np.dtype[np.generic]]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state after `step` steps; `roots` are the state roots of this and all earlier checkpoints."""

    step: int
    state: tuple[Array, ...]
    heads: tuple[TensorHead, ...]
    roots: tuple[bytes, ...]

    @property
    def root(self) -> bytes:
        return self.roots[-1]


@dataclass(frozen=True, slots=True)
class ShardRun:
    """A shard's outcome: the state root of every checkpoint, and the last one's tensors and heads."""

    roots: tuple[bytes, ...]
    final_state: tuple[Array, ...]
    final_heads: tuple[TensorHead, ...]

    @property
    def checkpoints_root(self) -> bytes:
        """What the result hash binds beside the shard's id."""
        return list_root(ListKind.CHECKPOINTS, self.roots)


def state_heads(state: Sequence[Array]) -> tuple[TensorHead, ...]:
    """The heads of a state's tensors, in order."""
    return tuple(tensor_head(DType.from_numpy(array.dtype), array.shape, _bytes_of(array)) for array in state)


def _bytes_of(array: Array) -> memoryview:
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return little.reshape(-1).view(np.uint8).data


def run_shard(
    program: Program,
    constants: Sequence[Given],
    state: Sequence[Given],
    parameters: Sequence[Given],
    steps: int,
    interval: int,
    *,
    threads: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    on_checkpoint: Callable[[Checkpoint], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    resume_from: Checkpoint | None = None,
) -> ShardRun:
    """Runs `steps` steps from `state`, with a checkpoint after every `interval` steps and after the last.

    Args:
        program, constants, state, parameters: the shard's inputs, of the types and shapes that the program declares.
        steps, interval: 1 <= interval <= steps.
        threads: torch threads to use, for the whole process; None leaves them as they are. Bits do not depend on it.
        on_progress: called after every step with (steps done, steps).
        on_checkpoint: called with every checkpoint; what it keeps can be passed as `resume_from` after a crash.
        should_stop: asked before every step.
        resume_from: continue after this checkpoint instead of from `state`.

    Raises:
        ExecutionStopped: when `should_stop` says so; nothing is lost but the steps since the last checkpoint.
        ExecutionError: when inputs are not as declared, the checkpoint is not one of this run, or memory runs out.
    """
    if not 1 <= interval <= steps:
        raise ExecutionError(f"a shard of {steps} steps cannot have a checkpoint every {interval}")
    if threads is not None:
        torch.set_num_threads(threads)
    executor = choose_executor(program, steps)(program, constants, parameters)
    done, current, roots = _start(state, steps, interval, resume_from)
    last = resume_from
    while done < steps:
        if should_stop is not None and should_stop():
            raise ExecutionStopped(f"stopped after {done} of {steps} steps; start again to continue")
        after = executor.step(current)
        done += 1
        if done % interval == 0 or done == steps:
            last = _checkpoint(done, after, roots)
            if on_checkpoint is not None:
                on_checkpoint(last)
        if on_progress is not None:
            on_progress(done, steps)
        current = after
    assert last is not None
    return ShardRun(last.roots, last.state, last.heads)


def _start(
    state: Sequence[Given], steps: int, interval: int, resume: Checkpoint | None
) -> tuple[int, Sequence[Given], list[bytes]]:
    if resume is None:
        return 0, state, []
    expected = -(-resume.step // interval)
    in_place = resume.step == steps or (0 < resume.step < steps and resume.step % interval == 0)
    true_root = state_root([head.root for head in state_heads(resume.state)])
    if not in_place or len(resume.roots) != expected or true_root != resume.root:
        raise ExecutionError("the kept checkpoint does not belong to this shard; remove it and run from the beginning")
    return resume.step, resume.state, list(resume.roots)


def _checkpoint(step: int, state: Sequence[torch.Tensor], roots: list[bytes]) -> Checkpoint:
    arrays = tuple(tensor.contiguous().numpy() for tensor in state)
    heads = state_heads(arrays)
    roots.append(state_root([head.root for head in heads]))
    return Checkpoint(step, arrays, heads, tuple(roots))
