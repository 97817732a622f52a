"""What `orebit task submit` and `resume` do: read settings and code, show the offer, ask, drive the job to its end."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from orebit.chain.token import format_amount
from orebit.errors import ConfigError, OrebitError

if TYPE_CHECKING:
    from orebit.strategy.job import JobReference
    from orebit.strategy.journal import JobRecord
    from orebit.strategy.requester import Requester
    from orebit.strategy.spec import JobSpec
    from orebit.strategy.submission import Offer
    from orebit.strategy.terms import TaskFile
    from orebit.strategy.training import Training

console = Console()


async def agreed_job(
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
    confirm(f"Escrow {format_amount(offer.escrow)} TokenAI and start?", yes)
    return submission.begin(requester, offer)


def parse_settings(settings: list[str]) -> dict[str, Any]:
    """Settings of the form KEY=VALUE."""
    pairs = [setting.partition("=") for setting in settings]
    for key, sign, value in pairs:
        if not (key and sign and value):
            raise ConfigError(
                f'"{key}{sign}{value}" is no setting. Write --set KEY=VALUE, as in --set terms.gated=true.'
            )
    return {key.strip(): value.strip() for key, _, value in pairs}


def load_settings(file: Path, terms: Path | None, flags: dict[str, Any]) -> tuple[TaskFile, JobReference]:
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


def load_job(reference: JobReference, changes: dict[str, int | None]) -> Training:
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


async def drive(requester: Requester, job: JobRecord, output: Path | None) -> None:
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


def confirm(question: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError(f"{question} There is no terminal to ask on: add --yes to agree. Nothing was sent.")
    if not typer.confirm(question):
        raise ConfigError("Not agreed: nothing was sent.")
