"""OREBIT_HOME: the one folder in which a node or driver keeps all that it must not lose, one process at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from orebit.errors import ConfigError, LockedError, StorageError

ENVIRONMENT = "OREBIT_HOME"


class Home:
    """Paths under one home folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def keystore(self) -> Path:
        return self.path / "keystore.json"

    @property
    def journal(self) -> Path:
        """The daemon's or driver's SQLite journal."""
        return self.path / "journal.sqlite"

    @property
    def outbox(self) -> Path:
        """The sender's SQLite journal."""
        return self.path / "outbox.sqlite"

    @property
    def blobs(self) -> Path:
        return self.path / "blobs"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the home for this process. Raises `LockedError`, naming the process that has it."""
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._take(descriptor)
            yield
        finally:
            os.close(descriptor)

    def _take(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise LockedError(
                f"{self.path} is in use by process {holder}. Stop that process first, or give this one a folder of "
                f"its own in {ENVIRONMENT}."
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def locate(path: Path | None = None) -> Home:
    """The home of `path`, else of OREBIT_HOME, else of the user's data folder; made with mode 0700 if need be.

    Raises `ConfigError` when it is no folder, `StorageError` when it cannot be made.
    """
    named = os.environ.get(ENVIRONMENT)
    folder = path or (Path(named).expanduser() if named else platformdirs.user_data_path("orebit"))
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError as error:
        raise ConfigError(f"{folder} is a file, not a folder. Set {ENVIRONMENT} to a folder.") from error
    except OSError as error:
        raise StorageError(
            f"The folder {folder} cannot be made ({error.strerror}). Set {ENVIRONMENT} to a folder that you may write."
        ) from error
    return Home(folder.resolve())
