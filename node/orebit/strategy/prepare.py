"""Turns a requester's Training into a job: traced, with every tensor and program in the local store."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from numpy.typing import NDArray

from orebit.numerics.types import DType
from orebit.program.descriptor import Source
from orebit.program.evaluation import Evaluation as TracedEvaluation
from orebit.program.graph import Program
from orebit.store.local import LocalStore
from orebit.strategy.spec import Evaluation, JobSpec, ModelTensor, TensorPlace
from orebit.strategy.terms import TaskFile
from orebit.strategy.training import TracedTraining, Training, trace_training


def prepare(training: Training, store: LocalStore, settings: TaskFile, name: str) -> JobSpec:
    """Traces a training and stores what its shards will name.

    Raises TraceError or ConfigError when it cannot become a program, StorageError when the disk refuses.
    """
    traced = trace_training(training)
    return JobSpec(
        name=name,
        program=_put_program(store, traced.program),
        averaging=_put_program(store, traced.average),
        state_names=traced.state_names,
        model=_model(traced),
        evaluation=None if traced.evaluation is None else _evaluation(store, traced, traced.evaluation),
        places=tuple(TensorPlace(int(spec.dtype), spec.shape) for spec in traced.program.specs(Source.STATE)),
        state=_put(store, traced.initial_state),
        constants=tuple(_put(store, traced.constants_for(worker)) for worker in range(training.shards)),
        parameters=tuple(
            tuple(_put(store, traced.parameters(number, worker)) for worker in range(training.shards))
            for number in range(training.rounds)
        ),
        loss=traced.loss_index,
        steps=training.steps,
        interval=training.interval,
        settings=settings.plain(),
    )


def _put_program(store: LocalStore, program: Program) -> bytes:
    store.put_program(program.root, program.encode())
    return program.root


def _put(store: LocalStore, arrays: Iterable[NDArray[Any]]) -> tuple[bytes, ...]:
    return tuple(store.put_tensor(DType.from_numpy(array.dtype), array.shape, array).root for array in arrays)


def _model(traced: TracedTraining) -> tuple[ModelTensor, ...]:
    types = {name: str(tensor.dtype) for name, tensor in traced.training.model.state_dict().items()}
    return tuple(
        ModelTensor(name, traced.state_names.index(held), types[name].removeprefix("torch."))
        for name, held in traced.state_dict_names.items()
    )


def _evaluation(store: LocalStore, traced: TracedTraining, found: TracedEvaluation) -> Evaluation:
    return Evaluation(
        program=_put_program(store, found.program),
        steps=found.steps,
        names=found.state_names,
        initial=_put(store, found.initial),
        model=tuple(traced.state_names.index(name) for name in found.model),
        data=_put(store, found.data),
    )
