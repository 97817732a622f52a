"""The same bits whatever the vector instructions and the number of threads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from digests import digest

DIGEST = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(int(sys.argv[2]))
from digests import digest
print(digest())
"""


def run(capability: str, threads: int) -> str:
    environment = dict(os.environ, ATEN_CPU_CAPABILITY=capability)
    command = [sys.executable, "-c", DIGEST, str(Path(__file__).parent), str(threads)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout.strip()


def test_bits_do_not_depend_on_instructions_or_threads() -> None:
    assert digest() == run("default", 1) == run("avx2", 2)
