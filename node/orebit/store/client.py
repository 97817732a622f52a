"""Blobs fetched from strangers into a local store. Nothing is kept, counted or trusted before its root is checked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import aiohttp

from orebit.commitment import HASH_SIZE, ListHead, ListKind, Shard, ShardResult, TensorHead, compose
from orebit.commitment.merkle import lift, unpack
from orebit.errors import BlobCorrupt, BlobMissing, BlobTooLarge, CommitmentError, ProgramError
from orebit.numerics.types import DType
from orebit.program.descriptor import Source as Input
from orebit.program.graph import Program
from orebit.store.download import Download
from orebit.store.local import LocalStore
from orebit.store.plan import Plan
from orebit.store.source import Limits, Source, SourceFailed

MAX_PREIMAGE = 4096
TOGETHER = 256

T = TypeVar("T")
Pieces = Mapping[bytes, Sequence[bytes]]
_KINDS = {
    Input.CONSTANT: ListKind.CONSTANTS,
    Input.STATE: ListKind.STATE,
    Input.PARAMETER: ListKind.PARAMETERS,
}


@dataclass(frozen=True, slots=True)
class ShardInputs:
    """A shard's inputs, all in the local store."""

    program: bytes  # the program's encoded bytes
    constants: list[TensorHead]
    state: list[TensorHead]
    parameters: list[TensorHead]


@dataclass(frozen=True, slots=True)
class ShardOutcome:
    """What a node computed for one shard, checked under its result hash."""

    result: ShardResult
    checkpoints: list[bytes]  # state roots
    state: list[TensorHead]  # of the last checkpoint, in program order

    @property
    def state_root(self) -> bytes:
        """The root of the final state."""
        return self.checkpoints[-1]


