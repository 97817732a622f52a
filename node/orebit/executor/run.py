"""Executes a shard: steps, a state root at every checkpoint, and a clean stop between any two steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import structlog
import torch

from orebit.commitment.head import TensorHead
from orebit.commitment.lists import ListKind, list_root, state_root
from orebit.errors import ExecutionError, ExecutionStopped, TooMuchCode
from orebit.executor.conformance import Executor, Factory
from orebit.executor.hardware import Hardware, Split
from orebit.executor.hashing import tensor_head
from orebit.executor.ranks import LocalRanks
from orebit.executor.reference import ReferenceExecutor
from orebit.executor.selection import choose_executor
from orebit.executor.storage import Deferred, Given
from orebit.program.graph import Program

Array = np.ndarray[tuple[int, ...], np.dtype[np.generic]]

_log = structlog.get_logger(__name__)


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


def state_heads(state: Sequence[Array], threads: int = 1) -> tuple[TensorHead, ...]:
    """The heads of a state's tensors, in order."""
    return tuple(tensor_head(array, threads) for array in state)


def run_shard(
    program: Program,
    constants: Sequence[Given],
    state: Sequence[Given],
    parameters: Sequence[Given],
    steps: int,
    interval: int,
    *,
    threads: int | None = None,
    ranks: int = 1,
    split: Split = Split.DATA,
    hardware: Hardware = Hardware.AUTO,
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
        ranks, split: on more than one process of this machine, divided by data or by stage; the bits are the same.
        hardware: what it may run on, for one rank; the bits are the same.
        on_progress: called after every step with (steps done, steps).
        on_checkpoint: called with every checkpoint, in order, from another thread while the next steps run; what it
            keeps can be passed as `resume_from` after a crash.
        should_stop: asked before every step.
        resume_from: continue after this checkpoint instead of from `state`.

    Raises:
        ExecutionStopped: when `should_stop` says so; nothing is lost but the steps since the last checkpoint.
        ExecutionError: when inputs are not as declared, the checkpoint is not one of this run, memory runs out, or a
            rank fails.
    """
    if not 1 <= interval <= steps:
        raise ExecutionError(f"a shard of {steps} steps cannot have a checkpoint every {interval}")
    if threads is not None:
        torch.set_num_threads(threads)
    done, current, roots = _start(state, steps, interval, resume_from)
    with (
        engaged(program, constants, parameters, steps, ranks, split, hardware) as executor,
        _Checkpoints(roots, on_checkpoint) as checkpoints,
    ):
        while done < steps:
            checkpoints.settle(wait=False)
            if should_stop is not None and should_stop():
                checkpoints.settle()
                raise ExecutionStopped(f"stopped after {done} of {steps} steps; start again to continue")
            current = executor.step(current)
            done += 1
            if done % interval == 0 or done == steps:
                # What is on a GPU is copied by the thread that hashes it, beside the next steps.
                checkpoints.begin(done, current if isinstance(current, Deferred) else tuple(current))
            if done == steps:
                resume_from = checkpoints.settle()
            if on_progress is not None:
                on_progress(done, steps)
    assert resume_from is not None
    return ShardRun(resume_from.roots, resume_from.state, resume_from.heads)


@contextmanager
def engaged(
    program: Program,
    constants: Sequence[Given],
    parameters: Sequence[Given],
    steps: int,
    ranks: int = 1,
    split: Split = Split.DATA,
    hardware: Hardware = Hardware.AUTO,
    *,
    vectors: bool = True,
) -> Iterator[Executor]:
    """What runs this many steps soonest, in this process or on several; those are ended on leaving. `vectors`: as
    `choose_executor` takes it.

    Raises:
        ExecutionError: when inputs are not as declared or a rank fails.
    """
    if ranks == 1:
        yield _alone(program, constants, parameters, choose_executor(program, steps, hardware, vectors=vectors))
        return
    with LocalRanks(program, constants, parameters, ranks=ranks, split=split, steps=steps) as together:
        yield together


def _alone(program: Program, constants: Sequence[Given], parameters: Sequence[Given], factory: Factory) -> Executor:
    try:
        return factory(program, constants, parameters)
    except TooMuchCode as error:
        _log.warning("program_not_compiled", reason=str(error))
        return ReferenceExecutor(program, constants, parameters)


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


class _Checkpoints:
    """Hashes checkpoints in a thread of its own while the next steps run: in order, one at a time, since each keeps a
    state in memory."""

    def __init__(self, roots: Sequence[bytes], tell: Callable[[Checkpoint], None] | None) -> None:
        self._roots = tuple(roots)
        self._tell = tell
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[Checkpoint] | None = None

    def __enter__(self) -> _Checkpoints:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(wait=True)

    def begin(self, step: int, state: Sequence[torch.Tensor]) -> None:
        """Starts with the state after `step` steps, once the checkpoint before it is done."""
        self.settle()
        self._pending = self._thread.submit(self._make, step, state)

    def settle(self, wait: bool = True) -> Checkpoint | None:
        """The checkpoint begun last, if it is done now or waited for; raises what its listener raised."""
        if self._pending is None or not (wait or self._pending.done()):
            return None
        made = self._pending.result()
        self._roots, self._pending = made.roots, None
        return made

    def _make(self, step: int, state: Sequence[torch.Tensor]) -> Checkpoint:
        arrays = tuple(tensor.contiguous().numpy() for tensor in state)
        heads = state_heads(arrays)
        root = state_root([head.root for head in heads])
        made = Checkpoint(step, arrays, heads, (*self._roots, root))
        if self._tell is not None:
            self._tell(made)
        return made
