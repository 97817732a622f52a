"""How long a stranger's step takes here, found out in a process of its own that ends when its time is over.

To prepare a program (to plan it, to compile it) can take as long as to run it, and native code cannot be interrupted.
`python -m orebit.daemon.measuring` is that process: it reads what to measure as JSON and prints seconds or a reason.
What it compiles, the node finds in the cache.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

from orebit.errors import ExecutionError, OrebitError, ProgramError
from orebit.executor.conformance import Executor
from orebit.executor.hardware import Hardware, Split
from orebit.executor.memory import physical_memory
from orebit.executor.run import engaged
from orebit.executor.selection import WORTH_COMPILING
from orebit.executor.storage import Given
from orebit.program.graph import Program
from orebit.store import LocalStore

BENCH_STEPS = 8
BENCH_SECONDS = 1.0
# Instructions of a step over all positions below which a program that is not compiled needs no process of its own.
QUICK_OPERATIONS = 1 << 28


@dataclass(frozen=True, slots=True)
class Measurement:
    """What to measure: roots of a program and its inputs in a store, as hexadecimal, and how a shard would run."""

    store: str
    program: str
    constants: tuple[str, ...]
    parameters: tuple[str, ...]
    state: tuple[str, ...]
    steps: int
    ranks: int
    split: str
    hardware: str
    threads: int


def is_quick(program: Program, steps: int) -> bool:
    """Whether a program surely takes little time to prepare and to make a step of: nothing is compiled."""
    descriptors = program.descriptors
    positions = [prod(descriptor.space) for descriptor in descriptors]
    lengths = [1 if d.expression is None else 1 + len(d.expression.instructions) for d in descriptors]
    work = sum(positions[node.descriptor] * lengths[node.descriptor] for node in program.nodes)
    compiled = sum(positions[node.descriptor] for node in program.nodes) * steps >= WORTH_COMPILING
    return not compiled and work <= QUICK_OPERATIONS


def best_of_a_few(executor: Executor, first: Sequence[Given]) -> float:
    """Seconds of the quickest of a few steps, after one to warm up."""
    state: Sequence[Given] = executor.step(first)
    best, until = float("inf"), time.monotonic() + BENCH_SECONDS
    for _ in range(BENCH_STEPS):
        started = time.monotonic()
        state = executor.step(state)
        state[0]  # ranks go on by themselves until somebody looks
        best = min(best, time.monotonic() - started)
        if time.monotonic() > until:
            break
    return best


def measured_apart(wanted: Measurement, seconds: float) -> float:
    """Seconds of a step, found out within `seconds` by another process.

    Raises:
        ProgramError: when that was not enough.
        ExecutionError: when the program cannot be run here, or the process ended otherwise.
    """
    command = [sys.executable, "-m", "orebit.daemon.measuring"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as process:
        try:
            out, complaint = process.communicate(json.dumps(asdict(wanted)), timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # with whatever it has started
            raise too_slow(wanted, seconds) from None
    return seconds_of(wanted, out, complaint, f"exit code {process.returncode}")


def too_slow(wanted: Measurement, seconds: float) -> ProgramError:
    """What to say of a program whose time was over."""
    return ProgramError(
        f"the program {wanted.program} takes this machine more than {seconds:.0f} s to prepare and to make a"
        " few steps of; this node's limit is `measure_seconds`"
    )


def seconds_of(wanted: Measurement, out: str, complaint: str, ended: str) -> float:
    """What the other process found: it prints seconds or a reason last, unless it ended otherwise (`ended`: how)."""
    lines = out.splitlines()
    if not lines or not lines[-1].startswith("{"):
        reason = (complaint.strip().splitlines() or [ended])[-1]
        raise ExecutionError(f"a step of the program {wanted.program} cannot be measured: {reason}")
    found: dict[str, Any] = json.loads(lines[-1])
    if "refused" in found:
        raise ExecutionError(str(found["refused"]))
    return float(found["seconds"])


def measure(wanted: Measurement) -> float:
    """In this process."""
    import torch

    if wanted.threads:
        torch.set_num_threads(wanted.threads)
    store = LocalStore(Path(wanted.store))

    def tensors(roots: Sequence[str]) -> list[Any]:
        return [store.tensor(bytes.fromhex(root))[1] for root in roots]

    program = Program.decode(store.program(bytes.fromhex(wanted.program)))
    inputs = tensors(wanted.constants), tensors(wanted.parameters)
    ranks, split, hardware = wanted.ranks, Split(wanted.split), Hardware(wanted.hardware)
    # Only the time counts: the node's own process tries the vectors before it computes anything.
    with engaged(program, *inputs, wanted.steps, ranks, split, hardware, vectors=False) as executor:
        return best_of_a_few(executor, tensors(wanted.state))


def main() -> None:
    wanted = Measurement(**json.load(sys.stdin))
    most = physical_memory() * 3 // 4
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))  # a compiler that runs away ends here, not the machine
    try:
        print(json.dumps({"seconds": measure(wanted)}))
    except (OrebitError, MemoryError) as error:
        print(json.dumps({"refused": str(error) or "this machine has too little memory for it"}))


if __name__ == "__main__":
    main()
