"""Keys on disk, and the home that keeps them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orebit.chain import home as homes
from orebit.chain import keystore
from orebit.errors import AccountError, ConfigError, LockedError

QUICK = 2
"""Rounds of the key derivation: fast, and worthless outside tests."""
KEY = "0x" + "11" * 32


def test_a_new_account_opens_again_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "home" / "keystore.json"
    made = keystore.create(path, "word", iterations=QUICK)
    assert keystore.unlock(path, "word").key == made.key
    assert keystore.address_of(path) == made.address
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["keystore.json"]
    assert made.key.hex() not in path.read_text()


def test_a_keystore_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "keystore.json"
    made = keystore.create(path, "word", iterations=QUICK)
    with pytest.raises(AccountError, match="already; it is left as it is"):
        keystore.import_key(path, KEY, "word", iterations=QUICK)
    with pytest.raises(AccountError, match="already"):
        keystore.refuse_existing(path)
    assert keystore.unlock(path, "word").address == made.address
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("key", ["11", "zz" * 32, "00" * 32, "ff" * 32, "", "11" * 33])
def test_what_is_no_key(tmp_path: Path, key: str) -> None:
    with pytest.raises(AccountError, match="not a private key") as caught:
        keystore.import_key(tmp_path / "k", key, "word", iterations=QUICK)
    assert not key or key not in str(caught.value)
    assert not (tmp_path / "k").exists()


def test_a_keystore_of_another_program_is_taken_over(tmp_path: Path) -> None:
    source = tmp_path / "source.json"
    keystore.import_key(source, KEY, "word", iterations=QUICK)
    with pytest.raises(AccountError, match="password does not open"):
        keystore.import_keystore(tmp_path / "mine.json", source, "other")
    assert not (tmp_path / "mine.json").exists()
    account = keystore.import_keystore(tmp_path / "mine.json", source, "word")
    assert keystore.unlock(tmp_path / "mine.json", "word").address == account.address
    assert keystore.is_keystore(source)


def test_missing_and_malformed(tmp_path: Path) -> None:
    with pytest.raises(AccountError, match="orebit account new"):
        keystore.unlock(tmp_path / "none", "word")
    broken = tmp_path / "broken"
    for text in ("{", "[]", "{}", json.dumps({"crypto": {}, "version": 3})):
        broken.write_text(text)
        with pytest.raises(AccountError, match="cannot be read"):
            keystore.unlock(broken, "word")
        with pytest.raises(AccountError):
            keystore.address_of(broken)


def test_the_password_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "password"
    file.write_text("a word with spaces \nsecond line")
    monkeypatch.setenv("OREBIT_PASSWORD_FILE", str(file))
    assert keystore.read_password() == "a word with spaces "
    monkeypatch.setenv("OREBIT_PASSWORD_FILE", str(tmp_path / "none"))
    with pytest.raises(AccountError, match="password file"):
        keystore.read_password()


def test_no_terminal_to_ask_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OREBIT_PASSWORD_FILE", raising=False)
    monkeypatch.setattr(sys, "stdin", open(os.devnull))
    with sys.stdin, pytest.raises(AccountError, match="no terminal"):
        keystore.read_password()


def test_one_process_a_home(tmp_path: Path) -> None:
    home = homes.locate(tmp_path / "home")
    code = (
        "import sys, pathlib\nfrom orebit.chain.home import Home\n"
        "with Home(pathlib.Path(sys.argv[1])).lock():\n    print('locked', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(home.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with other:
        assert other.stdout is not None and other.stdout.readline() == "locked\n"
        with pytest.raises(LockedError, match=f"in use by process {other.pid}"), home.lock():
            pass
        other.kill()
    with home.lock():
        pass


def test_where_the_home_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OREBIT_HOME", str(tmp_path / "named"))
    home = homes.locate()
    assert home.path == tmp_path / "named" and home.path.stat().st_mode & 0o777 == 0o700
    assert homes.locate(tmp_path / "given").path == tmp_path / "given"
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file, not a folder"):
        homes.locate(tmp_path / "file")
