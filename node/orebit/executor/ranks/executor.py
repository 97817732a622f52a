"""One rank of several that execute one shard together: the same bits as one executor alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import torch

from orebit.errors import ExecutionError
from orebit.executor.conformance import Executor, Factory
from orebit.executor.hardware import Split
from orebit.executor.ranks.by_data import place_by_data
from orebit.executor.ranks.by_stage import place_by_stage
from orebit.executor.ranks.exchange import Exchange, Values
from orebit.executor.ranks.group import Group, ProcessGroup
from orebit.executor.ranks.placement import Placement
from orebit.executor.ranks.schedule import Schedule
from orebit.executor.ranks.segments import Key, Level, Segment, levels_of
from orebit.executor.reference import ReferenceExecutor
from orebit.executor.storage import Given, accept
from orebit.program.descriptor import Source
from orebit.program.graph import Program

PLACERS: dict[Split, Callable[[Program, int], Placement]] = {Split.DATA: place_by_data, Split.STAGE: place_by_stage}


class RanksExecutor:
    """One rank's part in executing a program. All ranks make it of the same arguments and call the same methods in the
    same order; each returns the same bits as any executor of the whole program does.

    Args:
        program: a valid program.
        constants, parameters: tensors or arrays of the declared types and shapes, in program order.
        split: by data or by pipeline stage; or a placement of one's own.
        group: the ranks; those of torch.distributed unless given.
        factory: what executes this rank's parts of the program.

    Raises:
        ExecutionError: when an input is not as declared, memory does not suffice, or torch.distributed is not
            initialised.
    """

    def __init__(
        self,
        program: Program,
        constants: Sequence[Given],
        parameters: Sequence[Given],
        *,
        split: Split | Placement = Split.DATA,
        group: Group | None = None,
        factory: Factory = ReferenceExecutor,
    ) -> None:
        self.program = program
        self._group: Group = ProcessGroup() if group is None else group
        ranks = self._group.size
        self._placement = split if isinstance(split, Placement) else PLACERS[split](program, ranks)
        if self._placement.ranks != ranks:
            raise ExecutionError(f"the placement is for {self._placement.ranks} ranks, but there are {ranks}")
        self._agree(parameters)
        self._exchange = Exchange(self._placement, self._group)
        self._levels = levels_of(Schedule(self._placement), self._group.rank)
        self._executors = [self._executor(level, constants, parameters, factory) for level in self._levels]
        self._state: list[torch.Tensor | None] = []

    def _agree(self, parameters: Sequence[Given]) -> None:
        """Makes sure that all ranks divide the same program, of the same parameters, in the same way."""
        placed = self._placement
        told = hashlib.sha256(self.program.root + repr((placed.cuts, placed.axes, placed.owners)).encode())
        for given in parameters:
            told.update(np.asarray(given).tobytes())
        mine = torch.frombuffer(bytearray(told.digest()), dtype=torch.uint8)
        if any(not torch.equal(mine, other) for other in self._group.gather(mine, [len(mine)] * self._group.size)):
            raise ExecutionError(
                "the ranks were given different programs, parameters or splits, or run different versions of Orebit; "
                "start all of them alike"
            )

    def _executor(
        self, level: Level, constants: Sequence[Given], parameters: Sequence[Given], factory: Factory
    ) -> Executor | None:
        segment = level.segment
        if segment is None:
            return None
        return factory(
            segment.program,
            [constants[index] for index in segment.constants],
            [parameters[index] for index in segment.parameters],
        )

    @property
    def levels(self) -> int:
        """How many exchanges a step has, at most."""
        return len(self._levels)

    def step(self, state: Sequence[Given]) -> list[torch.Tensor]:
        """The state after one step, whole, on every rank.

        Raises:
            ExecutionError: when a state tensor is not as declared, or another rank is gone.
        """
        self.start(state)
        self.advance()
        return self.whole()

    def start(self, state: Sequence[Given]) -> None:
        """Takes a whole state, of which this rank keeps its part.

        Raises:
            ExecutionError: when a tensor's type or shape is not the declared one.
        """
        specs = self.program.specs(Source.STATE)
        if len(state) != len(specs):
            raise ExecutionError(f"the program takes {len(specs)} state tensors, not {len(state)}")
        self._state = []
        for number, (spec, given) in enumerate(zip(specs, state, strict=True)):
            self._state.append(self._part(number, accept(given, spec, f"state tensor {number}")))

    def _part(self, number: int, whole: torch.Tensor) -> torch.Tensor | None:
        """What this rank keeps of a state tensor."""
        placement, rank = self._placement, self._group.rank
        if not placement.runs(number, rank):
            return None
        axis = placement.axes[number]
        if axis is None or placement.cuts is None:
            return whole
        low, high = placement.cuts.bounds(whole.shape[axis], rank)
        return whole.narrow(axis, low, high - low).contiguous()

    def advance(self) -> None:
        """One step of the state that the ranks hold.

        Raises:
            ExecutionError: when another rank is gone; the state is then lost.
        """
        values: Values = {Key(number): tensor for number, tensor in enumerate(self._state) if tensor is not None}
        self._state = []
        for level, executor in zip(self._levels, self._executors, strict=True):
            if level.segment is not None and executor is not None:
                self._run(level.segment, executor, values)
            with torch.inference_mode():
                self._exchange.run(level.transfers, values)
            for key in level.dropped:
                values.pop(key, None)
        self._state = [self._renewed(number, values) for number in self.program.inputs(Source.STATE)]

    def _run(self, segment: Segment, executor: Executor, values: Values) -> None:
        made = executor.step([values[key] for key in segment.imports])
        values.update(zip(segment.outputs, made, strict=True))

    def _renewed(self, number: int, values: Values) -> torch.Tensor | None:
        if not self._placement.runs(number, self._group.rank):
            return None
        read = self._placement.renewed(number)
        made = values[Key(read.producer, read.exchanged)]
        return made if read.own is not None else self._part(number, made)

    def kept(self) -> dict[int, torch.Tensor]:
        """The whole state tensors that this rank should pass on, by position: of all ranks together, each once. Where
        state is kept in parts these are put together first, and rank 0 has all.

        Raises:
            ExecutionError: when another rank is gone.
        """
        rank, owners = self._group.rank, self._placement.owners
        in_parts = any(self._placement.periods[number] is not None for number in range(len(self._state)))
        state = self.whole() if in_parts else self._state
        return {
            number: tensor
            for number, tensor in enumerate(state)
            if tensor is not None and (owners[number] == rank or (owners[number] is None and rank == 0))
        }

    def whole(self) -> list[torch.Tensor]:
        """The whole state, on every rank.

        Raises:
            ExecutionError: when another rank is gone.
        """
        with torch.inference_mode():
            return self._exchange.everywhere(self._state)
