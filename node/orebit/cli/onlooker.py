"""`orebit tasks`, `orebit nodes`, `orebit audit TASK`: what anybody can see with an RPC URL."""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import aiohttp
import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from orebit.chain.connection import connect
from orebit.chain.history import replay
from orebit.chain.ledger import Ledger, NodeBook, Outcome, TaskBook
from orebit.chain.rpc import parse_urls
from orebit.chain.token import format_amount
from orebit.cli.wide_table import print_table

if TYPE_CHECKING:
    from orebit.strategy.audit import Audit

Rpc = Annotated[str, typer.Option("--rpc", envvar="OREBIT_RPC", help="RPC URLs, separated by commas.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def tasks(rpc: Rpc = "", as_json: Json = False) -> None:
    """Lists every task: who pays how much for what, and how far it is."""
    ledger = asyncio.run(_books(rpc))
    rows = [_task_row(ledger, task) for task in ledger.tasks.values()]
    _show(
        "Tasks",
        rows,
        as_json,
        {"requester": _short, "price": format_amount, "held": format_amount, "paid": format_amount},
    )


def nodes(rpc: Rpc = "", as_json: Json = False) -> None:
    """Lists every node: its stake, what it earned, and its record."""
    ledger = asyncio.run(_books(rpc))
    rows = [_node_row(ledger, node) for node in ledger.nodes.values()]
    amounts = dict.fromkeys(("stake", "locked", "earned", "lost"), format_amount)
    _show("Nodes", rows, as_json, {"owner": _short, **amounts})


def audit(
    task: Annotated[int, typer.Argument(help="The task's number.")],
    rpc: Rpc = "",
    reexecute: Annotated[int, typer.Option(min=0, help="Execute this many shards again, picked at random.")] = 0,
    source: Annotated[list[str] | None, typer.Option(help="A blob server to ask first; may be repeated.")] = None,
    store: Annotated[
        Path | None, typer.Option(help="Folder that keeps the fetched blobs (default: one that is removed).")
    ] = None,
    heads_only: Annotated[bool, typer.Option(help="Check final states by their heads, without their bytes.")] = False,
    seed: Annotated[int | None, typer.Option(help="Picks the same shards again.")] = None,
    as_json: Json = False,
) -> None:
    """Replays every event, reconciles every token to the wei, and checks every root of a task against its blob.

    Exits with 2 when something contradicts the chain, with 3 when a blob is missing and so a root unverified.
    """
    from orebit.cli.audit_view import audit_document, print_audit

    chance = random.Random(seed) if seed is not None else None
    found = asyncio.run(_audit(task, rpc, reexecute, source or (), store, not heads_only, chance))
    if as_json:
        typer.echo(json.dumps(audit_document(found), indent=1))
    else:
        print_audit(found, Console())
    found.demand()


async def _books(rpc: str) -> Ledger:
    async with await connect(parse_urls(rpc)) as connection:
        return (await replay(connection))[0]


async def _audit(
    task: int,
    rpc: str,
    reexecute: int,
    sources: Sequence[str],
    store: Path | None,
    tensors: bool,
    chance: random.Random | None,
) -> Audit:
    # Imported here: reading lists of tasks needs no tensors.
    from orebit.store.client import BlobClient
    from orebit.store.local import LocalStore
    from orebit.strategy.audit import audit as run_audit

    folder = nullcontext(str(store)) if store else tempfile.TemporaryDirectory(prefix="orebit-audit-")
    with folder as path:
        async with await connect(parse_urls(rpc)) as connection, aiohttp.ClientSession() as session:
            client = BlobClient(session, LocalStore(Path(path)))
            return await run_audit(
                connection, task, client, sources=sources, reexecute=reexecute, tensors=tensors, chance=chance
            )


def _task_row(ledger: Ledger, task: TaskBook) -> dict[str, Any]:
    batches = ledger.batches_of(task.id)
    final = [lease for lease in ledger.leases_of(task.id) if lease.outcome is Outcome.FINAL and not lease.replica]
    done = sum(lease.grains * ledger.batches[lease.batch].size for lease in final)
    return {
        "task": task.id,
        "requester": task.requester,
        "price": task.terms.price,
        "batches": len(batches),
        "shards": sum(batch.shards for batch in batches),
        "final": done,
        "paid": task.paid,
        "held": task.held,
    }


def _node_row(ledger: Ledger, node: NodeBook) -> dict[str, Any]:
    own = [lease for lease in ledger.leases.values() if lease.id.node == node.id]
    return {
        "node": node.id,
        "owner": node.owner,
        "stake": node.stake,
        "locked": node.locked,
        "earned": node.earned,
        "lost": node.taken,
        "shards": node.shards,
        "replicas": node.replicas,
        "live": sum(lease.outcome is Outcome.LIVE for lease in own),
        "failed": sum(lease.outcome not in (Outcome.LIVE, Outcome.FINAL) for lease in own),
        "url": node.url,
    }


def _show(title: str, rows: Sequence[dict[str, Any]], as_json: bool, shown: dict[str, Callable[[Any], str]]) -> None:
    """As JSON (amounts in wei), or as a table (amounts in tokens)."""
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    if not rows:
        typer.echo(f"No {title.lower()} yet.")
        return
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in rows[0]:
        table.add_column(name, justify="left" if isinstance(rows[0][name], str) else "right", no_wrap=True)
    for row in rows:
        # Escaped, as nodes choose their URLs.
        table.add_row(*(escape(shown.get(name, str)(value)) for name, value in row.items()))
    print_table(table, Console())


def _short(address: str) -> str:
    return f"{address[:8]}…{address[-4:]}"
