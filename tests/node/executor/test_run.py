from __future__ import annotations

from dataclasses import replace
from threading import Event

import numpy as np
import pytest

from orebit.commitment.head import tensor_head
from orebit.commitment.lists import state_root
from orebit.errors import ExecutionError, ExecutionStopped, StorageError
from orebit.executor import hashing
from orebit.executor.run import Checkpoint, run_shard
from orebit.numerics.types import DType
from orebit.program.builder import Builder
from orebit.program.expression import ExpressionBuilder
from orebit.program.graph import Program


def decay() -> Program:
    """counter += 1; w -= rate * w; codes (u16) are left alone."""
    builder = Builder()
    counter = builder.state(DType.I64, ())
    w = builder.state(DType.F32, (3,))
    codes = builder.state(DType.U16, (2,))
    rate = builder.parameter(DType.F32, ())
    one = ExpressionBuilder([DType.I64])
    two = ExpressionBuilder([DType.F32, DType.F32], 1)
    later = builder.map(one.finish(one.operand(0) + 1), [counter])
    smaller = builder.map(two.finish(two.operand(0) - two.operand(1) * two.operand(0)), [w, rate])
    return builder.finish([later, smaller, codes])


STATE = [np.array(0), np.array([1.0, -2.0, 0.5], np.float32), np.array([7, 65535], np.uint16)]
RATE = [np.array(0.25, np.float32)]


def test_checkpoints_stand_after_every_interval_and_the_last_step() -> None:
    seen: list[Checkpoint] = []
    progress: list[tuple[int, int]] = []
    run = run_shard(
        decay(), [], STATE, RATE, 7, 3, on_checkpoint=seen.append, on_progress=lambda *done: progress.append(done)
    )
    assert [checkpoint.step for checkpoint in seen] == [3, 6, 7]
    assert run.roots == tuple(checkpoint.root for checkpoint in seen)
    assert progress == [(step, 7) for step in range(1, 8)]
    assert run.final_state[0] == 7
    assert run.final_state[1].tolist() == [0.75**7, -2 * 0.75**7, 0.5 * 0.75**7]
    assert run.final_state[2].tolist() == [7, 65535] and run.final_state[2].dtype == np.uint16
    roots = [
        tensor_head(code, array.shape, array.tobytes()).root
        for code, array in zip((DType.I64, DType.F32, DType.U16), run.final_state, strict=True)
    ]
    assert run.roots[-1] == state_root(roots)


def test_a_run_resumed_from_a_checkpoint_gives_the_same_roots() -> None:
    whole = run_shard(decay(), [], STATE, RATE, 8, 3)
    kept: list[Checkpoint] = []
    with pytest.raises(ExecutionStopped, match="after 5 of 8"):
        run_shard(
            decay(),
            [],
            STATE,
            RATE,
            8,
            3,
            on_checkpoint=kept.append,
            should_stop=iter([False] * 5 + [True]).__next__,
        )
    assert [checkpoint.step for checkpoint in kept] == [3]
    assert run_shard(decay(), [], STATE, RATE, 8, 3, resume_from=kept[0]).roots == whole.roots


def test_a_finished_run_resumes_to_itself() -> None:
    kept: list[Checkpoint] = []
    whole = run_shard(decay(), [], STATE, RATE, 4, 3, on_checkpoint=kept.append)
    assert run_shard(decay(), [], STATE, RATE, 4, 3, resume_from=kept[-1]) == whole


@pytest.mark.parametrize("change", ["state", "step", "roots"])
def test_a_checkpoint_that_does_not_belong_is_refused(change: str) -> None:
    kept: list[Checkpoint] = []
    run_shard(decay(), [], STATE, RATE, 6, 3, on_checkpoint=kept.append)
    wrong = {
        "state": replace(kept[0], state=(np.array(4), *kept[0].state[1:])),
        "step": replace(kept[0], step=2),
        "roots": replace(kept[0], roots=kept[1].roots),
    }[change]
    with pytest.raises(ExecutionError, match="does not belong"):
        run_shard(decay(), [], STATE, RATE, 6, 3, resume_from=wrong)


def test_inputs_that_are_not_as_declared_are_refused() -> None:
    with pytest.raises(ExecutionError, match="state tensor 1"):
        run_shard(decay(), [], [STATE[0], np.zeros(4, np.float32), STATE[2]], RATE, 1, 1)
    with pytest.raises(ExecutionError, match="1 parameter tensors, not 0"):
        run_shard(decay(), [], STATE, [], 1, 1)
    with pytest.raises(ExecutionError, match="checkpoint every 3"):
        run_shard(decay(), [], STATE, RATE, 2, 3)


def test_checkpoints_are_hashed_beside_the_steps() -> None:
    """Steps go on while a checkpoint's listener is busy, and the next checkpoint waits for it."""
    reached = Event()
    seen: list[int] = []

    def listen(checkpoint: Checkpoint) -> None:
        if checkpoint.step == 3:
            assert reached.wait(10), "the steps after a checkpoint waited for its listener"
        seen.append(checkpoint.step)

    def step(done: int, _steps: int) -> None:
        if done == 5:
            assert seen == []
            reached.set()

    run_shard(decay(), [], STATE, RATE, 9, 3, on_checkpoint=listen, on_progress=step)
    assert seen == [3, 6, 9]


def test_what_a_listener_raises_ends_the_run() -> None:
    def listen(checkpoint: Checkpoint) -> None:
        raise StorageError("the disk is full")

    with pytest.raises(StorageError, match="full"):
        run_shard(decay(), [], STATE, RATE, 9, 3, on_checkpoint=listen)


def test_heads_are_those_of_the_commitment_scheme() -> None:
    """Sizes about the ends of SHA-256's blocks, of leaves and of levels, by one thread and by three."""
    rng = np.random.default_rng(1)
    for size in (1, 55, 56, 63, 64, 1023, 1024, 1025, 2048, 4097, 66_000, 300_001):
        data = rng.integers(0, 256, size, dtype=np.uint8)
        for threads in (1, 3):
            assert hashing.tensor_head(data, threads) == tensor_head(DType.U8, (size,), data)
    wide = rng.standard_normal((30, 50)).astype(np.float32)
    for array in (wide, wide.T, wide[:, ::2], np.array(7, np.int64)):
        assert hashing.tensor_head(array) == tensor_head(DType.from_numpy(array.dtype), array.shape, array.tobytes())
