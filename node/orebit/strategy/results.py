"""The border at which results come in: nothing is merged before every hash, shape and number in it was checked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orebit.chain.registry import Registry
from orebit.commitment import TensorHead
from orebit.errors import BlobTooLarge, CommitmentError, ResultNotFinite, ResultRefused
from orebit.executor.selection import choose_executor
from orebit.numerics.types import DType
from orebit.program.graph import Program
from orebit.store.client import BlobClient
from orebit.store.local import LocalStore
from orebit.store.plan import PlanShard
from orebit.strategy.board import Lease
from orebit.strategy.journal import Kind
from orebit.strategy.rounds import State, Step
from orebit.strategy.spec import JobSpec


@dataclass(frozen=True)
class Merged:
    """A verified final state of one shard, its tensors in the local store, and the loss that is part of it."""

    state: State
    loss: float


class ResultReader:
    """Fetches and checks results of one job into its store."""

    def __init__(self, spec: JobSpec, store: LocalStore, client: BlobClient, registry: Registry) -> None:
        self._spec = spec
        self._store = store
        self._client = client
        self._registry = registry

    async def read(self, step: Step, lease: Lease, shards: Sequence[PlanShard], index: int) -> Merged:
        """The final state of shard `index` of a lease.

        Raises BlobMissing or BlobCorrupt while no source gives it, ResultRefused when the node's own commitment is to
        something else than the shard's result, ResultNotFinite when a state holds an infinity or a NaN.
        """
        assert lease.root is not None
        size = sum(TensorHead(place.dtype, place.shape, bytes(32)).size for place in self._spec.places)
        try:
            outcomes = await self._client.fetch_result(
                lease.root,
                await self._sources(lease),
                shards=[shard.shard for shard in shards],
                limit=size * len(shards),
            )
        except (CommitmentError, BlobTooLarge) as error:
            raise ResultRefused(f"The result is not one of its shards: {error}") from error
        state = tuple(head.root for head in outcomes[index].state)
        await asyncio.to_thread(self._check, step, shards[index], state)
        return Merged(state, await asyncio.to_thread(self._loss, state))

    async def _sources(self, lease: Lease) -> list[str]:
        """Where the lease's node, and whoever replicated it, serve blobs."""
        nodes = [lease.id.node] + ([lease.replica.node] if lease.replica else [])
        return [(await self._registry.node_of(node)).url for node in nodes]

    def _check(self, step: Step, shard: PlanShard, state: State) -> None:
        if step.kind is Kind.AVERAGING:
            self._check_average(shard, state)
        for name, root in zip(self._spec.state_names, state, strict=True):
            head, array = self._store.tensor(root)
            if DType(head.dtype).is_float and not np.isfinite(array).all():
                raise ResultNotFinite(f"Round {step.round + 1} ended with a value that is not finite in {name}.")

    def _check_average(self, shard: PlanShard, state: State) -> None:
        """Averaging is cheap and nobody is drawn to check it, so the driver repeats it."""
        expected = run_step(self._store, shard)
        if expected != state:
            wrong = [index for index, pair in enumerate(zip(expected, state, strict=True)) if pair[0] != pair[1]]
            raise ResultRefused(
                f"The average is wrong: state tensor {wrong[0]} is not the mean of the workers' tensors."
            )

    def _loss(self, state: State) -> float:
        _, array = self._store.tensor(state[self._spec.loss])
        return float(array.reshape(-1)[0])


def run_step(store: LocalStore, shard: PlanShard) -> State:
    """One step of a shard's program on its own inputs, by the executor soonest done; the new state is stored."""
    program = Program.decode(store.program(shard.program))
    constants = [store.tensor(root)[1] for root in shard.constants]
    parameters = [store.tensor(root)[1] for root in shard.parameters]
    executor = choose_executor(program, 1)(program, constants, parameters)
    state = executor.step([store.tensor(root)[1] for root in shard.state])
    return tuple(store.put_array(tensor.numpy()).root for tensor in state)
