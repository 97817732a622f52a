"""The evaluator and the validity contract behind a meter, and what Python says that they must answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from math import prod
from typing import Any

from eth_abi import decode
from evm import Chain, Contract, Function

from orebit.executor import interpreter
from orebit.numerics import scalar
from orebit.numerics.types import MASK64, DType
from orebit.program.descriptor import Descriptor, Kind, Operand

Point = tuple[int, ...]
MASK = {dtype: (1 << 8 * dtype.size) - 1 for dtype in DType}
PARTIALS = 256
# Runs the call that follows an address, and answers the gas that it took, whether it succeeded, and its output:
# the size left; gas; staticcall(gas, address, 0, size, 0, 0); the difference; all of it in memory.
METER = bytes.fromhex("602036038060205f375a5f5f835f5f355afa5a82035f526020523d5f60403e60403d015ff3")
DEPLOY = bytes([0x60, len(METER), 0x80, 0x60, 9, 0x5F, 0x39, 0x5F, 0xF3])
# Calls in one request.
PER_REQUEST = 100


@dataclass(frozen=True)
class Metered:
    """The answer of one call, and the gas that the call took, its own 2,600 for a cold address included."""

    gas: int
    succeeded: bool
    output: bytes

    @property
    def word(self) -> int:
        assert self.succeeded, self.output.hex()
        return int.from_bytes(self.output[:32], "big")


class Arithmetic:
    """Both contracts, deployed; every call is metered."""

    def __init__(self, chain: Chain, evaluator: Contract, validity: Contract) -> None:
        self.chain = chain
        self.evaluator = evaluator
        self.validity = validity
        sender = chain.rpc("eth_accounts")[0]
        self.meter = chain.send(sender, None, DEPLOY + METER)["contractAddress"]

    def metered(self, function: Function, arguments: Sequence[Sequence[Any]]) -> list[Metered]:
        """One call for each of these arguments."""
        target = bytes.fromhex(function.contract.address[2:]).rjust(32, b"\0")
        datas = [target + function.encode(*given) for given in arguments]
        answers: list[bytes] = []
        for first in range(0, len(datas), PER_REQUEST):
            answers += self.chain.calls(self.meter, datas[first : first + PER_REQUEST])
        return [Metered(int.from_bytes(a[:32], "big"), a[63] == 1, a[64:]) for a in answers]

    def values(self, function: Function, arguments: Sequence[Sequence[Any]]) -> list[Any]:
        """The decoded outputs, a tuple each; none may revert."""
        types = [typed(parameter) for parameter in function.outputs]
        answers = self.metered(function, arguments)
        for answer, given in zip(answers, arguments, strict=True):
            assert answer.succeeded, (self.chain.reverted(answer.output), given)
        return [decode(types, answer.output) for answer in answers]


def typed(parameter: dict[str, Any]) -> str:
    if not parameter["type"].startswith("tuple"):
        return str(parameter["type"])
    return f"({','.join(typed(component) for component in parameter['components'])}){parameter['type'][5:]}"


# Numbers and coordinates


def unravel(number: int, shape: Sequence[int]) -> Point:
    coordinates = []
    for extent in reversed(shape):
        number, coordinate = divmod(number, extent)
        coordinates.append(coordinate)
    return tuple(reversed(coordinates))


def ravel(point: Sequence[int], shape: Sequence[int]) -> int:
    number = 0
    for coordinate, extent in zip(point, shape, strict=True):
        number = number * extent + coordinate
    return number


# Reads


def stored(value: int, dtype: DType) -> bytes:
    return (value & MASK[dtype]).to_bytes(dtype.size, "little")


def loaded(data: bytes, dtype: DType) -> int:
    """What a program computes with."""
    raw = int.from_bytes(data, "little")
    return scalar.canonical(raw) if dtype.is_float else dtype.wrap(raw)


def source(operand: Operand, point: Point, row: int | None = None) -> int | None:
    """The element of the operand's tensor that is read at a point, or None for the fill."""
    shape = operand.shape if row is None else operand.shape[1:]
    coordinates = operand.map.locate(point, shape)
    if coordinates is None:
        return None
    if row is None:
        return ravel(coordinates, shape)
    return ravel((row, *coordinates), operand.shape) if 0 <= row < operand.shape[0] else None


