"""What a requester wants trained, and the programs and tensors that it becomes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from orebit.errors import ConfigError, TraceError
from orebit.numerics.types import DType
from orebit.program.averaging import average_program
from orebit.program.builder import Builder
from orebit.program.descriptor import Source
from orebit.program.evaluation import Evaluation, trace_evaluation
from orebit.program.graph import Program
from orebit.program.lowering.batches import positions, rows_of, shuffled, unpacked
from orebit.program.lowering.captured import Bindings
from orebit.program.lowering.context import DEFAULT_BITS, Lowering, Randomness
from orebit.program.lowering.tensor import Tensor
from orebit.program.tracing import CapturedStep, TrainingStep, capture, state_dict_names
from orebit.program.tracing_data import Dataset, read_dataset, warn_spare_rows
from orebit.program.tracing_location import caller

Array = NDArray[Any]
OptimizerFactory = Callable[[Iterable[torch.nn.Parameter]], torch.optim.Optimizer]
STEP, LOSS = "step", "loss"


@dataclass(kw_only=True)
class Training:
    """A model to be trained by parameter averaging: `rounds` times, `shards` workers make `steps` steps each on their
    own part of the data, and their states are averaged.

    Args:
        model: an ordinary torch.nn.Module in float32, on the CPU.
        loss: `loss(model(x), y) -> scalar`, a module or a function.
        optimizer: an optimizer over model.parameters(), or a function that makes one from parameters.
        data: tensors (x, y), a TensorDataset, or a DataLoader over one.
        batch_size: rows a step; read off a DataLoader when not given.
        steps: steps of one shard.
        shards: workers, hence shards a round.
        rounds: how often the workers' states are averaged.
        held_out: rows to measure the result on, as `data`; none when not given.
        shuffle: whether rows are dealt to workers at random and each epoch has an order of its own; read off a
            DataLoader when not given, else true.
        seed: of the shuffles, 0 to 2^63 - 1.
        checkpoint: steps between checkpoints; a quarter of `steps` when not given.
        bits: of the exact products, 4 to 22.
        schedule: hyper-parameters by name (`lr`, `momentum`, ...) of a round from 0, where not the optimizer's.
    """

    model: torch.nn.Module
    loss: Callable[..., torch.Tensor]
    optimizer: torch.optim.Optimizer | OptimizerFactory
    data: Any
    steps: int
    batch_size: int | None = None
    shards: int = 1
    rounds: int = 1
    held_out: Any = None
    shuffle: bool | None = None
    seed: int = 0
    checkpoint: int | None = None
    bits: int = DEFAULT_BITS
    schedule: Callable[[int], Mapping[str, float]] | None = None
    source: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.source = caller()
        for name in ("steps", "shards", "rounds", "batch_size", "checkpoint"):
            number = getattr(self, name)
            if number is not None and (not isinstance(number, int) or number < 1):
                raise ConfigError(f"{name} = {number!r} of the training at {self.source} must be an integer from 1")
        if not isinstance(self.seed, int) or not 0 <= self.seed < 1 << 63:
            raise ConfigError(
                f"seed = {self.seed!r} of the training at {self.source} must be an integer from 0 below 2^63"
            )
        if not 4 <= self.bits <= 22:
            raise ConfigError(
                f"bits = {self.bits!r} of the training at {self.source} must be 4 to 22; 15 is the default"
            )

    @property
    def interval(self) -> int:
        """Steps between checkpoints; divides nothing in particular: the last checkpoint is the final state."""
        return min(self.steps, self.checkpoint or max(1, self.steps // 4))


@dataclass(frozen=True)
class TracedTraining:
    """Programs, tensors and parameters of a Training.

    State tensors are `step` (i64), the model's parameters and buffers, the optimizer's tensors, and `loss` (f32, of the
    last step) at the end.
    """

    training: Training
    program: Program
    average: Program
    evaluation: Evaluation | None
    state_names: tuple[str, ...]
    initial_state: list[Array]
    parameter_names: tuple[str, ...]
    state_dict_names: dict[str, str]
    hyperparameters: dict[str, float]
    _dataset: Dataset
    _shuffle: bool
    _constants: list[Array]
    _bindings: Bindings

    @property
    def loss_index(self) -> int:
        """The loss's place in the state."""
        return len(self.state_names) - 1

    def constants_for(self, worker: int) -> list[Array]:
        """The training program's constants: this worker's part of the data, then what the step itself holds."""
        dealt = self.training.seed if self._shuffle and self.training.shards > 1 else None
        return self._dataset.part(worker, self.training.shards, dealt) + self._constants

    def parameters(self, round_number: int, worker: int) -> list[Array]:
        """The training program's parameters: seed, worker, then the optimizer's scalars as of this round (from 0).

        Raises:
            ConfigError: when the schedule names a hyper-parameter that the optimizer lacks or has at zero.
        """
        settings = dict(self.hyperparameters)
        changed = {} if self.training.schedule is None else self.training.schedule(round_number)
        unknown = set(changed) - set(settings)
        if unknown:
            raise ConfigError(
                f"the schedule sets {', '.join(sorted(unknown))}, but the optimizer's non-zero hyper-parameters are"
                f" {', '.join(sorted(settings))}; give the optimizer a non-zero value to make it one"
            )
        settings.update(changed)
        head: list[Array] = [np.array(self.training.seed, np.int64), np.array(worker, np.int64)]
        return head + self._bindings.scalar_values(settings)

    def average_constants(self, worker_states: Sequence[Sequence[Any]]) -> list[Any]:
        """The averaging program's constants: the workers' final states, one after the other."""
        return [tensor for state in worker_states for tensor in state]

    def state_dict(self, state: Sequence[Array | torch.Tensor]) -> dict[str, torch.Tensor]:
        """A state as the model's state_dict: every name of it, tied ones included, in torch's types."""
        places = {name: place for place, name in enumerate(self.state_names)}
        types = {name: tensor.dtype for name, tensor in self.training.model.state_dict().items()}
        return {
            name: torch.as_tensor(state[places[held]]).to(types[name]).clone()
            for name, held in self.state_dict_names.items()
        }

    def evaluation_constants(self, state: Sequence[Any]) -> list[Any]:
        """The evaluation program's constants for a state, as arrays or heads.

        Raises:
            ConfigError: when the training has no held-out data.
        """
        if self.evaluation is None:
            raise ConfigError("the training has no held_out data to measure a model on; give it some")
        return self.evaluation.constants(dict(zip(self.state_names, state, strict=True)))


