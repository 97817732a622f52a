"""The fused executor: a program's stages bound to memory once, and run as one list of native tasks a step."""

from __future__ import annotations

import mmap
import threading
import weakref
from collections.abc import Sequence
from math import prod

import numpy as np
import torch

from orebit.errors import ExecutionError
from orebit.executor.fused.binding import bind
from orebit.executor.fused.cache import compiled
from orebit.executor.fused.contraction_machine import contractor
from orebit.executor.fused.memory import ALIGNMENT, aligned, lay_out
from orebit.executor.fused.plan import Planner, Stage
from orebit.executor.memory import physical_memory
from orebit.executor.native.library import require
from orebit.executor.storage import Given, accept
from orebit.program.collecting import seldom_collecting
from orebit.program.descriptor import Source
from orebit.program.graph import Program

# A page of the larger kind.
LARGE = 2 << 20

Bytes = np.ndarray[tuple[int], np.dtype[np.uint8]]


class FusedExecutor:
    """Executes steps of one program over fixed constants and parameters, bit for bit as the reference executor does.

    What depends on constants and parameters only is computed once. No tensor that is passed in is ever written to, and
    memory of a returned state is used again only when nothing refers to it any more.

    Args:
        program: a valid program.
        constants: tensors or arrays of the declared types and shapes, in program order.
        parameters: likewise.
        threads: threads of a step; as many as torch uses, unless given. Bits do not depend on it.
        memory_limit: bytes that one step may take; all of the machine's memory unless given.

    Raises:
        ExecutionError: when an input's type or shape is not the declared one, a step would not fit in memory, or this
            machine lacks the native library or a processor that code can be made for.
    """

    def __init__(
        self,
        program: Program,
        constants: Sequence[Given],
        parameters: Sequence[Given],
        *,
        threads: int | None = None,
        memory_limit: int | None = None,
    ) -> None:
        self.program = program
        self._library = require()
        self._threads = threads
        self._busy = threading.Lock()
        self._given: dict[int, torch.Tensor] = {}
        self._take(Source.CONSTANT, constants)
        self._take(Source.PARAMETER, parameters)
        with seldom_collecting():
            planner = Planner(program, contractor(self._library))
            stages = planner.stages()
        once = [stage for stage in stages if planner.fixed[stage.outputs[0]]]
        every = [stage for stage in stages if not planner.fixed[stage.outputs[0]]]
        self._lay_out(once, every, memory_limit)
        self._code = compiled(program, planner.kernels)
        self._stages = every
        self._bind(once, every)

    def _take(self, source: Source, given: Sequence[Given]) -> None:
        for number, tensor in zip(self.program.inputs(source), self._accepted(source, given), strict=True):
            self._given[number] = tensor

    def _accepted(self, source: Source, given: Sequence[Given]) -> list[torch.Tensor]:
        specs, name = self.program.specs(source), source.name.lower()
        if len(given) != len(specs):
            raise ExecutionError(f"the program takes {len(specs)} {name} tensors, not {len(given)}")
        return [
            accept(tensor, spec, f"{name} tensor {index}")
            for index, (spec, tensor) in enumerate(zip(specs, given, strict=True))
        ]

    def _bytes(self, number: int) -> int:
        descriptor = self.program.descriptor(number)
        return descriptor.dtype.size * prod(descriptor.shape)

    def _lay_out(self, once: list[Stage], every: list[Stage], memory_limit: int | None) -> None:
        """Three memories: of a step, of what is computed once and read in every step, and of a new state."""
        renewed = set(self.program.new_state)
        read = {node for stage in every for node in stage.operands}
        made_once = {node for stage in once for node in stage.outputs}
        self._kept_places, kept_size = self._side_by_side(sorted(made_once & read))
        self._state_places, self._state_size = self._side_by_side(list(self.program.new_state))
        outputs = [node for stage in (*once, *every) for node in stage.outputs]
        sizes = {node: self._bytes(node) for node in outputs if node not in self._kept_places and node not in renewed}
        self._layout = lay_out([*once, *every], sizes)
        limit = physical_memory() if memory_limit is None else memory_limit
        needed = self._layout.size + kept_size + 2 * self._state_size
        if needed > limit:
            raise ExecutionError(
                f"one step of the program takes up to {needed / 2**30:.1f} GiB, more than the {limit / 2**30:.1f} GiB "
                "allowed; run it on a larger machine or use smaller batches"
            )
        self._memory, self._kept = _memory(self._layout.size), _memory(kept_size)
        self._spare: list[Bytes] = []

    def _side_by_side(self, nodes: Sequence[int]) -> tuple[dict[int, int], int]:
        places, end = {}, 0
        for node in nodes:
            places[node] = end
            end += aligned(self._bytes(node))
        return places, end

    def _bind(self, once: list[Stage], every: list[Stage]) -> None:
        addresses = {number: tensor.data_ptr() for number, tensor in self._given.items()}
        addresses |= {node: self._memory.ctypes.data + place for node, place in self._layout.offsets.items()}
        addresses |= {node: self._kept.ctypes.data + place for node, place in self._kept_places.items()}
        workspaces = [self._memory.ctypes.data + place for place in self._layout.workspaces]
        first = bind(self._library, self._code.address, once, workspaces[: len(once)])
        first.place(addresses)
        first.run(self._thread_count())
        self._step = bind(self._library, self._code.address, every, workspaces[len(once) :])
        self._step.place(addresses)

    def _thread_count(self) -> int:
        return torch.get_num_threads() if self._threads is None else self._threads

    def step(self, state: Sequence[Given]) -> list[torch.Tensor]:
        """The state after one step, each tensor of its declared type with every NaN canonical.

        Raises:
            ExecutionError: when a state tensor's type or shape is not the declared one.
        """
        before = self._accepted(Source.STATE, state)
        with self._busy:
            block = self._place(before)
            self._step.run(self._thread_count())
        return [self._view(block, number) for number in self.program.new_state]

    def profile(self, state: Sequence[Given], repeats: int = 5) -> list[tuple[Stage, float]]:
        """Each stage of a step in order, with the fewest seconds that it took.

        Raises:
            ExecutionError: as `step` does.
        """
        before = self._accepted(Source.STATE, state)
        with self._busy:
            block = self._place(before)
            runs = [self._step.seconds(self._thread_count()) for _ in range(repeats)]
            del block  # its memory had to stay taken until now
        return [(stage, min(times)) for stage, *times in zip(self._stages, *runs, strict=True)]

    def _place(self, before: Sequence[torch.Tensor]) -> Bytes:
        """Gives the step's tasks the addresses of this state and of memory for the next, which is returned."""
        block = self._lease()
        base = block.ctypes.data
        addresses = {number: base + place for number, place in self._state_places.items()}
        for number, tensor in zip(self.program.inputs(Source.STATE), before, strict=True):
            addresses[number] = tensor.data_ptr()
        self._step.place(addresses)
        return block

    def _lease(self) -> Bytes:
        """Memory for a new state. It comes back when the last tensor in it is gone."""
        try:
            owned = self._spare.pop()
        except IndexError:
            owned = _memory(self._state_size)
        lent = np.frombuffer(owned.data, dtype=np.uint8)
        weakref.finalize(lent, self._spare.append, owned).atexit = False
        return lent

    def _view(self, block: Bytes, number: int) -> torch.Tensor:
        descriptor = self.program.descriptor(number)
        place = self._state_places[number]
        part = block[place : place + self._bytes(number)]
        return torch.from_numpy(part.view(descriptor.dtype.numpy)).reshape(descriptor.shape)


def _memory(size: int) -> Bytes:
    """Zero-filled bytes at an aligned address; the system gives their pages when they are first written."""
    if size >= LARGE and hasattr(mmap, "MADV_HUGEPAGE"):
        pages = mmap.mmap(-1, size + LARGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # shared ones stay small
        pages.madvise(mmap.MADV_HUGEPAGE)  # else a first step takes most of its time to be given small ones
        raw = np.frombuffer(pages, dtype=np.uint8)
        start = -raw.ctypes.data % LARGE
    else:
        raw = np.zeros(size + ALIGNMENT, dtype=np.uint8)
        start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size]
