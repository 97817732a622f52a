"""A node that cheats: `python scripts/cheating_node.py KIND` in place of `orebit node run`, for demo and tests.

It computes something else than its shards ask for, commits to it, and defends it in court with evidence that is as
consistent as the lie allows. `false-accuser` audits instead, and accuses whoever it looks at.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from orebit.cli.node import app
from orebit.commitment import state_root
from orebit.daemon import work
from orebit.daemon.court import desk, proofs
from orebit.daemon.court.demands import Demands
from orebit.daemon.journal import Journal
from orebit.dispute import Evidence, Inputs, Means, Move, Player
from orebit.dispute.evaluator import evaluate
from orebit.dispute.moves import Justify
from orebit.dispute.reading import Element
from orebit.dispute.shelf import Room
from orebit.dispute.states import State
from orebit.dispute.trace import StepTrace
from orebit.errors import IllegalMove
from orebit.executor.reference import ReferenceExecutor
from orebit.executor.run import Checkpoint, ShardRun, state_heads
from orebit.numerics.types import DType
from orebit.program.graph import Program
from orebit.store import PlanShard

Array = np.ndarray[Any, Any]
Jump = Callable[[int, State, Sequence[State]], State]


@dataclass(frozen=True)
class Corruption:
    """One element of one node's output is made up in one step: by a false read, or (`operand` None) by nothing."""

    step: int
    node: int
    element: int
    operand: int | None = 0


@dataclass(frozen=True)
class Lie:
    """A way of lying; any part may be left out."""

    inputs: Inputs
    corruption: Corruption | None = None
    jump: Jump | None = None


def lie_of(kind: str, inputs: Inputs, steps: int) -> Lie:
    """What a kind of cheat does to a shard of these inputs."""
    program, middle = inputs.program, steps // 2
    if kind == "learning-rate":
        return Lie(replace(inputs, parameters=[changed(each) for each in inputs.parameters]))
    if kind in ("wrong-data", "false-accuser"):
        return Lie(replace(inputs, constants=[np.roll(each, 1) for each in inputs.constants]))
    if kind == "lazy":
        return Lie(inputs, jump=lambda step, state, before: before[0])
    if kind == "skipped-step":
        return Lie(inputs, jump=lambda step, state, before: before[-1] if step == middle else state)
    if kind == "inconsistent-trace":
        return Lie(inputs, Corruption(middle, inner_node(program), 0, operand=None))
    if kind in ("withheld", "silence"):
        middle += 1  # a result of its own, which nobody has seen before
    return Lie(inputs, Corruption(middle, weight(program), 1 + (kind == "silence")))


def changed(parameter: Array) -> Array:
    """Another learning rate; what is no float stays."""
    return (parameter * np.float32(1.5)).astype(parameter.dtype) if parameter.dtype == np.float32 else parameter


def inner_node(program: Program) -> int:
    """A float in the middle of the step, on which the new state depends."""
    numbers = range(program.header.inputs, program.header.inputs + program.header.nodes - program.header.new_state)
    floats = [number for number in numbers if program.descriptor(number).dtype is DType.F32]
    return floats[-1] if floats else program.new_state[0]


def weight(program: Program) -> int:
    """The node that makes the largest tensor of the new state."""
    return max(program.new_state, key=lambda number: program.descriptor(number).size)


class FalseElement(Element):
    """Claims to have read something else in its first position, with one bit flipped, and computes from that."""

    def __init__(self, true: Element, operand: int) -> None:
        self.__dict__.update(true.__dict__)
        self._false = operand

    def _values(self, start: int, stop: int) -> list[Array]:
        found = super()._values(start, stop)
        if start == 0:
            values = found[self._false].copy()
            values[0] ^= values.dtype.type(1 << (20 if values.itemsize == 4 else 0))
            found[self._false] = values
        return found


class LyingExecutor(ReferenceExecutor):
    """Computes what a step gives when one output is made up; everything after it follows from it."""

    corruption: Corruption | None = None
    at = 0

    def _run(self, operations: Any, outputs: list[torch.Tensor | None]) -> None:
        corruption = self.corruption
        if corruption is None or corruption.step != self.at:
            super()._run(operations, outputs)
            return
        for operation in operations:
            super()._run([replace(operation, dead=[])], outputs)
            if operation.number == corruption.node:
                outputs[operation.number] = self._made_up(outputs, corruption)
            for number in operation.dead:
                outputs[number] = None

    def _made_up(self, outputs: list[torch.Tensor | None], corruption: Corruption) -> torch.Tensor:
        made = outputs[corruption.node]
        assert made is not None
        array = np.array(made.numpy())
        flat = array.reshape(-1)
        if corruption.operand is None:
            flat.view(np.dtype(f"u{flat.itemsize}"))[corruption.element] ^= 1 << 12
        else:
            operands = [outputs[number] for number in self.program.nodes[corruption.node].operands]
            tensors = [each.numpy() for each in operands if each is not None]
            true = Element(self.program.descriptor(corruption.node), tensors, corruption.element)
            y = FalseElement(true, corruption.operand).result(0, true.positions)
            flat.view(np.dtype(f"u{flat.itemsize}"))[corruption.element] = y
        return torch.from_numpy(array)


