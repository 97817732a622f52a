"""The machine that figures are of."""

from __future__ import annotations

import contextlib
import platform
from pathlib import Path

# What decides which kernels run, by the names that Linux gives.
VECTORS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "sve", "asimddp")


def processor() -> str:
    """The processor, as /proc/cpuinfo has it where there is one."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def flags() -> set[str]:
    """Every instruction set that the system names; empty where it does not say."""
    with contextlib.suppress(OSError):
        return set(Path("/proc/cpuinfo").read_text().split())
    return set()


def vector_instructions() -> str:
    """Those of the processor's vector instructions that matter here."""
    return " ".join(name for name in VECTORS if name in flags())
