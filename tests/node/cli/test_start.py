"""The command line starts at once: what computes nothing does not load what computes."""

from __future__ import annotations

import subprocess
import sys


def test_the_commands_are_known_without_torch() -> None:
    script = "import sys, orebit.cli.main; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
