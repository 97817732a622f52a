"""`import orebit`: quick, typed, and honest about what it cannot do."""

from __future__ import annotations

import subprocess
import sys

import pytest

import orebit
from orebit.errors import ConfigError
from orebit.strategy.training import Training


def test_importing_orebit_imports_neither_torch_nor_web3() -> None:
    script = "import sys, orebit; print([name for name in ('torch', 'web3', 'aiohttp') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names() -> None:
    assert orebit.Training is Training
    assert set(dir(orebit)) == {"OrebitError", "Trained", "Training", "audit", "submit"}
    with pytest.raises(AttributeError, match="nothing"):
        _ = orebit.nothing


async def test_waiting_inside_an_event_loop_is_refused() -> None:
    with pytest.raises(ConfigError, match="to_thread"):
        orebit.audit(1, rpc="http://127.0.0.1:9")


def test_no_rpc_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OREBIT_RPC", raising=False)
    with pytest.raises(ConfigError, match="OREBIT_RPC"):
        orebit.audit(1)
