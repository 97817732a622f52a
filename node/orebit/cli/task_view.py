"""How jobs look in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orebit.chain.token import format_amount
from orebit.strategy.board import Stage
from orebit.strategy.onlooking import BatchPicture, JobPicture
from orebit.strategy.progress import Progress, RoundProgress
from orebit.strategy.quantities import format_duration

if TYPE_CHECKING:
    # torch takes seconds, which a view need not wait for
    from orebit.strategy.submission import Offer

MARKS = {
    None: ("·", "dim"),
    Stage.FREE: ("○", "dim"),
    Stage.LEASED: ("◐", "cyan"),
    Stage.COMMITTED: ("◕", "blue"),
    Stage.REPLICATED: ("◍", "magenta"),
    Stage.CONTESTED: ("!", "bold red"),
    Stage.REVEALED: ("●", "yellow"),
    Stage.FINAL: ("✔", "green"),
}
MOST_MARKS = 64


def legend() -> Text:
    """What the marks mean."""
    text = Text()
    for stage in Stage:
        mark, style = MARKS[stage]
        text.append(f"{mark} ", style).append(f"{stage.value}  ", "dim")
    return text


def marks(stages: Sequence[Stage | None]) -> Text:
    """One mark a shard or grain."""
    text = Text()
    for stage in stages[:MOST_MARKS]:
        mark, style = MARKS[stage]
        text.append(mark, style)
    return text.append(f" +{len(stages) - MOST_MARKS}") if len(stages) > MOST_MARKS else text


def mean(losses: Sequence[float]) -> str:
    return f"{sum(losses) / len(losses):.4f}" if losses else ""


def offer_table(offer: Offer, *, seconds: float) -> RenderableType:
    """What a requester agrees to."""
    quote = offer.quote
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_row("Job", f"{offer.spec.name}: {quote.rounds} rounds of {quote.shards} shards of {quote.steps} steps")
    table.add_row("Work", f"{format_amount(quote.work)} TokenAI ({format_amount(quote.training.price)} a shard)")
    table.add_row("Replicas", f"about {format_amount(quote.expected_fees)} TokenAI ({quote.overhead:.1%} of the work)")
    table.add_row(
        "Reserve", f"{format_amount(quote.round_reserve)} TokenAI a round while it runs, as if all were replicated"
    )
    table.add_row("Escrow", f"{format_amount(offer.escrow)} TokenAI now; what is not earned comes back")
    table.add_row(
        "Stake asked",
        f"{format_amount(quote.lease.stake)} TokenAI a lease, {format_amount(quote.averaging_stake)} for averaging; "
        f"{offer.able} of {offer.nodes} nodes have it free",
    )
    table.add_row(
        "Unfinal", f"up to {format_amount(quote.exposure)} TokenAI of work stands on results that are not final"
    )
    table.add_row("Time", f"about {format_duration(seconds)} with {offer.nodes} nodes like this machine")
    table.add_row("Verdict", Text(quote.verdict.text, "green" if quote.verdict.sound else "yellow"))
    for warning in quote.warnings():
        table.add_row(Text("Note", "yellow"), Text(warning, "yellow"))
    return table


def progress_view(progress: Progress) -> RenderableType:
    """A job that is driven here."""
    table = Table(title=f"Task {progress.training_task} (averaging: task {progress.averaging_task})")
    for heading in ("Round", "Training", "Averaging", "Loss"):
        table.add_column(heading)
    for part in progress.rounds:
        table.add_row(str(part.number + 1), marks(part.training), marks([part.averaging]), mean(part.losses))
    money = (
        f"Paid {format_amount(progress.paid)} TokenAI, replicas {format_amount(progress.fees)} ({progress.replicas}); "
        f"leases lost: {progress.lost}"
    )
    return Group(table, legend(), money, Text(progress.message, "bold"))


def picture_view(picture: JobPicture) -> RenderableType:
    """A job as anybody sees it."""
    names = ", ".join(f"{task.id}{' (averaging)' if task.terms.is_open else ''}" for task in picture.tasks)
    batches = Table(title=f"Task {names} at block {picture.block}")
    for heading in ("Batch", "For", "Grains", "Lost", "Loss"):
        batches.add_column(heading)
    for batch in picture.batches:
        batches.add_row(str(batch.id), _purpose(batch), marks(batch.stages), str(batch.lost or ""), mean(batch.losses))
    nodes = Table()
    for heading in ("Node", "Earned here", "Balance"):
        nodes.add_column(heading, justify="right")
    for node in picture.nodes:
        nodes.add_row(str(node.node), format_amount(node.earned), format_amount(node.balance))
    money = (
        f"Requester {picture.tasks[0].requester}: paid {format_amount(picture.paid)} TokenAI, replicas "
        f"{format_amount(picture.fees)}, escrow not reserved {format_amount(picture.escrow)}"
    )
    return Group(batches, legend(), money, nodes if picture.nodes else "")


def _purpose(batch: BatchPicture) -> str:
    return ("averaging" if batch.averaging else "training") + (" (closed)" if batch.closed else "")


class LiveView:
    """Shows a driver at work: a live table on a terminal, a line for each change elsewhere. A context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=4) if console.is_terminal else None
        self._last = ""

    def __enter__(self) -> LiveView:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def progress(self, progress: Progress) -> None:
        if self._live is not None:
            self._live.update(progress_view(progress))
            return
        line = _line(progress)
        if line != self._last:
            self._last = line
            self._console.print(line, soft_wrap=True, highlight=False)

    def note(self, text: str) -> None:
        self._console.print(Text(text, "yellow"), soft_wrap=True)


def _line(progress: Progress) -> str:
    current = next((part for part in reversed(progress.rounds) if any(part.training)), progress.rounds[0])
    return f"{_counts(current, len(progress.rounds))} {progress.message}"


def _counts(part: RoundProgress, rounds: int) -> str:
    known = [stage.value if stage else "not posted" for stage in part.training]
    counts = ", ".join(f"{known.count(name)} {name}" for name in dict.fromkeys(known))
    loss = f", loss {mean(part.losses)}" if part.losses else ""
    return f"round {part.number + 1}/{rounds}: {counts}{loss};"
