"""How an audit is shown: tables for people, a document for programs."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from orebit.chain.token import format_amount
from orebit.cli.wide_table import print_table
from orebit.strategy.audit import Audit
from orebit.strategy.audit_results import Verdict

_COLOURS = {Verdict.VERIFIED: "green", Verdict.UNVERIFIED: "yellow", Verdict.MISMATCH: "red"}


def audit_document(found: Audit) -> dict[str, Any]:
    """The audit for programs; amounts in wei."""
    book = found.task
    return {
        "task": book.id,
        "requester": book.requester,
        "block": found.reconciliation.block,
        "conserved": found.conserved,
        "verdict": _worst(found),
        "given": book.given,
        "forfeited": book.forfeited,
        "deposited": book.deposited,
        "paid": book.paid,
        "refunded": book.refunded,
        "penalties": book.penalties,
        "burnt": book.burnt,
        "held": book.held,
        "surplus": found.reconciliation.surplus,
        "differences": [str(difference) for difference in found.reconciliation.differences],
        "leases": {str(outcome): count for outcome, count in found.outcomes.items()},
        "flows": [
            {"from": flow.source, "to": flow.target, "why": flow.reason, "amount": amount}
            for flow, amount in found.flows
        ],
        "games": [
            {
                "game": game.game.hex(),
                "lease": str(game.lease),
                "challenger": game.challenger,
                "moves": game.moves,
                "outcome": game.outcome,
                "bond": game.staked,
            }
            for game in found.games
        ],
        "nodes": [{"node": node.id, "owner": node.owner, "payee": node.payee, "url": node.url} for node in found.nodes],
        "checks": [
            {"subject": check.subject, "root": check.root.hex(), "verdict": str(check.verdict), "detail": check.detail}
            for check in found.checks
        ],
    }


def _worst(found: Audit) -> str:
    if not found.conserved or found.of(Verdict.MISMATCH):
        return str(Verdict.MISMATCH)
    return str(Verdict.UNVERIFIED if found.of(Verdict.UNVERIFIED) else Verdict.VERIFIED)


def print_audit(found: Audit, console: Console) -> None:
    """Money, who paid whom, and the roots."""
    console.print(_money(found))
    print_table(_flows(found), console)
    for game in found.games:
        console.print(
            f"Challenge of lease {game.lease} by {game.challenger}: {game.outcome} after {game.moves} postings.",
            soft_wrap=True,
        )
    for check in found.checks:
        if check.verdict is not Verdict.VERIFIED or "again" in check.detail:
            console.print(f"[{_COLOURS[check.verdict]}]{check.verdict}[/] {check.subject}: {escape(check.detail)}")
    counts = ", ".join(f"{len(found.of(verdict))} {verdict}" for verdict in Verdict)
    console.print(f"Roots: {counts}.")
    for difference in found.reconciliation.differences:
        console.print(f"[red]{escape(str(difference))}[/]")
    told = "[green]yes, to the wei[/]" if found.conserved else "[red]no[/]"
    console.print(f"Conserved at block {found.reconciliation.block}: {told}.")


def _money(found: Audit) -> Table:
    book = found.task
    table = Table(title=f"Task {book.id}, in TokenAI", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    rows = (
        ("deposited", book.given),
        ("taken from stakes", book.forfeited),
        ("= paid to nodes", book.paid),
        ("+ refunded", book.refunded),
        ("+ penalties to provers", book.penalties),
        ("+ burnt", book.burnt),
        ("+ still held", book.held),
    )
    for name, amount in rows:
        table.add_row(name, format_amount(amount))
    for contract, amount in found.reconciliation.surplus.items():
        if amount:
            table.add_row(f"surplus: given to the {contract} by strangers", format_amount(amount))
    return table


def _flows(found: Audit) -> Table:
    table = Table(title="Who paid whom", title_justify="left")
    for name in ("from", "to", "why"):
        table.add_column(name, no_wrap=True)
    table.add_column("TokenAI", justify="right")
    names = {f"node {node.id}": f"node {node.id}, which pays {node.payee}" for node in found.nodes}
    for flow, amount in found.flows:
        source, target = (names.get(name, name) for name in (flow.source, flow.target))
        table.add_row(source, target, flow.reason, format_amount(amount))
    return table
