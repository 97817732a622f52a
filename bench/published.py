"""Tries published models, with losses and optimizers as their authors use them: traced as torch has it, or refused.

    python bench/published.py [NAME ...] [--path FOLDER] [--timeout 240] [--write docs/tried.md]

Nothing is installed: what is not importable is reported as such. `--path` names a folder to import from beside the
environment's own (`pip install --no-deps --target FOLDER ...`). Names are parts of a package's or a case's name. Every
case runs in a process of its own, where it is traced at 22 bits, its first two steps are compared with torch's under
the program's random numbers, and, where it draws none, two steps of the reference executor with plain eager torch.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import importlib.metadata
import io
import json
import multiprocessing
import re
import sys
import time
import traceback
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from published_cases import CASES, Case, load

from orebit.errors import OrebitError
from orebit.executor.reference import ReferenceExecutor
from orebit.program.descriptor import Source
from orebit.program.graph import Program
from orebit.strategy.training import TracedTraining, Training, trace_training

BITS, COARSE_BITS, STEPS = 22, 15, 2
RECORD = Path("build/bench/published.json")
AGREES, REFUSED, FAILED, WRONG = "agrees", "refused", "fails", "WRONG"
# What says nothing about tracing: the step fails in plain torch too, or the package is not there.
UNFIT, MISSING = "not run", "not importable"
KINDS = (AGREES, REFUSED, FAILED, WRONG, UNFIT, MISSING)
# The program may be as far from torch as torch, from parameters with that much noise, is from itself, times this.
FACTOR, NOISE = 8.0, 2.0**-18


def attempt(case: Case) -> dict[str, Any]:
    """One case's outcome, and what explains it."""
    started = time.perf_counter()
    outcome, reason, nodes = _attempt(case)
    return {
        "package": case.package,
        "version": _version(case.package),
        "name": case.name,
        "outcome": outcome,
        "reason": " ".join(reason.split()),
        "nodes": nodes,
        "seconds": round(time.perf_counter() - started, 1),
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _attempt(case: Case) -> tuple[str, str, int]:
    try:
        torch.manual_seed(0)
        given = case.make()
        torch.manual_seed(0)
        twin, noisy = case.make(), None
    except ImportError as error:
        return MISSING, f"{type(error).__name__}: {error}", 0
    try:
        traced = trace_training(Training(steps=STEPS, shuffle=False, bits=BITS, **given))
        state = _by_program(traced)
    except OrebitError as error:
        kind = WRONG if "is not what the step at" in str(error) else REFUSED
        return UNFIT if "fails on a batch of its own data" in str(error) else kind, str(error), 0
    except Exception as error:  # noqa: BLE001  # a foreign exception is a finding
        return FAILED, f"{type(error).__name__}: {error} in {traceback.format_exc(limit=-3)}", 0
    nodes = len(traced.program.nodes)
    if _draws(traced.program):
        return AGREES, "with the program's random numbers", nodes
    torch.manual_seed(0)
    noisy = case.make()
    wanted = _by_torch(Training(steps=STEPS, **twin))
    found = _difference(traced, state, wanted, _by_torch(_disturbed(noisy)))
    if found and _only_rounds(case, found[0], traced, state, wanted):
        return AGREES, "as closely as rounding allows", nodes
    return (WRONG, found[1], nodes) if found else (AGREES, "", nodes)


def _only_rounds(
    case: Case, name: str, traced: TracedTraining, state: list[Any], wanted: dict[str, torch.Tensor]
) -> bool:
    """Whether a coarser program is much farther from torch: a step traced wrongly is as wrong at any precision."""
    torch.manual_seed(0)
    coarse = trace_training(Training(steps=STEPS, shuffle=False, bits=COARSE_BITS, check=0, **case.make()))
    near, far = (
        (job.state_dict(held)[name].double() - wanted[name].double()).norm()
        for job, held in ((traced, state), (coarse, _by_program(coarse)))
    )
    return bool(8 * near <= far)


def _draws(program: Program) -> bool:
    """Whether anything depends on the seed, the first parameter, in a program that does not shuffle."""
    seed = program.inputs(Source.PARAMETER).start
    return any(seed in node.operands for node in program.nodes)


def _by_program(traced: TracedTraining) -> list[Any]:
    executor = ReferenceExecutor(traced.program, traced.constants_for(0), traced.parameters(0, 0))
    state: list[Any] = traced.initial_state
    for _ in range(STEPS):
        state = executor.step(state)
    return state


def _disturbed(given: dict[str, Any]) -> Training:
    training = Training(steps=STEPS, **given)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in training.model.parameters():
            tensor.mul_(1 + NOISE * torch.randn(tensor.shape, generator=generator))
    return training


def _by_torch(training: Training) -> dict[str, torch.Tensor]:
    """The state_dict after the same steps in plain torch."""
    before = copy.deepcopy(training.model.state_dict())
    if training.step is None:
        training.model.train()
        optimizer = training.optimizer
        if not isinstance(optimizer, torch.optim.Optimizer):
            optimizer = optimizer(training.model.parameters())
    for number in range(STEPS):
        size = training.batch_size
        assert size is not None
        places = [(number * size + k) % len(training.data[0]) for k in range(size)]
        batch = [tensor[places] for tensor in training.data]
        if training.step is not None:
            training.step(*batch)
            continue
        assert training.loss is not None
        optimizer.zero_grad()
        training.loss(training.model(batch[0]), *batch[1:]).backward()
        optimizer.step()
        if training.scheduler is not None:
            training.scheduler.step()
    return {f"before.{name}": tensor for name, tensor in before.items()} | training.model.state_dict()


def _difference(
    traced: TracedTraining, state: list[Any], wanted: dict[str, torch.Tensor], noisy: dict[str, torch.Tensor]
) -> tuple[str, str] | None:
    """The first tensor that is farther from torch than rounding explains, and how far."""
    # What a tensor is changed by, at least: those that hardly change at all are only rounding.
    own = [name for name in wanted if not name.startswith("before.")]
    least = 1e-6 * max(float((wanted[name].double() - wanted[f"before.{name}"].double()).norm()) for name in own)
    for name, tensor in traced.state_dict(state).items():
        made, right, other, start = (
            t.detach().double().nan_to_num() for t in (tensor, wanted[name], noisy[name], wanted[f"before.{name}"])
        )
        allowed = 1e-3 * (right - start).norm() + FACTOR * (other - right).norm() + 2.0**-20 * right.norm() + least
        if (made - right).norm() > allowed:
            away = f"{float((made - right).norm()):.3g} from plain torch's, of {float(allowed):.3g} allowed"
            return name, f"'{name}' is {away}"
    return None


def _work(case: Case, answers: Any) -> None:
    torch.set_num_threads(1)
    said = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        warnings.simplefilter("ignore")
        try:
            answers.put(attempt(case))
        except Exception:  # noqa: BLE001  # the case itself is at fault
            answers.put(_unknown(case, "the case itself: " + traceback.format_exc(limit=-2)))


def _unknown(case: Case, reason: str) -> dict[str, Any]:
    row = {"package": case.package, "version": _version(case.package), "name": case.name, "outcome": FAILED}
    return row | {"reason": " ".join(reason.split()), "nodes": 0, "seconds": 0.0}


def isolated(case: Case, timeout: float) -> dict[str, Any]:
    """`attempt` in a process of its own."""
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    worker = context.Process(target=_work, args=(case, answers))
    worker.start()
    try:
        row: dict[str, Any] = answers.get(timeout=timeout)
    except Exception:  # noqa: BLE001  # queue.Empty of this context
        row = _unknown(case, f"no answer after {timeout:g} s")
    worker.kill()
    worker.join()
    return row


def shown(reason: str) -> str:
    """A reason without the places of this machine."""
    return re.sub(r"/\S*/(site-packages|published_\w+\.py)", r"\1", reason).replace("|", "/")


def document(rows: Iterable[dict[str, Any]]) -> str:
    """docs/tried.md."""
    listed = list(rows)
    counts = {kind: sum(row["outcome"] == kind for row in listed) for kind in KINDS}
    head = Path(__file__).with_name("published.md").read_text(encoding="utf-8")
    lines = [head.rstrip(), "", ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) + ".", ""]
    lines += ["| package | version | training | outcome |", "|---|---|---|---|"]
    for row in listed:
        said = f"{row['outcome']}: {shown(row['reason'])}" if row["reason"] else row["outcome"]
        lines.append(f"| {row['package']} | {row['version']} | {row['name']} | {said} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="parts of names; all when not given")
    parser.add_argument("--path", type=Path, help="a folder to import from, after the environment's own")
    parser.add_argument("--record", type=Path, default=RECORD, help="what was found so far")
    parser.add_argument("--timeout", type=float, default=240.0, help="seconds a case")
    parser.add_argument("--write", type=Path, help="write the table of all that this run and those before it found")
    options = parser.parse_args()
    if options.path is not None:
        sys.path.append(str(options.path))
    load()
    record: Path = options.record
    known = json.loads(record.read_text()) if record.exists() else {}
    for case in CASES:
        label = f"{case.package}: {case.name}"
        if not options.names or any(name in label for name in options.names):
            row = known[label] = isolated(case, options.timeout)
            print(
                f"{label}: {row['outcome']} ({row['nodes']} nodes, {row['seconds']} s) {row['reason'][:400]}",
                flush=True,
            )
            record.parent.mkdir(parents=True, exist_ok=True)
            record.write_text(json.dumps(known, indent=1))
    if options.write is not None:
        rows = [known[label] for case in CASES if (label := f"{case.package}: {case.name}") in known]
        options.write.write_text(document(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
