"""Every event of market, registry, token and MajorityArbiter as a frozen dataclass, and decoding from logs; the court's
are in `court_events`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

from eth_utils.address import to_checksum_address

from orebit.chain import abi, court_events
from orebit.chain.connection import from_hex
from orebit.chain.deployment import Deployment
from orebit.chain.event import Event as Event
from orebit.chain.event import Place as Place
from orebit.chain.types import LeaseId, Terms
from orebit.errors import ChainError

CONTRACTS = abi.CONTRACTS
"""Every contract whose events are known here."""


# TaskMarket


@dataclass(frozen=True)
class TaskCreated(Event):
    task: int
    requester: str
    terms: Terms
    url: str


@dataclass(frozen=True)
class Deposited(Event):
    task: int
    from_: str
    amount: int


@dataclass(frozen=True)
class EscrowWithdrawn(Event):
    task: int
    to: str
    amount: int


@dataclass(frozen=True)
class NodeBarred(Event):
    task: int
    node: int
    barred: bool


@dataclass(frozen=True)
class BatchPosted(Event):
    batch: int
    task: int
    plan_root: bytes
    grains: int
    size: int
    reserved: int


@dataclass(frozen=True)
class BatchClosed(Event):
    batch: int
    refunded: int


@dataclass(frozen=True)
class BatchSettled(Event):
    batch: int
    refunded: int


@dataclass(frozen=True)
class Leased(Event):
    lease: LeaseId
    batch: int
    first: int
    grains: int
    stake: int


@dataclass(frozen=True)
class Committed(Event):
    lease: LeaseId
    commitment: bytes


@dataclass(frozen=True)
class Called(Event):
    lease: LeaseId
    by: str


@dataclass(frozen=True)
class Taken(Event):
    primary: LeaseId
    replica: LeaseId
    drawn_block: int
    stake: int


@dataclass(frozen=True)
class Revealed(Event):
    lease: LeaseId
    root: bytes
    salt: bytes


@dataclass(frozen=True)
class Contested(Event):
    primary: LeaseId
    replica: LeaseId


@dataclass(frozen=True)
class Finalised(Event):
    lease: LeaseId
    batch: int
    root: bytes
    paid: int


@dataclass(frozen=True)
class Expired(Event):
    lease: LeaseId
    batch: int
    penalty: int
    to_requester: int
    burnt: int
    to_reserve: int


@dataclass(frozen=True)
class Voided(Event):
    lease: LeaseId
    batch: int
    penalty: int
    to_requester: int
    burnt: int


@dataclass(frozen=True)
class Slashed(Event):
    lease: LeaseId
    batch: int
    stake: int
    bounty: int
    burnt: int
    to_reserve: int


@dataclass(frozen=True)
class FeeBurnt(Event):
    lease: LeaseId
    batch: int
    amount: int


@dataclass(frozen=True)
class Refunded(Event):
    batch: int
    amount: int


@dataclass(frozen=True)
class Withdrawn(Event):
    node: int
    to: str
    amount: int


@dataclass(frozen=True)
class GameOpened(Event):
    lease: LeaseId
    games: int


@dataclass(frozen=True)
class GameClosed(Event):
    lease: LeaseId
    games: int


@dataclass(frozen=True)
class CallFailed(Event):
    index: int
    reason: bytes


@dataclass(frozen=True)
class PausedSet(Event):
    paused: bool


@dataclass(frozen=True)
class GuardianRenounced(Event):
    pass


# NodeRegistry


@dataclass(frozen=True)
class NodeRegistered(Event):
    node: int
    owner: str
    operator: str
    url: str
    capabilities: str


@dataclass(frozen=True)
class OperatorSet(Event):
    node: int
    operator: str


@dataclass(frozen=True)
class PayeeSet(Event):
    node: int
    payee: str


@dataclass(frozen=True)
class NodeDescribed(Event):
    node: int
    url: str
    capabilities: str


@dataclass(frozen=True)
class StakeAdded(Event):
    node: int
    amount: int
    stake: int


@dataclass(frozen=True)
class UnbondStarted(Event):
    node: int
    amount: int
    unbonded_at: int


@dataclass(frozen=True)
class UnbondCancelled(Event):
    node: int
    amount: int


@dataclass(frozen=True)
class StakeWithdrawn(Event):
    node: int
    to: str
    amount: int


@dataclass(frozen=True)
class StakeTaken(Event):
    node: int
    amount: int
    to_market: int
    to_arbiter: int
    burnt: int


@dataclass(frozen=True)
class DepositBitSet(Event):
    node: int
    deposited: bool


# TokenAI


@dataclass(frozen=True)
class Transfer(Event):
    from_: str
    to: str
    value: int


# MajorityArbiter


@dataclass(frozen=True)
class Testified(Event):
    lease: LeaseId
    witness: int
    root: bytes
    convicted: LeaseId
    bounty: int


def _known(contract: str) -> dict[str, type[Event]]:
    base: type[Event] = court_events.CourtEvent if contract == "DisputeCourt" else Event
    return {cls.__name__: cls for cls in base.__subclasses__()}


@cache
def _by_contract(contract: str) -> dict[bytes, tuple[abi.Entry, type[Event]]]:
    known = _known(contract)
    return {
        topic: (entry, known[entry.name]) for topic, entry in abi.load(contract).events.items() if entry.name in known
    }


class Decoder:
    """Logs of a deployment's contracts to events."""

    def __init__(self, deployment: Deployment) -> None:
        self.contracts = {
            deployment.market: "TaskMarket",
            deployment.registry: "NodeRegistry",
            deployment.token: "TokenAI",
            deployment.arbiter: deployment.judge,
        }
        self._by_address = {address.lower(): name for address, name in self.contracts.items()}

    def decode(self, log: Mapping[str, Any]) -> Event | None:
        """The event, None for one that Orebit has no use for. Raises `ChainError` for a malformed log."""
        try:
            contract = self._by_address.get(log["address"].lower())
            topics = [from_hex(topic) for topic in log["topics"]]
            place = _place(log)
            data = from_hex(log["data"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ChainError(f"The RPC endpoint's log is malformed ({error!r}); use another endpoint.") from error
        found = _by_contract(contract).get(topics[0]) if contract and topics else None
        return _build(*found, place, topics[1:], data) if found else None


def _place(log: Mapping[str, Any]) -> Place:
    return Place(
        int(log["blockNumber"], 16),
        int(log["logIndex"], 16),
        from_hex(log["blockHash"]),
        from_hex(log["transactionHash"]),
        to_checksum_address(log["address"]),
    )


def _build(entry: abi.Entry, cls: type[Event], place: Place, topics: list[bytes], data: bytes) -> Event:
    indexed = [parameter for parameter in entry.inputs if parameter.indexed]
    others = [parameter for parameter in entry.inputs if not parameter.indexed]
    values = dict(zip([item.name for item in others], abi.decode_parameters(others, data, entry.name), strict=True))
    for parameter, topic in zip(indexed, topics, strict=True):
        values[parameter.name] = abi.decode_parameters([parameter], topic, entry.name)[0]
    ordered = [values.get(field.name, values.get(field.name.rstrip("_"))) for field in fields(cls)[1:]]
    return abi.build(cls, [place, *ordered])
