// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Binary32} from "./Binary32.sol";

/// @notice The seven element types.
library Types {
    uint256 internal constant F32 = 0;
    uint256 internal constant U8 = 2;
    uint256 internal constant U16 = 4;
    uint256 internal constant I64 = 6;
    uint256 internal constant COUNT = 7;

    uint256 private constant WIDTHS = 0x8422114;
    uint256 private constant SIGNED = 0x6a;

    /// @dev Bytes of an element.
    function width(uint256 dtype) internal pure returns (uint256) {
        unchecked {
            return (WIDTHS >> (4 * dtype)) & 0xf;
        }
    }

    /// @dev Bits of an element's bytes, all set.
    function mask(uint256 dtype) internal pure returns (uint256) {
        unchecked {
            return (1 << (8 * width(dtype))) - 1;
        }
    }

    /// @dev Whether these bits are an f32 that a program may hold: any but a NaN other than the canonical one.
    function isFloat(uint256 bits) internal pure returns (bool) {
        return bits <= type(uint32).max && (bits & 0x7fffffff <= Binary32.INFINITY || bits == Binary32.NAN);
    }

    /// @dev The highest bit of a signed type's bytes, 0 of an unsigned one or a float.
    function sign(uint256 dtype) internal pure returns (uint256) {
        unchecked {
            return ((SIGNED >> dtype) & 1) << (8 * width(dtype) - 1);
        }
    }
}
