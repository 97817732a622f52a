// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDisputeCourt, Segment} from "../interfaces/IDisputeCourt.sol";

/// @notice What a game keeps of bytes that were posted once and are asked for in part (docs/court.md, 4 and 5).
library Words {
    uint256 private constant SEGMENT = 256;
    uint256 private constant LEVELS = 5;

    /// @dev The root of keccak256 over the leaf's 32 words, zero behind its end.
    function root(bytes calldata leaf) internal pure returns (bytes32 node) {
        assembly ("memory-safe") {
            let base := mload(0x40)
            calldatacopy(base, calldatasize(), 1024)
            calldatacopy(base, leaf.offset, leaf.length)
            for { let pairs := 16 } pairs { pairs := shr(1, pairs) } {
                for { let i := 0 } lt(i, pairs) { i := add(i, 1) } {
                    mstore(add(base, shl(5, i)), keccak256(add(base, shl(6, i)), 64))
                }
            }
            node := mload(base)
        }
    }

    /// @dev The root above a word of a leaf.
    function fold(bytes32 node, uint256 index, bytes32[] calldata path) internal pure returns (bytes32) {
        if (path.length != LEVELS) revert IDisputeCourt.WrongPathLength(path.length, LEVELS);
        for (uint256 i; i < LEVELS; ++i) {
            node = (index >> i) & 1 == 0
                ? keccak256(abi.encodePacked(node, path[i]))
                : keccak256(abi.encodePacked(path[i], node));
        }
        return node;
    }

    /// @dev The `width` bytes at `offset` of a word, little-endian.
    function value(bytes32 word, uint256 offset, uint256 width) internal pure returns (uint64 result) {
        for (uint256 i; i < width; ++i) {
            result |= uint64(uint8(word[offset + i])) << uint64(8 * i);
        }
    }

    /// @dev The same in any bytes.
    function number(bytes calldata data, uint256 offset, uint256 width) internal pure returns (uint64 result) {
        for (uint256 i; i < width; ++i) {
            result |= uint64(uint8(data[offset + i])) << uint64(8 * i);
        }
    }

    /// @dev Positions in a segment.
    function perSegment(uint256 stride) internal pure returns (uint256) {
        return stride > SEGMENT / 2 ? 1 : SEGMENT / stride;
    }

    /// @dev The hash that is kept of bytes with `stride` a position.
    function segmented(bytes calldata data, uint256 stride) internal pure returns (bytes32) {
        if (data.length == 0) return keccak256("");
        uint256 size = stride * perSegment(stride);
        bytes32[] memory hashes = new bytes32[]((data.length + size - 1) / size);
        for (uint256 i; i < hashes.length; ++i) {
            uint256 end = (i + 1) * size;
            hashes[i] = keccak256(data[i * size:end < data.length ? end : data.length]);
        }
        return keccak256(abi.encodePacked(hashes));
    }

    /// @dev Requires that segment number `index` of what was `posted` is this one.
    function requireSegment(bytes32 posted, uint256 index, Segment calldata segment) internal pure {
        bytes32 given = keccak256(abi.encodePacked(segment.hashes));
        if (given != posted) revert IDisputeCourt.WrongOpening(posted, given);
        if (index >= segment.hashes.length) revert IDisputeCourt.OutsideCount(index, segment.hashes.length);
        given = keccak256(segment.data);
        if (given != segment.hashes[index]) revert IDisputeCourt.WrongOpening(segment.hashes[index], given);
    }
}
