"""Puts a `solc-v<version>` where py-solc-x looks for it: the folder that SOLCX_BINARY_PATH names.

A native solc of that very version on PATH is preferred; else the npm package `solc` answers (scripts/solc.js).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSION = "0.8.37"
FOLDER = ROOT / ".solcx"

# Starting the npm compiler takes most of a second, and Brownie asks for the version once a source file.
NPM_WRAPPER = """#!/bin/sh
version="{folder}/version-{version}"
if [ "$1" = "--version" ]; then
  [ -s "$version" ] || {{ node "{script}" --version > "$version.$$" && mv "$version.$$" "$version"; }}
  exec cat "$version"
fi
exec node "{script}" "$@"
"""


def native_solc() -> str | None:
    """Path of a solc on PATH whose version is ours, or None."""
    found = shutil.which("solc")
    if found is None:
        return None
    answer = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
    return found if f"Version: {VERSION}+" in answer else None


def wrapper() -> str:
    """Text of the executable that stands for the compiler."""
    native = native_solc()
    if native is not None:
        return f'#!/bin/sh\nexec "{native}" "$@"\n'
    package = ROOT / "node_modules" / "solc"
    if not package.is_dir():
        sys.exit(f"There is no {package}: run `npm ci` in {ROOT} first, or put a native solc {VERSION} on PATH.")
    return NPM_WRAPPER.format(folder=FOLDER, version=VERSION, script=ROOT / "scripts" / "solc.js")


def main() -> Path:
    """Writes the wrapper if it is missing or differs. Returns its folder, for SOLCX_BINARY_PATH."""
    target = FOLDER / f"solc-v{VERSION}"
    text = wrapper()
    if not target.is_file() or target.read_text() != text:
        FOLDER.mkdir(exist_ok=True)
        partial = FOLDER / f"{target.name}.{os.getpid()}"
        partial.write_text(text)
        partial.chmod(0o755)
        partial.replace(target)
    return FOLDER


if __name__ == "__main__":
    print(main())
