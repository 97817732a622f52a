"""Time, memory and compilation of training steps, beside plain eager torch float32 and torch.compile float32.

    python bench/engine.py [--executor fused] [--workloads mlp resnet8:32] [--bits 15 8] [--threads 2] [--quick]
    python bench/engine.py --device cuda

All engines take the same steps in one run, one after the other in turn; medians are compared. Prints a table and writes
build/bench/engine.json. Ratios are times over eager float32's: below 1 is faster. A workload that cannot be run is
reported with the reason. `checkpoint_overhead` is what hashing a state beside the next steps takes, for one every 100
steps, over those steps; `memory_ratio` compares peaks above what a process holds before it makes the model, compilation
included (`memory_cached_ratio`: without). How all of it grows with model size is measured at the first precision,
torch.compile left out. On a GPU, bfloat16 autocast is measured too, every step is waited for, and memory is the GPU's.
--quick runs tiny models for a moment: it shows that everything runs, and its figures mean
nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from child import save
from machine import processor, vector_instructions
from programs import trace
from rich.console import Console
from rich.table import Table
from rivals import Eager, Orebit, Step, fastest
from workloads import SIZES, WORKLOADS, make, maker

from orebit.errors import OrebitError
from orebit.executor.conformance import Factory
from orebit.executor.hardware import EXECUTORS, Hardware
from orebit.executor.run import run_shard, state_heads
from orebit.executor.selection import choose_executor, load
from orebit.strategy.training import TracedTraining

OUTPUT = Path("build/bench/engine.json")
CHECKPOINT_INTERVAL = 100
GROUP = 8
QUICK = ("mlp:64", "resnet8:4", "transformer-lm:32x1")
console = Console(width=max(140, Console().width))
Row = dict[str, Any]


def interleaved(steps: dict[str, Step], options: argparse.Namespace) -> dict[str, float]:
    """Median seconds of each engine's step, after one to warm up; engines take turns step by step."""
    clock = time.process_time if options.cpu_time else time.perf_counter
    for step in steps.values():
        step()
    finish(options)
    taken: dict[str, list[float]] = {name: [] for name in steps}
    until = time.perf_counter() + options.seconds
    while time.perf_counter() < until or len(next(iter(taken.values()))) < options.least:
        for name, step in steps.items():
            started = clock()
            step()
            finish(options)
            taken[name].append(clock() - started)
    return {name: median(times) for name, times in taken.items()}


def finish(options: argparse.Namespace) -> None:
    """Waits for what a GPU still does."""
    if options.hardware is Hardware.CUDA:
        torch.cuda.synchronize()


def compiled(workload: str, row: Row, device: str) -> dict[str, Step]:
    """torch.compile's step, if it can be made here; else the row says why not."""
    step = Eager(make(workload), compiled=True, device=device).step
    started = time.perf_counter()
    try:
        step()
    except Exception as error:  # noqa: BLE001  # whatever torch.compile dies of, the other engines are still measured
        row["compile_missing"] = f"{type(error).__name__}: {str(error).splitlines()[0][:160]}"
        return {}
    row["torch_compile_seconds"] = time.perf_counter() - started
    return {"compile": step}


def measured(workload: str, bits: int, options: argparse.Namespace, with_compile: bool = True) -> Row:
    """One row of the report."""
    row: Row = {"workload": workload, "bits": bits, "device": options.device, "executor": options.executor}
    row.update({key: None for key in ("ratio_eager", "ratio_compile", "checkpoint_overhead", "memory_ratio")})
    started = time.perf_counter()
    try:
        factory = load(options.executor)
        traced = trace(make(workload), bits)
        row["trace_seconds"] = time.perf_counter() - started
        constants, parameters = traced.constants_for(0), traced.parameters(0, 0)
        own = Orebit.of(factory, traced.program, constants, parameters, traced.initial_state)
        own.step()
    except OrebitError as error:
        row["missing"] = str(error)
        return row
    row["weights"] = sum(parameter.numel() for parameter in make(workload).model.parameters())
    row["nodes"], row["descriptors"] = len(traced.program.nodes), len(traced.program.descriptors)
    device = options.hardware.value
    steps: dict[str, Step] = {"orebit": own.step, "eager": Eager(make(workload), device=device).step}
    if with_compile and not options.no_compile:
        steps |= compiled(workload, row, device)
    if options.hardware is Hardware.CUDA:
        steps["bfloat16"] = Eager(make(workload), device=device, bfloat16=True).step
    times = interleaved(steps, options)
    row.update({f"{name}_ms": 1000 * taken for name, taken in times.items()})
    row["ratio_eager"] = times["orebit"] / times["eager"]
    row["ratio_compile"] = times["orebit"] / times["compile"] if "compile" in times else None
    row["ratio_bfloat16"] = times["orebit"] / times["bfloat16"] if "bfloat16" in times else None
    row.update(checkpoints(traced, factory, own, options))
    row.update(in_children(workload, options, traced.program, constants, parameters, traced.initial_state))
    return row


