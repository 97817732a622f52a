"""What every event is: where it stands in the chain."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """Where an event stands in the chain; `index` numbers the block's logs."""

    block: int
    index: int
    block_hash: bytes
    transaction: bytes
    contract: str

    @property
    def order(self) -> tuple[int, int]:
        return self.block, self.index


@dataclass(frozen=True)
class Event:
    place: Place
