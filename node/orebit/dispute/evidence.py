"""What one side can show of a shard: everything that a move of a dispute may ask, recomputed when it is asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from orebit.commitment import merkle
from orebit.commitment.head import TensorHead
from orebit.commitment.merkle import Levels
from orebit.commitment.shard import Shard
from orebit.dispute.game import section_steps
from orebit.dispute.shelf import Room
from orebit.dispute.states import Engage, Kept, Spent, State, States
from orebit.dispute.trace import StepTrace
from orebit.executor.conformance import Executor
from orebit.executor.hashing import tensor_head
from orebit.executor.reference import ReferenceExecutor
from orebit.executor.run import engaged
from orebit.executor.selection import choose_executor
from orebit.program.graph import Program

Array = np.ndarray[tuple[int, ...], np.dtype[np.generic]]


@dataclass(frozen=True, slots=True)
class Inputs:
    """A shard's program and tensors, as their bytes are. Heads of constants may be given, which saves hashing them."""

    program: Program
    constants: Sequence[Array]
    state: Sequence[Array]
    parameters: Sequence[Array]
    constant_heads: Sequence[TensorHead] | None = None


@dataclass(frozen=True, slots=True)
class Means:
    """With what a machine recomputes.

    Attributes:
        engage: runs steps, on whatever executor; the one that is fastest here unless given.
        kept: checkpoints of the shard whose tensors are kept.
        states: bytes of states to keep between moves.
        room: where the tensors of one step are kept.
        threads: threads that hash.
        should_stop: asked before every step.
    """

    engage: Engage | None = None
    kept: Kept = lambda step: None
    states: int = 1 << 30
    room: Room = Room()
    threads: int = 1
    should_stop: Callable[[], bool] = lambda: False


class Evidence:
    """One side's own computation of one shard. Whatever runs steps raises ExecutionError or ExecutionStopped.

    Args:
        shard: what the shard's id binds.
        inputs: what it names.
        means: with what to recompute.
        checkpoints: the state roots after every interval, if they are known; else the shard is run when they are asked
            for. A sampling auditor gives the defender's with its own in the place that it checked, and keeps the
            defender's state to the left.
    """

    def __init__(
        self,
        shard: Shard,
        inputs: Inputs,
        means: Means | None = None,
        checkpoints: Sequence[bytes] | None = None,
    ) -> None:
        means = means or Means()
        self.shard = shard
        self.inputs = inputs
        self.program = inputs.program
        self._means = means
        self._given_checkpoints = None if checkpoints is None else tuple(checkpoints)
        self._states = States(
            tuple(inputs.state),
            means.engage or self._engaged,
            shard.interval,
            means.kept,
            means.states,
            means.threads,
            means.should_stop,
        )
        self._trace: tuple[int, StepTrace] | None = None

    @property
    def spent(self) -> Spent:
        """What was recomputed so far."""
        return self._states.spent

    @cached_property
    def checkpoints(self) -> Levels:
        """The tree over the shard's checkpoints."""
        if self._given_checkpoints is not None:
            return merkle.tree(self._given_checkpoints)
        steps = [min((i + 1) * self.shard.interval, self.shard.steps) for i in range(self.shard.checkpoints)]
        return merkle.tree(self._states.roots(steps))

    def section(self, first: int, last: int) -> tuple[bytes, ...]:
        """The states that are posted for a section of steps, 32 at most: the last after its last step."""
        return tuple(self._states.roots(section_steps(first, last)))

    def state(self, step: int) -> State:
        """The state after a step."""
        return self._states.at(step)

    def trace(self, step: int) -> StepTrace:
        """The trace of the step that follows `step` steps; the last one is kept."""
        if self._trace is None or self._trace[0] != step:
            if self._trace is not None:
                self._trace[1].close()
            given = (*self.state(step), *self.inputs.constants, *self.inputs.parameters)
            began = time.perf_counter()
            made = StepTrace(self._reference, given, self._means.room, self._means.threads)
            self._trace = step, made
            self.spent.traces += 1
            self.spent.trace_seconds += time.perf_counter() - began
        return self._trace[1]

    @contextmanager
    def _engaged(self, steps: int) -> Iterator[Executor]:
        """What runs this many steps soonest here; the reference executor is there for the trace anyway."""
        if choose_executor(self.program, steps) is ReferenceExecutor:
            yield self._reference
            return
        with engaged(self.program, self.inputs.constants, self.inputs.parameters, steps) as executor:
            yield executor

    @cached_property
    def _reference(self) -> ReferenceExecutor:
        return ReferenceExecutor(self.program, self.inputs.constants, self.inputs.parameters)

    def state_list(self, step: int) -> Levels:
        """The tree over the state's tensors after a step."""
        return merkle.tree([head.root for head in self._states.heads(step)])

    def state_head(self, step: int, index: int) -> TensorHead:
        """The head of one tensor of the state after a step."""
        return self._states.heads(step)[index]

    @cached_property
    def constant_heads(self) -> tuple[TensorHead, ...]:
        """The constants' heads, in order."""
        given = self.inputs.constant_heads
        return tuple(given) if given is not None else self._hashed(self.inputs.constants)

    @cached_property
    def parameter_heads(self) -> tuple[TensorHead, ...]:
        """The parameters' heads, in order."""
        return self._hashed(self.inputs.parameters)

    def _hashed(self, arrays: Sequence[Array]) -> tuple[TensorHead, ...]:
        return tuple(tensor_head(array, self._means.threads) for array in arrays)

    def close(self) -> None:
        """Lets go of the tensors of the step that was disputed."""
        if self._trace is not None:
            self._trace[1].close()
            self._trace = None
