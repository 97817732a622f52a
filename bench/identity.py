"""One final state root whatever executes a workload: executors, threads, vector instructions, tracing machine.

    python bench/identity.py [--workloads mlp] [--steps 200] [--executors fused reference]

Each workload is traced twice, with torch's vector instructions and without: both must give one program. Then every
executor runs it in a process of its own with 1 and 2 threads and under each ATEN_CPU_CAPABILITY. Prints the roots,
writes build/bench/identity.json, and exits with 1 when two differ.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from child import arrays, save
from rich.console import Console
from workloads import WORKLOADS, make

from orebit.commitment.lists import state_root
from orebit.executor.run import state_heads
from orebit.executor.selection import EXECUTORS, REFERENCE, Unavailable, load
from orebit.program.graph import Program

OUTPUT = Path("build/bench/identity.json")
# torch obeys ATEN_CPU_CAPABILITY even where the processor cannot: what it needs is looked up first.
CAPABILITIES = {"default": "", "avx2": "avx2", "avx512": "avx512vl"}
console = Console()
Row = dict[str, Any]


def traced(workload: str, bits: int, folder: Path) -> str:
    """Traces a workload into `folder`; the program's root."""
    from programs import trace

    made = trace(make(workload), bits)
    save(
        folder,
        made.program,
        constants=made.constants_for(0),
        parameters=made.parameters(0, 0),
        state=made.initial_state,
    )
    return made.program.root.hex()


def executed(executor: str, steps: int, folder: Path) -> str:
    """The state root after `steps` steps of the program in `folder`."""
    program = Program.decode((folder / "program").read_bytes())
    made = load(executor)(program, arrays(folder, "constants"), arrays(folder, "parameters"))
    state: Any = arrays(folder, "state")
    for _ in range(steps):
        state = made.step(state)
    return state_root([head.root for head in state_heads([np.asarray(tensor) for tensor in state])]).hex()


def apart(arguments: list[str], capability: str, threads: int) -> str:
    """What this script prints in a process with these settings."""
    environment = dict(os.environ, ATEN_CPU_CAPABILITY=capability, OMP_NUM_THREADS=str(threads))
    command = [sys.executable, __file__, "--in-child", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed under {capability}, {threads} threads:\n{done.stderr}")
    return done.stdout.split()[-1]


def in_child(arguments: list[str]) -> None:
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    match arguments:
        case ["trace", workload, bits, folder]:
            print(traced(workload, int(bits), Path(folder)))
        case ["execute", executor, steps, folder]:
            print(executed(executor, int(steps), Path(folder)))


def runs(workload: str, bits: int, options: argparse.Namespace) -> Iterator[Row]:
    """Program roots, then state roots."""
    with tempfile.TemporaryDirectory() as name:
        for capability in {options.capabilities[0], options.capabilities[-1]}:
            root = apart(["trace", workload, str(bits), name], capability, 1)
            yield {"what": "program", "capability": capability, "root": root}
        for executor in options.executors:
            for capability in options.capabilities:
                for threads in (1, 2):
                    started = time.perf_counter()
                    root = apart(["execute", executor, str(options.steps), name], capability, threads)
                    settings = {"executor": executor, "capability": capability, "threads": threads, "root": root}
                    yield {"what": "state", "seconds": time.perf_counter() - started, **settings}


def possible() -> list[str]:
    """The vector instructions that this processor has."""
    flags = Path("/proc/cpuinfo").read_text().split()
    return [name for name, flag in CAPABILITIES.items() if not flag or flag in flags]


def available() -> list[str]:
    """The executors of this machine, the reference one first."""
    found = []
    for name in reversed(EXECUTORS):
        try:
            load(name)
        except Unavailable as reason:
            console.print(f"left out: {reason}", highlight=False)
        else:
            found.append(name)
    return found


def main() -> None:
    if sys.argv[1:2] == ["--in-child"]:
        in_child(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--bits", nargs="+", type=int, default=[15])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--executors", nargs="+", choices=EXECUTORS, default=None, help=f"{REFERENCE} is the slow one")
    parser.add_argument("--capabilities", nargs="+", choices=CAPABILITIES, default=possible())
    options = parser.parse_args()
    options.executors = options.executors or available()
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    found: list[Row] = []
    differing = []
    for workload in options.workloads:
        for bits in options.bits:
            roots: dict[str, set[str]] = {"program": set(), "state": set()}
            for row in runs(workload, bits, options):
                found.append({"workload": workload, "bits": bits, "steps": options.steps, **row})
                roots[row["what"]].add(row["root"])
                console.print(" ".join(str(value) for value in found[-1].values()), highlight=False)
                OUTPUT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            differing += [f"{workload} at {bits} bits: {what} roots" for what, each in roots.items() if len(each) > 1]
    if differing:
        raise SystemExit("These differ: " + "; ".join(differing))
    console.print("One root each.")


if __name__ == "__main__":
    main()
