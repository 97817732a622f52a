"""Loads the requester's own code: `train.py:job`, a function that returns an `orebit.Training`."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from orebit.errors import ConfigError, OrebitError

if TYPE_CHECKING:
    from orebit.strategy.training import Training

DEFAULT_FUNCTION = "job"


@dataclass(frozen=True)
class JobReference:
    """A Python file and the function in it that makes the training."""

    path: Path
    function: str

    def __str__(self) -> str:
        return f"{self.path.name}:{self.function}"


def parse_reference(text: str, *, folder: Path) -> JobReference:
    """ "train.py" or "train.py:job", relative to `folder`. Raises ConfigError."""
    name, _, function = text.partition(":")
    path = (folder / name).resolve()
    if not name.endswith(".py") or not (function or DEFAULT_FUNCTION).isidentifier():
        raise ConfigError(f'"{text}" does not name a job; write a Python file and its function, as in "train.py:job".')
    return JobReference(path, function or DEFAULT_FUNCTION)


def load_training(reference: JobReference) -> Training:
    """Runs the requester's file and calls its function.

    Raises ConfigError when the file or function is missing or fails (naming file and line), or returns something else.
    """
    from orebit.strategy.training import Training

    path = reference.path
    if not path.is_file():
        raise ConfigError(
            f"There is no file {path}. Give the path of the Python file that defines {reference.function}()."
        )
    with _blaming(path):
        module = _import(path)
        make = getattr(module, reference.function, None)
        if not callable(make):
            raise ConfigError(
                f"{path} has no function {reference.function}(); define one that returns an orebit.Training."
            )
        training = make()
    if not isinstance(training, Training):
        line = make.__code__.co_firstlineno if hasattr(make, "__code__") else 1
        raise ConfigError(
            f"{path}:{line}: {reference.function}() returned {type(training).__name__}; return an orebit.Training."
        )
    return training


def _import(path: Path) -> ModuleType:
    """A fresh module from a file, with the file's folder importable as if it were run as a script."""
    name = f"orebit_job_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} cannot be imported as Python; give it a .py ending.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec.loader.exec_module(module)
    return module


@contextmanager
def _blaming(path: Path) -> Iterator[None]:
    """Turns what the requester's code raises into an error that names their file and line."""
    try:
        yield
    except OrebitError:
        raise
    except SyntaxError as error:
        raise ConfigError(
            f"{error.filename or path}:{error.lineno}: {error.msg}. Correct the file and try again."
        ) from error
    except (Exception, SystemExit) as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
        line = frames[-1].lineno if frames else 1
        raise ConfigError(f"{path}:{line}: {type(error).__name__}: {error}. Correct the file and try again.") from error
