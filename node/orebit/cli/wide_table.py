"""Tables whose lines stay whole: a narrow terminal wraps them, a pipe gets them as they are."""

from __future__ import annotations

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

_LONGEST_LINE = 400


def print_table(table: Table, console: Console) -> None:
    """Prints at the table's own width where the console is narrower."""
    width = console.width
    console.width = max(width, Measurement.get(console, console.options.update(width=_LONGEST_LINE), table).maximum)
    try:
        console.print(table)
    finally:
        console.width = width
