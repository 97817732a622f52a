"""Turns the court's events into the docket of one node: its own leases' games and demands, and those it opened."""

from __future__ import annotations

from functools import singledispatchmethod

from orebit.chain import court_events
from orebit.chain.event import Event
from orebit.chain.types import LeaseId
from orebit.daemon.court.docket import Case, Docket, Played


class CourtWatch:
    """Folds events into the docket of node `node`, whose key is `address`'s."""

    def __init__(self, docket: Docket, node: int, address: str) -> None:
        self._docket = docket
        self._node = node
        self._address = address

    @singledispatchmethod
    def apply(self, event: Event) -> None:
        """Takes in one event; those that do not concern this node are ignored."""

    @apply.register
    def _(self, event: court_events.Opened) -> None:
        if event.lease.node == self._node or event.challenger == self._address:
            case = Case(event.game, event.lease, event.challenger, event.order, None)
            self._docket.open_game(event.place.block, case)

    @apply.register
    def _(self, event: court_events.Moved) -> None:
        if self._docket.case(event.game) is not None:
            move = Played(event.place.block, event.place.index, event.state, event.deadline, event.posted)
            self._docket.add_move(event.game, move)

    @apply.register
    def _(self, event: court_events.Dismissed) -> None:
        self._docket.end_game(event.game, event.place.block, "dismissed")

    @apply.register
    def _(self, event: court_events.Convicted) -> None:
        if self._concerns(event.lease):
            self._docket.convict(event.lease, event.place.block, event.game)

    @apply.register
    def _(self, event: court_events.Claimed) -> None:
        if self._concerns(event.lease):
            self._docket.add_claim(event.game, event.place.block, event.lease, event.order)

    @apply.register
    def _(self, event: court_events.Demanded) -> None:
        if event.lease.node == self._node or self._docket.knows_demand(event.demand):
            self._docket.demand(event.demand, event.item, block=event.place.block, deadline=event.deadline)

    @apply.register
    def _(self, event: court_events.DemandAnswered) -> None:
        self._docket.end_demand(event.demand, event.place.block, tuple(event.entries))

    @apply.register
    def _(self, event: court_events.DemandMissed) -> None:
        self._docket.end_demand(event.demand, event.place.block, None)

    def _concerns(self, lease: LeaseId) -> bool:
        return lease.node == self._node or bool(self._docket.cases_on(lease))
