from __future__ import annotations

from pathlib import Path

import pytest

from orebit.daemon.config import FILE_NAME, NodeConfig, load_config, render_config
from orebit.errors import ConfigError

GOOD = 'rpc = ["http://127.0.0.1:8545"]\npublic_url = "http://rig:7117"\n'


def load(home: Path, text: str, environment: dict[str, str] | None = None) -> NodeConfig:
    (home / FILE_NAME).write_text(text)
    return load_config(home, environment or {})


def test_what_is_rendered_reads_back_the_same(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD + 'withdraw_above = "12.5"\n[stake]\ntotal = 7\n[limits]\nsteps = 9\n')
    assert config.withdraw_above == 125 * 10**17
    assert load(tmp_path, render_config(config)) == config


def test_the_environments_endpoints_win(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD, {"OREBIT_RPC": "http://a:1, http://b:2"})
    assert config.rpc == ("http://a:1", "http://b:2")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD + "\nslotz = 3\n", "slotz (line 4) is not a setting"),
        (GOOD + "[stake]\ntotal = 1\n\n[limits]\ntotal = 2\n", "limits.total (line 7) is not a setting"),
        (GOOD + "slots = 0\n", "slots (line 3)"),
        (GOOD + 'withdraw_above = "much"\n', "withdraw_above (line 3)"),
        (GOOD + "withdraw_above = -1\n", "withdraw_above (line 3)"),
        ('rpc = ["http://127.0.0.1:8545"]\n', "public_url (in the file) is missing"),
        (GOOD + "slots = = 3\n", "not valid TOML"),
        (GOOD + "[reward]\nslots = 3\n", "reward (line 3) is not a setting"),
        (GOOD + "slots = 2\n", None),
    ],
)
def test_faults_are_named_with_their_line(tmp_path: Path, text: str, says: str | None) -> None:
    if says is None:
        assert load(tmp_path, text).slots == 2
        return
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="orebit node init"):
        load_config(tmp_path, {})
