"""Brownie without its pytest plugin: an embedded chain on a free port, reverted after every test."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "contracts")]

import setup_compiler  # noqa: E402  # found by the path above

os.environ["SOLCX_BINARY_PATH"] = str(setup_compiler.main())
os.environ["PATH"] = f"{ROOT / 'node_modules' / '.bin'}{os.pathsep}{os.environ['PATH']}"

from brownie import accounts, chain, network, project, web3  # noqa: E402  # Brownie reads the settings above when imported
from brownie._config import CONFIG  # noqa: E402  # the same
from court_stage import Courtroom, deploy_court  # noqa: E402  # found by the path above
from evm import Chain, Contract, alone, own_chain  # noqa: E402  # imports Brownie
from market_steps import Stage  # noqa: E402  # imports Brownie
from node_arithmetic import Arithmetic  # noqa: E402  # found by the path above
from world import World  # noqa: E402  # imports Brownie

# Block hashes, and so draws and gas, are the same in every run: time starts here and a block takes a second.
GENESIS = 1_800_000_000


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def contracts() -> Iterator[Any]:
    """The compiled project, and a chain of our own under it."""
    loaded = project.load(str(ROOT), name="Orebit")
    loaded.load_config()
    CONFIG.argv["cli"] = "test"
    settings = CONFIG.networks["development"]
    settings["cmd"] = f"anvil --timestamp {GENESIS} --order fifo"
    settings["cmd_settings"] |= {"port": free_port(), "accounts": 20}
    network.connect("development")
    try:
        web3.provider.make_request("anvil_setBlockTimestampInterval", [1])
        yield loaded
    finally:
        network.disconnect()
        loaded.close()


@pytest.fixture(scope="session")
def deployed(contracts: Any) -> World:
    """Everything deployed as the deploy script does it, with the stand-in judge: the court has tests of its own."""
    import deploy

    with patch.dict(os.environ, OREBIT_ARBITER=deploy.STAND_IN):
        at = deploy.deploy(accounts[0], 31337)
    return World(
        project=contracts,
        web3=web3,
        accounts=list(accounts),
        token=contracts.TokenAI.at(at["token"]),
        registry=contracts.NodeRegistry.at(at["registry"]),
        market=contracts.TaskMarket.at(at["market"]),
        arbiter=contracts.MajorityArbiter.at(at["arbiter"]),
    )


@pytest.fixture
def world(deployed: World) -> Iterator[World]:
    """The deployed contracts, nobody registered; the chain goes back to where it was after the test."""
    chain.snapshot()
    deployed.owners.clear()
    yield deployed
    chain.revert()


@pytest.fixture(scope="session")
def built(contracts: Any, deployed: World) -> Iterator[Stage]:
    """The same contracts behind the quick interface of evm.py."""
    anvil = Chain(web3.provider.endpoint_uri)
    names = ("token", "registry", "market", "arbiter")
    found = {name: getattr(deployed, name) for name in names}
    quick = {name: Contract(anvil, contract.address, contract.abi) for name, contract in found.items()}
    anvil.learn(contracts.Exits.abi)
    yield Stage(anvil, quick, treasury=accounts[0].address, guardian=accounts[0].address)
    anvil.connection.close()


@pytest.fixture
def stage(built: Stage) -> Iterator[Stage]:
    """An empty stage. After the test every token on it must be accounted for, and then nothing has happened."""
    with built.chain.undone():
        built.clear()
        yield built
        built.audit()


@pytest.fixture(scope="session")
def aside() -> Iterator[Chain]:
    """A chain for contracts that stand alone: on the market's they would move its addresses, and so its gas."""
    with own_chain() as chain:
        yield chain


@pytest.fixture(scope="session")
def arithmetic(contracts: Any, aside: Chain) -> Arithmetic:
    """The contracts that compute an element and judge a program, each call metered."""
    return Arithmetic(aside, alone(aside, contracts.NodeEvaluator), alone(aside, contracts.ProgramValidity))


@pytest.fixture(scope="session")
def courthouse(contracts: Any) -> Iterator[Courtroom]:
    """Everything with the court as judge, on a chain of its own: nothing of it moves the gas of the others."""
    with own_chain() as chain:
        yield Courtroom(chain, deploy_court(chain, lambda name: (contracts[name].abi, contracts[name].bytecode)))


@pytest.fixture
def courtroom(courthouse: Courtroom) -> Iterator[Courtroom]:
    """An empty courtroom. After the test every token and all ETH must be accounted for, and nothing has happened."""
    with courthouse.chain.undone():
        courthouse.clear()
        yield courthouse
        courthouse.audit()
