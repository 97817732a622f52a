"""What a shard reads: fetched from strangers, checked whole and bounded before any stake is locked behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from math import prod
from typing import Any

import numpy.typing as npt
import structlog
import torch

from orebit.daemon.config import Limits
from orebit.daemon.journal import Journal
from orebit.daemon.measuring import Measurement, best_of_a_few, is_quick, measured_apart
from orebit.errors import BlobMissing, ProgramError
from orebit.executor.conformance import Executor
from orebit.executor.hardware import Hardware, Split
from orebit.executor.run import engaged
from orebit.program.descriptor import Kind
from orebit.program.graph import Program
from orebit.store import BlobClient, LocalStore, Plan, PlanShard

log = structlog.get_logger(__name__)

Array = npt.NDArray[Any]
Measured = Callable[[Measurement, float], float]
"""As `measured_apart`."""


class Inputs:
    """Plans, programs and tensors of shards: `fetch` brings and checks them, the rest reads the local store."""

    def __init__(
        self,
        store: LocalStore,
        client: BlobClient,
        journal: Journal,
        limits: Limits,
        ranks: int = 1,
        split: Split = Split.DATA,
        hardware: Hardware = Hardware.AUTO,
        measured: Measured = measured_apart,
    ) -> None:
        self._hardware = hardware
        self._measured = measured
        self._store = store
        self._client = client
        self._journal = journal
        self._limits = limits
        self._ranks = ranks
        self._split = split
        self._refused: dict[bytes, ProgramError] = {}
        # Plans (raises BlobMissing) and checked programs (raises ProgramError) that are in the store.
        self.plan = lru_cache(maxsize=64)(store.plan)
        self.program = lru_cache(maxsize=64)(self._program)

    async def fetch(self, plan_root: bytes, sources: Sequence[str], first: int, count: int) -> Plan:
        """Brings everything that shards [first, first + count) of a plan read into the store, and checks it.

        Raises ProgramError, BlobTooLarge, BlobMissing, BlobCorrupt or CommitmentError with the reason not to lease.
        """
        await self._client.fetch_plan(plan_root, sources)
        plan = await asyncio.to_thread(self.plan, plan_root)
        if first + count > len(plan.shards):
            raise ProgramError(f"the plan {plan_root.hex()} has {len(plan.shards)} shards, fewer than its batch says")
        everywhere = [*sources, *(source for source in plan.sources if source not in sources)]
        for entry in plan.shards[first : first + count]:
            await self._fetch_shard(entry, plan, everywhere)
        self._publish(plan_root, plan.shards[first : first + count])
        return plan

    async def _fetch_shard(self, entry: PlanShard, plan: Plan, sources: Sequence[str]) -> None:
        if entry.steps > self._limits.steps:
            raise ProgramError(f"a shard of {entry.steps} steps exceeds this node's limit of {self._limits.steps}")
        await self._client.fetch_program(entry.program, sources)
        await asyncio.to_thread(self.program, entry.program)
        await self._client.fetch_shard_inputs(entry.shard, sources, limit=self._limits.input_bytes, pieces=plan.pieces)

    def _program(self, root: bytes) -> Program:
        program = Program.decode(self._store.program(root))
        if len(program.nodes) > self._limits.program_nodes:
            raise ProgramError(
                f"the program {root.hex()} has {len(program.nodes)} nodes; this node's limit is "
                f"{self._limits.program_nodes}"
            )
        largest = max(prod(descriptor.shape) for descriptor in program.descriptors)
        if largest > self._limits.tensor_elements:
            raise ProgramError(
                f"the program {root.hex()} makes a tensor of {largest} elements; this node's limit is "
                f"{self._limits.tensor_elements}"
            )
        work = operations(program)
        if work > self._limits.step_operations:
            raise ProgramError(
                f"one step of the program {root.hex()} takes {work} operations; this node's limit is "
                f"{self._limits.step_operations}"
            )
        return program

    def _publish(self, plan_root: bytes, entries: Sequence[PlanShard]) -> None:
        """What a requester offers to everybody, this node serves as well."""
        roots = {plan_root}
        for entry in entries:
            shard = entry.shard
            roots |= {shard.id, shard.program, shard.constants, shard.state, shard.parameters, *entry.tensors}
        self._journal.own_blobs(None, roots)

    def tensors(self, roots: Sequence[bytes]) -> list[Array]:
        """Read-only arrays, checked against their roots. Raises BlobMissing or BlobCorrupt."""
        return [self._store.tensor(root)[1] for root in roots]

    def executor(self, entry: PlanShard) -> AbstractContextManager[Executor]:
        """What runs the shard here, over its own constants and parameters."""
        inputs = self.tensors(entry.constants), self.tensors(entry.parameters)
        return engaged(self.program(entry.program), *inputs, entry.steps, self._ranks, self._split, self._hardware)

    def engage(self, entry: PlanShard) -> Callable[[int], AbstractContextManager[Executor]]:
        """What runs any number of steps of the shard here."""
        inputs = self.tensors(entry.constants), self.tensors(entry.parameters)
        program = self.program(entry.program)
        return lambda steps: engaged(program, *inputs, steps, self._ranks, self._split, self._hardware)

    def seconds_a_step(self, entry: PlanShard) -> float:
        """Seconds that one step takes here: as the last shard took, else the best of a few steps, made once."""
        known = self._journal.speed(entry.program)
        if known is None:
            known = self._measure(entry)
            self._journal.set_speed(entry.program, known)
        return known

    def _measure(self, entry: PlanShard) -> float:
        if is_quick(self.program(entry.program), entry.steps):
            with self.executor(entry) as executor:
                return best_of_a_few(executor, self.tensors(entry.state))
        if entry.program in self._refused:
            raise self._refused[entry.program]
        try:
            return self._measured(self._measurement(entry), self._limits.measure_seconds)
        except ProgramError as error:
            self._refused[entry.program] = error
            raise

    def _measurement(self, entry: PlanShard) -> Measurement:
        def named(roots: Sequence[bytes]) -> tuple[str, ...]:
            return tuple(root.hex() for root in roots)

        return Measurement(
            store=str(self._store.path),
            program=entry.program.hex(),
            constants=named(entry.constants),
            parameters=named(entry.parameters),
            state=named(entry.state),
            steps=entry.steps,
            ranks=self._ranks,
            split=self._split.value,
            hardware=self._hardware.value,
            threads=torch.get_num_threads(),
        )

    def estimate(self, plan_root: bytes, first: int, count: int) -> float:
        """As `seconds`, from what was measured before; 0 where nothing was."""
        try:
            entries = self.plan(plan_root).shards[first : first + count]
        except BlobMissing:
            return 0.0
        return sum(entry.steps * (self._journal.speed(entry.program) or 0.0) for entry in entries)

    def doubt(self, plan_root: bytes, first: int, count: int) -> None:
        """Has speeds measured again: what was slow while this machine was busy need not be slow for ever."""
        for program in {entry.program for entry in self.plan(plan_root).shards[first : first + count]}:
            self._journal.forget_speed(program)

    def seconds(self, plan_root: bytes, first: int, count: int) -> float:
        """Estimated seconds to compute shards [first, first + count) of a fetched plan."""
        entries = self.plan(plan_root).shards[first : first + count]
        return sum(entry.steps * self.seconds_a_step(entry) for entry in entries)


def operations(program: Program) -> int:
    """Positions of all iteration spaces of one step: a bound on its work that needs no execution."""
    return sum(
        prod(program.descriptor(number).shape) * prod(program.descriptor(number).reduction)
        for number in program.operations
        if program.descriptor(number).kind is not Kind.INPUT
    )
