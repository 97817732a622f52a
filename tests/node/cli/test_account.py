"""`orebit account` and the onlooker's lists, as typed in a terminal."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
import typer
from local_chain import KEYS, Anvil
from stage import open_stage
from typer.testing import CliRunner

from orebit.chain.deployment import Deployment
from orebit.chain.token import UNIT, format_amount, parse_amount
from orebit.cli import account, onlooker
from orebit.errors import AccountError, ConfigError, OrebitError

app = typer.Typer()
app.add_typer(account.app, name="account")
app.command("tasks")(onlooker.tasks)
app.command("nodes")(onlooker.nodes)
app.command("audit")(onlooker.audit)


def run(*arguments: str) -> str:
    """What the command prints. Raises what it raises."""
    found = CliRunner().invoke(app, arguments)
    if isinstance(found.exception, OrebitError):
        raise found.exception
    assert found.exit_code == 0, found.output
    return found.stdout


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "password").write_text("word")
    monkeypatch.setenv("OREBIT_PASSWORD_FILE", str(tmp_path / "password"))
    monkeypatch.setenv("OREBIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("OREBIT_RPC", raising=False)


@pytest.fixture
def network(anvil: Anvil, deployed: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Anvil:
    (tmp_path / "31337.json").write_text(deployed.model_dump_json())
    monkeypatch.setenv("OREBIT_DEPLOYMENT", str(tmp_path / "31337.json"))
    monkeypatch.setenv("OREBIT_RPC", anvil.url)
    return anvil


def test_new_then_balance(network: Anvil) -> None:
    address = run("account", "new").strip()
    network.rpc("anvil_setBalance", address, hex(3 * UNIT // 2))
    assert "1.5" in run("account", "balance")
    assert json.loads(run("account", "balance", "--json")) == {
        "address": address,
        "token_wei": 0,
        "ether_wei": 3 * UNIT // 2,
    }
    with pytest.raises(AccountError, match="already"):
        run("account", "new")


def test_import_a_key_file(network: Anvil, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEYS[0] + "\n")
    first = run("account", "import", str(tmp_path / "key")).strip()
    assert first.lower() == network.rpc("eth_accounts")[0].lower()
    stored = tmp_path / "home" / "keystore.json"
    assert run("account", "import", str(stored), "--home", str(tmp_path / "other")).strip() == first
    assert json.loads(run("account", "balance", "--json"))["token_wei"] == 10**27


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (["account", "balance"], AccountError, "no keystore"),
        (["account", "balance", "--address", "0x1"], AccountError, "is not an address"),
        (["account", "import", "missing"], AccountError, "cannot be read"),
        (["tasks"], ConfigError, "No RPC URL is given"),
        (["nodes", "--rpc", "nowhere"], ConfigError, "is not an RPC URL"),
    ],
)
def test_bad_input(arguments: list[str], error: type[OrebitError], text: str) -> None:
    with pytest.raises(error, match=text):
        run(*arguments)


def test_empty_lists(network: Anvil) -> None:
    assert run("tasks") == "No tasks yet.\n"
    assert json.loads(run("nodes", "--json")) == []
    with pytest.raises(ConfigError, match="no task yet"):
        run("audit", "1")


async def test_lists(network: Anvil, deployed: Deployment) -> None:
    stage = await open_stage(network, deployed)
    async with stage.connection:
        stage.prepare(nodes=2, url="http://[bold]node-{}")
        stage.lease(stage.post(stage.create()), 2)
    table = await asyncio.to_thread(run, "nodes")
    assert "http://[bold]node-2" in table and "1000" in table
    tasks = json.loads(await asyncio.to_thread(run, "tasks", "--json"))
    assert [(row["task"], row["shards"], row["final"], row["held"]) for row in tasks] == [(1, 4, 0, 1000 * UNIT)]


def test_amounts() -> None:
    assert parse_amount("1.5") == 3 * UNIT // 2 and format_amount(3 * UNIT // 2) == "1.5"
    assert format_amount(1) == "0.000000000000000001" and format_amount(-UNIT) == "-1" and format_amount(0) == "0"
    assert format_amount(100 * UNIT) == "100"
    for text in ("x", "-1", "1e-19", "nan", "inf", ""):
        with pytest.raises(ConfigError, match="is not an amount"):
            parse_amount(text)
