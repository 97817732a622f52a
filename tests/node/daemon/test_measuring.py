"""A stranger's step is measured in a process of its own, which ends when its time is over."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict
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


STEM = """
import json, os, sys, time
from orebit.daemon.measuring import Measurement
from orebit.daemon.stem import Stem
from orebit.errors import OrebitError
with Stem() as stem:
    secret = "known only after the stem was made"
    for seconds, wanted in json.loads(sys.argv[1]):
        started = time.monotonic()
        try:
            print(json.dumps(["seconds", stem.measured(Measurement(**wanted), seconds)]))
        except OrebitError as error:
            print(json.dumps([type(error).__name__, str(error)]))
        print(time.monotonic() - started, file=sys.stderr)
    os.kill(stem._process, 9)
    print(json.dumps(["seconds", stem.measured(Measurement(**wanted), 120)]))
"""


def test_a_stem_measures_refuses_and_ends_as_another_interpreter_does(tmp_path: Path) -> None:
    good = asdict(measurement(tmp_path))
    bad = asdict(measurement(tmp_path / "one", str(tmp_path / "other")))
    wanted = json.dumps([(120, good), (0.001, good), (120, bad), (120, good)])
    done = subprocess.run([sys.executable, "-c", STEM, wanted], capture_output=True, text=True, check=True)
    first, late, refused, again, without = map(json.loads, done.stdout.splitlines())
    assert first[0] == again[0] == without[0] == "seconds" and 0 < first[1] < 5
    assert late[0] == "ProgramError" and "measure_seconds" in late[1]
    assert refused[0] == "ExecutionError" and "not in the store" in refused[1]


def test_a_stem_ends_with_its_node() -> None:
    script = "import os\nfrom orebit.daemon.stem import Stem\nstem = Stem()\nos.kill(os.getpid(), 9)"
    # The stem has the pipe that is read to its end here.
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60, check=False)
    assert done.returncode == -9


def test_only_what_is_small_and_not_compiled_is_measured_here() -> None:
    assert is_quick(program(), 10)
    assert not is_quick(program(), 1 << 40)