class BlobClient:
    """Fetches blobs by root from a list of sources (base URLs), tried in order, into `store`.

    Every `fetch_*` returns at once when the store has the blob. Each raises BlobMissing when no source has it and
    BlobCorrupt when one sent something else and no other could help, both with every source's reason; BlobTooLarge
    before anything is allocated when the head names more than the limit; StorageError when the disk refuses.
    """

    def __init__(self, session: aiohttp.ClientSession, store: LocalStore, limits: Limits | None = None) -> None:
        self.store = store
        self._session = session
        self._limits = limits or Limits()
        self._slots = asyncio.Semaphore(self._limits.parallel)
        self._locks: WeakValueDictionary[bytes, asyncio.Lock] = WeakValueDictionary()

    async def fetch_preimage(self, root: bytes, sources: Sequence[str]) -> bytes:
        """The tagged preimage of a root: a head, a shard, a result."""
        try:
            return await asyncio.to_thread(self.store.preimage, root)
        except (BlobMissing, BlobCorrupt):
            pass  # so it has to be fetched

        async def attempt(source: Source) -> bytes:
            preimage = await source.body(f"/blobs/{root.hex()}/head", MAX_PREIMAGE)
            if sha256(preimage).digest() != root:
                raise SourceFailed("sent a head that is not the root's", corrupt=True)
            return preimage

        preimage = await self._first(root, sources, attempt)
        await asyncio.to_thread(self.store.put_preimage, preimage, durable=False)
        return preimage

    async def fetch_head(self, root: bytes, sources: Sequence[str]) -> TensorHead:
        """A tensor's head, without its bytes. CommitmentError when the root is not a tensor's."""
        return TensorHead.decode(await self.fetch_preimage(root, sources))

    async def fetch_tensor(
        self, root: bytes, sources: Sequence[str], *, limit: int | None = None, pieces: Pieces | None = None
    ) -> TensorHead:
        """A tensor of at most `limit` bytes, into the store. `pieces` is advice on what composed tensors consist of:
        where it is right, the pieces are fetched and no byte is stored twice."""
        head = await self.fetch_head(root, sources)
        _refuse_above(self._limits.tensor if limit is None else limit, head.size, f"The tensor {root.hex()}")
        if await asyncio.to_thread(self.store.has_data, head):
            return head
        if pieces and root in pieces and await self._fetch_pieces(head, pieces, sources):
            return head
        lock = self._locks.setdefault(head.raw_root, asyncio.Lock())
        async with lock:
            if not await asyncio.to_thread(self.store.has_data, head):
                await self._download(head, sources)
        return head

    async def fetch_list(
        self,
        root: bytes,
        kind: ListKind,
        sources: Sequence[str],
        *,
        limit: int | None = None,
        count: int | None = None,
    ) -> list[bytes]:
        """A list's entries, at most `limit` of them. CommitmentError when the root is no list of this kind, or not of
        `count` entries where that is known."""
        head = ListHead.decode(await self.fetch_preimage(root, sources))
        if head.kind != kind:
            raise CommitmentError(f"{root.hex()} is a list of kind {head.kind.name}, not {kind.name}")
        if count is not None and head.count != count:
            raise CommitmentError(f"the list {root.hex()} of kind {kind.name} has {head.count} entries, not {count}")
        most = self._limits.entries if limit is None else limit
        _refuse_above(most * HASH_SIZE, head.size, f"The list {root.hex()}")
        try:
            return await asyncio.to_thread(self.store.list_entries, root, kind)
        except (BlobMissing, BlobCorrupt):
            pass

        async def attempt(source: Source) -> list[bytes]:
            return head.check(await source.exactly(f"/blobs/{root.hex()}", head.size))

        entries = await self._first(root, sources, attempt)
        await asyncio.to_thread(self.store.put_list, kind, entries, durable=False)
        return entries

    async def fetch_block(self, node: bytes, count: int, log2: int, sources: Sequence[str]) -> list[bytes]:
        """The `count` result hashes under a replica's raw node of height `log2`."""
        if not 1 <= count <= 1 << log2:
            raise CommitmentError(f"a block of 2^{log2} shards cannot hold {count}")
        try:
            return await asyncio.to_thread(self.store.block_entries, node, log2)
        except (BlobMissing, BlobCorrupt):
            pass

        async def attempt(source: Source) -> list[bytes]:
            entries = unpack(await source.exactly(f"/blobs/{node.hex()}", count * HASH_SIZE))
            if lift(entries, log2) != node:
                raise SourceFailed("sent entries that are not under the root", corrupt=True)
            return entries

        entries = await self._first(node, sources, attempt)
        await asyncio.to_thread(self.store.put_block, entries, log2)
        return entries

    async def fetch_program(self, root: bytes, sources: Sequence[str]) -> bytes:
        """A program's bytes, parsed and checked (`Program.decode` on them succeeds)."""
        try:
            return await asyncio.to_thread(self.store.program, root)
        except (BlobMissing, BlobCorrupt):
            pass

        async def attempt(source: Source) -> bytes:
            encoded = await source.body(f"/blobs/{root.hex()}", self._limits.program)
            try:
                await asyncio.to_thread(self.store.put_program, root, encoded)
            except (BlobCorrupt, ProgramError) as error:
                raise SourceFailed(f"sent a program that is not the root's ({error})", corrupt=True) from error
            return encoded

        return await self._first(root, sources, attempt)

    async def fetch_plan(self, root: bytes, sources: Sequence[str]) -> Plan:
        """A batch's plan; its shards' preimages, lists and carried values go to the store with it."""
        try:
            return await asyncio.to_thread(self.store.plan, root)
        except (BlobMissing, BlobCorrupt):
            pass

        async def attempt(source: Source) -> Plan:
            encoded = await source.body(f"/plans/{root.hex()}", self._limits.plan)
            plan = await asyncio.to_thread(Plan.decode, encoded)
            if plan.root != root:
                raise SourceFailed("sent a plan whose shards have another root", corrupt=True)
            await asyncio.to_thread(self.store.put_plan, plan)
            return plan

        return await self._first(root, sources, attempt)

    async def fetch_shard_inputs(
        self, shard: Shard, sources: Sequence[str], *, limit: int | None = None, pieces: Pieces | None = None
    ) -> ShardInputs:
        """Everything that a shard reads. `limit` bounds all its tensors together.

        Before the first byte of a tensor is asked for, ProgramError is raised when the lists or heads are not of the
        counts, types and shapes that the program declares, and BlobTooLarge when they exceed the limit.
        """
        encoded = await self.fetch_program(shard.program, sources)
        program = await asyncio.to_thread(Program.decode, encoded)
        inputs = ShardInputs(
            program=encoded,
            constants=await self._fetch_inputs(shard.constants, Input.CONSTANT, program, sources),
            state=await self._fetch_inputs(shard.state, Input.STATE, program, sources),
            parameters=await self._fetch_inputs(shard.parameters, Input.PARAMETER, program, sources),
        )
        everything = inputs.constants + inputs.state + inputs.parameters
        await self._fetch_all(everything, sources, limit, pieces, f"The inputs of shard {shard.id.hex()}")
        return inputs

    async def fetch_result(
        self,
        results_root: bytes,
        sources: Sequence[str],
        *,
        shards: Sequence[Shard] | None = None,
        tensors: bool = True,
        limit: int | None = None,
    ) -> list[ShardOutcome]:
        """What a lease revealed: RESULTS list, results, checkpoints, final states; the tensors' bytes if asked for.

        `shards` are the lease's, in order: then CommitmentError is raised when the node's own commitment names other
        shards, another number of checkpoints, or state tensors of other types or shapes than the initial state's.
        """
        count = len(shards) if shards is not None else None
        hashes = await self.fetch_list(results_root, ListKind.RESULTS, sources, count=count)
        return await self._fetch_outcomes(hashes, sources, shards, tensors, limit)

    async def fetch_block_result(
        self,
        node: bytes,
        log2: int,
        sources: Sequence[str],
        *,
        shards: Sequence[Shard],
        tensors: bool = True,
        limit: int | None = None,
    ) -> list[ShardOutcome]:
        """`fetch_result` for a replica, which reveals the raw node of height `log2` over its block's results."""
        hashes = await self.fetch_block(node, len(shards), log2, sources)
        return await self._fetch_outcomes(hashes, sources, shards, tensors, limit)

    # ------------------------------------------------------------------ inside

    async def _fetch_inputs(
        self, root: bytes, group: Input, program: Program, sources: Sequence[str]
    ) -> list[TensorHead]:
        """The heads of one list of a shard's inputs, which must be what the program declares."""
        kind, specs = _KINDS[group], program.specs(group)
        try:
            heads = await self._fetch_heads(await self.fetch_list(root, kind, sources, count=len(specs)), sources)
        except CommitmentError as error:
            raise ProgramError(f"The shard's {kind.name.lower()} do not fit its program: {error}.") from error
        for index, (head, spec) in enumerate(zip(heads, specs, strict=True)):
            if (head.dtype, head.shape) != (spec.dtype, spec.shape):
                raise ProgramError(
                    f"The shard's {kind.name.lower()} do not fit its program: tensor {index} is "
                    f"{DType(head.dtype).label}{list(head.shape)}, declared is {spec.dtype.label}{list(spec.shape)}."
                )
        return heads

    async def _fetch_outcomes(
        self,
        hashes: Sequence[bytes],
        sources: Sequence[str],
        shards: Sequence[Shard] | None,
        tensors: bool,
        limit: int | None,
    ) -> list[ShardOutcome]:
        wanted: Sequence[Shard | None] = shards or [None] * len(hashes)
        outcomes = await _together(
            self._fetch_outcome(result, sources, shard) for result, shard in zip(hashes, wanted, strict=True)
        )
        if tensors:
            heads = [head for outcome in outcomes for head in outcome.state]
            await self._fetch_all(heads, sources, limit, None, "The result's final states")
        return outcomes

    async def _fetch_outcome(self, result_hash: bytes, sources: Sequence[str], shard: Shard | None) -> ShardOutcome:
        result = ShardResult.decode(await self.fetch_preimage(result_hash, sources))
        if shard is not None and result.shard_id != shard.id:
            raise CommitmentError(f"the result names shard {result.shard_id.hex()}, not {shard.id.hex()}")
        count = shard.checkpoints if shard else None
        checkpoints = await self.fetch_list(result.checkpoints_root, ListKind.CHECKPOINTS, sources, count=count)
        initial = await self.fetch_list(shard.state, ListKind.STATE, sources) if shard else None
        count = len(initial) if initial else None
        roots = await self.fetch_list(checkpoints[-1], ListKind.STATE, sources, count=count)
        state = await self._fetch_heads(roots, sources)
        if initial:
            _check_specs(state, await self._fetch_heads(initial, sources))
        return ShardOutcome(result, checkpoints, state)

    async def _fetch_heads(self, roots: Sequence[bytes], sources: Sequence[str]) -> list[TensorHead]:
        return await _together(self.fetch_head(root, sources) for root in roots)

    async def _fetch_all(
        self,
        heads: Sequence[TensorHead],
        sources: Sequence[str],
        limit: int | None,
        pieces: Pieces | None,
        what: str,
    ) -> None:
        distinct = {head.raw_root: head for head in heads}
        total = sum(head.size for head in distinct.values())
        _refuse_above(self._limits.tensor if limit is None else limit, total, what)
        await _together(
            self.fetch_tensor(head.root, sources, limit=head.size, pieces=pieces) for head in distinct.values()
        )

    async def _fetch_pieces(self, head: TensorHead, pieces: Pieces, sources: Sequence[str]) -> bool:
        """Whether the advice was right and the tensor is now composed. Heads prove it before a byte is fetched."""
        roots = pieces[head.root]
        if not 1 <= len(roots) <= head.leaves:
            return False
        rest = {root: parts for root, parts in pieces.items() if root != head.root}
        try:
            parts = await self._fetch_heads(roots, sources)
            if compose(parts, head.dtype, head.shape) != head:
                return False
            await self._fetch_all(parts, sources, head.size, rest, f"The pieces of {head.root.hex()}")
        except (BlobMissing, BlobCorrupt, CommitmentError):
            return False
        await asyncio.to_thread(self.store.put_composed, roots, head.dtype, head.shape)
        return True

    async def _download(self, head: TensorHead, sources: Sequence[str]) -> None:
        download = await asyncio.to_thread(Download, self.store, head)
        try:
            await self._first(head.root, sources, download.run)
        finally:
            download.close()

    async def _first(self, root: bytes, sources: Sequence[str], attempt: Callable[[Source], Awaitable[T]]) -> T:
        """The first source's answer that holds; otherwise an error with every source's reason."""
        reasons, corrupt = [], False
        for url in dict.fromkeys(sources):
            async with self._slots:
                try:
                    return await attempt(Source(self._session, url, self._limits))
                except SourceFailed as failure:
                    reasons.append(f"{url} {failure}")
                    corrupt = corrupt or failure.corrupt
                except CommitmentError as error:
                    reasons.append(f"{url} sent what the root does not name ({error})")
                    corrupt = True
        raise _failure(root, reasons, corrupt)


