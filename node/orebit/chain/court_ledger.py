"""The court's books from its events alone: bonds, deposits and credits in wei of ETH, bounties in wei of TokenAI."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from orebit.chain import court_events
from orebit.chain.event import Event
from orebit.chain.types import LeaseId


class EtherFlow(NamedTuple):
    """Who was paid ETH by the court, and why."""

    target: str
    reason: str


@dataclass
class GameRecord:
    """One game: whose, against what, what is left of its bond, and how it ended."""

    game: bytes
    lease: LeaseId
    challenger: str
    bond: int
    staked: int
    """The bond at the opening."""
    moves: int = 0
    outcome: str = "open"


@dataclass
class CourtLedger:
    """`apply` every event once and in order."""

    games: dict[bytes, GameRecord] = field(default_factory=dict)
    deposits: Counter[int] = field(default_factory=Counter)
    """Wei by node."""
    credits: Counter[str] = field(default_factory=Counter)
    demands: dict[bytes, LeaseId] = field(default_factory=dict)
    """Those not answered yet."""
    bounties: Counter[LeaseId] = field(default_factory=Counter)
    """Wei of TokenAI that wait to be paid."""
    convictions: dict[LeaseId, bytes] = field(default_factory=dict)
    """The game that proved it; zero for a demand."""
    flows: Counter[EtherFlow] = field(default_factory=Counter)

    @property
    def bonds(self) -> int:
        return sum(game.bond for game in self.games.values())

    @property
    def held(self) -> int:
        """Wei of ETH that the court must hold, but for what open demands have prepaid."""
        return self.bonds + sum(self.deposits.values()) + sum(self.credits.values())

    def apply(self, event: Event) -> None:
        rule = _RULES.get(type(event))
        if rule is not None:
            rule(self, event)

    def _opened(self, event: court_events.Opened) -> None:
        self.games[event.game] = GameRecord(event.game, event.lease, event.challenger, event.bond, event.bond)

    def _moved(self, event: court_events.Moved) -> None:
        self.games[event.game].moves += 1

    def _pay_from_bond(self, game: bytes, target: str, amount: int, reason: str) -> None:
        self.games[game].bond -= amount
        if amount:
            self.flows[EtherFlow(target, reason)] += amount

    def _refunded(self, event: court_events.Refunded) -> None:
        self._pay_from_bond(event.game, event.to, event.amount, "gas of its defence")

    def _dismissed(self, event: court_events.Dismissed) -> None:
        self.games[event.game].outcome = "dismissed"
        self._pay_from_bond(event.game, "burnt", event.burnt, "bond of a false accuser")

    def _bond_returned(self, event: court_events.BondReturned) -> None:
        self._pay_from_bond(event.game, event.to, event.amount, "bond returned")

    def _convicted(self, event: court_events.Convicted) -> None:
        self.convictions[event.lease] = event.game
        for game in self.games.values():
            if game.lease == event.lease and game.outcome == "open":
                game.outcome = "proven" if game.game == event.game else "overtaken"
        self.deposits[event.lease.node] -= event.paid
        if any(event.game):
            self.bounties[event.lease] += event.bounty
            prover = self.games[event.game].challenger
            if event.paid:
                self.flows[EtherFlow(prover, "gas of its proof")] += event.paid

    def _bounty_paid(self, event: court_events.BountyPaid) -> None:
        self.bounties[event.lease] -= event.amount

    def _compensated(self, event: court_events.Compensated) -> None:
        self.deposits[event.lease.node] -= event.amount
        self.flows[EtherFlow(event.to, "gas of its challenge")] += event.amount

    def _deposit_added(self, event: court_events.DepositAdded) -> None:
        self.deposits[event.node] += event.amount

    def _deposit_withdrawn(self, event: court_events.DepositWithdrawn) -> None:
        self.deposits[event.node] -= event.amount
        self.flows[EtherFlow(event.to, "deposit withdrawn")] += event.amount

    def _demanded(self, event: court_events.Demanded) -> None:
        self.demands[event.demand] = event.lease

    def _demand_over(self, event: court_events.DemandAnswered | court_events.DemandMissed) -> None:
        self.demands.pop(event.demand)

    def _credited(self, event: court_events.Credited) -> None:
        self.credits[event.to] += event.amount

    def _credit_withdrawn(self, event: court_events.CreditWithdrawn) -> None:
        self.credits[event.from_] -= event.amount
        self.flows[EtherFlow(event.to, "credit withdrawn")] += event.amount


_RULES: dict[type[Event], Callable[[CourtLedger, Any], None]] = {
    court_events.Opened: CourtLedger._opened,
    court_events.Moved: CourtLedger._moved,
    court_events.Refunded: CourtLedger._refunded,
    court_events.Dismissed: CourtLedger._dismissed,
    court_events.BondReturned: CourtLedger._bond_returned,
    court_events.Convicted: CourtLedger._convicted,
    court_events.BountyPaid: CourtLedger._bounty_paid,
    court_events.Compensated: CourtLedger._compensated,
    court_events.DepositAdded: CourtLedger._deposit_added,
    court_events.DepositWithdrawn: CourtLedger._deposit_withdrawn,
    court_events.Demanded: CourtLedger._demanded,
    court_events.DemandAnswered: CourtLedger._demand_over,
    court_events.DemandMissed: CourtLedger._demand_over,
    court_events.Credited: CourtLedger._credited,
    court_events.CreditWithdrawn: CourtLedger._credit_withdrawn,
}
