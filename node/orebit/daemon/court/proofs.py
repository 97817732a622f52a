"""What this node can show of a shard, from its store and journal: made when a game or an audit asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orebit.commitment import ListKind, ShardResult, merkle, state_root
from orebit.daemon.inputs import Inputs
from orebit.daemon.journal import Journal, LeaseRecord
from orebit.dispute import Evidence, Means
from orebit.dispute import Inputs as Tensors
from orebit.dispute.moves import Opening
from orebit.dispute.states import Kept, State
from orebit.errors import BlobCorrupt, BlobMissing, CommitmentError
from orebit.store import LocalStore, Plan, PlanShard

BLOB_ERRORS = (BlobMissing, BlobCorrupt, CommitmentError)


@dataclass(frozen=True)
class OwnShard:
    """One shard of a lease of this node: what it committed to, and how that hangs under the lease's root."""

    checkpoints: tuple[bytes, ...]
    result_path: tuple[bytes, ...]


class Proofs:
    """Makes evidence. What reads the store raises BlobMissing or BlobCorrupt."""

    def __init__(self, journal: Journal, store: LocalStore, inputs: Inputs, threads: int) -> None:
        self._journal = journal
        self._store = store
        self._inputs = inputs
        self._threads = threads

    def results(self, record: LeaseRecord) -> list[bytes]:
        """The result hashes of a lease of this node, in order."""
        known = self._journal.shard_results(record.lease)
        try:
            return [known[record.first_shard + position] for position in range(record.shards)]
        except KeyError as error:
            raise BlobMissing(f"The journal lacks the result of shard {error} of lease {record.lease}.") from error

    def own(self, record: LeaseRecord, position: int) -> OwnShard:
        """What this node committed to for one shard of its lease."""
        hashes = self.results(record)
        result = ShardResult.decode(self._store.preimage(hashes[position]))
        roots = self._store.list_entries(result.checkpoints_root, ListKind.CHECKPOINTS)
        log2 = record.log2 if record.replica else None
        return OwnShard(tuple(roots), result_path(hashes, position, log2))

    def evidence(
        self, entry: PlanShard, checkpoints: Sequence[bytes] | None, trusted: Sequence[bytes] = ()
    ) -> Evidence:
        """A side's computation of a shard.

        checkpoints: what it takes for the shard's (None: it computes them when asked). trusted: the first of them,
        whose states may be taken from the store instead of being computed: one's own, or what both sides agree on.
        """
        tensors = Tensors(
            self._inputs.program(entry.program),
            self._inputs.tensors(entry.constants),
            self._inputs.tensors(entry.state),
            self._inputs.tensors(entry.parameters),
        )
        kept = self._kept(entry.interval, trusted)
        means = Means(engage=self._inputs.engage(entry), kept=kept, threads=self._threads or 1)
        return Evidence(entry.shard, tensors, means, checkpoints)

    def _kept(self, interval: int, roots: Sequence[bytes]) -> Kept:
        """States at checkpoints whose tensors are in the store."""

        def kept(step: int) -> State | None:
            if step % interval or not 0 < step // interval <= len(roots):
                return None
            try:
                return self.state(roots[step // interval - 1])
            except BLOB_ERRORS:
                return None

        return kept

    def state(self, root: bytes) -> State:
        """The tensors of a state that is in the store."""
        return tuple(self._store.tensor(head)[1] for head in self._store.list_entries(root, ListKind.STATE))


def result_path(hashes: Sequence[bytes], position: int, log2: int | None) -> tuple[bytes, ...]:
    """From a result hash up to the lease's root; a replica's goes up to its block's node, of height `log2`."""
    path = merkle.path(merkle.tree(hashes), position)
    return tuple(path + [merkle.EMPTY] * ((log2 or 0) - len(path)))


def opening_of(lease: int, position: int, plan: Plan, first: int) -> Opening:
    """Shows shard `first + position` at its place in the plan."""
    levels = merkle.tree([entry.shard.id for entry in plan.shards])
    path = tuple(merkle.path(levels, first + position))
    return Opening(lease, position, plan.shards[first + position].shard, path)


def root_after(evidence: Evidence, step: int) -> bytes:
    """The state root after a step, by one's own computation."""
    return state_root(evidence.state_list(step)[0])
