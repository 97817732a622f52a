"""Chains for every test that needs one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from deploying import deploy
from local_chain import Anvil

from orebit.chain.deployment import Deployment


@pytest.fixture
def start_anvil() -> Iterator[Callable[..., Anvil]]:
    """Starts any number of chains with the given arguments."""
    started: list[Anvil] = []

    def start(*arguments: str) -> Anvil:
        started.append(Anvil(*arguments))
        return started[-1]

    yield start
    for chain in started:
        chain.stop()


@pytest.fixture
def anvil(start_anvil: Callable[..., Anvil]) -> Anvil:
    """A chain that mines a block for every transaction."""
    return start_anvil()


@pytest.fixture
def deployed(anvil: Anvil) -> Deployment:
    """The contracts on `anvil`."""
    return deploy(anvil)
