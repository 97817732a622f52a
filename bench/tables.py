"""The tables of docs/figures.md, written anew from what was measured last: `python bench/tables.py`.

Reads build/bench/{engine,identity,parity,agreement}.json, as far as they are there, and replaces what stands in the
document between `<!-- name -->` and `<!-- end -->`; tables without new figures stay as they are.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from workloads import WORKLOADS

FIGURES = Path("build/bench")
DOCUMENT = Path("docs/figures.md")
Rows = list[dict[str, Any]]
GROUPS = ("task", "model", "steps", "chance")


def markdown(headings: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rule = "|".join("---" if place == 0 else "---:" for place in range(len(headings)))
    return "\n".join([f"| {' | '.join(headings)} |", f"|{rule}|", *(f"| {' | '.join(line)} |" for line in lines)])


def machine(row: dict[str, Any]) -> str:
    return f"{row['device']} ({row['vectors'] or 'no vector instructions'}), torch {row['torch']}"


def optional(number: float | None, form: str) -> str:
    return "" if number is None else format(number, form)


def engine(rows: Rows) -> str:
    """Time, memory and compilation of the four workloads."""
    measured = [row for row in rows if "orebit_ms" in row and row["workload"] in WORKLOADS]
    headings = ("workload", "bits", "device", "threads", "ms", "eager ms", "over eager", "over compile")
    headings += ("over bf16", "checkpoints", "memory", "first step, s", "cached, s")
    lines = [
        (
            row["workload"],
            str(row["bits"]),
            row["device"],
            str(row["threads"]),
            f"{row['orebit_ms']:.1f}",
            f"{row['eager_ms']:.1f}",
            f"**{row['ratio_eager']:.2f}**",
            optional(row["ratio_compile"], ".2f"),
            optional(row["ratio_bfloat16"], ".2f"),
            optional(row["checkpoint_overhead"], ".2%"),
            f"{row['memory_ratio']:.2f}",
            f"{row['compile_seconds']:.1f}",
            f"{row['cached_seconds']:.1f}",
        )
        for row in measured
    ]
    hashed = rows[0]
    rates = ", ".join(
        f"{name} {hashed[key] / 1e6:,.0f} MB/s"
        for name, key in (("SHA-256", "sha256_bytes_per_second"), ("commitments", "commitment_bytes_per_second"))
    )
    return f"{machine(hashed)}. {rates}.\n\n{markdown(headings, lines)}"


def growth(rows: Rows) -> str:
    """The same by model size, at the first precision."""
    bits = next(row["bits"] for row in rows if "orebit_ms" in row)
    measured = [row for row in rows if "orebit_ms" in row and row["bits"] == bits]
    bases = {row["workload"].partition(":")[0] for row in measured if ":" in row["workload"]}
    wanted = sorted(
        (row for row in measured if row["workload"].partition(":")[0] in bases),
        key=lambda row: (row["workload"].partition(":")[0], row["weights"]),
    )
    headings = ("model", "weights, M", "nodes", "ms", "over eager", "checkpoints", "memory", "MiB")
    headings += ("first step, s", "cached, s", "tracing, s")
    lines = [
        (
            row["workload"],
            f"{row['weights'] / 1e6:.2f}",
            str(row["nodes"]),
            f"{row['orebit_ms']:.1f}",
            f"{row['ratio_eager']:.2f}",
            optional(row["checkpoint_overhead"], ".2%"),
            f"{row['memory_ratio']:.2f}",
            f"{row['memory_bytes'] / 2**20:,.0f}",
            f"{row['compile_seconds']:.1f}",
            f"{row['cached_seconds']:.1f}",
            f"{row['trace_seconds']:.1f}",
        )
        for row in wanted
    ]
    return markdown(headings, lines)


def identity(rows: Rows) -> str:
    """Which runs had the same state root at their last step, of those that started alike."""
    states: dict[tuple[str, int, str], Rows] = defaultdict(list)
    for row in rows:
        if row["what"] == "state":
            states[row["workload"], row["bits"], row["start"]].append(row)
    lines = []
    for (workload, bits, _), runs in states.items():
        for length in sorted({row["steps"] for row in runs}, reverse=True):
            same = [row for row in runs if row["steps"] >= length]
            roots = {row["roots"][str(length)] for row in same}
            settings = sorted({f"{row['executor']} {row['capability']} {row['threads']}" for row in same})
            root = next(iter(roots))[:16] if len(roots) == 1 else "**differ**"
            lines.append((workload, str(bits), str(length), str(len(same)), ", ".join(settings), f"`{root}`"))
    headings = ("workload", "bits", "steps", "runs", "executor, instructions, threads", "state root")
    return f"{rows[0]['device']}, torch {rows[0]['torch']}.\n\n{markdown(headings, lines)}"


def parity(rows: Rows) -> str:
    """What each precision learns beside float32."""
    groups: dict[tuple[Any, ...], Rows] = defaultdict(list)
    for row in rows:
        if "value" in row:
            groups[tuple(row.get(name) for name in GROUPS)].append(row)
    lines = []
    for (task, model, steps, chance), found in groups.items():
        by_bits: dict[int | None, dict[int, float]] = defaultdict(dict)
        for row in found:
            by_bits[row["bits"]][row["seed"]] = row["value"]
        base = by_bits[None]
        for bits in sorted(by_bits, key=lambda bits: bits or 99, reverse=True):
            own = {seed: value for seed, value in by_bits[bits].items() if seed in base}
            plain = mean(base[seed] for seed in own)
            unit, name = (plain / 100, "%") if task == "transformer-lm" else (1.0, " points")
            away = "" if bits is None else f"{(mean(own.values()) - plain) / unit:+.2f}{name}"
            spread = f"{stdev(own.values()):.3f}" if len(own) > 1 else ""
            precision = "float32" if bits is None else f"{bits} bits"
            what = f"{task} ({model})" if model else task
            line = (what, str(steps), precision, str(len(own)), f"{mean(own.values()):.3f}", spread, away)
            lines.append((*line, f"{chance:.2f}"))
    headings = ("training", "steps", "products", "seeds", "mean", "deviation", "from float32", "chance")
    return markdown(headings, lines)


def agreement(rows: Rows) -> str:
    """How much was compared with the oracle."""
    lines = [
        (
            row["executor"],
            row["device"],
            f"{row.get('scalars', 0):,}",
            f"{row.get('programs', 0):,}",
            f"{sum(row.get('nodes', {}).values()) // 2:,}",
            f"{row.get('larger', 0):,}",
            str(sum(len(row.get(f"{name}_wrong", [])) for name in ("scalars", "programs", "larger"))),
        )
        for row in rows
    ]
    headings = ("executor", "device", "scalar operations", "programs", "their nodes", "larger programs", "differing")
    return markdown(headings, lines)


TABLES: dict[str, tuple[str, Callable[[Rows], str]]] = {
    "engine": ("engine", engine),
    "growth": ("engine", growth),
    "identity": ("identity", identity),
    "parity": ("parity", parity),
    "agreement": ("agreement", agreement),
}


def main() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for name, (source, write) in TABLES.items():
        path = FIGURES / f"{source}.json"
        if not path.exists():
            print(f"{name}: no {path}, left as it is")
            continue
        made = f"<!-- {name} -->\n{write(json.loads(path.read_text(encoding='utf-8')))}\n<!-- end -->"
        text, count = re.subn(rf"<!-- {name} -->\n.*?<!-- end -->", lambda _, made=made: made, text, flags=re.DOTALL)
        print(f"{name}: {count} table written")
    DOCUMENT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
