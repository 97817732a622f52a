"""`orebit node`: what a rig owner types."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from eth_account.signers.local import LocalAccount
from rich.console import Console
from rich.table import Table

from orebit.chain import keystore
from orebit.chain.home import locate
from orebit.chain.rpc import parse_urls
from orebit.chain.token import format_amount, parse_amount
from orebit.daemon import logs
from orebit.daemon.config import FILE_NAME, load_config, make_config, render_config
from orebit.daemon.journal import Journal
from orebit.daemon.status import LeaseStatus, Status, read_status
from orebit.errors import ConfigError, OrebitError, StorageError

app = typer.Typer(no_args_is_help=True)
console = Console()

if TYPE_CHECKING:
    from orebit.daemon.staking import Owner

T = TypeVar("T")


@app.command()
def init(
    rpc: Annotated[str, typer.Option(envvar="OREBIT_RPC", help="RPC URLs, separated by commas.")],
    public_url: Annotated[str | None, typer.Option(help="Where others reach this node's blobs.")] = None,
    listen_host: Annotated[str, typer.Option(help="Address to listen on.")] = "0.0.0.0",
    listen_port: Annotated[int, typer.Option(help="Port to listen on.")] = 7117,
    slots: Annotated[int, typer.Option(help="Leases held at once.")] = 8,
    parallel: Annotated[int, typer.Option(help="Shards computed side by side.")] = 1,
    threads: Annotated[int, typer.Option(help="Threads of each shard; 0: every core.")] = 0,
    reveal_confirmations: Annotated[int, typer.Option(help="Depth of a draw before a reveal.")] = 2,
    poll_seconds: Annotated[float, typer.Option(help="Seconds between looks at the chain.")] = 1.0,
    exit_grace_seconds: Annotated[int, typer.Option(help="Patience with others' overdue leases.")] = 30,
    withdraw_above: Annotated[str, typer.Option(help="TokenAI earned before it is withdrawn.")] = "10",
    stake_total: Annotated[str, typer.Option(help="Most TokenAI locked behind leases.")] = "5000",
    stake_per_requester: Annotated[str, typer.Option(help="The same, for one requester.")] = "1000",
    force: Annotated[bool, typer.Option("--force", help="Replace an existing node.toml.")] = False,
) -> None:
    """Write node.toml, the settings of this rig, into OREBIT_HOME."""
    home = locate()
    path = home.path / FILE_NAME
    if path.exists() and not force:
        raise ConfigError(f"There is a {path} already. Edit it, or use --force to replace it.")
    config = make_config(
        rpc=parse_urls(rpc),
        public_url=public_url or f"http://{socket.gethostname()}:{listen_port}",
        listen_host=listen_host,
        listen_port=listen_port,
        slots=slots,
        parallel=parallel,
        threads=threads,
        reveal_confirmations=reveal_confirmations,
        poll_seconds=poll_seconds,
        exit_grace_seconds=exit_grace_seconds,
        withdraw_above=withdraw_above,
        stake={"per_requester": stake_per_requester, "total": stake_total},
    )
    try:
        path.write_text(render_config(config), encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written ({error.strerror}). Check the disk and its permissions."
        ) from error
    console.print(
        f"Wrote {path}. Others will reach this node at {config.public_url}; edit the file if that is wrong.",
        soft_wrap=True,
    )
    if not home.keystore.exists():
        console.print("Next: `orebit account new` or `orebit account import`, then `orebit node stake AMOUNT`.")


@app.command()
def stake(amount: Annotated[str, typer.Argument(help="TokenAI to add, such as 100 or 12.5.")]) -> None:
    """Add stake, and register the node if it is new. Only the owner can."""
    wei = parse_amount(amount)
    node = _as_owner(lambda owner: owner.stake(wei))
    console.print(f"Node {node} has {format_amount(wei)} TokenAI more at stake.")


@app.command()
def unbond(amount: Annotated[str, typer.Argument(help="TokenAI to take out of the stake.")]) -> None:
    """Start taking stake out; `orebit node withdraw` pays it once its time has come."""
    wei = parse_amount(amount)
    node = _as_owner(lambda owner: owner.unbond(wei))
    when = datetime.fromtimestamp(node.unbonded_at).strftime("%Y-%m-%d %H:%M:%S")
    console.print(f"{format_amount(wei)} TokenAI are unbonding. From {when} on, `orebit node withdraw` pays them.")


@app.command()
def withdraw(
    deposit: Annotated[
        bool, typer.Option("--deposit", help="Also take back the ETH that the court holds above its floor.")
    ] = False,
) -> None:
    """Pay out what the node earned, and stake that has finished unbonding."""
    earned, unbonded = _as_owner(lambda owner: owner.withdraw())
    console.print(f"Withdrawn: {format_amount(earned)} TokenAI earned, {format_amount(unbonded)} of stake.")
    if deposit:
        taken = _as_owner(lambda owner: owner.withdraw_deposit())
        console.print(f"Taken back from the court: {format_amount(taken)} ETH.")


@app.command()
def run(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log details too.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Take leases again after a halt or a drain.")] = False,
    audit: Annotated[
        bool, typer.Option("--audit", help="Lease nothing: audit every revealed lease of others, challenge wrong ones.")
    ] = False,
) -> None:
    """Run the node until Ctrl-C; what it owes is in its journal, so that it may be killed at any moment."""
    from orebit.daemon.node import run_node  # torch takes seconds, which `status` need not wait for
    from orebit.daemon.stem import Stem

    logs.configure(verbose)
    home = locate()
    config = load_config(home.path)
    with Stem() as stem, home.lock():
        account = keystore.unlock(home.keystore, keystore.read_password())
        if resume:
            _set(home.journal, halted="", draining="0")
        if audit:
            config = config.model_copy(update={"audit": config.audit.model_copy(update={"share": 1.0})})
        asyncio.run(run_node(config, home, account, leasing=not audit, measured=stem.measured))


@app.command()
def drain() -> None:
    """Take nothing new, finish what is leased, then stop. A running node notices within a cycle."""
    home = locate()
    status = _status()
    _set(home.journal, draining="1")
    live = [lease for lease in status.leases if lease.state not in ("free", "slashed")]
    if not status.running:
        console.print("The node is not running; it drains and stops when it is started.")
    elif not live:
        console.print("The node has no lease to finish; it stops within a cycle.")
    else:
        last = max((lease.deadline or 0 for lease in live), default=0)
        console.print(
            f"The node finishes {len(live)} lease{'s' * (len(live) > 1)}, takes no more, and stops. The last of their "
            f"present deadlines is in {_left(last)}; stopping it before would cost the late penalty."
        )


@app.command("status")
def show_status(
    as_json: Annotated[bool, typer.Option("--json", help="For programs; amounts in wei.")] = False,
) -> None:
    """What the node is doing and what it has earned."""
    found = _status()
    if as_json:
        typer.echo(found.to_json())
        return
    console.print(f"[bold]Node {found.node or '(not registered)'}[/bold] {found.address}: {found.doing}")
    if found.stake is not None and found.locked is not None:
        console.print(f"Stake {format_amount(found.stake)}, of it behind leases {format_amount(found.locked)} TokenAI")
    if found.deposit is not None and found.floor is not None:
        short = "" if found.deposit >= found.floor else " [red](below it the node may not lease)[/red]"
        console.print(
            f"Deposit with the court {format_amount(found.deposit)} ETH, floor {format_amount(found.floor)}{short}; "
            f"games open {found.games}"
        )
    paid, withdrawn = found.earned.get("paid", 0), found.earned.get("withdrawn", 0)
    lost = found.earned.get("penalty", 0) + found.earned.get("slashed", 0)
    console.print(
        f"Earned {format_amount(paid)}, withdrawn {format_amount(withdrawn)}, lost {format_amount(lost)} TokenAI; "
        "leases "
        + (
            ", ".join(f"{count} {outcome}" for outcome, count in sorted(found.leases_closed.items()))
            or "none ended yet"
        )
    )
    if found.leases:
        console.print(_table(found.leases))


def _as_owner(act: Callable[[Owner], Awaitable[T]]) -> T:
    """Unlocks the key, connects, and lets `act` deal with the registry."""
    from orebit.daemon.staking import owner as owner_of  # as in `run`

    home = locate()
    config = load_config(home.path)

    async def connected(account: LocalAccount) -> T:
        async with owner_of(config, home, account) as owner:
            return await act(owner)

    with home.lock():
        account = keystore.unlock(home.keystore, keystore.read_password())
        return asyncio.run(connected(account))


def _table(leases: list[LeaseStatus]) -> Table:
    table = Table(box=None)
    for heading in ("lease", "role", "task", "shards", "state", "doing", "left"):
        table.add_column(heading)
    for lease in leases:
        part = f" {lease.progress:.0%}" if lease.progress is not None else ""
        shards = f"{lease.first_shard}..{lease.first_shard + lease.shards - 1}"
        left = _left(lease.deadline) if lease.deadline else ""
        table.add_row(lease.lease, lease.role, str(lease.task), shards, lease.state, lease.doing + part, left)
    return table


def _left(deadline: int) -> str:
    seconds = int(deadline - time.time())
    return f"{seconds} s" if seconds >= 0 else "overdue"


def _status() -> Status:
    home = locate()
    if not home.journal.exists():
        raise OrebitError(f"No node has run in {home.path} yet. Start one with `orebit node run`.")
    return read_status(home.journal, keystore.address_of(home.keystore))


def _set(journal: Path, **settings: str) -> None:
    opened = Journal(journal)
    try:
        for key, value in settings.items():
            opened.set_setting(key, value)
    finally:
        opened.close()
