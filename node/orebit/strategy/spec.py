"""A job as its driver keeps it: every root, name and number it needs to go on, so that no source file is read twice."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

from orebit.errors import StorageError
from orebit.strategy.terms import TaskFile


@dataclass(frozen=True)
class TensorPlace:
    """What a state tensor must be: element type code (as in heads) and dimensions."""

    dtype: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Evaluation:
    """A held-out measurement. Constants are the trained state's tensors at the places `model`, then `data`."""

    program: bytes
    """Program root."""
    steps: int
    names: tuple[str, ...]
    """Of the evaluation's own state tensors; `loss` and `accuracy` are what is measured."""
    initial: tuple[bytes, ...]
    model: tuple[int, ...]
    data: tuple[bytes, ...]


@dataclass(frozen=True)
class ModelTensor:
    """An entry of the model's `state_dict`: where the trained state has it, and its torch type's name."""

    name: str
    place: int
    dtype: str


@dataclass(frozen=True)
class JobSpec:
    """Everything that fixes a parameter-averaging job. Roots are tensor roots unless said."""

    name: str
    program: bytes
    """Program root of the training step."""
    averaging: bytes
    """Program root of the averaging step."""
    state_names: tuple[str, ...]
    model: tuple[ModelTensor, ...]
    evaluation: Evaluation | None
    places: tuple[TensorPlace, ...]
    state: tuple[bytes, ...]
    constants: tuple[tuple[bytes, ...], ...]
    """Constants of each worker."""
    parameters: tuple[tuple[tuple[bytes, ...], ...], ...]
    """Parameters of each round and worker."""
    loss: int
    """Which state tensor is the loss."""
    steps: int
    interval: int
    settings: dict[str, Any]
    """The task file with its defaults, plain."""

    @property
    def workers(self) -> int:
        """Shards a round."""
        return len(self.constants)

    @property
    def rounds(self) -> int:
        return len(self.parameters)

    @property
    def task_file(self) -> TaskFile:
        return TaskFile.restore(self.settings)

    def encode(self) -> str:
        """Canonical JSON; roots in hex."""
        return json.dumps(_plain(asdict(self)), sort_keys=True, separators=(",", ":"))

    @classmethod
    def decode(cls, text: str) -> JobSpec:
        """Raises StorageError when the text is not a job."""
        try:
            found = json.loads(text)
            return cls(
                name=found["name"],
                program=bytes.fromhex(found["program"]),
                averaging=bytes.fromhex(found["averaging"]),
                state_names=tuple(found["state_names"]),
                model=tuple(ModelTensor(**entry) for entry in found["model"]),
                evaluation=_evaluation(found["evaluation"]),
                places=tuple(TensorPlace(place["dtype"], tuple(place["shape"])) for place in found["places"]),
                state=_roots(found["state"]),
                constants=tuple(map(_roots, found["constants"])),
                parameters=tuple(tuple(map(_roots, workers)) for workers in found["parameters"]),
                loss=found["loss"],
                steps=found["steps"],
                interval=found["interval"],
                settings=found["settings"],
            )
        except (ValueError, KeyError, TypeError) as error:
            raise StorageError(f"A job in the journal cannot be read ({error!r}). Restore OREBIT_HOME.") from error

    @property
    def key(self) -> str:
        """Names the job: equal for equal work on equal terms."""
        return sha256(self.encode().encode()).hexdigest()[:16]


def _evaluation(found: dict[str, Any] | None) -> Evaluation | None:
    if found is None:
        return None
    return Evaluation(
        program=bytes.fromhex(found["program"]),
        steps=found["steps"],
        names=tuple(found["names"]),
        initial=_roots(found["initial"]),
        model=tuple(found["model"]),
        data=_roots(found["data"]),
    )


def _roots(values: list[str]) -> tuple[bytes, ...]:
    return tuple(map(bytes.fromhex, values))


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
