"""Contested pairs of this node: once its own result has come out again, the other one is challenged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from orebit.chain.commitments import replica_log2
from orebit.chain.types import RESULTS, LeaseId, LeaseInfo, LeaseState
from orebit.commitment import ListKind, ShardResult
from orebit.daemon.court.demands import Demands
from orebit.daemon.court.docket import Docket
from orebit.daemon.court.proofs import BLOB_ERRORS, Proofs
from orebit.daemon.journal import LeaseRecord
from orebit.daemon.obligations import Obligations
from orebit.daemon.view import View
from orebit.errors import ChainError, OrebitError
from orebit.store import BlobClient

log = structlog.get_logger(__name__)


@dataclass
class Contests:
    """Wants a game against the other of each pair of which this node is sure."""

    obligations: Obligations
    docket: Docket
    view: View
    client: BlobClient
    proofs: Proofs
    demands: Demands

    async def look(self) -> None:
        """One round. Raises ChainError when no endpoint answers."""
        wanted = {challenge.lease for challenge in self.docket.challenges()}
        for standing in self.obligations.standings:
            contested = standing.info.state is LeaseState.CONTESTED and standing.info.peer != 0
            if not contested or standing.info.peer in wanted or not self.obligations.is_sure(standing.record.lease):
                continue
            try:
                await self._challenge(standing.record, standing.info.peer)
            except ChainError:
                raise
            except OrebitError as error:
                log.warning(
                    "cannot challenge the other of a pair now", lease=str(standing.info.peer), reason=str(error)
                )

    async def _challenge(self, record: LeaseRecord, peer: LeaseId) -> None:
        info = await self.view.lease(peer)
        url = (await self.view.registry.node_of(peer.node)).url
        theirs = await self._results(peer, info, url)
        if theirs is None:
            return
        own = self.proofs.results(record)
        for position, result in enumerate(theirs):
            place = info.first_shard + position - record.first_shard
            if 0 <= place < len(own) and own[place] != result:
                await self._want(record, place, peer, info, position, result, url)
                return

    async def _results(self, peer: LeaseId, info: LeaseInfo, url: str) -> Sequence[bytes] | None:
        """The other's result hashes; None while they are demanded."""
        batch = await self.view.market.batch_of(info.batch)
        log2 = replica_log2((await self.view.task(batch.task)).terms, info.grains * batch.size)
        try:
            if info.replica:
                return await self.client.fetch_block(info.root, info.shards, log2, [url])
            return await self.client.fetch_list(info.root, ListKind.RESULTS, [url], count=info.shards)
        except BLOB_ERRORS as error:
            return await self.demands.obtain(peer, RESULTS, 0, info.shards, str(error))

    async def _want(
        self, record: LeaseRecord, place: int, peer: LeaseId, info: LeaseInfo, position: int, result: bytes, url: str
    ) -> None:
        roots = self.proofs.own(record, place).checkpoints
        reason = f"its result of shard {info.first_shard + position} is not the one of lease {record.lease}"
        claimed = await self._claimed(result, len(roots), url)
        wrong = None
        if claimed is not None:
            wrong = next((at for at, root in enumerate(roots) if claimed[at] != root), None)
        self.docket.want(
            peer, position, info.plan_root, info.first_shard, reason,
            own=roots, claimed=None if wrong is None else claimed, checkpoint=wrong,
        )  # fmt: skip

    async def _claimed(self, result: bytes, count: int, url: str) -> tuple[bytes, ...] | None:
        """The other's checkpoints, where it serves them; in the game it must show them anyway."""
        try:
            preimage = ShardResult.decode(await self.client.fetch_preimage(result, [url]))
            kind = ListKind.CHECKPOINTS
            return tuple(await self.client.fetch_list(preimage.checkpoints_root, kind, [url], count=count))
        except BLOB_ERRORS:
            return None
