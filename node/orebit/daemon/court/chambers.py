"""Everything of this node that has to do with the court, looked after in turns beside the daemon's cycles."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from orebit.chain.court import Court
from orebit.chain.sender import Sender
from orebit.daemon.config import NodeConfig
from orebit.daemon.court.aftermath import Aftermath
from orebit.daemon.court.audit import Auditor
from orebit.daemon.court.contests import Contests
from orebit.daemon.court.demands import Demands
from orebit.daemon.court.deposit import Deposit
from orebit.daemon.court.desk import Desk
from orebit.daemon.court.docket import Docket
from orebit.daemon.court.opening import Opening
from orebit.daemon.court.proofs import Proofs
from orebit.daemon.court.prudence import Prudence
from orebit.daemon.court.watch import CourtWatch
from orebit.daemon.inputs import Inputs
from orebit.daemon.journal import Journal
from orebit.daemon.obligations import Obligations
from orebit.daemon.view import View
from orebit.errors import ChainError, OrebitError
from orebit.store import BlobClient, LocalStore

log = structlog.get_logger(__name__)


class Duty(Protocol):
    """Something to look after again and again."""

    async def look(self) -> None: ...


class Chambers:
    """Runs the desk apart from the rest, since its clocks are the shortest."""

    def __init__(self, desk: Desk, duties: Sequence[Duty], audits: Duty, poll_seconds: float) -> None:
        self._desk = desk
        self._duties = duties
        self._audits = audits
        self._poll_seconds = poll_seconds

    async def run(self) -> None:
        """Until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._again([self._desk]), name="games")
                group.create_task(self._again(self._duties), name="court")
                group.create_task(self._again([self._audits]), name="audits")
        finally:
            await self._desk.close()

    async def _again(self, duties: Sequence[Duty]) -> None:
        while True:
            for duty in duties:
                try:
                    await duty.look()
                except ChainError as error:
                    log.warning("the chain does not answer", duty=type(duty).__name__.lower(), reason=str(error))
                except OrebitError as error:
                    log.warning("not now", duty=type(duty).__name__.lower(), reason=str(error))
            await asyncio.sleep(self._poll_seconds)


@dataclass
class Office:
    """A node's part at the court."""

    docket: Docket
    watch: CourtWatch
    chambers: Chambers
    deposit: Deposit


def open_office(
    config: NodeConfig,
    journal: Journal,
    store: LocalStore,
    inputs: Inputs,
    client: BlobClient,
    view: View,
    sender: Sender,
    obligations: Obligations,
    prudence: Prudence,
    node: int,
    *,
    leasing: bool,
) -> Office:
    """Everything that a node needs where the court judges. One that leases nothing needs no deposit."""
    court = Court(view.connection)
    docket = Docket(journal)
    proofs = Proofs(journal, store, inputs, config.threads)
    desk = Desk(docket, journal, court, proofs, inputs, sender, view, node, obligations.halt)
    demands = Demands(docket, journal, court, proofs, store, sender, view, config.audit)
    opening = Opening(docket, journal, court, proofs, inputs, store, sender, view, config.audit, prudence, node)
    contests = Contests(obligations, docket, view, client, proofs, demands)
    deposit = Deposit(court, sender, config.court, node)
    duties: list[Duty] = [demands, contests, opening, Aftermath(docket, court, sender, view, node)]
    if leasing:
        duties.insert(0, deposit)
    auditor = Auditor(config.audit, journal, docket, view, client, inputs, proofs, demands, node)
    chambers = Chambers(desk, duties, auditor, config.poll_seconds)
    return Office(docket, CourtWatch(docket, node, sender.address), chambers, deposit)
