"""`orebit task`: what a requester types."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from orebit.chain import home as homes
from orebit.chain.token import format_amount
from orebit.cli.foreground import POLL_SECONDS, open_onlooker, open_requester, run_to_the_end
from orebit.cli.submission import agreed_job, confirm, drive, load_job, load_settings, parse_settings
from orebit.cli.task_document import job_row, picture_document
from orebit.cli.wide_table import print_table
from orebit.errors import ConfigError
from orebit.strategy.quantities import parse_tokens

if TYPE_CHECKING:
    from orebit.strategy.journal import JobRecord
    from orebit.strategy.requester import Requester

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
    flags = parse_settings(setting or []) | {key: value for key, value in flags.items() if value is not None}
    changes = {"rounds": rounds, "shards": shards, "steps": steps}

    async def run() -> None:
        settings, reference = load_settings(file, terms, flags)
        training = load_job(reference, changes)
        async with open_requester(home, rpc, min(POLL_SECONDS, settings.run.poll)) as requester:
            job = await agreed_job(requester, training, settings, str(reference), yes=yes, dry_run=dry_run)
            if job is not None:
                await drive(requester, job, output)

    run_to_the_end(run)


@app.command()
def resume(task: TaskNumber, output: Output = None, home: Home = None, rpc: Rpc = "") -> None:
    """Takes up a job of this home where its driver stopped."""

    async def run() -> None:
        async with open_requester(home, rpc) as requester:
            job = _own_job(requester, task)
            if job.outcome is not None:
                raise ConfigError(f"The job of task {task} is {job.outcome.value} already. Nothing is left to drive.")
            await drive(requester, job, output)

    run_to_the_end(run)


@app.command("list")
def list_(home: Home = None, as_json: Json = False) -> None:
    """Lists the jobs of this home."""
    from orebit.strategy.requester import open_journal

    journal = open_journal(homes.locate(home))
    try:
        rows = [job_row(job) for job in journal.jobs()]
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

        async with open_onlooker(task, home, rpc) as onlooker:
            picture = await onlooker.look()
        if as_json:
            typer.echo(json.dumps(picture_document(picture), indent=1))
        else:
            console.print(picture_view(picture))

    run_to_the_end(run)


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

        async with open_onlooker(task, home, rpc) as onlooker:
            with Live(console=console, refresh_per_second=4) as live:
                while True:
                    picture = await onlooker.look()
                    live.update(picture_view(picture))
                    if picture.batches and picture.settled and picture.escrow == 0:
                        return
                    await asyncio.sleep(every)

    run_to_the_end(run)


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

        async with open_requester(home, rpc) as requester:
            escrow = await funds.deposit(requester, task, wei)
        console.print(f"Task {task} has {format_amount(escrow)} TokenAI of escrow that no batch reserves.")

    run_to_the_end(run)


@app.command()
def cancel(task: TaskNumber, yes: Yes = False, home: Home = None, rpc: Rpc = "") -> None:
    """Closes a job's open batches and takes back all that no lease stands behind."""

    async def run() -> None:
        from orebit.strategy import funds
        from orebit.strategy.journal import Outcome

        async with open_requester(home, rpc) as requester:
            confirm(f"Cancel the job of task {task}? Work that is leased goes on and is paid.", yes)
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

    run_to_the_end(run)


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
        from orebit.strategy.serving import serve_store

        place = homes.locate(home)
        journal = open_journal(place)
        jobs = journal.jobs()
        journal.close()
        async with serve_store(place, host, port or (jobs[-1].port if jobs else 0)) as url:
            console.print(f"Serving {place.blobs} at {url}. Ctrl-C ends it.", soft_wrap=True)
            await asyncio.Event().wait()

    run_to_the_end(run)


def _own_job(requester: Requester, task: int) -> JobRecord:
    job = requester.journal.of_task(task)
    if job is None:
        raise _unknown(task, requester.home)
    return job


def _unknown(task: int, home: homes.Home) -> ConfigError:
    return ConfigError(f"No job of task {task} was submitted from {home.path}. `orebit task list` shows what was.")
