"""The audit: replays every event, reconciles every token to the wei, checks every root, executes shards again."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from orebit.chain.connection import Connection
from orebit.chain.court_ledger import GameRecord
from orebit.chain.history import replay
from orebit.chain.ledger import Flow, LeaseBook, Ledger, NodeBook, Outcome, TaskBook
from orebit.chain.reconciliation import Reconciler, Reconciliation
from orebit.errors import AuditMismatch, AuditUnverified, ConfigError
from orebit.store.client import BlobClient
from orebit.strategy.audit_results import Check, ResultAuditor, Verdict


@dataclass(frozen=True)
class Audit:
    """What was found. Amounts in wei of TokenAI; `flows` is who paid whom."""

    task: TaskBook
    leases: tuple[LeaseBook, ...]
    nodes: tuple[NodeBook, ...]
    """Those that leased something of the task."""
    reconciliation: Reconciliation
    checks: tuple[Check, ...]
    games: tuple[GameRecord, ...] = ()
    """Challenges of the task's leases, and how they ended."""

    @property
    def conserved(self) -> bool:
        """Whether every token is where the events say, to the wei."""
        return self.task.conserved and not self.reconciliation.differences

    @property
    def flows(self) -> list[tuple[Flow, int]]:
        return sorted(self.task.flows.items())

    def of(self, verdict: Verdict) -> list[Check]:
        return [check for check in self.checks if check.verdict is verdict]

    @property
    def outcomes(self) -> Counter[Outcome]:
        return Counter(lease.outcome for lease in self.leases)

    def demand(self) -> None:
        """Raises `AuditMismatch` for a contradiction, else `AuditUnverified` for a missing blob, else nothing."""
        faults = [str(difference) for difference in self.reconciliation.differences]
        faults += [f"{check.subject}: {check.detail}" for check in self.of(Verdict.MISMATCH)]
        if not self.task.conserved:
            faults.insert(0, f"task {self.task.id}: what went in is not what went out and is held")
        if faults:
            raise AuditMismatch(
                f"The audit of task {self.task.id} found {len(faults)} contradictions: {_some(faults)}. Do not "
                "build on its results; if another RPC endpoint says the same, the contracts or the nodes are at fault."
            )
        missing = [check.subject for check in self.of(Verdict.UNVERIFIED)]
        if missing:
            raise AuditUnverified(
                f"Nothing contradicts the chain, but {len(missing)} roots of task {self.task.id} could not be "
                f"checked, as their blobs are missing: {_some(missing)}. Name a server that has them with --source, or "
                "try later."
            )


async def audit(
    connection: Connection,
    task: int,
    client: BlobClient,
    *,
    sources: Sequence[str] = (),
    reexecute: int = 0,
    tensors: bool = True,
    chance: random.Random | None = None,
) -> Audit:
    """Audits one task, and the whole deployment's money with it.

    client: fetches blobs into its store. sources: blob servers to ask before those that the chain names.
    reexecute: shards picked at random and run here. tensors: whether final states are fetched whole, or only heads.

    Raises `ConfigError` for an unknown task and `ChainError` when the chain does not answer; what is found wrong is in
    the answer, and `Audit.demand` raises for it.
    """
    ledger, position = await replay(connection)
    if task not in ledger.tasks:
        raise ConfigError(f"There is no task {task}: {_known(ledger)}.")
    reconciliation = await Reconciler(ledger, connection, position).run()
    results = ResultAuditor(ledger, task, client, sources)
    await results.check_all(tensors=tensors)
    await results.reexecute(reexecute, chance or random.SystemRandom())
    leases = tuple(ledger.leases_of(task))
    nodes = tuple(ledger.nodes[number] for number in sorted({lease.id.node for lease in leases}))
    challenged = {lease.id for lease in leases}
    games = tuple(game for game in ledger.court.games.values() if game.lease in challenged)
    return Audit(ledger.tasks[task], leases, nodes, reconciliation, tuple(results.checks), games)


def _known(ledger: Ledger) -> str:
    return f"this market has tasks 1 to {len(ledger.tasks)}" if ledger.tasks else "this market has no task yet"


def _some(texts: Sequence[str], most: int = 5) -> str:
    rest = f" and {len(texts) - most} more" if len(texts) > most else ""
    return "; ".join(texts[:most]) + rest
