"""Runs the symbolic checks (tests/symbolic) with halmos, in a virtual environment of its own.

Halmos would fetch its solvers; Bitwuzla comes from PyPI instead (bitwuzla_solver.py). Arguments go on to halmos.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import run_forge
import setup_compiler

ROOT = setup_compiler.ROOT
PACKAGES = ("halmos==0.3.3", "bitwuzla==0.10.0")
FOLDER = ROOT / "build" / "halmos"


def environment() -> Path:
    """The virtual environment's folder of executables; made on first use."""
    if not (FOLDER / "bin" / "halmos").is_file():
        venv.create(FOLDER, with_pip=True)
        subprocess.run([str(FOLDER / "bin" / "pip"), "install", "--quiet", *PACKAGES], check=True)
    return FOLDER / "bin"


def main() -> None:
    setup_compiler.main()
    binaries = environment()
    command = [
        str(binaries / "halmos"),
        f"--root={ROOT}",
        "--forge-build-out=build/halmos/out",
        f"--solver-command={binaries / 'python'} {ROOT / 'scripts' / 'bitwuzla_solver.py'}",
        "--solver-timeout-assertion=120s",
        "--loop=256",
        "--no-status",
        *sys.argv[1:],
    ]
    path = os.pathsep.join([str(run_forge.forge().parent), os.environ["PATH"]])
    settings = os.environ | {"PATH": path, "FOUNDRY_PROFILE": "symbolic"}
    sys.exit(subprocess.run(command, cwd=ROOT, env=settings, check=False).returncode)


if __name__ == "__main__":
    main()
