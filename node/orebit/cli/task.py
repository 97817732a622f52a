"""`orebit task`: what a requester types."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import structlog
import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from orebit.chain import home as homes
from orebit.chain.rpc import parse_urls
from orebit.chain.token import format_amount
from orebit.cli.wide_table import print_table
from orebit.errors import ConfigError, OrebitError
from orebit.strategy.quantities import parse_tokens

if TYPE_CHECKING:
    from orebit.strategy.job import JobReference
    from orebit.strategy.journal import JobRecord
    from orebit.strategy.onlooking import JobPicture, Onlooker
    from orebit.strategy.requester import Requester
    from orebit.strategy.spec import JobSpec
    from orebit.strategy.submission import Offer
    from orebit.strategy.terms import TaskFile
    from orebit.strategy.training import Training

T = TypeVar("T")
app = typer.Typer(no_args_is_help=True)
console = Console()

Home = Annotated[
    Path | None, typer.Option("--home", envvar=homes.ENVIRONMENT, help="Folder of keys, journals and blobs.")
]
Rpc = Annotated[str, typer.Option("--rpc", envvar="OREBIT_RPC", help="RPC URLs, separated by commas.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
TaskNumber = Annotated[int, typer.Argument(min=1, help="The task's number.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Where the trained model goes, as safetensors.")]

DRIVER_LOG = "driver.log"
POLL_SECONDS = 0.5
"""How often a receipt is asked for, at most."""


@app.command()
def submit(
    file: Annotated[Path, typer.Argument(help="train.py (or train.py:job), or a TOML file that names it.")],
    terms: Annotated[Path | None, typer.Option("--terms", "-t", help="TOML file with the terms.")] = None,
    price: Annotated[str | None, typer.Option(help='TokenAI a shard, e.g. "0.5".')] = None,
    averaging_price: Annotated[str | None, typer.Option(help="TokenAI for an averaging shard.")] = None,
    escrow: Annotated[str | None, typer.Option(help="TokenAI to deposit at the start.")] = None,
    compute: Annotated[str | None, typer.Option(help='Time to compute a shard, e.g. "10m".')] = None,
    reveal: Annotated[str | None, typer.Option(help="Time to reveal.")] = None,
    challenge: Annotated[str | None, typer.Option(help="Challenge window.")] = None,
    draw: Annotated[str | None, typer.Option(help='Probability that a lease is checked, e.g. "25%".')] = None,
    call: Annotated[str | None, typer.Option(help="Probability that the driver has a round checked.")] = None,
    stake_factor: Annotated[str | None, typer.Option(help="Stake behind a lease over its price.")] = None,
    grain: Annotated[int | None, typer.Option(help="Shards a grain.")] = None,
    depth: Annotated[int | None, typer.Option(help="Rounds that may stand on unfinal results.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to serve blobs on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to serve blobs on.")] = None,
    url: Annotated[str | None, typer.Option(help="Where nodes reach the blobs.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Instead of the training's rounds.")] = None,
    shards: Annotated[int | None, typer.Option(min=1, help="Instead of the training's shards.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Instead of the training's steps.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help='Any other setting of a task file, e.g. "terms.gated=true".')
    ] = None,
    yes: Yes = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the offer and stop; no money moves.")] = False,
    output: Output = None,
    home: Home = None,
    rpc: Rpc = "",
) -> None:
    """Has a model trained: traces it, shows the offer, escrows, and drives the job to its end.

    Run again after an interruption, it takes the job up where it was.
    """
    flags: dict[str, Any] = {
        "terms.price": price,
        "terms.compute": compute,
        "terms.reveal": reveal,
        "terms.challenge": challenge,
        "terms.draw": draw,
        "terms.stake_factor": stake_factor,
        "averaging.price": averaging_price,
        "run.escrow": escrow,
        "run.call": call,
        "run.grain": grain,
        "run.depth": depth,
        "run.host": host,
        "run.port": port,
        "run.url": url,
    }
    flags = _given(setting or []) | {key: value for key, value in flags.items() if value is not None}
    changes = {"rounds": rounds, "shards": shards, "steps": steps}

    async def run() -> None:
        settings, reference = _settings(file, terms, flags)
        training = _training(reference, changes)
        async with _requester(home, rpc, min(POLL_SECONDS, settings.run.poll)) as requester:
            job = await _submitted(requester, training, settings, str(reference), yes=yes, dry_run=dry_run)
            if job is not None:
                await _drive(requester, job, output)

    _run(run)


@app.command()
def resume(task: TaskNumber, output: Output = None, home: Home = None, rpc: Rpc = "") -> None:
    """Takes up a job of this home where its driver stopped."""

    async def run() -> None:
        async with _requester(home, rpc) as requester:
            job = _own_job(requester, task)
            if job.outcome is not None:
                raise ConfigError(f"The job of task {task} is {job.outcome.value} already. Nothing is left to drive.")
            await _drive(requester, job, output)

    _run(run)


@app.command("list")
def list_(home: Home = None, as_json: Json = False) -> None:
    """Lists the jobs of this home."""
    from orebit.strategy.requester import open_journal

    journal = open_journal(homes.locate(home))
    try:
        rows = [_job_row(job) for job in journal.jobs()]
    finally:
        journal.close()
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    table = Table()
    for heading in ("Task", "Averaging", "Job", "Rounds", "Shards", "Started", "Outcome", "Accuracy"):
        table.add_column(heading)
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    print_table(table, console)


@app.command()
def status(task: TaskNumber, home: Home = None, rpc: Rpc = "", as_json: Json = False) -> None:
    """Shows a job once, from chain and blobs."""

    async def run() -> None:
        from orebit.cli.task_view import picture_view

        async with _onlooker(task, home, rpc) as onlooker:
            picture = await onlooker.look()
        if as_json:
            typer.echo(json.dumps(_document(picture), indent=1))
        else:
            console.print(picture_view(picture))

    _run(run)


@app.command()
def watch(
    task: TaskNumber,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between looks.")] = 2.0,
    home: Home = None,
    rpc: Rpc = "",
) -> None:
    """Shows a job live, from chain and blobs, until all its batches are settled or Ctrl-C."""

    async def run() -> None:
        from orebit.cli.task_view import picture_view

        async with _onlooker(task, home, rpc) as onlooker:
            with Live(console=console, refresh_per_second=4) as live:
                while True:
                    picture = await onlooker.look()
                    live.update(picture_view(picture))
                    if picture.batches and picture.settled and picture.escrow == 0:
                        return
                    await asyncio.sleep(every)

    _run(run)


@app.command()
def deposit(
    task: TaskNumber,
    amount: Annotated[str, typer.Argument(help='TokenAI, e.g. "2.5".')],
    home: Home = None,
    rpc: Rpc = "",
) -> None:
    """Adds to a task's escrow."""
    wei = parse_tokens(amount)

    async def run() -> None:
        from orebit.strategy import funds

        async with _requester(home, rpc) as requester:
            escrow = await funds.deposit(requester, task, wei)
        console.print(f"Task {task} has {format_amount(escrow)} TokenAI of escrow that no batch reserves.")

    _run(run)


