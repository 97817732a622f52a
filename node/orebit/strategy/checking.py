"""Before anything is posted: some steps of the program beside torch's own, from the same state and data.

Both start where the training starts; torch draws the random numbers that the program draws. How far they may be apart
is measured: a second run of torch starts from parameters that are off by as much as an exact product of `bits` rounds,
and what it then gets wrong, the program may get wrong a few times over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from orebit.errors import TraceError
from orebit.executor.reference import ReferenceExecutor
from orebit.numerics.types import DType
from orebit.program.graph import Program
from orebit.program.tracing import CapturedStep, Traceable
from orebit.program.tracing_data import Column, Dataset
from orebit.program.tracing_decompositions import plain_kernels
from orebit.program.tracing_draws import ProgramDraws
from orebit.program.tracing_optimizers import plain_variants
from orebit.program.tracing_schedules import Values, held_back, values_at
from orebit.program.tracing_snapshot import quiet, restored, seed_everything
from orebit.program.tracing_steps import Batch
from orebit.program.tracing_watch import counters, put_back
from orebit.strategy.assembly import STEP, Assembled, Batches, assemble

Array = NDArray[Any]
# The program is compared at this precision at least: a coarser one differs only in how it rounds.
LEAST_BITS = 15
NOISE_FACTOR = 8.0
LEAST_NOISE = 2.0**-18
# Precision of the program that tells rounding from a wrong trace, where the first one is not as torch has it.
FINER_BITS = 22


def refuse_difference(
    step: Traceable, captured: CapturedStep, dataset: Dataset, size: int, bits: int, schedule: Values, steps: int
) -> None:
    """Compares `steps` steps.

    Args:
        step: as captured; left as it was.
        captured: what was captured of it.
        dataset: whose first rows make the batches.
        size: of a batch.
        bits: of the program's exact products.
        schedule: the hyper-parameters that change from step to step.
        steps: how many.

    Raises:
        TraceError: names the first tensor that is not as torch has it.
    """
    bits = max(bits, LEAST_BITS)
    batches = [dataset.batch(number * size, size) for number in range(steps)]

    def program(precision: int) -> tuple[Assembled, dict[str, Array]]:
        reading = Batches(steps * size, size, False, steps)
        assembled = assemble(captured, dataset.columns, reading, precision, schedule)
        return assembled, _by_program(assembled, captured, dataset.columns, batches)

    assembled, made = program(bits)
    wanted = _by_torch(step, batches, schedule, 0.0)
    # f32 itself rounds no less, over many operations.
    noisy = _by_torch(step, batches, schedule, max(2.0 ** (1 - bits), LEAST_NOISE))
    before = dict(zip(assembled.state_names, assembled.initial_state, strict=True))
    finer: dict[str, Array] = {}
    for name, tensor in wanted.items():
        if name in made and not _agree(before[name], made[name], tensor, noisy[name], 2.0 ** (9 - bits)):
            finer = finer or program(FINER_BITS if bits != FINER_BITS else LEAST_BITS)[1]
            if _only_rounds(made[name], finer[name], tensor):
                continue
            distance = np.abs(made[name].astype(np.float64) - tensor).max()
            raise TraceError(
                f"after {steps} steps '{name}' of the program is not what the step at {step.source} makes of it in"
                f" torch: they differ by up to {distance:.3g}. Something that it does was not traced as it is; leave"
                " out what the step keeps outside of tensors, or report this with the step"
            )


def _by_program(
    assembled: Assembled, captured: CapturedStep, columns: Sequence[Column], batches: Sequence[Batch]
) -> dict[str, Array]:
    data = [_stored(column, [batch[k] for batch in batches]) for k, column in enumerate(columns)]
    settings = [captured.hyperparameters] * len(batches)
    constants = assembled.constants(data, settings)
    executor = ReferenceExecutor(assembled.program, constants, assembled.parameters(0, 0, captured.hyperparameters))
    state: list[Any] = assembled.initial_state
    for _ in batches:
        state = executor.step(state)
    return {name: tensor.numpy() for name, tensor in zip(assembled.state_names, state, strict=True) if name != STEP}


def _stored(column: Column, parts: Sequence[torch.Tensor]) -> Array:
    joined = torch.cat(list(parts)).numpy()
    return np.rint(joined * column.scale).astype(np.uint8) if column.scale else joined.astype(column.stored.dtype)


def _by_torch(step: Traceable, batches: Sequence[Batch], schedule: Values, noise: float) -> dict[str, Array]:
    counting = counters(getattr(step, "function", None), step.optimizers.values())
    with (
        restored(step.model, step.optimizers),
        put_back(counting),
        plain_variants(step.optimizers, False),
        plain_kernels(False),
        quiet(),
    ):
        if step.training is not None:
            step.model.train(step.training)
        step.model.zero_grad(set_to_none=True)
        if noise:
            _disturb(step, noise)
        places = step.places()
        for number, batch in enumerate(batches):
            seed_everything(0, 0, number)
            for place in places:
                place.write(_scheduled(place.name, place.read(), values_at(schedule, number)))
            draws = ProgramDraws((0, 0, number), _drawn)
            with held_back(step.optimizers, step.source), draws:
                outputs = step.run(tuple(tensor.clone() for tensor in batch))
            draws.sites.restore_generators()
        tensors = step.tensors() | dict(zip(step.outputs, outputs, strict=True))
        return {name: tensor.detach().clone().numpy() for name, tensor in tensors.items()}


def _disturb(step: Traceable, noise: float) -> None:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in step.tensors().values():
            if tensor.is_floating_point():
                tensor.mul_(1 + noise * torch.randn(tensor.shape, generator=generator))


def _scheduled(name: str, setting: Any, values: Mapping[str, float]) -> Any:
    if isinstance(setting, tuple | list):
        return type(setting)(_scheduled(f"{name}.{k}", part, values) for k, part in enumerate(setting))
    return values.get(name, setting)


def _drawn(program: Program, constants: list[Array], parameters: list[Array]) -> torch.Tensor:
    descriptor = program.descriptor(program.new_state[0])
    start = np.zeros(descriptor.shape, DType(descriptor.dtype).numpy)
    (made,) = ReferenceExecutor(program, constants, parameters).step([start])
    return made


def _agree(before: Array, made: Array, wanted: Array, noisy: Array, tolerance: float) -> bool:
    if not np.issubdtype(wanted.dtype, np.floating):
        return bool(np.array_equal(made, wanted)) or not bool(np.array_equal(wanted, noisy))
    start, got, right, other = (array.astype(np.float64).reshape(-1) for array in (before, made, wanted, noisy))
    if not np.array_equal(np.isfinite(got), np.isfinite(right)):
        return not np.array_equal(np.isfinite(other), np.isfinite(right))
    finite = np.isfinite(right) & np.isfinite(other)
    start, got, right, other = (array[finite] for array in (start, got, right, other))
    allowed = tolerance * _norm(right - start) + NOISE_FACTOR * _norm(other - right) + 2.0**-20 * _norm(right)
    return bool(_norm(got - right) <= allowed)


def _only_rounds(made: Array, finer: Array, wanted: Array) -> bool:
    """Whether programs of two precisions are as far apart as the program is from torch. So it is where a gradient is
    nothing but rounding, such as that of a key's bias in attention, and an optimizer divides it by its own size; a step
    that was traced wrongly is as wrong at every precision."""
    first, second, right = (array.astype(np.float64).reshape(-1) for array in (made, finer, wanted))
    return bool(_norm(first - right) <= 2.0 * _norm(first - second))


def _norm(array: Array) -> float:
    return float(np.sqrt(np.square(array).sum()))
