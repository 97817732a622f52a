"""At the desk a fault costs one attempt, not the game: the clock may leave time for another."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from orebit.chain.types import LeaseId
from orebit.daemon.court import desk
from orebit.daemon.court.desk import Desk
from orebit.daemon.court.docket import Case, Docket, Played
from orebit.daemon.decision import Clock
from orebit.daemon.journal import Journal
from orebit.dispute import Side

NODE = 7
GAME = b"g" * 32


class Hindered(Desk):
    """Finds the disk full a few times before it can move."""

    faults = 2
    moved = 0

    async def _move(self, case: Case, moves: list[Played]) -> None:
        if self.faults:
            self.faults -= 1
            raise OSError(28, "No space left on device")
        self.moved += 1


@pytest.fixture
def hindered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hindered:
    monkeypatch.setattr(desk, "parse_state", lambda raw: SimpleNamespace(turn=Side.DEFENDER))
    docket = Docket(Journal(tmp_path / "journal.sqlite"))
    docket.open_game(10, Case(GAME, LeaseId.of(NODE, 1, 2), "0xc", 5, None))
    docket.add_move(GAME, Played(10, 1, b"state", 1_000, b""))

    async def clock() -> Clock:
        return Clock(11, 900)

    nothing = cast(Any, None)
    view = SimpleNamespace(clock=clock)
    parts = docket, nothing, nothing, nothing, nothing, nothing, cast(Any, view)
    return Hindered(*parts, NODE, pytest.fail)


async def look(table: Desk) -> None:
    await table.look()
    await asyncio.gather(*table._busy.values())


async def test_a_full_disk_is_tried_again_while_there_is_time(hindered: Hindered) -> None:
    deadline = time.monotonic() + 20
    while not hindered.moved and time.monotonic() < deadline:
        await look(hindered)
        await asyncio.sleep(0.05)
    assert hindered.moved >= 1 and hindered.faults == 0


async def test_tries_pause_between_faults(hindered: Hindered, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "time", SimpleNamespace(monotonic=lambda: 1.0))
    for _ in range(3):
        await look(hindered)
    assert hindered.faults == 1 and not hindered.moved
