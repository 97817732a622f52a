"""Runs Slither over the contracts, in a virtual environment of its own, and fails on any finding not justified here.

Slither would call a native solc's command line; over standard JSON the wrapper of `setup_compiler` is enough.
Findings of one place are justified there, in a comment beside `slither-disable`; those of a whole kind, below.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import run_forge
import setup_compiler
import standard_json

ROOT = standard_json.ROOT
SLITHER = "slither-analyzer==0.11.6"
JUSTIFIED = {
    "calls-loop": "lists of leases are settled one by one: the caller chooses them, and calls go to our registry",
    "reentrancy-events": "the only contracts called are ours, fixed at deployment, and they call nobody else's",
    "timestamp": "windows are measured in seconds, and never pass without 32 blocks as well",
    "assembly": "multicall hands on a revert's own bytes",
    "low-level-calls": "multicall calls this very contract",
    "naming-convention": "trailing underscores keep a parameter off the name of a function",
    "too-many-digits": "constants in hexadecimal are bit patterns and tables",
    "shadowing-local": "parameters of interfaces, which have no bodies, named like a view",
    "uninitialized-local": "counters and sums start from zero",
    "msg-value-in-nonpayable": "payable functions of the court reach its linked libraries by delegatecall",
    "divide-before-multiply": "where a segment, a leaf or a word begins is wanted: what is left over falls away",
    "unused-return": "a part of a tuple that is not needed, and what `convict` took where there are no costs",
    "write-after-write": "the offset and the length of one calldata slice are set in assembly",
    "cyclomatic-complexity": "one branch an operation, in the loop whose gas is measured",
    "solc-version": "the compiler is the one that the code was measured and tested with",
}


def environment() -> Path:
    """The virtual environment's folder of executables; made on first use."""
    folder = ROOT / "build" / "slither"
    if not (folder / "bin" / "slither").is_file():
        venv.create(folder, with_pip=True)
        subprocess.run([str(folder / "bin" / "pip"), "install", "--quiet", SLITHER], check=True)
    return folder / "bin"


def main() -> None:
    solc = setup_compiler.main() / f"solc-v{setup_compiler.VERSION}"
    source = ROOT / "build" / "slither.json"
    source.parent.mkdir(exist_ok=True)
    request = standard_json.request(viaIR=True, evmVersion="prague", optimizer={"enabled": True, "runs": 200})
    source.write_text(json.dumps(request))
    command = [
        str(environment() / "slither"),
        str(source),
        "--compile-force-framework=solc-json",
        f"--solc={solc}",
        "--filter-paths=node_modules",
        f"--exclude={','.join(JUSTIFIED)}",
        "--exclude-optimization",
    ]
    # It asks forge for the settings, of which it uses none, since `foundry.toml` is there.
    path = os.pathsep.join([str(run_forge.forge().parent), os.environ["PATH"]])
    sys.exit(subprocess.run(command, cwd=ROOT, env=os.environ | {"PATH": path}, check=False).returncode)


if __name__ == "__main__":
    main()
