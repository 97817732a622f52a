"""Jobs as JSON documents, for programs that read what `orebit task` prints."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orebit.strategy.journal import JobRecord
    from orebit.strategy.onlooking import JobPicture


def job_row(job: JobRecord) -> dict[str, Any]:
    return {
        "task": job.training,
        "averaging": job.averaging,
        "job": job.spec.name,
        "rounds": job.spec.rounds,
        "shards": job.spec.workers,
        "started": datetime.fromtimestamp(job.started).isoformat(" ", "seconds"),
        "outcome": job.outcome.value if job.outcome else "unfinished",
        "accuracy": job.accuracy,
    }


def picture_document(picture: JobPicture) -> dict[str, Any]:
    return {
        "block": picture.block,
        "requester": picture.tasks[0].requester,
        "tasks": [{"task": task.id, "averaging": task.terms.is_open, "url": task.url} for task in picture.tasks],
        "batches": [
            {
                "batch": batch.id,
                "averaging": batch.averaging,
                "stages": [stage.value for stage in batch.stages],
                "closed": batch.closed,
                "lost": batch.lost,
                "losses": list(batch.losses),
            }
            for batch in picture.batches
        ],
        "paid": str(picture.paid),
        "fees": str(picture.fees),
        "replicas": sum(task.replicas for task in picture.tasks),
        "escrow": str(picture.escrow),
        "nodes": [
            {"node": node.node, "earned": str(node.earned), "balance": str(node.balance)} for node in picture.nodes
        ],
        "settled": picture.settled,
    }
