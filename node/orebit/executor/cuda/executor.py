"""The CUDA executor: a program's stages on a GPU, replayed as one graph a step; its state stays there."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import partial

import torch

from orebit.errors import ExecutionError
from orebit.executor.cuda.cache import compiled
from orebit.executor.cuda.device import Call, Device
from orebit.executor.cuda.gpu import current_gpu
from orebit.executor.cuda.library import Multiplication
from orebit.executor.cuda.plan import Planner, Stage, kernels_of
from orebit.executor.cuda.source import source_of
from orebit.executor.cuda.state import Blocks, DeviceState, Layout, nbytes
from orebit.executor.fused.memory import aligned, lay_out
from orebit.executor.storage import Given, accept
from orebit.program.descriptor import Source
from orebit.program.graph import Program, TensorSpec

# Graphs that are kept: each is for one place of the state before and one of the state after, and these alternate.
GRAPHS = 8


class CudaExecutor:
    """Executes steps of one program over fixed constants and parameters, bit for bit as the reference executor does.

    What depends on constants and parameters only is computed once. A step returns before the GPU has done it, but not
    before the step ahead of it is done; the state that it returns stays on the GPU until somebody looks at it.

    Args:
        program: a valid program.
        constants: tensors or arrays of the declared types and shapes, in program order.
        parameters: likewise.
        device: the GPU to use; torch's current one unless given.
        memory_limit: bytes of the GPU's memory that one step may take; all that is free unless given.

    Raises:
        ExecutionError: when an input's type or shape is not the declared one, a step would not fit in memory, or this
            machine lacks a GPU, a torch for it, or its compiler.
    """

    def __init__(
        self,
        program: Program,
        constants: Sequence[Given],
        parameters: Sequence[Given],
        *,
        device: Device | None = None,
        memory_limit: int | None = None,
    ) -> None:
        self.program = program
        self.device = current_gpu() if device is None else device
        self._busy = threading.Lock()
        given = self._accepted(Source.CONSTANT, constants) + self._accepted(Source.PARAMETER, parameters)
        planner = Planner(program, self.device.capability)
        stages = planner.stages()
        once = [stage for stage in stages if planner.fixed[stage.outputs[0]]]
        every = [stage for stage in stages if not planner.fixed[stage.outputs[0]]]
        kernels = kernels_of(stages)
        self._plan_memory(once, every, memory_limit)
        self._code = self.device.load(compiled(self.device, program, source_of(kernels)), kernels)
        self._seen: set[tuple[int, int]] = set()
        self._graphs: dict[tuple[int, int], Call] = {}
        self._every, self._every_workspaces = every, self._layout.workspaces[len(once) :]
        with self.device.working():
            self._allocate(given)
            _run(self._calls(once, self._layout.workspaces[: len(once)], {}))
            self._previous = self.device.recorded()

    # Inputs

    def _accepted(self, source: Source, given: Sequence[Given]) -> list[torch.Tensor]:
        specs, name = self.program.specs(source), source.name.lower()
        if len(given) != len(specs):
            raise ExecutionError(f"the program takes {len(specs)} {name} tensors, not {len(given)}")
        return [
            accept(tensor, spec, f"{name} tensor {index}")
            for index, (spec, tensor) in enumerate(zip(specs, given, strict=True))
        ]

    def _spec(self, number: int) -> TensorSpec:
        descriptor = self.program.descriptor(number)
        return TensorSpec(descriptor.dtype, descriptor.shape)

    def _bytes(self, number: int) -> int:
        return nbytes(self._spec(number))

    # Memory

    def _plan_memory(self, once: list[Stage], every: list[Stage], limit: int | None) -> None:
        """Memory of a step, of what is computed once and read in every step, of inputs, and of states."""
        program, renewed = self.program, set(self.program.new_state)
        read = {node for stage in every for node in stage.operands}
        made_once = {node for stage in once for node in stage.outputs}
        self._kept_nodes = sorted(made_once & read)
        fixed_inputs = [*program.inputs(Source.CONSTANT), *program.inputs(Source.PARAMETER)]
        self._kept_places, kept_size = self._side_by_side([*fixed_inputs, *self._kept_nodes])
        self._kept_size = kept_size
        self._states = Layout.of([self._spec(number) for number in program.new_state])
        self._blocks = Blocks(self.device, self._states)
        # A part of a program, which one of several ranks executes, renews other tensors than it reads.
        self._inputs = Layout.of([self._spec(number) for number in program.inputs(Source.STATE)])
        renews = self._inputs == self._states
        self._input_blocks = self._blocks if renews else Blocks(self.device, self._inputs)
        outputs = [node for stage in (*once, *every) for node in stage.outputs]
        sizes = {node: self._bytes(node) for node in outputs if node not in self._kept_places and node not in renewed}
        self._layout = lay_out([*once, *every], sizes)
        limit = self.device.free_bytes() if limit is None else limit
        needed = self._layout.size + kept_size + self._inputs.size + self._states.size
        if needed > limit:
            raise ExecutionError(
                f"one step of the program takes up to {needed / 2**30:.1f} GiB of the GPU's memory, more than the "
                f"{limit / 2**30:.1f} GiB allowed; run it on a larger GPU or use smaller batches"
            )

    def _side_by_side(self, nodes: Sequence[int]) -> tuple[dict[int, int], int]:
        places, end = {}, 0
        for node in nodes:
            places[node] = end
            end += aligned(self._bytes(node))
        return places, end

    def _allocate(self, given: Sequence[torch.Tensor]) -> None:
        self._memory = self._new_block(self._layout.size)
        self._kept = self._new_block(self._kept_size)
        program = self.program
        fixed_inputs = [*program.inputs(Source.CONSTANT), *program.inputs(Source.PARAMETER)]
        for number, tensor in zip(fixed_inputs, given, strict=True):
            _upload(tensor, self._kept, self._kept_places[number])
        self._addresses = {node: self._memory.data_ptr() + place for node, place in self._layout.offsets.items()}
        self._addresses |= {node: self._kept.data_ptr() + place for node, place in self._kept_places.items()}

    def _new_block(self, size: int) -> torch.Tensor:
        return torch.empty(max(size, 1), dtype=torch.uint8, device=self.device.place)

    # Steps

    def step(self, state: Sequence[Given]) -> DeviceState:
        """The state after one step, each tensor of its declared type with every NaN canonical.

        Raises:
            ExecutionError: when a state tensor's type or shape is not the declared one, or the step before failed.
        """
        with self._busy:
            with self.device.working():
                held, before = self._on_device(state)
                after = self._blocks.take()
                self._call(before, after)()
                ready = self.device.recorded()
            made = self._blocks.lend(after, ready)
            if held is None:
                self._input_blocks.give(before)
            self._previous()
            self._previous = ready
        return made

    def _on_device(self, state: Sequence[Given]) -> tuple[DeviceState | None, torch.Tensor]:
        """The state's block; with the state that owns it, unless it was copied to a block of its own."""
        if isinstance(state, DeviceState) and state.blocks is self._input_blocks:
            return state, state.block
        given = self._accepted(Source.STATE, state)
        block = self._input_blocks.take()
        for tensor, offset in zip(given, self._inputs.offsets, strict=True):
            _upload(tensor, block, offset)
        return None, block

    def _call(self, before: torch.Tensor, after: torch.Tensor) -> Call:
        """One step between two blocks: launch by launch the first time, as a graph from the second on."""
        key = (before.data_ptr(), after.data_ptr())
        if key in self._graphs:
            return self._graphs[key]
        before_places = zip(self.program.inputs(Source.STATE), self._inputs.offsets, strict=True)
        places = {number: key[0] + offset for number, offset in before_places}
        after_places = zip(self.program.new_state, self._states.offsets, strict=True)
        places |= {number: key[1] + offset for number, offset in after_places}
        plain = partial(_run, self._calls(self._every, self._every_workspaces, places))
        if key not in self._seen:
            self._seen.add(key)
        elif len(self._graphs) < GRAPHS:
            self._graphs[key] = self.device.captured(plain) or plain
        return self._graphs.get(key, plain)

    def _calls(self, stages: Sequence[Stage], workspaces: Sequence[int], places: Mapping[int, int]) -> list[Call]:
        """Every launch with its pointers, and torch's products among them."""
        made: list[Call] = []
        for stage, workspace in zip(stages, workspaces, strict=True):
            base = self._memory.data_ptr() + workspace
            for work in stage.launches:
                if isinstance(work, Multiplication):
                    made.append(partial(work.run, self._memory, workspace))
                    continue
                pointers = [
                    base + number if kind == "workspace" else places.get(number) or self._addresses[number]
                    for kind, number in work.arguments
                ]
                made.append(partial(self._code.launch, work.kernel, pointers))
        return made


def _run(calls: Sequence[Call]) -> None:
    for call in calls:
        call()


def _upload(tensor: torch.Tensor, block: torch.Tensor, offset: int) -> None:
    raw = tensor.reshape(-1).view(torch.uint8)
    block[offset : offset + raw.numel()].copy_(raw)
