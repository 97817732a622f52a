"""Content-addressed blobs: on the local disk, served over HTTP, fetched from strangers."""

from __future__ import annotations

from orebit.store.client import BlobClient, ShardInputs, ShardOutcome
from orebit.store.local import LocalStore
from orebit.store.plan import Plan, PlanShard
from orebit.store.server import blob_routes, serve
from orebit.store.source import Limits

__all__ = [
    "BlobClient",
    "Limits",
    "LocalStore",
    "Plan",
    "PlanShard",
    "ShardInputs",
    "ShardOutcome",
    "blob_routes",
    "serve",
]
