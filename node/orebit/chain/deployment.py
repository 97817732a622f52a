"""Where the contracts of a chain are, and which chain it must be."""

from __future__ import annotations

import os
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Literal

from eth_utils.address import is_address, to_checksum_address
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from orebit.errors import ConfigError

ENVIRONMENT = "OREBIT_DEPLOYMENT"


def _checksum(value: str) -> str:
    if not is_address(value):
        raise ValueError(f"{value!r} is not an address")
    return to_checksum_address(value)


Address = Annotated[str, AfterValidator(_checksum)]


class Deployment(BaseModel):
    """The file that the deploy script writes: `deployments/CHAINID.json`."""

    model_config = ConfigDict(frozen=True)

    chain_id: int = Field(ge=1)
    genesis_hash: Annotated[str, Field(pattern=r"^0x[0-9a-fA-F]{64}$")]
    block: int = Field(ge=0)
    """Block of the first contract's creation: no event is older."""
    token: Address
    registry: Address
    market: Address
    arbiter: Address
    judge: Literal["DisputeCourt", "MajorityArbiter"] = "DisputeCourt"
    """What stands at the arbiter's address: the court, or on a local chain the stand-in that believes a witness."""
    evaluator: Address | None = None
    validity: Address | None = None
    guardian: Address | None = None

    @property
    def has_court(self) -> bool:
        return self.judge == "DisputeCourt"

    @property
    def genesis(self) -> bytes:
        return bytes.fromhex(self.genesis_hash[2:])


def load(chain_id: int | None = None, path: Path | None = None) -> Deployment:
    """The deployment of `path`, else of the file that OREBIT_DEPLOYMENT names, else the shipped one of `chain_id`.

    Raises `ConfigError` when there is none, or the file is malformed or of another chain.
    """
    named = path or _from_environment()
    found = _read(named) if named else _shipped(chain_id)
    if chain_id is not None and found.chain_id != chain_id:
        raise ConfigError(
            f"The deployment {named or 'of this package'} is for chain {found.chain_id}, but the RPC endpoint serves "
            f"chain {chain_id}. Use the RPC URL of chain {found.chain_id}, or name another file in {ENVIRONMENT}."
        )
    return found


def named_elsewhere() -> bool:
    """Whether the environment names a deployment, so that no chain id is needed to find one."""
    return _from_environment() is not None


def _from_environment() -> Path | None:
    value = os.environ.get(ENVIRONMENT)
    return Path(value).expanduser() if value else None


def _shipped(chain_id: int | None) -> Deployment:
    if chain_id is None:
        raise ConfigError(f"No deployment is named. Set {ENVIRONMENT} to the file that the deploy script wrote.")
    file = resources.files("orebit.chain") / "deployments" / f"{chain_id}.json"
    if not file.is_file():
        raise ConfigError(
            f"Orebit knows no deployment on chain {chain_id}. Check the RPC URL, or set {ENVIRONMENT} to the "
            "deployments/CHAINID.json that the deploy script wrote."
        )
    return _read(file)


def _read(file: Path | Traversable) -> Deployment:
    try:
        return Deployment.model_validate_json(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(
            f"The deployment file {file} cannot be read ({error.strerror}). Set {ENVIRONMENT} to the "
            "deployments/CHAINID.json that the deploy script wrote."
        ) from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise ConfigError(
            f"The deployment file {file} is malformed: {faults}. Run the deploy script again, or restore the file."
        ) from error
