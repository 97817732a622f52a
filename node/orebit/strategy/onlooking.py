"""A job as anybody sees it, from chain and blobs alone: what `task status` and `task watch` show."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orebit.chain.connection import Connection
from orebit.chain.market import Market
from orebit.chain.registry import Registry
from orebit.errors import BlobCorrupt, BlobMissing, BlobTooLarge, CommitmentError, ConfigError
from orebit.strategy.board import Batch, Lease, Stage, Task
from orebit.strategy.follow import Follower

if TYPE_CHECKING:
    from orebit.store.client import BlobClient

LOSS_BYTES = 1024
"""A loss is the last tensor of a training state, an f32 of one element; anything larger is not fetched."""


@dataclass(frozen=True)
class BatchPicture:
    """A batch with the stage of each grain, and the losses of the results that are public and could be checked."""

    id: int
    averaging: bool
    stages: tuple[Stage, ...]
    closed: bool
    lost: int
    losses: tuple[float, ...]


@dataclass(frozen=True)
class NodePicture:
    """A node that worked on the job; wei of TokenAI."""

    node: int
    earned: int
    balance: int
    """What it has not withdrawn yet, of all tasks."""


@dataclass(frozen=True)
class JobPicture:
    """A job's tasks at one block; wei of TokenAI."""

    tasks: tuple[Task, ...]
    batches: tuple[BatchPicture, ...]
    nodes: tuple[NodePicture, ...]
    escrow: int
    """Not reserved by any batch."""
    block: int

    @property
    def paid(self) -> int:
        return sum(task.paid for task in self.tasks)

    @property
    def fees(self) -> int:
        return sum(task.fees for task in self.tasks)

    @property
    def settled(self) -> bool:
        """Whether every batch came to its end."""
        return all(batch.closed or set(batch.stages) == {Stage.FINAL} for batch in self.batches)


class Onlooker:
    """Follows the job that a task belongs to. Without `client`, losses are left out."""

    def __init__(self, connection: Connection, task: int, client: BlobClient | None = None) -> None:
        self._task = task
        self._market = Market(connection)
        self._registry = Registry(connection)
        self._client = client
        self._follower = Follower(connection)
        self._losses: dict[tuple[bytes, int], float] = {}

    async def look(self) -> JobPicture:
        """The job now. Raises ConfigError for an unknown task, ChainError when the chain cannot be reached."""
        await self._follower.refresh()
        board, head = self._follower.board, self._follower.head
        tasks = board.job_of(self._task)
        if not tasks or head is None:
            raise ConfigError(f"There is no task {self._task} on this market. `orebit tasks` lists them.")
        batches = sorted((batch for task in tasks for batch in board.batches_of(task.id)), key=lambda batch: batch.id)
        infos = await asyncio.gather(*(self._market.task_of(task.id) for task in tasks))
        open_tasks = {task.id for task in tasks if task.terms.is_open}
        return JobPicture(
            tasks=tuple(tasks),
            batches=tuple([await self._picture(batch, batch.task in open_tasks) for batch in batches]),
            nodes=await self._nodes(tasks),
            escrow=sum(info.escrow for info in infos),
            block=head.number,
        )

    async def _nodes(self, tasks: list[Task]) -> tuple[NodePicture, ...]:
        earned: dict[int, int] = {}
        for task in tasks:
            for node, amount in task.earned.items():
                earned[node] = earned.get(node, 0) + amount
        balances = await asyncio.gather(*(self._market.balance_of(node) for node in sorted(earned)))
        return tuple(
            NodePicture(node, earned[node], balance) for node, balance in zip(sorted(earned), balances, strict=True)
        )

    async def _picture(self, batch: Batch, averaging: bool) -> BatchPicture:
        losses: list[float] = []
        if not averaging:
            for lease in sorted(batch.leases.values(), key=lambda lease: lease.first):
                losses += await self._losses_of(lease, lease.grains * batch.size)
        return BatchPicture(
            batch.id, averaging, tuple(batch.stages()), batch.closed or batch.settled, batch.lost, tuple(losses)
        )

    async def _losses_of(self, lease: Lease, shards: int) -> list[float]:
        """Losses of a public result, checked against its root; none while its blobs are not to be had."""
        if lease.root is None or self._client is None:
            return []
        missing = [index for index in range(shards) if (lease.root, index) not in self._losses]
        try:
            if missing:
                await self._fetch_losses(self._client, lease, lease.root)
        except (BlobMissing, BlobCorrupt, BlobTooLarge, CommitmentError):
            return []
        return [self._losses[lease.root, index] for index in range(shards) if (lease.root, index) in self._losses]

    async def _fetch_losses(self, client: BlobClient, lease: Lease, root: bytes) -> None:
        sources = [(await self._registry.node_of(lease.id.node)).url]
        outcomes = await client.fetch_result(root, sources, tensors=False)
        for index, outcome in enumerate(outcomes):
            last = outcome.state[-1]
            await client.fetch_tensor(last.root, sources, limit=LOSS_BYTES)
            array = client.store.tensor(last.root)[1]
            if array.dtype.kind == "f" and array.size == 1:
                self._losses[root, index] = float(array.reshape(-1)[0])
