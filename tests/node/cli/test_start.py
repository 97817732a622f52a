"""The command line starts at once: what computes nothing does not load what computes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = (
    "node init --rpc http://127.0.0.1:1",
    "node stake 1",
    "node unbond 1",
    "node withdraw",
    "node status",
    "node drain",
    "account balance --rpc http://127.0.0.1:1",
    "tasks --rpc http://127.0.0.1:1",
    "audit 1 --rpc http://127.0.0.1:1",
    "task list",
    "task status 1 --rpc http://127.0.0.1:1",
    "task deposit 1 1 --rpc http://127.0.0.1:1",
    "task cancel 1 --yes --rpc http://127.0.0.1:1",
)

# Each goes as far as it comes in an empty home without a chain, which is beyond its own imports.
SCRIPT = """
import contextlib, sys
from orebit.cli.main import app
from orebit.errors import OrebitError
loaded = ["orebit.cli.main"] if "torch" in sys.modules else []
for command in sys.argv[1:]:
    with contextlib.suppress(OrebitError):
        app(command.split(), standalone_mode=False)
    if "torch" in sys.modules and not loaded:
        loaded.append(command)
print(loaded)
"""


def run(script: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip().splitlines()[-1]


def test_commands_that_compute_nothing_load_no_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OREBIT_HOME", str(tmp_path))
    assert run(SCRIPT, *COMMANDS) == "[]"


def test_what_moves_a_persons_money_loads_no_torch() -> None:
    """What those commands import only once they have a key and a chain."""
    modules = "orebit.daemon.staking, orebit.daemon.registration, orebit.strategy.requester, orebit.strategy.funds"
    assert run(f"import sys, {modules}, orebit.store.local; print('torch' in sys.modules)") == "False"
