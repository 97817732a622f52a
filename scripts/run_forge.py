"""Runs forge's fuzz and invariant tests (tests/foundry), with a forge of its own, and says what the campaigns reached.

Its arguments go on to `forge test`: `make forge FORGE='--match-contract MarketInvariants'`. FOUNDRY_INVARIANT_RUNS,
FOUNDRY_INVARIANT_DEPTH and FOUNDRY_FUZZ_RUNS make it try longer.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import setup_compiler

ROOT = setup_compiler.ROOT
FORGE = "@foundry-rs/forge@1.7.1"
FOLDER = ROOT / "build" / "forge"
CAMPAIGNS = ("market", "court")


def forge() -> Path:
    """The executable; installed on first use (80 MB)."""
    executable = FOLDER / "node_modules" / ".bin" / "forge"
    if not executable.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(FOLDER), FORGE], check=True
        )
    return executable


def reached(campaign: Path) -> Counter[str]:
    """How often each act was done, from lines of a count and a name."""
    counts: Counter[str] = Counter()
    for line in campaign.read_text().splitlines():
        count, name = line.split(" ", 1)
        counts[name] += int(count)
    return counts


def main() -> None:
    setup_compiler.main()
    executable = forge()
    campaigns = [FOLDER / f"{name}.txt" for name in CAMPAIGNS]
    for campaign in campaigns:
        campaign.unlink(missing_ok=True)
    code = subprocess.run([str(executable), "test", *sys.argv[1:]], cwd=ROOT, check=False).returncode
    for campaign in campaigns:
        if campaign.exists():
            acts = ", ".join(f"{name} {count}" for name, count in sorted(reached(campaign).items()))
            print(f"{campaign.stem} reached: {acts}")
    sys.exit(code)


if __name__ == "__main__":
    main()