@app.command()
def cancel(task: TaskNumber, yes: Yes = False, home: Home = None, rpc: Rpc = "") -> None:
    """Closes a job's open batches and takes back all that no lease stands behind."""

    async def run() -> None:
        from orebit.strategy import funds
        from orebit.strategy.journal import Outcome

        async with _requester(home, rpc) as requester:
            _confirm(f"Cancel the job of task {task}? Work that is leased goes on and is paid.", yes)
            refund = await funds.cancel(requester, task)
            job = requester.journal.of_task(task)
            if job is not None and job.outcome is None:
                requester.journal.end(job, Outcome.CANCELLED)
        console.print(f"{format_amount(refund.returned)} TokenAI came back; {refund.closed} batches were closed.")
        if refund.reserved:
            console.print(
                f"{format_amount(refund.reserved)} TokenAI stand behind work that is under way. Run this again when it "
                "has ended, to take back what was not earned."
            )

    _run(run)


@app.command()
def result(
    task: TaskNumber,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the model goes.")] = Path("model.safetensors"),
    home: Home = None,
) -> None:
    """Writes a finished job's model, checked against its roots, as safetensors with the state_dict's names."""
    from orebit.store.local import LocalStore
    from orebit.strategy.outcome import save_model
    from orebit.strategy.requester import open_journal

    place = homes.locate(home)
    journal = open_journal(place)
    try:
        job = journal.of_task(task)
    finally:
        journal.close()
    if job is None:
        raise _unknown(task, place)
    count = save_model(LocalStore(place.blobs), job, output)
    console.print(f"Wrote {count} tensors to {output}.", soft_wrap=True)


