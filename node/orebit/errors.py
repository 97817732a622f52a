"""The one exception tree. A message is a paragraph for a person: what happened, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class OrebitError(Exception):
    """Anything that Orebit refuses or cannot do. `exit_code` is what the command line exits with."""

    exit_code = 1


class ConfigError(OrebitError):
    """A file, flag or environment variable is missing or wrong."""


class CommitmentError(OrebitError):
    """A count, entry, path or preimage is not one that its root can bind."""


class ProgramError(OrebitError):
    """A program is malformed, exceeds a limit, or is not valid."""


class TraceError(OrebitError):
    """A model or step cannot be turned into a program; names the operation and the user's line."""


class ExecutionError(OrebitError):
    """A shard cannot be executed here."""


class TooMuchCode(ExecutionError):
    """A program's kernels are more than a compiler should be given; the reference executor needs none."""


class ExecutionStopped(ExecutionError):
    """A shard was asked to stop between two steps."""


class ConformanceError(OrebitError):
    """This machine does not compute the reference bits."""


class StorageError(OrebitError):
    """The local store cannot read or write."""


class BlobMissing(OrebitError):
    """No source has the blob."""


class BlobCorrupt(OrebitError):
    """Bytes do not match the root that names them."""


class BlobTooLarge(OrebitError):
    """A head names more bytes than this machine accepts."""


class ChainError(OrebitError):
    """The chain cannot be reached, is another chain, or answers nonsense."""


class TransactionReverted(ChainError):
    """A transaction failed on-chain; carries the contract's custom error and its values by snake_case name."""

    def __init__(
        self,
        message: str,
        error: str = "Reverted",
        values: Mapping[str, Any] | None = None,
        *,
        transaction: bytes | None = None,
    ) -> None:
        super().__init__(message)
        self.error = error
        self.values = dict(values or {})
        self.transaction = transaction


class IllegalMove(OrebitError):
    """The court's rules do not allow a move, or there is none that an honest side would make."""


class AccountError(OrebitError):
    """A keystore is missing, the password is wrong, or funds do not suffice."""


class LockedError(OrebitError):
    """Another process uses this OREBIT_HOME."""


class JobHalted(OrebitError):
    """A job cannot go on as it is; going on would waste money."""


class ResultRefused(OrebitError):
    """A node's result contradicts what its lease is for, and is not merged."""


class ResultNotFinite(ResultRefused):
    """A trained state holds an infinity or a NaN: its node lies, or the training diverged."""


class AuditMismatch(OrebitError):
    """The books or a result do not agree with the chain."""

    exit_code = 2


class AuditUnverified(OrebitError):
    """Nothing contradicts the chain, but a blob needed to verify it is missing."""

    exit_code = 3
