"""A stranger's step is measured in a process of its own, which ends when its time is over."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from shards import program, put_plan

from orebit.daemon.measuring import Measurement, is_quick, measured_apart
from orebit.errors import ExecutionError, ProgramError
from orebit.executor.hardware import Hardware, Split
from orebit.store import LocalStore


def measurement(folder: Path, store: str | None = None) -> Measurement:
    ours = LocalStore(folder)
    entry = put_plan(ours).shards[0]
    return Measurement(
        store=store or str(ours.path),
        program=entry.program.hex(),
        constants=tuple(root.hex() for root in entry.constants),
        parameters=tuple(root.hex() for root in entry.parameters),
        state=tuple(root.hex() for root in entry.state),
        steps=entry.steps,
        ranks=1,
        split=Split.DATA.value,
        hardware=Hardware.AUTO.value,
        threads=1,
    )


def test_a_step_is_measured_by_another_process(tmp_path: Path) -> None:
    assert 0 < measured_apart(measurement(tmp_path), 120) < 5


def test_a_measurement_ends_when_its_time_is_over(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(ProgramError, match="measure_seconds"):
        measured_apart(measurement(tmp_path), 0.1)
    assert time.monotonic() - started < 10


def test_what_cannot_be_measured_is_refused_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(ExecutionError, match="not in the store"):
        measured_apart(measurement(tmp_path / "one", str(tmp_path / "other")), 120)


def test_only_what_is_small_and_not_compiled_is_measured_here() -> None:
    assert is_quick(program(), 10)
    assert not is_quick(program(), 1 << 40)
