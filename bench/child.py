"""Memory and compile time of one engine, a process of its own.

    python bench/child.py WORKLOAD FOLDER ENGINE THREADS DEVICE

ENGINE is `eager`, or the name of an executor; DEVICE is `cpu` or `cuda`, whose own memory is measured then. Prints
JSON: bytes above those held before the model was made, and seconds until the first step was done.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rivals import Eager, Orebit
from workloads import make

from orebit.executor.selection import load
from orebit.program.graph import Program

STEPS = 4


def memory(field: str) -> int:
    """Bytes, by a field of the process's status: VmRSS (now) or VmHWM (at most)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) << 10


def save(folder: Path, program: Program, **tensors: Any) -> None:
    """What the child needs, on disk."""
    (folder / "program").write_bytes(program.encode())
    for name, arrays in tensors.items():
        np.savez(folder / f"{name}.npz", *arrays)


def arrays(folder: Path, name: str) -> list[Any]:
    with np.load(folder / f"{name}.npz") as held:
        return [held[f"arr_{number}"] for number in range(len(held.files))]


def main() -> None:
    workload, folder, engine, threads = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    device = sys.argv[5]
    torch.set_num_threads(threads)
    if engine == "eager":
        made = make(workload)
        before = memory("VmRSS") - sum(p.numel() * p.element_size() for p in made.model.parameters())
        started = time.perf_counter()
        step = Eager(made, device=device).step
    else:
        factory, program = load(engine), Program.decode((folder / "program").read_bytes())
        constants, parameters = arrays(folder, "constants"), arrays(folder, "parameters")
        before = memory("VmRSS")
        started = time.perf_counter()
        step = Orebit.of(factory, program, constants, parameters, arrays(folder, "state")).step
    step()
    if device == "cuda":
        torch.cuda.synchronize()
    first = time.perf_counter() - started
    for _ in range(STEPS):
        step()
    most = torch.cuda.max_memory_allocated() if device == "cuda" else memory("VmHWM") - before
    print(json.dumps({"bytes": most, "first_step": first}))


if __name__ == "__main__":
    main()
