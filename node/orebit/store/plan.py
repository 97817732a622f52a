"""A batch's plan as it travels: the shards' preimages, and advice that is never trusted (docs/protocol.md, 3).

The JSON form::

    {"shards": [{"program", "constants": [...], "state": [...], "steps", "interval", "parameters": [...]}],
     "sources": [URLs], "pieces": {composed root: [piece roots]}, "values": {tensor root: head and bytes}}

Roots and values are lower-case hex. Shard ids are recomputed from it, and must give the plan root. `values` carries
tensors of at most one leaf (parameters) so that they need no request of their own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from orebit.commitment import HASH_SIZE, LEAF_SIZE, ListKind, Shard, list_root, plan_root
from orebit.commitment.head import MAX_HEAD_SIZE
from orebit.errors import CommitmentError

MAX_SHARDS = 1 << 20
MAX_SOURCES = 64
MAX_SOURCE_LENGTH = 2048
MAX_ADVICE = 1 << 20


@dataclass(frozen=True)
class PlanShard:
    """A shard with the entries of its lists: tensor roots of constants, initial state and parameters."""

    program: bytes
    constants: tuple[bytes, ...]
    state: tuple[bytes, ...]
    steps: int
    interval: int
    parameters: tuple[bytes, ...]

    @cached_property
    def shard(self) -> Shard:
        """The preimage that these entries make."""
        return Shard(
            program=self.program,
            constants=list_root(ListKind.CONSTANTS, self.constants),
            state=list_root(ListKind.STATE, self.state),
            steps=self.steps,
            interval=self.interval,
            parameters=list_root(ListKind.PARAMETERS, self.parameters),
        )

    @property
    def tensors(self) -> tuple[bytes, ...]:
        """Every tensor root that the shard names: constants, state, parameters."""
        return self.constants + self.state + self.parameters


@dataclass(frozen=True)
class Plan:
    """A batch's shards in order, where their blobs may be found, and of what pieces composed tensors are made."""

    shards: tuple[PlanShard, ...]
    sources: tuple[str, ...] = ()
    pieces: Mapping[bytes, tuple[bytes, ...]] = field(default_factory=dict)
    values: Mapping[bytes, bytes] = field(default_factory=dict)

    @cached_property
    def root(self) -> bytes:
        """The plan root over the shard ids."""
        return plan_root([entry.shard.id for entry in self.shards])

    def encode(self) -> bytes:
        """The canonical JSON form."""
        document = {
            "shards": [_shard_document(entry) for entry in self.shards],
            "sources": list(self.sources),
            "pieces": {root.hex(): [piece.hex() for piece in pieces] for root, pieces in self.pieces.items()},
            "values": {root.hex(): value.hex() for root, value in self.values.items()},
        }
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, encoded: bytes) -> Plan:
        """Parse the JSON form, with bounds. CommitmentError when it is not a plan."""
        try:
            document = json.loads(encoded)
        except (ValueError, RecursionError) as error:
            raise CommitmentError(f"a plan that is not JSON: {error}") from error
        shards = _items(document, "shards", MAX_SHARDS)
        if not shards:
            raise CommitmentError("a plan without shards")
        sources = tuple(source for source in _items(document, "sources", MAX_SOURCES) if _is_source(source))
        pieces = _mapping(document, "pieces")
        values = _mapping(document, "values")
        return cls(
            shards=tuple(_parse_shard(shard) for shard in shards),
            sources=sources,
            pieces={_hash(root): tuple(_hashes(pieces, root)) for root in pieces},
            values={_hash(root): _value(value) for root, value in values.items()},
        )


def _shard_document(entry: PlanShard) -> dict[str, Any]:
    return {
        "program": entry.program.hex(),
        "constants": [root.hex() for root in entry.constants],
        "state": [root.hex() for root in entry.state],
        "steps": entry.steps,
        "interval": entry.interval,
        "parameters": [root.hex() for root in entry.parameters],
    }


def _parse_shard(document: Any) -> PlanShard:
    if not isinstance(document, dict):
        raise CommitmentError("a plan's shard is not an object")
    steps, interval = document.get("steps"), document.get("interval")
    if type(steps) is not int or type(interval) is not int:
        raise CommitmentError("a plan's shard has no whole number of steps and interval")
    return PlanShard(
        program=_hash(document.get("program")),
        constants=tuple(_hashes(document, "constants")),
        state=tuple(_hashes(document, "state")),
        steps=steps,
        interval=interval,
        parameters=tuple(_hashes(document, "parameters")),
    )


def _items(document: Any, key: str, limit: int) -> list[Any]:
    items = document.get(key, []) if isinstance(document, dict) else None
    if not isinstance(items, list) or len(items) > limit:
        raise CommitmentError(f"a plan's {key} is not a list of at most {limit} entries")
    return items


def _mapping(document: Any, key: str) -> dict[str, Any]:
    entries = document.get(key, {}) if isinstance(document, dict) else None
    if not isinstance(entries, dict) or len(entries) > MAX_ADVICE:
        raise CommitmentError(f"a plan's {key} is not an object of at most {MAX_ADVICE} entries")
    return entries


def _hashes(document: Any, key: str) -> list[bytes]:
    return [_hash(item) for item in _items(document, key, MAX_ADVICE)]


def _hash(text: Any) -> bytes:
    value = _hex(text)
    if len(value) != HASH_SIZE:
        raise CommitmentError(f"a plan's root of {len(value)} bytes")
    return value


def _value(text: Any) -> bytes:
    value = _hex(text)
    if len(value) > MAX_HEAD_SIZE + LEAF_SIZE:
        raise CommitmentError("a plan carries tensors of at most one leaf")
    return value


def _hex(text: Any) -> bytes:
    try:
        return bytes.fromhex(text)
    except (TypeError, ValueError) as error:
        raise CommitmentError("a plan's root is not hexadecimal") from error


def _is_source(source: Any) -> bool:
    return isinstance(source, str) and len(source) <= MAX_SOURCE_LENGTH
