"""What it costs to justify one element of a node on the chain, so that no program asks for more than a move can carry.

The move is priced whole: 21,000 for the transaction, calldata at its floor, the evaluation, and 40,000 for the game's
own books. Every figure is a ceiling of what the court's evaluator was measured to take (tests/contracts/
test_evaluator_gas.py), and contracts/dispute/Prices.sol holds the same: another price is another validity.
"""

from __future__ import annotations

from math import prod

from orebit.numerics.types import DType
from orebit.program.descriptor import Descriptor, Kind
from orebit.program.expression import Expression
from orebit.program.opcodes import Op

MOVE_LIMIT = 290_000
TRANSACTION = 21_000
BOOKS = 40_000
ZERO_BYTE = 10
OTHER_BYTE = 40
READS_BYTES = 2048
PARTIALS = 256
PARTIAL_ROUNDS = 2

# The calls that hash and evaluate the descriptor: one, and for each byte of it, axis of its space and operand.
_CALLS = 12_000
_BYTE = 8
_AXIS = 200
_OPERAND = 700
_OPERAND_NUMBER = 4 * OTHER_BYTE

# To load one value, and what one position takes beside that.
_LOAD = {
    DType.F32: 110,
    DType.I8: 90,
    DType.U8: 90,
    DType.I16: 100,
    DType.U16: 100,
    DType.I32: 110,
    DType.I64: 160,
}
_POSITION = {
    Kind.INPUT: 0,
    Kind.MAP: 0,
    Kind.DOT: 160,
    Kind.SUM: 100,
    Kind.MAX: 330,
    Kind.GATHER: 0,
    Kind.SCATTER_SUM: 180,
    Kind.SCATTER_MAX: 380,
}
# A dot of two operands of one byte, or of two bytes, is taken 32 bytes at a time.
_NARROW_DOT = {(1, 1): 60, (2, 2): 110}

# Each byte that an instruction takes beyond the least that its operation needs, and that least.
_LONG = 125
_INSTRUCTION = {
    Op.CONST_F32: 230,
    Op.CONST_I64: 300,
    Op.INDEX: 250,
    Op.FLAT: 220,
    Op.FADD: 990,
    Op.FSUB: 990,
    Op.FMUL: 960,
    Op.FDIV: 1070,
    Op.FSQRT: 840,
    Op.FNEG: 440,
    Op.FABS: 440,
    Op.FMIN: 520,
    Op.FMAX: 520,
    Op.FLT: 520,
    Op.FLE: 520,
    Op.FEQ: 520,
    Op.FROUND: 600,
    Op.F_TO_I: 560,
    Op.I_TO_F: 710,
    Op.F_BITS: 420,
    Op.BITS_F: 470,
    Op.IADD: 340,
    Op.ISUB: 360,
    Op.IMUL: 360,
    Op.INEG: 480,
    Op.IABS: 500,
    Op.IAND: 400,
    Op.IOR: 380,
    Op.IXOR: 350,
    Op.ISHL: 390,
    Op.ISHR: 420,
    Op.ISAR: 370,
    Op.ROTL32: 380,
    Op.ILT: 400,
    Op.ILE: 420,
    Op.IEQ: 420,
    Op.IMIN: 450,
    Op.IMAX: 450,
    Op.IDIV: 440,
    Op.IREM: 440,
    Op.SELECT: 450,
}


def instruction_gas(op: Op) -> int:
    """Evaluation of one instruction in its shortest form."""
    return _INSTRUCTION[op]


def expression_gas(expression: Expression) -> int:
    """Evaluation of an expression on loaded operands."""
    gas = 0
    for instruction in expression.instructions:
        gas += _INSTRUCTION[instruction.op] + _LONG * instruction.spare_bytes
    return gas


def calldata_gas(data: bytes) -> int:
    """Bytes of calldata at the floor price."""
    zeros = data.count(0)
    return zeros * ZERO_BYTE + (len(data) - zeros) * OTHER_BYTE


def _read_bytes(descriptor: Descriptor) -> int:
    """Bytes that the reads of one position take."""
    return sum(operand.dtype.size for operand in descriptor.operands)


def _posted_gas(descriptor: Descriptor) -> int:
    """The move without its reads and what is computed."""
    return TRANSACTION + BOOKS + calldata_gas(descriptor.encoded) + _OPERAND_NUMBER * len(descriptor.operands)


def _fixed_gas(descriptor: Descriptor) -> int:
    """The move without what each position takes."""
    gas = _posted_gas(descriptor) + _CALLS + _BYTE * len(descriptor.encoded)
    gas += _AXIS * len(descriptor.space) + _OPERAND * len(descriptor.operands)
    return gas if descriptor.expression is None else gas + expression_gas(descriptor.expression)


def _position_evaluation(descriptor: Descriptor) -> int:
    widths = tuple(operand.dtype.size for operand in descriptor.operands)
    if descriptor.kind is Kind.DOT and widths in _NARROW_DOT:
        return _NARROW_DOT[widths]
    return _POSITION[descriptor.kind] + sum(_LOAD[operand.dtype] for operand in descriptor.operands)


def _position_gas(descriptor: Descriptor) -> int:
    """One position's reads, posted and evaluated."""
    return _read_bytes(descriptor) * OTHER_BYTE + _position_evaluation(descriptor)


def positions_per_move(descriptor: Descriptor) -> int:
    """How many reduction positions one move can justify, at most; below 1 for a node that cannot be defended."""
    affordable = (MOVE_LIMIT - _fixed_gas(descriptor)) // max(_position_gas(descriptor), 1)
    return min(affordable, READS_BYTES // max(_read_bytes(descriptor), 1))


def justify_gas(descriptor: Descriptor) -> int:
    """Gas of the whole move that justifies one position: all of it for a map or gather."""
    return _fixed_gas(descriptor) + _position_gas(descriptor)


def evaluation_gas(descriptor: Descriptor, positions: int = 1) -> int:
    """Of that move, with so many positions, what the evaluator may take."""
    return _fixed_gas(descriptor) - _posted_gas(descriptor) + positions * _position_evaluation(descriptor)


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
