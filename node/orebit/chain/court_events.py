"""Every event of the court as a frozen dataclass. Amounts are wei of ETH unless said."""

from __future__ import annotations

from dataclasses import dataclass

from orebit.chain.event import Event
from orebit.chain.types import DemandItem, LeaseId


@dataclass(frozen=True)
class CourtEvent(Event):
    """An event of `DisputeCourt`."""


@dataclass(frozen=True)
class Precommitted(CourtEvent):
    hash: bytes
    order: int


@dataclass(frozen=True)
class Opened(CourtEvent):
    game: bytes
    lease: LeaseId
    challenger: str
    bond: int
    order: int


@dataclass(frozen=True)
class Moved(CourtEvent):
    """`state` in bytes, as the next move passes it back."""

    game: bytes
    state: bytes
    deadline: int
    posted: bytes


@dataclass(frozen=True)
class Refunded(CourtEvent):
    game: bytes
    to: str
    amount: int


@dataclass(frozen=True)
class Dismissed(CourtEvent):
    game: bytes
    lease: LeaseId
    burnt: int


@dataclass(frozen=True)
class ProgramInvalid(CourtEvent):
    game: bytes
    clause: int
    node: int


@dataclass(frozen=True)
class Convicted(CourtEvent):
    """`bounty` in wei of TokenAI; `game` is zero for a demand that was not answered."""

    lease: LeaseId
    game: bytes
    bounty: int
    paid: int


@dataclass(frozen=True)
class Claimed(CourtEvent):
    lease: LeaseId
    game: bytes
    order: int
    costs: int


@dataclass(frozen=True)
class BountyPaid(CourtEvent):
    """Wei of TokenAI."""

    lease: LeaseId
    to: str
    amount: int


@dataclass(frozen=True)
class Compensated(CourtEvent):
    lease: LeaseId
    to: str
    amount: int


@dataclass(frozen=True)
class BondReturned(CourtEvent):
    game: bytes
    to: str
    amount: int


@dataclass(frozen=True)
class DepositAdded(CourtEvent):
    node: int
    from_: str
    amount: int
    deposit: int


@dataclass(frozen=True)
class DepositWithdrawn(CourtEvent):
    node: int
    to: str
    amount: int
    deposit: int


@dataclass(frozen=True)
class Demanded(CourtEvent):
    demand: bytes
    lease: LeaseId
    item: DemandItem
    deadline: int


@dataclass(frozen=True)
class DemandAnswered(CourtEvent):
    demand: bytes
    result_hash: bytes
    entries: tuple[bytes, ...]
    path: tuple[bytes, ...]


@dataclass(frozen=True)
class DemandMissed(CourtEvent):
    demand: bytes
    lease: LeaseId


@dataclass(frozen=True)
class Credited(CourtEvent):
    to: str
    amount: int


@dataclass(frozen=True)
class CreditWithdrawn(CourtEvent):
    from_: str
    to: str
    amount: int
