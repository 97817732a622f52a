"""What a requester wants trained, and the programs and tensors that it becomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from numpy.typing import NDArray

from orebit.errors import ConfigError, TraceError
from orebit.program.averaging import average_program
from orebit.program.collecting import seldom_collecting
from orebit.program.descriptor import Source
from orebit.program.evaluation import Evaluation, trace_evaluation
from orebit.program.graph import Program
from orebit.program.lowering.context import DEFAULT_BITS
from orebit.program.tracing import TrainingStep, WrittenStep, capture, state_dict_names
from orebit.program.tracing_data import Dataset, read_dataset, warn_spare_rows
from orebit.program.tracing_location import caller
from orebit.program.tracing_schedules import Values, held_back, nominal, play, schedulers_of
from orebit.program.tracing_snapshot import restored
from orebit.program.tracing_start import run_eagerly
from orebit.program.tracing_steps import as_model, as_optimizers
from orebit.strategy.assembly import Assembled, Batches, assemble
from orebit.strategy.checking import refuse_difference

Array = NDArray[Any]


@dataclass(kw_only=True)
class Training:
    """A model to be trained by parameter averaging: `rounds` times, `shards` workers make `steps` steps each on their
    own part of the data, and their states are averaged.

    Args:
        model: an ordinary torch.nn.Module in float32, on the CPU; for a `step`, several modules (and tensors) by name
            or in a list, all that it trains or updates.
        loss: `loss(model(x), y) -> scalar`, a module or a function.
        step: a training step as it stands; `loss` is then for held-out data only. `step(*batch)` zeroes gradients,
            differentiates, lets the optimizers step, and returns the loss, or losses by name. Floats that it takes by
            keyword with a default, closes over or reads from its module are hyper-parameters.
        optimizer: an optimizer over model.parameters(), or a function that makes one from parameters; for a `step`,
            several by name or in a list, or none where the step updates parameters itself.
        scheduler: torch.optim.lr_scheduler's, one or several, stepped after every step; or a function from the step's
            number over all rounds, from 0, to hyper-parameters by name. Those that a `step` steps itself are found.
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
        check: how many steps of the program are compared with torch's own before anything is posted, 0 for none.
    """

    model: Any
    data: Any
    steps: int
    optimizer: Any = None
    loss: Callable[..., torch.Tensor] | None = None
    step: Callable[..., Any] | None = None
    scheduler: Any = None
    batch_size: int | None = None
    shards: int = 1
    rounds: int = 1
    held_out: Any = None
    shuffle: bool | None = None
    seed: int = 0
    checkpoint: int | None = None
    bits: int = DEFAULT_BITS
    schedule: Callable[[int], Mapping[str, float]] | None = None
    check: int = 2
    source: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.source = caller()
        if not isinstance(self.check, int) or self.check < 0:
            raise ConfigError(f"check = {self.check!r} of the training at {self.source} must be an integer from 0")
        if self.loss is None and self.step is None:
            raise ConfigError(f"the training at {self.source} needs a loss, or a step of its own")
        self.model = as_model(self.model, self.source)
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

    State tensors are `step` (i64), the model's parameters and buffers, the optimizers' tensors, and the losses of the
    last step (f32), `loss` at the end.
    """

    training: Training
    average: Program
    evaluation: Evaluation | None
    state_dict_names: dict[str, str]
    hyperparameters: dict[str, float]
    _assembled: Assembled
    _dataset: Dataset
    _shuffle: bool

    @property
    def program(self) -> Program:
        """The training program."""
        return self._assembled.program

    @property
    def state_names(self) -> tuple[str, ...]:
        """Of the training program's state."""
        return self._assembled.state_names

    @property
    def initial_state(self) -> list[Array]:
        """The training program's state before the first step."""
        return self._assembled.initial_state

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Of the training program's parameters."""
        return self._assembled.parameter_names

    @property
    def loss_index(self) -> int:
        """The loss's place in the state."""
        return len(self.state_names) - 1

    def constants_for(self, worker: int) -> list[Array]:
        """The training program's constants: this worker's part of the data, the table of scalars that depend on the
        step, if there are any, and what the step itself holds."""
        dealt = self.training.seed if self._shuffle and self.training.shards > 1 else None
        rounds = [self._settings(number) for number in range(self.training.rounds)]
        settings = [settings for settings in rounds for _ in range(self.training.steps)]
        return self._assembled.constants(self._dataset.part(worker, self.training.shards, dealt), settings)

    def parameters(self, round_number: int, worker: int) -> list[Array]:
        """The training program's parameters: seed, worker, then the step's scalars as of this round (from 0).

        Raises:
            ConfigError: when the schedule names a hyper-parameter that the step lacks, has at zero, or has scheduled by
                the step.
        """
        return self._assembled.parameters(self.training.seed, worker, self._settings(round_number))

    def _settings(self, round_number: int) -> dict[str, float]:
        changed = {} if self.training.schedule is None else self.training.schedule(round_number)
        unknown = changed.keys() - self.hyperparameters.keys() | changed.keys() & self._assembled.schedule.keys()
        if unknown:
            known = self.hyperparameters.keys() - self._assembled.schedule.keys()
            raise ConfigError(
                f"the schedule sets {', '.join(sorted(unknown))}, but the step's non-zero hyper-parameters that no"
                f" scheduler sets are {', '.join(sorted(known))};"
                " give the optimizer a non-zero value to make it one"
            )
        return self.hyperparameters | {name: float(value) for name, value in changed.items()}

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


