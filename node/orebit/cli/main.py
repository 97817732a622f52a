"""The `orebit` command: subcommands are registered here, and errors become one paragraph and an exit code."""

from __future__ import annotations

import sys

import typer
from rich.console import Console
from rich.text import Text

from orebit.cli import account, doctor, node, onlooker, task
from orebit.errors import OrebitError

app = typer.Typer(
    name="orebit",
    help="A knowledge-mining market: pay for verifiable deep learning, or be paid for it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(account.app, name="account", help="Keys and balances.")
app.add_typer(task.app, name="task", help="Have a model trained: submit, watch, fetch the result.")
app.add_typer(node.app, name="node", help="Earn TokenAI with this machine.")
app.command("doctor")(doctor.doctor)
app.command("tasks")(onlooker.tasks)
app.command("nodes")(onlooker.nodes)
app.command("audit")(onlooker.audit)


def main() -> None:
    """Runs the command line; an `OrebitError` is printed as one paragraph and gives its own exit code."""
    try:
        app()
    except OrebitError as error:
        Console(stderr=True).print(Text.assemble(("Error: ", "bold red"), str(error)))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        Console(stderr=True).print("Interrupted.")
        sys.exit(130)


if __name__ == "__main__":
    main()
