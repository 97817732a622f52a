"""One final state root whatever executes a workload: executors, threads, vector instructions, tracing machine.

    python bench/identity.py [--workloads mlp] [--steps 200] [--executors fused reference] [--slow-steps 20]
                             [--splits data stage]

Each workload is traced twice, with torch's vector instructions and without: both must give one program. Then every
executor runs it in a process of its own with 1 and 2 threads and under each ATEN_CPU_CAPABILITY, and the first executor
on two ranks of a thread each, that divide the step by data and by stage. State roots are
taken on the way, too, so that runs of unlike lengths can be compared: the reference executor takes up to sixty times as
long as the fused one, and --slow-steps gives all its runs but the first fewer steps. Prints the roots, writes
build/bench/identity.json, and exits with 1 when two differ.

An interrupted run continues where it was: states are kept in build/bench/identity until the code of the package
changes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from child import arrays, save
from machine import flags, processor
from rich.console import Console
from workloads import WORKLOADS, make, maker

import orebit
from orebit.commitment.lists import state_root
from orebit.executor.hardware import EXECUTORS, Split
from orebit.executor.ranks import LocalRanks
from orebit.executor.run import state_heads
from orebit.executor.selection import REFERENCE, Unavailable, load
from orebit.program.graph import Program

OUTPUT = Path("build/bench/identity.json")
FOLDER = Path("build/bench/identity")
MARKS = (1, 2, 3, 5, 10, 20, 50, 100, 150, 200)
# torch obeys ATEN_CPU_CAPABILITY even where the processor cannot: what it needs is looked up first.
CAPABILITIES = {"default": "", "avx2": "avx2", "avx512": "avx512vl"}
RANKS = 2
console = Console()
Row = dict[str, Any]


def code() -> str:
    """A digest of everything in the package that could change a bit."""
    root = Path(orebit.__file__).parent
    found = sorted(path for path in root.rglob("*") if path.suffix in (".py", ".c", ".h", ".so", ".npz"))
    digest = hashlib.sha256()
    for path in found:
        digest.update(f"{path.relative_to(root)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:16]


def traced(workload: str, bits: int, folder: Path) -> str:
    """Traces a workload into `folder`; the program's root."""
    from programs import trace

    made = trace(make(workload), bits, check=0)
    save(
        folder,
        made.program,
        constants=made.constants_for(0),
        parameters=made.parameters(0, 0),
        state=made.initial_state,
    )
    return made.program.root.hex()


def root_of(tensors: list[Any]) -> str:
    """The root of a state."""
    return state_root([head.root for head in state_heads(tensors)]).hex()


def executed(executor: str, steps: int, folder: Path, own: Path) -> None:
    """Runs the program in `folder`, keeping in `own` the state and the roots at every mark up to `steps`."""
    record = own / "record.json"
    start = {"start": root_of(arrays(folder, "state")), "roots": {}, "seconds": 0.0}
    found: Row = json.loads(record.read_text()) if record.exists() else start
    done = max((int(step) for step in found["roots"]), default=0)
    state: Any = arrays(own, f"state-{done}") if done else arrays(folder, "state")
    if done >= steps:
        return
    program = Program.decode((folder / "program").read_bytes())
    made = executing(executor, program, folder)
    before = time.perf_counter() - found["seconds"]
    for step in range(done + 1, steps + 1):
        state = made.step(state)
        if step in MARKS or step == steps:
            tensors = [np.asarray(tensor) for tensor in state]
            found["roots"][str(step)] = root_of(tensors)
            found["seconds"] = time.perf_counter() - before
            np.savez(own / f"state-{step}.npz", *tensors)
            (own / "next.json").write_text(json.dumps(found))
            (own / "next.json").replace(record)
            (own / f"state-{done}.npz").unlink(missing_ok=True)
            done = step


def executing(executor: str, program: Program, folder: Path) -> Any:
    """An executor by name; `fused:data` is that of two ranks which divide a step by data."""
    name, _, split = executor.partition(":")
    inputs = program, arrays(folder, "constants"), arrays(folder, "parameters")
    return LocalRanks(*inputs, ranks=RANKS, split=Split(split), executor=name) if split else load(name)(*inputs)


