"""The state of a shard after any of its steps: run again from the nearest one that is kept."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np
import torch

from orebit.commitment.head import TensorHead
from orebit.commitment.lists import state_root
from orebit.errors import ExecutionError, ExecutionStopped
from orebit.executor.conformance import Executor
from orebit.executor.hashing import tensor_head
from orebit.executor.storage import Given

Array = np.ndarray[tuple[int, ...], np.dtype[np.generic]]
State = tuple[Array, ...]
Engage = Callable[[int], AbstractContextManager[Executor]]
"""What runs this many steps; left when they are done."""
Kept = Callable[[int], State | None]
"""The state after a step, where a checkpoint is kept."""


@dataclass(slots=True)
class Spent:
    """What was recomputed so far, and the seconds it took: what a move really costs this machine."""

    steps: int = 0
    step_seconds: float = 0.0
    states: int = 0
    state_seconds: float = 0.0
    """States hashed."""
    traces: int = 0
    trace_seconds: float = 0.0
    """Steps of which every output was hashed."""


@dataclass
class States:
    """States after steps, within a limit of bytes; the initial one is never run.

    Args:
        initial: the shard's initial state.
        engage: runs steps, on whatever executor.
        interval: steps between checkpoints.
        kept: checkpoints of this shard that are kept elsewhere.
        limit: bytes of states that are kept here.
        threads: threads that hash.
        should_stop: asked before every step.
    """

    initial: State
    engage: Engage
    interval: int
    kept: Kept = lambda step: None
    limit: int = 1 << 30
    threads: int = 1
    should_stop: Callable[[], bool] = lambda: False
    spent: Spent = field(default_factory=Spent)

    def __post_init__(self) -> None:
        self._held: OrderedDict[int, State] = OrderedDict()
        self._size = 0
        self._heads: dict[int, tuple[TensorHead, ...]] = {}
        self._roots: dict[int, bytes] = {}

    def at(self, step: int) -> State:
        """The state after this step.

        Raises:
            ExecutionStopped: when `should_stop` says so.
            ExecutionError: when a step cannot be run.
        """
        self._reach([step])
        return self._known(step)

    def heads(self, step: int) -> tuple[TensorHead, ...]:
        """The heads of that state's tensors; raises as `at` does."""
        if step not in self._heads:
            self._reach([step])
            if step not in self._heads:
                self._hash(step, self._known(step))
        return self._heads[step]

    def roots(self, steps: Sequence[int]) -> list[bytes]:
        """The state roots after these steps, which ascend; raises as `at` does."""
        missing = [step for step in steps if step not in self._roots]
        self._reach(missing)
        return [self._root(step) for step in steps]

    def _root(self, step: int) -> bytes:
        if step not in self._roots:
            self._roots[step] = state_root([head.root for head in self.heads(step)])
        return self._roots[step]

    def _known(self, step: int) -> State:
        if step == 0:
            return self.initial
        if step in self._held:
            self._held.move_to_end(step)
            return self._held[step]
        found = self._checkpoint(step)
        if found is None:
            raise ExecutionError(f"the state after step {step} takes more than the {self.limit} bytes allowed for it")
        return found

    def _checkpoint(self, step: int) -> State | None:
        return self.kept(step) if step % self.interval == 0 else None

    def _reach(self, steps: Sequence[int]) -> None:
        """Runs to each of these steps that is not known, hashing on the way the states after all of them."""
        wanted = [step for step in steps if step and step not in self._held and self._checkpoint(step) is None]
        if not wanted:
            return
        done, state = self._nearest(wanted[0])
        with self.engage(wanted[-1] - done) as executor:
            current: Sequence[Given] = state
            for step in wanted:
                began, ahead = time.perf_counter(), step - done
                while done < step:
                    if self.should_stop():
                        raise ExecutionStopped(f"stopped at step {done} of a dispute's recomputation")
                    current = executor.step(current)
                    done += 1
                arrays = tuple(_array(tensor) for tensor in current)
                self.spent.steps += ahead
                self.spent.step_seconds += time.perf_counter() - began
                if len(steps) > 1:
                    self._hash(step, arrays)
                self._hold(step, arrays)

    def _nearest(self, step: int) -> tuple[int, State]:
        """The latest known state at or before a step."""
        near = max((held for held in self._held if held <= step), default=0)
        for checkpoint in range(step // self.interval * self.interval, near, -self.interval):
            found = self._checkpoint(checkpoint)
            if found is not None:
                return checkpoint, found
        return near, self._known(near)

    def _hash(self, step: int, state: State) -> None:
        began = time.perf_counter()
        self._heads[step] = tuple(tensor_head(array, self.threads) for array in state)
        self.spent.states += 1
        self.spent.state_seconds += time.perf_counter() - began

    def _hold(self, step: int, state: State) -> None:
        """Keeps a state, letting go of those used longest ago; the newest is kept whatever it takes."""
        self._held[step] = state
        self._size += _bytes(state)
        while len(self._held) > 1 and self._size > self.limit:
            self._size -= _bytes(self._held.popitem(last=False)[1])


def _array(tensor: Given) -> Array:
    return tensor.contiguous().numpy() if isinstance(tensor, torch.Tensor) else tensor


def _bytes(state: State) -> int:
    return sum(array.nbytes for array in state)
