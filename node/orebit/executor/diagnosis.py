"""What this machine's executors are worth: each is run over the shipped vectors and timed, in a process of its own.

A process of its own, because a kernel made for another processor ends it with a signal; the vector it was at is named.
`python -m orebit.executor.diagnosis NAME` is that process: a line of JSON for every vector that it begins, and one for
what it found.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from orebit.errors import ConformanceError
from orebit.executor.conformance import Factory, cases
from orebit.executor.hardware import EXECUTORS
from orebit.executor.selection import Unavailable, load
from orebit.executor.standard import standard_programs

MEASURE_SECONDS = 1.0
TIMEOUT_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One executor. `missing` says why this machine lacks it; `fault` what it does wrong, `operation` where first.

    `speeds` are steps a second of the standard programs, `seconds` what all vectors took.
    """

    executor: str
    missing: str = ""
    operation: str = ""
    fault: str = ""
    seconds: float = 0.0
    speeds: dict[str, float] = field(default_factory=dict)

    @property
    def works(self) -> bool:
        return not self.missing and not self.fault


def diagnose_all(timeout: float = TIMEOUT_SECONDS) -> Iterator[Diagnosis]:
    """Every executor, the fastest first."""
    for name in EXECUTORS:
        yield diagnose(name, timeout)


def diagnose(name: str, timeout: float = TIMEOUT_SECONDS) -> Diagnosis:
    """Runs the vectors on one executor and times it, in another process; takes seconds.

    Whatever that process does, crash or hang, is a fault of the executor, not an error here.
    """
    try:
        done = subprocess.run(_command(name), capture_output=True, text=True, timeout=timeout, check=False)
        lines, status, complaint = done.stdout, done.returncode, done.stderr
    except subprocess.TimeoutExpired as error:
        lines, status, complaint = _text(error.stdout), -signal.SIGALRM, f"it was still at it after {timeout:.0f} s"
    return _read(name, lines.splitlines(), status, complaint)


def _command(name: str) -> list[str]:
    return [sys.executable, "-m", "orebit.executor.diagnosis", name]


def _text(output: str | bytes | None) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""


def _read(name: str, lines: list[str], status: int, complaint: str) -> Diagnosis:
    last: dict[str, Any] = json.loads(lines[-1]) if lines else {}
    if status == 0 and "executor" in last:
        return Diagnosis(**last)
    how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit code {status}"
    tail = complaint.strip().splitlines()[-1:] or ["without a word"]
    return Diagnosis(name, operation=last.get("at", "its start"), fault=f"its process ended with {how}: {tail[0]}")


def examine(name: str) -> Iterator[dict[str, Any]]:
    """In this process: a mapping `at` for every vector begun, then the Diagnosis as a mapping."""
    try:
        factory = load(name)
    except Unavailable as error:
        yield asdict(Diagnosis(name, missing=str(error)))
        return
    started = time.perf_counter()
    for operation, check in cases():
        yield {"at": operation}
        try:
            check(factory)
        except ConformanceError as error:
            yield asdict(Diagnosis(name, operation=operation, fault=str(error)))
            return
        except Exception as error:  # noqa: BLE001  # of whatever kind, it is the executor's fault, and named as such
            yield asdict(Diagnosis(name, operation=operation, fault=f"it fails with {type(error).__name__}: {error}"))
            return
    seconds = time.perf_counter() - started
    yield {"at": "the standard programs"}
    yield asdict(Diagnosis(name, seconds=seconds, speeds=measure(factory)))


def measure(factory: Factory, seconds: float = MEASURE_SECONDS) -> dict[str, float]:
    """Steps a second of each standard program: the best of those made within `seconds`, after one to warm up."""
    speeds = {}
    for name, program, state in standard_programs():
        executor = factory(program, [], [])
        held = executor.step(state)
        best, until = float("inf"), time.perf_counter() + seconds
        while best == float("inf") or time.perf_counter() < until:
            started = time.perf_counter()
            held = executor.step(held)
            best = min(best, time.perf_counter() - started)
        speeds[name] = 1 / best
    return speeds


if __name__ == "__main__":
    for line in examine(sys.argv[1]):
        print(json.dumps(line), flush=True)
