"""Executors that fail are named with the first wrong operation, and are not chosen."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch

from orebit.errors import StorageError
from orebit.executor import diagnosis, selection
from orebit.executor.conformance import Factory
from orebit.executor.diagnosis import diagnose, examine, measure
from orebit.executor.reference import ReferenceExecutor
from orebit.executor.selection import (
    RECORD,
    Unavailable,
    choose_executor,
    conforming,
    examined,
    load,
    read_ruled_out,
    write_ruled_out,
)
from orebit.executor.standard import standard_programs
from orebit.executor.storage import Given
from orebit.program.descriptor import Kind
from orebit.program.graph import Program
from orebit.program.opcodes import Op


class Wrong(ReferenceExecutor):
    """Adds one unit in the last place to whatever divides."""

    def step(self, state: Sequence[Given]) -> list[torch.Tensor]:
        new = super().step(state)
        expressions = [d.expression for d in self.program.descriptors if d.kind is Kind.MAP]
        if any(e is not None and any(i.op is Op.FDIV for i in e.instructions) for e in expressions):
            new[-1] = (new[-1].view(torch.int32) + 1).view(torch.float32)
        return new


class Broken(ReferenceExecutor):
    def step(self, state: Sequence[Given]) -> list[torch.Tensor]:
        raise RuntimeError("no such instruction")


def test_the_reference_executor_is_well_and_is_timed() -> None:
    found = diagnose("reference")
    assert found.works and not found.operation and found.seconds > 0
    assert set(found.speeds) == {name for name, _, _ in standard_programs()}
    assert all(speed > 0 for speed in found.speeds.values())


def test_an_executor_that_is_not_here_is_no_fault() -> None:
    found = diagnose("abacus")
    assert not found.works and not found.fault and "no executor abacus" in found.missing
    with pytest.raises(Unavailable, match="reference"):
        load("abacus")


@pytest.mark.parametrize("made, operation, fault", [(Wrong, "FDIV", "computes FDIV on"), (Broken, "FADD", "no such")])
def test_the_first_wrong_operation_is_named(
    made: type[ReferenceExecutor], operation: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis, "load", lambda name: made)
    *begun, found = examine("fused")
    assert begun[-1] == {"at": operation} and found["operation"] == operation
    assert fault in found["fault"] and not found["speeds"]


def test_a_crash_or_a_hang_is_a_fault_at_the_vector_it_was_at(monkeypatch: pytest.MonkeyPatch) -> None:
    script = 'import os, sys, time; print(\'{"at": "FMUL"}\', flush=True); '
    for ending, timeout, fault in (
        ("os.kill(os.getpid(), 4)", 30.0, "SIGILL"),
        ("time.sleep(60)", 5.0, "still at it after 5 s"),
        ("sys.exit('torn')", 30.0, "exit code 1: torn"),
    ):
        monkeypatch.setattr(
            diagnosis, "_command", lambda name, end=ending: [sys.executable, "-I", "-S", "-c", script + end]
        )
        found = diagnose("fused", timeout)
        assert found.operation == "FMUL" and fault in found.fault and not found.works


@pytest.fixture
def two_executors(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A fast one that is never wrong, and the reference one."""
    monkeypatch.setattr(selection, "_MODULES", {"fused": (__name__, "Right")})
    monkeypatch.setattr(selection, "EXECUTORS", ("fused", "reference"))
    examined.cache_clear()
    yield
    examined.cache_clear()


class Right(ReferenceExecutor):
    pass


def test_what_is_ruled_out_is_not_chosen(tmp_path: Path, two_executors: None) -> None:
    def chosen() -> Factory:
        return conforming(tmp_path)  # the record is read anew: a node need not be started again

    assert chosen().__name__ == "Right" and read_ruled_out(tmp_path) == {}
    write_ruled_out(tmp_path, {"fused": "FADD: wrong"})
    assert chosen() is ReferenceExecutor
    write_ruled_out(tmp_path, {"fused": "FADD: wrong", "reference": "FMUL: wrong"})
    with pytest.raises(Unavailable, match="orebit doctor"):
        chosen()
    write_ruled_out(tmp_path, {})
    assert chosen().__name__ == "Right"


def test_the_record_is_looked_for_in_the_home(
    tmp_path: Path, two_executors: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OREBIT_HOME", str(tmp_path))
    monkeypatch.setattr(selection, "WORTH_COMPILING", 0)
    write_ruled_out(tmp_path, {"fused": "FADD: wrong"})
    _, program, _ = next(standard_programs())
    assert choose_executor(program, 1) is ReferenceExecutor


def test_a_record_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    for text in ("{", "[]", '{"ruled_out": 3}', "{}"):
        (tmp_path / RECORD).write_text(text)
        with pytest.raises(StorageError, match="orebit doctor"):
            conforming(tmp_path)


def test_standard_programs_keep_their_state_finite() -> None:
    for _, program, state in standard_programs():
        executor = ReferenceExecutor(program, [], [])
        held: Sequence[Given] = state
        for _ in range(3):
            held = executor.step(held)
        assert all(bool(torch.isfinite(torch.as_tensor(tensor)).all()) for tensor in held)
        assert isinstance(program, Program)
    assert measure(ReferenceExecutor, seconds=0.01).keys() == {"products", "elementwise"}
