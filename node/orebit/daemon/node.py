"""The daemon: cycles of reading the chain, deciding and sending, beside computing, scouting and serving."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import structlog
from aiohttp import web
from eth_account.signers.local import LocalAccount

from orebit.chain.arbiter import Arbiter
from orebit.chain.connection import Connection, connect
from orebit.chain.cursor import Position
from orebit.chain.home import Home
from orebit.chain.market import Market
from orebit.chain.reader import EventReader, ReorgTooDeep
from orebit.chain.registry import Registry
from orebit.chain.sender import Sender, SenderSettings
from orebit.chain.types import LeaseState, NodeInfo
from orebit.daemon import leasing, registration
from orebit.daemon.acts import Dispatch
from orebit.daemon.config import NodeConfig
from orebit.daemon.court.chambers import Office, open_office
from orebit.daemon.court.prudence import Prudence
from orebit.daemon.decision import Clock
from orebit.daemon.inputs import Inputs, Measured
from orebit.daemon.journal import Journal
from orebit.daemon.leasing import Room
from orebit.daemon.measuring import measured_apart
from orebit.daemon.obligations import Obligations, Standing
from orebit.daemon.scout import Scout
from orebit.daemon.settlement import Settlement
from orebit.daemon.status import URL_SETTING, LeaseStatus, Status, closed_counts
from orebit.daemon.taking import Taking
from orebit.daemon.testimony import Witness
from orebit.daemon.view import View
from orebit.daemon.watch import Watch
from orebit.daemon.work import Worker, Workshop
from orebit.errors import AccountError, ChainError
from orebit.executor.conformance import run_conformance
from orebit.executor.hardware import Hardware
from orebit.executor.selection import conforming
from orebit.store import BlobClient, LocalStore, blob_routes, serve

log = structlog.get_logger(__name__)

LONGEST_PAUSE = 30.0


@dataclass
class Parts:
    """What a running node is made of."""

    config: NodeConfig
    journal: Journal
    connection: Connection
    sender: Sender
    registry: Registry
    view: View
    reader: EventReader
    watch: Watch
    worker: Worker
    obligations: Obligations
    settlement: Settlement
    scout: Scout
    taking: Taking
    dispatch: Dispatch
    witness: Witness | None
    """Where MajorityArbiter judges."""
    court: Office | None
    node: int
    leasing: bool = True
    """False: this node audits, and leases nothing."""


class Node:
    """One running node. `run` returns after a signal, or when a drain is complete."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._stopping = asyncio.Event()
        self._info: NodeInfo | None = None
        self._block = 0
        self._at: Position | None = None
        self._pause = parts.config.poll_seconds
        self._told_no_stake = False
        self._told_no_deposit = False

    # Running

    async def run(self) -> None:
        """Works until told to stop. Raises StorageError when the disk fails, ReorgTooDeep for another chain."""
        parts = self._parts
        with self._signals():
            async with asyncio.TaskGroup() as group:
                background: list[Coroutine[Any, Any, None]] = [
                    parts.worker.run(),
                    parts.scout.run(),
                ]
                if parts.witness is not None:
                    background.append(parts.witness.run())
                if parts.court is not None:
                    background.append(parts.court.chambers.run())
                tasks = [group.create_task(coroutine) for coroutine in background]
                try:
                    await self._cycles()
                finally:
                    for task in tasks:
                        task.cancel()
        self._say_what_is_left()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    def _on_signal(self) -> None:
        if self._stopping.is_set():
            log.warning("stopping at once; the journal has everything")
            os._exit(130)
        log.info("stopping: no new leases, the current transaction ends first; a second signal stops at once")
        self._stopping.set()
        self._parts.worker.done.set()

    async def _cycles(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                sent = await self._cycle()
                failures = 0
            except ReorgTooDeep:
                raise
            except (ChainError, AccountError) as error:
                failures += 1
                log.warning("this cycle failed; trying again", reason=str(error), failures=failures)
                sent = False
            if self._is_drained():
                log.info("drained: nothing is left to do")
                self._parts.journal.set_setting("draining", "0")
                return
            if not sent:
                await self._rest(min(self._pause * 2**failures, LONGEST_PAUSE))

    async def _rest(self, seconds: float) -> None:
        """Until work is done, a signal comes, or the time is over."""
        done = self._parts.worker.done
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(done.wait(), seconds)
        done.clear()

    def _is_drained(self) -> bool:
        journal = self._parts.journal
        return journal.draining and not journal.leases() and not journal.intents()

    # One cycle

    async def _cycle(self) -> bool:
        """Reads, decides, sends; whether something was sent, so that the next cycle follows at once."""
        parts = self._parts
        clock = await self._read_events()
        self._block = clock.block
        if parts.sender.anonymous_in_flight:
            log.info("waiting for a transaction of an earlier run", count=parts.sender.anonymous_in_flight)
            return False
        await parts.obligations.adopt(intent.slot for intent in parts.journal.intents())
        acts = [*await parts.obligations.acts(clock), *await parts.settlement.acts(clock)]
        room = await self._room()
        parts.scout.room = room
        if room is not None and self._info is not None and not self._stopping.is_set():
            acts += await parts.taking.acts(clock, room, self._info)
        sent = await parts.dispatch.send(acts) if acts else []
        for act in sent:
            if act.kind == "reveal":
                parts.journal.publish(act.leases[0])
        return bool(sent)

    async def _read_events(self) -> Clock:
        """Up to the head, which is what this cycle takes for the present."""
        parts = self._parts
        while (delivery := await parts.reader.poll()) is not None:
            # A block without a log of the deployment on top of the last one leaves what was read as it is.
            if delivery.logs or delivery.undone or self._at is None or delivery.ancestor != self._at.number:
                parts.view.snapshot.forget()
            self._at = delivery.position
            with parts.journal.transaction():
                parts.journal.roll_back(delivery.ancestor)
                if parts.court is not None:
                    parts.court.docket.roll_back(delivery.ancestor)
                for event in delivery.events:
                    parts.watch.apply(event)
                    if parts.court is not None:
                        parts.court.watch.apply(event)
                parts.reader.acknowledge(delivery)
            if delivery.position.number >= delivery.head.number or self._stopping.is_set():
                break
        head = parts.reader.head
        assert head is not None, "a poll that returns has seen one"
        parts.view.snapshot.stand(head.hash if self._at is not None and parts.reader.up_to_date else None)
        return Clock(head.number, head.timestamp)

    async def _room(self) -> Room | None:
        """What may be taken on, None when nothing may."""
        parts = self._parts
        self._info = info = await parts.view.node(parts.node)
        journal = parts.journal
        if self._stopping.is_set() or journal.draining or journal.halted or parts.obligations.contested:
            return None
        if not parts.leasing or not self._is_deposited(info):
            return None
        if info.stake == 0:
            if not self._told_no_stake:
                log.warning("this node has no stake, so it can lease nothing; `orebit node stake AMOUNT` adds some")
            self._told_no_stake = True
            return None
        held = journal.leases()
        used = {record.lease.slot for record in held} | {intent.slot for intent in journal.intents()}
        free = [slot for slot in range(parts.config.slots) if slot not in used]
        return leasing.room(parts.config, free, info.available, held)

    def _is_deposited(self, info: NodeInfo) -> bool:
        """Whether the court holds ETH enough of this node; without it the market refuses every lease."""
        if info.deposited:
            self._told_no_deposit = False
        elif not self._told_no_deposit:
            self._told_no_deposit = True
            log.warning("the deposit with the court is below its floor, so this node can lease nothing")
        return info.deposited

    # Telling

    def _say_what_is_left(self) -> None:
        """Which leases would outlast this stop, and until when somebody must be back."""
        for standing in self._parts.obligations.standings:
            until, state = standing.decision.until, standing.info.state
            if until is None:
                continue
            owed = state < LeaseState.REVEALED and not (standing.record.replica and state is LeaseState.HALF_REVEALED)
            tell, what = (log.warning, "before its deadline, or lose stake") if owed else (log.info, "to be paid")
            tell(
                f"stopped with a live lease: start the node again {what}",
                lease=str(standing.record.lease),
                state=state.name.lower(),
                doing=standing.decision.reason,
                seconds_left=int(until - time.time()),
            )
        log.info("stopped")

    def status(self) -> Status:
        """The node as of the last cycle."""
        parts, info = self._parts, self._info
        journal = parts.journal
        return Status(
            running=True,
            node=parts.node,
            address=parts.sender.address,
            doing=self._doing(),
            leases=[self._lease_status(standing) for standing in parts.obligations.standings],
            earned=journal.earnings(),
            leases_closed=closed_counts(journal),
            stake=info.stake if info else None,
            locked=info.locked if info else None,
            balance=parts.settlement.balance,
            block=self._block,
            halted=journal.halted,
            draining=journal.draining,
            deposit=parts.court.deposit.held if parts.court else None,
            floor=parts.court.deposit.floor if parts.court else None,
            games=len(parts.court.docket.open_cases()) if parts.court else 0,
        )

    def _doing(self) -> str:
        journal = self._parts.journal
        if self._stopping.is_set():
            return "stopping"
        if journal.halted:
            return f"taking no leases: {journal.halted}"
        if journal.draining:
            return "draining: finishing what is leased, taking nothing new"
        if not self._parts.leasing:
            return "auditing"
        if self._info is not None and self._info.stake == 0:
            return "waiting for stake"
        if self._info is not None and not self._info.deposited:
            return "waiting for its deposit with the court"
        running = self._parts.worker.jobs
        return f"computing {running} lease{'s' if running > 1 else ''}" if running else "looking for work"

    def _lease_status(self, standing: Standing) -> LeaseStatus:
        record, info, decision = standing.record, standing.info, standing.decision
        progress = self._parts.worker.progress(record.lease)
        return LeaseStatus(
            lease=str(record.lease),
            role="replica" if record.replica else "primary",
            task=record.task,
            batch=record.batch,
            first_shard=record.first_shard,
            shards=record.shards,
            state=info.state.name.lower(),
            doing=decision.reason,
            deadline=decision.until,
            progress=progress.part if progress else None,
            stake=record.stake,
        )


@contextlib.asynccontextmanager
async def assemble(
    config: NodeConfig,
    home: Home,
    account: LocalAccount,
    journal: Journal,
    *,
    leasing: bool = True,
    measured: Measured = measured_apart,
) -> AsyncIterator[Node]:
    """A node with its servers up, registered under its account.

    Raises ConfigError, ChainError or ConformanceError; ExecutionError without the GPU that it is to compute on.
    """
    log.info("checking that this machine computes the reference bits")
    await asyncio.to_thread(run_conformance)
    if config.device is Hardware.CUDA:
        await asyncio.to_thread(conforming, home.path, config.device)
    store = LocalStore(home.blobs)
    async with contextlib.AsyncExitStack() as stack:
        public = web.Application()
        public.add_routes(blob_routes(store, journal.is_public))
        url = await stack.enter_async_context(serve(public, config.listen_host, config.listen_port))
        connection = await stack.enter_async_context(await connect(config.rpc))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        settings = SenderSettings(poll_seconds=min(1.0, config.poll_seconds))
        sender = await stack.enter_async_context(Sender(connection, account, home.outbox, settings))
        node = await _identify(config, journal, connection, sender)
        log.info("node is up", node=node, address=account.address, serves=url, as_=config.public_url)
        parts = _build(
            config, home, account, journal, store, connection, session, sender, node, leasing=leasing, measured=measured
        )
        running = Node(parts)
        status = web.Application()
        status.router.add_get("/status", lambda _request: _answer(running))
        journal.set_setting(URL_SETTING, await stack.enter_async_context(serve(status, "127.0.0.1", 0)))
        try:
            yield running
        finally:
            journal.set_setting(URL_SETTING, "")


async def _answer(node: Node) -> web.Response:
    return web.json_response(text=node.status().to_json())


async def _identify(config: NodeConfig, journal: Journal, connection: Connection, sender: Sender) -> int:
    registry = Registry(connection)
    node = await registration.find_node(registry, journal, sender.address)
    if node is None:
        return await registration.register(registry, sender, journal, config.public_url)
    await registration.describe(registry, sender, node, config.public_url)
    return node


def _build(
    config: NodeConfig,
    home: Home,
    account: LocalAccount,
    journal: Journal,
    store: LocalStore,
    connection: Connection,
    session: aiohttp.ClientSession,
    sender: Sender,
    node: int,
    *,
    leasing: bool,
    measured: Measured,
) -> Parts:
    market, registry = Market(connection), Registry(connection)
    view = View(connection, market, registry)
    client = BlobClient(session, store)
    inputs = Inputs(store, client, journal, config.limits, config.ranks, config.split, config.device, measured)
    workshop = Workshop(journal, store, inputs, config.threads, config.ranks, config.split, config.device)
    worker = Worker(workshop, inputs, config.parallel)
    prudence = Prudence(inputs, view, config.threads) if connection.deployment.has_court else None
    scout = Scout(config, journal, view, inputs, worker, node, prudence)
    obligations = Obligations(config, journal, view, inputs, worker, node, bytes(account.key))
    witness = office = None
    if prudence is not None:
        office = open_office(
            config, journal, store, inputs, client, view, sender, obligations, prudence, node, leasing=leasing
        )
    else:
        witness = Witness(journal, view, client, worker, sender, Arbiter(connection), node, config.poll_seconds)
    return Parts(
        config=config,
        journal=journal,
        connection=connection,
        sender=sender,
        registry=registry,
        view=view,
        reader=EventReader(connection, journal.database, name="node"),
        watch=Watch(journal, node),
        worker=worker,
        obligations=obligations,
        settlement=Settlement(config, journal, view, node),
        scout=scout,
        taking=Taking(journal, market, registry, scout, node),
        dispatch=Dispatch(connection, market, sender, journal),
        witness=witness,
        court=office,
        node=node,
        leasing=leasing,
    )


async def run_node(
    config: NodeConfig,
    home: Home,
    account: LocalAccount,
    *,
    leasing: bool = True,
    measured: Measured = measured_apart,
) -> None:
    """Runs a node in this process until a signal; the home is locked already.

    leasing: False for a node that only audits. measured: how strangers' programs are timed.
    """
    journal = Journal(home.journal)
    try:
        async with assemble(config, home, account, journal, leasing=leasing, measured=measured) as node:
            await node.run()
    except BaseExceptionGroup as group:
        raise _first_cause(group) from group
    finally:
        journal.close()


def _first_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What went wrong first in a task group, for one paragraph on a terminal."""
    first = group.exceptions[0]
    return _first_cause(first) if isinstance(first, BaseExceptionGroup) else first
