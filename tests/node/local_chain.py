"""A real anvil on a free port, as a process of the tests' own."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ANVIL = next((ROOT / "node_modules" / "@foundry-rs").glob("anvil-*/bin/anvil"), ROOT / "node_modules/.bin/anvil")
"""The program itself rather than npm's wrapper, which would outlive its parent and leave it behind."""

KEYS = (
    "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
    "7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
)
"""Anvil's first accounts: public knowledge, funded on every local chain."""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _die_with_parent() -> None:
    """On Linux: a test run that is killed leaves no chain behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class Anvil:
    """One anvil process."""

    def __init__(self, *arguments: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [str(ANVIL), "--port", str(self.port), "--silent", "--hardfork", "prague", *arguments]
        self._process = subprocess.Popen(command, start_new_session=True, preexec_fn=_die_with_parent)
        self._await()

    def rpc(self, method: str, *parameters: Any) -> Any:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as response:
            answer = json.load(response)
        assert "error" not in answer, answer
        return answer["result"]

    def mine(self, blocks: int = 1) -> None:
        self.rpc("anvil_mine", hex(blocks))

    def receipt(self, transaction: str) -> dict[str, Any]:
        """Of a transaction that is to be mined at once."""
        for _ in range(2_000):
            found: dict[str, Any] | None = self.rpc("eth_getTransactionReceipt", transaction)
            if found is not None:
                return found
            time.sleep(0.005)
        raise AssertionError(f"{transaction} is not mined")

    def stop(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _await(self) -> None:
        for _ in range(200):
            try:
                self.rpc("eth_chainId")
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
            else:
                return
        self.stop()
        raise RuntimeError("anvil did not start")
