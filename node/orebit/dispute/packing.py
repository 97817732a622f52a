"""A state in bytes, as moves pass it and `Moved` tells it: each field in its own width, big-endian, in their order
(`Game` of contracts/interfaces/IDisputeCourt.sol). The contract keeps their keccak256."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from eth_utils.address import to_checksum_address

from orebit.dispute.game import DisputedTensor, DisputedValue, GameState, Phase, Posting, Side
from orebit.errors import ProgramError

# Numbers, bytes and addresses of so many bytes.
_POSTING = "b32 u8 u1 u1"
_TENSOR = "u5 u1 u1 u8 b32 b32"
_VALUE = "u8 u8 u8 u8 u8 u1 u2 b32"
_PLAIN = "u9 u2 a20 u5 u3 u1 u1 b32 u5 u5 b32 b32 u5 u12 b32 u5 u5 b32 b24"
_HEAD = " ".join((_PLAIN, _POSTING, _TENSOR, _VALUE))


def pack_state(state: GameState) -> bytes:
    """The state's bytes."""
    formats = [*_HEAD.split(), *_POSTING.split() * len(state.stack)]
    return b"".join(_packed(*pair) for pair in zip(formats, _values(state), strict=True))


def parse_state(data: bytes) -> GameState:
    """The state of these bytes.

    Raises:
        ProgramError: when they are none.
    """
    postings, rest = divmod(len(data) - _size(_HEAD), _size(_POSTING))
    if postings < 0 or rest:
        raise ProgramError(f"{len(data)} bytes are not the state of a game")
    values = _parsed([*_HEAD.split(), *_POSTING.split() * postings], data)

    def some(format_: str) -> list[Any]:
        return [next(values) for _ in format_.split()]

    head = dict(zip([each.name for each in fields(GameState)], some(_PLAIN), strict=False))
    head["phase"], head["turn"] = Phase(head["phase"]), Side(head["turn"])
    last, tensor, value = Posting(*some(_POSTING)), DisputedTensor(*some(_TENSOR)), DisputedValue(*some(_VALUE))
    stack = tuple(Posting(*some(_POSTING)) for _ in range(postings))
    return GameState(**head, last=last, tensor=tensor, value=value, stack=stack)


def _size(formats: str) -> int:
    return sum(int(each[1:]) for each in formats.split())


def _values(part: Any) -> Iterator[Any]:
    """The fields of a state, and of its parts in their place."""
    if is_dataclass(part):
        for each in fields(part):
            yield from _values(getattr(part, each.name))
    elif isinstance(part, tuple):
        for item in part:
            yield from _values(item)
    else:
        yield part


def _packed(format_: str, value: Any) -> bytes:
    width = int(format_[1:])
    if format_[0] == "u":
        return int(value).to_bytes(width)
    data = bytes.fromhex(value[2:]) if format_[0] == "a" else bytes(value)
    return data.rjust(width, b"\0")


def _parsed(formats: list[str], data: bytes) -> Iterator[Any]:
    place = 0
    for each in formats:
        part = data[place : place + int(each[1:])]
        place += len(part)
        if each[0] == "u":
            yield int.from_bytes(part)
        else:
            yield to_checksum_address(part) if each[0] == "a" else part
