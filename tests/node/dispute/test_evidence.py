"""Recomputation is lazy, bounded and measured, and gives what the shard's run gave."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from worlds import Sizes, wide_world, zoo_world

from orebit.commitment import merkle
from orebit.dispute import Evidence, Means, Room, measure, measured
from orebit.dispute.game import section_steps
from orebit.dispute.states import Spent
from orebit.dispute.trace import StepTrace
from orebit.errors import ExecutionStopped
from orebit.executor.hashing import tensor_head, tensor_levels
from orebit.executor.reference import ReferenceExecutor
from orebit.executor.run import run_shard

ROOMS = [Room(), Room(memory=0), Room(memory=2_000, disk=0)]


def run_of(evidence: Evidence) -> list[bytes]:
    inputs, shard = evidence.inputs, evidence.shard
    made = run_shard(inputs.program, inputs.constants, inputs.state, inputs.parameters, shard.steps, shard.interval)
    return list(made.roots)


@pytest.mark.parametrize("limit", [1, 1 << 30])
def test_states_are_those_of_the_run_whatever_is_kept(limit: int) -> None:
    world = zoo_world(steps=9, interval=4)
    evidence = world.evidence(Means(states=limit))
    roots = run_of(evidence)
    assert merkle.unpack(evidence.checkpoints[0]) == roots
    assert evidence.section(4, 8)[-1] == roots[1] and evidence.section(8, 9) == (roots[2],)
    again = world.evidence(Means(states=limit))
    for step in (7, 2, 9, 0, 5):
        state = again.state(step)
        assert merkle.root([tensor_head(array).root for array in state]) == again.state_list(step)[-1]
    assert again.state(0)[1] is world.inputs.state[1]


def test_only_the_steps_that_are_needed_are_run() -> None:
    world = wide_world(3, steps=100, interval=10)
    first = world.evidence()
    entries = merkle.unpack(first.checkpoints[0])
    assert (first.spent.steps, first.spent.states) == (100, 10)
    kept = {70: first.state(70)}
    second = world.evidence(Means(kept=kept.get), checkpoints=entries)
    assert second.checkpoints[-1] == first.checkpoints[-1] and second.spent.steps == 0
    assert second.section(70, 80)[-1] == entries[7] and second.spent.steps == 10
    second.trace(75)
    second.trace(75)
    assert (second.spent.steps, second.spent.traces) == (10, 1)


def test_a_section_posts_at_most_32_states_and_ends_with_its_last_step() -> None:
    counts = {(0, 2): 2, (5, 37): 32, (5, 38): 8, (0, 1_000): 32, (999, 5_000): 16, (0, 100): 16, (0, 1 << 32): 32}
    for (first, last), count in counts.items():
        steps = section_steps(first, last)
        assert len(steps) == count and steps[-1] == last
        assert sorted(set(steps)) == steps and steps[0] > first
        assert max(b - a for a, b in zip([first, *steps], steps, strict=False)) <= -(-(last - first) // len(steps))


@pytest.mark.parametrize("room", ROOMS)
def test_a_trace_is_the_executor_s_whatever_there_is_room_for(room: Room, tmp_path: Path) -> None:
    world = zoo_world(Sizes(width=17, terms=300))
    inputs, program = world.inputs, world.program
    executor = ReferenceExecutor(program, inputs.constants, inputs.parameters)
    room = Room(room.memory, room.disk, None if room.memory else tmp_path)
    given = (*inputs.state, *inputs.constants, *inputs.parameters)
    trace = StepTrace(executor, given, room)
    assert (len(list(tmp_path.iterdir())) == 1) == (room.folder is not None)
    for number, true in enumerate(executor.trace(inputs.state)):
        array = trace.tensor(number)
        if number >= program.header.inputs:
            assert array.tobytes() == true.numpy().tobytes()
            assert trace.head(number) == tensor_head(true.numpy())
        levels = trace.tree(number)
        assert levels == merkle.tree(merkle.leaf_hashes(array.tobytes())) == tensor_levels(array, 2)
        count = merkle.leaf_count(array.nbytes)
        assert [merkle.leaf_hash(trace.leaf(number, i)) for i in range(count)] == merkle.unpack(levels[0])
    assert trace.tensor(4) is inputs.constants[1]  # raw: a NaN that is not canonical stays so
    assert len(merkle.unpack(trace.new_state[0])) == program.header.new_state
    trace.close()
    assert not list(tmp_path.iterdir())


def test_outputs_may_be_visited_alone() -> None:
    world = zoo_world()
    inputs, program = world.inputs, world.program
    executor = ReferenceExecutor(program, inputs.constants, inputs.parameters)
    whole = executor.trace(inputs.state)
    for wanted in ([7], [program.new_state[0]], [9, 12]):
        found = dict(executor.visit(inputs.state, wanted))
        assert sorted(found) == sorted(wanted)
        assert all(
            np.array_equal(made.numpy(), whole[number].numpy(), equal_nan=True) for number, made in found.items()
        )


def test_recomputation_stops_between_steps() -> None:
    evidence = wide_world(3, steps=100, interval=10).evidence(Means(should_stop=lambda: True))
    with pytest.raises(ExecutionStopped):
        evidence.section(0, 100)


def test_what_a_move_costs_is_measured() -> None:
    world = zoo_world()
    cost = measure(world.inputs, step=0.5)
    assert cost.trace > 0 and cost.state > 0
    assert cost.seconds(100) == 50 + 32 * cost.state + cost.trace
    assert cost.fits(100, 3_600) and not cost.fits(100, 200) and not cost.fits(10_000, 3_600)
    evidence = world.evidence()
    evidence.trace(2)
    spent = measured(evidence.spent)
    assert spent.step == evidence.spent.step_seconds / 2 and spent.trace > 0
    assert measured(Spent(), step=3.0).step == 3.0