def checkpoints(traced: TracedTraining, factory: Factory, own: Orebit, options: argparse.Namespace) -> Row:
    """What checkpoints cost: hashing a state while nothing else runs, and how much longer `run_shard`, which hashes
    beside the next steps, takes for one every 100 steps."""
    state = [np.asarray(tensor) for tensor in own.state]
    started = time.perf_counter()
    state_heads(state)
    row: Row = {"state_bytes": sum(array.nbytes for array in state)}
    row["checkpoint_seconds"] = time.perf_counter() - started
    steps = GROUP * options.groups
    if choose_executor(traced.program, steps, options.hardware) is not factory:
        return row
    ends: list[float] = []
    given = traced.constants_for(0), own.state, traced.parameters(0, 0)
    listen = {"on_progress": lambda *_: ends.append(time.perf_counter()), "hardware": options.hardware}
    run_shard(traced.program, *given, steps, GROUP, **listen)
    each = np.diff(ends)
    step = float(np.median(each))
    # From the step that ends in a checkpoint to the one before the next; each[0] is the second step's.
    groups = [float(np.sum(each[end - 2 : end - 2 + GROUP])) for end in range(GROUP, steps, GROUP)]
    row["checkpoint_overhead"] = (median(groups) - GROUP * step) / (CHECKPOINT_INTERVAL * step)
    return row


def in_children(
    workload: str, options: argparse.Namespace, program: Any, constants: Any, parameters: Any, state: Any
) -> Row:
    """Peak memory of eager and of the executor; seconds to its first step with an empty cache, and with a full one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save(folder, program, constants=constants, parameters=parameters, state=state)
        eager = child(workload, folder, "eager", options)
        cold = child(workload, folder, options.executor, options)
        warm = child(workload, folder, options.executor, options)
    return {
        "memory_bytes": cold["bytes"],
        "eager_memory_bytes": eager["bytes"],
        "memory_ratio": cold["bytes"] / eager["bytes"],
        "memory_cached_ratio": warm["bytes"] / eager["bytes"],
        "compile_seconds": cold["first_step"],
        "cached_seconds": warm["first_step"],
    }


def child(workload: str, folder: Path, engine: str, options: argparse.Namespace) -> dict[str, float]:
    """A measurement in another process, whose caches are in `folder`."""
    script = Path(__file__).with_name("child.py")
    environment = dict(os.environ, OREBIT_CACHE=str(folder / "cache"), OMP_NUM_THREADS=str(options.threads))
    command = [sys.executable, str(script), workload, str(folder), engine, str(options.threads)]
    command.append(options.hardware.value)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"measuring {workload} by {engine} failed:\n{done.stderr}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def hashing_rates() -> Row:
    """Bytes a second of SHA-256 alone and of a tensor's whole commitment."""
    data = np.random.default_rng(0).integers(0, 256, 64 << 20, dtype=np.uint8)
    rates: Row = {"workload": "hashing", "bits": None}
    work: dict[str, Callable[[], object]] = {
        "sha256_bytes_per_second": lambda: hashlib.sha256(data).digest(),
        "commitment_bytes_per_second": lambda: state_heads([data]),
    }
    for name, run in work.items():
        times = []
        for _ in range(3):
            started = time.perf_counter()
            run()
            times.append(time.perf_counter() - started)
        rates[name] = data.nbytes / median(times)
    return rates


def rows(options: argparse.Namespace) -> Iterator[Row]:
    yield hashing_rates() | {"device": options.device}
    done = set()
    for workload in options.workloads:
        for bits in options.bits:
            done.add((workload, bits))
            yield measured(workload, bits, options)
    bits = options.bits[0]
    for workload in (size for base in options.sizes for size in SIZES[base]):
        if (workload, bits) not in done:
            yield measured(workload, bits, options, with_compile=False)


