"""The task commands where no chain is needed: mistakes are found before anything is asked of one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import safetensors.torch
import torch
from typer.testing import CliRunner

from orebit.cli.task import app
from orebit.commitment import TensorHead
from orebit.errors import ConfigError, OrebitError
from orebit.store.local import LocalStore
from orebit.strategy.journal import Journal, Outcome
from orebit.strategy.spec import JobSpec, ModelTensor, TensorPlace
from orebit.strategy.terms import load_task_file

TRAIN = """
import torch
import orebit

def job():
    model = torch.nn.Linear(2, 2)
    return orebit.Training(
        model=model, loss=torch.nn.CrossEntropyLoss(), optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        data=(torch.randn(16, 2), torch.zeros(16, dtype=torch.long)), batch_size=4, steps=3,
    )
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home and working folder without chain, key or network."""
    for name in [name for name in os.environ if name.startswith("OREBIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OREBIT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(TRAIN)
    return tmp_path


def refused(*arguments: str) -> str:
    """What the command's error says."""
    result = CliRunner().invoke(app, list(arguments))
    assert isinstance(result.exception, OrebitError), result.output
    return str(result.exception)


def finished_job(home: Path) -> torch.Tensor:
    """A journalled job of task 3 with a result of one tensor."""
    home.mkdir()
    weight = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    head: TensorHead = LocalStore(home / "blobs").put_array(weight.numpy())
    spec = JobSpec(
        "train.py:job", b"p" * 32, b"a" * 32, ("weight",), (ModelTensor("weight", 0, "float32"),), None,
        (TensorPlace(0, (2, 3)),), (head.root,), ((),), (((),),), 0, 3, 1, load_task_file(None).plain(),
    )  # fmt: skip
    journal = Journal(home / "jobs.sqlite")
    job = journal.created(journal.begin(spec, "run"), 3, 4, 5)
    journal.end(job, Outcome.DONE, (head.root,), 0.75)
    journal.close()
    return weight


def test_submit_names_what_is_wrong_before_it_asks_a_chain(folder: Path) -> None:
    (folder / "task.toml").write_text('job = "train.py:job"\n[terms]\npriec = "1"\n')
    assert 'task.toml: unknown setting "terms.priec"' in refused("submit", "task.toml", "--yes")
    (folder / "task.toml").write_text('[terms]\nprice = "1"\n')
    assert "names no job" in refused("submit", "task.toml", "--yes")
    assert "once" in refused("submit", "task.toml", "--terms", "task.toml")
    assert "terms.price" in refused("submit", "train.py", "--price", "lots")
    assert "There is no file" in refused("submit", "nothing.py")
    (folder / "wrong.py").write_text("def job():\n    return 1 / 0\n")
    assert "wrong.py:2: ZeroDivisionError" in refused("submit", "wrong.py")


def test_any_setting_can_be_a_flag() -> None:
    assert "is no setting" in refused("submit", "train.py", "--set", "terms.gated")
    assert 'unknown setting "terms.gatde"' in refused("submit", "train.py", "--set", "terms.gatde=true")
    assert "terms.max_grains" in refused("submit", "train.py", "--set", "terms.max_grains=500")
    assert "OREBIT_RPC" in refused("submit", "train.py", "--set", "terms.gated=true", "--set", "terms.move=5s")


def test_submit_needs_a_chain_and_a_key_in_that_order() -> None:
    assert "OREBIT_RPC" in refused("submit", "train.py", "--yes")
    assert "orebit account new" in refused("submit", "train.py", "--yes", "--rpc", "http://127.0.0.1:9")


def test_an_amount_is_checked_before_a_deposit() -> None:
    assert "not an amount" in refused("deposit", "1", "some")


def test_jobs_are_listed_and_their_models_written(folder: Path) -> None:
    weight = finished_job(folder / "home")
    listed = CliRunner().invoke(app, ["list", "--json"], catch_exceptions=False)
    (row,) = json.loads(listed.output)
    assert (row["task"], row["averaging"], row["outcome"], row["accuracy"]) == (3, 4, "done", 0.75)
    assert "train.py:job" in CliRunner().invoke(app, ["list"], catch_exceptions=False).output
    for task in ("3", "4"):
        CliRunner().invoke(app, ["result", task, "-o", f"{task}.safetensors"], catch_exceptions=False)
        found = safetensors.torch.load_file(folder / f"{task}.safetensors")
        assert list(found) == ["weight"] and torch.equal(found["weight"], weight)
    assert "No job of task 9" in refused("result", "9")


def test_a_home_that_is_a_file_is_refused(folder: Path) -> None:
    (folder / "file").write_text("")
    with pytest.raises(ConfigError, match="not a folder"):
        CliRunner().invoke(app, ["list", "--home", str(folder / "file")], catch_exceptions=False)
