"""Ranks as processes over gloo: the same checkpoints, and an end with a reason when one of them fails."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import numpy as np
import pytest
import torch

from orebit.errors import ExecutionError
from orebit.executor.hardware import Split
from orebit.executor.ranks import LocalRanks
from orebit.executor.ranks.by_data import place_by_data
from orebit.executor.ranks.by_stage import place_by_stage
from orebit.executor.reference import ReferenceExecutor
from orebit.executor.run import run_shard
from orebit.numerics.types import DType
from orebit.program import index_map as maps
from orebit.program.builder import Builder, Value
from orebit.program.expression import ExpressionBuilder
from orebit.program.graph import Program

LONG = os.environ.get("OREBIT_LONG_TESTS") == "1"
ROWS, BATCH, WIDTH, LAYERS = 2000, 1000, 128, 2


def layered() -> Program:
    """Two layers of integer products over a batch of rows, whose weights take a step towards the sums over the batch,
    and a count of steps that says which rows those are."""
    builder = Builder()
    weights = [builder.state(DType.I32, (WIDTH, WIDTH)) for _ in range(LAYERS)]
    step = builder.state(DType.I64, ())
    rows = builder.constant(DType.I16, (ROWS, WIDTH))
    scope = ExpressionBuilder([DType.I64], 1)
    place = builder.map(scope.finish((scope.operand(0) * BATCH + scope.index(0) * 7).rem(ROWS)), [step], (BATCH,))
    x = builder.gather(place.view(maps.select_axes(2, [0])), rows.view(maps.select_axes(2, [1])), (BATCH, WIDTH))
    inputs: list[Value] = []
    for weight in weights:
        inputs.append(x)
        product = builder.dot(
            x.view(maps.select_axes(3, [0, 2])), weight.view(maps.select_axes(3, [1, 2])), (BATCH, WIDTH), (WIDTH,)
        )
        scope = ExpressionBuilder([DType.I64], 2)
        x = builder.map(scope.finish((scope.operand(0) >> 6).max(-999).min(999)), [product], dtype=DType.I16)
    renewed = []
    for weight, given in reversed(list(zip(weights, inputs, strict=True))):
        total = builder.dot(
            x.view(maps.select_axes(3, [2, 0])), given.view(maps.select_axes(3, [2, 1])), (WIDTH, WIDTH), (BATCH,)
        )
        scope = ExpressionBuilder([DType.I32, DType.I64], 2)
        old, sums = scope.operands
        renewed.append(builder.map(scope.finish((old + (sums >> 12)).rem(500)), [weight, total], dtype=DType.I32))
        back = builder.dot(
            x.view(maps.select_axes(3, [0, 2])), weight.view(maps.select_axes(3, [2, 1])), (BATCH, WIDTH), (WIDTH,)
        )
        scope = ExpressionBuilder([DType.I64], 2)
        x = builder.map(scope.finish((scope.operand(0) >> 5).rem(700)), [back], dtype=DType.I16)
    scope = ExpressionBuilder([DType.I64])
    return builder.finish([*reversed(renewed), builder.map(scope.finish(scope.operand(0) + 1), [step])])


def inputs() -> tuple[Program, list[Any], list[Any]]:
    """Program, constants, state."""
    rng = np.random.default_rng(0)
    weights = [rng.integers(-99, 99, (WIDTH, WIDTH), dtype=np.int32) for _ in range(LAYERS)]
    rows = rng.integers(-99, 99, (ROWS, WIDTH), dtype=np.int16)
    return layered(), [rows], [*weights, np.array(0, np.int64)]


def test_the_program_of_these_tests_is_divided() -> None:
    program, _, _ = inputs()
    data, stage = place_by_data(program, 2), place_by_stage(program, 2)
    assert any(data.partial(number) for number in program.operations)
    assert {stage.owners[number] for number in program.new_state} == {0, 1, None}


def test_checkpoints_are_those_of_one_process() -> None:
    program, constants, state = inputs()
    wanted = run_shard(program, constants, state, [], 5, 2)
    done: list[int] = []
    run = run_shard(program, constants, state, [], 5, 2, threads=1, ranks=2, on_progress=lambda at, _: done.append(at))
    assert run.roots == wanted.roots
    assert [a.tobytes() for a in run.final_state] == [a.tobytes() for a in wanted.final_state]
    assert done == [1, 2, 3, 4, 5]


def test_stages_take_the_same_steps_until_a_rank_dies() -> None:
    program, constants, state = inputs()
    wanted = ReferenceExecutor(program, constants, []).step(state)
    with LocalRanks(program, constants, [], split=Split.STAGE, steps=1) as ranks:
        first = ranks.step(state)
        assert [tensor.numpy().tobytes() for tensor in first] == [tensor.numpy().tobytes() for tensor in wanted]
        second = ranks.step(first)
        third = ranks.step(second)
        assert int(third[-1]) == 3
        with pytest.raises(ExecutionError, match="before the next step"):
            second[0]
        with pytest.raises(ExecutionError, match="state tensor 0 is"):
            ranks.step([state[0].astype(np.int64), *state[1:]])
        began = time.monotonic()
        os.kill(ranks.processes[1], signal.SIGKILL)
        with pytest.raises(ExecutionError, match="(ended|lost touch).*ranks = 1"):
            for _ in range(5):
                list(ranks.step(third))
        assert time.monotonic() - began < 30
        with pytest.raises(ExecutionError, match="start them again"):
            ranks.step(third)
        assert int(third[-1]) == 3


@pytest.mark.skipif(not LONG, reason="waits for a timeout; OREBIT_LONG_TESTS=1 runs it")
def test_a_rank_that_hangs_ends_the_shard_with_a_reason() -> None:
    program, constants, state = inputs()
    with LocalRanks(program, constants, [], split=Split.STAGE, steps=1, timeout=15.0) as ranks:
        first = list(ranks.step(state))
        os.kill(ranks.processes[1], signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(ExecutionError, match="lost touch|say nothing"):
            list(ranks.step(first))
        assert time.monotonic() - began < 60


def test_inputs_that_are_not_as_declared_are_refused() -> None:
    program, constants, state = inputs()
    with pytest.raises(ExecutionError, match="constant tensor 0 is"):
        LocalRanks(program, [constants[0].astype(np.int32)], [])
    with pytest.raises(ExecutionError, match="1 constant tensors, not 0"):
        LocalRanks(program, [], [])


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="NCCL wants a GPU for each rank, and there are not two")
@pytest.mark.parametrize("split", list(Split))
def test_ranks_on_gpus_take_the_same_steps(split: Split) -> None:
    program, constants, state = inputs()
    wanted = ReferenceExecutor(program, constants, []).step(state)
    with LocalRanks(program, constants, [], split=split, executor="cuda") as ranks:
        first = ranks.step(state)
        assert [tensor.numpy().tobytes() for tensor in first] == [tensor.numpy().tobytes() for tensor in wanted]
