// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @notice The bytes of an expression's operations, with the names of orebit/program/opcodes.py.
library Op {
    uint256 internal constant CONST_F32 = 0x01;
    uint256 internal constant CONST_I64 = 0x02;
    uint256 internal constant INDEX = 0x03;
    uint256 internal constant FLAT = 0x04;

    uint256 internal constant FADD = 0x10;
    uint256 internal constant FSUB = 0x11;
    uint256 internal constant FMUL = 0x12;
    uint256 internal constant FDIV = 0x13;
    uint256 internal constant FSQRT = 0x14;
    uint256 internal constant FNEG = 0x15;
    uint256 internal constant FABS = 0x16;
    uint256 internal constant FMIN = 0x17;
    uint256 internal constant FMAX = 0x18;
    uint256 internal constant FLT = 0x19;
    uint256 internal constant FLE = 0x1a;
    uint256 internal constant FEQ = 0x1b;
    uint256 internal constant FROUND = 0x1c;
    uint256 internal constant F_TO_I = 0x1d;
    uint256 internal constant I_TO_F = 0x1e;
    uint256 internal constant F_BITS = 0x1f;
    uint256 internal constant BITS_F = 0x20;

    uint256 internal constant IADD = 0x30;
    uint256 internal constant ISUB = 0x31;
    uint256 internal constant IMUL = 0x32;
    uint256 internal constant INEG = 0x33;
    uint256 internal constant IABS = 0x34;
    uint256 internal constant IAND = 0x35;
    uint256 internal constant IOR = 0x36;
    uint256 internal constant IXOR = 0x37;
    uint256 internal constant ISHL = 0x38;
    uint256 internal constant ISHR = 0x39;
    uint256 internal constant ISAR = 0x3a;
    uint256 internal constant ROTL32 = 0x3b;
    uint256 internal constant ILT = 0x3c;
    uint256 internal constant ILE = 0x3d;
    uint256 internal constant IEQ = 0x3e;
    uint256 internal constant IMIN = 0x3f;
    uint256 internal constant IMAX = 0x40;
    uint256 internal constant IDIV = 0x41;
    uint256 internal constant IREM = 0x42;

    uint256 internal constant SELECT = 0x50;

    /// @dev Sets of operations, a bit each: by the number of values they take; and those that take a float, give a
    /// float.
    uint256 internal constant ONE =
        (1 << FSQRT) | (1 << FNEG) | (1 << FABS) | (0x1f << FROUND) | (1 << INEG) | (1 << IABS);
    uint256 internal constant TWO = (0xf << FADD) | (0x1f << FMIN) | (7 << IADD) | (0x3fff << IAND);
    uint256 internal constant LEAVES = 0x1e;
    uint256 internal constant TAKE_FLOATS = (0x3fff << FADD) | (1 << F_BITS);
    uint256 internal constant GIVE_FLOATS =
        (1 << CONST_F32) | (0x1ff << FADD) | (1 << FROUND) | (1 << I_TO_F) | (1 << BITS_F);
}
