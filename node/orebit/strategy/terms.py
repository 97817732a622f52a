"""A task's TOML file: which job, on what terms, driven how. Flags win over the file, the file over the defaults."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from eth_utils.address import is_address, to_checksum_address
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from orebit.chain.types import FLAG_GATED, FLAG_KEEP_RESULTS, FLAG_OPEN, WHOLE_LEASE, ZERO_ADDRESS, Terms
from orebit.errors import ConfigError
from orebit.strategy.quantities import (
    parse_basis_points,
    parse_duration,
    parse_factor,
    parse_percent,
    parse_share,
    parse_tokens,
)

T = TypeVar("T")

MAX_SECONDS = 2**24 - 1
SINGLE_SHARD_DRAW = 2_500
SINGLE_SHARD_FACTOR = 600
RANGE_DRAW = 10_000
RANGE_FACTOR = 200


def _reader(parse: Any) -> BeforeValidator:
    """A parser of ours inside pydantic, which wants ValueError."""

    def read(value: object) -> Any:
        try:
            return parse(value)
        except ConfigError as error:
            raise ValueError(str(error)) from error

    return BeforeValidator(read)


def _parse_block(value: object) -> int:
    """log2 of the shards that a replica re-executes, from their number or "all"."""
    if value == "all":
        return WHOLE_LEASE
    text = str(value)
    if not text.isdigit() or int(text).bit_count() != 1 or int(text) > 8192:
        raise ConfigError(f'{value!r} is not a block: write a power of two of shards, or "all".')
    return int(text).bit_length() - 1


def _parse_address(value: object) -> str:
    if not isinstance(value, str) or not is_address(value):
        raise ConfigError(f"{value!r} is not an Ethereum address.")
    return to_checksum_address(value)


Tokens = Annotated[int, _reader(parse_tokens)]
Seconds = Annotated[int, _reader(parse_duration), Field(le=MAX_SECONDS)]
BasisPoints = Annotated[int, _reader(parse_basis_points)]
Factor = Annotated[int, _reader(parse_factor)]
Percent = Annotated[int, _reader(parse_percent)]
Share = Annotated[float, _reader(parse_share)]
BlockLog2 = Annotated[int, _reader(_parse_block)]
Address = Annotated[str, _reader(_parse_address)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TermsSettings(_Section):
    """`[terms]`: what is offered to those who train. Amounts in wei, times in seconds once parsed."""

    price: Tokens = 10**18
    compute: Seconds = 600
    """Time to compute one shard."""
    reveal: Seconds = 300
    challenge: Seconds | None = None
    """The challenge window; the shortest that the market admits unless said."""
    move: Seconds = 60
    stake_factor: Factor | None = None
    late_penalty: Annotated[BasisPoints, Field(ge=100, le=2_000)] = 500
    draw: BasisPoints | None = None
    draw_delay: Annotated[int, Field(ge=1, le=255)] = 1
    lottery_blocks: Annotated[int, Field(ge=1, le=200)] = 32
    fee: Percent = 100
    block: BlockLog2 = 0
    max_grains: Annotated[int, Field(ge=1, le=128)] = 1
    reveal_depth: Annotated[int, Field(ge=0, le=200)] = 0
    watcher: Address = ZERO_ADDRESS
    gated: bool = False
    keep_results: bool = False


class AveragingSettings(_Section):
    """`[averaging]`: what is offered for averaging, in an open task of its own at a much lower price."""

    price: Tokens | None = None
    """A hundredth of the training price unless said."""
    compute: Seconds | None = None
    reveal: Seconds | None = None
    challenge: Seconds | None = None
    move: Seconds | None = None
    stake_factor: Factor = 600
    late_penalty: Annotated[BasisPoints, Field(ge=100, le=2_000)] = 500


class RunSettings(_Section):
    """`[run]`: how the driver works."""

    escrow: Tokens | None = None
    """Deposited at the start; all that the job can cost at most unless said."""
    grain: Annotated[int, Field(ge=1, le=64)] = 1
    """Shards a grain, the least work that can be leased."""
    depth: Annotated[int, Field(ge=1, le=64)] = 2
    """Rounds that may stand on results that are not final."""
    call: Share = 0.0
    """Probability that the driver itself has all leases of a round replicated."""
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """Where blobs are served; 0 picks a free port once and keeps it."""
    url: str | None = None
    """The address at which nodes reach this driver's blobs, when it is not http://host:port."""
    patience: Seconds = 120
    """How long results are sought from those who must hold them before the work is given to others."""
    poll: Annotated[float, Field(gt=0, le=60)] = 1.0


