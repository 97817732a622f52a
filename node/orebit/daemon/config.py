"""What a rig owner decides: `node.toml` in OREBIT_HOME, checked whole before anything starts."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from orebit.chain.rpc import parse_urls
from orebit.chain.token import UNIT, format_amount, parse_amount
from orebit.errors import ConfigError
from orebit.executor.hardware import Hardware, Split

FILE_NAME = "node.toml"


def _amount(value: object) -> int:
    """TokenAI as a person writes it ("12.5", 100) to wei. Raises ValueError, as pydantic expects."""
    try:
        return parse_amount(str(value))
    except ConfigError as error:
        raise ValueError(str(error)) from None


Amount = Annotated[int, BeforeValidator(_amount)]
"""Wei of TokenAI, or of ETH: both have 18 decimals."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StakeCaps(_Section):
    """The most stake, in wei, that may be locked behind leases at once."""

    per_requester: Amount = 1_000 * UNIT
    total: Amount = 5_000 * UNIT


class Limits(_Section):
    """What a stranger's batch may ask of this machine before it is refused."""

    program_nodes: int = Field(default=1 << 18, ge=1)
    # Bytes of all inputs of the shards of one lease, and elements of one tensor.
    input_bytes: int = Field(default=4 << 30, ge=1)
    tensor_elements: int = Field(default=1 << 30, ge=1)
    steps: int = Field(default=1_000_000, ge=1)
    # Positions of all iteration spaces of one step: what a step costs, known without executing it.
    step_operations: int = Field(default=1 << 36, ge=1)
    # Seconds in which a program must be prepared and a few of its steps made before anything is leased.
    measure_seconds: float = Field(default=120, gt=0)
    # Part of the time a lease allows that this machine may plan to use.
    time_share: float = Field(default=0.7, gt=0, le=1)


class CourtSettings(_Section):
    """ETH that this node keeps with the court, without which it may not lease."""

    # Deposit over the court's floor when it is filled up, and the most ETH that the deposit may be raised to.
    margin: float = Field(default=1.5, ge=1, le=100)
    deposit_most: Amount = 2 * UNIT


class AuditSettings(_Section):
    """Which revealed leases of others this node executes again, and what it risks to challenge what is wrong."""

    # Part of revealed leases that is audited; contested ones always are where it is above 0.
    share: float = Field(default=0.0, ge=0, le=1)
    # Checkpoint intervals executed again, of one shard of the lease, picked at random.
    intervals: int = Field(default=2, ge=1, le=1024)
    # Games open at once, and ETH of the dearest bond.
    games: int = Field(default=4, ge=1, le=1024)
    bond: Amount = UNIT


class NodeConfig(_Section):
    """The settings of one node daemon. OREBIT_RPC wins over `rpc`."""

    rpc: tuple[str, ...] = Field(min_length=1)
    # Where others reach this node's blobs; told to the registry.
    public_url: str
    listen_host: str = "0.0.0.0"
    # 0 takes a free port, for tests.
    listen_port: int = Field(default=7117, ge=0, le=65535)
    slots: int = Field(default=8, ge=1, le=256)
    # Shards computed side by side, threads of each (0: every core), leases taken ahead of what is computed.
    parallel: int = Field(default=1, ge=1, le=64)
    threads: int = Field(default=0, ge=0, le=1024)
    prefetch: int = Field(default=1, ge=0, le=64)
    # Processes that compute one shard together, and how they divide it.
    ranks: int = Field(default=1, ge=1, le=64)
    split: Split = Split.DATA
    # What shards run on; small ones run on the processor in any case.
    device: Hardware = Hardware.AUTO
    # Confirmations of the draw's block before a reveal where the task names none.
    reveal_confirmations: int = Field(default=2, ge=0, le=64)
    poll_seconds: float = Field(default=1.0, ge=0.05, le=60)
    # Extra seconds before this node ends what others left overdue: they may do it themselves.
    exit_grace_seconds: int = Field(default=30, ge=0)
    withdraw_above: Amount = 10 * UNIT
    take_replicas: bool = True
    stake: StakeCaps = StakeCaps()
    court: CourtSettings = CourtSettings()
    audit: AuditSettings = AuditSettings()
    limits: Limits = Limits()


