"""The operations of elementwise expressions, their codes and types (docs/numerics.md)."""

from __future__ import annotations

from enum import IntEnum

from orebit.numerics.types import DType


class Op(IntEnum):
    """One instruction's operation; the value is its byte in the canonical encoding."""

    CONST_F32 = 0x01
    CONST_I64 = 0x02
    INDEX = 0x03
    FLAT = 0x04

    FADD = 0x10
    FSUB = 0x11
    FMUL = 0x12
    FDIV = 0x13
    FSQRT = 0x14
    FNEG = 0x15
    FABS = 0x16
    FMIN = 0x17
    FMAX = 0x18
    FLT = 0x19
    FLE = 0x1A
    FEQ = 0x1B
    FROUND = 0x1C
    F_TO_I = 0x1D
    I_TO_F = 0x1E
    F_BITS = 0x1F
    BITS_F = 0x20

    IADD = 0x30
    ISUB = 0x31
    IMUL = 0x32
    INEG = 0x33
    IABS = 0x34
    IAND = 0x35
    IOR = 0x36
    IXOR = 0x37
    ISHL = 0x38
    ISHR = 0x39
    ISAR = 0x3A
    ROTL32 = 0x3B
    ILT = 0x3C
    ILE = 0x3D
    IEQ = 0x3E
    IMIN = 0x3F
    IMAX = 0x40
    IDIV = 0x41
    IREM = 0x42

    SELECT = 0x50


_F, _I = DType.F32, DType.I64

# Argument types and result type of each operation that takes values only. SELECT is typed by its arms.
SIGNATURES: dict[Op, tuple[tuple[DType, ...], DType]] = {
    **{op: ((_F, _F), _F) for op in (Op.FADD, Op.FSUB, Op.FMUL, Op.FDIV, Op.FMIN, Op.FMAX)},
    **{op: ((_F,), _F) for op in (Op.FSQRT, Op.FNEG, Op.FABS, Op.FROUND)},
    **{op: ((_F, _F), _I) for op in (Op.FLT, Op.FLE, Op.FEQ)},
    Op.F_TO_I: ((_F,), _I),
    Op.I_TO_F: ((_I,), _F),
    Op.F_BITS: ((_F,), _I),
    Op.BITS_F: ((_I,), _F),
    **{op: ((_I,), _I) for op in (Op.INEG, Op.IABS)},
    **{op: ((_I, _I), _I) for op in Op if 0x30 <= op <= 0x42 and op not in (Op.INEG, Op.IABS)},
}
LEAVES = (Op.CONST_F32, Op.CONST_I64, Op.INDEX, Op.FLAT)
