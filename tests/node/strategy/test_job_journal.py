"""The driver's journal: what was written is there after a kill, and said once."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from toys import toy_job

from orebit.chain.types import LeaseId
from orebit.errors import StorageError
from orebit.store.local import LocalStore
from orebit.strategy.journal import BatchRecord, Entry, Journal, Kind, Outcome
from orebit.strategy.spec import JobSpec


@pytest.fixture
def spec(tmp_path: Path) -> JobSpec:
    return toy_job(LocalStore(tmp_path / "blobs"))


def test_a_job_comes_back_as_it_was_written(tmp_path: Path, spec: JobSpec) -> None:
    path = tmp_path / "jobs.sqlite"
    journal = Journal(path)
    job = journal.begin(spec, "run")
    journal.created(journal.serve_at(job, 8000, "http://r:8000"), 3, 4, 77)
    journal.close()
    again = Journal(path)
    (found,) = again.jobs()
    assert found.spec == spec
    assert (found.port, found.url, found.training, found.averaging, found.block) == (8000, "http://r:8000", 3, 4, 77)
    assert again.unfinished(spec.key) == again.of_task(3) == again.of_task(4) == found
    again.end(found, Outcome.DONE, (b"r" * 32,), 0.9, 0.1)
    done = again.job(found.id)
    assert (done.outcome, done.result, done.accuracy, done.loss) == (Outcome.DONE, (b"r" * 32,), 0.9, 0.1)
    assert again.unfinished(spec.key) is None
    again.close()


def test_batches_refusals_and_coins_are_said_once(tmp_path: Path, spec: JobSpec) -> None:
    journal = Journal(tmp_path / "jobs.sqlite")
    job = journal.begin(spec, "run")
    batch = BatchRecord(b"p" * 32, Kind.TRAINING, 1, b"s" * 32, 1, (Entry(0, 0), Entry(1, 2)))
    for _ in range(2):
        journal.intend(job, batch)
    assert journal.batches(job) == [batch]
    journal.refused_by_chain(job, batch)
    assert journal.batches(job)[0].tries == 1
    lease = LeaseId.of(2**31, 255, 2**32 - 1)
    journal.refuse(job, lease, "first")
    journal.refuse(job, lease, "second")
    assert journal.refusals(job) == {lease: "first"}
    journal.toss(job, [lease], True)
    journal.toss(job, [lease], False)
    assert journal.coins(job) == {lease: True}
    journal.close()


def test_another_job_has_another_key(tmp_path: Path, spec: JobSpec) -> None:
    dearer = toy_job(LocalStore(tmp_path / "blobs"), flags={"terms.price": "2"})
    assert toy_job(LocalStore(tmp_path / "blobs")).key == spec.key != dearer.key


def test_a_spoilt_file_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(StorageError, match="found on-chain"):
        Journal(path)


def test_a_spoilt_job_says_what_to_do(tmp_path: Path, spec: JobSpec) -> None:
    path = tmp_path / "jobs.sqlite"
    journal = Journal(path)
    journal.begin(spec, "run")
    with sqlite3.connect(path) as base:
        base.execute("UPDATE jobs SET spec = '{}'")
    base.close()
    with pytest.raises(StorageError, match="cannot be read"):
        journal.jobs()
    journal.close()