@app.command()
def serve(
    port: Annotated[int, typer.Option(help="Port; that of the home's latest job unless given.")] = 0,
    host: Annotated[str, typer.Option(help="Address to serve on.")] = "127.0.0.1",
    home: Home = None,
) -> None:
    """Serves this home's blobs until Ctrl-C, for auditors who come after the job has ended."""

    async def run() -> None:
        from orebit.strategy.requester import open_journal
        from orebit.strategy.submission import serve_store

        place = homes.locate(home)
        journal = open_journal(place)
        jobs = journal.jobs()
        journal.close()
        async with serve_store(place, host, port or (jobs[-1].port if jobs else 0)) as url:
            console.print(f"Serving {place.blobs} at {url}. Ctrl-C ends it.", soft_wrap=True)
            await asyncio.Event().wait()

    _run(run)


# What the commands share


def _run(work: Callable[[], Awaitable[None]]) -> None:
    """Runs to the end; SIGTERM ends it as Ctrl-C does."""

    async def guarded() -> None:
        current = asyncio.current_task()
        assert current is not None
        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, current.cancel)
        await work()

    try:
        asyncio.run(guarded())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


@asynccontextmanager
async def _requester(home: Path | None, rpc: str, poll_seconds: float = POLL_SECONDS) -> AsyncIterator[Requester]:
    from orebit.strategy.requester import open_requester

    place = homes.locate(home)
    urls = parse_urls(rpc)
    with _logging_to(place.path / DRIVER_LOG):
        async with open_requester(place, rpc=urls, poll_seconds=poll_seconds) as requester:
            yield requester


@contextlib.contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    """What happens beneath goes to a file: the terminal is for the person."""
    with path.open("a", encoding="utf-8") as file:
        structlog.configure(
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso"),
                structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
            logger_factory=structlog.PrintLoggerFactory(file=file),
            cache_logger_on_first_use=False,
        )
        try:
            yield
        finally:
            structlog.reset_defaults()


async def _submitted(
    requester: Requester, training: Training, settings: TaskFile, name: str, *, yes: bool, dry_run: bool
) -> JobRecord | None:
    """The journalled job of a submission: one that was begun before, or a new one that the person agreed to."""
    from orebit.strategy import submission
    from orebit.strategy.prepare import prepare

    with console.status("Tracing the training step ..."):
        spec = prepare(training, requester.store, settings, name)
    begun = requester.journal.unfinished(spec.key)
    if begun is not None and not dry_run:
        console.print(f"Taking up the job of task {begun.training or '(not created yet)'} where it was.")
        return begun
    offer = await submission.make_offer(requester, spec)
    await _show(requester, spec, offer)
    if dry_run:
        console.print("Nothing was sent: this was a dry run.")
        return None
    _confirm(f"Escrow {format_amount(offer.escrow)} TokenAI and start?", yes)
    return submission.begin(requester, offer)


def _given(settings: list[str]) -> dict[str, Any]:
    """Settings of the form KEY=VALUE."""
    pairs = [setting.partition("=") for setting in settings]
    for key, sign, value in pairs:
        if not (key and sign and value):
            raise ConfigError(
                f'"{key}{sign}{value}" is no setting. Write --set KEY=VALUE, as in --set terms.gated=true.'
            )
    return {key.strip(): value.strip() for key, _, value in pairs}


def _settings(file: Path, terms: Path | None, flags: dict[str, Any]) -> tuple[TaskFile, JobReference]:
    """Settings, and the code that they are for."""
    from orebit.strategy.job import parse_reference
    from orebit.strategy.terms import load_task_file

    if file.suffix == ".toml":
        if terms is not None:
            raise ConfigError("Give the terms once: either as the file to submit, or with --terms.")
        settings = load_task_file(file, flags)
        if settings.job is None:
            raise ConfigError(f'{file} names no job. Add a line such as job = "train.py:job".')
        return settings, parse_reference(settings.job, folder=file.parent)
    return load_task_file(terms, flags), parse_reference(str(file), folder=Path.cwd())


def _training(reference: JobReference, changes: dict[str, int | None]) -> Training:
    """What the requester's code gives, with what flags say instead."""
    from orebit.strategy.job import load_training

    training = load_training(reference)
    for name, value in changes.items():
        if value is not None:
            setattr(training, name, value)
    return training


