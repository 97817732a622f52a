"""Keys: one encrypted Ethereum keystore a home. A key is never written in the clear, logged, or taken from argv."""

from __future__ import annotations

import getpass
import json
import os
import secrets
import sys
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.address import is_address, to_checksum_address

from orebit.errors import AccountError, StorageError

PASSWORD_FILE = "OREBIT_PASSWORD_FILE"

_CURVE_ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141


def create(path: Path, password: str, *, iterations: int | None = None) -> LocalAccount:
    """A new random key, encrypted at `path` (mode 0600). Raises `AccountError` when a keystore is there already."""
    return _store(path, Account.from_key(secrets.token_bytes(32)), password, iterations)


def import_key(path: Path, private_key: str, password: str, *, iterations: int | None = None) -> LocalAccount:
    """Encrypts a private key given in hex (32 bytes, 0x optional) at `path`."""
    account = _account(_parse_key(private_key))
    return _store(path, account, password, iterations)


def import_keystore(path: Path, source: Path, password: str) -> LocalAccount:
    """Copies an existing keystore JSON to `path` once `password` opens it; the password stays the same."""
    account = unlock(source, password)
    _write(path, _read(source))
    return account


def refuse_existing(path: Path) -> None:
    """Raises `AccountError` when there is a keystore already, before anybody is asked for a password."""
    if path.exists():
        raise _existing(path)


def is_keystore(file: Path) -> bool:
    """Whether a file holds a JSON object rather than a bare key. Raises `AccountError` when it cannot be read."""
    return _text(file).lstrip().startswith("{")


def read_key(file: Path) -> str:
    """The private key, in hex, of a file that holds nothing else."""
    return _text(file).strip()


def parse_address(text: str) -> str:
    """An address in checksum form. Raises `AccountError` for anything else."""
    if not is_address(text):
        raise AccountError(f"{text!r} is not an address: it must be 0x and 40 hexadecimal digits.")
    return to_checksum_address(text)


def unlock(path: Path, password: str) -> LocalAccount:
    """The account of a keystore. Raises `AccountError` for a missing or malformed file and for a wrong password."""
    content = _read(path)
    try:
        key = Account.decrypt(content, password)
    except ValueError as error:
        if "MAC" in str(error):
            raise AccountError(
                f"The password does not open the keystore {path}. Try again; if it comes from a file, check the file "
                f"that {PASSWORD_FILE} names."
            ) from None
        raise _malformed(path, error) from error
    except (KeyError, TypeError, NotImplementedError) as error:
        raise _malformed(path, error) from error
    return _account(bytes(key))


def address_of(path: Path) -> str:
    """The address that a keystore says it holds, read without a password."""
    try:
        return to_checksum_address(_read(path)["address"])
    except (KeyError, TypeError, ValueError) as error:
        raise _malformed(path, error) from error


def read_password(prompt: str = "Keystore password: ", *, confirm: bool = False) -> str:
    """The password of the file that OREBIT_PASSWORD_FILE names (first line), else asked on the terminal.

    Raises `AccountError` when the file is unreadable or there is no terminal, or two entries differ.
    """
    named = os.environ.get(PASSWORD_FILE)
    if named:
        return _first_line(Path(named).expanduser())
    if not sys.stdin.isatty():
        raise AccountError(
            "A password is needed and there is no terminal to ask on. Put it in a file, and name the file in "
            f"{PASSWORD_FILE}."
        )
    password = getpass.getpass(prompt)
    if confirm and getpass.getpass("Once more: ") != password:
        raise AccountError("The two passwords differ. Nothing was written; start again.")
    return password


def _parse_key(text: str) -> bytes:
    try:
        key = bytes.fromhex(text.strip().removeprefix("0x"))
    except ValueError:
        key = b""
    if len(key) != 32 or not 0 < int.from_bytes(key, "big") < _CURVE_ORDER:
        raise AccountError("That is not a private key: it must be 64 hexadecimal digits, with or without 0x, not zero.")
    return key


def _first_line(path: Path) -> str:
    try:
        return path.read_text("utf-8").split("\n", 1)[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise AccountError(f"The password file {path} cannot be read ({error}). Check {PASSWORD_FILE}.") from error


def _store(path: Path, account: LocalAccount, password: str, iterations: int | None) -> LocalAccount:
    _write(path, Account.encrypt(account.key, password, iterations=iterations))
    return account


def _write(path: Path, content: Any) -> None:
    """Appears whole or not at all, and never over another keystore."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError as error:
        raise _existing(path) from error
    except OSError as error:
        raise StorageError(f"The keystore {path} cannot be written ({error.strerror}). Nothing was stored.") from error
    finally:
        draft.unlink(missing_ok=True)


def _read(path: Path) -> Any:
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise AccountError(
            f"There is no keystore at {path}. Make one with `orebit account new` or `orebit account import`, "
            "or set OREBIT_HOME to the folder that has it."
        ) from error
    except (OSError, ValueError) as error:
        raise _malformed(path, error) from error
    if not isinstance(content, dict):
        raise _malformed(path, TypeError("it is no JSON object"))
    return content


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AccountError(
            f"The file {file} cannot be read ({error}). Name a keystore or a file with a key."
        ) from error


def _existing(path: Path) -> AccountError:
    return AccountError(
        f"There is a keystore at {path} already; it is left as it is. Move it away, or use another OREBIT_HOME."
    )


def _malformed(path: Path, error: Exception) -> AccountError:
    return AccountError(
        f"The keystore {path} cannot be read ({type(error).__name__}: {error}). Restore it from your backup; "
        "without it the account is lost."
    )


def _account(key: bytes) -> LocalAccount:
    account: LocalAccount = Account.from_key(key)
    return account
