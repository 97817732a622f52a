"""What a requester sees: marks, counts, the offer and its warnings."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

from rich.console import Console

from orebit.chain.types import LeaseId
from orebit.cli.task_view import LiveView, marks, offer_table, picture_view, progress_view
from orebit.strategy.board import Stage, Task
from orebit.strategy.onlooking import BatchPicture, JobPicture, NodePicture
from orebit.strategy.progress import Progress, RoundProgress
from orebit.strategy.quote import Quote
from orebit.strategy.spec import JobSpec
from orebit.strategy.submission import Offer
from orebit.strategy.terms import load_task_file

ORE = 10**18
ROUNDS = (
    RoundProgress(0, (Stage.FINAL, Stage.REVEALED), Stage.FINAL, (0.5, 0.7)),
    RoundProgress(1, (Stage.LEASED, Stage.FREE), None, ()),
)
PROGRESS = Progress(3, 4, ROUNDS, "Round 2: training.", 2 * ORE, ORE, 1, 0)


def shown(renderable: object) -> str:
    console = Console(file=StringIO(), width=200)
    console.print(renderable)
    file = console.file
    assert isinstance(file, StringIO)
    return file.getvalue()


def spec() -> JobSpec:
    settings = load_task_file(None, {"terms.price": "1"}).plain()
    root = b"r" * 32
    return JobSpec(
        "train.py:job", root, root, ("loss",), (), None, (), (root,), ((),) * 4, (((),) * 4,) * 3, 0, 60, 15, settings
    )  # fmt: skip


def test_a_driven_job_on_a_terminal() -> None:
    text = shown(progress_view(PROGRESS))
    assert "Task 3 (averaging: task 4)" in text
    assert "✔●" in text and "◐○" in text and "0.6000" in text
    assert "Paid 2 TokenAI, replicas 1 (1)" in text and "Round 2: training." in text


def test_a_driven_job_in_a_log_says_each_change_once() -> None:
    file = StringIO()
    with LiveView(Console(file=file, width=200)) as view:
        for progress in (PROGRESS, PROGRESS, replace(PROGRESS, message="Round 2: averaging.")):
            view.progress(progress)
        view.note(f"The result of lease {LeaseId.of(1, 2, 3)} is not used.")
    assert file.getvalue().splitlines() == [
        "round 2/2: 1 training, 1 free; Round 2: training.",
        "round 2/2: 1 training, 1 free; Round 2: averaging.",
        "The result of lease 1/2#3 is not used.",
    ]


def test_many_grains_are_cut() -> None:
    assert marks([Stage.FREE] * 70).plain == "○" * 64 + " +6"


def test_the_offer_names_money_stake_verdict_and_warnings() -> None:
    settings = load_task_file(None, {"terms.price": "1", "terms.draw": "10%"})
    quote = Quote(settings.training_terms, settings.averaging_terms, 3, 4, 60, 1, 2, 0.0)
    text = shown(offer_table(Offer(spec(), quote, 24 * ORE, ORE // 20, 3, 2), seconds=75))
    assert "2 of 3 nodes have it free" in text and "8.01 TokenAI a round" in text
    assert "3 rounds of 4 shards of 60 steps" in text
    assert "24.05 TokenAI now" in text and "6 TokenAI a lease" in text and "8 TokenAI of work" in text
    assert "1 min 15 s with 3 nodes" in text
    assert "Raise the stake factor to 14.67" in text and "gas exceeds compute" in text


def test_a_job_as_anybody_sees_it() -> None:
    terms = load_task_file(None, {"terms.price": "1"}).training_terms
    task = Task(3, "0xabc", terms, "http://r", 10, b"t" * 32, [7], paid=2 * ORE, fees=ORE, earned={1: 3 * ORE})
    batch = BatchPicture(7, False, (Stage.FINAL, Stage.CONTESTED), True, 2, (0.25,))
    text = shown(picture_view(JobPicture((task,), (batch,), (NodePicture(1, 3 * ORE, ORE),), 5 * ORE, 99)))
    assert "Task 3 at block 99" in text and "training (closed)" in text and "✔!" in text
    assert "0.2500" in text and "escrow not reserved 5" in text