async def _show(requester: Requester, spec: JobSpec, offer: Offer) -> None:
    from orebit.cli.task_view import offer_table
    from orebit.strategy.forecast import measure_blocks, measure_step

    step = await asyncio.to_thread(measure_step, requester.store, spec)
    seconds = offer.quote.expected_seconds(
        step_seconds=step, nodes=max(1, offer.nodes), block_seconds=await measure_blocks(requester.connection)
    )
    console.print(offer_table(offer, seconds=seconds))
    needed = step * offer.quote.steps
    if 2 * needed > offer.quote.training.compute_seconds:
        console.print(
            f"[yellow]A shard takes {needed:.0f} s on this machine, and nodes have "
            f"{offer.quote.training.compute_seconds} s: few may be quick enough. Raise terms.compute.[/]"
        )


async def _drive(requester: Requester, job: JobRecord, output: Path | None) -> None:
    from orebit.cli.task_view import LiveView
    from orebit.strategy import submission
    from orebit.strategy.outcome import save_model

    try:
        with LiveView(console) as view:
            done = await submission.finish(requester, job, view)
    except (asyncio.CancelledError, OrebitError):
        task = requester.journal.job(job.id).training
        if task is not None:
            console.print(f"Stopped. `orebit task resume {task}` takes it up where it is.")
        raise
    _report(done)
    if output is not None:
        count = await asyncio.to_thread(save_model, requester.store, done, output)
        console.print(f"Wrote {count} tensors to {output}.", soft_wrap=True)


def _report(done: JobRecord) -> None:
    measured = "" if done.loss is None else f" Held-out loss {done.loss:.4f}."
    if done.accuracy is not None:
        measured = f" Held-out accuracy {done.accuracy:.2%}, loss {done.loss:.4f}."
    console.print(f"Task {done.training} is done, and what was not earned is back.{measured}", soft_wrap=True)
    console.print(f"`orebit task result {done.training} -o model.safetensors` writes the model.", soft_wrap=True)


@asynccontextmanager
async def _onlooker(task: int, home: Path | None, rpc: str) -> AsyncIterator[Onlooker]:
    """Reads blobs into a store that is removed afterwards; locks nothing."""
    import aiohttp

    from orebit.chain.connection import connect
    from orebit.store.client import BlobClient
    from orebit.store.local import LocalStore
    from orebit.strategy.onlooking import Onlooker

    with tempfile.TemporaryDirectory(prefix="orebit-") as folder:
        async with await connect(parse_urls(rpc)) as connection, aiohttp.ClientSession() as session:
            yield Onlooker(connection, task, BlobClient(session, LocalStore(Path(folder))))


def _confirm(question: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError(f"{question} There is no terminal to ask on: add --yes to agree. Nothing was sent.")
    if not typer.confirm(question):
        raise ConfigError("Not agreed: nothing was sent.")


def _own_job(requester: Requester, task: int) -> JobRecord:
    job = requester.journal.of_task(task)
    if job is None:
        raise _unknown(task, requester.home)
    return job


def _unknown(task: int, home: homes.Home) -> ConfigError:
    return ConfigError(f"No job of task {task} was submitted from {home.path}. `orebit task list` shows what was.")


def _job_row(job: JobRecord) -> dict[str, Any]:
    return {
        "task": job.training,
        "averaging": job.averaging,
        "job": job.spec.name,
        "rounds": job.spec.rounds,
        "shards": job.spec.workers,
        "started": datetime.fromtimestamp(job.started).isoformat(" ", "seconds"),
        "outcome": job.outcome.value if job.outcome else "unfinished",
        "accuracy": job.accuracy,
    }


def _document(picture: JobPicture) -> dict[str, Any]:
    return {
        "block": picture.block,
        "requester": picture.tasks[0].requester,
        "tasks": [{"task": task.id, "averaging": task.terms.is_open, "url": task.url} for task in picture.tasks],
        "batches": [
            {
                "batch": batch.id,
                "averaging": batch.averaging,
                "stages": [stage.value for stage in batch.stages],
                "closed": batch.closed,
                "lost": batch.lost,
                "losses": list(batch.losses),
            }
            for batch in picture.batches
        ],
        "paid": str(picture.paid),
        "fees": str(picture.fees),
        "replicas": sum(task.replicas for task in picture.tasks),
        "escrow": str(picture.escrow),
        "nodes": [
            {"node": node.node, "earned": str(node.earned), "balance": str(node.balance)} for node in picture.nodes
        ],
        "settled": picture.settled,
    }
