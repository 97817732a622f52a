// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title Wrapping 64-bit integers
/// @notice Integer arithmetic modulo 2^64 as programs have it. Nothing reverts.
///
/// A value is an `int256` within the signed 64-bit range: sign-extended is how the EVM itself compares, divides and
/// shifts, so those need no conversion, bitwise operations neither, and the rest wrap with one SIGNEXTEND. Every
/// argument must be in that range, and every result is. A comparison gives 1 or 0.
library Int64 {
    uint256 private constant MASK32 = 0xffffffff;

    /* ARITHMETIC */

    function add(int256 a, int256 b) internal pure returns (int256) {
        unchecked {
            return wrap(a + b);
        }
    }

    function sub(int256 a, int256 b) internal pure returns (int256) {
        unchecked {
            return wrap(a - b);
        }
    }

    function mul(int256 a, int256 b) internal pure returns (int256) {
        unchecked {
            return wrap(a * b);
        }
    }

    function neg(int256 a) internal pure returns (int256) {
        unchecked {
            return wrap(-a);
        }
    }

    /// @notice The magnitude; the smallest integer's is itself.
    function abs(int256 a) internal pure returns (int256) {
        unchecked {
            return a < 0 ? wrap(-a) : a;
        }
    }

    /// @notice The quotient, truncated; 0 by zero, and the smallest integer by -1 is itself.
    function div(int256 a, int256 b) internal pure returns (int256 result) {
        assembly ("memory-safe") {
            result := signextend(7, sdiv(a, b))
        }
    }

    /// @notice What is left of that quotient, with the dividend's sign; 0 by zero.
    function rem(int256 a, int256 b) internal pure returns (int256 result) {
        assembly ("memory-safe") {
            result := smod(a, b)
        }
    }

    /* BITS */

    function and(int256 a, int256 b) internal pure returns (int256) {
        return a & b;
    }

    function or(int256 a, int256 b) internal pure returns (int256) {
        return a | b;
    }

    function xor(int256 a, int256 b) internal pure returns (int256) {
        return a ^ b;
    }

    /// @notice Left shift; the count is taken modulo 64, here and below.
    function shl(int256 a, int256 count) internal pure returns (int256) {
        return wrap(a << uint256(count & 63));
    }

    /// @notice Logical right shift of the 64 bits.
    function shr(int256 a, int256 count) internal pure returns (int256) {
        return wrap(int256(uint256(uint64(uint256(a))) >> uint256(count & 63)));
    }

    /// @notice Arithmetic right shift.
    function sar(int256 a, int256 count) internal pure returns (int256) {
        return a >> uint256(count & 63);
    }

    /// @notice The low 32 bits rotated left, the count modulo 32; zero above.
    function rotl32(int256 a, int256 count) internal pure returns (int256) {
        unchecked {
            // Twice the same bits, side by side: what leaves the lower copy on the left is what enters the upper.
            uint256 twice = (uint256(a) & MASK32) * 0x100000001;
            return int256((twice >> (32 - uint256(count & 31))) & MASK32);
        }
    }

    /* ORDER */

    function lt(int256 a, int256 b) internal pure returns (int256 result) {
        assembly ("memory-safe") {
            result := slt(a, b)
        }
    }

    function le(int256 a, int256 b) internal pure returns (int256 result) {
        assembly ("memory-safe") {
            result := iszero(sgt(a, b))
        }
    }

    function eq(int256 a, int256 b) internal pure returns (int256 result) {
        assembly ("memory-safe") {
            result := eq(a, b)
        }
    }

    function min(int256 a, int256 b) internal pure returns (int256 result) {
        assembly ("memory-safe") {
            result := xor(b, mul(xor(a, b), slt(a, b)))
        }
    }

    function max(int256 a, int256 b) internal pure returns (int256 result) {
        assembly ("memory-safe") {
            result := xor(b, mul(xor(a, b), sgt(a, b)))
        }
    }

    /* LOADS AND STORES */

    /// @notice The value of an integer of `bytes_` bytes, 1 to 8, two's complement: its sign goes up. Bits above it are
    /// ignored.
    function signExtended(uint256 raw, uint256 bytes_) internal pure returns (int256 result) {
        assembly ("memory-safe") {
            result := signextend(sub(bytes_, 1), raw)
        }
    }

    /// @notice The value of an unsigned integer of `bytes_` bytes, 1 to 7. Bits above it are ignored.
    function zeroExtended(uint256 raw, uint256 bytes_) internal pure returns (int256) {
        return int256(stored(int256(raw), bytes_));
    }

    /// @notice The low `bytes_` bytes, 1 to 8, as they are stored: a value wraps to its type.
    function stored(int256 value, uint256 bytes_) internal pure returns (uint256) {
        unchecked {
            return uint256(value) & ((1 << (8 * bytes_)) - 1);
        }
    }

    /// @notice Any word modulo 2^64, signed.
    function wrap(int256 value) internal pure returns (int256) {
        return int64(value);
    }
}
