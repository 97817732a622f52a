from __future__ import annotations

from pathlib import Path

import pytest

from orebit.cli.doctor import doctor
from orebit.errors import ConformanceError
from orebit.executor import diagnosis
from orebit.executor.diagnosis import Diagnosis
from orebit.executor.selection import read_ruled_out

WELL = Diagnosis("reference", seconds=0.5, speeds={"products": 50.0, "elementwise": 100.0})
ILL = Diagnosis("fused", operation="FADD", fault="this machine computes FADD on 0x1, 0x2 as 0x4")
ABSENT = Diagnosis("cuda", missing="no GPU")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OREBIT_HOME", str(tmp_path))
    return tmp_path


def found(monkeypatch: pytest.MonkeyPatch, *diagnoses: Diagnosis) -> None:
    monkeypatch.setattr(diagnosis, "diagnose_all", lambda: iter(diagnoses))


def test_a_failing_executor_is_named_and_ruled_out(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found(monkeypatch, ABSENT, ILL, WELL)
    doctor()
    printed = capsys.readouterr().out
    assert "fused is ruled out at FADD" in printed and "can earn with reference" in printed and "no GPU" in printed
    assert list(read_ruled_out(home)) == ["fused"]
    found(monkeypatch, WELL)
    doctor()
    assert read_ruled_out(home) == {}


def test_a_rig_without_a_working_executor_is_an_error(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, ABSENT, ILL)
    with pytest.raises(ConformanceError, match="cannot earn"):
        doctor()
    assert list(read_ruled_out(home)) == ["fused"]
