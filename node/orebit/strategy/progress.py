"""What a driver tells whoever watches it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from orebit.strategy.board import Stage


@dataclass(frozen=True)
class RoundProgress:
    """One round: the stage of each training shard, of the averaging, and the losses that are known and verified."""

    number: int
    training: tuple[Stage | None, ...]
    """None: not posted yet."""
    averaging: Stage | None
    losses: tuple[float, ...]


@dataclass(frozen=True)
class Progress:
    """A job at one moment. Amounts in wei of TokenAI."""

    training_task: int
    averaging_task: int
    rounds: tuple[RoundProgress, ...]
    message: str
    paid: int
    fees: int
    replicas: int
    lost: int
    """Leases that expired, were voided or slashed."""


class Observer(Protocol):
    """Sees a job go on."""

    def progress(self, progress: Progress) -> None:
        """The job as it stands, after every beat."""

    def note(self, text: str) -> None:
        """Something a person should know, once."""


class _Quiet:
    def progress(self, progress: Progress) -> None:
        """Nobody watches."""

    def note(self, text: str) -> None:
        """Nobody listens."""


QUIET: Observer = _Quiet()
