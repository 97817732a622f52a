"""`orebit node`: what it writes, what it tells, and what a mistake gets."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from orebit.chain import keystore
from orebit.chain.types import LeaseId
from orebit.cli.node import app
from orebit.daemon.config import load_config
from orebit.daemon.journal import Journal, LeaseRecord
from orebit.errors import AccountError, ConfigError, LockedError, OrebitError

RPC = "http://127.0.0.1:1"
LEASE = LeaseId.of(5, 2, 9)

Orebit = Callable[..., str]


@pytest.fixture
def orebit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Orebit:
    """Runs `orebit node ...` in a home of its own; raises what it raises."""
    monkeypatch.setenv("OREBIT_HOME", str(tmp_path))
    monkeypatch.delenv("OREBIT_RPC", raising=False)
    monkeypatch.setenv("OREBIT_PASSWORD_FILE", str(tmp_path / "password"))
    (tmp_path / "password").write_text("secret")

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return " ".join(result.output.split())

    return run


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A journal with one lease at work and one paid, beside a keystore."""
    keystore.create(tmp_path / "keystore.json", "secret", iterations=2)
    path = tmp_path / "journal.sqlite"
    made = Journal(path)
    made.set_setting("node", "5")
    for lease in (LEASE, LeaseId.of(5, 1, 3)):
        made.adopt(LeaseRecord(lease, False, 1, 2, 4, 2, bytes(32), "0xR", 10**18, time.time()), lease.slot)
    made.earn(9, 0, "paid", LeaseId.of(5, 1, 3), 25 * 10**17)
    made.close_lease(LeaseId.of(5, 1, 3), "paid")
    made.close()
    return path


def test_init_writes_what_run_reads(orebit: Orebit, tmp_path: Path) -> None:
    said = orebit("init", "--rpc", f"{RPC},http://127.0.0.1:2", "--listen-port", "7000", "--stake-total", "12.5")
    assert "node.toml" in said and "orebit account new" in said
    config = load_config(tmp_path, {})
    assert (config.rpc, config.listen_port, config.stake.total) == ((RPC, "http://127.0.0.1:2"), 7000, 125 * 10**17)
    assert config.public_url.endswith(":7000")


def test_init_replaces_nothing_unasked(orebit: Orebit) -> None:
    orebit("init", "--rpc", RPC)
    with pytest.raises(ConfigError, match="--force"):
        orebit("init", "--rpc", RPC)
    orebit("init", "--rpc", RPC, "--slots", "3", "--force")


@pytest.mark.parametrize(
    "wrong", [("--slots", "0"), ("--listen-port", "99999"), ("--withdraw-above", "a lot"), ("--rpc", "ftp://x")]
)
def test_init_refuses_nonsense_and_writes_nothing(orebit: Orebit, tmp_path: Path, wrong: tuple[str, str]) -> None:
    with pytest.raises(ConfigError):
        orebit("init", "--rpc", RPC, *wrong)
    assert not (tmp_path / "node.toml").exists()


@pytest.mark.parametrize("command", [("run",), ("stake", "1"), ("withdraw",)])
def test_without_a_config_every_command_says_how_to_make_one(orebit: Orebit, command: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="orebit node init"):
        orebit(*command)


def test_without_a_keystore_nothing_starts(orebit: Orebit) -> None:
    orebit("init", "--rpc", RPC)
    with pytest.raises(AccountError, match="orebit account new"):
        orebit("run")


def test_a_wrong_password_is_one_paragraph(orebit: Orebit, tmp_path: Path) -> None:
    orebit("init", "--rpc", RPC)
    keystore.create(tmp_path / "keystore.json", "another", iterations=2)
    with pytest.raises(AccountError, match="password does not open"):
        orebit("run")


def test_one_home_has_one_process(orebit: Orebit, tmp_path: Path) -> None:
    from orebit.chain.home import Home

    orebit("init", "--rpc", RPC)
    with Home(tmp_path).lock(), pytest.raises(LockedError):
        orebit("run")


def test_an_amount_that_is_none_moves_no_money(orebit: Orebit) -> None:
    with pytest.raises(ConfigError, match="not an amount"):
        orebit("stake", "plenty")


def test_status_of_a_node_that_is_down_comes_from_its_journal(orebit: Orebit, journal: Path) -> None:
    said = orebit("status")
    assert "Node 5" in said and "not running" in said and "Earned 2.5" in said and "1 paid" in said
    told: dict[str, Any] = json.loads(orebit("status", "--json"))
    assert told["running"] is False and told["earned"] == {"paid": 25 * 10**17}
    (lease,) = told["leases"]
    assert (lease["lease"], lease["state"], lease["first_shard"]) == (str(LEASE), "unfinished", 4)


def test_status_without_a_node_says_so(orebit: Orebit) -> None:
    with pytest.raises(OrebitError, match="orebit node run"):
        orebit("status")


def test_drain_is_kept_for_the_daemon(orebit: Orebit, journal: Path) -> None:
    assert "when it is started" in orebit("drain")
    opened = Journal(journal)
    assert opened.draining
    opened.close()