def apart(arguments: list[str], capability: str, threads: int) -> str:
    """What this script prints in a process with these settings."""
    environment = dict(os.environ, ATEN_CPU_CAPABILITY=capability, OMP_NUM_THREADS=str(threads))
    command = [sys.executable, __file__, "--in-child", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed under {capability}, {threads} threads:\n{done.stderr}")
    return done.stdout


def in_child(arguments: list[str]) -> None:
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    match arguments:
        case ["trace", workload, bits, folder]:
            print(traced(workload, int(bits), Path(folder)))
        case ["execute", executor, steps, folder, own]:
            executed(executor, int(steps), Path(folder), Path(own))


def runs(workload: str, bits: int, options: argparse.Namespace) -> Iterator[Row]:
    """Program roots, then the state roots of every run by step."""
    folder = options.folder / f"{workload.replace(':', '-')}-{bits}-{code()}"
    folder.mkdir(parents=True, exist_ok=True)
    # Torch draws other weights with other instructions: all runs start from those drawn without, which come last.
    for capability in sorted({options.capabilities[-1], "default"}):
        kept = folder / f"traced-{capability}"
        if not kept.exists():
            kept.write_text(apart(["trace", workload, str(bits), str(folder)], capability, 1).split()[-1])
        yield {"what": "program", "capability": capability, "roots": {"0": kept.read_text()}}
    divided = [f"{options.executors[0]}:{split}" for split in options.splits]
    for executor in (*options.executors, *divided):
        steps = options.steps
        for capability in options.capabilities[-1:] if executor in divided else options.capabilities:
            for threads in [RANKS] if executor in divided else options.threads:
                own = folder / f"{executor.replace(':', '-')}-{capability}-{threads}"
                own.mkdir(exist_ok=True)
                apart(["execute", executor, str(steps), str(folder), str(own)], capability, threads)
                settings = {"executor": executor, "capability": capability, "threads": threads, "steps": steps}
                yield {"what": "state", **settings, **json.loads((own / "record.json").read_text())}
                steps = options.slow_steps if executor == REFERENCE and options.slow_steps else steps


def possible() -> list[str]:
    """The vector instructions that this processor has."""
    return [name for name, flag in CAPABILITIES.items() if not flag or flag in flags()]


def available() -> list[str]:
    """The executors of this machine, the slow reference one last."""
    found = []
    for name in EXECUTORS:
        try:
            load(name)
        except Unavailable as reason:
            console.print(f"left out: {reason}", highlight=False)
        else:
            found.append(name)
    return found


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", nargs="+", default=list(WORKLOADS), help="sizes may follow: mlp:64")
    parser.add_argument("--bits", nargs="+", type=int, default=[15])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--slow-steps", type=int, help=f"of {REFERENCE}'s runs after its first")
    parser.add_argument("--executors", nargs="+", choices=EXECUTORS, default=None, help="all that are here")
    parser.add_argument("--capabilities", nargs="+", choices=CAPABILITIES, default=possible())
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--splits", nargs="*", choices=[split.value for split in Split], default=["data", "stage"])
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where states are kept")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args()
    options.executors = options.executors or available()
    for workload in options.workloads:
        maker(workload)
    return options


def report(row: Row) -> str:
    """One run as a line."""
    last = max(row["roots"], key=int)
    settings = [row.get("executor", "traced"), row["capability"], f"{row.get('threads', 1)} threads"]
    return f"{row['workload']} {row['bits']} bits, {', '.join(settings)}, step {last}: {row['roots'][last]}"


def main() -> None:
    if sys.argv[1:2] == ["--in-child"]:
        in_child(sys.argv[2:])
        return
    options = parse()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    found: list[Row] = []
    roots: dict[tuple[str, int, str, int], set[str]] = defaultdict(set)
    machine = {"device": processor(), "code": code(), "torch": torch.__version__}
    for workload, bits in ((workload, bits) for workload in options.workloads for bits in options.bits):
        for row in runs(workload, bits, options):
            found.append({"workload": workload, "bits": bits, **row, **machine})
            for step, root in row["roots"].items():
                roots[workload, bits, row["what"], int(step)].add(root)
            console.print(report(found[-1]), highlight=False)
            options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    differing = [
        f"{workload} at {bits} bits: {what} roots at step {step}"
        for (workload, bits, what, step), each in sorted(roots.items())
        if len(each) > 1
    ]
    if differing:
        raise SystemExit("These differ: " + "; ".join(differing))
    console.print("One root each.")


if __name__ == "__main__":
    main()