def true_reads(descriptor: Descriptor, tensors: Sequence[Sequence[int]], element: int, start: int, stop: int) -> bytes:
    """Raw bytes, as an honest defender posts them."""
    parts = []
    for position in range(start, stop):
        point = unravel(element, descriptor.shape) + unravel(position, descriptor.reduction)
        row: int | None = None
        for number, (operand, tensor) in enumerate(zip(descriptor.operands, tensors, strict=True)):
            gathered = descriptor.kind is Kind.GATHER and number == 1
            place = source(operand, point, row if gathered else None)
            parts.append(stored(operand.fill if place is None else tensor[place], operand.dtype))
            row = loaded(parts[-1], operand.dtype)
    return b"".join(parts)


def positions(descriptor: Descriptor) -> int:
    return prod(descriptor.reduction)


def stride(descriptor: Descriptor) -> int:
    return sum(operand.dtype.size for operand in descriptor.operands)


def rows(descriptor: Descriptor, reads: bytes) -> Iterator[list[int]]:
    """Loaded values, position by position."""
    data = iter(reads)
    for _ in range(len(reads) // max(stride(descriptor), 1)):
        yield [loaded(bytes(islice(data, operand.dtype.size)), operand.dtype) for operand in descriptor.operands]


# Results


def result_of(descriptor: Descriptor, element: int, reads: bytes) -> int:
    """The node evaluated on reads, as an integer or an f32's bits, by the oracle of scalar operations."""
    point = unravel(element, descriptor.shape)
    if descriptor.kind is Kind.MAP:
        assert descriptor.expression is not None
        loads = next(rows(descriptor, reads), [])
        return interpreter.evaluate_expression(descriptor.expression, loads, point, element)
    values = list(rows(descriptor, reads))
    if descriptor.kind is Kind.GATHER:
        return values[0][1]
    if descriptor.kind.scatters:
        values = [row[1:] for row in values if row[0] == point[0]]
    if descriptor.kind in (Kind.DOT, Kind.SUM, Kind.SCATTER_SUM):
        return scalar.to_i64(sum(prod(row) for row in values))
    fills = [descriptor.operands[-1].fill] if descriptor.kind is Kind.SCATTER_MAX else []
    return greatest(descriptor.dtype, fills + [row[0] for row in values])


def greatest(dtype: DType, values: Sequence[int]) -> int:
    best = values[0]
    for value in values[1:]:
        best = scalar.f32_max(best, value) if dtype.is_float else max(best, value)
    return best


def answer_of(descriptor: Descriptor, value: int, start: int, stop: int) -> int:
    """As the contract spells it: the element's bytes, or a partial result."""
    whole = (start, stop) == (0, positions(descriptor))
    return value & (MASK[descriptor.dtype] if whole else MASK64)


def partial_ranges(start: int, stop: int) -> list[tuple[int, int]]:
    length = stop - start
    count = min(PARTIALS, length)
    return [(start + j * length // count, start + (j + 1) * length // count) for j in range(count)]


def combined(descriptor: Descriptor, partials: Sequence[int]) -> int:
    """Partial results, 64 bits each, put together."""
    if descriptor.kind in (Kind.DOT, Kind.SUM, Kind.SCATTER_SUM):
        return sum(partials)
    if descriptor.dtype.is_float:
        return greatest(descriptor.dtype, [scalar.canonical(partial & 0xFFFFFFFF) for partial in partials])
    return greatest(descriptor.dtype, [scalar.to_i64(partial) for partial in partials])
