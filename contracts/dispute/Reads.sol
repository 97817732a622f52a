// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Binary32} from "./Binary32.sol";
import {Types} from "./Types.sol";

/// @notice Values in calldata: little-endian, in their type's width.
library Reads {
    /// @dev Four bytes are reversed by arithmetic: copies side by side, the i-th byte taken of the i-th copy, and the
    /// residue modulo 2^48 - 1, which folds each of them to its place.
    uint256 private constant COPIES = (1 << 24) | (1 << 56) | (1 << 88) | (1 << 120);
    uint256 private constant TAKEN = (0xff << 24) | (0xff << 64) | (0xff << 104) | (0xff << 144);
    uint256 private constant FOLD = (1 << 48) - 1;

    /// @dev What a program computes with: an f32's bits with NaN canonical, an integer sign-extended to 256 bits.
    function load(uint256 place, uint256 dtype) internal pure returns (uint256 value) {
        value = integer(place, Types.width(dtype), Types.sign(dtype));
        if (dtype == Types.F32) value = Binary32.canonical(value);
    }

    /// @dev `width` bytes of which `sign` is the highest bit of a signed type, else 0.
    function integer(uint256 place, uint256 width, uint256 sign) internal pure returns (uint256 value) {
        unchecked {
            value = (raw(place, width) ^ sign) - sign;
        }
    }

    /// @dev `width` bytes as an unsigned integer.
    function raw(uint256 place, uint256 width) internal pure returns (uint256 value) {
        assembly ("memory-safe") {
            let word := calldataload(place)
            switch gt(width, 2)
            case 0 {
                value := byte(0, word)
                if gt(width, 1) { value := or(value, shl(8, byte(1, word))) }
            }
            default {
                value := mod(and(mul(shr(224, word), COPIES), TAKEN), FOLD)
                if gt(width, 4) {
                    word := and(shr(192, word), 0xffffffff)
                    value := or(value, shl(32, mod(and(mul(word, COPIES), TAKEN), FOLD)))
                }
            }
        }
    }
}
