"""Writes the ABIs that ship inside the Python package: `python scripts/export_abi.py`.

With `--check` nothing is written, and a difference exits with 1.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import setup_compiler
import standard_json

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "node" / "orebit" / "chain" / "abi"
CONTRACTS = ("TaskMarket", "NodeRegistry", "TokenAI", "MajorityArbiter", "DisputeCourt")


def compile_abis() -> dict[str, list[dict[str, object]]]:
    """ABI of every contract that ships, by name."""
    request = standard_json.request(outputSelection={"*": {"*": ["abi"]}})
    solc = setup_compiler.main() / f"solc-v{setup_compiler.VERSION}"
    command = [str(solc), "--standard-json", "--base-path", str(ROOT)]
    run = subprocess.run(command, input=json.dumps(request), capture_output=True, text=True, check=True, cwd=ROOT)
    answer = json.loads(run.stdout)
    failures = [error["formattedMessage"] for error in answer.get("errors", []) if error["severity"] == "error"]
    if failures:
        sys.exit("\n".join(failures))
    return {name: answer["contracts"][f"contracts/{name}.sol"][name]["abi"] for name in CONTRACTS}


def main() -> None:
    check = "--check" in sys.argv[1:]
    stale = []
    for name, abi in compile_abis().items():
        path = TARGET / f"{name}.json"
        text = json.dumps(abi, indent=1, sort_keys=True) + "\n"
        if path.is_file() and path.read_text() == text:
            continue
        stale.append(path.name)
        if not check:
            path.write_text(text)
    if check and stale:
        sys.exit(f"{', '.join(stale)} differ from the contracts: run `python scripts/export_abi.py`.")


if __name__ == "__main__":
    main()
