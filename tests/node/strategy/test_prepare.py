"""From a torch model to a job and back to its state_dict."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from orebit.errors import ConfigError, StorageError
from orebit.executor.run import run_shard
from orebit.program.graph import Program
from orebit.store.local import LocalStore
from orebit.strategy.evaluation import evaluate
from orebit.strategy.forecast import measure_step
from orebit.strategy.journal import JobRecord, Journal, Outcome
from orebit.strategy.outcome import save_model, state_dict
from orebit.strategy.prepare import prepare
from orebit.strategy.rounds import State
from orebit.strategy.spec import JobSpec
from orebit.strategy.terms import load_task_file
from orebit.strategy.training import Training


def classifier() -> Training:
    torch.manual_seed(1)
    x = torch.randn(96, 4)
    y = (x.sum(1) > 0).long()
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    return Training(
        model=model,
        loss=torch.nn.CrossEntropyLoss(),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.2),
        data=(x[:64], y[:64]),
        held_out=(x[64:], y[64:]),
        batch_size=16,
        steps=20,
        shards=2,
        rounds=2,
    )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Training, LocalStore, JobSpec]:
    training = classifier()
    store = LocalStore(tmp_path_factory.mktemp("blobs"))
    settings = load_task_file(None, {"terms.price": "1"})
    return training, store, prepare(training, store, settings, "here")


def trained(store: LocalStore, spec: JobSpec) -> State:
    run = run_shard(
        Program.decode(store.program(spec.program)),
        [store.tensor(root)[1] for root in spec.constants[0]],
        [store.tensor(root)[1] for root in spec.state],
        [store.tensor(root)[1] for root in spec.parameters[0][0]],
        spec.steps,
        spec.interval,
    )
    return tuple(store.put_array(array).root for array in run.final_state)


def finished(spec: JobSpec, state: State, folder: Path) -> JobRecord:
    journal = Journal(folder / "jobs.sqlite")
    job = journal.created(journal.begin(spec, "run"), 1, 2, 3)
    journal.end(job, Outcome.DONE, state)
    done = journal.job(job.id)
    journal.close()
    return done


def test_everything_a_shard_names_is_in_the_store(prepared: tuple[Training, LocalStore, JobSpec]) -> None:
    _, store, spec = prepared
    assert (spec.workers, spec.rounds, spec.steps, spec.state_names[spec.loss]) == (2, 2, 20, "loss")
    roots = [*spec.state, *(root for part in spec.constants for root in part)]
    roots += [root for workers in spec.parameters for part in workers for root in part]
    assert all(store.has(root) for root in [*roots, spec.program, spec.averaging])
    assert JobSpec.decode(json.dumps(json.loads(spec.encode()))) == spec


def test_the_trained_model_loads_strictly_and_scores_as_torch_says(
    prepared: tuple[Training, LocalStore, JobSpec], tmp_path: Path
) -> None:
    training, store, spec = prepared
    state = trained(store, spec)
    count = save_model(store, finished(spec, state, tmp_path), tmp_path / "model.safetensors")
    tensors = safetensors.torch.load_file(tmp_path / "model.safetensors")
    assert count == len(tensors) == len(training.model.state_dict())
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    model.load_state_dict(tensors, strict=True)
    model.eval()
    x, y = training.held_out
    with torch.no_grad():
        right = float((model(x).argmax(1) == y).float().mean())
    score = evaluate(store, spec, state)
    assert score.accuracy == pytest.approx(right, abs=0.05)
    assert score.accuracy > 0.7
    assert score.loss is not None and 0 < score.loss < 1


def test_a_tensor_changed_on_disk_is_not_handed_out(
    prepared: tuple[Training, LocalStore, JobSpec], tmp_path: Path
) -> None:
    _, _, spec = prepared
    store = LocalStore(tmp_path / "blobs")
    state = tuple(store.put_tensor(place.dtype, place.shape, np.ones(place.shape, np.float32)).root
                  if place.dtype == 0 else store.put_array(np.ones(place.shape, np.int64)).root
                  for place in spec.places)  # fmt: skip
    job = finished(spec, state, tmp_path)
    assert len(state_dict(store, job)) == len(spec.model)
    head = store.head(state[spec.model[0].place])
    (changed,) = (tmp_path / "blobs").rglob(head.raw_root.hex())
    data = bytearray(changed.read_bytes())
    data[0] ^= 1
    changed.write_bytes(data)
    with pytest.raises(Exception, match="not the ones that this root names"):
        save_model(store, job, tmp_path / "model.safetensors")
    assert not (tmp_path / "model.safetensors").exists()


def test_no_result_and_no_folder_are_said(prepared: tuple[Training, LocalStore, JobSpec], tmp_path: Path) -> None:
    _, store, spec = prepared
    job = finished(spec, trained(store, spec), tmp_path)
    with pytest.raises(StorageError, match="cannot be written"):
        save_model(store, job, tmp_path / "nowhere" / "model.safetensors")
    journal = Journal(tmp_path / "other.sqlite")
    with pytest.raises(ConfigError, match="no result yet"):
        state_dict(store, journal.created(journal.begin(spec, "again"), 5, 6, 7))
    journal.close()


def test_a_step_is_measured(prepared: tuple[Training, LocalStore, JobSpec]) -> None:
    _, store, spec = prepared
    assert 0 < measure_step(store, spec) < 5
