"""Executors beside the oracle of plain integers, at scale: scalar operations, and random programs of every kind.

    python bench/agreement.py [--executor fused] [--scalars 1000000] [--programs 10000] [--larger 1000]

The generators and the comparison are those of tests/node/executor. Programs run two steps with two threads or one, and
are compared with the interpreter, larger ones (vector loops, their tails) with the reference executor. Writes
build/bench/agreement.json every few programs and continues from it while the code of the package stays the same; exits
with 1 when a bit differs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from identity import code
from machine import processor
from rich.console import Console
from rivals import fastest

from orebit.errors import OrebitError
from orebit.executor.conformance import Factory
from orebit.executor.hardware import EXECUTORS
from orebit.executor.selection import load

sys.path.append(str(Path(__file__).parents[1] / "tests" / "node" / "executor"))
from program_agreement import difference, disagreement  # noqa: E402  # the tests' own
from random_programs import RandomProgram  # noqa: E402  # the tests' own
from scalar_tables import OPERATIONS, SELECTS, differing, table  # noqa: E402  # the tests' own

OUTPUT = Path("build/bench/agreement.json")
FIRST_PROGRAM, FIRST_LARGER = 10_000, 50_000
WRITE_EVERY = 20
console = Console()
Row = dict[str, Any]
Compare = Callable[[Factory, int], str | None]


def scalars(factory: Factory, count: int) -> Row:
    """Every operation alone over tables of arguments, special values more often than not."""
    cases = [(op, arm) for op in OPERATIONS for arm in (SELECTS if op.name == "SELECT" else SELECTS[:1])]
    rows = -(-count // len(cases))
    wrong = [text for op, arm in cases for text in differing(factory, op, arm, table(op, arm, rows))]
    return {"scalars": rows * len(cases), "operations": len(OPERATIONS), "scalars_wrong": wrong}


def programs(
    factory: Factory, seeds: range, compare: Callable[[Factory, int], str | None]
) -> Iterator[tuple[int, str]]:
    """Each seed, and what differs: empty text where nothing does."""
    for seed in seeds:
        torch.set_num_threads(1 + seed % 2)
        try:
            yield seed, compare(factory, seed) or ""
        except OrebitError as error:
            yield seed, f"seed {seed}: {error}"


def kinds(seed: int) -> Counter[str]:
    """The kinds and types of a program's nodes."""
    program = RandomProgram(seed, count=3 + seed % 6).program
    nodes = [program.descriptor(number) for number in range(len(program.nodes))]
    return Counter(name for node in nodes for name in (node.kind.name.lower(), node.dtype.name.lower()))


def kept(options: argparse.Namespace) -> Row:
    """The row of this executor and code, as far as it has come."""
    row: Row = {"executor": options.executor, "code": code(), "device": processor()}
    if options.output.exists():
        rows: list[Row] = json.loads(options.output.read_text(encoding="utf-8"))
        row = next((found for found in rows if found | row == found), row)
    return row


def keep(row: Row, options: argparse.Namespace) -> None:
    rows: list[Row] = json.loads(options.output.read_text(encoding="utf-8")) if options.output.exists() else []
    others = [found for found in rows if (found["executor"], found["code"]) != (row["executor"], row["code"])]
    options.output.write_text(json.dumps([*others, row], indent=1) + "\n", encoding="utf-8")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executor", choices=EXECUTORS, default=fastest())
    parser.add_argument("--scalars", type=int, default=1_000_000)
    parser.add_argument("--programs", type=int, default=10_000)
    parser.add_argument("--larger", type=int, default=1_000)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    return parser.parse_args()


def main() -> None:
    options = parse()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    factory, row, started = load(options.executor), kept(options), time.perf_counter()
    if row.get("scalars", 0) < options.scalars:
        row |= scalars(factory, options.scalars)
        keep(row, options)
        console.print(f"{row['scalars']} scalar operations, {len(row['scalars_wrong'])} wrong", highlight=False)
    for name, first, count, compare in (
        ("programs", FIRST_PROGRAM, options.programs, disagreement),
        ("larger", FIRST_LARGER, options.larger, difference),
    ):
        row.setdefault(f"{name}_wrong", [])
        seen = Counter(row.get("nodes", {}))
        for seed, wrong in programs(factory, range(first + row.get(name, 0), first + count), compare):
            row[name] = seed + 1 - first
            row[f"{name}_wrong"] += [wrong] if wrong else []
            if name == "programs":
                seen += kinds(seed)
            if wrong or row[name] % WRITE_EVERY == 0 or row[name] == count:
                keep(row | {"nodes": dict(seen)}, options)
        row["nodes"] = dict(seen)
        console.print(f"{row.get(name, 0)} {name}, {len(row[f'{name}_wrong'])} wrong", highlight=False)
    console.print(f"{time.perf_counter() - started:.0f} s", highlight=False)
    if any(row[f"{name}_wrong"] for name in ("scalars", "programs", "larger") if f"{name}_wrong" in row):
        raise SystemExit(f"{options.executor} gives other bits than the oracle: see {options.output}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["OREBIT_CACHE"] = folder  # ten thousand programs that nobody runs again
        main()
