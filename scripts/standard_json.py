"""The contracts as solc's standard JSON, for what Brownie does not do: ABIs alone, and Slither."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def request(**settings: Any) -> dict[str, Any]:
    """Standard JSON input over every source file, imports of node_modules resolved by the compiler."""
    files = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "contracts").rglob("*.sol"))]
    return {
        "language": "Solidity",
        "sources": {file: {"content": (ROOT / file).read_text()} for file in files},
        "settings": {"remappings": ["@openzeppelin/=node_modules/@openzeppelin/"], **settings},
    }
