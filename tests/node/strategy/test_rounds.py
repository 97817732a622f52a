"""Shard ids as a function of results: the same inputs the same work, another attempt another id."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from toys import toy_job

from orebit.store.local import LocalStore
from orebit.strategy.journal import Entry, Kind
from orebit.strategy.rounds import Step, interval_of
from orebit.strategy.spec import JobSpec


@pytest.fixture
def spec(tmp_path: Path) -> JobSpec:
    return toy_job(LocalStore(tmp_path / "blobs"))


def test_every_attempt_of_every_worker_has_an_id_of_its_own(spec: JobSpec) -> None:
    step = Step(Kind.TRAINING, 0, (spec.state,))
    ids = {step.shard(spec, Entry(worker, attempt)).shard.id for worker in range(2) for attempt in range(spec.steps)}
    assert len(ids) == 2 * spec.steps
    assert {interval_of(spec, attempt) for attempt in range(spec.steps)} == set(range(1, spec.steps + 1))
    assert interval_of(spec, 0) == spec.interval


def test_attempts_train_the_same_bits(spec: JobSpec) -> None:
    step = Step(Kind.TRAINING, 0, (spec.state,))
    first, second = (step.shard(spec, Entry(0, attempt)) for attempt in (0, 1))
    assert replace(second, interval=first.interval) == first


def test_averaging_attempts_start_elsewhere_and_read_the_same_states(spec: JobSpec) -> None:
    states = (spec.state, tuple(bytes([number]) * 32 for number in range(1, 4)))
    step = Step(Kind.AVERAGING, 0, states)
    first, second = (step.shard(spec, Entry(0, attempt)) for attempt in (0, 1))
    assert first.constants == second.constants == states[0] + states[1]
    assert (first.state, second.state) == states
    assert first.shard.id != second.shard.id


def test_a_changed_start_changes_everything_built_on_it(spec: JobSpec) -> None:
    other = (b"z" * 32, *spec.state[1:])
    steps = [Step(Kind.TRAINING, 1, (state,)) for state in (spec.state, other)]
    assert steps[0].parent != steps[1].parent
    records = [step.batch(spec, [Entry(0, 0), Entry(1, 0)])[0] for step in steps]
    assert records[0].plan_root != records[1].plan_root
    assert [record.parent for record in records] == [step.parent for step in steps]


def test_grains_are_used_where_they_divide(tmp_path: Path) -> None:
    spec = toy_job(LocalStore(tmp_path / "blobs"), flags={"run.grain": 2})
    step = Step(Kind.TRAINING, 0, (spec.state,))
    assert step.batch(spec, [Entry(0, 0), Entry(1, 0)])[0].size == 2
    assert step.batch(spec, [Entry(1, 1)])[0].size == 1
