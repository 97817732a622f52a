"""ABI encoding and decoding into the dataclasses of `types` and `events`. The ABIs ship in `chain/abi/*.json`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from importlib import resources
from typing import Any, TypeVar, cast, get_type_hints

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError, EncodingError
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from orebit.chain.types import LeaseId, LeaseState
from orebit.errors import ChainError

CONTRACTS = ("TaskMarket", "NodeRegistry", "TokenAI", "MajorityArbiter", "DisputeCourt")

T = TypeVar("T")


def snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


@dataclass(frozen=True)
class Parameter:
    """One input or output: its snake_case name, canonical ABI type, components of a tuple, and whether indexed."""

    name: str
    type: str
    components: tuple[Parameter, ...]
    indexed: bool

    @classmethod
    def parse(cls, item: Mapping[str, Any]) -> Parameter:
        components = tuple(cls.parse(part) for part in item.get("components", ()))
        suffix = item["type"].removeprefix("tuple")
        canonical = f"({','.join(part.type for part in components)}){suffix}" if components else item["type"]
        return cls(snake_case(item["name"]), canonical, components, item.get("indexed", False))

    def tidy(self, value: Any) -> Any:
        """Addresses in checksum form, all the way down."""
        if self.type.endswith("]"):
            element = Parameter(self.name, self.type[: self.type.rindex("[")], self.components, False)
            return [element.tidy(item) for item in value]
        if self.components:
            return tuple(part.tidy(item) for part, item in zip(self.components, value, strict=True))
        return to_checksum_address(value) if self.type == "address" else value


@dataclass(frozen=True)
class Entry:
    """A function, event or error."""

    kind: str
    name: str
    inputs: tuple[Parameter, ...]
    outputs: tuple[Parameter, ...]

    @property
    def signature(self) -> str:
        return f"{self.name}({','.join(parameter.type for parameter in self.inputs)})"

    @property
    def topic(self) -> bytes:
        return keccak(text=self.signature)

    @property
    def selector(self) -> bytes:
        return self.topic[:4]


class Abi:
    """One contract's entries by name, selector and topic."""

    def __init__(self, items: Sequence[Mapping[str, Any]]) -> None:
        entries = [self._parse(item) for item in items if item["type"] in ("function", "event", "error")]
        self.functions = {entry.name: entry for entry in entries if entry.kind == "function"}
        self.events = {entry.topic: entry for entry in entries if entry.kind == "event"}
        self.errors = {entry.selector: entry for entry in entries if entry.kind == "error"}

    @staticmethod
    def _parse(item: Mapping[str, Any]) -> Entry:
        inputs = tuple(Parameter.parse(part) for part in item.get("inputs", ()))
        outputs = tuple(Parameter.parse(part) for part in item.get("outputs", ()))
        return Entry(item["type"], item["name"], inputs, outputs)

    def encode_call(self, name: str, arguments: Sequence[Any]) -> bytes:
        """Calldata of a function. Raises `ChainError` for a value that its type cannot hold."""
        entry = self.functions[name]
        values = [plain(argument) for argument in arguments]
        try:
            return entry.selector + encode([parameter.type for parameter in entry.inputs], values)
        except (EncodingError, OverflowError) as error:
            raise ChainError(f"The call {entry.signature} cannot carry {values!r}: {error}.") from error

    def decode_result(self, name: str, data: bytes) -> tuple[Any, ...]:
        """A function's return values. Raises `ChainError` when the bytes are not of its types."""
        return decode_parameters(self.functions[name].outputs, data, name)


def plain(value: Any) -> Any:
    """Dataclasses as tuples, as the encoder wants them."""
    if is_dataclass(value):
        return tuple(plain(getattr(value, field.name)) for field in fields(value))
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return int(value) if isinstance(value, LeaseId | LeaseState) else value


def decode_parameters(parameters: Sequence[Parameter], data: bytes, what: str) -> tuple[Any, ...]:
    try:
        values = decode([parameter.type for parameter in parameters], data)
    except DecodingError as error:
        raise ChainError(
            f"The chain's answer to {what} is not of the expected types ({error}). "
            "The deployment's addresses may be of other contracts, or of another version."
        ) from error
    return tuple(parameter.tidy(value) for parameter, value in zip(parameters, values, strict=True))


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def build(cls: type[T], values: Sequence[Any]) -> T:
    """A dataclass from decoded values in field order; nested dataclasses and the value types included."""
    hints = _hints(cast(Any, cls))
    names = [field.name for field in fields(cast(Any, cls))]
    return cls(**{name: coerce(hints[name], value) for name, value in zip(names, values, strict=True)})


def coerce(hint: Any, value: Any) -> Any:
    """A decoded value as the type that a field declares."""
    if is_dataclass(hint) and not is_dataclass(value):
        return build(cast(type, hint), value)
    return hint(value) if hint in (LeaseId, LeaseState) else value


@cache
def load(contract: str) -> Abi:
    """The ABI of one of `CONTRACTS`. Raises `ChainError` when the package lacks it."""
    return Abi(_items(contract))


def _items(contract: str) -> list[Mapping[str, Any]]:
    try:
        content = json.loads((resources.files("orebit.chain") / "abi" / f"{contract}.json").read_text("utf-8"))
    except FileNotFoundError as error:
        raise ChainError(
            f"This installation lacks the ABI of {contract}. Reinstall orebit, or run `python scripts/export_abi.py` "
            "in a checkout."
        ) from error
    return cast(list[Mapping[str, Any]], content["abi"] if isinstance(content, dict) else content)


@cache
def errors() -> dict[bytes, Entry]:
    """Every contract's custom errors by selector, since one contract's call can revert in another."""
    found: dict[bytes, Entry] = {}
    for path in (resources.files("orebit.chain") / "abi").iterdir():
        if path.name.endswith(".json"):
            found |= load(path.name.removesuffix(".json")).errors
    return found