COLUMNS: dict[str, Callable[[Row], str]] = {
    "workload": lambda row: row["workload"],
    "bits": lambda row: str(row["bits"]),
    "ms": lambda row: f"{row['orebit_ms']:.1f}",
    "eager ms": lambda row: f"{row['eager_ms']:.1f}",
    "/eager": lambda row: f"{row['ratio_eager']:.2f}",
    "/compile": lambda row: "" if row["ratio_compile"] is None else f"{row['ratio_compile']:.2f}",
    "/bf16": lambda row: "" if row["ratio_bfloat16"] is None else f"{row['ratio_bfloat16']:.2f}",
    "checkpoints": lambda row: "" if row["checkpoint_overhead"] is None else f"{row['checkpoint_overhead']:.2%}",
    "memory": lambda row: f"{row['memory_ratio']:.2f}",
    "cached": lambda row: f"{row['memory_cached_ratio']:.2f}",
    "first s": lambda row: f"{row['compile_seconds']:.1f}",
    "again s": lambda row: f"{row['cached_seconds']:.1f}",
}


def table(found: list[Row], options: argparse.Namespace) -> Table:
    title = f"{options.executor} on {options.device}, {options.threads} threads; times over eager float32's"
    made = Table(title=title, box=None)
    for heading in COLUMNS:
        made.add_column(heading, justify="right", no_wrap=True)
    for row in found:
        if row["workload"] == "hashing":
            continue
        if "missing" in row:
            made.add_row(row["workload"], str(row["bits"]), "none")
        else:
            made.add_row(*(cell(row) for cell in COLUMNS.values()))
    return made


def known(name: str) -> str:
    """A workload's name as argparse takes it."""
    try:
        maker(name)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return name


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executor", choices=EXECUTORS, help="the fastest one here unless given")
    parser.add_argument("--device", dest="hardware", choices=("cpu", "cuda"), default="cpu", help="of all engines")
    parser.add_argument("--workloads", nargs="*", type=known, default=list(WORKLOADS))
    parser.add_argument("--bits", nargs="+", type=int, default=[15, 8])
    parser.add_argument("--sizes", nargs="*", choices=SIZES, default=list(SIZES), help="whose growth is measured")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=20.0, help="of timing, a workload and precision")
    parser.add_argument("--least", type=int, default=5, help="steps of each engine at least")
    parser.add_argument("--groups", type=int, default=6, help=f"of {GROUP} steps with a checkpoint each")
    parser.add_argument("--cpu-time", action="store_true", help="the processor's time: for 1 thread on a busy machine")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--quick", action="store_true", help="tiny models, one step each")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args()
    if options.quick:
        quick = argparse.Namespace(bits=[15], sizes=[], seconds=0.0, least=1, groups=2, no_compile=True)
        workloads = list(QUICK) if options.workloads == list(WORKLOADS) else options.workloads
        options = argparse.Namespace(**{**vars(options), **vars(quick), "workloads": workloads})
    options.hardware = Hardware.CUDA if options.executor == "cuda" else Hardware(options.hardware)
    if options.hardware is Hardware.CUDA:
        load("cuda")
    options.device = torch.cuda.get_device_name() if options.hardware is Hardware.CUDA else processor()
    options.executor = options.executor or fastest(options.hardware)
    return options


def main() -> None:
    try:
        options = parse()
    except OrebitError as error:
        raise SystemExit(str(error)) from error
    torch.set_num_threads(options.threads)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    found: list[Row] = []
    for row in rows(options):
        settings = {"threads": options.threads, "vectors": vector_instructions(), "torch": torch.__version__}
        found.append(row | settings | {"load": os.getloadavg()[0]})
        options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        console.print(f"{row['workload']} {row['bits'] or ''}: {row.get('missing') or 'measured'}", highlight=False)
    console.print(table(found, options))
    for row in found:
        if "missing" in row:
            console.print(f"{row['workload']} at {row['bits']} bits cannot be run: {row['missing']}", highlight=False)
        if "compile_missing" in row:
            console.print(f"torch.compile left out for {row['workload']}: {row['compile_missing']}")
    hashed = found[0]
    console.print(
        f"SHA-256 {hashed['sha256_bytes_per_second'] / 1e6:,.0f} MB/s, "
        f"commitments {hashed['commitment_bytes_per_second'] / 1e6:,.0f} MB/s. Written to {options.output}."
    )


if __name__ == "__main__":
    main()