@seldom_collecting()
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
    step = _step(training)
    examples = dataset.batch(0, batch_size), dataset.batch(batch_size, batch_size)
    schedule = _schedule(training, step, examples[0])
    with held_back(step.optimizers, step.source) as stepped:
        captured = capture(step, examples, nominal(schedule))
    _refuse_unknown_schedulers(training, stepped)
    batches = Batches(rows, batch_size, shuffle, training.steps * training.rounds)
    assembled = assemble(captured, dataset.columns, batches, training.bits, schedule)
    if training.check:
        refuse_difference(step, captured, dataset, batch_size, training.bits, schedule, training.check)
    return TracedTraining(
        training=training,
        average=average_program(assembled.program.specs(Source.STATE), training.shards, assembled.state_names),
        evaluation=_evaluation(training),
        state_dict_names=state_dict_names(training.model),
        hyperparameters=captured.hyperparameters,
        _assembled=assembled,
        _dataset=dataset,
        _shuffle=shuffle,
    )


def _step(training: Training) -> TrainingStep | WrittenStep:
    alone = training.step is not None and training.optimizer is None
    optimizers = {} if alone else as_optimizers(_optimizer(training), training.source)
    if training.step is not None:
        return WrittenStep(training.step, training.model, optimizers, training.source)
    if len(optimizers) > 1 or training.loss is None:
        raise ConfigError(f"the training at {training.source} has several optimizers; write its `step`")
    return TrainingStep(training.model, training.loss, next(iter(optimizers.values())), training.source)


def _optimizer(training: Training) -> Any:
    given = training.optimizer
    if isinstance(given, torch.optim.Optimizer) or not callable(given):
        return given
    try:
        return given(training.model.parameters())
    except Exception as error:  # whatever an optimizer of the user's raises
        raise ConfigError(f"the optimizer at {training.source} cannot be made: {error}") from error


def _schedule(training: Training, step: TrainingStep | WrittenStep, batch: tuple[torch.Tensor, ...]) -> Values:
    """The hyper-parameters that change from step to step."""
    scheduler = training.scheduler
    if scheduler is None and training.step is not None and schedulers_of(training.step):
        with restored(step.model, step.optimizers), held_back(step.optimizers, step.source) as stepped:
            run_eagerly(step, batch)
        if len({id(one) for one in stepped}) < len(stepped):
            raise TraceError(f"the step at {step.source} lets a scheduler step more than once; let it step once")
        scheduler = stepped
    if isinstance(scheduler, list | tuple) and not scheduler:
        scheduler = None
    return play(scheduler, step.optimizers, training.steps * training.rounds, step.source)


def _refuse_unknown_schedulers(training: Training, stepped: list[Any]) -> None:
    if stepped and (training.step is None or training.scheduler is not None or not schedulers_of(training.step)):
        raise TraceError(
            f"a scheduler steps inside the step at {training.source}; leave it to Training(scheduler=...), or let the"
            " step reach it by a variable of its own"
        )


def _evaluation(training: Training) -> Evaluation | None:
    if training.held_out is None:
        return None
    if training.loss is None:
        raise ConfigError(f"the training at {training.source} has held_out data but no loss; give `loss` beside `step`")
    held_out, _ = read_dataset(training.held_out, "the held-out data")
    return trace_evaluation(training.model, training.loss, held_out, bits=training.bits, source=training.source)
