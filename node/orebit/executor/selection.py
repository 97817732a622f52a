"""Which executors this machine has, which of them a diagnosis has ruled out, and which one runs a shard.

The record of those ruled out is a JSON file, `executors.json` in OREBIT_HOME: for each, the operation that differed and
why. `orebit doctor` writes it; whoever picks an executor reads it.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import cast

import platformdirs
import structlog

from orebit.errors import ConformanceError, ExecutionError, StorageError
from orebit.executor.conformance import Factory, run_conformance
from orebit.executor.hardware import EXECUTORS, Hardware
from orebit.executor.native import library as native
from orebit.executor.reference import ReferenceExecutor
from orebit.program.graph import Program

RECORD = "executors.json"
REFERENCE = "reference"
# Modules are imported when asked for: a machine need not have what they need.
_MODULES = {"cuda": ("orebit.executor.cuda", "CudaExecutor"), "fused": ("orebit.executor.fused", "FusedExecutor")}

# Positions of all nodes over all steps of a run below which the reference executor is done before code is compiled.
WORTH_COMPILING = 1 << 26

_log = structlog.get_logger(__name__)


class Unavailable(ExecutionError):
    """This machine or this installation lacks an executor."""


def load(name: str) -> Factory:
    """The executor of this name: makes one of a program, its constants and its parameters.

    Raises:
        Unavailable: when the machine or the installation lacks it, saying what is missing.
    """
    if name == REFERENCE:
        return ReferenceExecutor
    if name not in _MODULES:
        raise Unavailable(f"There is no executor {name}; there are {', '.join(EXECUTORS)}.")
    module, attribute = _MODULES[name]
    try:
        if name == "fused":
            native.require()
        package = importlib.import_module(module)
        if name == "cuda":
            package.require()
        return cast(Factory, getattr(package, attribute))
    except ModuleNotFoundError as error:
        raise Unavailable(f"The executor {name} needs the module {error.name}, which is not installed.") from error
    except (ImportError, OSError, AttributeError, ExecutionError) as error:
        raise Unavailable(f"The executor {name} cannot be loaded here: {error}.") from error


def read_ruled_out(folder: Path) -> dict[str, str]:
    """Executors that must not be used, and why; empty where no diagnosis was made.

    Raises:
        StorageError: when the record cannot be read, since an executor it rules out must not be used by mistake.
    """
    path = folder / RECORD
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): str(reason) for name, reason in found["ruled_out"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise StorageError(f"{path} cannot be read ({error}). Run `orebit doctor`, which writes it anew.") from error


def write_ruled_out(folder: Path, reasons: Mapping[str, str]) -> None:
    """Replaces the record, whole or not at all.

    Raises:
        StorageError: when it cannot be written.
    """
    path = folder / RECORD
    temporary = path.with_suffix(".new")
    try:
        temporary.write_text(json.dumps({"ruled_out": dict(reasons)}, indent=1) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written ({error.strerror}). Check the disk and its permissions."
        ) from error


def record_folder() -> Path:
    """Where the record is: OREBIT_HOME, else the user's data folder."""
    named = os.environ.get("OREBIT_HOME")
    return Path(named).expanduser() if named else platformdirs.user_data_path("orebit")


def choose_executor(
    program: Program, steps: int, hardware: Hardware = Hardware.AUTO, *, vectors: bool = True
) -> Factory:
    """What runs this many steps of a program soonest. Before another than the reference executor is used, it passes the
    conformance vectors in this process; one that does not is passed over with a line in the log. The reference executor
    runs what is too small to be compiled, whatever the hardware. Without `vectors`, for what nobody will rely on."""
    descriptors = program.descriptors
    positions = sum(prod(descriptors[node.descriptor].space) for node in program.nodes)
    if positions * steps < WORTH_COMPILING:
        return ReferenceExecutor
    return conforming(record_folder(), hardware, vectors=vectors)


def conforming(folder: Path, hardware: Hardware = Hardware.AUTO, *, vectors: bool = True) -> Factory:
    """The fastest executor of this hardware that the record in `folder` does not rule out now and that passes the
    vectors here, unless these are left out.

    Raises:
        Unavailable: when none is left.
        StorageError: when the record cannot be read.
    """
    ruled_out = read_ruled_out(folder)
    examine = examined if vectors else available
    for name in hardware.executors:
        found = f"`orebit doctor` ruled it out: {ruled_out[name]}" if name in ruled_out else examine(name)
        if not isinstance(found, str):
            return found
        _pass_over(name, found)
    where = "" if hardware is Hardware.AUTO else f' for `device = "{hardware.value}"`'
    raise Unavailable(f"This machine has no executor that works{where}. Run `orebit doctor`, which says what is wrong.")


def available(name: str) -> Factory | str:
    """An executor of this machine, else what is missing."""
    try:
        return load(name)
    except ExecutionError as error:
        return str(error)


@functools.cache
def examined(name: str) -> Factory | str:
    """An executor that passes the vectors, else why it must not be used; found out once in a process."""
    factory = available(name)
    if isinstance(factory, str) or name == REFERENCE:
        return factory
    try:
        run_conformance(factory)
    except (ExecutionError, ConformanceError) as error:
        return str(error)
    return factory


@functools.cache
def _pass_over(name: str, reason: str) -> None:
    """Says so, once in a process."""
    _log.warning("executor_passed_over", executor=name, reason=reason)
