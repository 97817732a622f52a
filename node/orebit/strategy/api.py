"""Orebit from Python: the same as the commands, as functions that wait."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp
from eth_account.signers.local import LocalAccount

from orebit.chain.connection import connect
from orebit.chain.home import locate
from orebit.chain.rpc import parse_urls
from orebit.errors import ConfigError
from orebit.store.client import BlobClient
from orebit.store.local import LocalStore
from orebit.strategy import submission
from orebit.strategy.audit import Audit
from orebit.strategy.audit import audit as audit_task
from orebit.strategy.outcome import save_model, state_dict
from orebit.strategy.prepare import prepare
from orebit.strategy.progress import QUIET, Observer
from orebit.strategy.requester import open_requester
from orebit.strategy.terms import load_task_file
from orebit.strategy.training import Training

if TYPE_CHECKING:
    import torch

    from orebit.strategy.journal import JobRecord

T = TypeVar("T")


@dataclass(frozen=True)
class Trained:
    """A finished job. `accuracy` and `loss` are held-out figures, None where the training has no such data."""

    task: int
    averaging_task: int
    accuracy: float | None
    loss: float | None
    _store: LocalStore
    _job: JobRecord

    @property
    def state_dict(self) -> dict[str, torch.Tensor]:
        """The model's `state_dict`, checked against its roots."""
        return state_dict(self._store, self._job)

    def save(self, path: str | Path) -> None:
        """Writes the model as safetensors. Raises StorageError when the disk refuses."""
        save_model(self._store, self._job, Path(path))


def submit(
    training: Training,
    terms: Mapping[str, Any] | None = None,
    *,
    averaging: Mapping[str, Any] | None = None,
    run: Mapping[str, Any] | None = None,
    file: str | Path | None = None,
    account: LocalAccount | None = None,
    home: str | Path | None = None,
    rpc: str | None = None,
    observer: Observer = QUIET,
    name: str = "orebit.submit",
) -> Trained:
    """Has a training done by the market's nodes and waits for the result; money moves without a question.

    Called again with the same arguments after an interruption, it takes the job up where it was.

    Args:
        training: what to train.
        terms, averaging, run: settings of those tables of a task file, as in `terms={"price": "0.5"}`.
        file: a task file for what they leave out.
        account: pays; the keystore of the home unless given.
        home: keeps journal and blobs; OREBIT_HOME unless given.
        rpc: RPC URLs, separated by commas; OREBIT_RPC unless given.
        observer: sees the job go on.

    Raises OrebitError: AccountError without the money, TraceError for what cannot become a program, JobHalted when
    going on would waste money, and the others as they are named.
    """
    flags = {
        f"{table}.{key}": value
        for table, settings in (("terms", terms), ("averaging", averaging), ("run", run))
        for key, value in (settings or {}).items()
    }
    settings = load_task_file(Path(file) if file else None, flags)

    async def work() -> Trained:
        place = locate(Path(home) if home else None)
        async with open_requester(place, rpc=_urls(rpc), account=account) as requester:
            spec = prepare(training, requester.store, settings, name)
            job = requester.journal.unfinished(spec.key)
            if job is None:
                job = submission.begin(requester, await submission.make_offer(requester, spec))
            done = await submission.finish(requester, job, observer)
            assert done.training is not None and done.averaging is not None
            return Trained(done.training, done.averaging, done.accuracy, done.loss, requester.store, done)

    return _wait(work())


def audit(task: int, *, rpc: str | None = None, sources: Sequence[str] = (), reexecute: int = 0) -> Audit:
    """Replays every event, reconciles every token, and checks every root of a task against its blob.

    `reexecute` shards are picked at random and computed here. The answer's `demand()` raises AuditMismatch or
    AuditUnverified for what was found.
    """

    async def work() -> Audit:
        with tempfile.TemporaryDirectory(prefix="orebit-audit-") as folder:
            async with await connect(_urls(rpc)) as connection, aiohttp.ClientSession() as session:
                client = BlobClient(session, LocalStore(Path(folder)))
                return await audit_task(connection, task, client, sources=sources, reexecute=reexecute)

    return _wait(work())


def _urls(rpc: str | None) -> list[str]:
    return parse_urls(rpc or os.environ.get("OREBIT_RPC", ""))


def _wait(work: Coroutine[Any, Any, T]) -> T:
    """Runs to the end. Raises ConfigError inside a running event loop (a notebook), which waiting would block."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    work.close()
    raise ConfigError("An event loop is running here already. Call this in a thread: await asyncio.to_thread(...).")
