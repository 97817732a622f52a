// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {IDisputeCourt} from "../interfaces/IDisputeCourt.sol";

/// @notice Binary trees over SHA-256 (docs/protocol.md, 1): `sha256(0x00 || leaf)`, `sha256(0x01 || left || right)`, an
/// empty subtree of any height 32 zero bytes.
library Merkle {
    uint256 internal constant LEAF = 1024;
    /// @dev That one posting takes at most.
    uint256 internal constant LEVELS = 7;

    /// @dev Levels between `count` entries and their root.
    function height(uint256 count) internal pure returns (uint256) {
        return count < 2 ? 0 : Math.log2(count - 1) + 1;
    }

    /// @dev How many levels the next posting takes of so many: as even a share as whole levels allow, of as few
    /// postings as take at most `most` each, since a posting's cost doubles with each level.
    function share(uint256 levels, uint256 most) internal pure returns (uint256) {
        return levels == 0 ? 0 : Math.ceilDiv(levels, Math.ceilDiv(levels, most));
    }

    /// @dev How many nodes a tree of `count` entries has on a level.
    function width(uint256 count, uint256 level) internal pure returns (uint256) {
        return count == 0 ? 0 : ((count - 1) >> level) + 1;
    }

    function leafHash(bytes calldata data) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(bytes1(0), data));
    }

    /// @dev The node `depth` levels above exactly these entries, padded on the right. None of them may be zero.
    /// Each pair is hashed where it lies, the tag in the byte before it, which was read already.
    function root(bytes32[] calldata entries, uint256 depth) internal view returns (bytes32 node) {
        uint256 count = entries.length;
        if (count == 0) return 0;
        uint256 zero;
        assembly ("memory-safe") {
            let base := add(mload(0x40), 32)
            calldatacopy(base, entries.offset, shl(5, count))
            let end := add(base, shl(5, count))
            // Four are looked at at once; behind the last ones stands something.
            mstore(end, 1)
            mstore(add(end, 32), 1)
            mstore(add(end, 64), 1)
            for { let place := base } lt(place, end) { place := add(place, 128) } {
                let first := or(iszero(mload(place)), iszero(mload(add(place, 32))))
                let second := or(iszero(mload(add(place, 64))), iszero(mload(add(place, 96))))
                zero := or(zero, or(first, second))
            }
            let done := 1
            for {} depth { depth := sub(depth, 1) } {
                if and(count, 1) { mstore(add(base, shl(5, count)), 0) }
                count := shr(1, add(count, 1))
                end := add(base, shl(5, count))
                let tag := sub(base, 1)
                let to := base
                // Four pairs at once, then what is left.
                for { let most := sub(end, 96) } lt(to, most) { to := add(to, 128) } {
                    mstore8(tag, 1)
                    done := and(done, staticcall(gas(), 2, tag, 65, to, 32))
                    mstore8(add(tag, 64), 1)
                    done := and(done, staticcall(gas(), 2, add(tag, 64), 65, add(to, 32), 32))
                    mstore8(add(tag, 128), 1)
                    done := and(done, staticcall(gas(), 2, add(tag, 128), 65, add(to, 64), 32))
                    mstore8(add(tag, 192), 1)
                    done := and(done, staticcall(gas(), 2, add(tag, 192), 65, add(to, 96), 32))
                    tag := add(tag, 256)
                }
                for {} lt(to, end) { to := add(to, 32) } {
                    mstore8(tag, 1)
                    done := and(done, staticcall(gas(), 2, tag, 65, to, 32))
                    tag := add(tag, 64)
                }
            }
            if iszero(done) { revert(0, 0) }
            node := mload(base)
        }
        if (zero != 0) _revertZero(entries);
    }

    /// @dev The node above `entry`, at `index` among the 2^path.length entries below it.
    function fold(bytes32 entry, uint256 index, bytes32[] calldata path) internal view returns (bytes32 node) {
        assembly ("memory-safe") {
            let tag := add(mload(0x40), 31)
            let left := add(tag, 1)
            let right := add(tag, 33)
            mstore8(tag, 1)
            node := entry
            for { let i := 0 } lt(i, path.length) { i := add(i, 1) } {
                let sibling := calldataload(add(path.offset, shl(5, i)))
                switch and(shr(i, index), 1)
                case 0 {
                    mstore(left, node)
                    mstore(right, sibling)
                }
                default {
                    mstore(left, sibling)
                    mstore(right, node)
                }
                if iszero(staticcall(gas(), 2, tag, 65, left, 32)) { revert(0, 0) }
                node := mload(left)
            }
        }
    }

    /// @dev As `fold`, for an entry of a whole tree of `count` entries, whose path has exactly the tree's height.
    function top(bytes32 entry, uint256 index, uint256 count, bytes32[] calldata path) internal view returns (bytes32) {
        if (index >= count) revert IDisputeCourt.OutsideCount(index, count);
        requireLength(path.length, height(count));
        return fold(entry, index, path);
    }

    function _revertZero(bytes32[] calldata entries) private pure {
        uint256 i;
        while (entries[i] != 0) ++i;
        revert IDisputeCourt.ZeroEntry(i);
    }

    function requireLength(uint256 given, uint256 expected) internal pure {
        if (given != expected) revert IDisputeCourt.WrongPathLength(given, expected);
    }

    function requireEqual(bytes32 given, bytes32 expected) internal pure {
        if (given != expected) revert IDisputeCourt.WrongOpening(expected, given);
    }
}
