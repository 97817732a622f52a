"""From a prepared job to its trained model: escrow, drive, settle. Every step may be cut off and taken up again."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from orebit.chain.events import TaskCreated
from orebit.chain.token import format_amount
from orebit.chain.types import Policy, Terms
from orebit.errors import ConfigError, OrebitError, TransactionReverted
from orebit.store.client import BlobClient
from orebit.strategy import funds
from orebit.strategy.driver import Driver, TasksMoved
from orebit.strategy.evaluation import evaluate
from orebit.strategy.journal import JobRecord, Outcome
from orebit.strategy.progress import QUIET, Observer
from orebit.strategy.quote import Quote
from orebit.strategy.requester import Requester
from orebit.strategy.results import ResultReader
from orebit.strategy.rounds import State
from orebit.strategy.serving import serve_store
from orebit.strategy.spec import JobSpec
from orebit.strategy.waiting import newest_nodes


def quote_of(spec: JobSpec) -> Quote:
    """What a prepared job costs. Raises ConfigError when its shards do not fit its grains."""
    settings = spec.task_file
    return Quote(
        training=settings.training_terms,
        averaging=settings.averaging_terms,
        rounds=spec.rounds,
        shards=spec.workers,
        steps=spec.steps,
        grain=settings.run.grain,
        depth=settings.run.depth,
        call=settings.run.call,
    )


@dataclass(frozen=True)
class Offer:
    """A job that can be begun: its quote, and what its two tasks will be given."""

    spec: JobSpec
    quote: Quote
    training_escrow: int
    averaging_escrow: int
    nodes: int
    """Registered nodes."""
    able: int
    """Nodes whose free stake covers a lease; of the newest only, where there are very many."""

    @property
    def escrow(self) -> int:
        return self.training_escrow + self.averaging_escrow


async def make_offer(requester: Requester, spec: JobSpec) -> Offer:
    """Checks a job against chain and purse. Raises ConfigError or AccountError; moves no money."""
    quote = quote_of(spec)
    policy = await requester.market.policy()
    for name, terms in (("terms", quote.training), ("averaging", quote.averaging)):
        _check_policy(name, terms, policy)
    training, averaging = quote.escrow(spec.task_file.run.escrow)
    await funds.require_tokens(requester, training + averaging)
    nodes = await newest_nodes(requester)
    able = sum(node.available >= quote.lease.stake for node in nodes)
    return Offer(spec, quote, training, averaging, await requester.registry.node_count(), able)


def _check_policy(name: str, terms: Terms, policy: Policy) -> None:
    """Raises ConfigError naming the setting that this chain's market does not admit."""
    if not policy.min_move_time <= terms.move_time <= policy.max_move_time:
        raise ConfigError(
            f'{name}.move is {terms.move_time} s; this market admits "{policy.min_move_time}s" to '
            f'"{policy.max_move_time}s".'
        )
    least = 4 * terms.move_time + terms.compute_seconds if policy.court_windows else 1
    if terms.challenge_seconds < least:
        raise ConfigError(
            f"{name}.challenge is {terms.challenge_seconds} s; this market asks for at least {least} s, four moves and "
            "the compute time, so that a dispute fits."
        )
    if policy.weak_block_hashes and terms.draw_bp:
        raise ConfigError(
            f"{name}.draw must be 0 here: this chain's block hashes can be foreseen. Let the driver call instead, with "
            'run.call = "25%" and terms.draw_delay = 3.'
        )


def begin(requester: Requester, offer: Offer) -> JobRecord:
    """Journals a job, before its money moves."""
    return requester.journal.begin(offer.spec, run=secrets.token_hex(8))


async def finish(requester: Requester, job: JobRecord, observer: Observer = QUIET) -> JobRecord:
    """Takes a journalled job to its end, from wherever it is, and returns its record with result and accuracy.

    Raises JobHalted when it cannot go on, ConfigError when its port is taken; both leave it to be resumed.
    """
    async with _serving(requester, job) as served, aiohttp.ClientSession() as session:
        client = BlobClient(session, requester.store)
        results = ResultReader(served.spec, requester.store, client, requester.registry)
        job, state = await _drive(requester, served, results, observer)
        score = await asyncio.to_thread(evaluate, requester.store, job.spec, state)
        assert job.training is not None
        refund = await funds.cancel(requester, job.training, since=job.block)
        if refund.reserved:
            observer.note(
                f"{format_amount(refund.reserved)} TokenAI stand behind work that is no longer needed. Take back what "
                f"is not earned of it later, with `orebit task cancel {job.training}`."
            )
        requester.journal.end(job, Outcome.DONE, state, score.accuracy, score.loss)
    return requester.journal.job(job.id)


async def _drive(
    requester: Requester, job: JobRecord, results: ResultReader, observer: Observer
) -> tuple[JobRecord, State]:
    """The job with its tasks' numbers, as they stand after any reorg, and its final state."""
    while True:
        job = await _create_tasks(requester, job)
        try:
            return job, await Driver(requester, job, results, observer).run()
        except TasksMoved as moved:
            observer.note(str(moved))


@asynccontextmanager
async def _serving(requester: Requester, job: JobRecord) -> AsyncIterator[JobRecord]:
    """Serves the home's blobs at the job's address, the same after every restart."""
    settings = job.spec.task_file.run
    async with serve_store(requester.home, settings.host, job.port or settings.port) as url:
        if not job.port:
            port = int(url.rsplit(":", 1)[1])
            job = requester.journal.serve_at(job, port, settings.url or url)
        yield job


async def _create_tasks(requester: Requester, job: JobRecord) -> JobRecord:
    """Creates and funds both tasks in one transaction, once, however often this is called."""
    assert job.url is not None
    market, settings = requester.market, job.spec.task_file
    training, averaging = quote_of(job.spec).escrow(settings.run.escrow)
    key = f"create:{job.run}"
    requests: list[bytes] = []
    if not requester.sender.knows(key):
        requests = await funds.allow(requester, training + averaging)
        requests.append(market.encode_create(settings.training_terms, job.url, training))
        requests.append(market.encode_create(settings.averaging_terms, job.url, averaging))
    try:
        receipt = await requester.sender.multicall(
            requests, must=(1 << len(requests)) - 1, label="creating the tasks", key=key
        )
    except TransactionReverted as error:
        requester.journal.end(job, Outcome.CANCELLED)
        raise _not_created(error) from error
    created = [event for event in receipt.events if isinstance(event, TaskCreated)]
    return requester.journal.created(job, created[0].task, created[1].task, receipt.block)


def _not_created(error: TransactionReverted) -> OrebitError:
    if error.error == "NewWorkPaused":
        return ConfigError("The market's guardian has paused new work. Nothing was escrowed; submit again later.")
    return OrebitError(f"The tasks were not created and no money moved. {error}")
