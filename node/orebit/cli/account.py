"""`orebit account`: keys and balances."""

from __future__ import annotations

import asyncio
import getpass
import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from orebit.chain import home as homes
from orebit.chain import keystore
from orebit.chain.connection import connect
from orebit.chain.rpc import parse_urls
from orebit.chain.token import Token, format_amount
from orebit.errors import AccountError

app = typer.Typer(no_args_is_help=True)

Home = Annotated[
    Path | None, typer.Option("--home", envvar=homes.ENVIRONMENT, help="Folder of keys, journals and blobs.")
]
Rpc = Annotated[str, typer.Option("--rpc", envvar="OREBIT_RPC", help="RPC URLs, separated by commas.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@app.command()
def new(home: Home = None) -> None:
    """Makes a new account. The password comes from OREBIT_PASSWORD_FILE, or is asked for."""
    path = homes.locate(home).keystore
    keystore.refuse_existing(path)
    account = keystore.create(path, keystore.read_password("New password: ", confirm=True))
    _stored(account.address, path)


@app.command("import")
def import_(
    file: Annotated[
        Path | None,
        typer.Argument(help="A keystore JSON, or a file with a private key in hex. Without it the key is asked for."),
    ] = None,
    home: Home = None,
) -> None:
    """Takes over an existing account."""
    path = homes.locate(home).keystore
    keystore.refuse_existing(path)
    if file is None:
        key = _ask_key()
    elif keystore.is_keystore(file):
        account = keystore.import_keystore(path, file, keystore.read_password("Password of that keystore: "))
        _stored(account.address, path)
        return
    else:
        key = keystore.read_key(file)
    account = keystore.import_key(path, key, keystore.read_password("New password: ", confirm=True))
    _stored(account.address, path)


@app.command()
def balance(
    rpc: Rpc = "",
    home: Home = None,
    address: Annotated[str | None, typer.Option(help="Another address than this home's.")] = None,
    as_json: Json = False,
) -> None:
    """Shows what the account holds: TokenAI, and ETH for gas."""
    holder = keystore.parse_address(address) if address else keystore.address_of(homes.locate(home).keystore)
    tokens, ether = asyncio.run(_balances(rpc, holder))
    if as_json:
        typer.echo(json.dumps({"address": holder, "token_wei": tokens, "ether_wei": ether}))
        return
    typer.echo(holder)
    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("TokenAI", format_amount(tokens))
    table.add_row("ETH", format_amount(ether))
    Console().print(table)


async def _balances(rpc: str, holder: str) -> tuple[int, int]:
    async with await connect(parse_urls(rpc)) as connection:
        return await Token(connection).balance_of(holder), await connection.ether_of(holder)


def _ask_key() -> str:
    if not sys.stdin.isatty():
        raise AccountError("There is no terminal to ask for the private key on. Name a file that holds it instead.")
    return getpass.getpass("Private key (hex, not shown): ")


def _stored(address: str, path: Path) -> None:
    typer.echo(address)
    typer.echo(
        f"The encrypted key is in {path}. Back it up: without it and its password the account is lost.", err=True
    )
