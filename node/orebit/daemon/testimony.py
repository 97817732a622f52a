"""Contested pairs of strangers: re-executes the drawn block, and tells the judge of local chains what came out."""

from __future__ import annotations

import asyncio

import structlog

from orebit.chain.arbiter import Arbiter
from orebit.chain.commitments import replica_log2
from orebit.chain.sender import Sender
from orebit.chain.types import LeaseId, LeaseInfo, LeaseState
from orebit.commitment import ListKind
from orebit.daemon.decision import passed
from orebit.daemon.journal import Journal, Phase, Stranger
from orebit.daemon.obligations import opening
from orebit.daemon.view import View
from orebit.daemon.work import Job, Purpose, Worker
from orebit.errors import ChainError, OrebitError, TransactionReverted
from orebit.store import BlobClient

log = structlog.get_logger(__name__)


class Witness:
    """Testifies by itself wherever this node is neither side."""

    def __init__(
        self,
        journal: Journal,
        view: View,
        client: BlobClient,
        worker: Worker,
        sender: Sender,
        arbiter: Arbiter,
        node: int,
        poll_seconds: float,
    ) -> None:
        self._journal = journal
        self._view = view
        self._client = client
        self._worker = worker
        self._sender = sender
        self._arbiter = arbiter
        self._node = node
        self._poll_seconds = poll_seconds
        self._silent: set[LeaseId] = set()

    async def run(self) -> None:
        """Looks at contested pairs for ever."""
        while True:
            for stranger in self._journal.strangers(Phase.CONTESTED):
                try:
                    await self._look(stranger)
                except OrebitError as error:
                    log.warning("cannot testify now", lease=str(stranger.lease), reason=str(error))
            await asyncio.sleep(self._poll_seconds)

    async def _look(self, stranger: Stranger) -> None:
        lease = stranger.lease
        if lease in self._silent or self._sender.knows(f"testify {lease}"):
            return
        info = await self._view.lease(lease)
        if info.state is not LeaseState.CONTESTED:
            self._journal.move_stranger(lease, Phase.PAIRED, stranger.since)
            self._worker.drop(lease)
            return
        batch = self._journal.batch(stranger.batch)
        task = batch and self._journal.task(batch.task)
        if batch is None or not task or info.peer.node == self._node:
            return
        terms = (await self._view.task(batch.task)).terms
        if passed(info, terms, await self._view.clock()):
            return
        replica = await self._view.lease(info.peer)
        log2 = replica_log2(terms, info.shards)
        root = self._worker.finished.get((lease, Purpose.TESTIMONY))
        if root is not None:
            await self._testify(lease, info, replica, log2, root)
            return
        self._worker.submit(
            Job(
                lease,
                Purpose.TESTIMONY,
                info.plan_root,
                replica.first_shard,
                replica.shards,
                log2,
                info.deadline,
                (task.url,),
            )
        )

    async def _testify(self, lease: LeaseId, info: LeaseInfo, replica: LeaseInfo, log2: int, root: bytes) -> None:
        path = [] if root == replica.root else await self._path(lease, info, log2, root)
        if path is None:
            self._silent.add(lease)
            log.warning("neither side of a contested pair has the result that this node computes", lease=str(lease))
            return
        (number,) = self._journal.record_acts([("testify", lease)])
        calldata = self._arbiter.encode_testify(lease, self._node, root, path)
        try:
            await self._sender.send(self._arbiter.address, calldata, label=f"testify {lease}", key=f"testify {lease}")
        except TransactionReverted as error:
            self._silent.add(lease)
            self._journal.settle_acts([number], str(error))
            log.info("the testimony was not needed", lease=str(lease), reason=str(error))
            return
        except ChainError as error:
            self._journal.settle_acts([number], str(error))
            raise
        self._journal.settle_acts([number], "done")
        log.info("testified", lease=str(lease), wrong="primary" if root == replica.root else "replica")

    async def _path(self, lease: LeaseId, info: LeaseInfo, log2: int, root: bytes) -> list[bytes] | None:
        """The siblings by which `root` opens into the primary's result; None where it does not."""
        url = (await self._view.registry.node_of(lease.node)).url
        hashes = await self._client.fetch_list(info.root, ListKind.RESULTS, [url])
        block, path = opening(hashes, info.drawn_block, log2)
        return path if block == root else None