def _failure(root: bytes, reasons: Sequence[str], corrupt: bool) -> BlobMissing | BlobCorrupt:
    told = "; ".join(reasons) or "no source was named"
    if corrupt:
        return BlobCorrupt(
            f"The blob {root.hex()} could not be fetched, and what came did not match its root: {told}. "
            "Nothing wrong was kept; name another source that holds it."
        )
    return BlobMissing(
        f"The blob {root.hex()} could not be fetched: {told}. "
        "Try again when a source is back, or name another that holds it."
    )


def _refuse_above(limit: int, size: int, what: str) -> None:
    if size > limit:
        raise BlobTooLarge(f"{what} would take {size} bytes; the limit here is {limit}. Raise the limit or leave it.")


def _check_specs(state: Sequence[TensorHead], initial: Sequence[TensorHead]) -> None:
    if [(head.dtype, head.shape) for head in state] != [(head.dtype, head.shape) for head in initial]:
        raise CommitmentError("the result's final state has other types or shapes than the shard's initial state")


async def _together(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of all coroutines, a bounded number under way; at an error the others are cancelled and awaited."""
    results: list[T] = []
    rest = iter(coroutines)
    while tasks := [asyncio.ensure_future(coroutine) for coroutine in islice(rest, TOGETHER)]:
        try:
            results += await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    return results
