"""What one move may cost a machine: an interval run again with the states of a section hashed, and one step with every
node's output hashed. A node leases, and an auditor opens, only where four times that fits the task's move clock."""

from __future__ import annotations

import time
from dataclasses import dataclass

from orebit.dispute.evidence import Inputs
from orebit.dispute.game import SECTION_STATES
from orebit.dispute.shelf import Room
from orebit.dispute.states import Spent
from orebit.dispute.trace import StepTrace
from orebit.executor.hashing import tensor_head
from orebit.executor.reference import ReferenceExecutor

MARGIN = 4


@dataclass(frozen=True, slots=True)
class MoveCost:
    """Seconds that the parts of a move take on this machine."""

    step: float
    """One step, without anything hashed."""
    state: float
    """One state hashed."""
    trace: float
    """One step with every node's output hashed."""

    def seconds(self, interval: int) -> float:
        """The longest move about a shard with checkpoints every `interval` steps."""
        return interval * self.step + min(interval, SECTION_STATES) * self.state + self.trace

    def fits(self, interval: int, move_time: int) -> bool:
        """Whether that fits a task's move clock with the margin that prudence asks for."""
        return MARGIN * self.seconds(interval) <= move_time


def measured(spent: Spent, step: float = 0.0) -> MoveCost:
    """What recomputation has cost so far; `step` stands in until a step was run."""
    return MoveCost(
        spent.step_seconds / spent.steps if spent.steps else step,
        spent.state_seconds / spent.states if spent.states else 0.0,
        spent.trace_seconds / spent.traces if spent.traces else 0.0,
    )


def measure(inputs: Inputs, step: float, room: Room | None = None, threads: int = 1) -> MoveCost:
    """Measures a trace and a state's hash from a shard's initial state; `step` is known from running it.

    Raises:
        ExecutionError: when a step does not fit in this machine's memory, so that it could not defend the shard.
    """
    began = time.perf_counter()
    for array in inputs.state:
        tensor_head(array, threads)
    hashed = time.perf_counter()
    executor = ReferenceExecutor(inputs.program, inputs.constants, inputs.parameters)
    given = (*inputs.state, *inputs.constants, *inputs.parameters)
    StepTrace(executor, given, room or Room(), threads).close()
    return MoveCost(step, hashed - began, time.perf_counter() - hashed)