class LyingTrace(StepTrace):
    corruption: Corruption | None = None

    def element(self, number: int, element: int) -> Element:
        true, lie = super().element(number, element), self.corruption
        if lie is None or lie.operand is None or (number, element) != (lie.node, lie.element):
            return true
        return FalseElement(true, lie.operand)


_runs: dict[bytes, list[State]] = {}
"""Every state of what was run, by program: a cheat of the demo has one shard of each."""


class LyingEvidence(Evidence):
    """The evidence of a run that was not the shard's: every state is kept."""

    def __init__(self, entry: PlanShard, kind: str, inputs: Inputs) -> None:
        self.lie = lie_of(kind, inputs, entry.steps)
        self._liar = LyingExecutor(inputs.program, self.lie.inputs.constants, self.lie.inputs.parameters)
        self._liar.corruption = self.lie.corruption
        if inputs.program.root not in _runs:
            _runs[inputs.program.root] = self._run(entry.steps)
        self.all = _runs[inputs.program.root]
        super().__init__(entry.shard, self.lie.inputs, Means(kept=lambda step: self.all[step]))
        self._states.interval = 1

    def _run(self, steps: int) -> list[State]:
        states: list[State] = [tuple(self.lie.inputs.state)]
        for step in range(steps):
            self._liar.at = step
            made = dict(self._liar.visit(states[-1], list(self._liar.program.new_state)))
            state = tuple(made[number].numpy() for number in self._liar.program.new_state)
            states.append(self.lie.jump(step, state, states) if self.lie.jump else state)
        return states

    def trace(self, step: int) -> StepTrace:
        if self._trace is None or self._trace[0] != step:
            self._liar.at = step
            given = (*self.state(step), *self.inputs.constants, *self.inputs.parameters)
            made = LyingTrace(self._liar, given, Room())
            corruption = self.lie.corruption
            made.corruption = corruption if corruption is not None and corruption.step == step else None
            self._trace = step, made
        return self._trace[1]


class LyingPlayer(Player):
    """Rather says nothing than what the court would refuse."""

    def move(self) -> Move:
        made = super().move()
        if isinstance(made, Justify) and self._state is not None and not self._gives(made):
            raise IllegalMove("there are no reads that give what this node claims")
        return made

    def _gives(self, made: Justify) -> bool:
        state = self._state
        assert state is not None
        descriptor = self.evidence.program.descriptor(state.tensor.node)
        value = state.value
        named = made.naming.path != ()
        element, y = (made.naming.element, made.naming.y) if named else (value.element, value.y)
        stop = value.stop or int(np.prod(descriptor.reduction or (1,)))
        return evaluate(descriptor, element, value.start, stop, made.reads) == y


def cheat(kind: str) -> None:
    """Replaces what an honest node would do."""

    def evidence(self: proofs.Proofs, entry: PlanShard, *_: object) -> Evidence:
        tensors = self._inputs.tensors
        inputs = Inputs(
            self._inputs.program(entry.program),
            tensors(entry.constants),
            tensors(entry.state),
            tensors(entry.parameters),
        )
        return LyingEvidence(entry, kind, inputs)

    def run_shard(
        program: Program,
        constants: Sequence[Array],
        state: Sequence[Array],
        parameters: Sequence[Array],
        steps: int,
        interval: int,
        *,
        on_checkpoint: Callable[[Checkpoint], None],
        **_: object,
    ) -> ShardRun:
        shard = PlanShard(bytes(32), (bytes([1]) * 32,), (bytes([1]) * 32,), steps, interval, ())
        lying = LyingEvidence(shard, kind, Inputs(program, constants, state, parameters))
        roots: tuple[bytes, ...] = ()
        for step in [*range(interval, steps, interval), steps]:
            heads = state_heads(lying.all[step])
            roots = (*roots, state_root([head.root for head in heads]))
            on_checkpoint(Checkpoint(step, lying.all[step], heads, roots))
        return ShardRun(roots, lying.all[steps], heads)

    # Nothing here has the type of what it replaces: an honest node's parts are not made to be exchanged.
    proofs.Proofs.evidence = evidence  # type: ignore[method-assign, assignment]
    desk.Player = LyingPlayer  # type: ignore[misc]
    if kind != "false-accuser":
        work.run_shard = run_shard  # type: ignore[assignment]
    if kind in ("silence", "withheld"):
        desk.Desk._move = _nothing  # type: ignore[method-assign, assignment]
    if kind == "withheld":
        Demands._answer = _nothing  # type: ignore[method-assign, assignment]
        Journal.publish = lambda self, lease: None  # type: ignore[method-assign, assignment]


async def _nothing(*_: object) -> None:
    """What this node does when it is asked."""


if __name__ == "__main__":
    chosen = sys.argv[1]
    cheat(chosen)
    app(["run", "--audit"] if chosen == "false-accuser" else ["run"])
