"""What it costs to justify one element of a node on the chain, so that no program asks for more than a move can carry.

The move is priced whole: 21,000 for the transaction, calldata at its floor, the evaluation, and 40,000 for the game's
own books. An operation's gas is the ceiling that the court's evaluator must keep; another price is another validity.
"""

from __future__ import annotations

from math import prod

from orebit.program.descriptor import Descriptor, Kind
from orebit.program.opcodes import LEAVES, Op

MOVE_LIMIT = 290_000
TRANSACTION = 21_000
BOOKS = 40_000
ZERO_BYTE = 10
OTHER_BYTE = 40
READS_BYTES = 2048
PARTIALS = 256
PARTIAL_ROUNDS = 2

_OPERAND = 300
_POSITION = 150
_FLOAT = {
    Op.FADD: 900,
    Op.FSUB: 900,
    Op.FMUL: 700,
    Op.FDIV: 900,
    Op.FSQRT: 1500,
    Op.FROUND: 500,
    Op.F_TO_I: 500,
    Op.I_TO_F: 600,
}
_SIMPLE_FLOAT = 300
_INTEGER = 150
_LEAF = 120


def instruction_gas(op: Op) -> int:
    """Evaluation of one instruction."""
    if op in LEAVES:
        return _LEAF
    if op in _FLOAT:
        return _FLOAT[op]
    return _SIMPLE_FLOAT if op < Op.IADD else _INTEGER


def calldata_gas(data: bytes) -> int:
    """Bytes of calldata at the floor price."""
    zeros = data.count(0)
    return zeros * ZERO_BYTE + (len(data) - zeros) * OTHER_BYTE


def _read_bytes(descriptor: Descriptor) -> int:
    """Bytes that the reads of one position take."""
    return sum(operand.dtype.size for operand in descriptor.operands)


def _position_gas(descriptor: Descriptor) -> int:
    """One position's reads, posted and evaluated."""
    gas = _read_bytes(descriptor) * OTHER_BYTE + _OPERAND * len(descriptor.operands) + _POSITION
    if descriptor.expression is not None:
        gas += sum(instruction_gas(instruction.op) for instruction in descriptor.expression.instructions)
    return gas


def _fixed_gas(descriptor: Descriptor) -> int:
    return TRANSACTION + BOOKS + calldata_gas(descriptor.encoded) + 4 * OTHER_BYTE * len(descriptor.operands)


def positions_per_move(descriptor: Descriptor) -> int:
    """How many reduction positions one move can justify, at most; below 1 for a node that cannot be defended."""
    affordable = (MOVE_LIMIT - _fixed_gas(descriptor)) // _position_gas(descriptor)
    return min(affordable, READS_BYTES // max(_read_bytes(descriptor), 1))


def justify_gas(descriptor: Descriptor) -> int:
    """Gas of the whole move that justifies one position: all of it for a map or gather."""
    return _fixed_gas(descriptor) + _position_gas(descriptor)


def partial_rounds(descriptor: Descriptor) -> int:
    """How many times 256 partial results are posted before the reads fit one move."""
    if descriptor.kind in (Kind.MAP, Kind.GATHER, Kind.INPUT):
        return 0
    length, rounds = prod(descriptor.reduction), 0
    fitting = max(positions_per_move(descriptor), 1)
    while length > fitting:
        length = -(-length // PARTIALS)
        rounds += 1
    return rounds
