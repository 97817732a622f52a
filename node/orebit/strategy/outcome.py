"""The trained model, out of a job's verified final state."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch

from orebit.commitment import state_root
from orebit.errors import ConfigError, StorageError
from orebit.store.local import LocalStore
from orebit.strategy.journal import JobRecord


def state_dict(store: LocalStore, job: JobRecord) -> dict[str, torch.Tensor]:
    """The model's `state_dict`, each tensor checked against its root. Raises ConfigError while there is no result."""
    if job.result is None:
        raise ConfigError(
            f"The job of task {job.training} has no result yet. Follow it with `orebit task watch {job.training}`, or "
            f"take it up again with `orebit task resume {job.training}`."
        )
    return {entry.name: _tensor(store, job.result[entry.place], entry.dtype) for entry in job.spec.model}


def _tensor(store: LocalStore, root: bytes, dtype: str) -> torch.Tensor:
    _, array = store.tensor(root)
    wanted: torch.dtype = getattr(torch, dtype)
    return torch.from_numpy(np.array(array)).to(wanted)


def save_model(store: LocalStore, job: JobRecord, path: Path) -> int:
    """Writes the model as safetensors, whole or not at all; how many tensors it has."""
    tensors = {name: tensor.contiguous().clone() for name, tensor in state_dict(store, job).items()}
    metadata = {"orebit.task": str(job.training), "orebit.state": state_root(job.result or ()).hex()}
    draft = path.with_name(f".{path.name}.part")
    try:
        safetensors.torch.save_file(tensors, draft, metadata=metadata)
        draft.replace(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise StorageError(f"{path} cannot be written ({error}). Choose another file, or free some space.") from error
    finally:
        draft.unlink(missing_ok=True)
    return len(tensors)
