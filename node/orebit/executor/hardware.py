"""What a person chooses about where shards run. Imports nothing heavy, since every command reads it."""

from __future__ import annotations

from enum import Enum, StrEnum

# The fastest first.
EXECUTORS = ("cuda", "fused", "reference")


class Hardware(StrEnum):
    """What a shard may run on: the fastest there is, the processor alone, or a GPU and nothing else."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"

    @property
    def executors(self) -> tuple[str, ...]:
        """The executors that run there, the fastest first."""
        if self is Hardware.CUDA:
            return ("cuda",)
        return tuple(name for name in EXECUTORS if self is Hardware.AUTO or name != "cuda")


class Split(Enum):
    """How the nodes of a step are divided between ranks."""

    DATA = "data"
    STAGE = "stage"
