"""Turns the chain's events into hints: where work is offered, who may be replicated, who is late, what was earned.

A hint only says where to look; before any act the chain is asked again. So an event taken twice changes nothing.
"""

from __future__ import annotations

from functools import singledispatchmethod

from orebit.chain import events
from orebit.chain.types import LeaseId
from orebit.daemon.journal import BatchHint, Intent, Journal, Phase, TaskHint


class Watch:
    """Folds events into the journal of node `node`."""

    def __init__(self, journal: Journal, node: int) -> None:
        self._journal = journal
        self._node = node

    @singledispatchmethod
    def apply(self, event: events.Event) -> None:
        """Takes in one event; those that concern no lease of anybody are ignored."""

    @apply.register
    def _(self, event: events.TaskCreated) -> None:
        self._journal.see_task(event.place.block, TaskHint(event.task, event.requester, event.url))

    @apply.register
    def _(self, event: events.BatchPosted) -> None:
        self._journal.see_batch(event.place.block, BatchHint(event.batch, event.task, event.plan_root))

    @apply.register
    def _(self, event: events.BatchSettled) -> None:
        self._journal.settle_batch(event.place.block, event.batch)

    @apply.register
    def _(self, event: events.BatchClosed) -> None:
        self._journal.settle_batch(event.place.block, event.batch)

    @apply.register
    def _(self, event: events.Leased) -> None:
        if event.lease.node == self._node:
            self._journal.expect(Intent(event.lease.slot, event.batch, event.first, event.grains))
        else:
            self._journal.see_stranger(event.place.block, event.lease, event.batch)

    @apply.register
    def _(self, event: events.Committed) -> None:
        self._move(event.lease, Phase.COMMITTED, event, event.commitment)

    @apply.register
    def _(self, event: events.Called) -> None:
        self._journal.call_stranger(event.lease)

    @apply.register
    def _(self, event: events.Taken) -> None:
        self._move(event.primary, Phase.PAIRED, event)
        if event.replica.node == self._node:
            self._journal.expect(Intent(event.replica.slot, 0, 0, 0, event.primary))
        else:
            self._journal.see_replica(event.place.block, event.primary, event.replica)

    @apply.register
    def _(self, event: events.Revealed) -> None:
        self._move(event.lease, Phase.REVEALED, event)

    @apply.register
    def _(self, event: events.Contested) -> None:
        self._move(event.primary, Phase.CONTESTED, event)

    @apply.register
    def _(self, event: events.Finalised) -> None:
        self._end(event.lease, "paid", event.paid, event)

    @apply.register
    def _(self, event: events.Expired) -> None:
        self._end(event.lease, "penalty", event.penalty, event)

    @apply.register
    def _(self, event: events.Voided) -> None:
        self._end(event.lease, "penalty", event.penalty, event)

    @apply.register
    def _(self, event: events.Slashed) -> None:
        self._end(event.lease, "slashed", event.stake, event)

    @apply.register
    def _(self, event: events.Withdrawn) -> None:
        if event.node == self._node:
            self._journal.earn(event.place.block, event.place.index, "withdrawn", LeaseId(0), event.amount)

    def _move(self, lease: LeaseId, phase: Phase, event: events.Event, commitment: bytes | None = None) -> None:
        if lease.node != self._node:
            self._journal.move_stranger(lease, phase, event.place.block, commitment)

    def _end(self, lease: LeaseId, kind: str, amount: int, event: events.Event) -> None:
        if lease.node == self._node:
            self._journal.earn(event.place.block, event.place.index, kind, lease, amount)
        else:
            self._journal.forget_stranger(lease)
