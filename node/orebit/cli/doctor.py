"""`orebit doctor`: whether this rig computes the reference bits, how fast, and with what it can earn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from orebit.chain.home import locate
from orebit.errors import ConformanceError

if TYPE_CHECKING:
    from orebit.executor.diagnosis import Diagnosis

console = Console()


def doctor() -> None:
    """Check every executor of this rig against the shipped vectors, time it, and rule out those that fail."""
    from orebit.executor.diagnosis import diagnose_all  # torch takes seconds, which other commands need not wait for
    from orebit.executor.selection import write_ruled_out

    home = locate()
    found: list[Diagnosis] = []
    with console.status("checking the executors of this rig ...") as status:
        for diagnosis in diagnose_all():
            found.append(diagnosis)
            status.update(f"{diagnosis.executor} is done ...")
    write_ruled_out(home.path, {each.executor: f"{each.operation}: {each.fault}" for each in found if each.fault})
    console.print(_table(found))
    for each in found:
        if each.fault:
            console.print(f"[bold red]{each.executor}[/bold red] is ruled out at {each.operation}: {each.fault}")
        elif each.missing:
            console.print(f"[dim]{each.missing}[/dim]")
    working = [each.executor for each in found if each.works]
    if not working:
        raise ConformanceError(
            "No executor of this rig computes the reference bits, so that it cannot earn. Check it for overclocking "
            "and faulty memory, update torch, then run `orebit doctor` again."
        )
    slower = f" ({', '.join(working[1:])} would do as well)" if working[1:] else ""
    console.print(f"This rig can earn with [bold]{working[0]}[/bold]{slower}.")


def _table(found: list[Diagnosis]) -> Table:
    table = Table(box=None)
    for heading in ("executor", "vectors", "first wrong", "products", "elementwise"):
        table.add_column(heading)
    for each in found:
        if each.missing:
            table.add_row(each.executor, "not here")
            continue
        state = f"pass, {each.seconds:.1f} s" if each.works else "[bold red]fail[/bold red]"
        speeds = [f"{speed:.1f} steps/s" for speed in each.speeds.values()]
        table.add_row(each.executor, state, each.operation, *speeds)
    return table
