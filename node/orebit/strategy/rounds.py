"""Parameter averaging as a dataflow: which shards a round needs, given the states that it starts from.

Shards are named by their inputs, so the whole job is a function of results: when a result changes, everything that was
built on it gets other ids by itself, and what was built on unchanged results keeps its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from orebit.commitment import ListKind, list_root
from orebit.store.plan import Plan, PlanShard
from orebit.strategy.journal import BatchRecord, Entry, Kind
from orebit.strategy.spec import JobSpec

State = tuple[bytes, ...]
"""Tensor roots of a state, in program order."""


@dataclass(frozen=True)
class Step:
    """One step of the dataflow: the training of a round from one state, or the averaging of its workers' states."""

    kind: Kind
    round: int
    starts: tuple[State, ...]

    @cached_property
    def parent(self) -> bytes:
        """Names what the step starts from."""
        return list_root(ListKind.STATE, [root for state in self.starts for root in state])

    def workers(self, spec: JobSpec) -> int:
        """Shards of the step."""
        return spec.workers if self.kind is Kind.TRAINING else 1

    def shard(self, spec: JobSpec, entry: Entry) -> PlanShard:
        """The shard of one worker and attempt."""
        if self.kind is Kind.AVERAGING:
            return _averaging_shard(spec, self.starts, entry.attempt)
        return PlanShard(
            program=spec.program,
            constants=spec.constants[entry.worker],
            state=self.starts[0],
            steps=spec.steps,
            interval=interval_of(spec, entry.attempt),
            parameters=spec.parameters[self.round][entry.worker],
        )

    def batch(self, spec: JobSpec, entries: Sequence[Entry]) -> tuple[BatchRecord, Plan]:
        """The batch that has these entries computed, in grains as the task file says where they divide."""
        grain = spec.task_file.run.grain if self.kind is Kind.TRAINING else 1
        plan = Plan(tuple(self.shard(spec, entry) for entry in entries))
        record = BatchRecord(
            plan_root=plan.root,
            kind=self.kind,
            round=self.round,
            parent=self.parent,
            size=grain if len(entries) % grain == 0 else 1,
            entries=tuple(entries),
        )
        return record, plan


def interval_of(spec: JobSpec, attempt: int) -> int:
    """The checkpoint interval of an attempt.

    Another interval gives the same work another id, so that a result that became public by a void or a refusal cannot
    be handed in again, while the trained bits stay what the requester's seed makes them.
    """
    return 1 + (spec.interval - 1 - attempt) % spec.steps


def _averaging_shard(spec: JobSpec, starts: tuple[State, ...], attempt: int) -> PlanShard:
    """The mean of the workers' states. It reads the initial state nowhere, which so tells the attempts apart."""
    return PlanShard(
        program=spec.averaging,
        constants=tuple(root for state in starts for root in state),
        state=starts[attempt % len(starts)],
        steps=1,
        interval=1,
        parameters=(),
    )