def load_config(home: Path, environment: Mapping[str, str] | None = None) -> NodeConfig:
    """Reads `node.toml` under `home`.

    Raises ConfigError, naming file and line, when it is missing, not TOML, or has an unknown or wrong setting.
    """
    environment = os.environ if environment is None else environment
    path = home / FILE_NAME
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"There is no {path}. Run `orebit node init` to make it.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}.") from error
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"{path} is not valid TOML: {error}. Correct it, or run `orebit node init --force`."
        ) from None
    if environment.get("OREBIT_RPC"):
        values["rpc"] = parse_urls(environment["OREBIT_RPC"])
    elif isinstance(values.get("rpc"), str):
        values["rpc"] = [values["rpc"]]
    try:
        return NodeConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(path, text, error)) from None


def make_config(**values: object) -> NodeConfig:
    """A configuration from options. Raises ConfigError, naming the option that is wrong."""
    try:
        return NodeConfig.model_validate(values)
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, fault['loc']))}: {fault['msg'].lower()}" for fault in error.errors())
        raise ConfigError(f"These settings are refused: {'; '.join(faults)}. Nothing was written.") from None


def _explain(path: Path, text: str, error: ValidationError) -> str:
    faults = []
    for fault in error.errors():
        names = [str(part) for part in fault["loc"] if isinstance(part, str)]
        line = _line_of(text, names)
        where = f"line {line}" if line else "in the file"
        name = ".".join(names) or "the file"
        reason = "is not a setting" if fault["type"] == "extra_forbidden" else fault["msg"].lower()
        faults.append(f"{name} ({where}) {'is missing' if fault['type'] == 'missing' else reason}")
    return f"{path} is refused: {'; '.join(faults)}. Correct it; docs/operators.md lists every setting."


def _line_of(text: str, names: list[str]) -> int | None:
    """1-based line of a setting: its last name, after its table's heading. None where the file does not have it."""
    if not names:
        return None
    *tables, name = names
    inside = not tables
    for number, line in enumerate(text.splitlines(), start=1):
        heading = re.match(r"\s*\[\s*([\w.\-]+)\s*\]", line)
        if heading:
            inside = heading[1].split(".") == tables
            if heading[1].split(".") == names:
                return number
        elif inside and re.match(rf"\s*[\"']?{re.escape(name)}[\"']?\s*=", line):
            return number
    return None


def render_config(config: NodeConfig) -> str:
    """The text of a `node.toml` that `load_config` reads back as `config`."""
    urls = ", ".join(f'"{url}"' for url in config.rpc)
    return f"""\
# Orebit node. Amounts are in TokenAI (of court and audit in ETH), times in seconds. Unknown settings are refused.
rpc = [{urls}]
public_url = "{config.public_url}"
listen_host = "{config.listen_host}"
listen_port = {config.listen_port}

# Leases held at once (each locks stake until its result is final), shards computed side by side,
# threads of each (0: every core), and leases taken ahead of what is being computed.
slots = {config.slots}
parallel = {config.parallel}
threads = {config.threads}
prefetch = {config.prefetch}
take_replicas = {str(config.take_replicas).lower()}
# Processes that compute one shard together, and how they divide it: by "data" or by "stage".
ranks = {config.ranks}
split = "{config.split.value}"
# "auto": the fastest executor of this machine; "cpu"; "cuda": an NVIDIA GPU, without which the node does not start.
device = "{config.device.value}"

reveal_confirmations = {config.reveal_confirmations}
poll_seconds = {config.poll_seconds}
exit_grace_seconds = {config.exit_grace_seconds}
# Earnings are withdrawn to the payee once they exceed this.
withdraw_above = "{format_amount(config.withdraw_above)}"

[stake]
per_requester = "{format_amount(config.stake.per_requester)}"
total = "{format_amount(config.stake.total)}"

# ETH with the court: below its floor a node may not lease. It is filled up to `margin` times the floor.
[court]
margin = {config.court.margin}
deposit_most = "{format_amount(config.court.deposit_most)}"

# Others' revealed leases: which part is executed again (0: none), how many intervals of a shard, and what is risked.
[audit]
share = {config.audit.share}
intervals = {config.audit.intervals}
games = {config.audit.games}
bond = "{format_amount(config.audit.bond)}"

[limits]
program_nodes = {config.limits.program_nodes}
input_bytes = {config.limits.input_bytes}
tensor_elements = {config.limits.tensor_elements}
steps = {config.limits.steps}
step_operations = {config.limits.step_operations}
time_share = {config.limits.time_share}
"""
