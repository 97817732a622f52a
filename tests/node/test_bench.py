"""The commands that measure run from end to end. What they find here means nothing: models are tiny.

OREBIT_LONG_TESTS=1 runs all of them, not `make bench` alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
LONG = os.environ.get("OREBIT_LONG_TESTS") == "1"
FIGURES = ("ratio_eager", "checkpoint_seconds", "memory_ratio", "compile_seconds", "cached_seconds", "orebit_ms")
long = pytest.mark.skipif(not LONG, reason="takes a minute; OREBIT_LONG_TESTS=1 runs it")


def run(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def bench(script: str, *arguments: str) -> str:
    return run(sys.executable, f"bench/{script}.py", *arguments)


def read(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return rows


def test_make_bench_prints_a_table_and_writes_its_figures(tmp_path: Path) -> None:
    output = tmp_path / "engine.json"
    workloads = "" if LONG else "--workloads mlp:16"
    printed = run("make", "-o", "setup", "bench", f"BENCH=--quick {workloads} --output {output}")
    hashing, *rows = read(output)
    assert hashing["workload"] == "hashing" and hashing["sha256_bytes_per_second"] > 0
    assert len(rows) == (3 if LONG else 1)
    for row in rows:
        assert "missing" not in row and row["device"] and row["bits"] == 15
        assert {"ratio_compile", "checkpoint_overhead"} <= row.keys()
        assert all(row[name] > 0 for name in FIGURES)
        assert row["workload"] in printed


@long
def test_torch_compile_is_measured_or_said_to_be_missing(tmp_path: Path) -> None:
    output = tmp_path / "engine.json"
    options = ["--workloads", "mlp:16", "--sizes", "--bits", "8", "--seconds", "0", "--least", "1"]
    bench("engine", *options, "--output", str(output))
    row = read(output)[1]
    assert row["ratio_compile"] > 0 if "compile_missing" not in row else row["ratio_compile"] is None


@long
def test_identity_compares_roots_and_continues_where_it_was(tmp_path: Path) -> None:
    output = tmp_path / "identity.json"
    options = ["--workloads", "mlp:16", "--slow-steps", "2", "--output", str(output), "--folder", str(tmp_path)]
    bench("identity", *options, "--steps", "2")
    assert "One root each" in bench("identity", *options, "--steps", "3")
    states = [row for row in read(output) if row["what"] == "state"]
    assert {row["executor"] for row in states} >= {"reference"}
    assert {row["threads"] for row in states} == {1, 2}
    assert len({row["roots"]["2"] for row in states}) == 1


@long
def test_parity_trains_and_keeps_what_it_has(tmp_path: Path) -> None:
    output = tmp_path / "parity.json"
    options = ["--task", "transformer-lm", "--seeds", "1", "--bits", "15", "--steps", "3", "--width", "16"]
    options += ["--layers", "1", "--heads", "2", "--output", str(output)]
    bench("parity", *options)
    written = output.read_bytes()
    plain, exact = read(output)
    assert abs(exact["value"] / plain["value"] - 1) < 0.01
    bench("parity", *options)
    assert output.read_bytes() == written


@long
def test_agreement_counts_what_it_compared(tmp_path: Path) -> None:
    output = tmp_path / "agreement.json"
    bench("agreement", "--scalars", "1000", "--programs", "5", "--larger", "2", "--output", str(output))
    (row,) = read(output)
    assert row["scalars"] >= 1000 and row["programs"] == 5 and row["larger"] == 2
    assert not row["scalars_wrong"] + row["programs_wrong"] + row["larger_wrong"]