class TaskFile(_Section):
    """A whole task file with its defaults filled in."""

    job: str | None = None
    terms: TermsSettings = TermsSettings()
    averaging: AveragingSettings = AveragingSettings()
    run: RunSettings = RunSettings()

    @model_validator(mode="after")
    def _watched(self) -> Self:
        if self.run.call and self.terms.draw_delay < 3:
            raise ValueError("run.call needs terms.draw_delay of at least 3, or a call may come too late")
        return self

    @property
    def training_terms(self) -> Terms:
        """The terms of the training task, as on-chain."""
        terms = self.terms
        ranged = self.run.grain > 1
        return Terms(
            price=terms.price,
            compute_seconds=terms.compute,
            reveal_seconds=terms.reveal,
            challenge_seconds=_window(terms.challenge, terms.move, terms.compute),
            stake_factor=_default(terms.stake_factor, RANGE_FACTOR if ranged else SINGLE_SHARD_FACTOR),
            late_bp=terms.late_penalty,
            draw_bp=_default(terms.draw, self._default_draw(ranged)),
            fee_percent=terms.fee,
            draw_delay=terms.draw_delay,
            lottery_blocks=terms.lottery_blocks,
            block_log2=terms.block,
            watcher=terms.watcher,
            move_time=terms.move,
            max_grains=terms.max_grains,
            flags=FLAG_GATED * terms.gated | FLAG_KEEP_RESULTS * terms.keep_results,
            reveal_depth=terms.reveal_depth,
        )

    @property
    def averaging_terms(self) -> Terms:
        """The terms of the averaging task: open, gated so that a node which averages wrongly can be barred."""
        average, terms = self.averaging, self.terms
        compute, move = _default(average.compute, terms.compute), _default(average.move, terms.move)
        return Terms(
            price=_default(average.price, max(1, terms.price // 100)),
            compute_seconds=compute,
            reveal_seconds=_default(average.reveal, terms.reveal),
            challenge_seconds=_window(_default(average.challenge, terms.challenge), move, compute),
            stake_factor=average.stake_factor,
            late_bp=average.late_penalty,
            draw_bp=0,
            fee_percent=0,
            draw_delay=1,
            lottery_blocks=1,
            block_log2=0,
            watcher=ZERO_ADDRESS,
            move_time=move,
            max_grains=1,
            flags=FLAG_OPEN | FLAG_GATED,
            reveal_depth=0,
        )

    def plain(self) -> dict[str, Any]:
        """Every setting in the units of the chain, defaults included, as JSON has it; `restore` reads it back."""
        return self.model_dump(mode="json")

    @classmethod
    def restore(cls, plain: Mapping[str, Any]) -> TaskFile:
        """What `plain` gave."""
        return cls.model_construct(
            job=plain["job"],
            terms=TermsSettings.model_construct(**plain["terms"]),
            averaging=AveragingSettings.model_construct(**plain["averaging"]),
            run=RunSettings.model_construct(**plain["run"]),
        )

    def _default_draw(self, ranged: bool) -> int:
        if self.run.call:
            return 0
        return RANGE_DRAW if ranged else SINGLE_SHARD_DRAW


def _default(value: T | None, default: T) -> T:
    return default if value is None else value


def _window(challenge: int | None, move: int, compute: int) -> int:
    """The challenge window: as said, or the market's least, 4 moves and one shard's compute time."""
    return _default(challenge, 4 * move + compute)


def load_task_file(path: Path | None, flags: Mapping[str, Any] | None = None) -> TaskFile:
    """Reads a task file and lays flags over it, whose keys are dotted ("terms.price") and whose None is "not given".

    Raises ConfigError naming file and key for a key that is unknown, a value that is wrong, or a file that is no TOML.
    """
    values = _read_toml(path) if path else {}
    for key, value in (flags or {}).items():
        if value is not None:
            _lay(values, key, value)
    return parse_task_file(values, origin=str(path) if path else "the command line")


def parse_task_file(values: Mapping[str, Any], *, origin: str) -> TaskFile:
    """Checks settings that came from `origin`, which errors name."""
    try:
        return TaskFile.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{origin}: {_explain(error)}") from error


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(
            f"The task file {path} cannot be read ({error.strerror}). Give the path of a TOML file."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.") from error


def _lay(values: dict[str, Any], key: str, value: Any) -> None:
    *sections, name = key.split(".")
    for section in sections:
        inner = values.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"[{section}] must be a table of settings.")
        values = inner
    values[name] = value


def _explain(error: ValidationError) -> str:
    """One sentence a fault, naming its key."""
    sentences = []
    for fault in error.errors():
        key = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            sentences.append(f'unknown setting "{key}"; settings of this table are {_known(fault["loc"])}.')
        else:
            message = fault["msg"].removeprefix("Value error, ")
            sentences.append(f"{key}: {message}" if key else message)
    return " ".join(sentences)


def _known(location: tuple[int | str, ...]) -> str:
    sections: dict[str, type[BaseModel]] = {"terms": TermsSettings, "averaging": AveragingSettings, "run": RunSettings}
    model = sections.get(str(location[0]), TaskFile) if len(location) > 1 else TaskFile
    return ", ".join(model.model_fields)
