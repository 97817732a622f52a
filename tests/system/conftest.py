"""A whole network: real chain, real contracts, real node processes."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "node"))

from deploying import deploy  # noqa: E402  # found beside the node's tests
from local_chain import Anvil  # noqa: E402  # the same
from rigs import Network  # noqa: E402  # the same

# A shell's background job ignores Ctrl-C and hands that on to every process begun within: these tests interrupt some.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    """Anvil at four blocks a second with the contracts on it; every process ends with the test."""
    yield from _network(tmp_path, "DisputeCourt")


@pytest.fixture
def witnessed(tmp_path: Path) -> Iterator[Network]:
    """The same, with the judge that believes a witness."""
    yield from _network(tmp_path, "MajorityArbiter")


def _network(folder: Path, judge: Literal["DisputeCourt", "MajorityArbiter"]) -> Iterator[Network]:
    chain = Anvil("--block-time", "0.25", "--accounts", "10")
    made = Network(chain, deploy(chain, judge), folder)
    try:
        yield made
    finally:
        made.stop()
        chain.stop()