def trace_training(training: Training) -> TracedTraining:
    """Turns a Training into programs and tensors. The model and the optimizer are left as they were.

    Raises:
        TraceError: when the step cannot become a program; names the operation, the line and what to do.
        ConfigError: when batches do not fit the data.
    """
    dataset, loading = read_dataset(training.data, "the training data")
    batch_size = training.batch_size or loading.batch_size
    if batch_size is None:
        raise ConfigError(f"the training at {training.source} has no batch_size; give it one")
    rows = dataset.rows // training.shards
    if rows < batch_size:
        raise ConfigError(
            f"each of {training.shards} workers has {rows} rows, fewer than a batch of {batch_size}; take smaller"
            " batches or fewer shards"
        )
    warn_spare_rows(dataset.rows, training.shards, "the training data", f"{training.shards} equal parts are made")
    shuffle = next((given for given in (training.shuffle, loading.shuffle) if given is not None), True)
    if not shuffle:  # shuffled, every row has its turn in some epoch
        warn_spare_rows(rows, batch_size, "a worker", f"they fill no batch of {batch_size}")
    step = TrainingStep(training.model, training.loss, _optimizer(training), training.source)
    captured = capture(step, (dataset.batch(0, batch_size), dataset.batch(batch_size, batch_size)))
    return _assemble(training, dataset, captured, rows, batch_size, shuffle)


def _optimizer(training: Training) -> torch.optim.Optimizer:
    given = training.optimizer
    try:
        optimizer = given if isinstance(given, torch.optim.Optimizer) else given(training.model.parameters())
    except (ValueError, TypeError) as error:
        raise ConfigError(f"the optimizer at {training.source} cannot be made: {error}") from error
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TraceError(f"the optimizer at {training.source} is not a torch.optim.Optimizer, nor makes one")
    return optimizer


def _assemble(
    training: Training, dataset: Dataset, captured: CapturedStep, rows: int, batch: int, shuffle: bool
) -> TracedTraining:
    builder = Builder()
    lowering = Lowering(builder, training.bits)
    names = (STEP, *(item.name for item in captured.state), LOSS)
    initial = _initial_state(captured)
    state = [
        Tensor.of(builder.state(DType.from_numpy(array.dtype), array.shape, name))
        for name, array in zip(names, initial, strict=True)
    ]
    tables = [
        Tensor.of(builder.constant(column.dtype, (rows, *column.stored.shape[1:]), f"data.{number}"))
        for number, column in enumerate(dataset.columns)
    ]
    seed, worker = (Tensor.of(builder.parameter(DType.I64, (), name)) for name in ("seed", "worker"))
    places = positions(lowering, state[0], rows, batch)
    if shuffle:
        places = shuffled(lowering, places, state[0], seed, worker, rows, batch)
    columns = [
        unpacked(lowering, rows_of(lowering, table, places), column.scale)
        for table, column in zip(tables, dataset.columns, strict=True)
    ]
    bindings = Bindings(lowering, captured)
    draws = Randomness(seed, worker, state[0])
    results = [lowering.map(lambda s: s + 1, state[0]), *bindings.lower([*state[1:-1], *columns], draws)]
    new_state = [lowering.value(made, old.shape) for made, old in zip(results, state, strict=True)]
    program = builder.finish(new_state)
    return TracedTraining(
        training=training,
        program=program,
        average=average_program(program.specs(Source.STATE), training.shards, names),
        evaluation=_evaluation(training),
        state_names=names,
        initial_state=initial,
        parameter_names=("seed", "worker", *bindings.formulas),
        state_dict_names=state_dict_names(training.model),
        hyperparameters=captured.hyperparameters,
        _dataset=dataset,
        _shuffle=shuffle,
        _constants=bindings.constants,
        _bindings=bindings,
    )


def _initial_state(captured: CapturedStep) -> list[Array]:
    tensors = [item.initial.detach().contiguous().numpy() for item in captured.state]
    arrays = [array.astype(np.uint8) if array.dtype == np.bool_ else array for array in tensors]
    return [np.zeros((), np.int64), *arrays, np.zeros((), np.float32)]


def _evaluation(training: Training) -> Evaluation | None:
    if training.held_out is None:
        return None
    held_out, _ = read_dataset(training.held_out, "the held-out data")
    return trace_evaluation(training.model, training.loss, held_out, bits=training.bits, source=training.source)
