"""The requester's own file: found, run, and blamed by name and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from orebit.errors import ConfigError
from orebit.strategy.job import load_training, parse_reference

GOOD = """
import torch
import orebit
from beside import ROWS

def job():
    model = torch.nn.Linear(2, 2)
    return orebit.Training(
        model=model, loss=torch.nn.CrossEntropyLoss(), optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        data=(torch.randn(ROWS, 2), torch.zeros(ROWS, dtype=torch.long)), batch_size=4, steps=3,
    )

second = job
"""


def write(folder: Path, text: str, name: str = "train.py") -> str:
    (folder / name).write_text(text)
    return name


def test_a_job_may_import_what_lies_beside_it(tmp_path: Path) -> None:
    write(tmp_path, "ROWS = 16\n", "beside.py")
    name = write(tmp_path, GOOD)
    assert load_training(parse_reference(name, folder=tmp_path)).steps == 3
    reference = parse_reference(f"{name}:second", folder=tmp_path)
    assert str(reference) == "train.py:second"
    assert load_training(reference).batch_size == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def job(:\n", r"train\.py:1: invalid syntax"),
        ("import nothing_of_that_name\n", r"train\.py:1: ModuleNotFoundError"),
        ("def job():\n    x = 1\n    return [][x]\n", r"train\.py:3: IndexError"),
        ("def work():\n    pass\n", r"has no function job\(\)"),
        ("x = 1\n\ndef job():\n    return 5\n", r"train\.py:3: job\(\) returned int"),
        ("raise SystemExit(1)\n", r"train\.py:1: SystemExit"),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path: Path, text: str, said: str) -> None:
    reference = parse_reference(write(tmp_path, text), folder=tmp_path)
    with pytest.raises(ConfigError, match=said):
        load_training(reference)


@pytest.mark.parametrize("text", ["train", "train.py:not a name", "module:job"])
def test_references_that_are_none(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="does not name a job"):
        parse_reference(text, folder=tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"There is no file .*train\.py"):
        load_training(parse_reference("train.py", folder=tmp_path))
